//! Classic pcap and pcapng, a record at a time out of a buffer that grows as it is read.
//!
//! Formats: draft-ietf-opsawg-pcap, draft-ietf-opsawg-pcapng. Mixed link types, both byte orders,
//! any resolution. Lengths are checked before they are believed; nothing is allocated from one.

/// The longest packet record that is believed.
pub const RECORD_BYTES_MAX: usize = 4 << 20;
/// The longest block of pcapng that is believed.
pub const BLOCK_BYTES_MAX: usize = 16 << 20;
/// Interfaces of one capture, all sections together.
pub const INTERFACES_MAX: usize = 16_384;
/// Longest name of an interface that is kept.
const NAME_BYTES_MAX: usize = 128;

/// What one step over the buffer found. `used` bytes can then be let go.
#[derive(Debug, PartialEq)]
pub enum Step<'a> {
    /// More bytes are needed to go on, this many in all.
    Need(usize),
    Packet {
        used: usize,
        packet: Record<'a>,
    },
    /// A block without a packet.
    Skip {
        used: usize,
    },
    /// Packets that the capture itself says it lost.
    Lost {
        used: usize,
        packets: u64,
    },
    /// One record is wrong, the next can still be found.
    Bad {
        used: usize,
        why: String,
    },
    /// Nothing after this can be trusted.
    Broken {
        why: String,
    },
}

/// One captured packet.
#[derive(Debug, PartialEq)]
pub struct Record<'a> {
    /// Nanoseconds since the epoch; of a packet without a stamp, the one before.
    pub time: i64,
    /// Index into [`Reader::interfaces`].
    pub interface: usize,
    pub data: &'a [u8],
    /// Length on the wire, without the frame check sequence.
    pub wire_bytes: u32,
}

/// Where packets were captured.
#[derive(Clone, Debug, PartialEq)]
pub struct Interface {
    pub link: u16,
    pub name: Option<String>,
    ticks_per_second: u128,
    offset_seconds: i64,
    fcs_bytes: u32,
    /// Packets that statistics have said were lost so far: they count from the capture's start.
    lost: u64,
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Format {
    Unknown,
    Classic { big: bool, nanos: bool },
    Ng { big: bool },
}

/// Reads one capture. Give it what is in the buffer until it says what it needs.
pub struct Reader {
    format: Format,
    pub interfaces: Vec<Interface>,
    /// Interfaces of the section begin here; ids count from it.
    section: usize,
    last_time: i64,
    /// The section is of a version that nobody has described yet: its packets are not read.
    foreign: bool,
}

impl Default for Reader {
    fn default() -> Self {
        Reader { format: Format::Unknown, interfaces: Vec::new(), section: 0, last_time: 0, foreign: false }
    }
}

const BLOCK_SECTION: u32 = 0x0A0D_0D0A;
const BLOCK_INTERFACE: u32 = 1;
const BLOCK_PACKET_OBSOLETE: u32 = 2;
const BLOCK_SIMPLE_PACKET: u32 = 3;
const BLOCK_STATISTICS: u32 = 5;
const BLOCK_ENHANCED_PACKET: u32 = 6;

impl Reader {
    /// Whether a header has been recognised.
    pub fn is_known(&self) -> bool {
        self.format != Format::Unknown
    }

