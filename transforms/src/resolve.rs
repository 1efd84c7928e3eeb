//! `resolve`: what is known about the ends of conversations, as tags.
//!
//! Rows go on when everybody has answered, in the order in which they came; those behind them wait with them, and so
//! does time. A resolver that does not answer holds nobody up for longer than `wait:`.
//!
//! Reading order: [`end`] (what of an end is looked up), [`tags`] (what comes together), [`asked`] (rows that wait for
//! it), then one file for each that can be asked: [`procfs`], [`table`] with its [`ranges`].

mod asked;
mod end;
pub mod procfs;
pub mod ranges;
mod table;
mod tags;

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use weir_core::batch::Batch;
use weir_core::bell::Bell;
use weir_core::columns::{arrow_schema, record};
use weir_core::ledger::Counts;
use weir_core::{Build, BuildCx, Clock, Entry, Fault, Out, Time, Transform};
use weir_spec::component::{Columns, Inputs, Need, OutputSpec, ReasonSpec};
use weir_spec::kinds::flow as kind;
use weir_spec::memory::Memory;
use weir_spec::option::{Dur, OptionError, OptionType, PartSpec};
use weir_spec::schema::TagKeys;
use weir_spec::value::Part;
use weir_spec::{ComponentSpec, Schema, Shape, Value, Values, units};

use crate::ends::column;
use asked::Asked;
use end::End;
use tags::Tags;

/// Everybody who can be asked: how a pipeline says so, and what comes of it.
const PARTS: &[PartSpec] = &[procfs::SPEC, table::SPEC];
const KINDS: &[Kind] = &[procfs::KIND, table::KIND];

/// What is to be known of a resolver before it is asked, from its options.
pub struct Kind {
    name: &'static str,
    /// The keys that it may give; nothing if nobody knows.
    keys: fn(&Values) -> Option<Vec<String>>,
    /// Memory that it holds.
    bytes: fn(&Values) -> u64,
    /// The file that it reads.
    file: fn(&Values) -> Option<String>,
    build: fn(&Values, &BuildCx, &Bell) -> Built,
}

type Built = Result<Box<dyn Resolver>, Fault>;

/// Of each part that `from` names.
fn asked(values: &Values) -> impl Iterator<Item = (&Kind, &Values)> {
    let parts = values.get("from").items().iter().filter_map(|part| match part {
        Value::Part(part) => Some(part),
        _ => None,
    });
    parts.filter_map(|part| Some((KINDS.iter().find(|kind| kind.name == part.name)?, &part.values)))
}

weir_spec::options! {
    pub struct ResolveOptions {
        /// Whose tags: `src` or `dst`.
        end: String = (OptionType::Word(ENDS), positional, required),
        /// The other one as well.
        other: Option<String> = (OptionType::Word(ENDS), positional, none),
        /// Who is asked, one after the other: what one has said, the next one does not change.
        from: Vec<Arc<Part>> = (OptionType::List(&OptionType::Part(PARTS)), required),
        /// How long rows wait for an answer; then they go on with what is known.
        wait: Dur = (OptionType::Duration, "2s"),
        /// Rows that wait at most; when there are more, the oldest go on with what is known.
        pending_rows_max: usize = (OptionType::Int { min: 1, max: 1 << 24 }, "32768"),
    }
}

/// What is held of a row that waits.
const PENDING_ROW_BYTES: u64 = 768;

const ENDS: &[&str] = &["src", "dst"];

pub const ENTRY: Entry = Entry { spec: &SPEC, build: Build::Transform(build) };

