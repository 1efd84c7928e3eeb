//! Records of sockets into conversations: what each has counted since it was last told of.

use std::cell::Cell;
use std::collections::{HashMap, HashSet};
use std::net::Ipv6Addr;

use weir_ebpf::conntrack::{End, Translation};
use weir_ebpf::records::{Counters, Losses, Origin, Protocol, Record, Sums, state as tcp};
use weir_spec::kinds::enums::{end_reason, initiator, observer, state};

/// Sockets whose counters are kept. Of more than these only the end is told.
const SOCKETS_MAX: usize = 1 << 20;
/// Rounds of open sockets in which one may be missing: the kernel skips some while others come and go.
const ROUNDS_MISSED_MAX: u32 = 3;
/// A clock that drifts is set by less at once.
const STEP_MIN: i64 = 1_000_000_000;
/// Memory of one of them.
pub const SOCKET_BYTES: usize = (size_of::<Id>() + size_of::<Told>()) * 8 / 7;
/// Bytes of the headers of IP and UDP, without options, which hardly anybody sends.
const HEADERS_BYTES: [u64; 2] = [20 + 8, 40 + 8];

/// What happens, in the order in which it does. A recording is a list of these.
#[derive(Clone, PartialEq, Debug)]
pub enum Event {
    /// What the clock of the records shows at a time since the epoch.
    Clock {
        wall: i64,
        monotonic: u64,
    },
    /// A socket was open before we came; it may be one that listens.
    Found(Record),
    /// A TCP socket has ended, or a UDP socket and its peer had nothing for each other for long.
    Closed(Record),
    /// Nothing comes any more behind the next cut.
    Ending,
    /// An interval ends at that time: of all sockets that are open, a record follows.
    Cut(i64),
    Open(Record),
    /// A connection has other addresses on its way.
    Translated(Translation),
    /// All of those were given; what was lost since the program began.
    Done(Losses),
}

/// One side's counters, in the direction that they say.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Direction {
    pub packets: i64,
    pub payload_bytes: i64,
    /// With the headers of IP; of TCP nobody counts these.
    pub bytes: Option<i64>,
    /// Only who sends knows, and UDP has none.
    pub retransmits: Option<i64>,
    pub retransmit_bytes: Option<i64>,
}

/// What counters are kept by: the socket, and of UDP its peer and which of its own addresses that knows. Cookies of
/// older kernels are counted in each network namespace; of UDP that is not always known.
type Id = (u64, u32, Option<(End, Ipv6Addr)>);

/// A conversation, or the part of one that is in an interval, as one of its ends saw it.
#[derive(Clone, PartialEq, Debug)]
pub struct Flow {
    pub protocol: Protocol,
    pub start: i64,
    pub end: i64,
    /// Of a row that only adds up what could not be told apart there are none.
    pub socket: Option<Socket>,
    pub sent: Direction,
    pub received: Direction,
    pub end_reason: u8,
}

/// The end that counted, and its peer.
#[derive(Clone, PartialEq, Debug)]
pub struct Socket {
    pub cookie: u64,
    /// Whether it is `src`, which is who opened the conversation.
    pub is_src: bool,
    pub local: End,
    pub remote: End,
    /// What was called, where that was translated into `dst`.
    pub called: Option<End>,
    /// How it is known who opened it.
    pub initiator: u8,
    /// Of TCP.
    pub state: Option<u8>,
    /// Nanoseconds; absent without an answer.
    pub rtt: Option<i64>,
    pub jitter: Option<i64>,
    /// The errno of a connect that failed.
    pub connect_error: Option<u16>,
    pub pid: u32,
    pub command: String,
    pub netns: u32,
    pub cgroup: u64,
}

impl Socket {
    pub fn observer(&self) -> u8 {
        if self.is_src { observer::SRC } else { observer::DST }
    }
}

/// As far as a socket was told of.
struct Told {
    before: Before,
    /// In which round of open sockets it was last seen.
    round: u32,
}

/// What was told of a socket: later rows go on from there.
#[derive(Clone, Default)]
struct Before {
    counters: Counters,
    /// Whether it opened the conversation: who listens may stop, and nothing else changes.
    is_src: Option<bool>,
    ends: ToldEnds,
}

