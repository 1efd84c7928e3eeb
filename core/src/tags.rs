//! Columns of tag sets.
//!
//! A set is held as one value, so that it is copied, compared and hashed as a whole: its tags one behind the
//! other, each followed by [`END`]. What clients send joined by commas comes in without being cut up, and
//! nobody looks at a tag who does not ask for one.

use std::sync::Arc;

use arrow_array::types::Int32Type;
use arrow_array::{Array, ArrayRef, BinaryArray, DictionaryArray, PrimitiveArray};
use arrow_buffer::Buffer;

use crate::build::offsets;
use crate::columns::Keys;

/// Stands behind every tag. No UTF-8 has this byte.
pub const END: u8 = 0xff;

/// Bytes that are done at once.
const PIECE_BYTES: usize = 16;

/// [`END`] in place of commas.
fn separated(mut piece: [u8; PIECE_BYTES]) -> [u8; PIECE_BYTES] {
    // Without a branch, it is a few instructions for all of them.
    piece.iter_mut().for_each(|byte| *byte = if *byte == b',' { END } else { *byte });
    piece
}

/// The tags of a set. What is no text is none.
pub fn each(set: &[u8]) -> impl Iterator<Item = &str> {
    let tags = set.strip_suffix(&[END]).map(|tags| tags.split(|byte| *byte == END));
    tags.into_iter().flatten().filter_map(|tag| std::str::from_utf8(tag).ok())
}

/// Builds a column of tag sets: each set is ended once, and given to as many rows as have it.
#[derive(Default)]
pub struct TagSets {
    keys: Keys,
    bytes: Vec<u8>,
    ends: Vec<i32>,
}

impl TagSets {
    /// Room for as much as another has.
    pub fn like(other: &TagSets) -> TagSets {
        TagSets {
            keys: Keys::like(&other.keys),
            bytes: Vec::with_capacity(other.bytes.len()),
            ends: Vec::with_capacity(other.ends.len() + 1),
        }
    }

    /// Adds a tag, which is UTF-8, to the set that is being built.
    pub fn tag(&mut self, tag: &[u8]) {
        self.bytes.extend_from_slice(tag);
        self.bytes.push(END);
    }

    /// Adds tags that are joined by commas; of no bytes, one without any.
    pub fn joined(&mut self, tags: &[u8]) {
        self.bytes.reserve(tags.len() + 1);
        let end = self.bytes.len() + tags.len();
        tags.as_chunks().0.iter().for_each(|piece| self.bytes.extend_from_slice(&separated(*piece)));
        match tags.last_chunk() {
            // Some of it for the second time: that is quicker than byte by byte.
            Some(last) => {
                self.bytes.truncate(end - PIECE_BYTES);
                self.bytes.extend_from_slice(&separated(*last));
            }
            None => self.bytes.extend(tags.iter().map(|byte| if *byte == b',' { END } else { *byte })),
        }
        self.bytes.push(END);
    }

    /// Whether the set that was ended last began with these tags, joined by commas.
    pub fn last_begins_with(&self, tags: &[u8]) -> bool {
        let start = self.ends.len().checked_sub(2).map_or(0, |before| self.ends[before] as usize);
        let Some(held) = self.bytes.get(start..start + tags.len()) else { return false };
        let (pieces, rest) = tags.as_chunks();
        let (held, held_rest) = held.as_chunks::<PIECE_BYTES>();
        let is_same = |(piece, held): (&[u8; PIECE_BYTES], &[u8; PIECE_BYTES])| separated(*piece) == *held;
        let is_same_byte = |(byte, held): (&u8, &u8)| byte == held || (*byte == b',' && *held == END);
        pieces.iter().zip(held).all(is_same) && rest.iter().zip(held_rest).all(is_same_byte)
    }

    /// Ends the set that is being built; gives its number.
    pub fn end_set(&mut self) -> i32 {
        self.ends.push(self.bytes.len() as i32);
        self.ends.len() as i32 - 1
    }

    /// Gives the next row a set.
    pub fn row(&mut self, set: i32) {
        self.keys.push(set);
    }

    /// The next row has none.
    pub fn row_absent(&mut self) {
        self.keys.push_absent();
    }

    pub fn finish(self) -> ArrayRef {
        let sets = match BinaryArray::try_new(offsets(self.ends), Buffer::from_vec(self.bytes), None) {
            Ok(sets) => sets,
            // Ends only grow, and the last is that of the bytes.
            Err(error) => unreachable!("tags: {error}"),
        };
        self.keys.finish(Arc::new(sets))
    }
}

/// A view of a column of tag sets.
pub struct TagView<'a> {
    keys: &'a PrimitiveArray<Int32Type>,
    sets: &'a BinaryArray,
}

impl<'a> TagView<'a> {
    pub fn new(column: &'a DictionaryArray<Int32Type>) -> Option<TagView<'a>> {
        Some(TagView { keys: column.keys(), sets: column.values().as_any().downcast_ref()? })
    }

    /// Which set a row has; absent for none.
    pub fn set(&self, row: usize) -> Option<usize> {
        (!self.keys.is_null(row)).then(|| self.keys.value(row) as usize)
    }

    /// The tags of a set.
    pub fn tags(&self, set: usize) -> impl Iterator<Item = &'a str> + use<'a> {
        each(self.sets.value(set))
    }

    /// All of a set, as it is held.
    pub fn bytes(&self, set: usize) -> &'a [u8] {
        self.sets.value(set)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_come_out_as_they_were_built() {
        let mut sets = TagSets::default();
        sets.tag(b"a:1");
        sets.tag(b"b:2");
        let two = sets.end_set();
        let none = sets.end_set();
        sets.joined(b"a:1,b:2");
        let joined = sets.end_set();
        sets.joined(b",x");
        let with_empty = sets.end_set();
        [two, none, two].into_iter().for_each(|set| sets.row(set));
        sets.row_absent();
        [joined, with_empty].into_iter().for_each(|set| sets.row(set));
        let sets = sets.finish();
        let view = TagView::new(sets.as_any().downcast_ref().unwrap()).unwrap();
        let tags: Vec<Option<Vec<&str>>> = (0..6).map(|row| Some(view.tags(view.set(row)?).collect())).collect();
        let two = Some(vec!["a:1", "b:2"]);
        assert_eq!(tags, [two.clone(), Some(vec![]), two.clone(), None, two, Some(vec!["", "x"])]);
        assert_eq!(view.bytes(0), b"a:1\xffb:2\xff");
    }
}
