//! Messages as the columns of their kinds.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use arrow_array::types::Int32Type;
use arrow_array::{ArrayRef, Float64Array, Int64Array, PrimitiveArray, RecordBatch, StringArray, UInt8Array};
use arrow_buffer::ScalarBuffer;
use arrow_schema::{DataType, SchemaRef};
use weir_core::build::{Numbers, Texts, Words, lists, room, valid};
use weir_core::columns::{absent, arrow_schema, dictionary, record};
use weir_core::tags::JoinedTagSets;
use weir_spec::kinds::enums::metric_kind;
use weir_spec::kinds::{check, event, metric};
use weir_spec::{Field, Schema};

use super::message::{self, Check, Event, Metric, Origin, Refused};
use super::origin::Inodes;
use super::scan::find;

/// What is known of a sender beside what it says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sender {
    pub pid: Option<i64>,
    pub container: Option<Arc<str>>,
    pub pod: Option<Arc<str>>,
}

/// Text of an event or a check, which may be cut inside a character: what is no UTF-8 in it is replaced.
fn utf8(text: &[u8]) -> Cow<'_, [u8]> {
    match String::from_utf8_lossy(text) {
        Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
        Cow::Owned(text) => Cow::Owned(text.into_bytes()),
    }
}

/// Tag sets. One that follows itself, as in a client's datagram, is held once.
#[derive(Default)]
struct Tags {
    sets: JoinedTagSets,
    /// The set that was built last, if nothing in it was meant for the receiver.
    last: Option<Last>,
}

/// A set of tags, and what it came from.
#[derive(Clone, Copy)]
struct Last {
    set: i32,
    /// Of the tags as they were sent; what the source adds stands behind them.
    sent_bytes: usize,
    /// Whether its message said a cardinality.
    has_cardinality: bool,
}

/// What tags say that is not a tag. Text is told by where it stands among the tags.
#[derive(Clone, Debug, Default, PartialEq)]
struct Magic {
    host: Option<Range<usize>>,
    pod: Option<Range<usize>>,
    cardinality: Option<u8>,
    /// Whether a cardinality was said, known or not: the first counts, and others are tags.
    has_cardinality: bool,
}

impl Tags {
    /// Adds a row's tags: those of its message, joined by commas, and those that every message gets. Before
    /// `magic_from` nothing is meant for the receiver, nor anything if it is absent. `has_cardinality` is of a message
    /// that says one in a field of its own, whatever that says; then the tag of that name is a tag like others.
    #[inline]
    fn push(
        &mut self,
        sent: &[u8],
        magic_from: Option<usize>,
        always: &[String],
        has_cardinality: bool,
    ) -> Option<Magic> {
        let is_same = |last: &Last| {
            last.sent_bytes == sent.len()
                && last.has_cardinality == has_cardinality
                && self.sets.last().starts_with(sent)
        };
        if let Some(last) = self.last.filter(is_same) {
            self.sets.row(last.set);
            return None;
        }
        let magic = match magic_from {
            Some(from) => self.set(sent, from, has_cardinality),
            None if sent.is_empty() => None,
            None => {
                self.sets.add(sent);
                None
            }
        };
        always.iter().for_each(|tag| self.sets.add(tag.as_bytes()));
        let set = self.sets.end_set();
        self.sets.row(set);
        // What was meant for the receiver is in no set, and has to be found again.
        self.last = magic.is_none().then_some(Last { set, sent_bytes: sent.len(), has_cardinality });
        magic
    }

    /// Adds the tags that are sent; says what was meant for the receiver, if anything was.
    fn set(&mut self, sent: &[u8], magic_from: usize, has_cardinality: bool) -> Option<Magic> {
        let mut magic = Magic { has_cardinality, ..Magic::default() };
        // Where what follows the last of those begins; 0 as long as there was none.
        let mut rest = 0;
        let mut from = magic_from;
        while from < sent.len() {
            let tag = &sent[from..];
            let tag = &tag[..find(b',', tag).unwrap_or(tag.len())];
            let next = from + tag.len() + 1;
            if magic.take(tag, from) {
                if from > rest {
                    self.sets.add(&sent[rest..from - 1]);
                }
                rest = next;
            }
            from = next;
        }
        if rest < sent.len() || (rest == sent.len() && rest > 0) {
            self.sets.add(&sent[rest..]);
        }
        (rest > 0).then_some(magic)
    }
}

