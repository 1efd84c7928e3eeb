//! What relative gauges stand on whose context is forgotten.
//!
//! A plain StatsD server keeps a gauge for good, so that `+1` after a silent day adds to what was. Contexts are
//! forgotten after seconds; the last value of their gauges stays behind, by what an index keeps of its hash.

use std::collections::HashMap;

use weir_core::hash::Hash;
use weir_core::index::Key;

/// One value is kept for so many contexts that there may be.
const CONTEXTS_EACH: usize = 4;

/// Values in two generations: when the young ones are as many as may be, the old ones go, and the young are old.
pub struct Gauges {
    young: HashMap<Key, f64>,
    old: HashMap<Key, f64>,
    generation_max: usize,
}

impl Gauges {
    /// Of a table of so many contexts at most.
    pub fn new(contexts_max: usize) -> Gauges {
        Gauges { young: HashMap::new(), old: HashMap::new(), generation_max: generation_max(contexts_max) }
    }

    /// Bytes of it at most: seven of eight places of a table may be taken.
    pub fn bytes(contexts_max: usize) -> usize {
        let places = (generation_max(contexts_max) * 8 / 7 + 1).next_power_of_two();
        2 * places * (size_of::<(Key, f64)>() + 1)
    }

    /// Keeps a value; zero is what an unknown gauge has anyway.
    pub fn keep(&mut self, of: Key, value: f64) {
        if value == 0.0 {
            return;
        }
        if self.young.len() >= self.generation_max && !self.young.contains_key(&of) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(of, value);
    }

    /// Takes a value out; zero, if there is none.
    pub fn take(&mut self, of: Hash) -> f64 {
        let of = Key::of(of);
        // One that was kept later hides an older one.
        let (young, old) = (self.young.remove(&of), self.old.remove(&of));
        young.or(old).unwrap_or(0.0)
    }
}

fn generation_max(contexts_max: usize) -> usize {
    contexts_max.div_ceil(2 * CONTEXTS_EACH)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(number: u64) -> Hash {
        Hash { high: number, low: number }
    }

    fn keep(gauges: &mut Gauges, number: u64, value: f64) {
        gauges.keep(Key::of(hash(number)), value);
    }

    #[test]
    fn the_latest_are_kept() {
        let mut gauges = Gauges::new(10 * CONTEXTS_EACH);
        (0..20).for_each(|number| keep(&mut gauges, number, number as f64 + 0.5));
        let kept: Vec<u64> = (0..20).filter(|number| gauges.take(hash(*number)) != 0.0).collect();
        assert_eq!(kept, (10..20).collect::<Vec<_>>());
        assert_eq!(gauges.take(hash(19)), 0.0, "it was taken");
    }

    #[test]
    fn the_later_value_counts() {
        let mut gauges = Gauges::new(2 * CONTEXTS_EACH);
        keep(&mut gauges, 1, 1.0);
        keep(&mut gauges, 2, 2.0);
        keep(&mut gauges, 1, 3.0);
        assert_eq!([gauges.take(hash(1)), gauges.take(hash(1)), gauges.take(hash(2))], [3.0, 0.0, 2.0]);
    }
}
