//! The one table of all components.

use std::sync::LazyLock;

use weir_core::Entry;
use weir_spec::ComponentSpec;

/// Every component of every crate, in the order in which help and the reference list them.
pub static ENTRIES: LazyLock<Vec<Entry>> = LazyLock::new(|| {
    let crates = [weir_sources::ENTRIES, weir_transforms::ENTRIES, weir_sinks::ENTRIES];
    crates.concat()
});

/// What the language knows of them.
pub static SPECS: LazyLock<Vec<&'static ComponentSpec>> =
    LazyLock::new(|| ENTRIES.iter().map(|entry| entry.spec).collect());
