//! The same of TCP without a program in the kernel: what `ss -ti` shows, asked for again and again.
//!
//! `sock_diag(7)`. No UDP, of which the kernel counts nothing. Each network namespace is asked through a socket of its
//! own, as far as we may enter it and a process is in it. A connection is known as it was when it was last asked for.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::monotonic_nanos;
use crate::netlink::{Netlink, address, attributes, u16_at, u32_at, u64_at};
use crate::records::{Counters, Origin, Protocol, Record, state};
use crate::rights;

/// `linux/netlink.h`, `linux/sock_diag.h`, `linux/inet_diag.h`.
const NETLINK_SOCK_DIAG: libc::c_int = 4;
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const INET_DIAG_INFO: u16 = 2;
const INET_DIAG_CGROUP_ID: u16 = 21;
const MESSAGE_BYTES: usize = 72;

/// In these a socket listens or counts. What is left of one that waits is in FIN_WAIT2 as well, and counts nothing.
const STATES: [u8; 8] = [
    state::ESTABLISHED,
    state::SYN_SENT,
    state::FIN_WAIT1,
    state::FIN_WAIT2,
    state::CLOSE_WAIT,
    state::LAST_ACK,
    state::LISTEN,
    state::CLOSING,
];

/// Namespaces that are asked at most.
const NAMESPACES_MAX: usize = 512;
const OWN: &str = "/proc/thread-self/ns/net";

/// Whose sockets are asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scope<'a> {
    /// Of every namespace that has a process and may be entered, which needs `CAP_SYS_ADMIN`.
    All,
    Own,
    /// Of the namespace with that file.
    One(&'a Path),
}

/// Asks the kernel for its TCP sockets.
pub struct Diag {
    /// By the inodes of namespaces, as are those that may not be entered and those that did not answer.
    namespaces: HashMap<u32, Netlink>,
    closed: HashSet<u32>,
    silent: HashSet<u32>,
    /// Whether there are more than are asked.
    are_many: bool,
    /// Whether others are looked for.
    is_all: bool,
    own: u32,
}

/// A socket of a dump, and the inode by which processes hold it.
type Dumped = (Record, u32);

impl Diag {
    /// Of its own namespace it needs no privileges; whose the sockets of others are takes `CAP_SYS_PTRACE`.
    pub fn open(scope: Scope) -> io::Result<Diag> {
        let own = inode(Path::new(OWN))?;
        let (netns, netlink) = match scope {
            Scope::All | Scope::Own => (own, Netlink::open(NETLINK_SOCK_DIAG, 0)?),
            Scope::One(path) => (inode(path)?, Netlink::open_in(path, NETLINK_SOCK_DIAG)?),
        };
        let is_all = scope == Scope::All && Netlink::open_in(Path::new(OWN), NETLINK_SOCK_DIAG).is_ok();
        let namespaces = HashMap::from([(netns, netlink)]);
        Ok(Diag { namespaces, closed: HashSet::new(), silent: HashSet::new(), are_many: false, is_all, own })
    }

    /// Whether all other namespaces are asked as well, as far as that is known.
    pub fn is_all(&self) -> bool {
        self.is_all && !self.are_many && self.closed.is_empty() && may_look_at_processes()
    }

    /// Whether a namespace did not answer when it was last asked.
    pub fn is_silent(&self, netns: u32) -> bool {
        self.silent.contains(&netns)
    }

    /// Every TCP socket, with the process that holds it as far as that can be seen.
    pub fn sockets(&mut self) -> io::Result<Vec<Record>> {
        let processes = Processes::look();
        if self.is_all {
            self.follow(&processes.namespaces);
        }
        let mut records = Vec::new();
        let mut refused = None;
        self.silent.clear();
        for (netns, netlink) in &mut self.namespaces {
            match dump(netlink) {
                Ok(dumped) => records.extend(dumped.into_iter().map(|dumped| processes.held(dumped, *netns))),
                Err(error) => {
                    self.silent.insert(*netns);
                    refused = Some(error);
                }
            }
        }
        // One that does not answer takes nothing from the others.
        refused.filter(|_| self.silent.len() == self.namespaces.len()).map_or(Ok(records), Err)
    }

