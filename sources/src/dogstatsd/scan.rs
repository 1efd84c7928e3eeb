//! Where the bytes stand that payloads and lines are cut at.
//!
//! Names, values, types and tags are a dozen bytes each: calling `memchr` for each of them was a sixth of what reading a
//! line cost, and looking for each in a loop of its own had the processor guess wrong five times a line where that ends.
//! So all of a payload is looked through once, and each byte found by looking at bits.

use wide::u8x16;

const WIDTH: usize = 16;

/// Bytes whose marks are held together.
const BLOCK_BYTES: usize = u64::BITS as usize;

/// What is marked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mark {
    LineFeed,
    Bar,
}

const MARKS: usize = 2;

/// The marks of some bytes, a bit each, the first the lowest; as many numbers as there are marks, in their order.
type Block = [u64; MARKS];

/// Where a payload has the bytes that its lines are cut at.
#[derive(Default)]
pub struct Marks {
    blocks: Vec<Block>,
    is_ascii: bool,
}

/// Empty blocks behind the last, so that there always are two more.
const BLOCKS_BEHIND: usize = 2;

impl Marks {
    /// Marks a payload, and forgets the one before.
    pub fn read(&mut self, bytes: &[u8]) {
        let mut high = u8x16::ZERO;
        self.blocks.clear();
        let mut rest = bytes;
        while let Some((whole, behind)) = rest.split_first_chunk::<BLOCK_BYTES>() {
            self.blocks.push(mark(whole, &mut high));
            rest = behind;
        }
        let mut last = [0; BLOCK_BYTES];
        last[..rest.len()].copy_from_slice(rest);
        self.blocks.push(mark(&last, &mut high));
        self.blocks.extend([Block::default(); BLOCKS_BEHIND]);
        self.is_ascii = high.to_bitmask() == 0;
    }

    /// Whether all of the payload is ASCII.
    pub fn is_ascii(&self) -> bool {
        self.is_ascii
    }

    /// Where the first byte with a mark stands, of those from `from` to before `to`.
    #[inline(always)]
    pub fn find(&self, mark: Mark, from: usize, to: usize) -> Option<usize> {
        let (at, bit) = (from / BLOCK_BYTES, from % BLOCK_BYTES);
        let [first, second, third] = self.blocks.get(at..)?.first_chunk()?;
        // Two blocks' worth of bytes, which most lines and tags have not: then nothing is to be guessed. Shifted twice,
        // because no bits can be shifted out all at once.
        let shifted = |low: &Block, high: &Block| low[mark as usize] >> bit | high[mark as usize] << 1 << (63 - bit);
        let window = u128::from(shifted(first, second)) | u128::from(shifted(second, third)) << u64::BITS;
        // Behind it if there is none.
        let mut found = from + window.trailing_zeros() as usize;
        if found == from + 2 * BLOCK_BYTES && found < to {
            found = self.find_far(mark, at + 2, to);
        }
        (found < to).then_some(found)
    }

    /// From a block on; anything from `to` on if there is none before.
    #[inline(never)]
    fn find_far(&self, mark: Mark, from: usize, to: usize) -> usize {
        let until = to.div_ceil(BLOCK_BYTES).min(self.blocks.len());
        let marks = self.blocks.get(from..until).unwrap_or_default().iter().map(|block| block[mark as usize]);
        let found = marks.zip(from..).find(|(bits, _)| *bits != 0);
        found.map_or(to, |(bits, at)| at * BLOCK_BYTES + bits.trailing_zeros() as usize)
    }
}

/// A line without its end, and the marks of the payload that it stands in.
#[derive(Clone, Copy)]
pub struct Line<'a> {
    /// UTF-8.
    pub bytes: &'a [u8],
    /// Where it begins in the payload.
    pub start: usize,
    pub marks: &'a Marks,
}

impl Line<'_> {
    /// Where the first byte with a mark stands, of those from `from` to before `to`.
    #[inline(always)]
    pub fn find(&self, mark: Mark, from: usize, to: usize) -> Option<usize> {
        self.marks.find(mark, self.start + from, self.start + to).map(|at| at - self.start)
    }
}

/// Marks some bytes; in `high` a bit is set if one is not ASCII.
#[inline(always)]
fn mark(bytes: &[u8; BLOCK_BYTES], high: &mut u8x16) -> Block {
    let (parts, _) = bytes.as_chunks::<WIDTH>();
    let [mut line_feeds, mut bars] = [0; MARKS];
    for (at, part) in parts.iter().enumerate() {
        let part = u8x16::new(*part);
        let put = |byte: u8| u64::from(part.simd_eq(u8x16::splat(byte)).to_bitmask()) << (at * WIDTH);
        line_feeds |= put(b'\n');
        bars |= put(b'|');
        *high |= part;
    }
    [line_feeds, bars]
}

/// Where a byte first stands in what is short.
#[inline(always)]
pub fn find(byte: u8, bytes: &[u8]) -> Option<usize> {
    let wanted = u8x16::splat(byte);
    let (chunks, rest) = bytes.as_chunks::<WIDTH>();
    for (at, chunk) in chunks.iter().enumerate() {
        let found = u8x16::new(*chunk).simd_eq(wanted).to_bitmask();
        if found != 0 {
            return Some(at * WIDTH + found.trailing_zeros() as usize);
        }
    }
    if rest.is_empty() {
        return None;
    }
    match bytes.last_chunk::<WIDTH>() {
        // Reaches back into what was looked at, where none is.
        Some(last) => {
            let found = u8x16::new(*last).simd_eq(wanted).to_bitmask();
            (found != 0).then(|| bytes.len() - WIDTH + found.trailing_zeros() as usize)
        }
        None => rest.iter().position(|b| *b == byte),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_finds_what_memchr_finds() {
        let mut random = fastrand::Rng::with_seed(7);
        for length in 0..70 {
            for _ in 0..200 {
                let bytes: Vec<u8> = (0..length).map(|_| random.u8(b'*'..b'6') | (random.u8(0..2) << 7)).collect();
                assert_eq!(find(b',', &bytes), memchr::memchr(b',', &bytes), "{bytes:?}");
            }
        }
    }

    /// Wherever one looks from and to, near and far.
    #[test]
    fn marks_are_where_looking_at_each_byte_finds_them() {
        let mut random = fastrand::Rng::with_seed(7);
        let mut marks = Marks::default();
        for round in 0..800 {
            // Some have next to none of what is looked for.
            let often = [b"\n|:,xl".as_slice(), b"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\n|:,d"][round % 2];
            let length = round / 2;
            let bytes: Vec<u8> = (0..length).map(|_| often[random.usize(0..often.len())]).collect();
            marks.read(&bytes);
            for _ in 0..200 {
                let from = random.usize(0..length + 1);
                let to = random.usize(from..length + 1);
                let first = |is: &dyn Fn(usize) -> bool| (from..to).find(|at| is(*at));
                let text = String::from_utf8_lossy(&bytes);
                for (mark, byte) in [(Mark::LineFeed, b'\n'), (Mark::Bar, b'|')] {
                    let found = first(&|at| bytes[at] == byte);
                    assert_eq!(marks.find(mark, from, to), found, "{mark:?} from {from} to {to} of {text}");
                }
            }
        }
    }

    #[test]
    fn what_is_not_ascii_is_told_wherever_it_is() {
        let mut marks = Marks::default();
        for at in 0..130 {
            let mut bytes = vec![b'a'; 130];
            marks.read(&bytes);
            assert!(marks.is_ascii());
            bytes[at] = 0xc3;
            marks.read(&bytes);
            assert!(!marks.is_ascii(), "{at}");
        }
    }
}
