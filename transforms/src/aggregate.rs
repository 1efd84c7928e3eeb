//! `aggregate`: metrics of clients into one point a series and interval, as the Datadog Agent does.
//!
//! Reading order: [`metrics`] (what comes in), [`gauges`], [`context`] (what tells series apart), [`known`],
//! [`interval`], [`bucket`] (what is kept of an interval), [`intake`] (how rows come into it), [`numerics`] (what comes
//! out of it), [`emit`] (points as rows), [`filter`] (which tags count), [`units`].

mod bucket;
mod context;
mod emit;
mod filter;
mod gauges;
mod intake;
mod interval;
mod known;
mod metrics;
mod numerics;
mod units;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow_array::Array;
use weir_core::batch::Batch;
use weir_core::ledger::Counts;
use weir_core::{Acks, Build, BuildCx, Entry, Fault, Out, Time, Transform};
use weir_spec::component::{Columns, Inputs, OutputSpec, ReasonSpec};
use weir_spec::kinds::enums::metric_kind;
use weir_spec::kinds::metric as kind;
use weir_spec::kinds::series::SERIES;
use weir_spec::memory::Memory;
use weir_spec::option::{Dur, OptionError, OptionType};
use weir_spec::{ComponentSpec, Shape, Stream};

use bucket::{Bucket, SLOT_BYTES};
use context::{Contexts, Id};
use emit::{Closing, Numerics, Passed, Points};
use filter::TagFilter;
use intake::Verdicts;
use interval::{Span, number, start_of};
use known::Known;
use metrics::Metrics;
use numerics::Aggregate;

/// A context without a value for so long is forgotten; a counter only after it has been zero for long.
const EXPIRY: i64 = 20 * SECOND;
const SECOND: i64 = 1_000_000_000;

weir_spec::options! {
    pub struct AggregateOptions {
        /// A point of each series comes so often.
        interval: Dur = (OptionType::Duration, positional, "10s"),
        /// What of a histogram or timing becomes a series of its own.
        histogram_aggregates: Vec<String> = (OptionType::List(&OptionType::Word(Aggregate::WORDS)), "[max, median, avg, count]"),
        /// Which of its percentiles do, from 0 to 1.
        histogram_percentiles: Vec<f64> = (OptionType::List(&OptionType::Float), "[0.95]"),
        /// A counter that is silent gives zeros for so long.
        zero_fill: Option<Dur> = (OptionType::Duration, none, "300s"),
        /// Keys of tags that tell series apart, as `key` or `metric:key`, with `*` for any part; where one is for a metric, all others go.
        tags_allow: Vec<String> = (OptionType::List(&OptionType::Str), "[]"),
        /// Keys of tags that do not, in the same form.
        tags_deny: Vec<String> = (OptionType::List(&OptionType::Str), "[]"),
        /// Contexts at once: names with their tags. Rows of others are dropped until one is forgotten.
        contexts_max: usize = (OptionType::Int { min: 1, max: 1 << 28 }, "250000"),
    }
}

pub const ENTRY: Entry = Entry { spec: &SPEC, build: Build::Transform(build) };