pub static SPEC: ComponentSpec = ComponentSpec {
    name: "resolve",
    summary: "adds what is known about the ends of conversations, as tags",
    shape: Shape::Stateful,
    options: ResolveOptions::SPECS,
    inputs: Inputs::One(&["flow"]),
    outputs: &[OutputSpec { name: "", doc: "the same rows with `src.tags` and `dst.tags`" }],
    notes: &[
        &[ReasonSpec {
            name: "unanswered",
            doc: "rows that went on without an answer, after `wait` or for want of room",
        }],
        procfs::NOTES,
        table::NOTES,
    ],
    typing: |values, inputs| {
        let options = ResolveOptions::read(values).map_err(|why| OptionError::new("from", why))?;
        if Some(&options.end) == options.other.as_ref() {
            let why = format!("`{}` is said twice", options.end);
            return Err(OptionError::new("other", why).help("`resolve(src, dst, …)` is of both ends"));
        }
        if options.from.is_empty() {
            let examples: Vec<String> = PARTS.iter().map(|part| format!("`{}`", part.example)).collect();
            let help = format!("it takes {}", examples.join(" and "));
            return Err(OptionError::new("from", "nobody is asked").help(help));
        }
        let mut streams = inputs.to_vec();
        for stream in &mut streams {
            for column in tag_columns(&options) {
                if stream.schema.field(column).is_none() {
                    let why = format!("tags are added to `{column}`, which was dropped before");
                    return Err(OptionError::new("", why).help(format!("`set {column} = none` empties it")));
                }
                let keys = stream.keys.entry(column.to_string()).or_default();
                asked(values).for_each(|(kind, values)| add_keys(kind, values, keys));
            }
        }
        Ok(streams)
    },
    reads: |values, wanted| {
        let mut reads = wanted.clone();
        let Ok(options) = ResolveOptions::read(values) else { return Columns::All };
        reads.join(Columns::of([kind::START.name, kind::END.name]));
        for end in [Some(&options.end), options.other.as_ref()].into_iter().flatten() {
            reads.join(Columns::Some(end::READS.iter().map(|name| format!("{end}.{name}")).collect()));
        }
        reads
    },
    memory: |values| {
        let pending_rows = ResolveOptions::read(values).map_or(0, |options| options.pending_rows_max as u64);
        let known: u64 = asked(values).map(|(kind, values)| (kind.bytes)(values)).sum();
        Memory::fixed(known + pending_rows * PENDING_ROW_BYTES)
    },
    needs: |values| {
        let files = asked(values).filter_map(|(kind, values)| (kind.file)(values));
        files.map(|path| Need::read(&path)).collect()
    },
    examples: &[
        "ebpf(replay: \"shop.flows\") | resolve(src, dst, from: [procfs(), table(\"teams.csv\", tags: [\"team\"])]) | stdout",
    ],
    ..ComponentSpec::PLAIN
};

/// The columns that get tags.
fn tag_columns(options: &ResolveOptions) -> impl Iterator<Item = &'static str> {
    let has = |end: &str| options.end == end || options.other.as_deref() == Some(end);
    let columns = [("src", kind::SRC_TAGS.name), ("dst", kind::DST_TAGS.name)];
    columns.into_iter().filter(move |(end, _)| has(end)).map(|(_, column)| column)
}

/// The keys that somebody may give.
fn add_keys(kind: &Kind, values: &Values, keys: &mut TagKeys) {
    match (kind.keys)(values) {
        Some(given) => keys.known.extend(given),
        None => keys.open = true,
    }
}

/// Somebody who knows something about ends.
pub trait Resolver: Send {
    /// Says of an end what is known; a key that has a value keeps it. Who has to ask somebody else says nothing yet,
    /// rings the bell that it was built with when it knows, and is asked again.
    fn look_up(&mut self, end: &End, tags: &mut Tags, patience: Patience) -> Answer;

    /// Called before each batch, so that what is new counts for all of it.
    fn refresh(&mut self) {}

    /// What is counted beside rows.
    fn count(&mut self, _counts: &Counts) {}
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer {
    Given,
    /// It is asked for, and nothing was said.
    Pending,
}

/// How long an answer is waited for.
#[derive(Clone, Copy, Debug)]
pub enum Patience {
    /// What was known before rows came may be of another time.
    Since(Instant),
    /// What is known now is the answer.
    Over,
}

fn build(cx: &BuildCx) -> Result<Box<dyn Transform>, Fault> {
    let values = cx.values();
    let options = ResolveOptions::read(&values).map_err(Fault::bug)?;
    let bell = Bell::default();
    let resolvers = asked(&values).map(|(kind, values)| (kind.build)(values, cx, &bell)).collect::<Result<_, _>>()?;
    let schema = cx.outputs[0].clone();
    Ok(Box::new(Resolve {
        columns: tag_columns(&options).collect(),
        resolvers,
        names: asked(&values).map(|(kind, _)| kind.name).collect(),
        arrow: arrow_schema(&schema),
        schema,
        counts: cx.counts.clone(),
        clock: cx.clock.clone(),
        bell,
        wait: Duration::from_nanos(options.wait.0.max(0) as u64),
        is_bounded: cx.bounded,
        pending_rows_max: options.pending_rows_max,
        pending: VecDeque::new(),
        pending_rows: 0,
        is_head_known: false,
        timer: None,
        reached: Time::START,
    }))
}

struct Resolve {
    columns: Vec<&'static str>,
    resolvers: Vec<Box<dyn Resolver>>,
    names: Vec<&'static str>,
    schema: Arc<Schema>,
    arrow: SchemaRef,
    counts: Arc<Counts>,
    clock: Clock,
    bell: Bell,
    wait: Duration,
    is_bounded: bool,
    pending_rows_max: usize,
    /// In the order in which they came, and go on.
    pending: VecDeque<Asked>,
    pending_rows: usize,
    is_head_known: bool,
    /// When the first of them is asked about again, or has waited long enough.
    timer: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    reached: Time,
}

/// How often it is looked for an answer where time stands still.
const LOOK: Duration = Duration::from_millis(1);
/// The same where a bell rings: it may have rung for others, and somebody may hang.
const AGAIN: Duration = Duration::from_millis(250);
/// How long a live graph that ends waits for answers: less than it may take to drain.
const AT_END: Duration = Duration::from_secs(2);

impl Transform for Resolve {
    fn on_batch(&mut self, batch: Batch, _out: &mut Out) {
        self.resolvers.iter_mut().for_each(|resolver| resolver.refresh());
        let mut asked = Asked::new(batch, &self.columns, self.reached);
        let mut is_known = asked.ask(&mut self.resolvers);
        // Nothing comes while a test's clock stands still, so answers are waited for on the spot.
        while !is_known && matches!(self.clock, Clock::Virtual(_)) && asked.since.elapsed() < self.wait {
            std::thread::sleep(LOOK);
            is_known = asked.ask(&mut self.resolvers);
        }
        self.pending_rows += asked.batch.len();
        if self.pending.is_empty() {
            self.is_head_known = is_known;
        }
        self.pending.push_back(asked);
    }

