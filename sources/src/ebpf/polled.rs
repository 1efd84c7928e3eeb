//! Where records come from when the kernel takes no program: its list of TCP sockets, asked for again and again.

use std::collections::HashMap;
use std::io;
use std::time::{Duration, Instant};

use weir_ebpf::records::{Losses, Origin, Record, state as tcp};
use weir_ebpf::{Diag, Refused, Scope, monotonic_nanos};

use super::Tells;
use super::meter::Event;

/// How often the kernel is asked, and how many times longer than that takes the pause has to be.
const LOOK: Duration = Duration::from_secs(1);
const PAUSES: u32 = 100;

pub struct Polled {
    diag: Diag,
    /// Sockets as they were when they were last seen, by their namespaces and cookies.
    last: HashMap<(u32, u64), Seen>,
    asked: Instant,
    pause: Duration,
}

struct Seen {
    record: Record,
    /// In so many dumps since then it was not.
    missed: u8,
    at: Instant,
}

/// A socket that is missing so often and for so long has ended.
const MISSED_MAX: u8 = 2;
const MISSED: Duration = Duration::from_secs(2);

impl Polled {
    pub fn open(scope: Scope) -> io::Result<Polled> {
        let mut diag = Diag::open(scope)?;
        // Some kernels give the socket and no answer.
        diag.sockets()?;
        Ok(Polled { diag, last: HashMap::new(), asked: Instant::now(), pause: LOOK })
    }

    /// What that costs, and what would change it.
    pub fn warning(&self, refused: &Refused, help: &str, scope: Scope) -> String {
        let others = match scope == Scope::All && !self.diag.is_all() {
            true => "without other network namespaces (CAP_SYS_ADMIN and CAP_SYS_PTRACE show them), ",
            false => "",
        };
        format!(
            "{refused}; the kernel is asked for its TCP sockets every second instead, less often where that takes long: without UDP, {others}and without \
             connections that come and go between two looks; {help}"
        )
    }

    /// Asks for all sockets. Those that are gone have ended at some time since the last look.
    fn ask(&mut self, into: &mut Vec<Event>) -> io::Result<()> {
        let begun = Instant::now();
        let now = monotonic_nanos();
        let sockets = self.diag.sockets()?;
        let mut next = HashMap::with_capacity(sockets.len());
        for mut record in sockets {
            match self.last.remove(&(record.netns, record.cookie)) {
                Some(before) => goes_on(&mut record, before.record),
                // Who listens is known before those that it accepts are told of.
                None if record.origin == Origin::Listening => into.push(Event::Found(record.clone())),
                None => record.opened = Some(now),
            }
            next.insert((record.netns, record.cookie), Seen { record, missed: 0, at: begun });
        }
        for (id, mut seen) in std::mem::replace(&mut self.last, next) {
            // Where nothing was said, nothing has ended.
            seen.missed += u8::from(!self.diag.is_silent(id.0));
            match seen.missed < MISSED_MAX || seen.at.elapsed() < MISSED {
                // A dump may leave one out while others come and go.
                true => drop(self.last.insert(id, seen)),
                false if seen.record.origin == Origin::Listening => {}
                false => into.push(Event::Closed(ended(seen.record, now))),
            }
        }
        self.asked = begun;
        self.pause = LOOK.max(begun.elapsed() * PAUSES);
        Ok(())
    }
}

/// A socket that was seen before: what is not told of one that is closing, still holds.
fn goes_on(record: &mut Record, before: Record) {
    record.opened = before.opened;
    if record.pid == 0 {
        (record.pid, record.is_owned, record.command) = (before.pid, before.is_owned, before.command);
    }
    if record.cgroup == 0 {
        record.cgroup = before.cgroup;
    }
}

/// A socket that is gone. Nobody says how it ended: most end as they should.
fn ended(mut record: Record, now: u64) -> Record {
    record.closed = Some(now);
    if record.state != tcp::SYN_SENT {
        record.state = tcp::LAST_ACK;
    }
    record
}

impl Tells for Polled {
    fn what(&self) -> &'static str {
        "the kernel is asked for its TCP sockets (INET_DIAG)"
    }

    fn begin(&mut self, now: i64, into: &mut Vec<Event>) -> io::Result<()> {
        into.push(Event::Clock { wall: now, monotonic: monotonic_nanos() });
        self.ask(into)?;
        self.last.values_mut().for_each(|seen| seen.record.opened = None);
        into.extend(self.last.values().map(|seen| Event::Found(seen.record.clone())));
        self.tell(now, into);
        Ok(())
    }

    fn look(&mut self, now: i64, into: &mut Vec<Event>) {
        into.push(Event::Clock { wall: now, monotonic: monotonic_nanos() });
        if self.asked.elapsed() >= self.pause {
            // What cannot be told now is told the next time.
            let _ = self.ask(into);
        }
    }

    fn cut(&mut self, at: i64, into: &mut Vec<Event>) -> io::Result<()> {
        // What cannot be asked for now is told as it was.
        let _ = self.ask(into);
        self.tell(at, into);
        Ok(())
    }

    fn end(&mut self, now: i64, into: &mut Vec<Event>) -> io::Result<()> {
        into.push(Event::Clock { wall: now, monotonic: monotonic_nanos() });
        into.push(Event::Ending);
        self.cut(now, into)
    }
}

impl Polled {
    fn tell(&self, at: i64, into: &mut Vec<Event>) {
        into.push(Event::Cut(at));
        into.extend(self.last.values().map(|seen| Event::Open(seen.record.clone())));
        into.push(Event::Done(Losses::default()));
    }
}