pub static SPEC: ComponentSpec = ComponentSpec {
    name: "aggregate",
    summary: "metrics of clients into one point a series and interval",
    shape: Shape::Stateful,
    options: AggregateOptions::SPECS,
    inputs: Inputs::One(&["metric"]),
    outputs: &[
        OutputSpec { name: "", doc: "one row a series and interval" },
        OutputSpec { name: "late", doc: "rows whose interval was over when they came" },
    ],
    drops: &[
        ReasonSpec {
            name: "contexts_full",
            doc: "rows of new contexts when there were `contexts_max`, or when the names and tags of all took as much as 256 bytes for each of so many",
        },
        ReasonSpec {
            name: "kind_conflict",
            doc: "rows of a name and tags that came with another type in an interval that is open",
        },
        ReasonSpec { name: "samples_full", doc: "samples and members for which there was no memory" },
        ReasonSpec { name: "not_finite", doc: "rows without a value that is finite" },
        ReasonSpec {
            name: "sample_rate",
            doc: "rows whose sample rate is not above zero, or stands for more samples than 32 bits count. As in the Agent, histograms and timings count a rate of zero once, and distributions whatever is not between 0 and 1; a distribution's sample stands for as many as 32 bits count at most",
        },
        ReasonSpec { name: "timestamped", doc: "rows with a timestamp that are neither counter nor gauge" },
        ReasonSpec { name: "no_context", doc: "rows without a name or kind" },
        ReasonSpec { name: "unread_late", doc: "late rows that nobody reads" },
    ],
    notes: &[&[
        ReasonSpec { name: "values_not_finite", doc: "values that are not finite, in rows that have others" },
        ReasonSpec { name: "overflowed", doc: "sums that are too large for a number, of which no point is made" },
    ]],
    makes: true,
    typing: |values, inputs| {
        let options = AggregateOptions::read(values).map_err(|why| OptionError::new("interval", why))?;
        TagFilter::parse(&options.tags_allow, &options.tags_deny)
            .map_err(|(option, why)| OptionError::new(option, why))?;
        if let Some(part) = options.histogram_percentiles.iter().find(|part| !(0.0..=1.0).contains(*part)) {
            let why = format!("`{part}` is no percentile: they go from 0 to 1");
            return Err(OptionError::new("histogram_percentiles", why).help("the 95th is written 0.95"));
        }
        series_of_their_own(&options)?;
        let series = |i: &Stream| Stream { delivery: i.delivery, bounded: i.bounded, ..Stream::of_kind(&SERIES) };
        Ok(inputs.iter().flat_map(|i| [series(i), i.clone()]).collect())
    },
    reads: |_, _| Columns::All,
    memory: |values| {
        let contexts = values.get("contexts_max").as_i64().unwrap_or(0).max(0) as usize;
        // Two buckets are open at once while one is being given out.
        let slots = contexts * 2 * SLOT_BYTES;
        Memory::share((context::bytes_max(contexts) + slots + known::BYTES_MAX) as u64)
    },
    examples: &["internal(10s) | aggregate(10s, tags_deny: [\"what\"]) | stdout"],
    ..ComponentSpec::PLAIN
};

/// Whether no two series of a histogram have one name.
fn series_of_their_own(options: &AggregateOptions) -> Result<(), OptionError> {
    let words = &options.histogram_aggregates;
    if let Some(at) = (1..words.len()).find(|at| words[..*at].contains(&words[*at])) {
        let why = format!("`{}` is there twice: it is one series", words[at]);
        return Err(OptionError::new("histogram_aggregates", why).help("leave one of them out"));
    }
    let mut parts: Vec<(i64, f64)> = Vec::new();
    for part in options.histogram_percentiles.iter().copied() {
        let percent = numerics::percent(part);
        if let Some((_, before)) = parts.iter().find(|(other, _)| *other == percent) {
            let why = format!(
                "`{before}` and `{part}` are one series, `.{percent}percentile`: there are whole percentiles only"
            );
            return Err(OptionError::new("histogram_percentiles", why).help("leave one of them out"));
        }
        parts.push((percent, part));
    }
    Ok(())
}

fn build(cx: &BuildCx) -> Result<Box<dyn Transform>, Fault> {
    let options = AggregateOptions::read(&cx.values()).map_err(Fault::bug)?;
    let filter = TagFilter::parse(&options.tags_allow, &options.tags_deny).map_err(|(_, why)| Fault::bug(why))?;
    let words = options.histogram_aggregates.iter();
    let percents = options.histogram_percentiles.iter().map(|part| numerics::percent(*part)).collect();
    let numerics = Numerics::new(options.interval.0, words.filter_map(|word| Aggregate::parse(word)), percents);
    Ok(Box::new(Aggregation {
        interval: options.interval.0,
        zero_fill: options.zero_fill.map_or(0, |d| d.0),
        contexts: Contexts::new(options.contexts_max),
        filter,
        points: Points::new(numerics, cx.outputs[0].clone()),
        buckets: BTreeMap::new(),
        flushed: None,
        expired_at: i64::MIN,
        closing: None,
        passed: Passed::default(),
        samples_bytes_max: (cx.state_bytes as usize).max(SAMPLES_BYTES_MIN),
        input: Time::START,
        counts: cx.counts.clone(),
        ids: Vec::new(),
        verdicts: Verdicts::default(),
        known: Known::default(),
        sets: Vec::new(),
        replaced: BTreeSet::new(),
    }))
}

