//! From the bytes of a frame to what its headers say: the outermost IP packet and its transport.
//!
//! RFC 791, 8200 (IP), 9293 (TCP), 768 (UDP), 9260 (SCTP), 792 and 4443 (ICMP); link layers after
//! the registry of link types at tcpdump.org. Reads only what is there, never trusts a length.

pub mod batch;
mod icmp;
mod ip;
mod link;

/// VLAN tags that are followed.
pub const VLANS_MAX: usize = 8;
/// IPv6 extension headers that are followed.
pub const EXTENSIONS_MAX: usize = 16;

/// What the headers of one packet say.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Packet {
    pub vlans: [u16; VLANS_MAX],
    pub vlan_count: u8,
    pub src: [u8; 16],
    pub dst: [u8; 16],
    pub src_port: u16,
    pub dst_port: u16,
    pub protocol: u8,
    pub ip_bytes: u32,
    pub payload_bytes: u32,
    /// Whether the TCP fields below were there.
    pub has_tcp: bool,
    pub flags: u8,
    pub seq: u32,
    pub ack: u32,
    pub window: u16,
    /// Identifier of an ICMP query.
    pub icmp_id: Option<u16>,
    pub fragment: Option<Fragment>,
    /// Bits of [`weir_spec::kinds::packet::faults`].
    pub faults: u8,
}

/// A part of a fragmented packet.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fragment {
    pub id: u32,
    /// Bytes.
    pub offset: u16,
    pub more: bool,
}

/// Why a frame is no packet of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// A link type that is not read.
    Link,
    /// Not IP: ARP, MPLS, PPPoE, spanning tree.
    NotIp,
    /// Cut before the addresses.
    Cut,
    /// An IP header that contradicts itself.
    Malformed,
}

impl Refused {
    pub const fn reason(self) -> &'static str {
        match self {
            Refused::Link => "link_type",
            Refused::NotIp => "not_ip",
            Refused::Cut => "cut",
            Refused::Malformed => "malformed",
        }
    }
}

/// Reads the outermost IP packet of a frame. `wire_bytes` is the frame's length on the link.
pub fn parse(link: u16, frame: &[u8], wire_bytes: u32) -> Result<Packet, Refused> {
    let mut packet = Packet::default();
    let at = link::strip(link, frame, &mut packet)?;
    ip::parse(&frame[at..], wire_bytes.saturating_sub(at as u32), &mut packet)?;
    Ok(packet)
}

fn be16(data: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([data[at], data[at + 1]])
}

fn be32(data: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([data[at], data[at + 1], data[at + 2], data[at + 3]])
}