    /// Asks in namespaces that are new, and no more in those without a process.
    fn follow(&mut self, found: &HashMap<u32, u32>) {
        let own = self.own;
        self.namespaces.retain(|netns, _| *netns == own || found.contains_key(netns));
        self.closed.retain(|netns| found.contains_key(netns));
        for (netns, pid) in found {
            if self.namespaces.len() >= NAMESPACES_MAX {
                self.are_many = true;
                return;
            }
            if self.namespaces.contains_key(netns) || self.closed.contains(netns) {
                continue;
            }
            let path = PathBuf::from(format!("/proc/{pid}/ns/net"));
            match Netlink::open_in(&path, NETLINK_SOCK_DIAG) {
                // The process may have gone, and its number be another's.
                Ok(netlink) if inode(&path).is_ok_and(|now| now == *netns) => {
                    self.namespaces.insert(*netns, netlink);
                }
                Err(error) if error.raw_os_error() == Some(libc::EPERM) => {
                    self.closed.insert(*netns);
                }
                _ => {}
            }
        }
    }
}

/// Whether processes of others can be looked at, and with them the namespaces that they are in.
fn may_look_at_processes() -> bool {
    let status = fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    rights::effective(&status) >> rights::CAP_SYS_PTRACE & 1 == 1
}

/// Which network namespace a file stands for.
fn inode(path: &Path) -> io::Result<u32> {
    let inode = fs::metadata(path)?.ino();
    u32::try_from(inode).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))
}

fn dump(netlink: &mut Netlink) -> io::Result<Vec<Dumped>> {
    let mut dumped = Vec::new();
    let now = monotonic_nanos();
    for family in [libc::AF_INET, libc::AF_INET6] {
        netlink.dump(SOCK_DIAG_BY_FAMILY, &request(family as u8), |_, content| {
            dumped.extend(socket(content, now));
        })?;
    }
    Ok(dumped)
}

/// A request for all TCP sockets of a family, with their counters.
fn request(family: u8) -> Vec<u8> {
    /// `struct inet_diag_req_v2`
    const REQUEST_BYTES: usize = 56;
    let mut bytes = vec![family, libc::IPPROTO_TCP as u8, 1 << (INET_DIAG_INFO - 1), 0];
    bytes.extend(STATES.iter().fold(0u32, |bits, state| bits | 1 << state).to_ne_bytes());
    bytes.resize(REQUEST_BYTES, 0);
    bytes
}

/// A socket as the kernel describes it (`struct inet_diag_msg`).
fn socket(bytes: &[u8], now: u64) -> Option<Dumped> {
    let [family, state] = [*bytes.first()?, *bytes.get(1)?];
    let port = |at: usize| u16_at(bytes, at).to_be();
    let ip = |at: usize| address(i32::from(family) == libc::AF_INET, bytes.get(at..at + 16)?);
    let mut record = Record {
        protocol: Protocol::Tcp,
        cookie: u64::from(u32_at(bytes, 44)) | u64::from(u32_at(bytes, 48)) << 32,
        cgroup: 0,
        opened: None,
        established: None,
        closed: None,
        active: now,
        counters: Counters::default(),
        srtt_us: 0,
        mdev_us: 0,
        netns: 0,
        pid: 0,
        local: ip(8)?,
        remote: ip(24)?,
        local_port: port(4),
        remote_port: port(6),
        error: None,
        origin: if state == state::LISTEN { Origin::Listening } else { Origin::Found },
        state,
        is_owned: false,
        command: String::new(),
    };
    let mut counts = state == state::LISTEN;
    attributes(bytes.get(MESSAGE_BYTES..)?, |number, value| match number {
        INET_DIAG_INFO => {
            count(value, now, &mut record);
            counts = true;
        }
        INET_DIAG_CGROUP_ID => record.cgroup = u64_at(value, 0),
        _ => {}
    });
    counts.then(|| (record, u32_at(bytes, 68)))
}