/// Samples are kept at least for so much memory.
const SAMPLES_BYTES_MIN: usize = 1 << 20;

struct Aggregation {
    interval: i64,
    zero_fill: i64,
    contexts: Contexts,
    filter: TagFilter,
    points: Points,
    /// By when they begin.
    buckets: BTreeMap<i64, Bucket>,
    /// The end of the last bucket that was given out, once there was one.
    flushed: Option<i64>,
    /// When contexts were last looked at for those that are over.
    expired_at: i64,
    /// What is being given out.
    closing: Option<Closing>,
    /// Rows with a timestamp of their own, on their way past the buckets.
    passed: Passed,
    samples_bytes_max: usize,
    input: Time,
    counts: Arc<Counts>,
    /// Of the batch at hand, and used again: contexts of its rows, what becomes of its rows.
    ids: Vec<Id>,
    verdicts: Verdicts,
    known: Known,
    /// Of rows whose context is not settled yet, their sets of tags in order. Told by where they stand, and so emptied
    /// only once there is no such row.
    sets: Vec<u8>,
    /// Contexts whose place one of another kind took in the batch at hand: what is known of them is of the past.
    replaced: BTreeSet<Id>,
}

impl Transform for Aggregation {
    fn on_batch(&mut self, batch: Batch, out: &mut Out) {
        let Some((batch, (first, last))) = self.in_time(batch, out) else { return };
        self.verdicts.reset(batch.len());
        let metrics = Metrics::new(&batch.rows);
        let metrics = metrics.filter(|metrics| self.find_contexts(&batch.rows, metrics, &batch.time));
        let Some(metrics) = metrics else { return out.discard(batch, "no_context") };
        self.take_in(&metrics, &batch.time);
        let Some(batch) = self.drop_refused(batch, out) else { return };
        let (_, acks) = out.absorb(batch);
        self.hold(acks, first, last);
    }

    fn on_watermark(&mut self, now: Time) {
        self.input = self.input.max(now);
        // Rows that pass the buckets have contexts, too, and close none.
        let is_idle = self.buckets.is_empty() && self.closing.is_none() && self.passed.is_empty();
        let is_idle = is_idle && self.next_bucket().is_none();
        if is_idle && now != Time::END && now.0.saturating_sub(self.expired_at) >= EXPIRY {
            self.expire(now.0);
        }
    }

    fn due(&self) -> Option<Time> {
        if self.closing.is_some() || !self.passed.is_empty() {
            return Some(self.flushed.map_or(Time::START, Time));
        }
        self.next_bucket().map(Time)
    }

    fn emit(&mut self, out: &mut Out) {
        if !self.passed.is_empty() {
            let promised = self.watermark(self.input);
            return self.points.pass(&mut self.passed, &self.contexts, promised, out);
        }
        if self.closing.is_none()
            && let Some(start) = self.next_bucket()
        {
            let bucket = self.buckets.remove(&start).unwrap_or_else(|| Bucket::new(start));
            self.closing = Some(Closing::new(bucket));
        }
        let Some(mut closing) = self.closing.take() else { return };
        let is_done = self.points.give(&mut closing, &mut self.contexts, self.zero_fill, out);
        match is_done {
            false => self.closing = Some(closing),
            true => self.after(closing.start()),
        }
    }

    fn watermark(&self, input: Time) -> Time {
        if input == Time::END {
            return input;
        }
        Time(start_of(input.0, self.interval))
    }
}