/// What its ends were told as. Few are translated, and there are many sockets.
#[derive(Clone, Default)]
enum ToldEnds {
    #[default]
    Never,
    AsTheyAre,
    Translated(Box<Ends>),
}

impl ToldEnds {
    fn of(record: &Record, socket: &Socket) -> ToldEnds {
        let ends = Ends { local: socket.local, remote: socket.remote, called: socket.called };
        if ends == Ends::of(record) { ToldEnds::AsTheyAre } else { ToldEnds::Translated(Box::new(ends)) }
    }

    fn get(&self, record: &Record) -> Option<Ends> {
        match self {
            ToldEnds::Never => None,
            ToldEnds::AsTheyAre => Some(Ends::of(record)),
            ToldEnds::Translated(ends) => Some(**ends),
        }
    }
}

/// The state of the source: what was told, and how time goes.
#[derive(Default)]
pub struct Meter {
    sockets: HashMap<Id, Told>,
    /// Namespaces and ports on which somebody listens; and as far as the round at hand has found them.
    listening: HashSet<(u32, u16)>,
    listening_next: HashSet<(u32, u16)>,
    round: u32,
    translations: Translations,
    /// What is to be added to a record's time to have it since the epoch, once that is known.
    offset: Option<i64>,
    /// By how much the clock was set since somebody asked, back if below 0.
    step: i64,
    /// When the interval at hand began; and when it ends, once that is known.
    begun: i64,
    cut: Option<i64>,
    /// Since the program began, and since somebody asked.
    losses: Losses,
    new_losses: Losses,
    /// Why open sockets' rows end.
    reason: u8,
}

impl Meter {
    pub fn new() -> Meter {
        Meter { reason: end_reason::ACTIVE_TIMEOUT, ..Meter::default() }
    }

    /// What was lost since this was last asked.
    pub fn take_losses(&mut self) -> Losses {
        std::mem::take(&mut self.new_losses)
    }

    /// Translations for which there was no room, since this was last asked.
    pub fn take_dropped(&mut self) -> u64 {
        std::mem::take(&mut self.translations.dropped)
    }

    /// By how much the clock was set since this was last asked, if it was; back if below 0.
    pub fn take_step(&mut self) -> Option<i64> {
        Some(std::mem::take(&mut self.step)).filter(|step| *step != 0)
    }

    /// Where a clock was set, the interval at hand began at another time than it was said.
    fn clock(&mut self, offset: i64) {
        let step = offset.saturating_sub(self.offset.replace(offset).unwrap_or(offset));
        if step.saturating_abs() >= STEP_MIN {
            self.begun = self.begun.saturating_add(step);
            self.step = self.step.saturating_add(step);
        }
    }

    /// The time until which all has been given, once that is so.
    pub fn take(&mut self, event: Event, into: &mut Vec<Flow>) -> Option<i64> {
        match event {
            Event::Clock { wall, monotonic } => self.clock(wall.saturating_sub_unsigned(monotonic)),
            Event::Found(record) if record.origin == Origin::Listening => {
                self.listening.insert((record.netns, record.local_port));
            }
            Event::Found(record) => {
                let before = Before { counters: record.counters, ..Before::default() };
                self.told(&record, before);
            }
            Event::Closed(record) => {
                let told = self.sockets.remove(&id(&record));
                let before = told.map(|told| told.before).unwrap_or_default();
                // Of UDP all may have been told, and an end of its own it has not.
                if record.protocol == Protocol::Tcp || before.counters != record.counters {
                    into.extend(self.flow(&record, &before));
                }
            }
            Event::Ending => self.reason = end_reason::FORCED_END,
            Event::Cut(at) => {
                self.cut = Some(at);
                self.round = self.round.wrapping_add(1);
            }
            Event::Open(record) => self.open(&record, into),
            Event::Translated(translation) => self.translations.add(&translation),
            Event::Done(losses) => return self.done(losses, into),
        }
        None
    }

