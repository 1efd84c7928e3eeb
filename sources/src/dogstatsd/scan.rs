//! Finding a byte that is near.
//!
//! Names, values, types and tags are a dozen bytes each: calling `memchr` for each of them was a sixth of
//! what reading a line cost. Eight bytes at a time, in place, it is a third of that.

const LOW: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;

/// Where a byte first stands.
#[inline(always)]
pub fn find(byte: u8, bytes: &[u8]) -> Option<usize> {
    let wanted = LOW * u64::from(byte);
    let (chunks, rest) = bytes.as_chunks::<8>();
    for (at, chunk) in chunks.iter().enumerate() {
        // A byte that is equal becomes 0; the lowest 0 is found exactly, which is the first.
        let differs = u64::from_le_bytes(*chunk) ^ wanted;
        let zeros = differs.wrapping_sub(LOW) & !differs & HIGH;
        if zeros != 0 {
            return Some(at * 8 + zeros.trailing_zeros() as usize / 8);
        }
    }
    let from = chunks.len() * 8;
    rest.iter().position(|b| *b == byte).map(|at| from + at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_finds_what_memchr_finds() {
        let mut random = fastrand::Rng::with_seed(7);
        for length in 0..40 {
            for _ in 0..200 {
                let bytes: Vec<u8> = (0..length).map(|_| random.u8(b'*'..b'/') | (random.u8(0..2) << 7)).collect();
                assert_eq!(find(b',', &bytes), memchr::memchr(b',', &bytes), "{bytes:?}");
            }
        }
    }
}
