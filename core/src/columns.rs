//! Arrow columns of declared and computed types: how they are held, typed access, building.

use std::hash::BuildHasher;
use std::sync::{Arc, OnceLock};

use arrow_array::types::Int32Type;
use arrow_array::{
    Array, ArrayRef, BinaryArray, BooleanArray, DictionaryArray, FixedSizeBinaryArray, Float64Array, Int64Array,
    ListArray, PrimitiveArray, RecordBatch, RecordBatchOptions, StringArray, StructArray, UInt8Array, UInt16Array,
    UInt32Array, new_null_array,
};
use arrow_buffer::{Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow_schema::{DataType, Field as ArrowField, Fields, SchemaRef};
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use weir_spec::kind::{Key, repr};
use weir_spec::schema::{Repr, Schema};

use crate::build::{Texts, Validity, room};

/// How Arrow holds a column of that representation.
pub fn data_type(repr: Repr) -> DataType {
    let list = |of: DataType| DataType::List(Arc::new(ArrowField::new("item", of, true)));
    match repr {
        Repr::Bool => DataType::Boolean,
        Repr::U8 => DataType::UInt8,
        Repr::U16 => DataType::UInt16,
        Repr::U32 => DataType::UInt32,
        Repr::I64 => DataType::Int64,
        Repr::F64 => DataType::Float64,
        Repr::Ip => DataType::FixedSizeBinary(16),
        Repr::Text => DataType::Utf8,
        Repr::Word => DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8)),
        Repr::TextList => list(DataType::Utf8),
        Repr::IntList => list(DataType::Int64),
        Repr::FloatList => list(DataType::Float64),
        Repr::IpList => list(DataType::FixedSizeBinary(16)),
        Repr::Tags => DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Binary)),
        Repr::Sketch => DataType::Struct(crate::sketch::fields()),
    }
}

/// The Arrow schema of a stream's rows. Every column may have absent values.
pub fn arrow_schema(schema: &Schema) -> SchemaRef {
    let field = |f: &weir_spec::Field| ArrowField::new(&f.name, data_type(f.repr), true);
    Arc::new(arrow_schema::Schema::new(schema.fields.iter().map(field).collect::<Fields>()))
}

/// Columns as rows; their number is given for the case that there is no column.
pub fn record(schema: &SchemaRef, columns: Vec<ArrayRef>, rows: usize) -> RecordBatch {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    match RecordBatch::try_new_with_options(schema.clone(), columns, &options) {
        Ok(rows) => rows,
        // Whoever makes columns makes one for each field, held as the field says, a value a row.
        Err(error) => unreachable!("columns: {error}"),
    }
}

/// A column without any value.
pub fn absent(repr: Repr, rows: usize) -> ArrayRef {
    // Most columns of most batches have none: they share their memory.
    static SHARED: [OnceLock<ArrayRef>; REPRS] = [const { OnceLock::new() }; REPRS];
    match rows {
        0..=ABSENT_ROWS => {
            let shared = SHARED[repr as usize].get_or_init(|| new_null_array(&data_type(repr), ABSENT_ROWS));
            shared.slice(0, rows)
        }
        _ => new_null_array(&data_type(repr), rows),
    }
}

const REPRS: usize = Repr::Sketch as usize + 1;
/// Rows of columns without values that are held for all batches. A batch that is full may be a datagram's lines
/// longer than others.
const ABSENT_ROWS: usize = 8192;

/// A column from a buffer of fixed-width values.
pub fn ips(values: Vec<[u8; 16]>, nulls: Option<NullBuffer>) -> FixedSizeBinaryArray {
    let bytes = Buffer::from_vec(values.into_flattened());
    FixedSizeBinaryArray::new(16, bytes, nulls)
}

/// Which array a key's representation is.
pub trait Held {
    type Array: Array + 'static;
}
macro_rules! held {
    ($($marker:ident = $array:ty;)*) => { $( impl Held for repr::$marker { type Array = $array; } )* };
}
held! {
    Bool = BooleanArray;
    U8 = UInt8Array;
    U16 = UInt16Array;
    U32 = UInt32Array;
    I64 = Int64Array;
    F64 = Float64Array;
    Ip = FixedSizeBinaryArray;
    Text = StringArray;
    Word = DictionaryArray<Int32Type>;
    TextList = ListArray;
    IntList = ListArray;
    FloatList = ListArray;
    IpList = ListArray;
    Tags = DictionaryArray<Int32Type>;
    Sketch = StructArray;
}