    fn open(&mut self, record: &Record, into: &mut Vec<Flow>) {
        if record.origin == Origin::Listening {
            self.listening_next.insert((record.netns, record.local_port));
            return;
        }
        let told = self.sockets.get(&id(record)).map(|told| told.before.clone());
        if told.is_none() && self.sockets.len() >= SOCKETS_MAX {
            return;
        }
        let counters = told.as_ref().map(|told| told.counters);
        let mut before = told.unwrap_or_default();
        if counters != Some(record.counters) {
            into.extend(self.flow(record, &before));
        }
        // Which end it is holds for as long as it is open, also where nothing comes or goes.
        if matches!(before.ends, ToldEnds::Never) {
            let socket = self.socket(record, &before);
            before.is_src = Some(socket.is_src);
            before.ends = ToldEnds::of(record, &socket);
        }
        before.counters = record.counters;
        self.told(record, before);
    }

    fn told(&mut self, record: &Record, before: Before) {
        if self.sockets.len() < SOCKETS_MAX || self.sockets.contains_key(&id(record)) {
            self.sockets.insert(id(record), Told { before, round: self.round });
        }
    }

    fn done(&mut self, losses: Losses, into: &mut Vec<Flow>) -> Option<i64> {
        let cut = self.cut.take()?;
        // The ends of those that are gone did not fit into the ring.
        let round = self.round;
        self.sockets.retain(|_, told| round.wrapping_sub(told.round) <= ROUNDS_MISSED_MAX);
        self.listening = std::mem::take(&mut self.listening_next);
        self.translations.age();
        let new = losses.since(&self.losses);
        self.losses = losses;
        self.new_losses.add(&new.words());
        let lost = [(Protocol::Tcp, new.tcp), (Protocol::Udp, new.udp)];
        into.extend(lost.into_iter().filter_map(|(protocol, sums)| self.unattributed(protocol, &sums, cut)));
        self.begun = cut;
        Some(cut)
    }

    /// What was counted and could not be told apart, if anything was.
    fn unattributed(&self, protocol: Protocol, sums: &Sums, cut: i64) -> Option<Flow> {
        let is_tcp = protocol == Protocol::Tcp;
        let sent = Direction {
            packets: whole(sums.packets_sent),
            payload_bytes: whole(sums.bytes_sent),
            bytes: None,
            retransmits: is_tcp.then(|| whole(sums.retransmits)),
            retransmit_bytes: is_tcp.then(|| whole(sums.bytes_retransmitted)),
        };
        let received = Direction {
            packets: whole(sums.packets_received),
            payload_bytes: whole(sums.bytes_received),
            ..Direction::default()
        };
        (sums.sockets > 0).then(|| Flow {
            protocol,
            start: self.begun,
            end: cut.saturating_sub(1).max(self.begun),
            socket: None,
            sent,
            received,
            end_reason: end_reason::LACK_OF_RESOURCES,
        })
    }

    /// A time of a record, since the epoch.
    fn wall(&self, monotonic: u64) -> i64 {
        self.offset.unwrap_or(0).saturating_add_unsigned(monotonic)
    }

    fn flow(&self, record: &Record, before: &Before) -> Option<Flow> {
        if record.origin == Origin::Listening {
            return None;
        }
        let opened = record.opened.map(|at| self.wall(at));
        // What was told of before goes on from there.
        let start =
            opened.filter(|at| *at >= self.begun || before.counters == Counters::default()).unwrap_or(self.begun);
        let end = match (record.closed, self.cut) {
            (Some(at), _) => self.wall(at),
            // Of what came just after the interval was over, it is not told apart.
            (None, Some(cut)) => self.wall(record.active).min(cut.saturating_sub(1)),
            (None, None) => self.wall(record.active),
        };
        let counted = record.counters.since(&before.counters);
        let is_tcp = record.protocol == Protocol::Tcp;
        let with_headers = |payload: u64, packets: u32| {
            let headers = HEADERS_BYTES[usize::from(record.remote.to_ipv4_mapped().is_none())];
            (!is_tcp).then(|| whole(payload.saturating_add(u64::from(packets) * headers)))
        };
        let out = Direction {
            packets: counted.packets_sent.into(),
            payload_bytes: whole(counted.bytes_sent),
            bytes: with_headers(counted.bytes_sent, counted.packets_sent),
            retransmits: is_tcp.then(|| counted.retransmits.into()),
            retransmit_bytes: is_tcp.then(|| whole(counted.bytes_retransmitted)),
        };
        let back = Direction {
            packets: counted.packets_received.into(),
            payload_bytes: whole(counted.bytes_received),
            bytes: with_headers(counted.bytes_received, counted.packets_received),
            ..Direction::default()
        };
        let socket = self.socket(record, before);
        let (sent, received) = if socket.is_src { (out, back) } else { (back, out) };
        let end_reason = match (record.closed, record.protocol) {
            (None, _) => self.reason,
            (Some(_), Protocol::Tcp) => end_reason::END_OF_FLOW,
            (Some(_), Protocol::Udp) => end_reason::IDLE_TIMEOUT,
        };
        let protocol = record.protocol;
        Some(Flow { protocol, start, end: end.max(start), socket: Some(socket), sent, received, end_reason })
    }