impl Magic {
    /// Whether a tag, which begins at `start`, was meant for the receiver; then it is taken in. All of these begin with
    /// a letter for which [`may_be_magic`](super::scan::may_be_magic).
    fn take(&mut self, tag: &[u8], start: usize) -> bool {
        let behind = |prefix: usize| Some(start + prefix..start + tag.len());
        if tag.starts_with(b"host:") {
            self.host = behind(5);
            return true;
        }
        let Some(rest) = tag.strip_prefix(b"dd.internal.") else { return false };
        if rest.starts_with(b"entity_id:") {
            // Clients that do not know say so in a word.
            self.pod = behind(22).filter(|_| !matches!(&rest[10..], b"" | b"none"));
            return true;
        }
        if let Some(word) = rest.strip_prefix(b"card:").filter(|_| !self.has_cardinality) {
            self.cardinality = message::cardinality(word);
            self.has_cardinality = !word.is_empty();
            return true;
        }
        rest.starts_with(b"jmx_check_name:")
    }
}

/// The columns that all three kinds have.
#[derive(Default)]
struct Common {
    time: Vec<i64>,
    timestamp: Numbers,
    host: Words,
    tags: Tags,
    pid: Numbers,
    container: Words,
    pod: Words,
    external: Words,
    cardinality: Numbers,
    /// The schema as Arrow has it, once it was asked for.
    arrow: Option<SchemaRef>,
}

/// What is pushed with every message.
pub struct Around<'a> {
    pub time: i64,
    pub sender: &'a Sender,
    /// Tags that every message gets.
    pub tags: &'a [String],
    /// Who is asked for the inodes that clients tell.
    pub inodes: &'a Inodes,
}

impl Common {
    /// Host and tags are UTF-8.
    #[inline(always)]
    fn push(
        &mut self,
        around: &Around,
        origin: &Origin,
        timestamp: Option<i64>,
        host: Option<&[u8]>,
        (tags, magic_from): (Option<&[u8]>, Option<usize>),
    ) {
        let row = self.time.len();
        self.time.push(around.time);
        if let Some(seconds) = timestamp {
            self.timestamp.set(row, seconds * 1_000_000_000);
        }
        let tags = tags.unwrap_or_default();
        let mut pod = None;
        if let Some(magic) = self.tags.push(tags, magic_from, around.tags, origin.has_cardinality) {
            let text = |range: Range<usize>| &tags[range];
            pod = magic.pod.map(|range| String::from_utf8_lossy(text(range)).into_owned());
            if let Some(range) = magic.host.filter(|_| host.is_none()) {
                self.host.set(row, text(range));
            }
            if let Some(word) = magic.cardinality {
                self.cardinality.set(row, word.into());
            }
        }
        if let Some(host) = host {
            self.host.set(row, host);
        }
        self.origin(row, origin, around, pod);
    }

    #[inline(always)]
    fn origin(&mut self, row: usize, origin: &Origin, around: &Around, mut pod: Option<String>) {
        let sender = around.sender;
        if let Some(pid) = sender.pid {
            self.pid.set(row, pid);
        }
        // The kernel's word goes before the client's.
        let said = origin
            .local
            .and_then(|local| container_of(local).or_else(|| around.inodes.unit(inode_of(local)?)?.container.clone()));
        if let Some(container) = sender.container.as_deref().or(said.as_deref()) {
            self.container.set(row, container.as_bytes());
        }
        if let Some(external) = origin.external {
            let text = String::from_utf8_lossy(external);
            pod = pod.or_else(|| pod_of(&text).map(str::to_string));
            self.external.set(row, text.as_bytes());
        }
        if let Some(pod) = pod.as_deref().or(sender.pod.as_deref()) {
            self.pod.set(row, pod.as_bytes());
        }
        if let Some(word) = origin.cardinality {
            self.cardinality.set(row, word.into());
        }
    }

