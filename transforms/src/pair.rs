//! `pair`: the two halves of a conversation, each counted at its own end, as one row.
//!
//! Reading order: [`half`] (which conversation a row is of), [`join`] (the halves of one as a row).

mod half;
mod join;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use weir_core::batch::{BATCH_ROWS, Batch, Times};
use weir_core::columns::{arrow_schema, record, rows_bytes};
use weir_core::ledger::Counts;
use weir_core::{Acks, Build, BuildCx, Entry, Fault, Out, Time, Transform};
use weir_spec::component::{Columns, Inputs, OutputSpec, ReasonSpec};
use weir_spec::memory::Memory;
use weir_spec::option::{Dur, OptionError, OptionType};
use weir_spec::{ComponentSpec, Schema, Shape};

use crate::ends::{self, column, told_by_dst, turned};
use half::{Half, View};
use join::Joined;

weir_spec::options! {
    pub struct PairOptions {
        /// Halves of one conversation and interval are joined. Where rows are cut by intervals, as `ebpf` does, the same one.
        interval: Dur = (OptionType::Duration, positional, "30s"),
        /// So long after its end a half may still come.
        lateness: Dur = (OptionType::Duration, "10s"),
        /// What becomes of the ports that clients were given: `sum` makes one row of the conversations that only differ in theirs, without `src.port`.
        client_ports: String = (OptionType::Word(&["keep", "sum"]), "keep"),
    }
}

pub const ENTRY: Entry = Entry { spec: &SPEC, build: Build::Transform(build) };

pub static SPEC: ComponentSpec = ComponentSpec {
    name: "pair",
    summary: "the halves of a conversation, each counted at its own end, as one row",
    shape: Shape::Stateful,
    options: PairOptions::SPECS,
    inputs: Inputs::One(&["flow"]),
    outputs: &[
        OutputSpec {
            name: "",
            doc: "one row a conversation and interval, with what either end counted; rows that are no halves, as they came",
        },
        OutputSpec { name: "late", doc: "halves that came after their interval and the lateness were over" },
    ],
    drops: &[ReasonSpec { name: "unread_late", doc: "late rows that nobody reads" }],
    notes: &[&[ReasonSpec {
        name: "unpaired",
        doc: "rows that go on as they came, because what waits for its other half fills the memory",
    }]],
    makes: true,
    typing: |_, inputs| {
        let outputs = inputs.iter().map(|input| Ok([ends::mixed(input)?, input.clone()]));
        Ok(outputs.collect::<Result<Vec<_>, OptionError>>()?.into_iter().flatten().collect())
    },
    reads: |values, wanted| match wanted {
        Columns::All => Columns::All,
        Columns::Some(names) => {
            let more = |name: &String| {
                // Of rows that both ends have told already it is there by its own name.
                let read = told_by_dst(name).unwrap_or_else(|| name.clone());
                [turned(&read), Some(read), Some(name.clone())].into_iter().flatten()
            };
            let mut reads = Columns::Some(names.iter().flat_map(more).collect());
            reads.join(Columns::of(half::READS.iter().copied()));
            reads.join(Columns::of(join::READS.iter().copied()));
            if values.get("client_ports").as_str() == Some("sum") {
                reads.join(Columns::of(join::ALIKE.iter().copied()));
            }
            reads
        }
    },
    memory: |_| Memory::share(0),
    examples: &[
        "ebpf(replay: \"shop.flows\") | pair(30s) | select observer, src.pid, dst.pid, sent_packets, dst_received_packets | stdout",
    ],
    ..ComponentSpec::PLAIN
};

fn build(cx: &BuildCx) -> Result<Box<dyn Transform>, Fault> {
    let options = PairOptions::read(&cx.values()).map_err(Fault::bug)?;
    Ok(Box::new(Pair {
        interval: options.interval.0,
        lateness: options.lateness.0,
        sums_client_ports: options.client_ports == "sum",
        arrow: arrow_schema(&cx.outputs[0]),
        schema: cx.outputs[0].clone(),
        open: BTreeMap::new(),
        bytes: 0,
        bytes_max: cx.state_bytes as usize,
        now: Time::START,
        counts: cx.counts.clone(),
    }))
}

struct Pair {
    interval: i64,
    lateness: i64,
    sums_client_ports: bool,
    schema: Arc<Schema>,
    arrow: SchemaRef,
    /// Intervals by their start.
    open: BTreeMap<i64, Open>,
    /// Of all that is held.
    bytes: usize,
    bytes_max: usize,
    now: Time,
    counts: Arc<Counts>,
}

