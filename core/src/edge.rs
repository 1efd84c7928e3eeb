//! A bounded queue between two tasks: one producer, one consumer.
//!
//! Only the consumer changes how much room there is, and only adds to it. So room once seen stays
//! until the producer uses it: "permit before work" is waiting for [`Sender::poll_ready`], without
//! a permit object and without a refund. A queue exceeds its limit by at most one batch.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use weir_spec::plan::OnFull;

use crate::batch::Batch;
use crate::ledger::{Counts, EdgeCounts, reason};
use crate::sync::checked::{self, Mutex, lock};
use crate::time::Time;

/// What an edge holds at most.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub batches_max: usize,
    pub bytes_max: usize,
}

/// What the consumer takes out.
pub struct Item {
    pub batch: Option<Batch>,
    /// How far event time has come after these rows. [`Time::END`] is the end of input.
    pub watermark: Time,
}

/// How a queue stopped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stopped {
    /// The source will replay what is not acknowledged: nothing flushes.
    Replayable,
    /// The producer vanished without an end: it has failed.
    Failed,
}

#[derive(Default)]
struct Room {
    items: VecDeque<(Item, usize)>,
    bytes: usize,
    watermark: Option<Time>,
    stopped: Option<Stopped>,
    /// Under which reason rows are dropped once the reader wants no more.
    closed: Option<&'static str>,
    producer: Option<Waker>,
    consumer: Option<Waker>,
}

impl Room {
    fn wake_consumer(&mut self) {
        if let Some(waker) = self.consumer.take() {
            waker.wake();
        }
    }
    fn wake_producer(&mut self) {
        if let Some(waker) = self.producer.take() {
            waker.wake();
        }
    }
    fn is_full(&self, limits: &Limits) -> bool {
        self.items.len() >= limits.batches_max || self.bytes >= limits.bytes_max
    }
}

struct Shared {
    room: Mutex<Room>,
    limits: Limits,
    on_full: OnFull,
    counts: Arc<EdgeCounts>,
    /// The consumer's: it takes in and drops what comes after it has finished.
    reader: Arc<Counts>,
}

impl Shared {
    /// Counts rows that arrive at a reader which does not want them.
    fn drop_at_reader(&self, batch: Batch, why: &'static str) {
        let rows = batch.len();
        self.counts.add_taken(rows);
        self.reader.add_in(rows);
        self.reader.add_dropped(why, rows);
        // The author wrote the end (`limit`, a closed pipe, `drop_newest`): nothing to replay. What
        // could not be delivered fails its ticket by being dropped.
        if why != reason::UNDELIVERED {
            batch.acks.delivered();
        }
    }
}

/// Makes an edge. `reader` are the counts of the consuming component.
pub fn edge(limits: Limits, on_full: OnFull, counts: Arc<EdgeCounts>, reader: Arc<Counts>) -> (Sender, Receiver) {
    let room = Mutex::new(Room::default());
    let shared = checked::Arc::new(Shared { room, limits, on_full, counts, reader });
    (Sender { shared: shared.clone() }, Receiver { shared })
}

/// The producer's end.
pub struct Sender {
    shared: checked::Arc<Shared>,
}

impl Sender {
    /// Ready when one more batch may be pushed.
    pub fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut room = lock(&self.shared.room);
        let block = self.shared.on_full == OnFull::Block;
        if block && room.closed.is_none() && room.is_full(&self.shared.limits) {
            room.producer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(())
    }

    pub fn push(&mut self, batch: Batch) {
        let rows = batch.len();
        if rows == 0 {
            batch.acks.delivered();
            return;
        }
        self.shared.counts.add_sent(rows);
        let mut room = lock(&self.shared.room);
        if let Some(why) = room.closed {
            drop(room);
            return self.shared.drop_at_reader(batch, why);
        }
        if self.shared.on_full == OnFull::DropNewest && room.is_full(&self.shared.limits) {
            drop(room);
            return self.shared.drop_at_reader(batch, reason::QUEUE_FULL);
        }
        let bytes = batch.bytes();
        room.bytes += bytes;
        let watermark = room.watermark.unwrap_or(Time::START);
        room.items.push_back((Item { batch: Some(batch), watermark }, bytes));
        room.wake_consumer();
    }

    /// Says how far event time has come. It does not go back.
    pub fn advance(&mut self, watermark: Time) {
        let mut room = lock(&self.shared.room);
        if room.watermark.is_some_and(|before| before >= watermark) || room.closed.is_some() {
            return;
        }
        room.watermark = Some(watermark);
        match room.items.back_mut() {
            Some((last, _)) => last.watermark = watermark,
            None => room.items.push_back((Item { batch: None, watermark }, 0)),
        }
        room.wake_consumer();
    }

