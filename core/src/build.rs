//! Columns built value by value, without a builder object's cost a value.

use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, ListArray, StringArray, UInt8Array};
use arrow_buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow_schema::{DataType, Field};
use weir_spec::schema::Repr;

use crate::columns::{WordBuilder, absent};

/// Room for as much as there was, and some more: batches are of about one size, and one that is a little longer than
/// that before it must not be copied to a place that is twice as large.
pub fn room<T>(before: usize) -> Vec<T> {
    Vec::with_capacity(before + before / ROOM_PART + 1)
}

/// Of what there was, one part in this many.
const ROOM_PART: usize = 8;

/// A column of strings, one after the other. What is pushed is UTF-8.
#[derive(Default)]
pub struct Texts {
    bytes: Vec<u8>,
    ends: Vec<i32>,
    validity: Validity,
}

impl Texts {
    /// Room for as much as another has.
    pub fn like(other: &Texts) -> Texts {
        Texts { bytes: room(other.bytes.len()), ends: room(other.ends.len()), validity: Validity::default() }
    }

    /// Lets go of the room that is left, where it is to be kept for long.
    pub fn shrink(&mut self) {
        self.bytes.shrink_to_fit();
        // With the first offset, which is none of an end.
        self.ends.shrink_to(self.ends.len() + 1);
    }

    pub fn len(&self) -> usize {
        self.ends.len()
    }

    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// What was pushed as that one.
    pub fn get(&self, at: usize) -> &[u8] {
        let from = if at == 0 { 0 } else { self.ends[at - 1] as usize };
        &self.bytes[from..self.ends[at] as usize]
    }

    pub fn push(&mut self, text: &[u8]) {
        debug_assert!(std::str::from_utf8(text).is_ok(), "{text:?}");
        self.bytes.extend_from_slice(text);
        self.validity.push();
        self.ends.push(self.bytes.len() as i32);
    }

    pub fn push_absent(&mut self) {
        self.validity.push_absent(self.ends.len());
        self.ends.push(self.bytes.len() as i32);
    }

    pub fn finish(self) -> StringArray {
        match StringArray::try_new(offsets(self.ends), Buffer::from_vec(self.bytes), self.validity.finish()) {
            Ok(array) => array,
            // Whoever pushes text has made sure that it is UTF-8.
            Err(error) => unreachable!("text: {error}"),
        }
    }
}

/// Which rows have a value: nothing is held until one has none.
#[derive(Default)]
pub(crate) struct Validity(Vec<bool>);

impl Validity {
    pub fn push(&mut self) {
        if !self.0.is_empty() {
            self.0.push(true);
        }
    }

    /// The next row, behind so many others, has none.
    pub fn push_absent(&mut self, before: usize) {
        self.push_absents(before, 1);
    }

    /// The same of some rows.
    pub fn push_absents(&mut self, before: usize, rows: usize) {
        self.0.resize(before, true);
        self.0.resize(before + rows, false);
    }

    pub fn finish(self) -> Option<NullBuffer> {
        valid(self.0.len(), |row| self.0[row])
    }
}

/// Which rows have a value; absent if all of them have.
pub fn valid(rows: usize, is_valid: impl FnMut(usize) -> bool) -> Option<NullBuffer> {
    let nulls = NullBuffer::new(BooleanBuffer::collect_bool(rows, is_valid));
    (nulls.null_count() > 0).then_some(nulls)
}

/// Offsets of Arrow, from where each element ends.
pub(crate) fn offsets(mut ends: Vec<i32>) -> OffsetBuffer<i32> {
    ends.insert(0, 0);
    OffsetBuffer::new(ScalarBuffer::from(ends))
}

/// Several values a row, from where each row ends; a row without any is absent.
pub fn lists(of: DataType, ends: Vec<i32>, values: ArrayRef) -> ArrayRef {
    let rows = ends.len();
    let offsets = offsets(ends);
    let (from, to) = (&offsets[..rows], &offsets[1..]);
    let nulls = valid(rows, |row| to[row] > from[row]);
    Arc::new(ListArray::new(Arc::new(Field::new("item", of, true)), offsets, values, nulls))
}

/// Words of which most rows have none: nothing is built until the first.
#[derive(Default)]
pub struct Words {
    builder: WordBuilder,
    rows: usize,
}

impl Words {
    /// Room for as much as another has.
    pub fn like(other: &Words) -> Words {
        Words { builder: WordBuilder::like(&other.builder), rows: 0 }
    }

    /// Gives a row its word, which is UTF-8. Rows come in order.
    pub fn set(&mut self, row: usize, word: &[u8]) {
        self.fill(row);
        self.builder.push_bytes(word);
        self.rows += 1;
    }

    fn fill(&mut self, to: usize) {
        if self.rows < to {
            self.builder.push_absents(to - self.rows);
            self.rows = to;
        }
    }

    pub fn finish(mut self, rows: usize) -> ArrayRef {
        if self.rows == 0 {
            return absent(Repr::Word, rows);
        }
        self.fill(rows);
        self.builder.finish()
    }
}

/// Whole numbers of which most rows have none.
#[derive(Default)]
pub struct Numbers {
    values: Vec<i64>,
    valid: Vec<bool>,
}

impl Numbers {
    /// Room for as much as another has.
    pub fn like(other: &Numbers) -> Numbers {
        Numbers { values: room(other.values.len()), valid: room(other.valid.len()) }
    }

    /// Gives a row its number. Rows come in order; the last number of a row counts.
    pub fn set(&mut self, row: usize, value: i64) {
        self.fill(row);
        self.values.truncate(row);
        self.valid.truncate(row);
        self.values.push(value);
        self.valid.push(true);
    }

    fn fill(&mut self, to: usize) {
        if self.values.len() < to {
            self.values.resize(to, 0);
            self.valid.resize(to, false);
        }
    }

    pub fn finish(mut self, rows: usize) -> ArrayRef {
        if self.values.is_empty() {
            return absent(Repr::I64, rows);
        }
        self.fill(rows);
        {
            let nulls = valid(self.valid.len(), |row| self.valid[row]);
            Arc::new(Int64Array::new(self.values.into(), nulls))
        }
    }

    /// The same as bytes, for enumerations.
    pub fn finish_bytes(mut self, rows: usize) -> ArrayRef {
        if self.values.is_empty() {
            return absent(Repr::U8, rows);
        }
        self.fill(rows);
        let values: Vec<u8> = self.values.iter().map(|n| *n as u8).collect();
        Arc::new(UInt8Array::new(values.into(), valid(self.valid.len(), |row| self.valid[row])))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_come_out_as_they_were_pushed() {
        let mut texts = Texts::default();
        texts.push(b"a");
        texts.push_absent();
        texts.push(b"bc");
        let texts = texts.finish();
        assert_eq!(texts.iter().collect::<Vec<_>>(), [Some("a"), None, Some("bc")]);

        let mut numbers = Numbers::default();
        numbers.set(2, 7);
        numbers.set(2, 8);
        let numbers = numbers.finish(4);
        let numbers: &Int64Array = numbers.as_any().downcast_ref().unwrap();
        assert_eq!(numbers.iter().collect::<Vec<_>>(), [None, None, Some(8), None]);
    }
}
