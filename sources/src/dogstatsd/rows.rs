//! Messages as the columns of their kinds.

use std::borrow::Cow;
use std::sync::Arc;

use arrow_array::{ArrayRef, Float64Array, Int64Array, UInt8Array};
use arrow_buffer::ScalarBuffer;
use arrow_schema::DataType;
use weir_core::Rows;
use weir_core::build::{Numbers, Texts, Words, lists, room};
use weir_core::columns::{absent, arrow_schema, record};
use weir_core::hash::Hash;
use weir_core::rows::{Encoded, Entries, Layout, PASSING};
use weir_spec::kinds::enums::metric_kind;
use weir_spec::kinds::{check, event, metric};
use weir_spec::{Field, Schema};

use super::about::{About, Around};
use super::message::{self, Check, Event, Metric, Origin, Refused};
use super::series::{Heads, Known, Series};

/// Rows with their times.
pub type Finished = (Rows, ScalarBuffer<i64>);

/// Metrics, collected column by column. What a row shares with others of its series is an entry of a dictionary.
pub struct Metrics {
    columns: Columns,
    series: Series,
    layout: Option<Layout>,
}

/// What is of the rows of one batch.
#[derive(Default)]
struct Columns {
    times: Vec<i64>,
    timestamps: Numbers,
    kinds: Vec<u8>,
    values: Vec<f64>,
    value_ends: Vec<i32>,
    members: Texts,
    /// Empty as long as no row has members.
    member_ends: Vec<i32>,
    rates: Vec<f64>,
    /// The entry of each row.
    entries: Vec<u32>,
    /// What is of one row alone.
    passing: Heads,
}

impl Metrics {
    /// With so many bytes to know series by.
    pub fn new(series_bytes_max: usize) -> Metrics {
        Metrics { columns: Columns::default(), series: Series::new(series_bytes_max), layout: None }
    }

    pub fn len(&self) -> usize {
        self.columns.kinds.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// To be called before lines are read.
    pub fn begin(&mut self) {
        if self.is_empty() {
            self.series.renew();
        }
    }

    /// The series that were met before.
    #[inline(always)]
    pub fn series(&mut self) -> &mut Series {
        &mut self.series
    }

    /// Adds a metric, or nothing at all if one of its values is none. `hash` is of all of it but its values and their
    /// rate: what has the same is known from then on, if it may come again.
    pub fn push(&mut self, metric: &Metric, hash: Option<Hash>, around: &Around) -> Result<(), Refused> {
        self.columns.push_values(metric.kind, metric.values)?;
        self.push_rest(metric, hash, around);
        Ok(())
    }

    /// Adds a metric with one number, whatever its text says.
    pub fn push_number(&mut self, metric: &Metric, number: f64, around: &Around) {
        self.columns.values.push(number);
        self.push_rest(metric, None, around);
    }

    /// Adds values of a series that was met before, or nothing at all if one of them is none.
    #[inline(always)]
    pub fn push_known(&mut self, known: Known, values: &[u8], sample_rate: f64, time: i64) -> Result<(), Refused> {
        self.columns.push_values(known.kind, values)?;
        self.columns.push(known, sample_rate, time);
        Ok(())
    }

    /// All but its values.
    fn push_rest(&mut self, metric: &Metric, hash: Option<Hash>, around: &Around) {
        let columns = &mut self.columns;
        if let Some(seconds) = metric.timestamp {
            columns.timestamps.set(columns.kinds.len(), seconds * 1_000_000_000);
        }
        let known = hash.and_then(|hash| self.series.learn(hash, metric, around));
        let known = known.unwrap_or_else(|| {
            let entry = PASSING + columns.passing.len() as u32;
            columns.passing.push(metric, around);
            Known { entry, kind: metric.kind }
        });
        columns.push(known, metric.sample_rate, around.time);
    }

    pub fn finish(&mut self, schema: &Schema) -> Finished {
        let next = Columns::like(&self.columns);
        let columns = std::mem::replace(&mut self.columns, next);
        let layout = self.layout.get_or_insert_with(|| Layout::new(schema, Heads::has));
        let entries = self.series.settle(layout);
        columns.finish(schema, layout, entries)
    }
}

impl Columns {
    #[inline(always)]
    fn push_values(&mut self, kind: u8, values: &[u8]) -> Result<(), Refused> {
        if kind != metric_kind::SET {
            return message::values(values, &mut self.values);
        }
        self.member_ends.resize(self.kinds.len(), self.members.len() as i32);
        self.members.push(values);
        self.member_ends.push(self.members.len() as i32);
        Ok(())
    }