    /// Whether a socket opened its connection, how that is known, and its other end.
    fn of_tcp(&self, record: &Record, before: &Before) -> (bool, u8, Ends) {
        let (is_src, initiator) = match record.origin {
            Origin::Connected => (true, initiator::KERNEL),
            Origin::Accepted | Origin::Listening => (false, initiator::KERNEL),
            // Whoever has the port of somebody who listens was called.
            Origin::Found => {
                let is_called = || self.listening.contains(&(record.netns, record.local_port));
                (before.is_src.unwrap_or_else(|| !is_called()), initiator::PORT)
            }
        };
        (is_src, initiator, before.ends.get(record).unwrap_or_else(|| self.translations.of(record, is_src)))
    }

    /// The same of a UDP socket and a peer.
    fn of_udp(&self, record: &Record, before: &Before) -> (bool, u8, Ends) {
        let (is_src, initiator) = match record.origin {
            Origin::Connected => (true, initiator::FIRST_PACKET),
            Origin::Accepted | Origin::Listening => (false, initiator::FIRST_PACKET),
            // The first packet was before we came; ports of services are the lower ones.
            Origin::Found => (record.local_port >= record.remote_port, initiator::PORT),
        };
        if let Some((is_src, ends)) = before.is_src.zip(before.ends.get(record)) {
            let is_translated = ends.called.is_some() || ends.remote != (record.remote, record.remote_port);
            return (is_src, if is_translated { initiator::KERNEL } else { initiator }, ends);
        }
        match self.translations.of_packets(record) {
            Some((is_src, ends)) => (is_src, initiator::KERNEL, ends),
            None => (is_src, initiator, Ends::of(record)),
        }
    }

    fn socket(&self, record: &Record, before: &Before) -> Socket {
        let (is_src, initiator, ends) = match record.protocol {
            Protocol::Tcp => self.of_tcp(record, before),
            Protocol::Udp => self.of_udp(record, before),
        };
        let nanos = |micros: u32| (micros > 0).then(|| i64::from(micros) * 1000);
        Socket {
            cookie: record.cookie,
            is_src,
            local: ends.local,
            remote: ends.remote,
            called: ends.called,
            initiator,
            state: (record.protocol == Protocol::Tcp).then(|| state_of(record)),
            rtt: nanos(record.srtt_us),
            jitter: nanos(record.mdev_us).filter(|_| record.srtt_us > 0),
            connect_error: record.error.filter(|_| record.state == tcp::SYN_SENT),
            pid: record.pid,
            command: record.command.clone(),
            netns: record.netns,
            cgroup: record.cgroup,
        }
    }
}

/// Translations that are remembered.
const TRANSLATIONS_MAX: usize = 1 << 16;
/// What all of them take.
pub const TRANSLATIONS_BYTES: usize = 3 * TRANSLATIONS_MAX * 112 * 8 / 7;
/// For how many intervals those are that nobody uses.
const TRANSLATION_ROUNDS: u32 = 10;

/// What ends of connections are called, by how who called and who answers see them.
#[derive(Default)]
struct Translations {
    /// Of who called: who answers.
    answering: HashMap<(Protocol, End, End), Known>,
    /// Of who answers: who called, and what.
    called: HashMap<(Protocol, End, End), (Known, End)>,
    /// Of both as they are: what was called.
    between: HashMap<(Protocol, End, End), Known>,
    round: u32,
    /// Those for which there was no room, since somebody asked.
    dropped: u64,
}

