//! What the program tells, as `bpf/records.h` lays it out.

use std::net::Ipv6Addr;

/// Bytes of a [`Record`] as the kernel writes it.
pub const RECORD_BYTES: usize = 160;
/// A [`Record`] as the kernel writes it.
pub type Raw = [u8; RECORD_BYTES];
/// Words of [`Losses`] as the kernel writes them.
pub const LOSS_WORDS: usize = 17;

/// Bytes of what a UDP socket has had with a peer, as the kernel keeps it, and of what it is found by.
pub const PEER_BYTES: usize = 88;
pub const PEER_KEY_BYTES: usize = 48;

/// Where in a record stands what is read or written without the rest of it.
mod at {
    use std::ops::Range;

    pub const COOKIE: Range<usize> = 0..8;
    pub const CLOSED: Range<usize> = 32..40;
    pub const ACTIVE: Range<usize> = 40..48;
    pub const BYTES_SENT: Range<usize> = 48..56;
    pub const BYTES_RECEIVED: Range<usize> = 64..72;
    pub const PACKETS_SENT: Range<usize> = 72..76;
    pub const PACKETS_RECEIVED: Range<usize> = 76..80;
    pub const LOCAL: Range<usize> = 100..116;
    pub const REMOTE: Range<usize> = 116..132;
    pub const REMOTE_PORT: Range<usize> = 134..136;
}

/// What a UDP socket and its peer are found by in the kernel.
pub fn peer_key(record: &Raw) -> [u8; PEER_KEY_BYTES] {
    let mut key = [0; PEER_KEY_BYTES];
    key[..8].copy_from_slice(&record[at::COOKIE]);
    key[8..24].copy_from_slice(&record[at::REMOTE]);
    key[24..40].copy_from_slice(&record[at::LOCAL]);
    key[40..42].copy_from_slice(&record[at::REMOTE_PORT]);
    key
}

/// A record of UDP with what the kernel had counted in the end, as one that has closed.
pub fn with_peer(record: &Raw, peer: &[u8; PEER_BYTES]) -> Raw {
    let mut last = *record;
    let moves = [
        (at::BYTES_SENT, 0..8),
        (at::BYTES_RECEIVED, 8..16),
        (at::ACTIVE, 40..48),
        (at::CLOSED, 40..48),
        // Their lower halves.
        (at::PACKETS_SENT, low(16)),
        (at::PACKETS_RECEIVED, low(24)),
    ];
    moves.into_iter().for_each(|(to, from)| last[to].copy_from_slice(&peer[from]));
    last
}

/// The lower half of a word of eight bytes.
fn low(word: usize) -> std::ops::Range<usize> {
    if cfg!(target_endian = "big") { word + 4..word + 8 } else { word..word + 4 }
}

/// Whose counters a record has.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Protocol {
    Tcp,
    Udp,
}

impl Protocol {
    /// As IP numbers it.
    pub fn number(self) -> u8 {
        match self {
            Protocol::Tcp => libc::IPPROTO_TCP as u8,
            Protocol::Udp => libc::IPPROTO_UDP as u8,
        }
    }

    /// By that number; nothing for others.
    pub fn of_number(number: u8) -> Option<Protocol> {
        [Protocol::Tcp, Protocol::Udp].into_iter().find(|protocol| protocol.number() == number)
    }
}

/// How a socket came to be known.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Origin {
    /// It called `connect`; of UDP, it sent the first packet.
    Connected,
    /// It was accepted from a socket that listened; of UDP, its peer sent the first packet.
    Accepted,
    Listening,
    /// It was open before the program started.
    Found,
}

/// States of TCP, by the numbers of `linux/tcp_states.h`.
pub mod state {
    pub const ESTABLISHED: u8 = 1;
    pub const SYN_SENT: u8 = 2;
    pub const SYN_RECV: u8 = 3;
    pub const FIN_WAIT1: u8 = 4;
    pub const FIN_WAIT2: u8 = 5;
    pub const TIME_WAIT: u8 = 6;
    pub const CLOSE_WAIT: u8 = 8;
    pub const LAST_ACK: u8 = 9;
    pub const LISTEN: u8 = 10;
    pub const CLOSING: u8 = 11;
}

/// A TCP socket with its counters since it was opened, or what a UDP socket has had with one peer since its first
/// packet. Times are nanoseconds of `CLOCK_MONOTONIC`.
#[derive(Clone, PartialEq, Debug)]
pub struct Record {
    pub protocol: Protocol,
    /// The same for as long as the socket is there, and no other socket's until the next boot.
    pub cookie: u64,
    /// Inode of its cgroup's directory.
    pub cgroup: u64,
    /// When it connected or was accepted; absent where that was before the program started.
    pub opened: Option<u64>,
    pub established: Option<u64>,
    /// Absent as long as it is open.
    pub closed: Option<u64>,
    /// When the last packet came or went.
    pub active: u64,
    pub counters: Counters,
    /// The kernel's smoothed round trip, and its variation; 0 without any.
    pub srtt_us: u32,
    pub mdev_us: u32,
    /// Inode of the network namespace.
    pub netns: u32,
    pub pid: u32,
    pub local: Ipv6Addr,
    pub remote: Ipv6Addr,
    pub local_port: u16,
    pub remote_port: u16,
    /// The errno that it ended with, if it did.
    pub error: Option<u16>,
    pub origin: Origin,
    /// One of [`state`]; of a socket that is closed, the last one before.
    pub state: u8,
    /// Whether `pid` opened or closed it, and did not only listen.
    pub is_owned: bool,
    /// The name of the process' command, up to 15 bytes.
    pub command: String,
}