    fn arrow(&mut self, schema: &Schema) -> SchemaRef {
        self.arrow.get_or_insert_with(|| arrow_schema(schema)).clone()
    }

    /// The column of that name, if it is one of these.
    fn column(&mut self, field: &Field, times: &ScalarBuffer<i64>) -> Option<ArrayRef> {
        let rows = times.len();
        Some(match field.name.as_str() {
            "time" => Arc::new(Int64Array::new(times.clone(), None)),
            "timestamp" => std::mem::take(&mut self.timestamp).finish(rows),
            "host" => std::mem::take(&mut self.host).finish(rows),
            "tags" => std::mem::take(&mut self.tags).sets.finish(),
            "origin.pid" => std::mem::take(&mut self.pid).finish(rows),
            "origin.container" => std::mem::take(&mut self.container).finish(rows),
            "origin.pod" => std::mem::take(&mut self.pod).finish(rows),
            "origin.external" => std::mem::take(&mut self.external).finish(rows),
            "origin.cardinality" => std::mem::take(&mut self.cardinality).finish_bytes(rows),
            _ => return None,
        })
    }
}

/// The container id in `c:`: bare, behind `cid-` or `ci-`, or in a list beside the inode of its cgroup, where it is
/// behind `ci-` and the last one counts.
fn container_of(local: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(local);
    let id = match text.contains(',') {
        true => text.rsplit(',').find_map(|part| part.strip_prefix("ci-"))?,
        false if text.starts_with("in-") => return None,
        false => text.strip_prefix("cid-").or_else(|| text.strip_prefix("ci-")).unwrap_or(&text),
    };
    (!id.is_empty()).then(|| id.to_string())
}

/// The inode of a cgroup in `c:`.
fn inode_of(local: &[u8]) -> Option<u64> {
    String::from_utf8_lossy(local).rsplit(',').find_map(|part| part.strip_prefix("in-"))?.parse().ok()
}

/// The pod's uid in external data, the last one if there are more.
fn pod_of(external: &str) -> Option<&str> {
    external.rsplit(',').find_map(|part| part.strip_prefix("pu-")).filter(|uid| !uid.is_empty())
}

/// Rows with their times.
pub type Finished = (RecordBatch, ScalarBuffer<i64>);

/// Rows of the columns that all kinds have, and of `own` by their names.
fn batch(schema: &Schema, mut common: Common, mut own: impl FnMut(&str) -> Option<ArrayRef>) -> Finished {
    let times = ScalarBuffer::from(std::mem::take(&mut common.time));
    let rows = times.len();
    let mut column = |field: &Field| {
        let column = common.column(field, &times).or_else(|| own(&field.name));
        column.unwrap_or_else(|| absent(field.repr, rows))
    };
    let columns = schema.fields.iter().map(&mut column).collect();
    let batch = record(&common.arrow(schema), columns, rows);
    (batch, times)
}

/// Metrics, collected column by column.
#[derive(Default)]
pub struct Metrics {
    common: Common,
    names: Texts,
    kinds: Vec<u8>,
    values: Vec<f64>,
    value_ends: Vec<i32>,
    members: Texts,
    /// Empty as long as no row has members.
    member_ends: Vec<i32>,
    rates: Vec<f64>,
}

impl Metrics {
    pub fn len(&self) -> usize {
        self.kinds.len()
    }

    pub fn is_empty(&self) -> bool {
        self.kinds.is_empty()
    }

