//! Where rows come from. One module a component, one line each in [`ENTRIES`].

#![deny(unsafe_code)]

pub mod dogstatsd;
pub mod ebpf;
pub mod generate;
pub mod input;
pub mod internal;
pub mod json;
pub mod ndjson;
pub mod net;
pub mod packet;
pub mod pcap;
pub mod rejected;
pub mod rows;

use weir_core::Entry;

/// The sources, in the order the reference lists them.
pub static ENTRIES: &[Entry] =
    &[pcap::ENTRY, ebpf::ENTRY, dogstatsd::ENTRY, ndjson::ENTRY, internal::ENTRY, generate::ENTRY];