    /// Ends the queue without flushing what is behind it: the source will replay.
    pub fn leave_replayable(&mut self) {
        let mut room = lock(&self.shared.room);
        room.stopped = Some(Stopped::Replayable);
        room.wake_consumer();
    }

    /// Whether the consumer wants no more, and under which reason rows are dropped.
    pub fn closed(&self) -> Option<&'static str> {
        lock(&self.shared.room).closed
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        let mut room = lock(&self.shared.room);
        if room.watermark != Some(Time::END) && room.stopped.is_none() {
            room.stopped = Some(Stopped::Failed);
        }
        room.wake_consumer();
    }
}

/// The consumer's end.
pub struct Receiver {
    shared: checked::Arc<Shared>,
}

/// Batches below this are joined on receipt, up to [`crate::batch::BATCH_ROWS`].
const JOIN_BELOW_ROWS: usize = 512;

impl Receiver {
    /// The next item, small batches joined into one.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Item, Stopped>> {
        let mut room = lock(&self.shared.room);
        let Some((mut item, bytes)) = room.items.pop_front() else {
            return match room.stopped {
                Some(stopped) => Poll::Ready(Err(stopped)),
                None => {
                    room.consumer = Some(cx.waker().clone());
                    Poll::Pending
                }
            };
        };
        room.bytes -= bytes;
        let mut small = Vec::new();
        let mut rows = item.batch.as_ref().map_or(0, Batch::len);
        while rows < JOIN_BELOW_ROWS && room.items.front().is_some_and(|(next, _)| joins(next, rows)) {
            let Some((next, bytes)) = room.items.pop_front() else { break };
            room.bytes -= bytes;
            small.extend(item.batch.take());
            item = next;
            rows += item.batch.as_ref().map_or(0, Batch::len);
        }
        room.wake_producer();
        drop(room);
        if !small.is_empty() {
            small.extend(item.batch.take());
            item.batch = Batch::join(small);
        }
        self.count(&item);
        Poll::Ready(Ok(item))
    }

    fn count(&self, item: &Item) {
        let rows = item.batch.as_ref().map_or(0, Batch::len);
        self.shared.counts.add_taken(rows);
        self.shared.reader.add_in(rows);
    }

    /// Wants no more: what is queued and what still comes is taken in and dropped.
    /// What is dropped under [`reason::UNDELIVERED`] was lost, and its source is told.
    pub fn close(&mut self, why: &'static str) {
        let mut room = lock(&self.shared.room);
        room.closed.get_or_insert(why);
        room.bytes = 0;
        let queued = std::mem::take(&mut room.items);
        room.wake_producer();
        drop(room);
        for (item, _) in queued {
            if let Some(batch) = item.batch {
                self.shared.drop_at_reader(batch, why);
            }
        }
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.close(reason::UNDELIVERED);
    }
}

fn joins(next: &Item, rows: usize) -> bool {
    next.batch.as_ref().is_none_or(|b| b.len() < JOIN_BELOW_ROWS && rows > 0)
}

#[cfg(all(test, not(model)))]
#[allow(clippy::unwrap_used)] // Tests.
mod tests {
    use std::task::{Context, Poll, Waker};

    use arrow_array::{ArrayRef, Int64Array, RecordBatch};
    use proptest::prelude::*;

    use super::*;
    use crate::acks::{Acks, Tally};
    use crate::batch::Times;

    fn batch(first: i64, rows: usize, acks: Acks) -> Batch {
        let values: Vec<i64> = (first..first + rows as i64).collect();
        let column: ArrayRef = Arc::new(Int64Array::from(values.clone()));
        let rows = RecordBatch::try_from_iter([("n", column)]).unwrap();
        Batch::new(rows, Times::InOrder(values.into()), acks)
    }

    fn numbers(batch: &Batch) -> Vec<i64> {
        batch.rows.column(0).as_any().downcast_ref::<Int64Array>().unwrap().values().to_vec()
    }

