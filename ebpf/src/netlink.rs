//! Questions to the kernel over netlink (RFC 3549, `netlink(7)`), and how its answers are cut up.

#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;

/// `linux/netlink.h`.
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_DUMP: u16 = 0x300;
const HEADER_BYTES: usize = 16;
/// What the kernel says of an attribute that has others inside, or whose number has an order; not part of its number.
const ATTRIBUTE_FLAGS: u16 = 0xc000;
/// Room for what the kernel gives at once: half of that (`netlink_dump` in net/netlink/af_netlink.c).
const RECEIVE_BYTES: usize = 64 << 10;
/// Answers that are read of one question: no host has so many sockets or connections.
const ANSWERS_MAX: usize = 1 << 18;

/// A socket to the kernel.
pub struct Netlink {
    socket: OwnedFd,
    buffer: Vec<u8>,
}

/// What came of reading.
#[derive(PartialEq, Eq, Debug)]
pub enum Read {
    /// There may be more.
    Some,
    /// An answer is over.
    Done,
    /// There is nothing now.
    Nothing,
    /// There was more than the kernel could hold for us.
    Overrun,
}

impl Netlink {
    /// `groups` are of news that come without being asked for, a bit each.
    pub fn open(protocol: libc::c_int, groups: u32) -> io::Result<Netlink> {
        // SAFETY: a call without pointers.
        let fd = unsafe { libc::socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC, protocol) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: a new descriptor that nobody else has.
        let socket = unsafe { OwnedFd::from_raw_fd(fd) };
        // SAFETY: all zeros are an address.
        let mut address: libc::sockaddr_nl = unsafe { std::mem::zeroed() };
        address.nl_family = libc::AF_NETLINK as libc::sa_family_t;
        address.nl_groups = groups;
        let length = size_of::<libc::sockaddr_nl>() as libc::socklen_t;
        // SAFETY: an address of as many bytes as is said.
        if unsafe { libc::bind(fd, (&raw const address).cast(), length) } < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Netlink { socket, buffer: vec![0; RECEIVE_BYTES] })
    }

    /// The same in another network namespace, of which this is a file. Needs `CAP_SYS_ADMIN`. The socket stays there;
    /// so would the thread, which is why it is one of its own.
    pub fn open_in(namespace: &Path, protocol: libc::c_int) -> io::Result<Netlink> {
        let open = || {
            let file = File::open(namespace)?;
            // SAFETY: a descriptor that is open, and a number.
            match unsafe { libc::setns(file.as_raw_fd(), libc::CLONE_NEWNET) } {
                0 => Netlink::open(protocol, 0),
                _ => Err(io::Error::last_os_error()),
            }
        };
        std::thread::scope(|threads| {
            let thread = std::thread::Builder::new().name("weir-netns".into()).spawn_scoped(threads, open)?;
            thread.join().unwrap_or_else(|_| Err(io::Error::other("its thread failed")))
        })
    }

    /// Asks for more room for what has come and is not read; without the right to it there is as much as there was.
    pub fn hold(&self, bytes: libc::c_int) {
        let length = size_of::<libc::c_int>() as libc::socklen_t;
        // SAFETY: a number of as many bytes as is said.
        unsafe {
            let value = (&raw const bytes).cast();
            libc::setsockopt(self.socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, value, length);
        }
    }

    /// Asks for all there is, and gives each answer's type and content.
    pub fn dump(&mut self, kind: u16, question: &[u8], mut each: impl FnMut(u16, &[u8])) -> io::Result<()> {
        let length = HEADER_BYTES + question.len();
        let mut bytes = Vec::with_capacity(length);
        bytes.extend((length as u32).to_ne_bytes());
        bytes.extend(kind.to_ne_bytes());
        bytes.extend((NLM_F_REQUEST | NLM_F_DUMP).to_ne_bytes());
        bytes.extend([0; 8]);
        bytes.extend(question);
        // SAFETY: the kernel reads as many bytes as there are.
        if unsafe { libc::send(self.socket.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), 0) } < 0 {
            return Err(io::Error::last_os_error());
        }
        for _ in 0..ANSWERS_MAX {
            if self.read(0, &mut each)? == Read::Done {
                break;
            }
        }
        Ok(())
    }

    /// Gives what has come without being asked for; whether some of it was lost. Until all of it is read the kernel
    /// does not say again that it loses something.
    pub fn news(&mut self, mut each: impl FnMut(u16, &[u8])) -> io::Result<bool> {
        let mut is_lost = false;
        for _ in 0..ANSWERS_MAX {
            match self.read(libc::MSG_DONTWAIT, &mut each)? {
                Read::Some | Read::Done => {}
                Read::Overrun => is_lost = true,
                Read::Nothing => break,
            }
        }
        Ok(is_lost)
    }

    fn read(&mut self, flags: libc::c_int, each: impl FnMut(u16, &[u8])) -> io::Result<Read> {
        let (room, bytes) = (self.buffer.len(), self.buffer.as_mut_ptr());
        // SAFETY: as much room as is said.
        let n = unsafe { libc::recv(self.socket.as_raw_fd(), bytes.cast(), room, flags) };
        if n < 0 {
            let error = io::Error::last_os_error();
            return match error.raw_os_error() {
                Some(libc::EAGAIN) => Ok(Read::Nothing),
                Some(libc::ENOBUFS) => Ok(Read::Overrun),
                Some(libc::EINTR) => Ok(Read::Some),
                _ => Err(error),
            };
        }
        if n == 0 {
            return Ok(Read::Done);
        }
        messages(&self.buffer[..n as usize], each)
    }
}

