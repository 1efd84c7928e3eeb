//! Where a component's rows leave it, by counting verbs.
//!
//! A batch leaves a component only by `send`, `keep`, `discard` or `absorb`; new rows come only by
//! `make`. So the engine counts, and after each call checks that what the equation leaves over is
//! what the component says it holds.

use std::borrow::Cow;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use arrow_array::BooleanArray;

use crate::acks::Acks;
use crate::batch::{Batch, Times};
use crate::component::Transform;
use crate::edge::Sender;
use crate::fault::Fault;
use crate::ledger::{Counts, EdgeCounts, Reason, reason};
use crate::rows::Rows;
use crate::time::Time;

/// Which output; 0 is the default one.
pub type Port = usize;

/// One reader of an output.
pub enum Reader {
    Edge(Sender),
    Inline(Box<Inline>),
}

/// A stage that runs inside its upstream's task.
pub struct Inline {
    name: String,
    transform: Box<dyn Transform>,
    out: Out,
    edge: Arc<EdgeCounts>,
    finished: bool,
}

impl Inline {
    pub fn new(name: String, transform: Box<dyn Transform>, out: Out, edge: Arc<EdgeCounts>) -> Inline {
        Inline { name, transform, out, edge, finished: false }
    }

    fn on_batch(&mut self, batch: Batch) {
        let rows = batch.len();
        self.edge.add_sent(rows);
        self.edge.add_taken(rows);
        self.out.counts.add_in(rows);
        if self.finished {
            return self.out.discard(batch, reason::FINISHED);
        }
        self.transform.on_batch(batch, &mut self.out);
        self.out.check(&self.name, self.transform.held());
        if self.transform.finished() {
            self.finished = true;
            self.out.advance(Time::END);
        }
    }

    fn advance(&mut self, watermark: Time) {
        if !self.finished {
            self.transform.on_watermark(watermark);
            self.out.advance(self.transform.watermark(watermark));
        }
    }

    fn closed(&self) -> Option<&'static str> {
        if self.finished { Some(reason::FINISHED) } else { self.out.closed() }
    }
}

struct Output {
    readers: Vec<Reader>,
    /// Under which reason rows are counted when nobody reads them.
    unread: Reason,
}

/// The outputs of one component.
pub struct Out {
    counts: Arc<Counts>,
    outputs: Vec<Output>,
    watermark: Time,
    fault: Option<Fault>,
}

impl Out {
    /// `outputs` are the names, the default one empty, each with its readers.
    pub fn new(counts: Arc<Counts>, outputs: Vec<(String, Vec<Reader>)>) -> Out {
        let output = |(name, readers): (String, Vec<Reader>)| {
            let unread = match name.as_str() {
                "" => Cow::Borrowed("unread"),
                name => Cow::Owned(format!("unread_{name}")),
            };
            Output { readers, unread }
        };
        let outputs = outputs.into_iter().map(output).collect();
        Out { counts, outputs, watermark: Time::START, fault: None }
    }

    pub fn counts(&self) -> &Arc<Counts> {
        &self.counts
    }

    /// Passes a batch on.
    pub fn send(&mut self, port: Port, batch: Batch) {
        let rows = batch.len();
        if rows == 0 {
            return batch.acks.delivered();
        }
        let output = &mut self.outputs[port];
        let Some((last, others)) = output.readers.split_last_mut() else {
            let why = output.unread.clone();
            return self.discard(batch, why);
        };
        self.counts.add_out(rows);
        for reader in others {
            reader.on_batch(batch.share());
        }
        last.on_batch(batch);
    }

    /// Keeps the rows where `mask` is true and drops the rest under `why`.
    pub fn keep(&mut self, batch: Batch, mask: &BooleanArray, why: impl Into<Reason>) -> Batch {
        let kept = mask.true_count();
        if kept == batch.len() {
            return batch;
        }
        self.counts.add_dropped(why, batch.len() - kept);
        batch.filter(mask)
    }

