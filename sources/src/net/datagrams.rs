//! Many datagrams with one system call, and what the kernel knows about them.
//!
//! `recvmmsg`, control messages and `SO_MEMINFO` have no safe form in the standard library; this is the
//! one file of the sources with `unsafe`.

#![allow(unsafe_code)]

use std::io;
use std::mem::{size_of, zeroed};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::time::Duration;

/// Between the buffers: they are powers of two apart otherwise, and would all lie in the same few sets of
/// the cache.
const STAGGER_BYTES: usize = 24 * 64;
/// Room for one message's credentials and time.
const CONTROL_BYTES: usize = 128;
/// Where `SO_MEMINFO` has the number of packets dropped (`SK_MEMINFO_DROPS` of `linux/sock_diag.h`).
const MEMINFO_DROPS: usize = 8;

/// Buffers that are used again for every call.
pub struct Datagrams {
    bytes: Vec<u8>,
    message_bytes_max: usize,
    /// From where one message begins to where the next one does.
    stride: usize,
    names: Vec<libc::sockaddr_in6>,
    controls: Vec<[u64; CONTROL_BYTES / 8]>,
    parts: Vec<libc::iovec>,
    heads: Vec<libc::mmsghdr>,
    received: usize,
}

// SAFETY: the pointers in `parts` and `heads` lead into the vectors beside them, which move along and are
// never resized; they are written anew before every call.
unsafe impl Send for Datagrams {}

/// One datagram.
pub struct Datagram<'a> {
    pub bytes: &'a [u8],
    /// It was longer than there is room for.
    pub is_truncated: bool,
    /// Of the sender, if the socket passes credentials.
    pub pid: Option<i32>,
    /// When it was sent, in nanoseconds since the epoch, if the socket passes credentials.
    pub sent: Option<i64>,
    /// Of the sender over UDP.
    pub peer: Option<SocketAddr>,
}

impl Datagrams {
    /// Room for so many datagrams of at most so many bytes.
    pub fn new(datagrams: usize, message_bytes_max: usize) -> Datagrams {
        // SAFETY: all of these are plain C structures, of which zeros are a valid value.
        let (name, part, head) = unsafe { (zeroed(), zeroed::<libc::iovec>(), zeroed::<libc::mmsghdr>()) };
        let stride = message_bytes_max + STAGGER_BYTES;
        Datagrams {
            bytes: vec![0; stride * datagrams],
            message_bytes_max,
            stride,
            names: vec![name; datagrams],
            controls: vec![[0; CONTROL_BYTES / 8]; datagrams],
            parts: vec![part; datagrams],
            heads: vec![head; datagrams],
            received: 0,
        }
    }

    /// Takes what is there without waiting, as far as there is room; an error of kind `WouldBlock` says that
    /// nothing is.
    pub fn receive(&mut self, socket: RawFd) -> io::Result<usize> {
        self.received = 0;
        for at in 0..self.heads.len() {
            let from = at * self.stride;
            self.parts[at] =
                libc::iovec { iov_base: self.bytes[from..].as_mut_ptr().cast(), iov_len: self.message_bytes_max };
            let head = &mut self.heads[at];
            head.msg_len = 0;
            head.msg_hdr.msg_name = (&raw mut self.names[at]).cast();
            head.msg_hdr.msg_namelen = size_of::<libc::sockaddr_in6>() as u32;
            head.msg_hdr.msg_iov = &raw mut self.parts[at];
            head.msg_hdr.msg_iovlen = 1;
            head.msg_hdr.msg_control = self.controls[at].as_mut_ptr().cast();
            head.msg_hdr.msg_controllen = CONTROL_BYTES as _;
            head.msg_hdr.msg_flags = 0;
        }
        // SAFETY: every head points to buffers of this structure that are as long as it says, and they
        // live for the whole call.
        let received = unsafe {
            libc::recvmmsg(
                socket,
                self.heads.as_mut_ptr(),
                self.heads.len() as u32,
                libc::MSG_DONTWAIT as _,
                std::ptr::null_mut(),
            )
        };
        if received < 0 {
            return Err(io::Error::last_os_error());
        }
        self.received = received as usize;
        Ok(self.received)
    }

    /// How many the last call took.
    pub fn len(&self) -> usize {
        self.received
    }

    pub fn is_empty(&self) -> bool {
        self.received == 0
    }

    /// How long they are that the last call took.
    pub fn lengths(&self) -> impl Iterator<Item = usize> {
        self.heads[..self.received].iter().map(|head| head.msg_len as usize)
    }

