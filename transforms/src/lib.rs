//! What happens to rows between source and sink. One module a component, one line each in
//! [`ENTRIES`].

#![forbid(unsafe_code)]

pub mod aggregate;
pub mod biflow;
pub mod each_end;
mod ends;
pub mod filter;
mod key;
pub mod limit;
pub mod merge;
pub mod pair;
pub mod project;
pub mod resolve;
pub mod route;
pub mod to_series;
pub mod top;
pub mod window;

use weir_core::Entry;

/// The transforms, in the order the reference lists them.
pub static ENTRIES: &[Entry] = &[
    biflow::ENTRY,
    pair::ENTRY,
    each_end::ENTRY,
    resolve::ENTRY,
    window::ENTRY,
    to_series::ENTRY,
    aggregate::ENTRY,
    top::ENTRY,
    limit::ENTRY,
    filter::ENTRY,
    project::SET,
    project::SELECT,
    project::DROP,
    route::ENTRY,
    merge::ENTRY,
];
