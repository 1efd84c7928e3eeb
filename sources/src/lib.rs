//! Where rows come from. One module a component, one line each in [`ENTRIES`].

#![forbid(unsafe_code)]

pub mod generate;
pub mod input;
pub mod json;
pub mod ndjson;
pub mod packet;
pub mod pcap;
pub mod rows;

use weir_core::Entry;

/// The sources, in the order the reference lists them.
pub static ENTRIES: &[Entry] = &[pcap::ENTRY, ndjson::ENTRY, generate::ENTRY];