/// What a socket has counted. Payload is that of TCP, re-sent bytes included in what was sent.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Counters {
    pub bytes_sent: u64,
    pub bytes_retransmitted: u64,
    pub bytes_received: u64,
    /// These three begin anew after 2^32.
    pub packets_sent: u32,
    pub packets_received: u32,
    pub retransmits: u32,
}

/// What was counted and is told of no socket, and what could not be counted.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Losses {
    /// Of TCP sockets that closed while the ring was full.
    pub tcp: Sums,
    /// Of packets of UDP for whose socket and peer there was no room.
    pub udp: Sums,
    /// Sockets for which the kernel had no memory.
    pub no_memory: u64,
    /// Sockets that closed and had never been known.
    pub unknown: u64,
    /// Peers of UDP sockets that there was room for. Not lost: by this it is known how many there are.
    pub peers: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Sums {
    pub sockets: u64,
    pub bytes_sent: u64,
    pub bytes_retransmitted: u64,
    pub bytes_received: u64,
    pub packets_sent: u64,
    pub packets_received: u64,
    pub retransmits: u64,
}

/// Reads one field after the other.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (field, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*field)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_ne_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_ne_bytes)
    }

    fn u16(&mut self) -> Option<u16> {
        self.take().map(u16::from_ne_bytes)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take().map(|[byte]| byte)
    }

    /// A time, of which 0 says that there was none.
    fn time(&mut self) -> Option<Option<u64>> {
        self.u64().map(|time| Some(time).filter(|time| *time > 0))
    }
}

impl Record {
    /// Reads a record; nothing if it is none.
    pub fn read(bytes: &Raw) -> Option<Record> {
        let mut fields = Fields(bytes);
        let [cookie, cgroup] = [fields.u64()?, fields.u64()?];
        let [opened, established, closed] = [fields.time()?, fields.time()?, fields.time()?];
        let active = fields.u64()?;
        let counters = Counters {
            bytes_sent: fields.u64()?,
            bytes_retransmitted: fields.u64()?,
            bytes_received: fields.u64()?,
            packets_sent: fields.u32()?,
            packets_received: fields.u32()?,
            retransmits: fields.u32()?,
        };
        let [srtt_us, mdev_us, netns, pid] = [fields.u32()?, fields.u32()?, fields.u32()?, fields.u32()?];
        let [local, remote] = [fields.take::<16>()?, fields.take::<16>()?].map(Ipv6Addr::from);
        let [local_port, remote_port, error] = [fields.u16()?, fields.u16()?, fields.u16()?];
        let origin = match fields.u8()? {
            1 => Origin::Connected,
            2 => Origin::Accepted,
            3 => Origin::Listening,
            4 => Origin::Found,
            _ => return None,
        };
        let [state, is_owned] = [fields.u8()?, fields.u8()?];
        let protocol = Protocol::of_number(fields.u8()?)?;
        fields.take::<2>()?;
        let command = fields.take::<16>()?;
        let command = command.split(|byte| *byte == 0).next().unwrap_or_default();
        Some(Record {
            protocol,
            cookie,
            cgroup,
            opened,
            established,
            closed,
            active,
            counters,
            srtt_us,
            mdev_us,
            netns,
            pid,
            local,
            remote,
            local_port,
            remote_port,
            error: Some(error).filter(|error| *error > 0),
            origin,
            state,
            is_owned: is_owned != 0,
            command: String::from_utf8_lossy(command).into_owned(),
        })
    }
}

impl Counters {
    /// What was counted since `before`.
    pub fn since(&self, before: &Counters) -> Counters {
        Counters {
            bytes_sent: self.bytes_sent.saturating_sub(before.bytes_sent),
            bytes_retransmitted: self.bytes_retransmitted.saturating_sub(before.bytes_retransmitted),
            bytes_received: self.bytes_received.saturating_sub(before.bytes_received),
            packets_sent: self.packets_sent.wrapping_sub(before.packets_sent),
            packets_received: self.packets_received.wrapping_sub(before.packets_received),
            retransmits: self.retransmits.wrapping_sub(before.retransmits),
        }
    }
}

impl Sums {
    fn counts(&mut self) -> [&mut u64; 7] {
        [
            &mut self.sockets,
            &mut self.bytes_sent,
            &mut self.bytes_retransmitted,
            &mut self.bytes_received,
            &mut self.packets_sent,
            &mut self.packets_received,
            &mut self.retransmits,
        ]
    }
}

impl Losses {
    /// Every count, in the order of `bpf/records.h`.
    fn counts(&mut self) -> [&mut u64; LOSS_WORDS] {
        let Losses { tcp, udp, no_memory, unknown, peers } = self;
        let [a, b, c, d, e, f, g] = tcp.counts();
        let [h, i, j, k, l, m, n] = udp.counts();
        [a, b, c, d, e, f, g, h, i, j, k, l, m, n, no_memory, unknown, peers]
    }

    /// As the kernel writes them.
    pub fn words(mut self) -> [u64; LOSS_WORDS] {
        self.counts().map(|count| *count)
    }

    /// Adds what one CPU has counted.
    pub fn add(&mut self, words: &[u64; LOSS_WORDS]) {
        self.counts().into_iter().zip(words).for_each(|(count, word)| *count = count.saturating_add(*word));
    }

    /// What was lost since `before`.
    pub fn since(mut self, before: &Losses) -> Losses {
        self.counts().into_iter().zip(before.words()).for_each(|(count, word)| *count = count.saturating_sub(word));
        self
    }
}
