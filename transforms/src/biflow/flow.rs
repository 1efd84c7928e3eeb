//! One conversation while it is metered.

use weir_spec::kinds::enums::{end_reason, flags, initiator, protocol, state};

use super::sequence::{Segment, Sequence};

/// What makes two packets one conversation: addresses, ports, protocol, and the context (VLANs,
/// interface, ICMP identifier) as a hash. `a` is the lower endpoint, except in one-way ICMP.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Key {
    pub a: [u8; 16],
    pub b: [u8; 16],
    pub a_port: u16,
    pub b_port: u16,
    pub protocol: u8,
    pub context: u64,
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
    pub retransmits: u32,
    pub late: u32,
    pub keepalives: u32,
    pub flags: u8,
    pub retransmit_bytes: u64,
}

/// One direction.
#[derive(Clone, Default, Debug)]
pub struct Side {
    pub counters: Counters,
    sequence: Sequence,
    /// Highest number of this side that the other has acknowledged.
    acked: u64,
    /// The number after this side's FIN.
    fin_end: u64,
    isn: Option<u32>,
    missed_reported: u64,
}

/// Progress of the handshake, for the round trip.
#[derive(Clone, Copy, Default, Debug, PartialEq)]
enum Handshake {
    #[default]
    None,
    Syn {
        at: i64,
    },
    SynAck {
        syn_at: i64,
        expects: u32,
    },
    Done {
        rtt: i64,
    },
    /// Established without its beginning seen.
    Unseen,
}

/// A conversation.
#[derive(Clone, Debug)]
pub struct Flow {
    pub key: Key,
    pub start: i64,
    pub end: i64,
    /// The latest packet by time, also across records.
    pub last: i64,
    pub sides: [Side; 2],
    pub id: u64,
    /// Which side opened it.
    pub initiator: usize,
    pub initiator_how: u8,
    handshake: Handshake,
    refused: bool,
    reset: bool,
    ended: bool,
    pub fragments: u32,
    /// The batch number of its first packet that is not reported yet, for acknowledgements.
    pub since: u64,
}

impl Flow {
    pub fn new(key: Key, id: u64, first: &Seen, since: u64) -> Flow {
        Flow {
            key,
            start: first.time,
            end: first.time,
            last: first.time,
            sides: Default::default(),
            id,
            initiator: first.from,
            initiator_how: initiator::FIRST_PACKET,
            handshake: Handshake::None,
            refused: false,
            reset: false,
            ended: false,
            fragments: 0,
            since,
        }
    }

    /// Whether nothing but stragglers can follow.
    pub fn is_ended(&self) -> bool {
        self.ended
    }

    pub fn is_established(&self) -> bool {
        self.key.protocol == protocol::TCP && self.state() == Some(state::ESTABLISHED)
    }

    pub fn rtt(&self) -> Option<i64> {
        match self.handshake {
            Handshake::Done { rtt } => Some(rtt),
            _ => None,
        }
    }

    pub fn is_approximate(&self) -> bool {
        self.sides.iter().any(|side| side.sequence.approximate)
    }

    /// What became of the TCP connection.
    pub fn state(&self) -> Option<u8> {
        if self.key.protocol != protocol::TCP {
            return None;
        }
        Some(match self.handshake {
            _ if self.refused => state::REFUSED,
            _ if self.reset => state::RESET,
            _ if self.ended => state::CLOSED,
            Handshake::None | Handshake::Syn { .. } => state::ATTEMPT,
            _ => state::ESTABLISHED,
        })
    }

