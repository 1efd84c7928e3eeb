//! What a source, a transform and a sink are, and how the table of components builds one.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use arrow_array::RecordBatch;
use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use weir_spec::plan::{Node, Stage};
use weir_spec::{ComponentSpec, Schema, Values};

use crate::acks::Acks;
use crate::batch::{Batch, Times, take_rows};
use crate::clock::Clock;
use crate::fault::Fault;
use crate::ledger::{Accounts, Ledger, Reason};
use crate::out::{Out, Port};
use crate::rows::Rows;
use crate::stop::Stop;
use crate::time::Time;

/// How a source ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Finish {
    /// There is no more: windows close and everything flushes.
    Flush,
    /// What is not acknowledged comes again after a restart: windows stay open.
    Replayable,
}

/// Reads from outside and makes rows. Runs in a task of its own.
#[async_trait]
pub trait Source: Send {
    /// Runs until the input ends, [`SourceCx::ready`] says to stop, or it fails.
    async fn run(self: Box<Self>, cx: &mut SourceCx) -> Result<Finish, Fault>;
}

/// Turns batches into batches. Synchronous, never fails: bad values become absent, bad rows are
/// discarded with a reason. Sees time only as watermarks.
pub trait Transform: Send {
    fn on_batch(&mut self, batch: Batch, out: &mut Out);

    /// No row at or before `now` will come any more, except late ones. [`Time::END`] is the end.
    fn on_watermark(&mut self, _now: Time) {}

    /// Event time of what is owed next, if anything is. Only stateful components owe.
    fn due(&self) -> Option<Time> {
        None
    }

    /// Gives at most one batch an output, of one due time.
    fn emit(&mut self, _out: &mut Out) {}

    /// The earliest time that it may still emit, once nothing is due.
    fn watermark(&self, input: Time) -> Time {
        input
    }

    /// Rows parked that will pass on. What was absorbed does not count.
    fn held(&self) -> usize {
        0
    }

    /// Whether it wants no more input.
    fn finished(&self) -> bool {
        false
    }

    /// Nobody wants what it holds any more: what is waited for from outside of the graph is not worth it.
    fn stop_waiting(&mut self) {}

    /// Ready when something has come that it waits for, from outside of the graph or because of its clock: what
    /// is due may have changed. Whoever holds rows after the end of input has to become ready until it holds none.
    fn poll_woken(&mut self, _cx: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }
}

/// Rows of a keyed stage with their hashes.
pub struct Part {
    pub rows: RecordBatch,
    pub hashes: Vec<u64>,
    pub time: Vec<i64>,
    /// How far each row's own input had come just before it.
    pub seen: Vec<i64>,
    pub acks: Acks,
}

impl Part {
    /// These rows, in this order, with a share of the acks.
    pub fn take(&self, rows: &[u32]) -> Part {
        let pick = |values: &[i64]| rows.iter().map(|row| values[*row as usize]).collect();
        Part {
            rows: take_rows(&self.rows, rows),
            hashes: rows.iter().map(|row| self.hashes[*row as usize]).collect(),
            time: pick(&self.time),
            seen: pick(&self.seen),
            acks: self.acks.split(),
        }
    }
}

/// The part of a keyed stage that sees every row: computes keys, and lets late rows go. Lateness is
/// decided here, before the split, so that no number of workers changes the order of late rows.
pub trait Front: Send {
    fn front(&mut self, batch: Batch, out: &mut Out) -> Option<Part>;
}

/// The part of a keyed stage that owns ranges of the hashes.
///
/// What fits must not depend on how many workers there are: before each part the stage says by how
/// much every range ([`crate::split::range_of`]) may grow while it is folded.
pub trait Worker: Send {
    /// Folds rows in. Gives back those without room, in the order of their ranges, now with the one
    /// hash of what takes them in instead: they go to the worker that owns it.
    #[must_use]
    fn fold(&mut self, part: Part, room_bytes: usize) -> Option<Part>;
    /// Folds in what some worker had no room for.
    fn overflow(&mut self, part: Part);
    /// Bytes of its state.
    fn bytes(&self) -> usize;
    fn on_watermark(&mut self, now: Time);
    fn due(&self) -> Option<Time>;
    /// At most one batch, of one due time, in the order of the hashes.
    fn emit(&mut self, out: &mut Out);
    fn watermark(&self, input: Time) -> Time;
}

/// A keyed stage: one front, a worker for each range of hashes.
pub struct Keyed {
    pub front: Box<dyn Front>,
    pub workers: Vec<Box<dyn Worker>>,
    /// What the state of all workers may take.
    pub bytes_max: usize,
}

