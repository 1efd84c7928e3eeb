//! Hashes of 128 bits that are trusted: what has the same one is taken to be the same.
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

/// What is hashed with: secrets of this run.
pub struct Hashing {
    high: [u64; 2],
    low: [u64; 2],
    lengths: u64,
}

impl Default for Hashing {
    fn default() -> Self {
        let random = foldhash::fast::RandomState::default();
        let secret = |n: u64| random.hash_one(n) | 1;
        Hashing { high: [secret(0), secret(1)], low: [secret(2), secret(3)], lengths: secret(4) }
    }
}

impl Hashing {
    /// Of some bytes, both halves in one pass: each takes in every byte, crosswise and under secrets of
    /// its own.
    #[inline]
    pub fn bytes(&self, bytes: &[u8]) -> Hash {
        let length = (bytes.len() as u64).wrapping_mul(ODD);
        let (mut high, mut low) = (self.high[0] ^ length, self.low[0] ^ length.rotate_left(32));
        let mut take = |a: u64, b: u64| {
            (high, low) = (mix(high ^ a, self.high[1] ^ b), mix(low ^ b, self.low[1] ^ a));
        };
        let (chunks, rest) = bytes.as_chunks::<8>();
        let mut pairs = chunks.chunks_exact(2);
        for pair in &mut pairs {
            take(u64::from_le_bytes(pair[0]), u64::from_le_bytes(pair[1]));
        }
        let first = pairs.remainder().first().map_or(0, |chunk| u64::from_le_bytes(*chunk));
        // Eight bytes that end where the text ends hold what is left of it; shorter text is put together.
        let last = match bytes.last_chunk::<8>() {
            Some(chunk) => u64::from_le_bytes(*chunk),
            None => rest.iter().fold(0, |word, byte| word << 8 | u64::from(*byte)),
        };
        take(first ^ self.lengths, last);
        Hash { high, low }
    }

    /// Of all that makes a context.
    #[inline]
    pub fn join(&self, kind: u8, name: Hash, host: Hash, tags: Hash) -> Hash {
        let with = |name: u64, host: u64, tags: u64| {
            mix(mix(name ^ self.lengths, tags.rotate_left(32) ^ ODD) ^ host, u64::from(kind) ^ self.lengths)
        };
        Hash { high: with(name.high, host.high, tags.high), low: with(name.low, host.low, tags.low) }
    }
}

/// An odd number without a pattern: the golden ratio's fraction.
const ODD: u64 = 0x9e37_79b9_7f4a_7c15;

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