    /// What the last call took.
    pub fn iter(&self) -> impl Iterator<Item = Datagram<'_>> {
        (0..self.received).map(|at| {
            let head = &self.heads[at];
            let from = at * self.stride;
            let length = (head.msg_len as usize).min(self.message_bytes_max);
            let (pid, sent) = credentials(&head.msg_hdr);
            Datagram {
                bytes: &self.bytes[from..from + length],
                is_truncated: head.msg_hdr.msg_flags & libc::MSG_TRUNC != 0,
                pid,
                sent,
                peer: peer(&self.names[at], head.msg_hdr.msg_namelen),
            }
        })
    }
}

/// The pid in a message's credentials, and when it was sent. A pid of 0 is of a process that this
/// namespace does not see.
fn credentials(head: &libc::msghdr) -> (Option<i32>, Option<i64>) {
    let (mut pid, mut sent) = (None, None);
    // SAFETY: the kernel wrote the control messages and their length into a buffer that is still there.
    unsafe {
        let mut message = libc::CMSG_FIRSTHDR(head);
        while !message.is_null() {
            match ((*message).cmsg_level, (*message).cmsg_type) {
                (libc::SOL_SOCKET, libc::SCM_CREDENTIALS) => {
                    let data: libc::ucred = std::ptr::read_unaligned(libc::CMSG_DATA(message).cast());
                    pid = Some(data.pid).filter(|pid| *pid > 0);
                }
                (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS) => {
                    let data: libc::timespec = std::ptr::read_unaligned(libc::CMSG_DATA(message).cast());
                    sent = Some(data.tv_sec.saturating_mul(1_000_000_000).saturating_add(data.tv_nsec));
                }
                _ => {}
            }
            message = libc::CMSG_NXTHDR(head, message);
        }
    }
    (pid, sent)
}

fn peer(name: &libc::sockaddr_in6, length: u32) -> Option<SocketAddr> {
    if (length as usize) < size_of::<libc::sockaddr_in>() {
        return None;
    }
    match i32::from(name.sin6_family) {
        libc::AF_INET6 => {
            let ip = Ipv6Addr::from(name.sin6_addr.s6_addr).to_canonical();
            Some(SocketAddr::new(ip, u16::from_be(name.sin6_port)))
        }
        libc::AF_INET => {
            // SAFETY: an IPv4 address is shorter, and of the family that the kernel says it is.
            let name: &libc::sockaddr_in = unsafe { &*(&raw const *name).cast() };
            let ip = Ipv4Addr::from(u32::from_be(name.sin_addr.s_addr));
            Some(SocketAddr::new(IpAddr::V4(ip), u16::from_be(name.sin_port)))
        }
        _ => None,
    }
}

fn set(socket: RawFd, name: libc::c_int, value: libc::c_int) -> io::Result<()> {
    set_of(socket, libc::SOL_SOCKET, name, value)
}

fn set_of(socket: RawFd, level: libc::c_int, name: libc::c_int, value: libc::c_int) -> io::Result<()> {
    // SAFETY: the option takes an `int`, which is what is given.
    let done =
        unsafe { libc::setsockopt(socket, level, name, (&raw const value).cast(), size_of::<libc::c_int>() as u32) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Asks for a receive buffer, beyond the limit where that is allowed. Gives what was granted, as the
/// kernel counts, which is twice what one may ask for.
pub fn set_receive_buffer(socket: &impl AsRawFd, bytes: usize) -> io::Result<usize> {
    let (socket, wanted) = (socket.as_raw_fd(), bytes.min(libc::c_int::MAX as usize / 2) as libc::c_int);
    if set(socket, libc::SO_RCVBUFFORCE, wanted).is_err() {
        set(socket, libc::SO_RCVBUF, wanted)?;
    }
    let (mut granted, mut length): (libc::c_int, u32) = (0, size_of::<libc::c_int>() as u32);
    // SAFETY: the option is an `int`, and there is room for one.
    let done = unsafe {
        libc::getsockopt(socket, libc::SOL_SOCKET, libc::SO_RCVBUF, (&raw mut granted).cast(), &raw mut length)
    };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(granted.max(0) as usize) }
}

/// Lets messages carry who sent them, and when.
pub fn pass_credentials(socket: &impl AsRawFd) -> io::Result<()> {
    set(socket.as_raw_fd(), libc::SO_PASSCRED, 1)?;
    set(socket.as_raw_fd(), libc::SO_TIMESTAMPNS, 1)
}

/// Lets nothing more come to a unix socket; what is queued stays. Whoever connects or sends finds nobody.
pub fn shut(socket: &impl AsRawFd) {
    // SAFETY: a call without pointers. A socket that cannot be shut is as it was.
    unsafe { libc::shutdown(socket.as_raw_fd(), libc::SHUT_RD) };
}

/// What a socket has, without waiting and whatever the runtime has heard of it.
pub fn receive_now(socket: &impl AsRawFd, into: &mut [u8]) -> io::Result<usize> {
    // SAFETY: the buffer is as long as is said, and lives for the whole call.
    let n = unsafe { libc::recv(socket.as_raw_fd(), into.as_mut_ptr().cast(), into.len(), libc::MSG_DONTWAIT) };
    usize::try_from(n).map_err(|_| io::Error::last_os_error())
}

/// Packets that the kernel has dropped at this socket since it was opened. `SO_RXQ_OVFL` says the same
/// with each datagram that was queued, and so misses what was dropped behind the last one; this does not.
pub fn dropped(socket: &impl AsRawFd) -> u32 {
    let mut words = [0u32; MEMINFO_DROPS + 1];
    let mut length = size_of_val(&words) as u32;
    // SAFETY: there is room for as many words as is said.
    let done = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_MEMINFO,
            words.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if done < 0 { 0 } else { words[MEMINFO_DROPS] }
}

/// How a UDP address is shared.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sharing {
    /// Several sockets may bind it: the kernel divides the senders among them.
    pub reuse_port: bool,
    /// One of IPv6 leaves the same port of IPv4 to others.
    pub only_v6: bool,
}

