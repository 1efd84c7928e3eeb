//! Where rows go. One module a component, one line each in [`ENTRIES`].

#![forbid(unsafe_code)]

pub mod blackhole;
pub mod datadog;
pub mod encode;
pub mod file;
pub mod http;
pub mod prometheus;
pub mod stdout;
pub mod terminal;

use weir_core::Entry;

/// The sinks, in the order the reference lists them.
pub static ENTRIES: &[Entry] =
    &[stdout::ENTRY, file::ENTRY, http::ENTRY, datadog::ENTRY, prometheus::ENTRY, blackhole::ENTRY];
