//! Columns that hold one of a known set of words, as one byte a row.

use std::borrow::Cow;

use crate::types::Enumeration;

/// An enumeration whose byte is the index of its label.
macro_rules! closed {
    ($static:ident, $name:literal, [$($label:ident = $text:literal),+ $(,)?], $module:ident) => {
        #[doc = concat!("Values of `", $name, "`.")]
        pub static $static: Enumeration = Enumeration {
            name: $name,
            labels: &[$($text),+],
            text: |value| {
                let labels: &[&'static str] = &[$($text),+];
                match labels.get(usize::from(value)) {
                    Some(label) => Cow::Borrowed(label),
                    None => Cow::Owned(value.to_string()),
                }
            },
            parse: |text| {
                let labels: &[&str] = &[$($text),+];
                labels.iter().position(|l| *l == text).map(|at| at as u8)
            },
        };
        #[doc = concat!("The bytes of `", $name, "`.")]
        pub mod $module {
            closed!(@consts 0u8, $($label)+);
        }
    };
    (@consts $at:expr, $label:ident $($rest:ident)*) => {
        pub const $label: u8 = $at;
        closed!(@consts $at + 1, $($rest)*);
    };
    (@consts $at:expr,) => {};
}

closed!(
    METRIC_KIND,
    "kind",
    [
        COUNTER = "counter",
        GAUGE = "gauge",
        SET = "set",
        HISTOGRAM = "histogram",
        TIMING = "timing",
        DISTRIBUTION = "distribution",
        GAUGE_DELTA = "gauge_delta",
    ],
    metric_kind
);

closed!(SERIES_KIND, "kind", [COUNT = "count", RATE = "rate", GAUGE = "gauge", SKETCH = "sketch",], series_kind);

closed!(
    CARDINALITY,
    "cardinality",
    [NONE = "none", LOW = "low", ORCHESTRATOR = "orchestrator", HIGH = "high",],
    cardinality
);

closed!(PRIORITY, "priority", [NORMAL = "normal", LOW = "low",], priority);

closed!(
    ALERT_TYPE,
    "alert_type",
    [INFO = "info", ERROR = "error", WARNING = "warning", SUCCESS = "success",],
    alert_type
);

closed!(STATUS, "status", [OK = "ok", WARNING = "warning", CRITICAL = "critical", UNKNOWN = "unknown",], status);

closed!(
    STATE,
    "state",
    [ATTEMPT = "attempt", REFUSED = "refused", ESTABLISHED = "established", CLOSED = "closed", RESET = "reset",],
    state
);

closed!(
    INITIATOR,
    "initiator",
    [SYN = "syn", SYN_ACK = "syn_ack", KERNEL = "kernel", FIRST_PACKET = "first_packet", PORT = "port",],
    initiator
);

closed!(
    END_REASON,
    "end_reason",
    [
        IDLE_TIMEOUT = "idle_timeout",
        ACTIVE_TIMEOUT = "active_timeout",
        END_OF_FLOW = "end_of_flow",
        FORCED_END = "forced_end",
        LACK_OF_RESOURCES = "lack_of_resources",
    ],
    end_reason
);

closed!(OBSERVER, "observer", [SRC = "src", DST = "dst", BOTH = "both", PATH = "path"], observer);

/// IP protocol numbers (IANA protocol-numbers), by keyword where it is in common use.
pub static PROTOCOL: Enumeration = Enumeration {
    name: "protocol",
    labels: &["tcp", "udp", "icmp", "icmp6", "sctp", "gre", "esp"],
    text: |value| match protocol::KEYWORDS.iter().find(|(number, _)| *number == value) {
        Some((_, keyword)) => Cow::Borrowed(keyword),
        None => Cow::Owned(value.to_string()),
    },
    parse: |text| match protocol::KEYWORDS.iter().find(|(_, keyword)| *keyword == text) {
        Some((number, _)) => Some(*number),
        None => text.parse().ok(),
    },
};

/// IP protocol numbers.
pub mod protocol {
    pub const HOP_BY_HOP: u8 = 0;
    pub const ICMP: u8 = 1;
    pub const TCP: u8 = 6;
    pub const UDP: u8 = 17;
    pub const ROUTING: u8 = 43;
    pub const FRAGMENT: u8 = 44;
    pub const GRE: u8 = 47;
    pub const ESP: u8 = 50;
    pub const AUTHENTICATION: u8 = 51;
    pub const ICMP6: u8 = 58;
    pub const NO_NEXT: u8 = 59;
    pub const DESTINATION: u8 = 60;
    pub const SCTP: u8 = 132;
    pub const MOBILITY: u8 = 135;
    pub const HIP: u8 = 139;
    pub const SHIM6: u8 = 140;

    pub(super) const KEYWORDS: &[(u8, &str)] =
        &[(TCP, "tcp"), (UDP, "udp"), (ICMP, "icmp"), (ICMP6, "icmp6"), (SCTP, "sctp"), (GRE, "gre"), (ESP, "esp")];
}

/// Queries and their replies (RFC 792, 1256, 950; RFC 4443, 2710, 4861, 4620, 6275).
const ICMP_PAIRS: &[(u8, u8)] = &[(8, 0), (13, 14), (15, 16), (10, 9), (17, 18)];
const ICMP6_PAIRS: &[(u8, u8)] = &[(128, 129), (133, 134), (135, 136), (130, 131), (139, 140), (144, 145)];

/// The type that answers this one, in either direction; `None` for one-way types.
pub fn icmp_counterpart(protocol: u8, kind: u8) -> Option<u8> {
    let pairs = if protocol == self::protocol::ICMP { ICMP_PAIRS } else { ICMP6_PAIRS };
    let other = |(a, b): &(u8, u8)| match kind {
        k if k == *a => Some(*b),
        k if k == *b => Some(*a),
        _ => None,
    };
    pairs.iter().find_map(other)
}

/// TCP flags as letters of `FSRPAUEC`, lowest bit first (RFC 9293 section 3.1).
pub static TCP_FLAGS: Enumeration = Enumeration {
    name: "tcp flags",
    labels: &["S", "SA", "A", "PA", "FA", "R", "RA"],
    text: |value| {
        let letters = flags::LETTERS.iter().enumerate();
        Cow::Owned(letters.filter(|(bit, _)| value >> bit & 1 == 1).map(|(_, l)| *l).collect())
    },
    parse: |text| {
        let bit = |letter| flags::LETTERS.iter().position(|l| *l == letter);
        text.chars().try_fold(0u8, |flags, letter| Some(flags | 1 << bit(letter)?))
    },
};

/// Bits of the TCP flags byte.
pub mod flags {
    pub const FIN: u8 = 0x01;
    pub const SYN: u8 = 0x02;
    pub const RST: u8 = 0x04;
    pub const PSH: u8 = 0x08;
    pub const ACK: u8 = 0x10;

    pub(super) const LETTERS: &[char] = &['F', 'S', 'R', 'P', 'A', 'U', 'E', 'C'];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_bytes_agree() {
        for e in [&STATE, &INITIATOR, &END_REASON, &OBSERVER, &PROTOCOL] {
            for label in e.labels {
                let byte = (e.parse)(label).unwrap();
                assert_eq!((e.text)(byte), *label);
            }
        }
        assert_eq!((STATE.text)(state::RESET), "reset");
        assert_eq!((PROTOCOL.text)(99), "99");
        assert_eq!((PROTOCOL.parse)("99"), Some(99));
        assert_eq!((PROTOCOL.parse)("tpc"), None);
        assert_eq!((TCP_FLAGS.text)(flags::SYN | flags::ACK), "SA");
        assert_eq!((TCP_FLAGS.parse)("AS"), Some(flags::SYN | flags::ACK));
    }
}