    proptest! {
        /// However pushing, taking and watermarks alternate: rows come out once and in order, none
        /// after the watermark that follows it, the queue exceeds its limit by no batch, what is
        /// sent is what is taken and queued, and every ticket is settled once.
        #[test]
        fn a_queue_keeps_order_bounds_and_counts(
            steps in prop::collection::vec((0u8..4, 1usize..900), 1..80),
            batches_max in 1usize..6,
            closes in any::<bool>(),
            drops in any::<bool>(),
        ) {
            let (sent, taken) = (Arc::new(EdgeCounts::default()), Arc::new(Counts::default()));
            let on_full = if drops { OnFull::DropNewest } else { OnFull::Block };
            let limits = Limits { batches_max, bytes_max: 1 << 20 };
            let (mut sender, mut receiver) = edge(limits, on_full, sent.clone(), taken.clone());
            let cx = &mut Context::from_waker(Waker::noop());
            let tally = Arc::new(Tally::default());
            let (mut next, mut opened, mut dropped) = (0i64, 0u64, 0usize);
            let (mut got, mut reached): (Vec<i64>, Time) = (Vec::new(), Time::START);
            for (step, rows) in steps {
                match step {
                    0 | 1 => {
                        if sender.poll_ready(cx).is_pending() { continue; }
                        let full = receiver.shared.room.lock().unwrap().items.len() >= batches_max;
                        dropped += if full { rows } else { 0 };
                        sender.push(batch(next, rows, Acks::new(tally.clone(), opened)));
                        next += rows as i64;
                        opened += 1;
                    }
                    2 => sender.advance(Time(next - 1)),
                    _ => if let Poll::Ready(Ok(item)) = receiver.poll_next(cx) {
                        if let Some(batch) = item.batch {
                            prop_assert!(batch.time.iter().all(|t| Time(*t) > reached), "a row after its watermark");
                            got.extend(numbers(&batch));
                            batch.acks.delivered();
                        }
                        prop_assert!(item.watermark >= reached);
                        reached = item.watermark;
                    }
                }
                prop_assert!(receiver.shared.room.lock().unwrap().items.len() <= batches_max);
            }
            if closes {
                drop(receiver);
            } else {
                sender.advance(Time::END);
                while let Poll::Ready(Ok(item)) = receiver.poll_next(cx) {
                    if let Some(batch) = item.batch {
                        got.extend(numbers(&batch));
                        batch.acks.delivered();
                    }
                    if item.watermark == Time::END { break; }
                }
                prop_assert_eq!(got.len() + dropped, next as usize);
            }
            prop_assert!(got.is_sorted_by(|a, b| a < b), "in order, once");
            let (delivered, failed) = tally.counts();
            prop_assert_eq!(delivered + failed, opened);
            prop_assert!(closes || failed == 0);
            prop_assert_eq!(sent.sent_and_queued(), (next as u64, 0));
        }
    }
}

#[cfg(all(test, model))]
#[allow(clippy::unwrap_used)] // Tests.
mod model {
    use std::future::poll_fn;

    use arrow_array::{ArrayRef, Int64Array, RecordBatch};

    use super::*;
    use crate::acks::{Acks, Tally};
    use crate::batch::Times;

    fn one(acks: Acks) -> Batch {
        let column: ArrayRef = Arc::new(Int64Array::from(vec![1]));
        let rows = RecordBatch::try_from_iter([("n", column)]).unwrap();
        Batch::new(rows, Times::InOrder(vec![1].into()), acks)
    }

    fn queue() -> (Sender, Receiver) {
        let limits = Limits { batches_max: 1, bytes_max: 1 << 20 };
        edge(limits, OnFull::Block, Arc::default(), Arc::default())
    }

    /// Neither end sleeps through what the other does, in any interleaving.
    #[test]
    fn no_wakeup_is_lost() {
        loom::model(|| {
            let (mut sender, mut receiver) = queue();
            let producer = loom::thread::spawn(move || {
                loom::future::block_on(async {
                    for _ in 0..2 {
                        poll_fn(|cx| sender.poll_ready(cx)).await;
                        sender.push(one(Acks::none()));
                    }
                    sender.advance(Time::END);
                });
            });
            let rows = loom::future::block_on(async {
                let mut rows = 0;
                loop {
                    let item = poll_fn(|cx| receiver.poll_next(cx)).await.ok().unwrap();
                    rows += item.batch.map_or(0, |b| b.len());
                    if item.watermark == Time::END {
                        return rows;
                    }
                }
            });
            producer.join().unwrap();
            assert_eq!(rows, 2);
        });
    }

    /// A consumer that leaves while the producer pushes: the ticket is settled once and as failed.
    #[test]
    fn a_reader_that_leaves_fails_what_was_on_its_way() {
        loom::model(|| {
            let (mut sender, receiver) = queue();
            let tally = Arc::new(Tally::default());
            let acks = Acks::new(tally.clone(), 0);
            let reader = loom::thread::spawn(move || drop(receiver));
            sender.push(one(acks));
            reader.join().unwrap();
            assert_eq!(tally.counts(), (0, 1));
        });
    }
}
