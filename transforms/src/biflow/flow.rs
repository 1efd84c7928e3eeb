//! One conversation while it is metered.

use weir_spec::kinds::enums::{end_reason, flags, initiator, protocol, state};

use super::sequence::{Segment, Sequence};

/// What makes two packets one conversation: addresses, ports, protocol, and the context (VLANs
/// and interface) as a hash. `a` is the lower endpoint, except in one-way ICMP.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Key {
    pub a: [u8; 16],
    pub b: [u8; 16],
    pub a_port: u16,
    pub b_port: u16,
    pub protocol: u8,
    /// Of an ICMP query.
    pub icmp_id: u16,
    pub context: u32,
}

/// One packet as the meter sees it.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    pub time: i64,
    /// 0 from `a` to `b`, 1 back.
    pub from: usize,
    pub ip_bytes: u32,
    pub frame_bytes: u32,
    pub payload_bytes: u32,
    pub tcp: Option<Tcp>,
    pub is_fragment: bool,
}

#[derive(Clone, Copy, Debug)]
pub struct Tcp {
    pub flags: u8,
    pub seq: u32,
    pub ack: u32,
}

/// Counters of one direction since the last record.
#[derive(Clone, Copy, Default, Debug, PartialEq)]
pub struct Counters {
    pub packets: u64,
    pub ip_bytes: u64,
    pub frame_bytes: u64,
    pub payload_bytes: u64,
}

/// What few directions have: kept apart, so that the others do not carry it.
#[derive(Clone, Copy, Default, Debug, PartialEq)]
pub struct Loss {
    pub retransmits: u64,
    pub retransmit_bytes: u64,
    pub late: u64,
    pub keepalives: u64,
    missed_reported: u64,
}

/// One direction. The order of the fields leaves no gaps: a million flows are held at once.
#[derive(Clone, Default, Debug)]
pub struct Side {
    pub counters: Counters,
    sequence: Sequence,
    /// Highest number of this side that the other has acknowledged.
    acked: u64,
    loss: Option<Box<Loss>>,
    isn: u32,
    /// The number after this side's FIN, as on the wire.
    fin_end: u32,
}

/// What is known of one direction, beside its numbers.
#[derive(Clone, Copy, Default, Debug)]
struct Marks {
    flags: u8,
    has_isn: bool,
    has_fin: bool,
    /// Has sent SYN+ACK.
    has_answered: bool,
}

/// Progress of the handshake, for the round trip.
#[derive(Clone, Copy, Default, Debug, PartialEq)]
struct Handshake {
    /// When the SYN was sent; once done, the round trip.
    at: i64,
    /// What the acknowledgement that completes it says.
    expects: u32,
    stage: Stage,
}

#[derive(Clone, Copy, Default, Debug, PartialEq)]
enum Stage {
    #[default]
    None,
    Syn,
    SynAck,
    Done,
    /// Established without its beginning seen.
    Unseen,
}

/// A conversation.
#[derive(Clone, Debug)]
pub struct Flow {
    pub key: Key,
    pub fragments: u32,
    pub start: i64,
    pub end: i64,
    pub id: u64,
    handshake: Handshake,
    pub sides: [Side; 2],
    marks: [Marks; 2],
    /// Which side opened it.
    initiator: u8,
    pub initiator_how: u8,
    refused: bool,
    reset: bool,
    ended: bool,
}

impl Flow {
    pub fn new(key: Key, id: u64, first: &Seen) -> Flow {
        Flow {
            key,
            fragments: 0,
            start: first.time,
            end: first.time,
            id,
            handshake: Handshake::default(),
            sides: Default::default(),
            marks: Default::default(),
            initiator: first.from as u8,
            initiator_how: initiator::FIRST_PACKET,
            refused: false,
            reset: false,
            ended: false,
        }
    }

    /// Which side opened it: 0 is `a`.
    pub fn initiator(&self) -> usize {
        usize::from(self.initiator)
    }

    /// TCP flags that a side has sent since the last record.
    pub fn flags(&self, side: usize) -> u8 {
        self.marks[side].flags
    }

    /// Retransmits and their like, of one side since the last record.
    pub fn loss(&self, side: usize) -> Loss {
        self.sides[side].loss.as_deref().copied().unwrap_or_default()
    }

    /// Whether nothing but stragglers can follow.
    pub fn is_ended(&self) -> bool {
        self.ended
    }

    pub fn is_established(&self) -> bool {
        self.key.protocol == protocol::TCP && self.state() == Some(state::ESTABLISHED)
    }

    pub fn rtt(&self) -> Option<i64> {
        (self.handshake.stage == Stage::Done).then_some(self.handshake.at)
    }

    pub fn is_approximate(&self) -> bool {
        self.sides.iter().any(|side| side.sequence.is_approximate())
    }

