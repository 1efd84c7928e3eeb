//! Points as rows: what a closed bucket gives, series by series, a batch at a time.

use std::sync::Arc;

use arrow_array::{ArrayRef, Float64Array, Int64Array, RecordBatch, UInt8Array};
use arrow_schema::SchemaRef;
use weir_core::batch::{BATCH_ROWS, Times};
use weir_core::build::{Texts, Words};
use weir_core::columns::{absent, arrow_schema, record};
use weir_core::sketch::{self, Sketch};
use weir_core::tags::TagSets;
use weir_core::{Acks, Out, Time};
use weir_spec::Schema;
use weir_spec::kinds::enums::{metric_kind, series_kind};
use weir_spec::kinds::series;
use weir_spec::schema::Repr;

use super::bucket::{Bucket, Samples};
use super::context::{Context, Contexts, Id};
use super::is_silent;
use super::metrics::STAMPED;
use super::numerics::{self, Aggregate, Histogram};

/// What is computed of samples.
pub struct Numerics {
    /// In nanoseconds.
    interval: i64,
    /// What a histogram becomes, each with what goes behind its name.
    aggregates: Vec<(Aggregate, String)>,
    percents: Vec<(i64, String)>,
}

impl Numerics {
    /// The Agent gives percentiles in their order, whatever order they were asked for in.
    pub fn new(interval: i64, aggregates: impl Iterator<Item = Aggregate>, mut percents: Vec<i64>) -> Numerics {
        percents.sort_unstable();
        let aggregates = aggregates.map(|aggregate| (aggregate, format!(".{}", aggregate.word()))).collect();
        let percents = percents.into_iter().map(|percent| (percent, format!(".{percent}percentile"))).collect();
        Numerics { interval, aggregates, percents }
    }

    fn seconds(&self) -> f64 {
        self.interval as f64 / 1e9
    }

    /// Rows that a histogram becomes.
    fn of_histogram(&self) -> usize {
        self.aggregates.len() + self.percents.len()
    }
}

/// A bucket that is being given out, context by context.
pub struct Closing {
    bucket: Bucket,
    samples: Samples,
    next: Id,
}

impl Closing {
    pub fn new(mut bucket: Bucket) -> Closing {
        let samples = bucket.close();
        bucket.acks = std::mem::take(&mut bucket.acks).bundle();
        Closing { bucket, samples, next: 0 }
    }

    pub fn start(&self) -> i64 {
        self.bucket.start
    }

    /// Whether a context has values that are still to be given out.
    pub fn has(&self, id: Id) -> bool {
        self.next <= id && self.bucket.seen(id).is_some()
    }
}

/// Points that do not wait for a bucket: context, time and value.
#[derive(Default)]
pub struct Passed {
    points: Vec<(Id, i64, f64)>,
    pub acks: Acks,
}

impl Passed {
    pub fn len(&self) -> usize {
        self.points.len()
    }
    pub fn is_empty(&self) -> bool {
        self.points.is_empty()
    }
    pub fn push(&mut self, id: Id, time: i64, value: f64) {
        self.points.push((id, time, value));
    }
    pub fn has(&self, id: Id) -> bool {
        self.points.iter().any(|(of, ..)| *of == id)
    }
}

/// What a context's point is.
enum Value {
    Number(u8, f64),
    Sketch(Sketch),
}

/// Builds the rows.
pub struct Points {
    numerics: Numerics,
    schema: Arc<Schema>,
    arrow: SchemaRef,
    rows: Rows,
    /// When the last value of any counter came that was given out.
    pub counted_until: i64,
}

/// One column each.
#[derive(Default)]
struct Rows {
    times: Vec<i64>,
    names: Texts,
    name: Vec<u8>,
    kinds: Vec<u8>,
    values: Vec<f64>,
    sketches: Vec<Option<Sketch>>,
    units: Words,
    hosts: Words,
    tags: TagSets,
    /// The tags of the rows that follow.
    set: i32,
    /// Points whose values were finite, and their sum is not.
    overflowed: u64,
}