/// Gives each message's type and content.
pub fn messages(mut bytes: &[u8], mut each: impl FnMut(u16, &[u8])) -> io::Result<Read> {
    while bytes.len() >= HEADER_BYTES {
        let length = u32_at(bytes, 0) as usize;
        if length < HEADER_BYTES || length > bytes.len() {
            return Ok(Read::Done);
        }
        let content = &bytes[HEADER_BYTES..length];
        match u16_at(bytes, 4) {
            NLMSG_DONE => return Ok(Read::Done),
            NLMSG_ERROR => return Err(io::Error::from_raw_os_error((u32_at(content, 0) as i32).saturating_neg())),
            kind => each(kind, content),
        }
        bytes = bytes.get(aligned(length)..).unwrap_or_default();
    }
    Ok(Read::Some)
}

/// Gives each attribute's number and value.
pub fn attributes(mut bytes: &[u8], mut each: impl FnMut(u16, &[u8])) {
    while bytes.len() >= 4 {
        let length = usize::from(u16_at(bytes, 0));
        if length < 4 || length > bytes.len() {
            return;
        }
        each(u16_at(bytes, 2) & !ATTRIBUTE_FLAGS, &bytes[4..length]);
        bytes = bytes.get(aligned(length)..).unwrap_or_default();
    }
}

/// Messages and attributes begin at multiples of four bytes.
fn aligned(length: usize) -> usize {
    length.saturating_add(3) & !3
}

/// Numbers as this machine has them; 0 where there are not so many bytes.
pub fn u16_at(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..at + 2).and_then(|b| b.try_into().ok()).map_or(0, u16::from_ne_bytes)
}

pub fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_ne_bytes)
}

pub fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|b| b.try_into().ok()).map_or(0, u64::from_ne_bytes)
}

/// An address of four bytes as IPv6 has it, or of sixteen.
pub fn address(is_v4: bool, bytes: &[u8]) -> Option<Ipv6Addr> {
    if is_v4 {
        let [a, b, c, d] = *bytes.first_chunk()?;
        return Some(Ipv4Addr::new(a, b, c, d).to_ipv6_mapped());
    }
    Some(Ipv6Addr::from(*bytes.first_chunk::<16>()?))
}

#[cfg(test)]
pub mod nonsense {
    use super::HEADER_BYTES;

    /// Bytes without a sense, and the same behind the head of a message of that type.
    pub fn all(kind: u16) -> impl Iterator<Item = Vec<u8>> {
        let mut state = 7u64;
        let mut byte = move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            // Small numbers make lengths that fit.
            (state >> 56) as u8 & if state & 1 == 0 { 0x1f } else { 0xff }
        };
        (0..4000).map(move |n| {
            let length = n % 200;
            let mut bytes: Vec<u8> = (0..length).map(|_| byte()).collect();
            if length >= HEADER_BYTES && n % 2 == 0 {
                bytes[..4].copy_from_slice(&(length as u32).to_ne_bytes());
                bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
            }
            bytes
        })
    }
}
