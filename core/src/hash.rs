//! Hashes of 128 bits that are trusted, or 96 of them in an [index](crate::index): what has the same one is taken to be
//! the same.
//!
//! Comparing names and tags costs more than everything else that is done with a row (docs/design.md). They
//! are under secrets of this run, because local clients may be hostile.

use std::hash::BuildHasher;

/// Both halves are of seeds of their own.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, Debug)]
pub struct Hash {
    pub high: u64,
    pub low: u64,
}

impl Hash {
    /// Of nothing: that of a text is another, but for one in 2^128.
    pub const NONE: Hash = Hash { high: 0, low: 0 };
}

/// What is hashed with: secrets of this run.
pub struct Hashing {
    high: [u64; 2],
    low: [u64; 2],
    joining: u64,
}

impl Default for Hashing {
    fn default() -> Self {
        let random = foldhash::fast::RandomState::default();
        let secret = |n: u64| random.hash_one(n) | 1;
        Hashing { high: [secret(0), secret(1)], low: [secret(2), secret(3)], joining: secret(4) }
    }
}

impl Hashing {
    /// Of some bytes.
    #[inline]
    pub fn bytes(&self, bytes: &[u8]) -> Hash {
        self.behind(Hash { high: self.high[0], low: self.low[0] }, bytes)
    }

    /// Of what has that hash and of the bytes behind it, both halves in one pass: each takes in every byte, crosswise
    /// and under secrets of its own.
    #[inline]
    pub fn behind(&self, before: Hash, bytes: &[u8]) -> Hash {
        let length = (bytes.len() as u64).wrapping_mul(ODD);
        let (mut high, mut low) = (before.high ^ length, before.low ^ length.rotate_left(32));
        let mut take = |pair: &[u8; 16]| {
            let [a, b] = words(pair);
            (high, low) = (mix(high ^ a, self.high[1] ^ b), mix(low ^ b, self.low[1] ^ a));
        };
        let (pairs, rest) = bytes.as_chunks::<16>();
        pairs.iter().for_each(&mut take);
        // Where the bytes end, sixteen hold what is left of them; what is shorter is put together.
        match bytes.last_chunk::<16>() {
            Some(_) if rest.is_empty() => {}
            Some(last) => take(last),
            None => take(&short(rest)),
        }
        Hash { high, low }
    }

    /// Of what has that hash, and of a number.
    #[inline]
    pub fn with(&self, before: Hash, number: u64) -> Hash {
        let [high, low] = [(before.high, self.low[1]), (before.low, self.high[1])]
            .map(|(half, secret)| mix(half ^ number, secret ^ ODD));
        Hash { high, low }
    }

    /// Of all that makes a context.
    #[inline]
    pub fn join(&self, kind: u8, name: Hash, host: Hash, tags: Hash) -> Hash {
        let with = |name: u64, host: u64, tags: u64| {
            mix(mix(name ^ self.joining, tags.rotate_left(32) ^ ODD) ^ host, u64::from(kind) ^ self.joining)
        };
        Hash { high: with(name.high, host.high, tags.high), low: with(name.low, host.low, tags.low) }
    }
}

/// An odd number without a pattern: the golden ratio's fraction.
const ODD: u64 = 0x9e37_79b9_7f4a_7c15;

fn words(pair: &[u8; 16]) -> [u64; 2] {
    let pair = u128::from_le_bytes(*pair);
    [pair as u64, (pair >> 64) as u64]
}

/// Less than sixteen bytes as sixteen. Those of another length may look the same.
fn short(bytes: &[u8]) -> [u8; 16] {
    let words = match (bytes.first_chunk::<8>(), bytes.last_chunk::<8>()) {
        (Some(first), Some(last)) => [u64::from_le_bytes(*first), u64::from_le_bytes(*last)],
        _ => [bytes.iter().fold(0, |word, byte| word << 8 | u64::from(*byte)), 0],
    };
    (u128::from(words[0]) | u128::from(words[1]) << 64).to_le_bytes()
}

/// Both halves of a product, so that every bit of both has its part.
fn mix(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    (product as u64) ^ (product >> 64) as u64
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    /// Texts that differ by a byte or by length have hashes that differ in both halves.
    #[test]
    fn what_differs_has_another_hash() {
        let hashing = Hashing::default();
        let (mut highs, mut lows) = (HashSet::new(), HashSet::new());
        let mut add = |hash: Hash, of: &str| {
            assert!(highs.insert(hash.high) && lows.insert(hash.low), "{of}");
        };
        for length in 0..70usize {
            let text = vec![b'a'; length];
            add(hashing.bytes(&text), &format!("{length}"));
            for at in 0..length {
                let mut other = text.clone();
                other[at] = b'b';
                add(hashing.bytes(&other), &format!("{length} {at}"));
            }
        }
    }
}