    /// The next thing in `data`. Give an empty Need at a true end of file.
    pub fn step<'a>(&mut self, data: &'a [u8]) -> Step<'a> {
        match self.format {
            Format::Unknown => self.begin(data),
            Format::Classic { big, nanos } => self.record(data, big, nanos),
            Format::Ng { big } => self.block(data, big),
        }
    }

    fn begin<'a>(&mut self, data: &'a [u8]) -> Step<'a> {
        if data.len() < 4 {
            return Step::Need(4);
        }
        let (big, nanos) = match [data[0], data[1], data[2], data[3]] {
            [0xa1, 0xb2, 0xc3, 0xd4] => (true, false),
            [0xd4, 0xc3, 0xb2, 0xa1] => (false, false),
            [0xa1, 0xb2, 0x3c, 0x4d] => (true, true),
            [0x4d, 0x3c, 0xb2, 0xa1] => (false, true),
            [0x0a, 0x0d, 0x0d, 0x0a] => {
                self.format = Format::Ng { big: false };
                return self.block(data, false);
            }
            magic => return Step::Broken { why: not_a_capture(magic) },
        };
        if data.len() < 24 {
            return Step::Need(24);
        }
        let link = u32_at(data, 20, big);
        // Bit 26 says that the top four bits give the frame check sequence in 16-bit words.
        let fcs_bytes = if link & 0x0400_0000 != 0 { (link >> 28) * 2 } else { 0 };
        self.format = Format::Classic { big, nanos };
        self.interfaces.push(Interface {
            link: link as u16,
            name: None,
            ticks_per_second: if nanos { 1_000_000_000 } else { 1_000_000 },
            offset_seconds: 0,
            fcs_bytes,
            lost: 0,
        });
        Step::Skip { used: 24 }
    }

    fn record<'a>(&mut self, data: &'a [u8], big: bool, nanos: bool) -> Step<'a> {
        if data.len() < 16 {
            return Step::Need(16);
        }
        let length = u32_at(data, 8, big) as usize;
        if length > RECORD_BYTES_MAX {
            return Step::Broken { why: format!("a record of {length} bytes is longer than any packet") };
        }
        if data.len() < 16 + length {
            return Step::Need(16 + length);
        }
        let seconds = i64::from(u32_at(data, 0, big));
        let fraction = i64::from(u32_at(data, 4, big)) * if nanos { 1 } else { 1000 };
        let packet = Record {
            time: seconds * 1_000_000_000 + fraction,
            interface: 0,
            data: &data[16..16 + length],
            // Some writers leave the original length out.
            wire_bytes: u32_at(data, 12, big).max(length as u32),
        };
        Step::Packet { used: 16 + length, packet: self.without_fcs(packet) }
    }

    fn without_fcs<'a>(&mut self, mut packet: Record<'a>) -> Record<'a> {
        self.last_time = packet.time;
        let fcs = self.interfaces[packet.interface].fcs_bytes;
        packet.wire_bytes = packet.wire_bytes.saturating_sub(fcs);
        let keep = packet.data.len().min(packet.wire_bytes as usize);
        if fcs > 0 {
            packet.data = &packet.data[..keep];
        }
        packet
    }

    fn block<'a>(&mut self, data: &'a [u8], mut big: bool) -> Step<'a> {
        if data.len() < 12 {
            return Step::Need(12);
        }
        // The section header's type reads the same in both orders; its magic tells which it is.
        let kind = u32_at(data, 0, big);
        if kind == BLOCK_SECTION {
            big = match [data[8], data[9], data[10], data[11]] {
                [0x1a, 0x2b, 0x3c, 0x4d] => true,
                [0x4d, 0x3c, 0x2b, 0x1a] => false,
                _ => return Step::Broken { why: "a section header without its byte-order magic".into() },
            };
        }
        let length = u32_at(data, 4, big) as usize;
        if length < 12 || !length.is_multiple_of(4) || length > BLOCK_BYTES_MAX {
            return Step::Broken { why: format!("a block says it is {length} bytes long") };
        }
        if data.len() < length {
            return Step::Need(length);
        }
        let trailer = u32_at(data, length - 4, big) as usize;
        if trailer != length {
            return Step::Broken { why: format!("a block of {length} bytes ends as one of {trailer}") };
        }
        let body = &data[8..length - 4];
        match kind {
            BLOCK_SECTION => self.section(body, big, length),
            _ if self.foreign => Step::Skip { used: length },
            BLOCK_INTERFACE => self.interface(body, big, length),
            BLOCK_ENHANCED_PACKET => self.enhanced(body, big, length, false),
            BLOCK_PACKET_OBSOLETE => self.enhanced(body, big, length, true),
            BLOCK_SIMPLE_PACKET => self.simple(body, big, length),
            BLOCK_STATISTICS => match self.statistics(body, big) {
                0 => Step::Skip { used: length },
                packets => Step::Lost { used: length, packets },
            },
            _ => Step::Skip { used: length },
        }
    }

    fn section<'a>(&mut self, body: &[u8], big: bool, used: usize) -> Step<'a> {
        self.format = Format::Ng { big };
        self.section = self.interfaces.len();
        let major = body.get(4..6).map_or(1, |version| u16_at(version, 0, big));
        self.foreign = major != 1;
        match self.foreign {
            true => {
                Step::Bad { used, why: format!("a section of version {major}, which is not known: it is left out") }
            }
            false => Step::Skip { used },
        }
    }

    fn interface<'a>(&mut self, body: &[u8], big: bool, used: usize) -> Step<'a> {
        if body.len() < 8 {
            return Step::Bad { used, why: "an interface block is cut short".into() };
        }
        if self.interfaces.len() >= INTERFACES_MAX {
            return Step::Broken { why: format!("more than {INTERFACES_MAX} interfaces") };
        }
        let mut interface = Interface {
            link: u16_at(body, 0, big),
            name: None,
            ticks_per_second: 1_000_000,
            offset_seconds: 0,
            fcs_bytes: 0,
            lost: 0,
        };
        for (code, value) in options(&body[8..], big) {
            match (code, value) {
                (2, name) if name.len() <= NAME_BYTES_MAX => {
                    let name = String::from_utf8_lossy(name).trim_end_matches('\0').to_string();
                    interface.name = Some(name);
                }
                (9, [resolution, ..]) => {
                    let base: u128 = if resolution & 0x80 != 0 { 2 } else { 10 };
                    let power = u32::from(resolution & 0x7f);
                    match base.checked_pow(power).filter(|t| *t <= u128::from(u64::MAX)) {
                        Some(ticks) => interface.ticks_per_second = ticks,
                        None => return Step::Broken { why: format!("a resolution of {base}^-{power} seconds") },
                    }
                }
                (13, [bits, ..]) => interface.fcs_bytes = u32::from(*bits / 8),
                (14, offset) if offset.len() == 8 => {
                    interface.offset_seconds = u64_at(offset, 0, big) as i64;
                }
                _ => {}
            }
        }
        self.interfaces.push(interface);
        Step::Skip { used }
    }

    fn enhanced<'a>(&mut self, body: &'a [u8], big: bool, used: usize, obsolete: bool) -> Step<'a> {
        if body.len() < 20 {
            return Step::Bad { used, why: "a packet block is cut short".into() };
        }
        let id = match obsolete {
            true => usize::from(u16_at(body, 0, big)),
            false => u32_at(body, 0, big) as usize,
        };
        let Some(interface) = self.find(id) else {
            return Step::Bad { used, why: format!("a packet of interface {id}, which was never described") };
        };
        let length = u32_at(body, 12, big) as usize;
        let Some(data) = body[20..].get(..length) else {
            return Step::Bad { used, why: format!("a packet of {length} bytes in a block of {used}") };
        };
        let ticks = u64::from(u32_at(body, 4, big)) << 32 | u64::from(u32_at(body, 8, big));
        let time = self.interfaces[interface].time(ticks);
        let packet = Record { time, interface, data, wire_bytes: u32_at(body, 16, big).max(length as u32) };
        Step::Packet { used, packet: self.without_fcs(packet) }
    }

    fn simple<'a>(&mut self, body: &'a [u8], big: bool, used: usize) -> Step<'a> {
        let Some(interface) = self.find(0) else {
            return Step::Bad { used, why: "a packet before any interface was described".into() };
        };
        if body.len() < 4 {
            return Step::Bad { used, why: "a packet block is cut short".into() };
        }
        let wire_bytes = u32_at(body, 0, big);
        let data = &body[4..];
        let data = &data[..data.len().min(wire_bytes as usize)];
        let packet = Record { time: self.last_time, interface, data, wire_bytes };
        Step::Packet { used, packet: self.without_fcs(packet) }
    }

    /// Packets lost since the last statistics of this interface.
    fn statistics(&mut self, body: &[u8], big: bool) -> u64 {
        if body.len() < 12 {
            return 0;
        }
        let Some(at) = self.find(u32_at(body, 0, big) as usize) else { return 0 };
        let lost = &mut self.interfaces[at].lost;
        let new = dropped(body, big).saturating_sub(*lost);
        *lost += new;
        new
    }

    fn find(&self, id: usize) -> Option<usize> {
        let at = self.section.checked_add(id)?;
        (at < self.interfaces.len()).then_some(at)
    }
}