    /// All that is left of a row whose values were pushed.
    #[inline(always)]
    fn push(&mut self, known: Known, sample_rate: f64, time: i64) {
        self.times.push(time);
        self.kinds.push(known.kind);
        self.value_ends.push(self.values.len() as i32);
        self.rates.push(sample_rate);
        self.entries.push(known.entry);
    }

    /// Room for as much again: growing step by step costs a copy each.
    fn like(other: &Columns) -> Columns {
        let rows = other.kinds.len();
        Columns {
            times: room(rows),
            timestamps: Numbers::default(),
            kinds: room(rows),
            values: room(other.values.len()),
            value_ends: room(rows),
            members: Texts::like(&other.members),
            member_ends: room(other.member_ends.len()),
            rates: room(rows),
            entries: room(rows),
            passing: Heads::like(&other.passing),
        }
    }

    fn finish(mut self, schema: &Schema, layout: &Layout, entries: Entries) -> Finished {
        let rows = self.kinds.len();
        let times = ScalarBuffer::from(std::mem::take(&mut self.times));
        if self.passing.len() == rows {
            let column = |field: &Field| match self.passing.column(&field.name) {
                Some(column) => column,
                None => self.own(field, &times),
            };
            let columns = schema.fields.iter().map(column).collect();
            return (record(&layout.all, columns, rows).into(), times);
        }
        let fields = schema.fields.iter().filter(|field| !Heads::has(&field.name));
        let own = fields.map(|field| self.own(field, &times)).collect();
        let passing = self.passing.finish(layout);
        (Encoded::new(layout, own, self.entries, entries, passing).into(), times)
    }

    /// A column that each row has of its own.
    fn own(&mut self, field: &Field, times: &ScalarBuffer<i64>) -> ArrayRef {
        let rows = times.len();
        match field.name.as_str() {
            name if name == metric::TIME.name => Arc::new(Int64Array::new(times.clone(), None)),
            name if name == metric::TIMESTAMP.name => std::mem::take(&mut self.timestamps).finish(rows),
            name if name == metric::KIND.name => Arc::new(UInt8Array::from(std::mem::take(&mut self.kinds))),
            name if name == metric::VALUES.name => {
                let values = Arc::new(Float64Array::from(std::mem::take(&mut self.values)));
                lists(DataType::Float64, std::mem::take(&mut self.value_ends), values)
            }
            name if name == metric::MEMBERS.name && !self.members.is_empty() => {
                self.member_ends.resize(rows, self.members.len() as i32);
                let members = Arc::new(std::mem::take(&mut self.members).finish());
                lists(DataType::Utf8, std::mem::take(&mut self.member_ends), members)
            }
            name if name == metric::SAMPLE_RATE.name => Arc::new(Float64Array::from(std::mem::take(&mut self.rates))),
            _ => absent(field.repr, rows),
        }
    }
}

/// The columns that events and checks have in common.
#[derive(Default)]
struct Common {
    times: Vec<i64>,
    timestamps: Numbers,
    about: About,
}

impl Common {
    /// Host and tags are UTF-8.
    fn push(
        &mut self,
        around: &Around,
        origin: &Origin,
        timestamp: Option<i64>,
        host: Option<&[u8]>,
        tags: Option<&[u8]>,
    ) {
        if let Some(seconds) = timestamp {
            self.timestamps.set(self.times.len(), seconds * 1_000_000_000);
        }
        self.times.push(around.time);
        self.about.push(around, origin, host, tags);
    }
}

/// Rows of the columns that these kinds have, and of `own` by their names.
fn batch(schema: &Schema, mut common: Common, mut own: impl FnMut(&str) -> Option<ArrayRef>) -> Finished {
    let times = ScalarBuffer::from(std::mem::take(&mut common.times));
    let rows = times.len();
    let mut column = |field: &Field| {
        let column = match field.name.as_str() {
            "time" => Some(Arc::new(Int64Array::new(times.clone(), None)) as ArrayRef),
            "timestamp" => Some(std::mem::take(&mut common.timestamps).finish(rows)),
            name => common.about.column(name).or_else(|| own(name)),
        };
        column.unwrap_or_else(|| absent(field.repr, rows))
    };
    let columns = schema.fields.iter().map(&mut column).collect();
    (record(&arrow_schema(schema), columns, rows).into(), times)
}

/// Text of an event or a check, which may be cut inside a character: what is no UTF-8 in it is replaced.
fn utf8(text: &[u8]) -> Cow<'_, [u8]> {
    match String::from_utf8_lossy(text) {
        Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
        Cow::Owned(text) => Cow::Owned(text.into_bytes()),
    }
}