    /// What became of the TCP connection.
    pub fn state(&self) -> Option<u8> {
        if self.key.protocol != protocol::TCP {
            return None;
        }
        Some(match self.handshake.stage {
            // No TCP header was read: fragments, or packets cut short.
            Stage::None if !self.reset => return None,
            _ if self.refused => state::REFUSED,
            _ if self.reset => state::RESET,
            _ if self.ended => state::CLOSED,
            Stage::None | Stage::Syn => state::ATTEMPT,
            _ => state::ESTABLISHED,
        })
    }

    /// Whether this packet opens another connection between the same ports.
    pub fn is_reused_by(&self, packet: &Seen) -> bool {
        let Some(tcp) = packet.tcp else { return false };
        let side = &self.sides[packet.from];
        let marks = self.marks[packet.from];
        match tcp.flags & (flags::SYN | flags::ACK | flags::RST) {
            flags::SYN => {}
            // Only the answering side was captured: its next connection begins with SYN+ACK.
            SYN_ACK => return marks.has_isn && side.isn != tcp.seq && (marks.has_fin || self.ended),
            _ => return false,
        }
        if self.marks[packet.from].has_isn {
            return side.isn != tcp.seq;
        }
        if !side.sequence.is_started() {
            return self.ended;
        }
        // A SYN that was overtaken by what follows it begins just below; any other is a new one.
        let after = side.sequence.unwrap(tcp.seq) + 1;
        after > side.sequence.low() || side.sequence.low() - after > REORDER_BYTES_MAX
    }

    /// Adds a packet.
    pub fn add(&mut self, packet: &Seen) {
        self.start = self.start.min(packet.time);
        self.end = self.end.max(packet.time);
        self.fragments += u32::from(packet.is_fragment);
        let counters = &mut self.sides[packet.from].counters;
        counters.packets += 1;
        counters.ip_bytes += u64::from(packet.ip_bytes);
        counters.frame_bytes += u64::from(packet.frame_bytes);
        counters.payload_bytes += u64::from(packet.payload_bytes);
        if let Some(tcp) = packet.tcp {
            self.marks[packet.from].flags |= tcp.flags;
            self.tcp(packet, tcp);
        }
    }

    fn tcp(&mut self, packet: &Seen, tcp: Tcp) {
        let simultaneous = self.is_simultaneous_open(packet.from, tcp);
        self.open(packet, tcp);
        if tcp.flags & flags::RST != 0 {
            return self.on_reset(packet.from);
        }
        if !simultaneous {
            self.segment(packet, tcp);
        }
        self.acknowledge(packet.from, tcp);
    }

    /// A SYN that is sent again as SYN+ACK because both sides opened: the same number, no loss.
    fn is_simultaneous_open(&self, from: usize, tcp: Tcp) -> bool {
        tcp.flags & (flags::SYN | flags::ACK) == flags::SYN | flags::ACK
            && self.marks[from].has_isn
            && self.sides[from].isn == tcp.seq
            && self.marks[1 - from].has_isn
            && !self.marks[from].has_answered
    }

    /// Follows the handshake: who opened, and how long the round trip was.
    fn open(&mut self, packet: &Seen, tcp: Tcp) {
        let syn = tcp.flags & flags::SYN != 0;
        let ack = tcp.flags & flags::ACK != 0;
        match (syn, ack) {
            (true, false) => {
                if self.initiator_how != initiator::SYN {
                    self.initiator = packet.from as u8;
                    self.initiator_how = initiator::SYN;
                }
                if matches!(self.handshake.stage, Stage::None | Stage::Syn) {
                    self.handshake = Handshake { at: packet.time, expects: 0, stage: Stage::Syn };
                }
            }
            (true, true) => {
                if self.initiator_how == initiator::FIRST_PACKET {
                    self.initiator = 1 - packet.from as u8;
                    self.initiator_how = initiator::SYN_ACK;
                }
                match self.handshake.stage {
                    Stage::Syn | Stage::SynAck => {
                        self.handshake.expects = tcp.seq.wrapping_add(1);
                        self.handshake.stage = Stage::SynAck;
                    }
                    Stage::None => self.handshake.stage = Stage::Unseen,
                    Stage::Done | Stage::Unseen => {}
                }
            }
            (false, _) => self.established(packet, tcp, ack),
        }
        if syn {
            self.marks[packet.from].has_answered |= ack;
            let known = std::mem::replace(&mut self.marks[packet.from].has_isn, true);
            self.sides[packet.from].begin(tcp.seq, known);
        }
    }

    fn established(&mut self, packet: &Seen, tcp: Tcp, ack: bool) {
        if tcp.flags & flags::RST != 0 {
            return;
        }
        match self.handshake.stage {
            Stage::SynAck if packet.from == self.initiator() && ack => {
                let ahead = tcp.ack.wrapping_sub(self.handshake.expects) as i32;
                let rtt = packet.time - self.handshake.at;
                if ahead >= 0 {
                    // Stamps that go backwards tell no round trip.
                    self.handshake.stage = if rtt >= 0 { Stage::Done } else { Stage::Unseen };
                    self.handshake.at = rtt;
                }
            }
            Stage::None => self.handshake.stage = Stage::Unseen,
            // Data the other way although no answer was seen: one direction was not captured.
            Stage::Syn if packet.payload_bytes > 0 || ack => self.handshake.stage = Stage::Unseen,
            _ => {}
        }
    }

