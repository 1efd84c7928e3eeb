//! The columns of metrics that make an aggregate, and what a row's context is of.

use std::any::Any;

use arrow_array::types::Int32Type;
use arrow_array::{Array, DictionaryArray, Float64Array, Int64Array, ListArray, RecordBatch, StringArray};
use arrow_buffer::ScalarBuffer;
use weir_core::Rows;
use weir_core::columns::get;
use weir_core::tags::TagView;
use weir_spec::kinds::enums::metric_kind;
use weir_spec::kinds::metric as kind;

/// The columns of metrics that each row has of its own.
pub struct Metrics<'a> {
    pub kinds: &'a [u8],
    values: Option<(&'a ListArray, ScalarBuffer<f64>)>,
    members: Option<(&'a ListArray, &'a StringArray)>,
    rates: Option<&'a Float64Array>,
    /// Absent if no row has a time of its own.
    stamped: Option<&'a Int64Array>,
}

impl<'a> Metrics<'a> {
    pub fn new(rows: &'a Rows) -> Option<Metrics<'a>> {
        let kinds = rows.own(kind::KIND).filter(|kinds| kinds.null_count() == 0)?;
        let values = rows.own(kind::VALUES).and_then(|lists| Some((lists, numbers(lists.values().as_any())?)));
        let members = rows.own(kind::MEMBERS).and_then(|lists| Some((lists, lists.values().as_any().downcast_ref()?)));
        let rates = rows.own(kind::SAMPLE_RATE);
        let stamped = rows.own(kind::TIMESTAMP).filter(|stamped| stamped.null_count() < stamped.len());
        Some(Metrics { kinds: kinds.values(), values, members, rates, stamped })
    }

    /// The time of its own that a row has.
    #[inline]
    pub fn stamp(&self, row: usize) -> Option<i64> {
        self.stamped.filter(|stamped| !stamped.is_null(row)).map(|stamped| stamped.value(row))
    }

    /// What a row's context is of.
    #[inline]
    pub fn context_kind(&self, row: usize) -> u8 {
        context_kind(self.kinds[row], self.stamp(row).is_some())
    }

    /// The numbers of a row.
    #[inline]
    pub fn values(&self, row: usize) -> &[f64] {
        let Some((lists, values)) = self.values.as_ref().filter(|(lists, _)| !lists.is_null(row)) else { return &[] };
        let offsets = lists.value_offsets();
        &values[offsets[row] as usize..offsets[row + 1] as usize]
    }

    /// The members of a set that a row has.
    pub fn members(&self, row: usize) -> impl Iterator<Item = &'a str> + use<'a> {
        let held = self.members.filter(|(lists, _)| !lists.is_null(row));
        let range = held.map_or(0..0, |(lists, _)| {
            let offsets = lists.value_offsets();
            offsets[row] as usize..offsets[row + 1] as usize
        });
        range.filter_map(move |at| held.map(|(_, members)| members.value(at)))
    }

    #[inline]
    pub fn rate(&self, row: usize) -> f64 {
        self.rates.filter(|rates| !rates.is_null(row)).map_or(1.0, |rates| rates.value(row))
    }
}

/// The columns of metrics that tell contexts apart: of all rows, or of the entries that rows refer to.
pub struct Heads<'a> {
    pub names: &'a StringArray,
    pub hosts: Option<&'a DictionaryArray<Int32Type>>,
    pub units: Option<&'a DictionaryArray<Int32Type>>,
    tags: Option<TagView<'a>>,
}

impl<'a> Heads<'a> {
    pub fn new(rows: &'a RecordBatch) -> Option<Heads<'a>> {
        let names = get(rows, kind::NAME).filter(|names| names.null_count() == 0)?;
        let tags = get(rows, kind::TAGS).and_then(TagView::new);
        let hosts = get(rows, kind::HOST).filter(|hosts| hosts.null_count() < hosts.len());
        Some(Heads { names, hosts, units: get(rows, kind::UNIT), tags })
    }

    /// The host of a row by its place in the dictionary, from 1 on; 0 for none. Where some rows have one and others do
    /// not, a branch would be guessed wrong.
    #[inline]
    pub fn host(&self, row: usize) -> usize {
        let Some(hosts) = self.hosts else { return 0 };
        let place = (hosts.keys().values()[row] as usize).wrapping_add(1);
        if hosts.is_null(row) { 0 } else { place }
    }

    /// The tags of a row, by the number of its set.
    #[inline]
    pub fn set(&self, row: usize) -> Option<(&TagView<'a>, usize)> {
        let tags = self.tags.as_ref()?;
        Some((tags, tags.set(row)?))
    }
}

/// The numbers in lists. One that is absent, as JSON has what is no number, is none.
fn numbers(values: &dyn Any) -> Option<ScalarBuffer<f64>> {
    let values: &Float64Array = values.downcast_ref()?;
    match values.null_count() {
        0 => Some(values.values().clone()),
        _ => Some(values.iter().map(|value| value.unwrap_or(f64::NAN)).collect()),
    }
}

/// Set in the kind of contexts whose points have times of their own: they are never zero of themselves.
pub const STAMPED: u8 = 0x80;

/// What a row's context is of: a relative gauge is a gauge, a timing a histogram in milliseconds.
fn context_kind(kind: u8, is_stamped: bool) -> u8 {
    let kind = match kind {
        metric_kind::GAUGE_DELTA => metric_kind::GAUGE,
        metric_kind::TIMING => metric_kind::HISTOGRAM,
        kind => kind,
    };
    if is_stamped { kind | STAMPED } else { kind }
}

/// What tells contexts of one name and tags apart: a distribution is a series beside the others, which
/// would all be points of the same one. Those with times of their own are merged with nothing.
pub fn class(kind: u8) -> u8 {
    if kind & STAMPED != 0 {
        return kind;
    }
    u8::from(kind == metric_kind::DISTRIBUTION)
}
