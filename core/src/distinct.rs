//! How many different values there were: exact while few, HyperLogLog beyond.
//!
//! Flajolet et al., "HyperLogLog" (2007), with the linear counting of small ranges from the same
//! paper. Depends only on the set of hashes, so merging in any grouping gives the same estimate.

use std::collections::BTreeSet;

/// Different values counted one by one before registers take over.
const EXACT_MAX: usize = 128;
/// Registers are chosen by this many bits: 4096 of them, a standard error of 1.6 %.
const BITS: u32 = weir_spec::aggregate::DISTINCT_BITS;
const REGISTERS: usize = 1 << BITS;

/// An estimate of distinct hashes.
#[derive(Clone, Debug, PartialEq)]
pub enum Distinct {
    Exact(BTreeSet<u64>),
    Registers(Box<[u8; REGISTERS]>),
}

impl Default for Distinct {
    fn default() -> Self {
        Distinct::Exact(BTreeSet::new())
    }
}

impl Distinct {
    /// Adds a value by a well-mixed 64-bit hash of it.
    pub fn add(&mut self, hash: u64) {
        match self {
            Distinct::Registers(registers) => note(registers, hash),
            Distinct::Exact(set) => {
                set.insert(hash);
                if set.len() > EXACT_MAX {
                    let mut registers = Box::new([0; REGISTERS]);
                    set.iter().for_each(|hash| note(&mut registers, *hash));
                    *self = Distinct::Registers(registers);
                }
            }
        }
    }

    pub fn merge(&mut self, other: &Distinct) {
        match (&mut *self, other) {
            (_, Distinct::Exact(set)) => set.iter().for_each(|hash| self.add(*hash)),
            (Distinct::Registers(mine), Distinct::Registers(theirs)) => {
                mine.iter_mut().zip(theirs.iter()).for_each(|(a, b)| *a = (*a).max(*b));
            }
            (Distinct::Exact(set), Distinct::Registers(theirs)) => {
                let mut registers = theirs.clone();
                set.iter().for_each(|hash| note(&mut registers, *hash));
                *self = Distinct::Registers(registers);
            }
        }
    }

    pub fn estimate(&self) -> u64 {
        let registers = match self {
            Distinct::Exact(set) => return set.len() as u64,
            Distinct::Registers(registers) => registers,
        };
        let m = REGISTERS as f64;
        let sum: f64 = registers.iter().map(|r| 2f64.powi(-i32::from(*r))).sum();
        let raw = 0.7213 / (1.0 + 1.079 / m) * m * m / sum;
        let zeros = registers.iter().filter(|r| **r == 0).count();
        if raw <= 2.5 * m && zeros > 0 {
            return (m * (m / zeros as f64).ln()).round() as u64;
        }
        raw.round() as u64
    }

    pub fn bytes(&self) -> usize {
        match self {
            Distinct::Exact(set) => 24 + set.len() * 16,
            Distinct::Registers(_) => 24 + REGISTERS,
        }
    }
}

fn note(registers: &mut [u8; REGISTERS], hash: u64) {
    let at = (hash >> (64 - BITS)) as usize;
    let rank = ((hash << BITS) | (1 << (BITS - 1))).leading_zeros() as u8 + 1;
    registers[at] = registers[at].max(rank);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::hash::BuildHasher;

    fn hash(x: u64) -> u64 {
        foldhash::quality::FixedState::with_seed(1).hash_one(x)
    }

    #[test]
    fn estimates_are_close_and_merge_in_any_order() {
        for n in [10u64, 128, 129, 1_000, 100_000] {
            let mut whole = Distinct::default();
            let mut parts = vec![Distinct::default(); 3];
            for i in 0..n {
                whole.add(hash(i));
                whole.add(hash(i));
                parts[(i % 3) as usize].add(hash(i));
            }
            let error = (whole.estimate() as f64 - n as f64).abs() / n as f64;
            assert!(error < 0.05, "{} for {n}", whole.estimate());
            let mut merged = Distinct::default();
            parts.iter().rev().for_each(|p| merged.merge(p));
            assert_eq!(merged, whole);
        }
    }
}