impl Rows {
    /// The tags of the rows that follow.
    fn begin(&mut self, context: &Context) {
        self.set = self.tags.add(context.tags());
    }

    /// One point; `suffix` goes behind the context's name. One that values were too large for is none.
    fn push(&mut self, context: &Context, suffix: &str, time: i64, value: Value) {
        let is_finite = match &value {
            Value::Number(_, value) => value.is_finite(),
            Value::Sketch(sketch) => sketch.sum.is_finite() && sketch.avg.is_finite(),
        };
        if !is_finite {
            self.overflowed += 1;
            return;
        }
        let row = self.times.len();
        self.times.push(time);
        self.name.clear();
        self.name.extend_from_slice(context.name());
        self.name.extend_from_slice(suffix.as_bytes());
        self.names.push(&self.name);
        if let Some(unit) = context.unit().filter(|_| suffix != ".count") {
            self.units.set(row, unit);
        }
        if let Some(host) = context.host() {
            self.hosts.set(row, host);
        }
        self.tags.row(self.set);
        match value {
            Value::Number(kind, value) => {
                self.kinds.push(kind);
                self.values.push(value);
                if !self.sketches.is_empty() {
                    self.sketches.push(None);
                }
            }
            Value::Sketch(sketch) => {
                self.kinds.push(series_kind::SKETCH);
                self.values.push(f64::NAN);
                self.sketches.resize_with(row, || None);
                self.sketches.push(Some(sketch));
            }
        }
    }

    fn len(&self) -> usize {
        self.times.len()
    }
}

impl Points {
    pub fn new(numerics: Numerics, schema: Arc<Schema>) -> Points {
        Points { numerics, arrow: arrow_schema(&schema), schema, rows: Rows::default(), counted_until: i64::MIN }
    }

    /// Gives at most a batch of a bucket; `true` when it was the last one.
    pub fn give(&mut self, closing: &mut Closing, contexts: &mut Contexts, zero_fill: i64, out: &mut Out) -> bool {
        let numbers = contexts.numbers() as Id;
        while closing.next < numbers {
            if self.rows.len() + self.numerics.of_histogram().max(1) > BATCH_ROWS {
                let acks = closing.bucket.acks.split();
                self.send(Promised::Start, acks, out);
                return false;
            }
            self.context(closing, contexts, zero_fill);
            closing.next += 1;
        }
        let acks = std::mem::take(&mut closing.bucket.acks);
        self.send(Promised::Start, acks, out);
        true
    }

    /// The points of the next context.
    fn context(&mut self, closing: &mut Closing, contexts: &mut Contexts, zero_fill: i64) {
        let (id, start) = (closing.next, closing.bucket.start);
        if let Some(seen) = closing.bucket.seen(id) {
            contexts.see(id, seen);
        }
        let Some(context) = contexts.get(id) else { return };
        let seconds = self.numerics.seconds();
        match context.kind {
            metric_kind::COUNTER => {
                let number = closing.bucket.number(id);
                if number.is_some() {
                    self.counted_until = self.counted_until.max(contexts.seen(id));
                }
                let is_zero = contexts.first(id) < start && !is_silent(contexts.seen(id), zero_fill, start);
                let Some(sum) = number.or(is_zero.then_some(0.0)) else { return };
                self.rows.begin(context);
                self.rows.push(context, "", start, Value::Number(series_kind::RATE, sum / seconds));
            }
            metric_kind::GAUGE | metric_kind::SET => {
                let Some(number) = closing.bucket.number(id) else { return };
                self.rows.begin(context);
                self.rows.push(context, "", start, Value::Number(series_kind::GAUGE, number));
            }
            metric_kind::DISTRIBUTION => {
                let samples = closing.samples.of(id);
                if !samples.is_empty() {
                    let sketch = numerics::sketch(samples);
                    self.rows.begin(context);
                    self.rows.push(context, "", start, Value::Sketch(sketch));
                }
            }
            kind if kind & STAMPED == 0 => {
                let samples = closing.samples.of(id);
                if samples.is_empty() || self.numerics.of_histogram() == 0 {
                    return;
                }
                self.rows.begin(context);
                let histogram = Histogram::new(samples);
                for (aggregate, suffix) in &self.numerics.aggregates {
                    let kind = if *aggregate == Aggregate::Count { series_kind::RATE } else { series_kind::GAUGE };
                    let value = Value::Number(kind, histogram.value(*aggregate, seconds));
                    self.rows.push(context, suffix, start, value);
                }
                for (percent, suffix) in &self.numerics.percents {
                    let value = Value::Number(series_kind::GAUGE, histogram.percentile(*percent));
                    self.rows.push(context, suffix, start, value);
                }
            }
            _ => {}
        }
    }