/// The column of that key, if the rows carry it.
pub fn get<R: Held>(rows: &RecordBatch, key: Key<R>) -> Option<&R::Array> {
    rows.column_by_name(key.name)?.as_any().downcast_ref()
}

/// The numbers of a computed column, as fractions.
pub fn numbers(column: &ArrayRef) -> Vec<Option<f64>> {
    if let Some(fractions) = column.as_any().downcast_ref::<Float64Array>() {
        return fractions.iter().collect();
    }
    match column.as_any().downcast_ref::<Int64Array>() {
        Some(whole) => whole.iter().map(|number| number.map(|number| number as f64)).collect(),
        None => vec![None; column.len()],
    }
}

/// The addresses of a 16-byte column.
pub fn addresses(column: &FixedSizeBinaryArray) -> &[[u8; 16]] {
    let (chunks, _) = column.value_data().as_chunks::<16>();
    &chunks[column.offset()..column.offset() + column.len()]
}

/// A dictionary column; whoever gives the keys gives them for values that are there.
pub fn dictionary(keys: PrimitiveArray<Int32Type>, values: ArrayRef) -> ArrayRef {
    match DictionaryArray::try_new(keys, values) {
        Ok(array) => Arc::new(array),
        Err(error) => unreachable!("dictionary: {error}"),
    }
}

/// The rows of a dictionary column, each by the number of its value.
#[derive(Default)]
pub(crate) struct Keys {
    keys: Vec<i32>,
    validity: Validity,
}

impl Keys {
    /// Room for as much as another has.
    pub fn like(other: &Keys) -> Keys {
        Keys { keys: room(other.keys.len()), validity: Validity::default() }
    }

    pub fn shrink(&mut self) {
        self.keys.shrink_to_fit();
    }

    pub fn push(&mut self, key: i32) {
        self.keys.push(key);
        self.validity.push();
    }

    pub fn push_absent(&mut self) {
        self.push_absents(1);
    }

    pub fn push_absents(&mut self, rows: usize) {
        let before = self.keys.len();
        self.validity.push_absents(before, rows);
        self.keys.resize(before + rows, 0);
    }

    pub fn finish(self, values: ArrayRef) -> ArrayRef {
        dictionary(PrimitiveArray::new(ScalarBuffer::from(self.keys), self.validity.finish()), values)
    }
}

/// Builds a dictionary column: few distinct strings, many rows.
#[derive(Default)]
pub struct WordBuilder {
    keys: Keys,
    words: Texts,
    index: HashTable<i32>,
    hasher: foldhash::fast::RandomState,
}

impl WordBuilder {
    /// Room for as much as another has.
    pub fn like(other: &WordBuilder) -> WordBuilder {
        WordBuilder {
            keys: Keys::like(&other.keys),
            words: Texts::like(&other.words),
            index: HashTable::with_capacity(other.words.len()),
            hasher: other.hasher.clone(),
        }
    }

    pub fn push(&mut self, word: Option<&str>) {
        match word {
            Some(word) => self.push_bytes(word.as_bytes()),
            None => self.push_absent(),
        }
    }

    /// What is pushed is UTF-8.
    pub fn push_bytes(&mut self, word: &[u8]) {
        let WordBuilder { words, index, hasher, .. } = self;
        let entry = index.entry(
            hasher.hash_one(word),
            |key| words.get(*key as usize) == word,
            |key| hasher.hash_one(words.get(*key as usize)),
        );
        let key = match entry {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(vacant) => {
                let key = words.len() as i32;
                vacant.insert(key);
                words.push(word);
                key
            }
        };
        self.keys.push(key);
    }

    pub fn push_absent(&mut self) {
        self.keys.push_absent();
    }

    pub fn push_absents(&mut self, rows: usize) {
        self.keys.push_absents(rows);
    }

    pub fn finish(self) -> ArrayRef {
        self.keys.finish(Arc::new(self.words.finish()))
    }
}

/// Builds a column of several whole numbers a row; a row of none is absent.
pub fn int_lists(offsets: Vec<i32>, values: Vec<i64>) -> ArrayRef {
    let lengths = offsets.windows(2).map(|w| w[1] > w[0]);
    let nulls = NullBuffer::from_iter(lengths);
    let item = Arc::new(ArrowField::new("item", DataType::Int64, true));
    let values = Arc::new(Int64Array::from(values));
    Arc::new(ListArray::new(item, OffsetBuffer::new(offsets.into()), values, Some(nulls)))
}

