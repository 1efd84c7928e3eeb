//! Event time.

use std::fmt;

/// Nanoseconds since the Unix epoch, and the two ends of all time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Time(pub i64);

impl Time {
    /// Before every row: nothing is known yet.
    pub const START: Time = Time(i64::MIN);
    /// After every row: the input has ended.
    pub const END: Time = Time(i64::MAX);

    /// So much later; the two ends stay where they are.
    pub fn plus(self, nanos: i64) -> Time {
        match self {
            Time::START | Time::END => self,
            Time(t) => Time(t.saturating_add(nanos)),
        }
    }

    /// So much earlier; the two ends stay where they are.
    pub fn minus(self, nanos: i64) -> Time {
        self.plus(nanos.saturating_neg())
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Time::START => f.write_str("start"),
            Time::END => f.write_str("end"),
            Time(t) => f.write_str(&weir_spec::units::time(t)),
        }
    }
}