/// The counters of `struct tcp_info` (`linux/tcp.h`). Older kernels give less of it, which is then 0.
fn count(info: &[u8], now: u64, record: &mut Record) {
    // The kernel counts the FIN as a byte.
    let is_ended = matches!(record.state, state::CLOSE_WAIT | state::LAST_ACK | state::CLOSING);
    record.counters = Counters {
        bytes_sent: u64_at(info, 200),
        bytes_retransmitted: u64_at(info, 208),
        bytes_received: u64_at(info, 128).saturating_sub(u64::from(is_ended)),
        packets_sent: u32_at(info, 136),
        packets_received: u32_at(info, 140),
        retransmits: u32_at(info, 100),
    };
    (record.srtt_us, record.mdev_us) = (u32_at(info, 68), u32_at(info, 72));
    // Milliseconds since data was sent, and since data and an acknowledgement came.
    let idle_ms = [44, 52, 56].map(|at| u32_at(info, at)).into_iter().min().unwrap_or(0);
    record.active = now.saturating_sub(u64::from(idle_ms) * 1_000_000);
}

/// What processes hold, as far as we may look.
#[derive(Default)]
struct Processes {
    /// Who holds a socket, by its inode.
    holders: HashMap<u32, u32>,
    /// Some process that is in a network namespace.
    namespaces: HashMap<u32, u32>,
}

impl Processes {
    fn look() -> Processes {
        let mut all = Processes::default();
        for process in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let Some(pid) = process.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            if let Ok(netns) = inode(&process.path().join("ns/net")) {
                all.namespaces.entry(netns).or_insert(pid);
            }
            for file in fs::read_dir(process.path().join("fd")).into_iter().flatten().flatten() {
                let Ok(target) = fs::read_link(file.path()) else { continue };
                let name = target.to_string_lossy();
                let inode = name.strip_prefix("socket:[").and_then(|rest| rest.strip_suffix(']'));
                if let Some(inode) = inode.and_then(|inode| inode.parse().ok()) {
                    all.holders.entry(inode).or_insert(pid);
                }
            }
        }
        all
    }

    /// A socket with who holds it.
    fn held(&self, (mut record, inode): Dumped, netns: u32) -> Record {
        record.netns = netns;
        if let Some(pid) = self.holders.get(&inode) {
            record.pid = *pid;
            record.is_owned = true;
            record.command = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim_end().to_string();
        }
        record
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    use super::*;
    use crate::netlink;

    #[test]
    fn the_kernel_tells_of_our_sockets() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let mut server = listener.accept().unwrap().0;
        client.write_all(&[7; 5000]).unwrap();
        server.read_exact(&mut [0; 5000]).unwrap();
        let all = Diag::open(Scope::Own).unwrap().sockets().unwrap();
        let port = client.local_addr().unwrap().port();
        let ours = all.iter().find(|record| record.local_port == port).unwrap();
        assert_eq!((ours.counters.bytes_sent, ours.origin, ours.pid), (5000, Origin::Found, std::process::id()));
        let theirs = all.iter().find(|record| record.remote_port == port).unwrap();
        assert_eq!((theirs.counters.bytes_received, theirs.local.to_string()), (5000, "::ffff:127.0.0.1".to_string()));
        assert!(ours.cookie != 0 && ours.cookie != theirs.cookie && ours.active <= monotonic_nanos());
        let listening =
            all.iter().find(|record| record.origin == Origin::Listening && record.pid == std::process::id());
        assert!(listening.is_some_and(|record| record.netns != 0));
    }

    /// Whatever comes, it is read without a panic and to an end.
    #[test]
    fn nonsense_is_read_to_its_end() {
        for bytes in netlink::nonsense::all(SOCK_DIAG_BY_FAMILY) {
            let _ = netlink::messages(&bytes, |_, content| drop(socket(content, 1)));
        }
    }
}