/// Bytes that these rows take by themselves. Buffers shared with other batches count only as far
/// as these rows use them, so summing over batches does not count a buffer twice.
pub fn rows_bytes(rows: &RecordBatch) -> usize {
    rows.columns().iter().map(|c| array_bytes(c.as_ref())).sum()
}

/// The same where each row has all that it shares with others.
pub fn expanded_bytes(rows: &RecordBatch) -> usize {
    rows.columns().iter().map(|c| expanded_array_bytes(c.as_ref())).sum()
}

fn expanded_array_bytes(array: &dyn Array) -> usize {
    let Some(shared) = array.as_any().downcast_ref::<DictionaryArray<Int32Type>>() else { return array_bytes(array) };
    let offsets = match shared.values().data_type() {
        DataType::Utf8 => shared.values().as_any().downcast_ref::<StringArray>().map(StringArray::value_offsets),
        DataType::Binary => shared.values().as_any().downcast_ref::<BinaryArray>().map(BinaryArray::value_offsets),
        _ => None,
    };
    let Some(offsets) = offsets else { return array_bytes(array) };
    if shared.null_count() == shared.len() {
        return 0;
    }
    let length = |key: i32| (offsets[key as usize + 1] - offsets[key as usize]) as usize;
    let keys = shared.keys();
    match keys.nulls() {
        None => keys.values().iter().map(|key| length(*key)).sum(),
        Some(nulls) => nulls.valid_indices().map(|row| length(keys.value(row))).sum(),
    }
}

fn array_bytes(array: &dyn Array) -> usize {
    let rows = array.len();
    let nulls = if array.nulls().is_some() { rows.div_ceil(8) } else { 0 };
    let any = array.as_any();
    let values = match array.data_type() {
        DataType::Utf8 => any.downcast_ref::<StringArray>().map(|a| {
            let offsets = a.value_offsets();
            (offsets[rows] - offsets[0]) as usize + rows * 4
        }),
        DataType::Binary => any.downcast_ref::<BinaryArray>().map(|a| {
            let offsets = a.value_offsets();
            (offsets[rows] - offsets[0]) as usize + rows * 4
        }),
        DataType::List(_) => any.downcast_ref::<ListArray>().map(|a| {
            let offsets = a.value_offsets();
            let (from, to) = (offsets[0] as usize, offsets[rows] as usize);
            array_bytes(a.values().slice(from, to - from).as_ref()) + rows * 4
        }),
        DataType::Dictionary(..) => {
            any.downcast_ref::<DictionaryArray<Int32Type>>().map(|a| array_bytes(a.values().as_ref()) + rows * 4)
        }
        DataType::Struct(_) => {
            any.downcast_ref::<StructArray>().map(|a| a.columns().iter().map(|c| array_bytes(c.as_ref())).sum())
        }
        DataType::FixedSizeBinary(width) => Some(rows * *width as usize),
        DataType::Boolean => Some(rows.div_ceil(8)),
        other => other.primitive_width().map(|width| width * rows),
    };
    nulls + values.unwrap_or(rows * 8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_spec::kinds;

    #[test]
    fn every_declared_column_has_an_array() {
        for kind in kinds::ALL {
            let schema = arrow_schema(&kind.schema());
            let columns = kind.columns.iter().map(|c| absent(c.repr, 3)).collect();
            let rows = RecordBatch::try_new(schema, columns).unwrap();
            assert!(rows_bytes(&rows) > 0);
            assert!(rows.columns().iter().all(|column| column.null_count() == 3));
        }
    }

    #[test]
    fn what_is_shared_is_expanded_for_each_row() {
        let mut builder = WordBuilder::default();
        ["abc", "d", "abc"].into_iter().for_each(|w| builder.push(Some(w)));
        builder.push(None);
        assert_eq!(expanded_array_bytes(&builder.finish()), 7);
    }

    #[test]
    fn words_are_stored_once() {
        let mut builder = WordBuilder::default();
        ["a", "b", "a"].into_iter().for_each(|w| builder.push(Some(w)));
        builder.push(None);
        let array = builder.finish();
        let words = array.as_any().downcast_ref::<DictionaryArray<Int32Type>>().unwrap();
        assert_eq!((words.len(), words.values().len(), words.null_count()), (4, 2, 1));
    }
}