    fn on_watermark(&mut self, now: Time) {
        self.reached = now;
        if now == Time::END && !self.is_bounded {
            self.wait = self.wait.min(AT_END);
        }
    }

    fn stop_waiting(&mut self) {
        self.wait = Duration::ZERO;
    }

    fn due(&self) -> Option<Time> {
        let head = self.pending.front()?;
        let is_due = self.is_head_known || self.pending_rows > self.pending_rows_max || self.left(head).is_zero();
        is_due.then_some(head.before)
    }

    fn emit(&mut self, out: &mut Out) {
        let Some(mut head) = self.pending.pop_front() else { return };
        if !self.is_head_known && !head.ask(&mut self.resolvers) {
            self.give_up(&mut head);
        }
        self.pending_rows -= head.batch.len();
        self.timer = None;
        self.is_head_known = self.pending.front_mut().is_some_and(|next| next.ask(&mut self.resolvers));
        self.resolvers.iter_mut().for_each(|resolver| resolver.count(&self.counts));
        out.send(0, self.with_tags(head));
    }

    fn watermark(&self, input: Time) -> Time {
        self.pending.front().map_or(input, |head| head.before)
    }

    fn held(&self) -> usize {
        self.pending_rows
    }

    fn poll_woken(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            if self.pending.is_empty() {
                return Poll::Pending;
            }
            if self.due().is_some() {
                return Poll::Ready(());
            }
            let (is_rung, is_time) = (self.bell.poll(cx).is_ready(), self.timer().as_mut().poll(cx).is_ready());
            if !is_rung && !is_time {
                return Poll::Pending;
            }
            self.timer = None;
            self.is_head_known = self.pending.front_mut().is_some_and(|head| head.ask(&mut self.resolvers));
        }
    }
}

impl Resolve {
    /// How long these rows may still wait.
    fn left(&self, asked: &Asked) -> Duration {
        self.wait.saturating_sub(asked.since.elapsed())
    }

    fn timer(&mut self) -> &mut Pin<Box<dyn Future<Output = ()> + Send>> {
        let left = self.pending.front().map_or(Duration::ZERO, |head| self.left(head)).min(AGAIN);
        let clock = &self.clock;
        self.timer.get_or_insert_with(|| {
            let clock = clock.clone();
            Box::pin(async move { clock.sleep(left).await })
        })
    }

    /// What is not known by now these rows go on without.
    fn give_up(&mut self, asked: &mut Asked) {
        let is_full = !self.left(asked).is_zero();
        let (rows, silent) = asked.give_up(&mut self.resolvers);
        self.counts.add_noted("unanswered", rows as u64);
        for name in silent.into_iter().map(|at| self.names[at]) {
            let why = match is_full {
                true => format!("{} rows wait already (`pending_rows_max:`)", self.pending_rows_max),
                false => format!("it took longer than `wait: {}`", units::duration(self.wait.as_nanos() as i64)),
            };
            let text = format!("rows go on without what `{name}` has not answered yet: {why}");
            self.counts.warn_once(&text);
        }
    }

    fn with_tags(&self, asked: Asked) -> Batch {
        let Resolve { schema, arrow, .. } = self;
        let one = |field: &weir_spec::Field| match asked.column(&field.name) {
            Some(column) => column,
            None => column_of(&asked.batch.rows, field),
        };
        let rows = record(arrow, schema.fields.iter().map(one).collect(), asked.batch.len());
        asked.batch.map(|_| rows)
    }
}

fn column_of(rows: &RecordBatch, field: &weir_spec::Field) -> arrow_array::ArrayRef {
    column(rows, Some(&field.name), field)
}

/// The options of a part, as its struct reads them.
fn read<T>(values: &Values, read: fn(&Values) -> Result<T, String>) -> Result<T, Fault> {
    read(values).map_err(Fault::bug)
}
