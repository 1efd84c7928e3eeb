//! What is known of processes, those that are gone for a while among them.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::now;

/// Processes of which something is known, at most; of those that are gone, the oldest are forgotten first.
const PROCESSES_MAX: usize = 1 << 14;
/// Of those that had one number after each other, the last ones.
const GENERATIONS_MAX: usize = 4;
/// What is known of one.
const PROCESS_BYTES: usize = 512;
/// What all of it may take.
pub const FACTS_BYTES: u64 = (PROCESSES_MAX * PROCESS_BYTES) as u64;
/// What is known of a process outlives it for so long: its last conversations are told of later, those of UDP a minute
/// and an interval.
pub const KEPT: Duration = Duration::from_secs(600);
/// Processes that are forgotten at once when there is no more room.
const EVICTED: usize = 256;
/// A process may have begun so much later than its conversation: its clock ticks a hundred times a second.
const TICK_NANOS: i64 = 10_000_000;

/// What tells a process from others that had its number, and from what it was before it became another program.
#[derive(Clone, Debug, PartialEq)]
pub struct Stat {
    /// When it began, in ticks since the host did: what clock its conversations come with is another thing.
    pub ticks: u64,
    pub command: String,
}

/// What is known of a process.
#[derive(Clone, Debug, PartialEq)]
pub struct Process {
    pub stat: Stat,
    /// Whether it had begun long enough before it was read: until then it may still be a copy of who started it.
    pub is_settled: bool,
    /// When it was seen to be gone.
    pub gone: Option<Instant>,
    pub tags: Arc<[String]>,
}

impl Process {
    /// When it began, in nanoseconds since the epoch, if it is known when the host did.
    pub fn began(&self, host_began: Option<i64>) -> i64 {
        let since = self.stat.ticks.saturating_mul(TICK_NANOS as u64);
        host_began.map_or(i64::MIN, |began| began.saturating_add_unsigned(since))
    }
}

pub enum Found {
    Process(Arc<[String]>),
    /// The process that has this number is another one.
    Other,
    None,
}

/// Processes by their numbers. One number may have been several processes', the last one last.
#[derive(Default)]
pub struct Facts {
    processes: HashMap<i32, Vec<Process>>,
    /// When the host began, by its clock as it was last seen: it may be set.
    pub host_began: Option<i64>,
    pub evicted: u64,
}

impl Facts {
    pub fn is_known(&self, pid: i32, stat: &Stat) -> bool {
        let last = self.processes.get(&pid).and_then(|all| all.last());
        last.is_some_and(|last| last.stat == *stat && last.is_settled && last.gone.is_none())
    }

    pub fn add(&mut self, pid: i32, process: Process) {
        if self.processes.len() >= PROCESSES_MAX && !self.processes.contains_key(&pid) {
            self.evict();
        }
        let all = self.processes.entry(pid).or_default();
        match all.last_mut() {
            Some(last) if last.stat.ticks == process.stat.ticks => *last = process,
            last => {
                if let Some(last) = last {
                    last.gone.get_or_insert_with(Instant::now);
                }
                if all.len() == GENERATIONS_MAX {
                    all.remove(0);
                }
                all.push(process);
            }
        }
    }

    /// Forgets processes that have been gone for long.
    pub fn forget(&mut self, alive: &[i32], now: Instant) {
        let alive: HashSet<i32> = alive.iter().copied().collect();
        self.processes.retain(|pid, all| {
            if !alive.contains(pid)
                && let Some(last) = all.last_mut()
            {
                last.gone.get_or_insert(now);
            }
            all.retain(|process| process.gone.is_none_or(|gone| now.saturating_duration_since(gone) < KEPT));
            !all.is_empty()
        });
    }

    /// Makes room: of the processes that are gone the oldest go, or else any.
    fn evict(&mut self) {
        let gone = |all: &[Process]| all.last().and_then(|last| last.gone);
        let key = |all: &[Process]| gone(all).map_or((true, None), |at| (false, Some(at)));
        let mut all: Vec<_> = self.processes.iter().map(|(pid, all)| (key(all), *pid)).collect();
        all.sort_unstable();
        let evicted = all.into_iter().take(EVICTED).filter_map(|(_, pid)| self.processes.remove(&pid));
        self.evicted += evicted.count() as u64;
    }

    /// The process that had this number during these times.
    pub fn of(&self, pid: i32, (start, end): (i64, i64)) -> Found {
        let Some(known) = self.processes.get(&pid) else { return Found::None };
        let (now, end) = (now(), end.saturating_add(TICK_NANOS));
        let before_now = |instant: Instant| now.saturating_sub_unsigned(instant.elapsed().as_nanos() as u64);
        let was_there = |process: &&Process| {
            process.began(self.host_began) <= end && process.gone.is_none_or(|gone| before_now(gone) >= start)
        };
        match known.iter().rev().find(was_there) {
            Some(process) => Found::Process(process.tags.clone()),
            None => Found::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_there_are_too_many_the_oldest_that_is_gone_goes() {
        let mut facts = Facts::default();
        let stat = Stat { ticks: 1, command: "x".into() };
        let now = Instant::now();
        let process = |gone| Process { stat: stat.clone(), is_settled: true, gone, tags: Arc::from([]) };
        for pid in 0..PROCESSES_MAX as i32 {
            facts.processes.insert(pid, vec![process((pid == 77).then_some(now))]);
        }
        facts.add(-1, process(None));
        assert!(!facts.processes.contains_key(&77) && facts.processes.contains_key(&-1));
        assert_eq!((facts.processes.len(), facts.evicted), (PROCESSES_MAX + 1 - EVICTED, EVICTED as u64));
    }
}
