//! Rows in the forms of Datadog's intake. Numbers of fields are those of `agent_payload.proto`.

use std::collections::BTreeSet;

use arrow_array::{Array, Float64Array, Int64Array, RecordBatch, StringArray, UInt8Array};
use bytes::{BufMut, BytesMut};
use prost::encoding::{double, int32, int64, sint32, string, uint32};
use weir_core::columns::get;
use weir_core::eval::text::word;
use weir_core::sketch;
use weir_core::tags::TagView;
use weir_spec::kinds::enums::{ALERT_TYPE, PRIORITY, series_kind};
use weir_spec::kinds::{check, event, series};

const NANOS: i64 = 1_000_000_000;
/// `MetricPayload.MetricType`: a count, a rate, a gauge.
const COUNT: i32 = 1;
const RATE: i32 = 2;
const GAUGE: i32 = 3;
/// Tags that the Agent makes resources of.
const DEVICE: &str = "device:";
const RESOURCE: &str = "dd.internal.resource:";

/// A batch, column by column.
pub struct Rows<'a> {
    rows: &'a RecordBatch,
    times: Option<&'a Int64Array>,
    names: Option<&'a StringArray>,
    kinds: Option<&'a UInt8Array>,
    values: Option<&'a Float64Array>,
    tags: Option<TagView<'a>>,
    /// Of rows that name none.
    host: &'a str,
}

impl<'a> Rows<'a> {
    pub fn new(rows: &'a RecordBatch, host: &'a str) -> Rows<'a> {
        Rows {
            rows,
            times: get(rows, series::TIME),
            names: get(rows, series::NAME),
            kinds: get(rows, series::KIND),
            values: get(rows, series::VALUE),
            tags: get(rows, series::TAGS).and_then(TagView::new),
            host,
        }
    }

    pub fn len(&self) -> usize {
        self.rows.num_rows()
    }

    pub fn is_sketch(&self, row: usize) -> bool {
        self.kinds.is_some_and(|kinds| kinds.value(row) == series_kind::SKETCH)
    }

    fn seconds(&self, row: usize) -> i64 {
        self.times.map_or(0, |times| times.value(row).div_euclid(NANOS))
    }

    /// When it happened as the client says, else when it arrived.
    fn happened(&self, row: usize) -> i64 {
        let said = get(self.rows, event::TIMESTAMP).filter(|said| !said.is_null(row));
        said.map_or_else(|| self.seconds(row), |said| said.value(row).div_euclid(NANOS))
    }

    fn name(&self, row: usize) -> &'a str {
        self.names.map_or("", |names| names.value(row))
    }

    /// An empty host says that there is none.
    fn host(&self, row: usize) -> &'a str {
        get(self.rows, series::HOST).and_then(|hosts| word(hosts, row)).unwrap_or(self.host)
    }

    fn tags(&self, row: usize) -> impl Iterator<Item = &'a str> {
        let set = self.tags.as_ref().and_then(|tags| Some((tags, tags.set(row)?)));
        set.into_iter().flat_map(|(tags, set)| tags.tags(set))
    }

    /// What the tags of a series say that it is of, beside its host: kind and name. Other kinds of rows keep these tags.
    fn resources(&self, row: usize) -> impl Iterator<Item = (&'a str, &'a str)> {
        let device = self.tags(row).filter_map(|tag| tag.strip_prefix(DEVICE)).filter(|name| !name.is_empty()).last();
        let others = self.tags(row).filter_map(|tag| tag.strip_prefix(RESOURCE)?.split_once(':'));
        let others = others.filter(|(kind, name)| !kind.is_empty() && !name.is_empty());
        device.map(|name| ("device", name)).into_iter().chain(others)
    }

    /// In order, each once: those of events and checks come as they were sent.
    fn sorted_tags(&self, row: usize) -> BTreeSet<&'a str> {
        self.tags(row).collect()
    }

    fn text(&self, name: &str, row: usize) -> &'a str {
        let texts = self.rows.column_by_name(name).and_then(|column| column.as_any().downcast_ref::<StringArray>());
        texts.filter(|texts| !texts.is_null(row)).map_or("", |texts| texts.value(row))
    }

    /// `MetricSeries`, of `MetricPayload.series`.
    pub fn series(&self, row: usize, into: &mut BytesMut) {
        message(1, into, |out| {
            let host = self.host(row);
            if !host.is_empty() {
                resource("host", host, out);
            }
            self.resources(row).for_each(|(kind, name)| resource(kind, name, out));
            text(2, self.name(row), out);
            self.tags(row).filter(|tag| !is_resource(tag)).for_each(|tag| text(3, tag, out));
            message(4, out, |out| {
                double::encode(1, &self.values.map_or(0.0, |values| values.value(row)), out);
                int64::encode(2, &self.seconds(row), out);
            });
            let kind = match self.kinds.map(|kinds| kinds.value(row)) {
                Some(series_kind::RATE) => RATE,
                Some(series_kind::COUNT) => COUNT,
                _ => GAUGE,
            };
            int32::encode(5, &kind, out);
            if let Some(unit) = get(self.rows, series::UNIT).and_then(|units| word(units, row)) {
                text(6, unit, out);
            }
            let interval = get(self.rows, series::INTERVAL).filter(|interval| !interval.is_null(row));
            if let Some(interval) = interval {
                int64::encode(8, &interval.value(row).div_euclid(NANOS).max(1), out);
            }
        });
    }

    /// `SketchPayload.Sketch`.
    pub fn sketch(&self, row: usize, into: &mut BytesMut) {
        let column = get(self.rows, series::SKETCH_);
        let Some(sketch) = column.and_then(|column| sketch::from_array(column, row)) else { return };
        message(1, into, |out| {
            text(1, self.name(row), out);
            text(2, self.host(row), out);
            self.tags(row).for_each(|tag| text(4, tag, out));
            message(7, out, |out| {
                int64::encode(1, &self.seconds(row), out);
                int64::encode(2, &(sketch.count as i64), out);
                double::encode(3, &sketch.min, out);
                double::encode(4, &sketch.max, out);
                double::encode(5, &sketch.avg, out);
                double::encode(6, &sketch.sum, out);
                let (keys, counts) = bins(&sketch);
                sint32::encode_packed(7, &keys, out);
                uint32::encode_packed(8, &counts, out);
            });
        });
    }

    /// `EventsPayload.Event`.
    pub fn event(&self, row: usize, into: &mut BytesMut) {
        let byte = |name: &str| {
            let bytes = self.rows.column_by_name(name).and_then(|c| c.as_any().downcast_ref::<UInt8Array>());
            bytes.filter(|bytes| !bytes.is_null(row)).map_or(0, |bytes| bytes.value(row))
        };
        message(1, into, |out| {
            text(1, self.text(event::TITLE.name, row), out);
            text(2, self.text(event::TEXT.name, row), out);
            int64::encode(3, &self.happened(row), out);
            text(4, &(PRIORITY.text)(byte(event::PRIORITY_.name)), out);
            text(5, self.host(row), out);
            self.sorted_tags(row).into_iter().for_each(|tag| text(6, tag, out));
            text(7, &(ALERT_TYPE.text)(byte(event::ALERT_TYPE_.name)), out);
            text(8, self.text(event::AGGREGATION_KEY.name, row), out);
            let source = get(self.rows, event::SOURCE_TYPE).and_then(|sources| word(sources, row));
            text(9, source.unwrap_or_default(), out);
        });
    }

    /// One object of the list that a payload is; its bracket is closed when it is sent.
    pub fn check(&self, row: usize, into: &mut BytesMut) {
        into.put_u8(if into.is_empty() { b'[' } else { b',' });
        let status = get(self.rows, check::STATUS_).map_or(0, |statuses| statuses.value(row));
        let tags = self.sorted_tags(row);
        let object = serde_json::json!({
            "check": self.name(row),
            "host_name": self.host(row),
            "timestamp": self.happened(row),
            "status": status,
            "message": self.text(check::MESSAGE.name, row),
            // As the Agent writes that there are none.
            "tags": (!tags.is_empty()).then_some(tags),
        });
        into.put_slice(object.to_string().as_bytes());
    }
}

