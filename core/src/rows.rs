//! The rows of a batch: columns, or what columns are made from once somebody asks for them.
//!
//! Clients say a metric's name, tags and origin with every value. A source that has met them before gives their
//! number in a dictionary instead, which it keeps from batch to batch ([`Entries`]): nothing is copied, and a reader
//! that knows the number needs not look at them again. Every other reader sees plain columns, and pays for them alone.

use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use arrow_array::types::Int32Type;
use arrow_array::{Array, ArrayRef, DictionaryArray, RecordBatch, UInt32Array};
use arrow_schema::{DataType, Field as ArrowField, Schema as ArrowSchema, SchemaRef};
use arrow_select::concat::concat;
use arrow_select::interleave::interleave;
use weir_spec::Schema;
use weir_spec::kind::Key;
use weir_spec::schema::Repr;

use crate::build::Words;
use crate::columns::{Held, absent, arrow_schema, data_type, get, record, rows_bytes};
use crate::eval::text::word;
use crate::tags::{TagSets, TagView};

/// Rows as plain columns, or by their entries in a dictionary. To whoever does not ask, they are plain columns.
#[derive(Clone)]
pub enum Rows {
    Plain(RecordBatch),
    Encoded(Arc<Encoded>),
}

impl Deref for Rows {
    type Target = RecordBatch;

    fn deref(&self) -> &RecordBatch {
        match self {
            Rows::Plain(rows) => rows,
            Rows::Encoded(rows) => rows.decoded(),
        }
    }
}

impl From<RecordBatch> for Rows {
    fn from(rows: RecordBatch) -> Rows {
        Rows::Plain(rows)
    }
}

impl From<Encoded> for Rows {
    fn from(rows: Encoded) -> Rows {
        Rows::Encoded(Arc::new(rows))
    }
}