/// Whether an encoder has given everything it was handed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Encoded {
    All,
    /// It holds rows back to lay them out together with later ones.
    Held,
}

/// Which of a sink's ways to its far end a payload takes: an endpoint, a topic. Most have one, 0.
pub type Route = usize;

/// Rows to bytes.
pub trait Encoder: Send {
    /// How many routes there are.
    fn routes(&self) -> usize {
        1
    }
    /// The route of each row, where there are several.
    fn route(&self, _rows: &RecordBatch) -> Vec<u32> {
        Vec::new()
    }
    /// Appends rows of one route to its payload.
    fn encode(&mut self, route: Route, rows: &RecordBatch, into: &mut BytesMut) -> Encoded;
    /// Gives what it held back. More may follow.
    fn flush(&mut self, _into: &mut BytesMut) {}
    /// Ends a payload that is about to be sent.
    fn close(&mut self, _route: Route, _payload: &mut BytesMut) {}
}

/// What became of a payload.
#[derive(Debug)]
pub enum Outcome {
    Delivered,
    /// These rows of the payload, counted from 0, are refused for good; the others are delivered.
    Rejected {
        rows: Vec<u32>,
        why: Reason,
    },
    /// More than the far end takes at once. The driver sends it in two halves; a single row is refused.
    TooLarge,
    /// Not now. The driver waits at least so long and tries again.
    RetryAfter(Duration, Fault),
    /// The whole payload is refused for good; what comes later may be taken.
    Refused(Fault),
    /// Never again: what failed and why.
    Down(Fault),
    /// The reader went away and wants no more. Not a failure.
    Closed,
}

/// A payload to an outcome.
#[async_trait]
pub trait Delivery: Send + Sync {
    /// Payloads on their way at once; more than one may arrive in any order.
    fn in_flight_max(&self) -> usize {
        1
    }
    async fn deliver(&self, route: Route, payload: Bytes) -> Outcome;
    /// After the last payload: makes a file whole, closes a connection.
    async fn finish(&self) -> Result<(), Fault> {
        Ok(())
    }
}

/// When a payload is sent.
#[derive(Clone, Copy, Debug)]
pub struct Batching {
    pub rows_max: usize,
    pub bytes_max: usize,
    /// How old the oldest row may get while more is coming.
    pub age_max: Duration,
    /// How long rows wait for more of them even though nothing is on its way: each payload costs a request.
    pub linger: Duration,
}

impl Default for Batching {
    fn default() -> Self {
        Batching { rows_max: 8192, bytes_max: 256 << 10, age_max: Duration::from_millis(20), linger: Duration::ZERO }
    }
}

/// How a payload is tried again.
#[derive(Clone, Copy, Debug)]
pub struct Retry {
    pub first: Duration,
    pub longest: Duration,
    /// After so long the payload is given up, counted as undelivered.
    pub budget: Duration,
    /// Whether the sink goes on after that, with what came later.
    pub goes_on: bool,
}

impl Default for Retry {
    fn default() -> Self {
        Retry {
            first: Duration::from_millis(100),
            longest: Duration::from_secs(30),
            budget: Duration::from_secs(600),
            goes_on: false,
        }
    }
}

/// Where a sink delivers to, and how it is to be approached.
pub struct FarEnd {
    pub delivery: Arc<dyn Delivery>,
    pub batching: Batching,
    pub retry: Retry,
}

impl FarEnd {
    pub fn new(delivery: Arc<dyn Delivery>) -> FarEnd {
        FarEnd { delivery, batching: Batching::default(), retry: Retry::default() }
    }
}

/// What a sink is made of; one driver runs them all.
pub struct SinkParts {
    pub encoder: Box<dyn Encoder>,
    pub far_end: FarEnd,
}

/// How far a bounded input has been read, in bytes.
#[derive(Default)]
pub struct Progress {
    total_bytes: AtomicU64,
    read_bytes: AtomicU64,
}

impl Progress {
    pub fn add_total(&self, bytes: u64) {
        self.total_bytes.fetch_add(bytes, Ordering::Relaxed);
    }
    pub fn add_read(&self, bytes: u64) {
        self.read_bytes.fetch_add(bytes, Ordering::Relaxed);
    }
    /// (read, total); a total of 0 is not known.
    pub fn get(&self) -> (u64, u64) {
        (self.read_bytes.load(Ordering::Relaxed), self.total_bytes.load(Ordering::Relaxed))
    }
}

