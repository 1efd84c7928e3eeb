//! Columns of tag sets.
//!
//! A set is held as one value, so that it is copied, compared and hashed as a whole: its tags one behind the
//! other, each followed by [`END`]. What clients send joined by commas comes in without being cut up, and
//! nobody looks at a tag who does not ask for one.

use std::sync::Arc;

use arrow_array::types::Int32Type;
use arrow_array::{Array, ArrayRef, BinaryArray, DictionaryArray, PrimitiveArray};
use arrow_buffer::Buffer;

use crate::build::{offsets, room};
use crate::columns::Keys;

/// Stands behind every tag. No UTF-8 has this byte.
pub const END: u8 = 0xff;

/// The tags of a set. What is no text is none.
pub fn each(set: &[u8]) -> impl Iterator<Item = &str> {
    each_bytes(set).filter_map(|tag| std::str::from_utf8(tag).ok())
}

/// The tags of a set as bytes, for whoever only compares and copies them. What has no [`END`] is none.
pub fn each_bytes(set: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut start = 0;
    memchr::memchr_iter(END, set).map(move |end| {
        let tag = &set[start..end];
        start = end + 1;
        tag
    })
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
        TagSets { keys: Keys::like(&other.keys), bytes: room(other.bytes.len()), ends: room(other.ends.len()) }
    }

    /// Adds a tag, which is UTF-8, to the set that is being built.
    pub fn tag(&mut self, tag: &[u8]) {
        self.bytes.extend_from_slice(tag);
        self.bytes.push(END);
    }

    /// Adds a set as another column holds it; gives its number.
    pub fn add(&mut self, set: &[u8]) -> i32 {
        self.bytes.extend_from_slice(set);
        self.end_set()
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

/// Builds a column of tag sets from tags that are joined by commas, as StatsD has them.
#[derive(Default)]
pub struct JoinedTagSets(TagSets);

impl JoinedTagSets {
    /// Room for as much as another has.
    pub fn like(other: &JoinedTagSets) -> JoinedTagSets {
        JoinedTagSets(TagSets::like(&other.0))
    }

    /// Adds tags, which are UTF-8, to the set that is being built; of no bytes, one without any.
    #[inline]
    pub fn add(&mut self, tags: &[u8]) {
        self.0.bytes.extend_from_slice(tags);
        self.0.bytes.push(b',');
    }

    /// The set that was ended last, as it was added, with a comma behind each part.
    #[inline]
    pub fn last(&self) -> &[u8] {
        let TagSets { bytes, ends, .. } = &self.0;
        let start = ends.len().checked_sub(2).map_or(0, |before| ends[before] as usize);
        &bytes[start..]
    }

    /// Ends the set that is being built; gives its number.
    #[inline]
    pub fn end_set(&mut self) -> i32 {
        self.0.end_set()
    }

    /// Gives the next row a set.
    #[inline]
    pub fn row(&mut self, set: i32) {
        self.0.row(set);
    }

    /// Lets go of the room that is left, where it is to be kept for long.
    pub fn shrink(&mut self) {
        self.0.bytes.shrink_to_fit();
        self.0.ends.shrink_to(self.0.ends.len() + 1);
        self.0.keys.shrink();
    }

    pub fn finish(mut self) -> ArrayRef {
        // All at once, without a branch, it is a few instructions for sixteen bytes.
        self.0.bytes.iter_mut().for_each(|byte| *byte = if *byte == b',' { END } else { *byte });
        self.0.finish()
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
        [two, none, two].into_iter().for_each(|set| sets.row(set));
        sets.row_absent();
        let sets = sets.finish();
        let two = Some(vec!["a:1", "b:2"]);
        assert_eq!(tags(&sets), [two.clone(), Some(vec![]), two, None]);
    }

    #[test]
    fn joined_tags_come_out_one_by_one() {
        let mut sets = JoinedTagSets::default();
        sets.add(b"a:1,b:2");
        sets.add(b"c");
        let three = sets.end_set();
        assert_eq!(sets.last(), b"a:1,b:2,c,");
        sets.add(b",x");
        let with_empty = sets.end_set();
        assert_eq!(sets.last(), b",x,");
        [three, with_empty].into_iter().for_each(|set| sets.row(set));
        let sets = sets.finish();
        assert_eq!(tags(&sets), [Some(vec!["a:1", "b:2", "c"]), Some(vec!["", "x"])]);
        let view = TagView::new(sets.as_any().downcast_ref().unwrap()).unwrap();
        assert_eq!(view.bytes(0), b"a:1\xffb:2\xffc\xff");
    }

    fn tags(sets: &ArrayRef) -> Vec<Option<Vec<&str>>> {
        let view = TagView::new(sets.as_any().downcast_ref().unwrap()).unwrap();
        (0..sets.len()).map(|row| Some(view.tags(view.set(row)?).collect())).collect()
    }
}
