//! Addresses that the kernel translates: what was called, and who answers.
//!
//! Connection tracking over ctnetlink (`linux/netfilter/nfnetlink_conntrack.h`), of our own network namespace: all
//! there is at first, then what is new. Only connections whose ends are not the same on both sides are told.

use std::io;
use std::net::Ipv6Addr;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::netlink::{Netlink, address, attributes};
use crate::records::Protocol;

/// `linux/netlink.h`, `linux/netfilter/nfnetlink.h`.
const NETLINK_NETFILTER: libc::c_int = 12;
const CONNTRACK_NEW: u16 = 1 << 8;
const CONNTRACK_GET: u16 = 1 << 8 | 1;
/// The group of news of new connections, as a bit.
const GROUP_NEW: u32 = 1;
/// `struct nfgenmsg`
const HEAD_BYTES: usize = 4;
/// Attributes: of a connection, of its tuples, of their addresses and ports.
const TUPLE_ORIG: u16 = 1;
const TUPLE_REPLY: u16 = 2;
const TUPLE_IP: u16 = 1;
const TUPLE_PROTO: u16 = 2;
const IP_V4_SRC: u16 = 1;
const IP_V4_DST: u16 = 2;
const IP_V6_SRC: u16 = 3;
const IP_V6_DST: u16 = 4;
const PROTO_NUM: u16 = 1;
const PROTO_SRC_PORT: u16 = 2;
const PROTO_DST_PORT: u16 = 3;
/// There as long as connections are tracked here.
const TRACKS: &str = "/proc/sys/net/netfilter/nf_conntrack_count";

/// An address and a port.
pub type End = (Ipv6Addr, u16);

/// A connection whose addresses are others on the way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Translation {
    pub protocol: Protocol,
    /// As who called sees it.
    pub caller: End,
    pub called: End,
    /// As who answers sees it.
    pub seen_caller: End,
    pub answering: End,
}

/// Bytes of a translation where it is written down.
pub const TRANSLATION_BYTES: usize = 4 * 18 + 1;

impl Translation {
    pub fn write(&self) -> [u8; TRANSLATION_BYTES] {
        let mut bytes = [0; TRANSLATION_BYTES];
        let ends = [self.caller, self.called, self.seen_caller, self.answering];
        for ((ip, port), into) in ends.iter().zip(bytes.as_chunks_mut::<18>().0) {
            into[..16].copy_from_slice(&ip.octets());
            into[16..].copy_from_slice(&port.to_be_bytes());
        }
        bytes[TRANSLATION_BYTES - 1] = self.protocol.number();
        bytes
    }

    /// Nothing if these are none.
    pub fn read(bytes: &[u8; TRANSLATION_BYTES]) -> Option<Translation> {
        let protocol = Protocol::of_number(bytes[TRANSLATION_BYTES - 1])?;
        let (ends, _) = bytes.as_chunks::<18>();
        let end = |at: usize| -> Option<End> {
            let (ip, port) = ends.get(at)?.split_first_chunk::<16>()?;
            Some((Ipv6Addr::from(*ip), u16::from_be_bytes(port.try_into().ok()?)))
        };
        Some(Translation { protocol, caller: end(0)?, called: end(1)?, seen_caller: end(2)?, answering: end(3)? })
    }
}

/// Connections as the kernel tracks them.
pub struct Conntrack {
    netlink: Netlink,
    /// Whether all there is has to be asked for: at first, and when news were lost.
    is_behind: bool,
    /// When that was done.
    asked: Option<Instant>,
    /// What there was at first, until somebody asks.
    first: Vec<Translation>,
}

/// Room for news between two looks: some 30,000 connections.
const NEWS_BYTES: libc::c_int = 8 << 20;
/// All there is is asked for so often at most: it may be much.
const ASKED_AGAIN: Duration = Duration::from_secs(5);