struct Known {
    end: End,
    /// When it was told, or used last.
    round: Cell<u32>,
}

#[derive(Clone, Copy, PartialEq)]
struct Ends {
    local: End,
    remote: End,
    called: Option<End>,
}

impl Ends {
    /// As the socket has them.
    fn of(record: &Record) -> Ends {
        Ends { local: (record.local, record.local_port), remote: (record.remote, record.remote_port), called: None }
    }
}

impl Translations {
    fn add(&mut self, translation: &Translation) {
        let Translation { protocol, caller, called, seen_caller, answering } = *translation;
        let most = self.answering.len().max(self.called.len()).max(self.between.len());
        if most >= TRANSLATIONS_MAX && !self.answering.contains_key(&(protocol, caller, called)) {
            self.dropped += 1;
            return;
        }
        let known = |end| Known { end, round: Cell::new(self.round) };
        self.answering.insert((protocol, caller, called), known(answering));
        self.called.insert((protocol, seen_caller, answering), (known(caller), called));
        self.between.insert((protocol, caller, answering), known(called));
    }

    fn used(&self, known: &Known) -> End {
        known.round.set(self.round);
        known.end
    }

    /// Forgets those that nobody uses: what was told of a connection holds for as long as it is open.
    fn age(&mut self) {
        self.round = self.round.wrapping_add(1);
        let round = self.round;
        let is_young = |known: &Known| round.wrapping_sub(known.round.get()) <= TRANSLATION_ROUNDS;
        self.answering.retain(|_, known| is_young(known));
        self.called.retain(|_, (known, _)| is_young(known));
        self.between.retain(|_, known| is_young(known));
    }

    /// Which end a UDP socket's packets are of, if they are translated. They are counted where those that go out have
    /// been translated, and those that come in as well: each way either end may have another address.
    fn of_packets(&self, record: &Record) -> Option<(bool, Ends)> {
        let (local, remote) = ((record.local, record.local_port), (record.remote, record.remote_port));
        let protocol = record.protocol;
        // Where only who called is seen under another address, what was called is who answers.
        let told = |is_src, local, remote, called: End| {
            let answering = if is_src { remote } else { local };
            Some((is_src, Ends { local, remote, called: Some(called).filter(|called| *called != answering) }))
        };
        if let Some(answering) = self.answering.get(&(protocol, local, remote)) {
            return told(true, local, self.used(answering), remote);
        }
        if let Some(called) = self.between.get(&(protocol, local, remote)) {
            return told(true, local, remote, self.used(called));
        }
        if let Some((caller, called)) = self.called.get(&(protocol, local, remote)) {
            return told(true, self.used(caller), remote, *called);
        }
        if let Some((caller, called)) = self.called.get(&(protocol, remote, local)) {
            return told(false, local, self.used(caller), *called);
        }
        if let Some(called) = self.between.get(&(protocol, remote, local)) {
            return told(false, local, remote, self.used(called));
        }
        let own = self.answering.get(&(protocol, remote, local))?;
        told(false, self.used(own), remote, local)
    }

    /// The other end of a TCP socket as it is called there, and what was called.
    fn of(&self, record: &Record, is_src: bool) -> Ends {
        let (local, remote) = ((record.local, record.local_port), (record.remote, record.remote_port));
        if is_src {
            let answering = self.answering.get(&(record.protocol, local, remote));
            return match answering.filter(|known| known.end != remote) {
                Some(known) => Ends { local, remote: known.end, called: Some(remote) },
                None => Ends { local, remote, called: None },
            };
        }
        match self.called.get(&(record.protocol, remote, local)) {
            Some((caller, called)) => {
                Ends { local, remote: caller.end, called: Some(*called).filter(|called| *called != local) }
            }
            None => Ends { local, remote, called: None },
        }
    }
}

fn id(record: &Record) -> Id {
    match record.protocol {
        Protocol::Tcp => (record.cookie, record.netns, None),
        Protocol::Udp => (record.cookie, 0, Some(((record.remote, record.remote_port), record.local))),
    }
}

