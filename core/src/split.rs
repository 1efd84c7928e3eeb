//! A keyed stage on several workers: fork and join inside one task.
//!
//! Each worker owns ranges of a fixed hash and emits in hash order; the coordinator takes the
//! smallest (due time, worker). Rows that a worker has no room for are folded after all others, in
//! the order of their ranges, by the worker that owns what takes them in. So the output is the same
//! for any number of workers.

use std::sync::mpsc;
use std::thread::JoinHandle;

use crate::batch::Batch;
use crate::component::{Front, Keyed, Part, Transform, Worker};
use crate::out::Out;
use crate::time::Time;

/// Equal ranges that the hashes are cut into. A worker owns whole ones.
pub const RANGES: usize = 64;

/// The most workers that a keyed stage is split into.
pub const WORKERS_MAX: usize = RANGES;

/// Runs a keyed stage as one transform.
pub struct Split {
    front: Box<dyn Front>,
    /// A worker that is out on its thread is `None`.
    workers: Vec<Option<Box<dyn Worker>>>,
    threads: Vec<Thread>,
    bytes_max: usize,
}

/// A worker, what it is to fold, and by how much each range may grow.
type Job = (Box<dyn Worker>, Part, usize);
/// A worker, and the rows it had no room for.
type Done = (Box<dyn Worker>, Option<Part>);

/// A thread that folds parts for one worker and gives the worker back.
struct Thread {
    jobs: Option<mpsc::SyncSender<Job>>,
    done: mpsc::Receiver<Done>,
    handle: Option<JoinHandle<()>>,
}

impl Thread {
    fn start() -> Thread {
        let (jobs, inbox) = mpsc::sync_channel::<Job>(1);
        let (outbox, done) = mpsc::sync_channel(1);
        let handle = std::thread::spawn(move || {
            for (mut worker, part, room) in inbox {
                let left = worker.fold(part, room);
                if outbox.send((worker, left)).is_err() {
                    return;
                }
            }
        });
        Thread { jobs: Some(jobs), done, handle: Some(handle) }
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(handle) = self.handle.take() {
            // A panic in a worker has already failed the task that waited for it.
            let _ = handle.join();
        }
    }
}

impl Split {
    pub fn new(keyed: Keyed) -> Split {
        let workers: Vec<_> = keyed.workers.into_iter().map(Some).collect();
        let extra = workers.len().saturating_sub(1);
        let threads = (0..extra).map(|_| Thread::start()).collect();
        Split { front: keyed.front, workers, threads, bytes_max: keyed.bytes_max }
    }

    fn fold(&mut self, part: Part) {
        for part in self.fold_by_range(part) {
            let owner = part.hashes.first().map_or(0, |hash| self.owner(*hash));
            if let Some(worker) = &mut self.workers[owner] {
                worker.overflow(part);
            }
        }
    }

    /// Lets each worker fold its rows. What they had no room for, in the order of the ranges.
    fn fold_by_range(&mut self, part: Part) -> Vec<Part> {
        let room = self.room();
        if let [Some(only)] = self.workers.as_mut_slice() {
            return only.fold(part, room).into_iter().collect();
        }
        let mut parts = self.cut(part).into_iter();
        let first = parts.next().flatten();
        let mut out = Vec::new();
        for (at, part) in parts.enumerate() {
            let Some(part) = part else { continue };
            if let (Some(worker), Some(jobs)) = (self.workers[at + 1].take(), &self.threads[at].jobs) {
                jobs.send((worker, part, room)).expect("a worker's thread lives as long as its stage");
                out.push(at);
            }
        }
        let mut left = Vec::new();
        if let (Some(part), Some(Some(worker))) = (first, self.workers.first_mut()) {
            left.extend(worker.fold(part, room));
        }
        for at in out {
            let (worker, part) = self.threads[at].done.recv().expect("a worker's thread does not panic");
            self.workers[at + 1] = Some(worker);
            left.extend(part);
        }
        left
    }

    /// By how much each range may grow during one part: an equal share of what is free.
    fn room(&self) -> usize {
        let held: usize = self.workers.iter().flatten().map(|worker| worker.bytes()).sum();
        self.bytes_max.saturating_sub(held) / RANGES
    }

    /// Which worker owns this hash.
    fn owner(&self, hash: u64) -> usize {
        range_of(hash) * self.workers.len() / RANGES
    }

    fn cut(&self, part: Part) -> Vec<Option<Part>> {
        let mut rows: Vec<Vec<u32>> = vec![Vec::new(); self.workers.len()];
        for (at, hash) in part.hashes.iter().enumerate() {
            rows[self.owner(*hash)].push(at as u32);
        }
        let cut = rows.into_iter().map(|rows| (!rows.is_empty()).then(|| part.take(&rows))).collect();
        part.acks.delivered();
        cut
    }

    fn next_due(&self) -> Option<(Time, usize)> {
        let due = |(at, worker): (usize, &Option<Box<dyn Worker>>)| Some((worker.as_ref()?.due()?, at));
        self.workers.iter().enumerate().filter_map(due).min()
    }
}

/// Which of the [`RANGES`] this hash is in.
pub fn range_of(hash: u64) -> usize {
    (hash >> (u64::BITS - RANGES.ilog2())) as usize
}

impl Transform for Split {
    fn on_batch(&mut self, batch: Batch, out: &mut Out) {
        if let Some(part) = self.front.front(batch, out) {
            self.fold(part);
        }
    }

    fn on_watermark(&mut self, now: Time) {
        self.workers.iter_mut().flatten().for_each(|w| w.on_watermark(now));
    }

    fn due(&self) -> Option<Time> {
        self.next_due().map(|(due, _)| due)
    }

    fn emit(&mut self, out: &mut Out) {
        let Some((_, at)) = self.next_due() else { return };
        if let Some(worker) = &mut self.workers[at] {
            worker.emit(out);
        }
    }

    fn watermark(&self, input: Time) -> Time {
        let each = self.workers.iter().flatten().map(|w| w.watermark(input));
        each.min().unwrap_or(input)
    }
}
