//! Who a process is: its container and pod, as its cgroup says.
//!
//! A pid may be another process's a moment later. A process is known by a descriptor of it (`pidfd`),
//! asked once for what one call has read: as long as it lives nobody else has its number. Who has died is not known
//! any more, so a message is never told to come from who took a number over.

use std::cell::RefCell;
use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Instant;

use weir_core::host::cgroup;

use super::about::Sender;
use crate::net::datagrams::{is_alive, open_process};

/// Processes that are remembered.
const PROCESSES_MAX: usize = 256;
/// What a clock tick of `/proc` is, and how far two clocks may be apart.
const TICK_NANOS: i64 = 10_000_000;

struct Known {
    process: Option<OwnedFd>,
    sender: Arc<Sender>,
    /// When it began, in nanoseconds since the epoch.
    began: Option<i64>,
    /// In which round of reading it was asked last.
    asked: u64,
    used: Instant,
}

/// Containers by the inodes of their cgroups, which clients tell that do not know more (`c:in-…`).
#[derive(Default)]
pub struct Inodes(RefCell<Option<Where>>);

/// Where cgroups are looked for; nowhere, where the unified hierarchy is not mounted.
type Where = Option<cgroup::Tree>;

impl Inodes {
    /// Who is in the cgroup with that inode. The tree is read when it is asked for.
    pub fn unit(&self, inode: u64) -> Option<Arc<cgroup::Unit>> {
        let mut tree = self.0.borrow_mut();
        tree.get_or_insert_with(|| cgroup::mounted().map(cgroup::Tree::new)).as_mut()?.find(inode).cloned()
    }
}

#[derive(Default)]
pub struct Origins {
    known: HashMap<i32, Known>,
    round: u64,
    /// Who was asked last in this round: most of what is read at once is of one process.
    last: Option<(i32, Living)>,
}

/// A process, and when it began.
type Living = (Arc<Sender>, Option<i64>);

impl Origins {
    /// The process with this pid that is alive now. One that began after a message was sent is not who
    /// sent it, but took his number over: then nobody is known.
    pub fn of(&mut self, pid: i32, sent: Option<i64>) -> Arc<Sender> {
        let (sender, began) = self.living(pid);
        match (began, sent) {
            (Some(began), Some(sent)) if began > sent.saturating_add(TICK_NANOS) => Arc::default(),
            _ => sender,
        }
    }

    fn living(&mut self, pid: i32) -> Living {
        if let Some((last, living)) = &self.last
            && *last == pid
        {
            return living.clone();
        }
        let living = self.remembered(pid).unwrap_or_else(|| self.ask(pid));
        self.last = Some((pid, living.clone()));
        living
    }

    /// A process that is remembered and still lives.
    fn remembered(&mut self, pid: i32) -> Option<Living> {
        let known = self.known.get_mut(&pid)?;
        if known.asked != self.round && !known.process.as_ref().is_some_and(is_alive) {
            self.known.remove(&pid);
            return None;
        }
        (known.asked, known.used) = (self.round, Instant::now());
        Some((known.sender.clone(), known.began))
    }

    /// The next round of reading asks again.
    pub fn settle(&mut self) {
        self.round += 1;
        self.last = None;
    }

    /// Whether nobody is remembered.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Lets go of who has ended.
    pub fn reap(&mut self) {
        self.known.retain(|_, known| known.process.as_ref().is_some_and(is_alive));
    }

    fn ask(&mut self, pid: i32) -> Living {
        let process = open_process(pid).ok();
        let began = began(pid);
        let unit = cgroup::of_process("/proc", pid).unwrap_or_default();
        // It lived before and after its files were read, so they were its own.
        let is_known = process.as_ref().is_some_and(is_alive);
        let (container, pod) = if is_known { (unit.container, unit.pod) } else { (None, None) };
        let text = |id: Option<String>| id.map(Arc::from);
        let sender = Arc::new(Sender { pid: Some(pid.into()), container: text(container), pod: text(pod) });
        if self.known.len() >= PROCESSES_MAX {
            self.forget();
        }
        if process.is_some() {
            let known = Known { process, sender: sender.clone(), began, asked: self.round, used: Instant::now() };
            self.known.insert(pid, known);
        }
        (sender, began)
    }

    /// Makes room: the half that was not heard of for longest goes.
    fn forget(&mut self) {
        let mut ages: Vec<Instant> = self.known.values().map(|known| known.used).collect();
        ages.sort_unstable();
        let oldest = ages[ages.len() / 2];
        self.known.retain(|_, known| known.used > oldest);
    }
}

/// When a process began, by the 22nd field of its `stat` and when the host did.
fn began(pid: i32) -> Option<i64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // Its name may have blanks and brackets, and ends at the last one.
    let ticks: i64 = stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(19)?.parse().ok()?;
    let boot = std::fs::read_to_string("/proc/stat").ok()?;
    let boot: i64 = boot.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
    Some(boot.saturating_mul(1_000_000_000).saturating_add(ticks.saturating_mul(TICK_NANOS)))
}