/// `\n` in two bytes is a line feed, in the title and in the text.
fn unescape(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = memchr::memmem::find(rest, br"\n") {
        out.extend_from_slice(&rest[..at]);
        out.push(b'\n');
        rest = &rest[at + 2..];
    }
    out.extend_from_slice(rest);
    out
}

/// Events, collected column by column.
#[derive(Default)]
pub struct Events {
    common: Common,
    titles: Texts,
    texts: Texts,
    priorities: Vec<u8>,
    alert_types: Vec<u8>,
    aggregation_keys: Texts,
    source_types: Words,
}

impl Events {
    pub fn len(&self) -> usize {
        self.priorities.len()
    }

    pub fn is_empty(&self) -> bool {
        self.priorities.is_empty()
    }

    pub fn push(&mut self, event: &Event, around: &Around) {
        let row = self.len();
        self.titles.push(&utf8(&unescape(event.title)));
        self.texts.push(&utf8(&unescape(event.text)));
        self.priorities.push(event.priority);
        self.alert_types.push(event.alert_type);
        match event.aggregation_key {
            Some(key) => self.aggregation_keys.push(&utf8(key)),
            None => self.aggregation_keys.push_absent(),
        }
        if let Some(source) = event.source_type {
            self.source_types.set(row, &utf8(source));
        }
        let (host, tags) = (event.host.map(utf8), event.tags.map(utf8));
        self.common.push(around, &event.origin, event.timestamp, host.as_deref(), tags.as_deref());
    }

    pub fn finish(&mut self, schema: &Schema) -> Finished {
        let mut all = std::mem::take(self);
        let rows = all.len();
        let common = std::mem::take(&mut all.common);
        batch(schema, common, |name| {
            Some(match name {
                name if name == event::TITLE.name => Arc::new(std::mem::take(&mut all.titles).finish()) as ArrayRef,
                name if name == event::TEXT.name => Arc::new(std::mem::take(&mut all.texts).finish()),
                name if name == event::PRIORITY_.name => Arc::new(UInt8Array::from(all.priorities.clone())),
                name if name == event::ALERT_TYPE_.name => Arc::new(UInt8Array::from(all.alert_types.clone())),
                name if name == event::AGGREGATION_KEY.name => {
                    Arc::new(std::mem::take(&mut all.aggregation_keys).finish())
                }
                name if name == event::SOURCE_TYPE.name => std::mem::take(&mut all.source_types).finish(rows),
                _ => return None,
            })
        })
    }
}

/// Service checks, collected column by column.
#[derive(Default)]
pub struct Checks {
    common: Common,
    names: Texts,
    statuses: Vec<u8>,
    messages: Texts,
}

impl Checks {
    pub fn len(&self) -> usize {
        self.statuses.len()
    }

    pub fn is_empty(&self) -> bool {
        self.statuses.is_empty()
    }

    pub fn push(&mut self, check: &Check, around: &Around) {
        self.names.push(&utf8(check.name));
        self.statuses.push(check.status);
        match check.message {
            Some(message) => self.messages.push(&utf8(message)),
            None => self.messages.push_absent(),
        }
        let (host, tags) = (check.host.map(utf8), check.tags.map(utf8));
        self.common.push(around, &check.origin, check.timestamp, host.as_deref(), tags.as_deref());
    }

    pub fn finish(&mut self, schema: &Schema) -> Finished {
        let mut all = std::mem::take(self);
        let common = std::mem::take(&mut all.common);
        batch(schema, common, |name| {
            Some(match name {
                name if name == check::NAME.name => Arc::new(std::mem::take(&mut all.names).finish()) as ArrayRef,
                name if name == check::STATUS_.name => Arc::new(UInt8Array::from(all.statuses.clone())),
                name if name == check::MESSAGE.name => Arc::new(std::mem::take(&mut all.messages).finish()),
                _ => return None,
            })
        })
    }
}