/// A count as a column holds it.
fn whole(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// What became of a connection, from where it was last.
fn state_of(record: &Record) -> u8 {
    match (record.state, record.closed) {
        (tcp::SYN_SENT, Some(_)) if record.error.map(i32::from) == Some(libc::ECONNREFUSED) => state::REFUSED,
        (tcp::SYN_SENT | tcp::SYN_RECV, _) => state::ATTEMPT,
        (_, None) => state::ESTABLISHED,
        // Both have sent a FIN; other ways out are resets, of one side or the other.
        (tcp::FIN_WAIT2 | tcp::TIME_WAIT | tcp::LAST_ACK | tcp::CLOSING, _) if record.error.is_none() => state::CLOSED,
        _ => state::RESET,
    }
}

/// The name of an errno that a connect may fail with.
pub fn errno_name(errno: u16) -> String {
    let name = match i32::from(errno) {
        libc::EPERM => "EPERM",
        libc::EACCES => "EACCES",
        libc::EADDRNOTAVAIL => "EADDRNOTAVAIL",
        libc::ENETDOWN => "ENETDOWN",
        libc::ENETUNREACH => "ENETUNREACH",
        libc::ECONNABORTED => "ECONNABORTED",
        libc::ECONNRESET => "ECONNRESET",
        libc::ETIMEDOUT => "ETIMEDOUT",
        libc::ECONNREFUSED => "ECONNREFUSED",
        libc::EHOSTDOWN => "EHOSTDOWN",
        libc::EHOSTUNREACH => "EHOSTUNREACH",
        other => return format!("errno {other}"),
    };
    name.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;
    /// The epoch of the records, since that of the world.
    const BOOT: i64 = 1_700_000_000_000_000_000;

    fn record(cookie: u64, origin: Origin) -> Record {
        Record {
            protocol: Protocol::Tcp,
            cookie,
            cgroup: 1,
            opened: Some(SECOND),
            established: Some(SECOND),
            closed: None,
            active: 2 * SECOND,
            counters: Counters { bytes_sent: 100, packets_sent: 3, packets_received: 2, ..Counters::default() },
            srtt_us: 50,
            mdev_us: 10,
            netns: 7,
            pid: 42,
            local: "::ffff:10.0.0.1".parse().unwrap_or(Ipv6Addr::UNSPECIFIED),
            remote: "::ffff:10.0.0.2".parse().unwrap_or(Ipv6Addr::UNSPECIFIED),
            local_port: 5000,
            remote_port: 80,
            error: None,
            origin,
            state: tcp::ESTABLISHED,
            is_owned: true,
            command: "curl".into(),
        }
    }

    fn flows(meter: &mut Meter, events: impl IntoIterator<Item = Event>) -> Vec<Flow> {
        let mut flows = Vec::new();
        for event in events {
            meter.take(event, &mut flows);
        }
        flows
    }

    fn begun() -> Meter {
        let mut meter = Meter::new();
        let events = [
            Event::Clock { wall: BOOT, monotonic: 0 },
            Event::Cut(BOOT + SECOND as i64),
            Event::Done(Losses::default()),
        ];
        assert_eq!(flows(&mut meter, events), []);
        meter
    }

    fn cut(at: u64, open: Vec<Record>) -> Vec<Event> {
        let mut events = vec![Event::Cut(BOOT + (at * SECOND) as i64)];
        events.extend(open.into_iter().map(Event::Open));
        events.push(Event::Done(Losses::default()));
        events
    }

    #[test]
    fn the_parts_of_a_conversation_sum_to_the_whole() {
        let mut meter = begun();
        let first = record(1, Origin::Connected);
        let mut second = first.clone();
        second.counters.bytes_sent = 250;
        second.active = 31 * SECOND + 5;
        let mut last = second.clone();
        last.counters.bytes_sent = 300;
        (last.closed, last.state) = (Some(70 * SECOND), tcp::FIN_WAIT2);

        let mut all = flows(&mut meter, cut(30, vec![first]));
        all.extend(flows(&mut meter, cut(60, vec![second.clone()])));
        // Nothing happened.
        assert_eq!(flows(&mut meter, cut(65, vec![second])), []);
        all.extend(flows(&mut meter, [Event::Closed(last)]));
        let bytes: Vec<i64> = all.iter().map(|flow| flow.sent.payload_bytes).collect();
        assert_eq!(bytes, [100, 150, 50]);
        let seconds = |at: u64| BOOT + (at * SECOND) as i64;
        let times: Vec<(i64, i64)> = all.iter().map(|flow| (flow.start, flow.end)).collect();
        assert_eq!(times, [(seconds(1), seconds(2)), (seconds(30), seconds(31) + 5), (seconds(65), seconds(70))]);
        let socket = all[2].socket.as_ref().unwrap();
        assert_eq!((socket.state, all[2].end_reason), (Some(state::CLOSED), end_reason::END_OF_FLOW));
        assert_eq!(socket.rtt, Some(50_000));
    }

    /// Set back by an hour, and later forward again: nothing is counted twice, and no row is of a time to come.
    #[test]
    fn a_clock_that_is_set_leaves_the_counts_alone() {
        const HOUR: i64 = 3600 * SECOND as i64;
        let mut meter = begun();
        let first = record(1, Origin::Connected);
        let more = |by: u64, active: u64| {
            let mut record = first.clone();
            record.counters.bytes_sent += by;
            record.active = active * SECOND;
            record
        };
        let mut all = flows(&mut meter, cut(30, vec![more(0, 29)]));
        assert_eq!(meter.take_step(), None);
        let back = Event::Clock { wall: BOOT - HOUR + 35 * SECOND as i64, monotonic: 35 * SECOND };
        assert_eq!(flows(&mut meter, [back]), []);
        assert_eq!((meter.take_step(), meter.take_step()), (Some(-HOUR), None));
        let cut_back = |at: u64, record: Record| {
            [Event::Cut(BOOT - HOUR + (at * SECOND) as i64), Event::Open(record), Event::Done(Losses::default())]
        };
        all.extend(flows(&mut meter, cut_back(60, more(5, 59))));
        let forward = Event::Clock { wall: BOOT + 65 * SECOND as i64, monotonic: 65 * SECOND };
        all.extend(flows(&mut meter, [forward]));
        all.extend(flows(&mut meter, cut(90, vec![more(12, 89)])));
        let bytes: Vec<i64> = all.iter().map(|flow| flow.sent.payload_bytes).collect();
        assert_eq!(bytes, [100, 5, 7]);
        let times: Vec<(i64, i64)> = all.iter().map(|flow| (flow.start - BOOT, flow.end - BOOT)).collect();
        let second = SECOND as i64;
        assert_eq!(times[1..], [(30 * second - HOUR, 59 * second - HOUR), (60 * second, 89 * second)]);
    }

    /// The kernel may skip an open socket, and one may close while the others are read.
    #[test]
    fn what_is_missing_from_a_round_is_not_counted_anew() {
        let mut meter = begun();
        let first = record(1, Origin::Connected);
        assert_eq!(flows(&mut meter, cut(30, vec![first.clone()])).len(), 1);
        assert_eq!(flows(&mut meter, cut(60, vec![])), []);
        let mut last = first;
        last.counters.bytes_sent += 7;
        last.closed = Some(61 * SECOND);
        assert_eq!(flows(&mut meter, [Event::Closed(last)])[0].sent.payload_bytes, 7);
    }

    #[test]
    fn who_was_called_is_the_destination() {
        let mut meter = begun();
        let accepted = record(1, Origin::Accepted);
        let flow = &flows(&mut meter, cut(30, vec![accepted]))[0];
        let socket = flow.socket.as_ref().unwrap();
        assert!(!socket.is_src);
        assert_eq!((flow.received.payload_bytes, flow.sent.payload_bytes), (100, 0));
        assert_eq!((flow.received.retransmits, flow.sent.retransmits), (Some(0), None));
    }

    #[test]
    fn what_was_found_counts_from_there_and_is_told_by_its_port() {
        let mut meter = begun();
        let mut listening = record(9, Origin::Listening);
        listening.local_port = 5000;
        let found = record(1, Origin::Found);
        let mut other = record(2, Origin::Found);
        other.local_port = 6000;
        let events = [Event::Found(found.clone()), Event::Found(listening.clone()), Event::Found(other.clone())];
        assert_eq!(flows(&mut meter, events), []);
        let more = |mut record: Record, by: u64| {
            record.counters.bytes_sent += by;
            record
        };
        let open = vec![more(found.clone(), 10), listening, more(other.clone(), 10)];
        let first = flows(&mut meter, cut(30, open));
        // Nobody listens any more, and the conversations are what they were.
        let second = flows(&mut meter, cut(60, vec![more(found, 15), more(other, 15)]));
        for flows in [&first, &second] {
            let told: Vec<_> = flows.iter().map(|flow| flow.socket.as_ref().map(|socket| socket.is_src)).collect();
            assert_eq!(told, [Some(false), Some(true)]);
        }
        assert_eq!((first[0].received.payload_bytes, first[1].sent.payload_bytes), (10, 10));
        assert_eq!((second[0].received.payload_bytes, second[1].sent.payload_bytes), (5, 5));
    }

    #[test]
    fn what_could_not_be_told_apart_is_a_row_of_its_own() {
        let mut meter = begun();
        let mut losses = Losses::default();
        (losses.tcp.sockets, losses.tcp.bytes_sent) = (3, 1000);
        let at = BOOT + 30 * SECOND as i64;
        let first = flows(&mut meter, [Event::Cut(at), Event::Done(losses)]);
        assert_eq!((first.len(), first[0].sent.payload_bytes, first[0].socket.is_none()), (1, 1000, true));
        // Once.
        assert_eq!(flows(&mut meter, [Event::Cut(2 * at), Event::Done(losses)]), []);
    }

    #[test]
    fn a_connect_that_fails_says_how() {
        let mut meter = begun();
        let mut refused = record(1, Origin::Connected);
        refused.established = None;
        (refused.state, refused.closed, refused.error) =
            (tcp::SYN_SENT, Some(2 * SECOND), Some(libc::ECONNREFUSED as u16));
        let flow = &flows(&mut meter, [Event::Closed(refused)])[0];
        let socket = flow.socket.as_ref().unwrap();
        assert_eq!(
            (socket.state, socket.connect_error.map(errno_name)),
            (Some(state::REFUSED), Some("ECONNREFUSED".into()))
        );
    }

    /// Of UDP, who sent first is the source, each peer of a socket is a conversation, and nothing is told twice.
    #[test]
    fn packets_of_udp_are_told_by_socket_and_peer() {
        let mut meter = begun();
        let udp = |origin, remote_port| {
            let mut record = record(1, origin);
            (record.protocol, record.remote_port, record.state) = (Protocol::Udp, remote_port, 0);
            record
        };
        let (asked, answered) = (udp(Origin::Connected, 53), udp(Origin::Accepted, 6000));
        let all = flows(&mut meter, cut(30, vec![asked.clone(), answered]));
        let of: Vec<_> = all.iter().map(|flow| (flow.sent.packets, flow.sent.bytes, flow.received.packets)).collect();
        assert_eq!(of, [(3, Some(100 + 3 * 28), 2), (2, Some(2 * 28), 3)]);
        assert!(all.iter().all(|flow| flow.socket.as_ref().is_some_and(|socket| socket.state.is_none())));
        let mut idle = asked;
        idle.closed = Some(2 * SECOND);
        assert_eq!(flows(&mut meter, [Event::Closed(idle.clone())]), flows(&mut begun(), []));
        idle.counters.packets_sent += 1;
        let last = flows(&mut meter, [Event::Closed(idle)]);
        assert_eq!((last.len(), last[0].end_reason), (1, end_reason::IDLE_TIMEOUT));
    }

    #[test]
    fn of_udp_sockets_that_were_open_before_the_lower_port_was_called() {
        let mut meter = begun();
        let mut found = record(1, Origin::Found);
        (found.protocol, found.local_port, found.remote_port) = (Protocol::Udp, 53, 40_000);
        let flow = &flows(&mut meter, cut(30, vec![found]))[0];
        let socket = flow.socket.as_ref().unwrap();
        assert_eq!((socket.is_src, socket.initiator), (false, initiator::PORT));
    }
}
