//! Interval accounting of one direction of a TCP connection.
//!
//! Keeps which sequence numbers were seen. A segment that covers seen ones is a retransmission; one
//! that only fills a hole is late. No timing is used: where the capture saw every original segment
//! this equals the sender's own count.

/// Holes remembered at once; beyond it the lowest is forgotten and counts become estimates.
pub const HOLES_MAX: usize = 64;

/// What one segment turned out to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Segment {
    New,
    /// Bytes of it that had been seen before.
    Again {
        bytes: u64,
    },
    Late,
}

/// Sequence numbers seen, as `[low, high)` less the holes. Unwrapped to 64 bits.
#[derive(Clone, Default, Debug)]
pub struct Sequence {
    low: u64,
    pub high: u64,
    /// Unseen ranges below `high`, ascending. Most connections never have one.
    holes: Option<Box<Holes>>,
}

/// Boxed, as few directions ever have one: a million flows are held at once.
#[derive(Clone, Default, Debug)]
struct Holes {
    ranges: Vec<(u64, u64)>,
    /// Some were forgotten.
    approximate: bool,
}

/// Where unwrapped numbers begin, so that segments before the first one seen have a place.
const BASE: u64 = 1 << 33;

impl Sequence {
    pub fn is_started(&self) -> bool {
        self.high != 0
    }

    /// Whether a hole was forgotten, so that counts are estimates.
    pub fn is_approximate(&self) -> bool {
        self.holes.as_ref().is_some_and(|holes| holes.approximate)
    }

    /// The unwrapped number nearest to what was seen last.
    pub fn unwrap(&self, number: u32) -> u64 {
        if !self.is_started() {
            return BASE + u64::from(number);
        }
        let ahead = number.wrapping_sub(self.high as u32) as i32;
        self.high.wrapping_add_signed(i64::from(ahead))
    }

    /// Begins anew at `start`, as after a second SYN+ACK with another number.
    pub fn restart(&mut self, start: u64) {
        *self = Sequence { low: start, high: start, holes: None };
    }

    /// The lowest number seen.
    pub fn low(&self) -> u64 {
        self.low
    }

    /// Notes that `[from, to)` was sent.
    pub fn add(&mut self, from: u64, to: u64) -> Segment {
        if !self.is_started() {
            self.restart(from);
        }
        if to <= from {
            return Segment::New;
        }
        if from >= self.high {
            if from > self.high {
                self.open_hole(self.high, from);
            }
            self.high = to;
            return Segment::New;
        }
        let unseen = self.fill(from, to.min(self.high)) + self.extend_down(from, to);
        let below = to.min(self.high) - from;
        self.high = self.high.max(to);
        match below - unseen {
            0 => Segment::Late,
            bytes => Segment::Again { bytes },
        }
    }

    /// Numbers below the lowest one seen: unseen until now.
    fn extend_down(&mut self, from: u64, to: u64) -> u64 {
        if from >= self.low {
            return 0;
        }
        let end = to.min(self.low);
        if end < self.low {
            self.open_hole(end, self.low);
        }
        self.low = from;
        end - from
    }

    fn open_hole(&mut self, from: u64, to: u64) {
        let holes = self.holes.get_or_insert_default();
        let at = holes.ranges.partition_point(|(start, _)| *start < from);
        holes.ranges.insert(at, (from, to));
        holes.trim();
    }

    /// Takes `[from, to)` out of the holes; how many numbers of it were unseen.
    fn fill(&mut self, from: u64, to: u64) -> u64 {
        let Some(holes) = &mut self.holes else { return 0 };
        let mut unseen = 0;
        let mut left = Vec::new();
        for (start, end) in holes.ranges.drain(..) {
            let (a, b) = (start.max(from), end.min(to));
            if a >= b {
                left.push((start, end));
                continue;
            }
            unseen += b - a;
            if start < a {
                left.push((start, a));
            }
            if b < end {
                left.push((b, end));
            }
        }
        holes.ranges = left;
        holes.trim();
        unseen
    }

    /// Numbers acknowledged up to `acked` and never seen.
    pub fn missed(&self, acked: u64) -> u64 {
        if !self.is_started() {
            return 0;
        }
        let holes = self.holes.iter().flat_map(|h| &h.ranges);
        let inside: u64 = holes.map(|(a, b)| b.min(&acked).saturating_sub(*a)).sum();
        inside + acked.saturating_sub(self.high)
    }
}

impl Holes {
    fn trim(&mut self) {
        if self.ranges.len() > HOLES_MAX {
            self.ranges.remove(0);
            self.approximate = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    #[test]
    fn overlap_is_again_and_a_filled_hole_is_late() {
        let mut s = Sequence::default();
        let at = s.unwrap(100);
        assert_eq!(s.add(at, at + 10), Segment::New);
        assert_eq!(s.add(at + 20, at + 30), Segment::New);
        assert_eq!(s.missed(at + 30), 10);
        assert_eq!(s.add(at + 10, at + 20), Segment::Late);
        assert_eq!(s.add(at + 5, at + 35), Segment::Again { bytes: 25 });
        assert_eq!(s.missed(at + 40), 5);
    }

    #[test]
    fn numbers_wrap() {
        let mut s = Sequence::default();
        let at = s.unwrap(u32::MAX - 4);
        s.add(at, at + 10);
        assert_eq!(s.unwrap(5), at + 10);
        let again = s.unwrap(u32::MAX - 4);
        assert_eq!(s.add(again, again + 10), Segment::Again { bytes: 10 });
    }

    proptest! {
        /// As long as holes fit, the accounting equals a set of every number seen.
        #[test]
        fn equals_a_set_of_numbers(segments in prop::collection::vec((0u32..300, 1u32..40), 1..40), first in any::<u32>()) {
            let mut s = Sequence::default();
            let mut seen = HashSet::new();
            let origin = s.unwrap(first);
            let mut highest = None;
            for (offset, length) in segments {
                let from = s.unwrap(first.wrapping_add(offset));
                let range = from..from + u64::from(length);
                prop_assert_eq!(from, origin + u64::from(offset));
                let again = range.clone().filter(|n| seen.contains(n)).count() as u64;
                let got = s.add(range.start, range.end);
                let expected = match (again, highest) {
                    (0, Some(high)) if range.start < high => Segment::Late,
                    (0, _) => Segment::New,
                    (bytes, _) => Segment::Again { bytes },
                };
                prop_assert_eq!(got, expected);
                highest = highest.max(Some(range.end));
                seen.extend(range);
            }
        }
    }
}