impl Rows {
    /// How many there are.
    pub fn len(&self) -> usize {
        match self {
            Rows::Plain(rows) => rows.num_rows(),
            Rows::Encoded(rows) => rows.own.num_rows(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Rows by their entries, if that is what they are.
    pub fn encoded(&self) -> Option<&Encoded> {
        match self {
            Rows::Plain(_) => None,
            Rows::Encoded(rows) => Some(rows),
        }
    }

    /// The column of that key, if the rows carry it: of rows by their entries, only one that each row has of its own.
    pub fn own<R: Held>(&self, key: Key<R>) -> Option<&R::Array> {
        match self {
            Rows::Plain(rows) => get(rows, key),
            Rows::Encoded(rows) => get(&rows.own, key),
        }
    }

    pub fn into_plain(self) -> RecordBatch {
        match self {
            Rows::Plain(rows) => rows,
            Rows::Encoded(rows) => rows.decoded().clone(),
        }
    }

    /// What `pick` leaves of the rows; it treats all columns alike.
    pub fn picked(&self, pick: impl Fn(&RecordBatch) -> RecordBatch) -> Rows {
        match self {
            Rows::Plain(rows) => pick(rows).into(),
            Rows::Encoded(rows) => rows.with(pick(&rows.own)).into(),
        }
    }

    /// Bytes that they keep alive by themselves; entries are their source's.
    pub fn bytes(&self) -> usize {
        match self {
            Rows::Plain(rows) => rows_bytes(rows),
            // What passes is held by every part of the rows.
            Rows::Encoded(rows) => {
                let columns = rows.decoded.get().unwrap_or(&rows.own);
                rows_bytes(columns) + rows.passing.as_ref().map_or(0, rows_bytes)
            }
        }
    }

    /// The same rows for another reader: what one has made of them is not held by the other.
    pub(crate) fn share(&self) -> Rows {
        match self {
            Rows::Plain(rows) => rows.clone().into(),
            Rows::Encoded(rows) => rows.with(rows.own.clone()).into(),
        }
    }
}

/// The column of entries among those that rows have of their own. No name of a column is empty.
const ENTRY: &str = "";

/// Entries that are of one batch alone are numbered from here on.
pub const PASSING: u32 = 1 << 31;

/// Rows by their entries.
pub struct Encoded {
    /// Of all columns.
    schema: SchemaRef,
    /// The columns that each row has of its own, and behind them its entry.
    own: RecordBatch,
    entries: Entries,
    /// What is in no dictionary, as rows like those of one.
    passing: Option<RecordBatch>,
    decoded: OnceLock<RecordBatch>,
}

impl Encoded {
    /// `own` are columns of the layout's schema that are not its entries', in their order; `entries_of` has each row's
    /// entry, below [`PASSING`] one of `entries`, from there on one of `passing`.
    pub fn new(
        layout: &Layout,
        mut own: Vec<ArrayRef>,
        entries_of: Vec<u32>,
        entries: Entries,
        passing: Option<RecordBatch>,
    ) -> Encoded {
        let rows = entries_of.len();
        own.push(Arc::new(UInt32Array::from(entries_of)));
        let own = record(&layout.own, own, rows);
        Encoded { schema: layout.all.clone(), own, entries, passing, decoded: OnceLock::new() }
    }

    fn with(&self, own: RecordBatch) -> Encoded {
        let (entries, passing) = (self.entries.clone(), self.passing.clone());
        Encoded { schema: self.schema.clone(), own, entries, passing, decoded: OnceLock::new() }
    }

    /// The entry of each row.
    pub fn entries_of(&self) -> &[u32] {
        let column = self.own.columns().last().and_then(|column| column.as_any().downcast_ref::<UInt32Array>());
        column.map_or(&[], |column| column.values())
    }

    /// The dictionary that entries are of: numbers of another one say nothing here.
    pub fn dictionary(&self) -> u64 {
        *self.entries.dictionary
    }

    /// Where an entry is: rows that it is one of, and its place among them.
    pub fn find(&self, entry: u32) -> (&RecordBatch, usize) {
        match (entry.checked_sub(PASSING), &self.passing) {
            (Some(at), Some(passing)) => (passing, at as usize),
            _ => self.entries.find(entry),
        }
    }

    fn decoded(&self) -> &RecordBatch {
        self.decoded.get_or_init(|| self.decode())
    }

    /// All columns, an entry's values for each row that has it.
    fn decode(&self) -> RecordBatch {
        let rows = self.own.num_rows();
        let parts: Vec<&RecordBatch> = self.entries.parts.iter().map(|part| &part.rows).chain(&self.passing).collect();
        let places: Vec<(usize, usize)> = self.entries_of().iter().map(|entry| self.place(*entry)).collect();
        let column = |field: &Arc<ArrowField>| match self.own.column_by_name(field.name()) {
            Some(column) => column.clone(),
            None => {
                let of: Vec<&dyn Array> =
                    parts.iter().filter_map(|part| part.column_by_name(field.name())).map(|c| c.as_ref()).collect();
                gathered(field.data_type(), &of, &places)
            }
        };
        record(&self.schema, self.schema.fields().iter().map(column).collect(), rows)
    }

    /// In which of all parts an entry is, and where.
    fn place(&self, entry: u32) -> (usize, usize) {
        match entry.checked_sub(PASSING) {
            Some(at) => (self.entries.parts.len(), at as usize),
            None => self.entries.place(entry),
        }
    }
}

/// A column of values at places, each a part and a position in it. Arrow's own kernel would join the dictionaries of
/// all parts, however few of their values are asked for.
fn gathered(of: &DataType, parts: &[&dyn Array], places: &[(usize, usize)]) -> ArrayRef {
    let rows = places.len();
    if parts.iter().all(|part| is_absent(*part)) {
        return absent_like(of, rows);
    }
    let words = || parts.iter().map(|part| part.as_any().downcast_ref::<DictionaryArray<Int32Type>>());
    match of {
        DataType::Dictionary(_, values) if **values == DataType::Utf8 => {
            let words: Vec<_> = words().collect();
            let mut column = Words::default();
            for (row, (part, at)) in places.iter().enumerate() {
                if let Some(word) = words[*part].and_then(|words| word(words, *at)) {
                    column.set(row, word.as_bytes());
                }
            }
            column.finish(rows)
        }
        DataType::Dictionary(..) => {
            let views: Vec<_> = words().map(|words| words.and_then(TagView::new)).collect();
            let mut column = TagSets::default();
            // Of each entry that was met, the set that it became.
            let mut sets: hashbrown::HashMap<(usize, usize), i32, foldhash::fast::RandomState> = Default::default();
            for place in places {
                let view = views[place.0].as_ref();
                match view.and_then(|view| Some((view, view.set(place.1)?))) {
                    None => column.row_absent(),
                    Some((view, set)) => {
                        let set = *sets.entry((place.0, set)).or_insert_with(|| column.add(view.bytes(set)));
                        column.row(set);
                    }
                }
            }
            column.finish()
        }
        _ => match interleave(parts, places) {
            Ok(column) => column,
            // Parts are of one schema, and places are in them.
            Err(error) => unreachable!("entries: {error}"),
        },
    }
}

/// A column without any value. Most have none, and share their memory.
fn absent_like(of: &DataType, rows: usize) -> ArrayRef {
    let repr = [Repr::I64, Repr::U8, Repr::Word, Repr::Tags].into_iter().find(|repr| data_type(*repr) == *of);
    repr.map_or_else(|| arrow_array::new_null_array(of, rows), |repr| absent(repr, rows))
}

/// Which columns of a stream its entries have, and which each row has of its own.
pub struct Layout {
    /// Of all columns.
    pub all: SchemaRef,
    /// Of those that entries have.
    pub entry: SchemaRef,
    /// Of the others, and of the entry.
    own: SchemaRef,
}

impl Layout {
    pub fn new(schema: &Schema, is_of_entry: impl Fn(&str) -> bool) -> Layout {
        let all = arrow_schema(schema);
        let (entry, mut own): (Vec<_>, Vec<_>) =
            all.fields().iter().cloned().partition(|field| is_of_entry(field.name()));
        own.push(Arc::new(ArrowField::new(ENTRY, DataType::UInt32, false)));
        Layout { own: Arc::new(ArrowSchema::new(own)), entry: Arc::new(ArrowSchema::new(entry)), all }
    }
}

/// The entries of a dictionary as they were when a batch was made. Later ones come behind them, so that a number means
/// the same as long as the dictionary lives.
#[derive(Clone)]
pub struct Entries {
    /// Its number, which no other has.
    dictionary: Arc<u64>,
    parts: Arc<Vec<Part>>,
    len: u32,
}

/// Entries that follow each other.
#[derive(Clone)]
struct Part {
    first: u32,
    rows: RecordBatch,
}

/// Entries of one part at most. What is added is joined with parts before it that are not larger, so that there are few
/// and an entry is copied seldom.
const PART_ROWS: usize = 4096;

impl Entries {
    /// A dictionary without entries, unlike any other.
    pub fn new() -> Entries {
        static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
        let dictionary = Arc::new(NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed));
        Entries { dictionary, parts: Arc::default(), len: 0 }
    }

    pub fn len(&self) -> u32 {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether rows, wherever they are, or anybody else holds it too.
    pub fn is_shared(&self) -> bool {
        Arc::strong_count(&self.dictionary) > 1
    }

    /// Adds entries; what was made before knows nothing of them.
    pub fn add(&mut self, rows: RecordBatch) {
        let added = rows.num_rows();
        debug_assert!((self.len as usize + added) < PASSING as usize);
        if added == 0 {
            return;
        }
        let parts = Arc::make_mut(&mut self.parts);
        let mut part = Part { first: self.len, rows };
        let is_joined = |last: &mut Part, added: usize| {
            let rows = last.rows.num_rows();
            rows <= added && rows + added <= PART_ROWS
        };
        while let Some(last) = parts.pop_if(|last| is_joined(last, part.rows.num_rows())) {
            part = Part { first: last.first, rows: joined(&last.rows, &part.rows) };
        }
        parts.push(part);
        self.len += added as u32;
    }

    fn place(&self, entry: u32) -> (usize, usize) {
        let part = self.parts.partition_point(|part| part.first <= entry) - 1;
        (part, (entry - self.parts[part].first) as usize)
    }

    fn find(&self, entry: u32) -> (&RecordBatch, usize) {
        let (part, at) = self.place(entry);
        (&self.parts[part].rows, at)
    }
}

impl Default for Entries {
    fn default() -> Self {
        Entries::new()
    }
}

fn joined(first: &RecordBatch, second: &RecordBatch) -> RecordBatch {
    let rows = first.num_rows() + second.num_rows();
    let column = |(first, second): (&ArrayRef, &ArrayRef)| {
        if is_absent(first) && is_absent(second) {
            return absent_like(first.data_type(), rows);
        }
        match concat(&[first, second]) {
            Ok(column) => column,
            // Entries of a dictionary have one schema.
            Err(error) => unreachable!("entries: {error}"),
        }
    };
    let columns = first.columns().iter().zip(second.columns()).map(column).collect();
    record(first.schema_ref(), columns, rows)
}

fn is_absent(column: &dyn Array) -> bool {
    column.null_count() == column.len()
}

#[cfg(test)]
mod tests {
    use weir_spec::kinds::metric;

    use super::*;
    use crate::build::Texts;

    fn layout() -> Layout {
        Layout::new(&metric::METRIC.schema(), |name| name == "name" || name == "tags" || name == "host")
    }

    /// Entries called so, each with its name as its tag, and every second one of a host.
    fn entries(names: &[&str]) -> RecordBatch {
        let (mut texts, mut hosts, mut tags) = (Texts::default(), Words::default(), TagSets::default());
        for (row, name) in names.iter().enumerate() {
            texts.push(name.as_bytes());
            if row % 2 == 1 {
                hosts.set(row, b"h");
            }
            tags.tag(name.as_bytes());
            let set = tags.end_set();
            tags.row(set);
        }
        let layout = layout();
        let columns = layout.entry.fields().iter().map(|field| -> ArrayRef {
            match field.name().as_str() {
                "name" => Arc::new(std::mem::take(&mut texts).finish()),
                "host" => std::mem::take(&mut hosts).finish(names.len()),
                _ => std::mem::take(&mut tags).finish(),
            }
        });
        record(&layout.entry, columns.collect(), names.len())
    }

    fn rows(entries_of: &[u32], entries: &Entries, passing: Option<RecordBatch>) -> Rows {
        let layout = layout();
        let fields = layout.own.fields().iter().filter(|field| field.name() != ENTRY);
        let own = fields.map(|field| arrow_array::new_null_array(field.data_type(), entries_of.len())).collect();
        Encoded::new(&layout, own, entries_of.to_vec(), entries.clone(), passing).into()
    }

    fn names(rows: &Rows) -> Vec<String> {
        let names = get(rows, metric::NAME).unwrap();
        let hosts = get(rows, metric::HOST).unwrap();
        let tags = TagView::new(get(rows, metric::TAGS).unwrap()).unwrap();
        (0..rows.num_rows())
            .map(|row| {
                let tags: Vec<_> = tags.tags(tags.set(row).unwrap()).collect();
                format!("{}{}{tags:?}", names.value(row), word(hosts, row).unwrap_or(""))
            })
            .collect()
    }

    #[test]
    fn rows_are_decoded_once_somebody_asks() {
        let mut all = Entries::new();
        all.add(entries(&["a", "b"]));
        all.add(entries(&["c"]));
        let before = rows(&[2, 0, 2, PASSING, 1], &all, Some(entries(&["p"])));
        // What comes later changes nothing of what was made.
        all.add(entries(&["d", "e"]));
        assert_eq!(names(&before), [r#"c["c"]"#, r#"a["a"]"#, r#"c["c"]"#, r#"p["p"]"#, r#"bh["b"]"#]);
        assert_eq!(names(&rows(&[4, 3], &all, None)), [r#"eh["e"]"#, r#"d["d"]"#]);
        assert_eq!(all.len(), 5);
    }

    #[test]
    fn what_is_picked_stays_encoded() {
        let mut all = Entries::new();
        all.add(entries(&["a", "b", "c"]));
        let two = rows(&[0, 1, 2, 0], &all, None).picked(|own| own.slice(1, 2));
        assert_eq!(two.encoded().unwrap().entries_of(), [1, 2]);
        assert_eq!(names(&two), [r#"bh["b"]"#, r#"c["c"]"#]);
    }

    #[test]
    fn entries_are_found_wherever_they_are() {
        let mut all = Entries::new();
        let names: Vec<String> = (0..3 * PART_ROWS).map(|n| format!("n{n}")).collect();
        let mut from = 0;
        for size in [1, 7, 4000, 500, 4096, 90, 3594] {
            let part: Vec<&str> = names[from..from + size].iter().map(String::as_str).collect();
            all.add(entries(&part));
            from += size;
        }
        assert_eq!(all.len() as usize, from);
        for entry in (0..from).step_by(13) {
            let (rows, at) = all.find(entry as u32);
            assert_eq!(get(rows, metric::NAME).unwrap().value(at), names[entry]);
        }
    }
}