    fn on_reset(&mut self, from: usize) {
        let unanswered = self.handshake.stage == Stage::Syn;
        self.refused |= unanswered && from != self.initiator() && !self.ended;
        self.reset |= !self.ended;
        self.ended = true;
    }

    fn segment(&mut self, packet: &Seen, tcp: Tcp) {
        let syn = u64::from(tcp.flags & flags::SYN != 0);
        let fin = u64::from(tcp.flags & flags::FIN != 0);
        let payload = u64::from(packet.payload_bytes);
        let side = &mut self.sides[packet.from];
        let from = side.sequence.unwrap(tcp.seq);
        let to = from + payload + syn + fin;
        // A bare acknowledgement that was overtaken by its own FIN is no probe.
        let behind_fin = self.marks[packet.from].has_fin && from as u32 == side.fin_end.wrapping_sub(1);
        let probes = side.sequence.is_started() && from + 1 == side.sequence.high && !behind_fin;
        if syn + fin == 0 && payload <= 1 && probes {
            side.loss.get_or_insert_default().keepalives += 1;
            return;
        }
        // The numbers that SYN and FIN take are no bytes, seen before or not.
        let marks = &self.marks[packet.from];
        let is_syn_again = syn == 1 && side.sequence.is_started() && from >= side.sequence.low();
        let is_fin_again = fin == 1 && marks.has_fin && to as u32 == side.fin_end;
        let no_bytes = u64::from(is_syn_again) + u64::from(is_fin_again);
        match side.sequence.add(from, to) {
            Segment::New => {}
            Segment::Late => side.loss.get_or_insert_default().late += 1,
            Segment::Again { bytes } => {
                let loss = side.loss.get_or_insert_default();
                loss.retransmits += 1;
                loss.retransmit_bytes += bytes.saturating_sub(no_bytes);
            }
        }
        if fin == 1 {
            side.fin_end = to as u32;
            self.marks[packet.from].has_fin = true;
        }
    }

    fn acknowledge(&mut self, from: usize, tcp: Tcp) {
        if tcp.flags & flags::ACK == 0 {
            return;
        }
        let other = &mut self.sides[1 - from];
        if !other.sequence.is_started() {
            return;
        }
        let acked = other.sequence.unwrap(tcp.ack);
        // An acknowledgement of what lies half the number space ahead is nonsense, not loss.
        if acked.saturating_sub(other.sequence.high) < ACK_AHEAD_MAX {
            other.acked = other.acked.max(acked);
        }
        let done = |(side, marks): (&Side, &Marks)| marks.has_fin && side.acked >= side.sequence.unwrap(side.fin_end);
        if self.sides.iter().zip(&self.marks).all(done) {
            self.ended = true;
        }
    }

    /// Bytes acknowledged and never seen, of this direction, not reported before.
    pub fn missed(&self, side: usize) -> u64 {
        let reported = self.loss(side).missed_reported;
        let side = &self.sides[side];
        side.sequence.missed(side.acked).saturating_sub(reported)
    }

    /// Starts the next record of the same conversation: counters restart, what is known stays.
    pub fn restart(&mut self, at: i64) {
        for at in 0..2 {
            let missed = self.missed(at);
            let side = &mut self.sides[at];
            side.counters = Counters::default();
            if let Some(loss) = &mut side.loss {
                **loss = Loss { missed_reported: loss.missed_reported, ..Loss::default() };
            }
            if missed > 0 {
                side.loss.get_or_insert_default().missed_reported += missed;
            }
            self.marks[at].flags = 0;
        }
        self.fragments = 0;
        self.start = at;
        self.end = at;
    }

    /// Why a flow that is let go at its natural end has ended.
    pub fn natural_end(&self) -> u8 {
        if self.ended { end_reason::END_OF_FLOW } else { end_reason::IDLE_TIMEOUT }
    }
}

const SYN_ACK: u8 = flags::SYN | flags::ACK;
/// How far a SYN may lie below what overtook it.
const REORDER_BYTES_MAX: u64 = 1 << 20;
/// How far beyond what was seen an acknowledgement may reach to be believed.
const ACK_AHEAD_MAX: u64 = 1 << 30;

impl Side {
    /// A SYN was sent with this number.
    fn begin(&mut self, isn: u32, known: bool) {
        if known && self.isn != isn && self.sequence.is_started() {
            // A second SYN+ACK with another number: the first was never used.
            let start = self.sequence.unwrap(isn);
            self.sequence.restart(start);
            self.acked = 0;
        }
        self.isn = isn;
    }
}
