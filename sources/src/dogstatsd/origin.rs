//! Who a process is: its container and pod, as its cgroup says.
//!
//! A pid may be another process's a moment later. A process is known by a descriptor of it (`pidfd`),
//! asked before each use: as long as it lives nobody else has its number. Who has died is not known
//! any more, so a message is never told to come from who took a number over.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Instant;

use weir_core::host::cgroup;

use super::rows::Sender;
use crate::net::datagrams::{is_alive, open_process};

/// Processes that are remembered.
const PROCESSES_MAX: usize = 4096;

struct Known {
    process: Option<OwnedFd>,
    sender: Arc<Sender>,
    /// Whether it has been asked in this round of reading.
    is_asked: bool,
    used: Instant,
}

#[derive(Default)]
pub struct Origins {
    known: HashMap<i32, Known>,
}

impl Origins {
    /// The process with this pid that is alive now.
    pub fn of(&mut self, pid: i32) -> Arc<Sender> {
        if let Some(known) = self.known.get_mut(&pid) {
            let lives = known.is_asked || known.process.as_ref().is_some_and(is_alive);
            known.is_asked = true;
            if lives {
                known.used = Instant::now();
                return known.sender.clone();
            }
            self.known.remove(&pid);
        }
        self.ask(pid)
    }

    /// The next round of reading asks again.
    pub fn settle(&mut self) {
        self.known.values_mut().for_each(|known| known.is_asked = false);
    }

    fn ask(&mut self, pid: i32) -> Arc<Sender> {
        let process = open_process(pid).ok();
        let unit = cgroup::of_process("/proc", pid).unwrap_or_default();
        // It lived before and after its files were read, so they were its own.
        let is_known = process.as_ref().is_some_and(is_alive);
        let (container, pod) = if is_known { (unit.container, unit.pod) } else { (None, None) };
        let text = |id: Option<String>| id.map(Arc::from);
        let sender = Arc::new(Sender { pid: Some(pid.into()), container: text(container), pod: text(pod) });
        if self.known.len() >= PROCESSES_MAX {
            self.forget();
        }
        self.known.insert(pid, Known { process, sender: sender.clone(), is_asked: true, used: Instant::now() });
        sender
    }

    /// Makes room: the half that was not heard of for longest goes.
    fn forget(&mut self) {
        let mut ages: Vec<Instant> = self.known.values().map(|known| known.used).collect();
        ages.sort_unstable();
        let oldest = ages[ages.len() / 2];
        self.known.retain(|_, known| known.used > oldest);
    }
}