/// Whether a tag of a series says what it is of. A malformed one says nothing, and is taken out too, as the Agent does.
fn is_resource(tag: &str) -> bool {
    tag.starts_with(DEVICE) || tag.starts_with(RESOURCE)
}

/// `MetricSeries.resources`.
fn resource(kind: &str, name: &str, into: &mut impl BufMut) {
    message(1, into, |out| {
        text(1, kind, out);
        text(2, name, out);
    });
}

/// The Agent writes metadata behind the sketches, an empty one.
pub fn sketches_end(into: &mut BytesMut) {
    message(2, into, |_| {});
}

/// A message within a message.
fn message(field: u32, into: &mut impl BufMut, write: impl FnOnce(&mut Vec<u8>)) {
    let mut inner = Vec::new();
    write(&mut inner);
    prost::encoding::bytes::encode(field, &inner, into);
}

/// Text, which is left out where it is empty, as protobuf does.
fn text(field: u32, text: &str, into: &mut impl BufMut) {
    if !text.is_empty() {
        string::encode(field, &text.to_string(), into);
    }
}

/// Keys and counts. A count that no 32 bits hold stands in several bins of the same key.
fn bins(sketch: &sketch::Sketch) -> (Vec<i32>, Vec<u32>) {
    let (mut keys, mut counts) = (Vec::new(), Vec::new());
    for (key, mut n) in sketch.bins() {
        while n > 0 {
            let part = n.min(u64::from(u32::MAX));
            keys.push(key.into());
            counts.push(part as u32);
            n -= part;
        }
    }
    (keys, counts)
}
