//! A keyed stage on several workers: fork and join inside one task.
//!
//! Each worker owns a range of a fixed hash and emits in hash order; the coordinator takes the
//! smallest (due time, worker). So the output is the same for any number of workers.

use std::sync::mpsc;
use std::thread::JoinHandle;

use arrow_array::UInt32Array;
use arrow_select::take::take_record_batch;

use crate::batch::Batch;
use crate::component::{Front, Keyed, Part, Transform, Worker};
use crate::out::Out;
use crate::time::Time;

/// The most workers that a keyed stage is split into.
pub const WORKERS_MAX: usize = 64;

/// Runs a keyed stage as one transform.
pub struct Split {
    front: Box<dyn Front>,
    /// A worker that is out on its thread is `None`.
    workers: Vec<Option<Box<dyn Worker>>>,
    threads: Vec<Thread>,
}

type Job = (Box<dyn Worker>, Part);

/// A thread that folds parts for one worker and gives the worker back.
struct Thread {
    jobs: Option<mpsc::SyncSender<Job>>,
    done: mpsc::Receiver<Box<dyn Worker>>,
    handle: Option<JoinHandle<()>>,
}

impl Thread {
    fn start() -> Thread {
        let (jobs, inbox) = mpsc::sync_channel::<Job>(1);
        let (outbox, done) = mpsc::sync_channel(1);
        let handle = std::thread::spawn(move || {
            for (mut worker, part) in inbox {
                worker.fold(part);
                if outbox.send(worker).is_err() {
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
        Split { front: keyed.front, workers, threads }
    }

    fn fold(&mut self, part: Part) {
        if let [Some(only)] = self.workers.as_mut_slice() {
            return only.fold(part);
        }
        let mut parts = cut(part, self.workers.len()).into_iter();
        let first = parts.next().flatten();
        let mut out = Vec::new();
        for (at, part) in parts.enumerate() {
            let Some(part) = part else { continue };
            if let (Some(worker), Some(jobs)) = (self.workers[at + 1].take(), &self.threads[at].jobs) {
                jobs.send((worker, part)).expect("a worker's thread lives as long as its stage");
                out.push(at);
            }
        }
        if let (Some(part), Some(Some(worker))) = (first, self.workers.first_mut()) {
            worker.fold(part);
        }
        for at in out {
            let worker = self.threads[at].done.recv();
            self.workers[at + 1] = Some(worker.expect("a worker's thread does not panic"));
        }
    }

    fn next_due(&self) -> Option<(Time, usize)> {
        let due = |(at, worker): (usize, &Option<Box<dyn Worker>>)| Some((worker.as_ref()?.due()?, at));
        self.workers.iter().enumerate().filter_map(due).min()
    }
}

/// Which of `n` equal ranges of the hashes this one is in.
fn range_of(hash: u64, n: usize) -> usize {
    ((u128::from(hash) * n as u128) >> 64) as usize
}

fn cut(part: Part, n: usize) -> Vec<Option<Part>> {
    let mut rows: Vec<Vec<u32>> = vec![Vec::new(); n];
    for (at, hash) in part.hashes.iter().enumerate() {
        rows[range_of(*hash, n)].push(at as u32);
    }
    let cut = rows.into_iter().map(|rows| {
        if rows.is_empty() {
            return None;
        }
        let pick = |values: &[i64]| rows.iter().map(|r| values[*r as usize]).collect();
        let (time, seen) = (pick(&part.time), pick(&part.seen));
        let hashes = rows.iter().map(|r| part.hashes[*r as usize]).collect();
        match take_record_batch(&part.rows, &UInt32Array::from(rows.clone())) {
            Ok(rows) => Some(Part { rows, hashes, time, seen, acks: part.acks.split() }),
            // Positions come from this part's own rows.
            Err(error) => unreachable!("take: {error}"),
        }
    });
    let cut = cut.collect();
    part.acks.delivered();
    cut
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