    /// Whether this packet opens another connection between the same ports.
    pub fn is_reused_by(&self, packet: &Seen) -> bool {
        let Some(tcp) = packet.tcp else { return false };
        if tcp.flags & (flags::SYN | flags::ACK | flags::RST) != flags::SYN {
            return false;
        }
        let side = &self.sides[packet.from];
        if let Some(isn) = side.isn {
            return isn != tcp.seq;
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
        self.last = self.last.max(packet.time);
        self.fragments += u32::from(packet.is_fragment);
        let counters = &mut self.sides[packet.from].counters;
        counters.packets += 1;
        counters.ip_bytes += u64::from(packet.ip_bytes);
        counters.frame_bytes += u64::from(packet.frame_bytes);
        counters.payload_bytes += u64::from(packet.payload_bytes);
        if let Some(tcp) = packet.tcp {
            counters.flags |= tcp.flags;
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
        let side = &self.sides[from];
        tcp.flags & (flags::SYN | flags::ACK) == flags::SYN | flags::ACK
            && side.isn == Some(tcp.seq)
            && side.counters.flags & flags::SYN != 0
            && self.sides[1 - from].isn.is_some()
            && matches!(self.handshake, Handshake::Syn { .. })
    }

    /// Follows the handshake: who opened, and how long the round trip was.
    fn open(&mut self, packet: &Seen, tcp: Tcp) {
        let syn = tcp.flags & flags::SYN != 0;
        let ack = tcp.flags & flags::ACK != 0;
        match (syn, ack) {
            (true, false) => {
                if self.initiator_how != initiator::SYN {
                    self.initiator = packet.from;
                    self.initiator_how = initiator::SYN;
                }
                if matches!(self.handshake, Handshake::None | Handshake::Syn { .. }) {
                    self.handshake = Handshake::Syn { at: packet.time };
                }
            }
            (true, true) => {
                if self.initiator_how == initiator::FIRST_PACKET {
                    self.initiator = 1 - packet.from;
                    self.initiator_how = initiator::SYN_ACK;
                }
                self.handshake = match self.handshake {
                    Handshake::Syn { at } | Handshake::SynAck { syn_at: at, .. } => {
                        Handshake::SynAck { syn_at: at, expects: tcp.seq.wrapping_add(1) }
                    }
                    Handshake::None => Handshake::Unseen,
                    other => other,
                };
            }
            (false, _) => self.established(packet, tcp, ack),
        }
        if syn {
            self.sides[packet.from].begin(tcp.seq);
        }
    }

    fn established(&mut self, packet: &Seen, tcp: Tcp, ack: bool) {
        if tcp.flags & flags::RST != 0 {
            return;
        }
        match self.handshake {
            Handshake::SynAck { syn_at, expects }
                if packet.from == self.initiator && ack && tcp.ack.wrapping_sub(expects) as i32 >= 0 =>
            {
                self.handshake = Handshake::Done { rtt: packet.time - syn_at };
            }
            Handshake::None => self.handshake = Handshake::Unseen,
            // Data the other way although no answer was seen: one direction was not captured.
            Handshake::Syn { .. } if packet.payload_bytes > 0 || ack => {
                self.handshake = Handshake::Unseen;
            }
            _ => {}
        }
    }

    fn on_reset(&mut self, from: usize) {
        let unanswered = matches!(self.handshake, Handshake::Syn { .. });
        self.refused |= unanswered && from != self.initiator && !self.ended;
        self.reset = true;
        self.ended = true;
    }

    fn segment(&mut self, packet: &Seen, tcp: Tcp) {
        let syn = u64::from(tcp.flags & flags::SYN != 0);
        let fin = u64::from(tcp.flags & flags::FIN != 0);
        let payload = u64::from(packet.payload_bytes);
        let side = &mut self.sides[packet.from];
        let from = side.sequence.unwrap(tcp.seq);
        let to = from + payload + syn + fin;
        if syn + fin == 0 && payload <= 1 && side.sequence.is_started() && from + 1 == side.sequence.high {
            side.counters.keepalives += 1;
            return;
        }
        match side.sequence.add(from, to) {
            Segment::New => {}
            Segment::Late => side.counters.late += 1,
            Segment::Again { bytes } => {
                side.counters.retransmits += 1;
                side.counters.retransmit_bytes += bytes;
            }
        }
        if fin == 1 {
            side.fin_end = side.fin_end.max(to);
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
        let done = |side: &Side| side.fin_end > 0 && side.acked >= side.fin_end;
        if self.sides.iter().all(done) {
            self.ended = true;
        }
    }

    /// Bytes acknowledged and never seen, of this direction, not reported before.
    pub fn missed(&self, side: usize) -> u64 {
        let side = &self.sides[side];
        side.sequence.missed(side.acked).saturating_sub(side.missed_reported)
    }

    /// Starts the next record of the same conversation: counters restart, what is known stays.
    pub fn restart(&mut self, at: i64, since: u64) {
        for at in 0..2 {
            let missed = self.missed(at);
            let side = &mut self.sides[at];
            side.missed_reported += missed;
            side.counters = Counters::default();
        }
        self.fragments = 0;
        self.start = at;
        self.end = at;
        self.since = since;
    }

    /// Why a flow that is let go at its natural end has ended.
    pub fn natural_end(&self) -> u8 {
        if self.ended { end_reason::END_OF_FLOW } else { end_reason::IDLE_TIMEOUT }
    }
}

/// How far a SYN may lie below what overtook it.
const REORDER_BYTES_MAX: u64 = 1 << 20;
/// How far beyond what was seen an acknowledgement may reach to be believed.
const ACK_AHEAD_MAX: u64 = 1 << 30;

impl Side {
    /// A SYN was sent with this number.
    fn begin(&mut self, isn: u32) {
        if self.isn.is_some_and(|before| before != isn) && self.sequence.is_started() {
            // A second SYN+ACK with another number: the first was never used.
            let start = self.sequence.unwrap(isn);
            self.sequence.restart(start);
            self.acked = 0;
        }
        self.isn = Some(isn);
    }
}