    /// Drops a whole batch. Written in the pipeline or counted under its reason, it is dealt with:
    /// the source need not replay it.
    pub fn discard(&mut self, batch: Batch, why: impl Into<Reason>) {
        self.counts.add_dropped(why, batch.len());
        batch.acks.delivered();
    }

    /// Takes a batch into the component's state. Its acks are now the component's.
    pub fn absorb(&mut self, batch: Batch) -> (Rows, Acks) {
        self.counts.add_absorbed(batch.len());
        (batch.rows, batch.acks)
    }

    /// Sends rows that the component has created.
    pub fn make(&mut self, port: Port, rows: impl Into<Rows>, times: Times, acks: Acks) {
        let batch = Batch::new(rows, times, acks);
        self.counts.add_made(batch.len());
        self.send(port, batch);
    }

    /// Whether anybody reads this output.
    pub fn is_read(&self, port: Port) -> bool {
        self.outputs.get(port).is_some_and(|o| !o.readers.is_empty())
    }

    /// Ready when every queue behind every output has room for one more batch.
    pub fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        for reader in self.outputs.iter_mut().flat_map(|o| &mut o.readers) {
            ready!(match reader {
                Reader::Edge(sender) => sender.poll_ready(cx),
                Reader::Inline(inline) => inline.out.poll_ready(cx),
            });
        }
        Poll::Ready(())
    }

    /// Waits for room. With it, one batch may be sent to each output.
    pub async fn ready(&mut self) {
        std::future::poll_fn(|cx| self.poll_ready(cx)).await;
    }

    /// Tells every reader how far event time has come.
    pub(crate) fn advance(&mut self, watermark: Time) {
        if watermark <= self.watermark {
            return;
        }
        self.watermark = watermark;
        for reader in self.outputs.iter_mut().flat_map(|o| &mut o.readers) {
            match reader {
                Reader::Edge(sender) => sender.advance(watermark),
                Reader::Inline(inline) => inline.advance(watermark),
            }
        }
    }

    /// Ends every queue without flushing what is behind it.
    pub(crate) fn leave_replayable(&mut self) {
        for reader in self.outputs.iter_mut().flat_map(|o| &mut o.readers) {
            match reader {
                Reader::Edge(sender) => sender.leave_replayable(),
                Reader::Inline(inline) => inline.out.leave_replayable(),
            }
        }
    }

    /// Whether no reader wants any more, and under which reason rows would be dropped: that something
    /// was lost outweighs that somebody had enough.
    pub(crate) fn closed(&self) -> Option<&'static str> {
        let mut why = None;
        for reader in self.outputs.iter().flat_map(|o| &o.readers) {
            let closed = match reader {
                Reader::Edge(sender) => sender.closed(),
                Reader::Inline(inline) => inline.closed(),
            }?;
            why = why.filter(|why| *why == reason::UNDELIVERED).or(Some(closed));
        }
        why
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed().is_some()
    }

    /// Compares what the equation leaves over with what the component says it holds.
    pub(crate) fn check(&mut self, name: &str, held: usize) {
        self.counts.set_held(held);
        let rest = self.counts.rest();
        if rest != held as i64 && self.fault.is_none() {
            let message = format!("{rest} rows are unaccounted for, it says it holds {held}");
            self.fault = Some(Fault::bug(message).of(name));
        }
    }

    /// The first broken rule among this component and the stages inside it.
    pub(crate) fn take_fault(&mut self) -> Option<Fault> {
        let mut readers = self.outputs.iter_mut().flat_map(|o| &mut o.readers);
        let inner = readers.find_map(|reader| match reader {
            Reader::Inline(inline) => inline.out.take_fault(),
            Reader::Edge(_) => None,
        });
        self.fault.take().or(inner)
    }
}

impl Reader {
    fn on_batch(&mut self, batch: Batch) {
        match self {
            Reader::Edge(sender) => sender.push(batch),
            Reader::Inline(inline) => inline.on_batch(batch),
        }
    }
}
