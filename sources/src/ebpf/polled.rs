//! Where records come from when the kernel takes no program: its list of TCP sockets, asked for again and again.

use std::collections::HashMap;
use std::io;
use std::time::{Duration, Instant};

use weir_ebpf::records::{Losses, Origin, Record, state as tcp};
use weir_ebpf::{Diag, Refused, monotonic_nanos};

use super::Tells;
use super::meter::Event;

/// How often the kernel is asked, and how many times longer than that takes the pause has to be.
const LOOK: Duration = Duration::from_secs(1);
const PAUSES: u32 = 100;

pub struct Polled {
    diag: Diag,
    /// Sockets as they were when they were last seen, by their cookies.
    last: HashMap<u64, Record>,
    asked: Instant,
    pause: Duration,
}

impl Polled {
    pub fn open() -> io::Result<Polled> {
        Ok(Polled { diag: Diag::open()?, last: HashMap::new(), asked: Instant::now(), pause: LOOK })
    }

    /// What that costs, and what would change it.
    pub fn warning(refused: &Refused, help: &str) -> String {
        format!(
            "{refused}; the kernel is asked for its TCP sockets every second instead: without UDP, without other \
             network namespaces, and without connections that come and go between two looks; {help}"
        )
    }

    /// Asks for all sockets. Those that are gone have ended at some time since the last look.
    fn ask(&mut self, into: &mut Vec<Event>) -> io::Result<()> {
        let begun = Instant::now();
        let now = monotonic_nanos();
        let mut next = HashMap::with_capacity(self.last.len());
        for mut record in self.diag.sockets()? {
            let before = self.last.remove(&record.cookie);
            record.opened = before.map_or(Some(now), |before| before.opened);
            next.insert(record.cookie, record);
        }
        let gone = std::mem::replace(&mut self.last, next).into_values();
        into.extend(
            gone.filter(|record| record.origin != Origin::Listening).map(|record| Event::Closed(ended(record, now))),
        );
        self.asked = begun;
        self.pause = LOOK.max(begun.elapsed() * PAUSES);
        Ok(())
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
    fn begin(&mut self, now: i64, into: &mut Vec<Event>) -> io::Result<()> {
        into.push(Event::Clock { wall: now, monotonic: monotonic_nanos() });
        self.ask(into)?;
        self.last.values_mut().for_each(|record| record.opened = None);
        into.extend(self.last.values().cloned().map(Event::Found));
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
        self.ask(into)?;
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
        into.extend(self.last.values().cloned().map(Event::Open));
        into.push(Event::Done(Losses::default()));
    }
}