/// What came in one interval.
#[derive(Default)]
struct Open {
    batches: Vec<RecordBatch>,
    halves: Vec<Half>,
    acks: Acks,
    bytes: usize,
    /// Once it is over: what is given out, and how much of it has been.
    closing: Option<(Joined, usize)>,
}

/// What becomes of a row.
mod part {
    pub const TAKEN: u32 = 0;
    pub const LATE: u32 = 1;
    /// It is no half, or there is no room for it.
    pub const PASSED: u32 = 2;
    pub const ALL: usize = 3;
}

impl Pair {
    fn start_of(&self, time: i64) -> i64 {
        time.div_euclid(self.interval).saturating_mul(self.interval)
    }

    fn closes(&self, start: i64) -> Time {
        Time(start).plus(self.interval).plus(self.lateness)
    }

    fn part(&self, view: &View, batch: &Batch, row: usize, has_room: bool) -> u32 {
        if !view.is_half(row) {
            return part::PASSED;
        }
        if Time(batch.seen[row]) >= self.closes(self.start_of(batch.time[row])) {
            return part::LATE;
        }
        if has_room { part::TAKEN } else { part::PASSED }
    }

    /// Rows that are not joined go on as they came.
    fn pass(&self, batch: Batch, out: &mut Out) {
        let batch = batch.map(|rows| {
            let columns = self.schema.fields.iter().map(|field| column(&rows, Some(&field.name), field)).collect();
            record(&self.arrow, columns, rows.num_rows())
        });
        out.send(0, batch);
    }

    fn take(&mut self, batch: Batch, out: &mut Out) {
        let time = batch.time.clone();
        let bytes_a_row = rows_bytes(&batch.rows) / batch.len().max(1) + size_of::<Half>();
        let (rows, acks) = out.absorb(batch);
        let rows = rows.into_plain();
        let Some(view) = View::new(&rows) else { unreachable!("there is no half without the columns of one") };
        let mut begun = BTreeSet::new();
        for row in 0..rows.num_rows() {
            let start = self.start_of(time[row]);
            let open = self.open.entry(start).or_default();
            if begun.insert(start) {
                open.batches.push(rows.clone());
                open.acks.join(acks.split());
            }
            open.halves.push(view.half(row, open.batches.len() - 1, time[row]));
            open.bytes += bytes_a_row;
            self.bytes += bytes_a_row;
        }
        acks.delivered();
    }
}

impl Transform for Pair {
    fn on_batch(&mut self, batch: Batch, out: &mut Out) {
        let has_room = self.bytes < self.bytes_max;
        let parts = match View::new(&batch.rows) {
            Some(view) => (0..batch.len()).map(|row| self.part(&view, &batch, row, has_room)).collect(),
            None => vec![part::PASSED; batch.len()],
        };
        if !has_room {
            self.counts.add_noted("unpaired", batch.len() as u64);
        }
        let mut parts = batch.partition(&parts, part::ALL).into_iter();
        if let Some(taken) = parts.next().flatten() {
            self.take(taken, out);
        }
        if let Some(late) = parts.next().flatten() {
            out.send(1, late);
        }
        if let Some(passed) = parts.next().flatten() {
            self.pass(passed, out);
        }
    }

    fn on_watermark(&mut self, now: Time) {
        self.now = now;
    }

    fn due(&self) -> Option<Time> {
        let (start, _) = self.open.first_key_value()?;
        (self.closes(*start) <= self.now).then_some(Time(*start))
    }

    fn emit(&mut self, out: &mut Out) {
        let Some(mut entry) = self.open.first_entry() else { return };
        let start = *entry.key();
        let open = entry.get_mut();
        let (joined, given) = open.closing.get_or_insert_with(|| {
            open.acks = std::mem::take(&mut open.acks).bundle();
            let halves = std::mem::take(&mut open.halves);
            (Joined::new(&open.batches, halves, &self.schema, self.sums_client_ports), 0)
        });
        let range = *given..(*given + BATCH_ROWS).min(joined.len());
        *given = range.end;
        let is_done = range.end == joined.len();
        let time: Vec<i64> = joined.times(range.clone()).collect();
        let seen = vec![start; time.len()];
        let rows = record(&self.arrow, joined.columns(range), time.len());
        let acks = open.acks.split();
        if is_done {
            let open = entry.remove();
            self.bytes = self.bytes.saturating_sub(open.bytes);
            open.acks.delivered();
        }
        out.make(0, rows, Times::Seen { time: time.into(), seen: seen.into() }, acks);
    }

    fn watermark(&self, input: Time) -> Time {
        if input == Time::END {
            return input;
        }
        Time(self.start_of(input.minus(self.lateness).0))
    }
}
