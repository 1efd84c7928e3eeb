//! Which conversation a row is of, and which end of it has counted.

use std::hash::{Hash, Hasher};

use arrow_array::types::Int32Type;
use arrow_array::{Array, DictionaryArray, FixedSizeBinaryArray, Int64Array, RecordBatch, UInt8Array, UInt16Array};
use weir_core::columns::{addresses, get};
use weir_core::eval::text::word;
use weir_spec::kinds::enums::{initiator, observer};
use weir_spec::kinds::flow as kind;

/// An address and a port.
type End = ([u8; 16], u16);

/// What both halves of a conversation have in common: its ends, with the address that was called and not the
/// one that it was translated to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Key {
    low: End,
    high: End,
    protocol: u8,
    /// Where it is, of one that never leaves a network namespace; others have the same addresses there.
    place: u64,
}

/// A row that one end of a conversation told.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Half {
    pub key: Key,
    /// Whether `src` is the lower end of the key: the halves may disagree about who called whom.
    pub is_src_low: bool,
    pub is_dst: bool,
    pub time: i64,
    pub batch: u32,
    pub row: u32,
    /// How sure it is who called whom: the less, the surer.
    pub doubt: u8,
}

/// What is read to tell halves.
pub const READS: &[&str] = &[
    kind::SRC_IP.name,
    kind::SRC_PORT.name,
    kind::DST_IP.name,
    kind::DST_PORT.name,
    kind::DST_ORIGINAL_IP.name,
    kind::DST_ORIGINAL_PORT.name,
    kind::PROTOCOL_.name,
    kind::OBSERVER_.name,
    kind::INITIATOR_.name,
    kind::SRC_NETNS.name,
    kind::DST_NETNS.name,
    kind::SRC_HOST.name,
    kind::DST_HOST.name,
];

/// From the surest to the least sure.
const SURE: [u8; 5] = [initiator::KERNEL, initiator::SYN, initiator::SYN_ACK, initiator::FIRST_PACKET, initiator::PORT];

/// A column of addresses and one of ports.
struct Ends<'a> {
    ips: &'a FixedSizeBinaryArray,
    ports: &'a UInt16Array,
}

impl Ends<'_> {
    fn get(&self, row: usize) -> Option<End> {
        let is_there = self.ips.is_valid(row) && self.ports.is_valid(row);
        is_there.then(|| (addresses(self.ips)[row], self.ports.value(row)))
    }
}

/// Where an end is: its namespace and its host.
struct Place<'a> {
    netns: Option<&'a Int64Array>,
    hosts: Option<&'a DictionaryArray<Int32Type>>,
}

impl Place<'_> {
    fn number(&self, row: usize) -> u64 {
        let mut hash = std::hash::BuildHasher::build_hasher(&foldhash::quality::FixedState::with_seed(1));
        self.netns.filter(|netns| netns.is_valid(row)).map(|netns| netns.value(row)).hash(&mut hash);
        self.hosts.and_then(|hosts| word(hosts, row)).hash(&mut hash);
        hash.finish()
    }
}

/// The columns that tell halves.
pub struct View<'a> {
    src: Ends<'a>,
    dst: Ends<'a>,
    called: Option<Ends<'a>>,
    protocols: &'a UInt8Array,
    observers: &'a UInt8Array,
    initiators: Option<&'a UInt8Array>,
    places: [Place<'a>; 2],
}

impl<'a> View<'a> {
    /// Absent if there is a column without which nothing can be told.
    pub fn new(rows: &'a RecordBatch) -> Option<View<'a>> {
        let called = get(rows, kind::DST_ORIGINAL_IP).zip(get(rows, kind::DST_ORIGINAL_PORT));
        Some(View {
            src: Ends { ips: get(rows, kind::SRC_IP)?, ports: get(rows, kind::SRC_PORT)? },
            dst: Ends { ips: get(rows, kind::DST_IP)?, ports: get(rows, kind::DST_PORT)? },
            called: called.map(|(ips, ports)| Ends { ips, ports }),
            protocols: get(rows, kind::PROTOCOL_)?,
            observers: get(rows, kind::OBSERVER_)?,
            initiators: get(rows, kind::INITIATOR_),
            places: [
                Place { netns: get(rows, kind::SRC_NETNS), hosts: get(rows, kind::SRC_HOST) },
                Place { netns: get(rows, kind::DST_NETNS), hosts: get(rows, kind::DST_HOST) },
            ],
        })
    }

    /// Whether one end alone told this row, and of both is known which they are.
    pub fn is_half(&self, row: usize) -> bool {
        let is_one_sided = matches!(self.observers.value(row), observer::SRC | observer::DST);
        let is_told = self.observers.is_valid(row) && self.protocols.is_valid(row) && is_one_sided;
        is_told && self.src.get(row).is_some() && self.dst(row).is_some()
    }

    fn dst(&self, row: usize) -> Option<End> {
        self.called.as_ref().and_then(|called| called.get(row)).or_else(|| self.dst.get(row))
    }

    /// What a row is half of; it is one.
    pub fn half(&self, row: usize, batch: usize, time: i64) -> Half {
        let src = self.src.get(row).unwrap_or_default();
        let dst = self.dst(row).unwrap_or_default();
        let is_dst = self.observers.value(row) == observer::DST;
        let is_src_low = src <= dst;
        let (low, high) = if is_src_low { (src, dst) } else { (dst, src) };
        let is_local = is_loopback(&low.0) || is_loopback(&high.0);
        let place = if is_local { self.places[usize::from(is_dst)].number(row) } else { 0 };
        let said = self.initiators.filter(|said| said.is_valid(row)).map(|said| said.value(row));
        let doubt = SURE.iter().position(|sure| Some(*sure) == said).unwrap_or(SURE.len()) as u8;
        let key = Key { low, high, protocol: self.protocols.value(row), place };
        Half { key, is_src_low, is_dst, time, batch: batch as u32, row: row as u32, doubt }
    }
}

/// Whether an address, IPv4 as IPv6 has it, is of the host itself.
fn is_loopback(ip: &[u8; 16]) -> bool {
    let ip = std::net::Ipv6Addr::from(*ip);
    ip.is_loopback() || ip.to_ipv4_mapped().is_some_and(|ip| ip.is_loopback())
}