    /// Adds a metric, or nothing at all if one of its values is none.
    // In place: what was read of a line is put together and taken apart otherwise.
    #[inline(always)]
    pub fn push(&mut self, metric: &Metric, around: &Around) -> Result<(), Refused> {
        match metric.kind {
            metric_kind::SET => {
                self.member_ends.resize(self.len(), self.members.len() as i32);
                self.members.push(metric.values);
                self.member_ends.push(self.members.len() as i32);
            }
            _ => message::values(metric.values, &mut self.values)?,
        }
        self.push_rest(metric, around);
        Ok(())
    }

    /// Adds a metric with one number, whatever its text says.
    pub fn push_number(&mut self, metric: &Metric, number: f64, around: &Around) {
        self.values.push(number);
        self.push_rest(metric, around);
    }

    /// All but its values.
    #[inline(always)]
    fn push_rest(&mut self, metric: &Metric, around: &Around) {
        self.names.push(metric.name);
        self.kinds.push(metric.kind);
        self.value_ends.push(self.values.len() as i32);
        self.rates.push(metric.sample_rate);
        self.common.push(around, &metric.origin, metric.timestamp, None, (metric.tags, metric.magic_from));
    }

    /// Room for as much again: growing step by step costs a copy each.
    fn like(other: &Metrics) -> Metrics {
        let rows = other.len();
        let mut more = Metrics {
            names: Texts::like(&other.names),
            kinds: room(rows),
            values: room(other.values.len()),
            value_ends: room(rows),
            members: Texts::like(&other.members),
            member_ends: room(other.member_ends.len()),
            rates: room(rows),
            ..Metrics::default()
        };
        more.common.time = room(rows);
        more.common.arrow = other.common.arrow.clone();
        more.common.host = Words::like(&other.common.host);
        more.common.pid = Numbers::like(&other.common.pid);
        more.common.tags.sets = JoinedTagSets::like(&other.common.tags.sets);
        more
    }

    pub fn finish(&mut self, schema: &Schema) -> Finished {
        self.common.arrow(schema);
        let next = Metrics::like(self);
        let mut all = std::mem::replace(self, next);
        let common = std::mem::take(&mut all.common);
        let kinds = ScalarBuffer::from(std::mem::take(&mut all.kinds));
        batch(schema, common, |name| {
            Some(match name {
                name if name == metric::NAME.name => Arc::new(std::mem::take(&mut all.names).finish()) as ArrayRef,
                name if name == metric::KIND.name => Arc::new(UInt8Array::new(kinds.clone(), None)),
                name if name == metric::VALUES.name => {
                    let values = Arc::new(Float64Array::from(std::mem::take(&mut all.values)));
                    lists(DataType::Float64, std::mem::take(&mut all.value_ends), values)
                }
                name if name == metric::MEMBERS.name && all.members.is_empty() => return None,
                name if name == metric::MEMBERS.name => {
                    all.member_ends.resize(kinds.len(), all.members.len() as i32);
                    let members = Arc::new(std::mem::take(&mut all.members).finish());
                    lists(DataType::Utf8, std::mem::take(&mut all.member_ends), members)
                }
                name if name == metric::SAMPLE_RATE.name => {
                    Arc::new(Float64Array::from(std::mem::take(&mut all.rates)))
                }
                name if name == metric::UNIT.name => units(&kinds),
                _ => return None,
            })
        })
    }
}

/// The one unit that the protocol knows.
fn units(kinds: &[u8]) -> ArrayRef {
    let nulls = valid(kinds.len(), |row| kinds[row] == metric_kind::TIMING);
    let keys = PrimitiveArray::<Int32Type>::new(ScalarBuffer::from(vec![0; kinds.len()]), nulls);
    dictionary(keys, Arc::new(StringArray::from_iter_values(["millisecond"])))
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
        self.common.push(around, &event.origin, event.timestamp, host.as_deref(), (tags.as_deref(), Some(0)));
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
        self.common.push(around, &check.origin, check.timestamp, host.as_deref(), (tags.as_deref(), Some(0)));
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