/// A bound UDP socket.
pub fn udp(address: SocketAddr, sharing: Sharing) -> io::Result<std::net::UdpSocket> {
    use std::os::fd::FromRawFd;
    let family = if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    // SAFETY: a call without pointers; what it gives is a new descriptor that nobody else has.
    let socket = unsafe {
        let fd = libc::socket(family, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK, 0);
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        std::net::UdpSocket::from_raw_fd(fd)
    };
    if sharing.reuse_port {
        set(socket.as_raw_fd(), libc::SO_REUSEPORT, 1)?;
    }
    if sharing.only_v6 && address.is_ipv6() {
        set_of(socket.as_raw_fd(), libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, 1)?;
    }
    let done = match address {
        SocketAddr::V4(v4) => {
            // SAFETY: a plain C structure, of which zeros are a valid value.
            let mut name: libc::sockaddr_in = unsafe { zeroed() };
            name.sin_family = libc::AF_INET as u16;
            name.sin_port = v4.port().to_be();
            name.sin_addr.s_addr = u32::from(*v4.ip()).to_be();
            // SAFETY: the address is as long as is said.
            unsafe { libc::bind(socket.as_raw_fd(), (&raw const name).cast(), size_of_val(&name) as u32) }
        }
        SocketAddr::V6(v6) => {
            // SAFETY: as above.
            let mut name: libc::sockaddr_in6 = unsafe { zeroed() };
            name.sin6_family = libc::AF_INET6 as u16;
            name.sin6_port = v6.port().to_be();
            name.sin6_addr.s6_addr = v6.ip().octets();
            name.sin6_scope_id = v6.scope_id();
            // SAFETY: as above.
            unsafe { libc::bind(socket.as_raw_fd(), (&raw const name).cast(), size_of_val(&name) as u32) }
        }
    };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(socket) }
}

/// A descriptor of a process: it stays that process's, whoever gets its number.
pub fn open_process(pid: i32) -> io::Result<OwnedFd> {
    use std::os::fd::FromRawFd;
    // SAFETY: a call without pointers; what it gives is a new descriptor that nobody else has.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: as above.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// Waits until a socket has something, or the other end of `running` was closed; for so long at most.
/// Whether that was closed.
pub fn wait(socket: &impl AsRawFd, running: &impl AsRawFd, at_most: Option<Duration>) -> io::Result<bool> {
    let on = |fd: RawFd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
    let mut waits = [on(socket.as_raw_fd()), on(running.as_raw_fd())];
    // Rounded up: too early would be again and again.
    let millis = at_most.map_or(-1, |at_most| at_most.as_micros().div_ceil(1000).min(i32::MAX as u128) as i32);
    // SAFETY: as many structures as is said, alive for the whole call.
    let ready = unsafe { libc::poll(waits.as_mut_ptr(), waits.len() as libc::nfds_t, millis) };
    if ready < 0 { Err(io::Error::last_os_error()) } else { Ok(waits[1].revents != 0) }
}

/// Whether the process of a descriptor has not ended.
pub fn is_alive(process: &OwnedFd) -> bool {
    let mut wait = libc::pollfd { fd: process.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one structure, and no waiting.
    let ready = unsafe { libc::poll(&raw mut wait, 1, 0) };
    ready == 0
}