/// What a source works with.
pub struct SourceCx {
    pub(crate) out: Out,
    pub(crate) clock: Clock,
    pub(crate) stop: Stop,
    pub(crate) progress: Arc<Progress>,
    pub(crate) faults: Vec<Fault>,
    pub(crate) accounts: Arc<OnceLock<Accounts>>,
}

impl SourceCx {
    /// Waits for room for one batch an output. `false` means: stop, nobody wants more.
    #[must_use]
    pub async fn ready(&mut self) -> bool {
        if self.stop.is_stopped() || self.out.is_closed() {
            return false;
        }
        let stop = self.stop.clone();
        tokio::select! {
            biased;
            () = self.out.ready() => !self.out.is_closed(),
            () = stop.stopped() => false,
        }
    }

    /// Sends rows that were read.
    pub fn made(&mut self, port: Port, rows: impl Into<Rows>, times: Times, acks: Acks) {
        self.out.make(port, rows, times, acks);
    }

    /// Counts input that never became a row.
    pub fn reject(&mut self, why: impl Into<Reason>, n: usize) {
        self.out.counts().add_in(n);
        self.out.counts().add_dropped(why, n);
    }

    /// Counts what is worth counting beside rows.
    pub fn note(&mut self, what: &'static str, n: u64) {
        self.out.counts().add_noted(what, n);
    }

    /// What every component of the graph did so far.
    pub fn ledger(&self) -> Option<Ledger> {
        self.accounts.get().map(Accounts::ledger)
    }

    /// Tells the user something that is no failure.
    pub fn warn(&mut self, text: String) {
        self.out.counts().warn(text);
    }

    /// Waits for room for what is sent last, after the graph was asked to end.
    pub async fn ready_to_end(&mut self) {
        self.out.ready().await;
    }

    /// Says how far event time has come.
    pub fn advance(&mut self, watermark: Time) {
        self.out.advance(watermark);
    }

    /// Reports a failure and goes on: what was good is delivered, the run ends with 1.
    pub fn report(&mut self, fault: Fault) {
        self.faults.push(fault);
    }

    pub fn is_read(&self, port: Port) -> bool {
        self.out.is_read(port)
    }
    pub fn clock(&self) -> &Clock {
        &self.clock
    }
    pub fn stop(&self) -> Stop {
        self.stop.clone()
    }
    pub fn progress(&self) -> Arc<Progress> {
        self.progress.clone()
    }
}

/// Where a pipeline finds its files.
#[derive(Clone, Debug, Default)]
pub struct Places {
    /// Everything read is relative to the pipeline's file.
    pub read: PathBuf,
    /// Everything written is relative to the working directory.
    pub write: PathBuf,
}

impl Places {
    pub fn to_read(&self, path: &str) -> PathBuf {
        self.read.join(Path::new(path))
    }
    pub fn to_write(&self, path: &str) -> PathBuf {
        self.write.join(Path::new(path))
    }
}

/// What a component is built from.
pub struct BuildCx<'a> {
    pub node: &'a Node,
    /// Columns that each input's batches have, exactly.
    pub inputs: Vec<Arc<Schema>>,
    /// Columns that each output's batches must have, exactly.
    pub outputs: Vec<Arc<Schema>>,
    /// The share of memory for state.
    pub state_bytes: u64,
    pub workers: usize,
    pub places: &'a Places,
    pub clock: &'a Clock,
    /// Whether the inputs end by themselves.
    pub bounded: bool,
    pub counts: &'a Arc<crate::ledger::Counts>,
}

impl BuildCx<'_> {
    /// The options of a component; empty for a stage of the language.
    pub fn values(&self) -> Values {
        match &self.node.stage {
            Stage::Options(values) => values.clone(),
            _ => Values::default(),
        }
    }
}

/// How a component is built; an error is a fault of the environment or a bug.
#[derive(Clone, Copy)]
pub enum Build {
    Source(fn(&BuildCx) -> Result<Box<dyn Source>, Fault>),
    Transform(fn(&BuildCx) -> Result<Box<dyn Transform>, Fault>),
    Keyed(fn(&BuildCx) -> Result<Keyed, Fault>),
    Sink(SinkBuild),
}

/// The two halves of a sink, built apart: a test keeps the encoder and puts memory behind it.
#[derive(Clone, Copy)]
pub struct SinkBuild {
    /// Touches nothing outside.
    pub encoder: fn(&BuildCx) -> Result<Box<dyn Encoder>, Fault>,
    pub far_end: fn(&BuildCx) -> Result<FarEnd, Fault>,
}

/// One line of a crate's table of components.
#[derive(Clone, Copy)]
pub struct Entry {
    pub spec: &'static ComponentSpec,
    pub build: Build,
}