    /// Gives points with times of their own, at most a batch.
    pub fn pass(&mut self, passed: &mut Passed, contexts: &Contexts, input: Time, out: &mut Out) {
        let seconds = self.numerics.seconds();
        let rest = passed.points.split_off(passed.points.len().min(BATCH_ROWS));
        for (id, time, value) in std::mem::replace(&mut passed.points, rest) {
            let Some(context) = contexts.get(id) else { continue };
            self.rows.begin(context);
            let value = match context.kind & !STAMPED {
                metric_kind::COUNTER => Value::Number(series_kind::RATE, value / seconds),
                _ => Value::Number(series_kind::GAUGE, value),
            };
            self.rows.push(context, "", time, value);
        }
        let acks = match passed.points.is_empty() {
            true => std::mem::take(&mut passed.acks),
            false => passed.acks.split(),
        };
        self.send(Promised::Until(input), acks, out);
    }

    fn send(&mut self, promised: Promised, acks: Acks, out: &mut Out) {
        let mut rows = std::mem::take(&mut self.rows);
        if rows.overflowed > 0 {
            out.counts().add_noted("overflowed", rows.overflowed);
        }
        if rows.len() == 0 {
            // What came was taken in, and is nothing that a point is made of.
            return acks.delivered();
        }
        let times: arrow_buffer::ScalarBuffer<i64> = rows.times.clone().into();
        let times = match promised {
            Promised::Start => Times::InOrder(times),
            Promised::Until(input) => {
                let seen = vec![input.0; times.len()].into();
                Times::Seen { time: times, seen }
            }
        };
        let batch = self.batch(&mut rows);
        out.make(0, batch, times, acks);
    }

    fn batch(&self, rows: &mut Rows) -> RecordBatch {
        let n = rows.len();
        let column = |field: &weir_spec::Field| -> ArrayRef {
            match field.name.as_str() {
                name if name == series::TIME.name => Arc::new(Int64Array::from(rows.times.clone())),
                name if name == series::INTERVAL.name => Arc::new(Int64Array::from(vec![self.numerics.interval; n])),
                name if name == series::NAME.name => Arc::new(std::mem::take(&mut rows.names).finish()),
                name if name == series::KIND.name => Arc::new(UInt8Array::from(rows.kinds.clone())),
                name if name == series::VALUE.name => {
                    let is_number = |row: usize| rows.kinds[row] != series_kind::SKETCH;
                    let values = (0..n).map(|row| is_number(row).then_some(rows.values[row]));
                    Arc::new(Float64Array::from_iter(values))
                }
                name if name == series::SKETCH_.name && rows.sketches.is_empty() => absent(Repr::Sketch, n),
                name if name == series::SKETCH_.name => sketch::optional(&rows.sketches),
                name if name == series::UNIT.name => std::mem::take(&mut rows.units).finish(n),
                name if name == series::HOST.name => std::mem::take(&mut rows.hosts).finish(n),
                name if name == series::TAGS.name => std::mem::take(&mut rows.tags).finish(),
                _ => absent(field.repr, n),
            }
        };
        record(&self.arrow, self.schema.fields.iter().map(column).collect(), n)
    }
}

/// How far time had come, as promised downstream, before the rows that are sent.
enum Promised {
    /// Not beyond their own time.
    Start,
    /// So far: they come when they come.
    Until(Time),
}