/// The first and the last time of some rows.
fn span(times: &[i64]) -> (i64, i64) {
    // What came with one look at a socket has one time: comparing is quicker than looking for the least.
    if let [one, ..] = times
        && times.iter().fold(0, |differs, time| differs | (time ^ one)) == 0
    {
        return (*one, *one);
    }
    let first = times.iter().copied().min().unwrap_or(0);
    (first, times.iter().copied().max().unwrap_or(first))
}

/// Whether a counter has been silent for longer than it is zero, in the interval that begins at `start`. As in the
/// Agent, what came was seen in a whole second.
fn is_silent(seen: i64, zero_fill: i64, start: i64) -> bool {
    start_of(seen, SECOND).saturating_add(zero_fill) <= start
}

impl Aggregation {
    /// The rows whose interval is not over; the others leave as late. Whether one is late depends on the
    /// row alone, not on how rows come in batches. With the first and the last time of what is left.
    fn in_time(&self, batch: Batch, out: &mut Out) -> Option<(Batch, (i64, i64))> {
        // Nearly always no row is late, and that is told without looking at each.
        let times = span(&batch.time);
        let seen = span(&batch.seen).1;
        if seen < start_of(times.0, self.interval).saturating_add(self.interval) {
            return Some((batch, times));
        }
        let mut bucket = Span::default();
        let mut is_over =
            |row: usize| batch.seen[row] >= bucket.start(batch.time[row], self.interval).saturating_add(self.interval);
        if !(0..batch.len()).any(&mut is_over) {
            return Some((batch, times));
        }
        let stamped = batch.rows.own(kind::TIMESTAMP);
        let mut is_late = |row: usize| is_over(row) && stamped.is_none_or(|stamped| stamped.is_null(row));
        let part: Vec<u32> = (0..batch.len()).map(|row| u32::from(is_late(row))).collect();
        let mut parts = batch.partition(&part, 2);
        if let Some(late) = parts.pop().flatten() {
            out.send(1, late);
        }
        let left = parts.pop().flatten()?;
        let times = span(&left.time);
        Some((left, times))
    }

    /// The acks of a batch go with every bucket that its rows may be in.
    fn hold(&mut self, acks: Acks, first: i64, last: i64) {
        let (first, last) = (start_of(first, self.interval), start_of(last, self.interval));
        for bucket in self.buckets.range_mut(first..=last).map(|(_, bucket)| bucket) {
            bucket.acks.join(acks.split());
        }
        if !self.passed.is_empty() {
            self.passed.acks.join(acks.split());
        }
        acks.delivered();
    }

    /// The beginning of the next bucket that is over: one that has values, or one in which counters are
    /// zero.
    fn next_bucket(&self) -> Option<i64> {
        let filled = self.buckets.keys().next().copied();
        let is_over = |start: i64| self.input == Time::END || start.saturating_add(self.interval) <= self.input.0;
        let silent = self.flushed.filter(|start| {
            self.input != Time::END
                && self.zero_fill > 0
                && !is_silent(self.points.counted_until, self.zero_fill, *start)
        });
        [filled, silent].into_iter().flatten().min().filter(|start| is_over(*start))
    }

    fn after(&mut self, start: i64) {
        let end = start.saturating_add(self.interval);
        self.flushed = Some(end);
        self.expire(end);
    }

    /// Forgets contexts that have been silent for long.
    fn expire(&mut self, now: i64) {
        self.expired_at = now;
        let since = number(now.saturating_sub(EXPIRY), self.interval);
        // Who is new goes before counters that are nothing but zero.
        let zero_fill = if self.contexts.is_full() { 0 } else { self.zero_fill };
        let (contexts, buckets) = (&mut self.contexts, &self.buckets);
        let is_open = |id: Id| buckets.values().any(|bucket| bucket.seen(id).is_some());
        let any_is_gone = contexts.expire(since, |id, context, seen| {
            let silence = if context.kind == metric_kind::COUNTER { EXPIRY.max(zero_fill) } else { EXPIRY };
            seen.saturating_add(silence) <= now && !is_open(id)
        });
        if any_is_gone {
            self.known.retain(|id| contexts.is_alive(id));
        }
    }
}