impl Interface {
    /// Ticks as nanoseconds since the epoch, held within what 64 bits can say.
    fn time(&self, ticks: u64) -> i64 {
        let nanos = u128::from(ticks) * 1_000_000_000 / self.ticks_per_second;
        let nanos = i128::try_from(nanos).unwrap_or(i128::MAX);
        let offset = i128::from(self.offset_seconds) * 1_000_000_000;
        let held = nanos.saturating_add(offset).clamp(i128::from(i64::MIN + 1), i128::from(i64::MAX - 1));
        held as i64
    }
}

/// Options of a block; stops at the end mark or where a length lies.
fn options(mut body: &[u8], big: bool) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        if body.len() < 4 {
            return None;
        }
        let (code, length) = (u16_at(body, 0, big), usize::from(u16_at(body, 2, big)));
        let value = body.get(4..4 + length)?;
        body = body.get(4 + length.next_multiple_of(4)..).unwrap_or(&[]);
        (code != 0).then_some((code, value))
    })
}

/// Packets dropped by the interface and by the operating system.
fn dropped(body: &[u8], big: bool) -> u64 {
    let Some(rest) = body.get(12..) else { return 0 };
    let drops = options(rest, big).filter(|(code, value)| matches!(code, 5 | 7) && value.len() == 8);
    drops.map(|(_, value)| u64_at(value, 0, big)).fold(0, u64::saturating_add)
}

fn not_a_capture(magic: [u8; 4]) -> String {
    let [a, b, c, d] = magic;
    let what = match &magic {
        b"PK\x03\x04" => " (this is a zip archive)",
        b"RTSS" | b"TRSN" | b"XCP\0" => " (this is another sniffer's format: convert it with editcap)",
        [0x42, 0x5a, 0x68, _] => " (this is bzip2: unpack it first)",
        [0xfd, b'7', b'z', b'X'] => " (this is xz: unpack it first)",
        _ => "",
    };
    format!("no capture: it begins with {a:02x} {b:02x} {c:02x} {d:02x}, which is neither pcap nor pcapng{what}")
}

fn u16_at(data: &[u8], at: usize, big: bool) -> u16 {
    let bytes = [data[at], data[at + 1]];
    if big { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) }
}

fn u32_at(data: &[u8], at: usize, big: bool) -> u32 {
    let bytes = [data[at], data[at + 1], data[at + 2], data[at + 3]];
    if big { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) }
}

fn u64_at(data: &[u8], at: usize, big: bool) -> u64 {
    let (first, second) = (u64::from(u32_at(data, at, big)), u64::from(u32_at(data, at + 4, big)));
    if big { first << 32 | second } else { second << 32 | first }
}