impl Conntrack {
    /// Nothing where connections are not tracked: asking would begin it. Needs `CAP_NET_ADMIN`.
    pub fn open() -> io::Result<Option<Conntrack>> {
        if !Path::new(TRACKS).exists() {
            return Ok(None);
        }
        let netlink = Netlink::open(NETLINK_NETFILTER, GROUP_NEW)?;
        netlink.hold(NEWS_BYTES);
        let mut conntrack = Conntrack { netlink, is_behind: true, asked: None, first: Vec::new() };
        // Whether that is allowed shows only when it is done.
        let mut first = Vec::new();
        conntrack.look(|translation| first.push(translation))?;
        conntrack.first = first;
        Ok(Some(conntrack))
    }

    /// Gives the translations that are new since it was last asked; some of them again.
    pub fn look(&mut self, mut each: impl FnMut(Translation)) -> io::Result<()> {
        std::mem::take(&mut self.first).into_iter().for_each(&mut each);
        let mut take = |kind: u16, content: &[u8]| {
            if kind == CONNTRACK_NEW {
                connection(content).into_iter().for_each(&mut each);
            }
        };
        self.is_behind |= self.netlink.news(&mut take)?;
        let is_long_ago = self.asked.is_none_or(|asked| asked.elapsed() >= ASKED_AGAIN);
        if self.is_behind && is_long_ago {
            (self.is_behind, self.asked) = (false, Some(Instant::now()));
            // A socket of its own, so that answers do not mix with news.
            let question = [libc::AF_UNSPEC as u8, 0, 0, 0];
            Netlink::open(NETLINK_NETFILTER, 0)?.dump(CONNTRACK_GET, &question, take)?;
        }
        Ok(())
    }
}

/// Both ends of a connection, one of its two ways.
#[derive(Clone, Copy)]
struct Tuple {
    src: End,
    dst: End,
    protocol: u8,
}

/// A connection, if it is translated.
fn connection(bytes: &[u8]) -> Option<Translation> {
    let (mut there, mut back) = (None, None);
    attributes(bytes.get(HEAD_BYTES..)?, |number, value| match number {
        TUPLE_ORIG => there = tuple(value),
        TUPLE_REPLY => back = tuple(value),
        _ => {}
    });
    let (there, back): (Tuple, Tuple) = (there?, back?);
    let is_translated = there.src != back.dst || there.dst != back.src;
    let protocol = Protocol::of_number(there.protocol).filter(|_| is_translated)?;
    Some(Translation { protocol, caller: there.src, called: there.dst, seen_caller: back.dst, answering: back.src })
}

fn tuple(bytes: &[u8]) -> Option<Tuple> {
    let (mut src, mut dst, mut ports, mut protocol) = (None, None, [0; 2], None);
    attributes(bytes, |number, value| match number {
        TUPLE_IP => attributes(value, |number, value| match number {
            IP_V4_SRC | IP_V6_SRC => src = address(number == IP_V4_SRC, value),
            IP_V4_DST | IP_V6_DST => dst = address(number == IP_V4_DST, value),
            _ => {}
        }),
        TUPLE_PROTO => attributes(value, |number, value| {
            let port = || value.first_chunk().map_or(0, |bytes| u16::from_be_bytes(*bytes));
            match number {
                PROTO_NUM => protocol = value.first().copied(),
                PROTO_SRC_PORT => ports[0] = port(),
                PROTO_DST_PORT => ports[1] = port(),
                _ => {}
            }
        }),
        _ => {}
    });
    Some(Tuple { src: (src?, ports[0]), dst: (dst?, ports[1]), protocol: protocol? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink;

    #[test]
    fn what_was_written_is_read() {
        let end = |last: u16| (Ipv6Addr::new(1, 2, 3, 4, 5, 6, 7, last), last);
        let (caller, called, seen_caller, answering) = (end(1), end(2), end(3), end(4));
        let translation = Translation { protocol: Protocol::Udp, caller, called, seen_caller, answering };
        assert_eq!(Translation::read(&translation.write()), Some(translation));
        assert_eq!(Translation::read(&[0; TRANSLATION_BYTES]), None);
    }

    #[test]
    fn nonsense_is_read_to_its_end() {
        for bytes in netlink::nonsense::all(CONNTRACK_NEW) {
            let _ = netlink::messages(&bytes, |_, content| {
                connection(content);
            });
            connection(&bytes);
        }
    }
}
