//! The declared kinds, one module each, and the enumerations that their columns use.

pub mod check;
pub mod enums;
pub mod event;
pub mod flow;
pub mod metric;
pub mod packet;
pub mod rejected;
pub mod series;

use crate::kind::Kind;

/// Every kind, in the order the reference lists them.
pub static ALL: &[&Kind] = &[
    &packet::PACKET,
    &flow::FLOW,
    &metric::METRIC,
    &series::SERIES,
    &event::EVENT,
    &check::CHECK,
    &rejected::REJECTED,
];

/// The kind of that name.
pub fn find(name: &str) -> Option<&'static Kind> {
    ALL.iter().copied().find(|kind| kind.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_kind_has_its_time_column_and_no_column_twice() {
        for kind in ALL {
            let names: BTreeSet<_> = kind.columns.iter().map(|c| c.name).collect();
            assert_eq!(names.len(), kind.columns.len(), "{}", kind.name);
            assert!(names.contains(kind.time), "{}", kind.name);
            assert!(kind.columns.iter().all(|c| !c.meaning.is_empty()), "{}", kind.name);
        }
    }
}
