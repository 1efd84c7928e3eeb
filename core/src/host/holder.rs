//! Who holds an address that is to be listened on, as far as `/proc` tells.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use crate::Fault;

/// Processes that are looked at, and open files of each.
const PROCESSES_MAX: usize = 65_536;
const FILES_MAX: usize = 65_536;
/// Sockets of which it is asked who holds them.
const SOCKETS_MAX: usize = 4;
/// The state of a TCP socket that listens, in `/proc/net/tcp`.
const LISTEN: &str = "0A";

/// Where something is to be listened on.
#[derive(Clone, Copy, Debug)]
pub enum Place<'a> {
    Udp(SocketAddr),
    Tcp(SocketAddr),
    Unix(&'a Path),
}

/// Why nothing can be listened on there, and what to do about it; `option` is where the address is written.
/// `shown` is the address as a user knows it.
pub fn fault(place: Place, shown: &str, error: &io::Error, option: &str) -> Fault {
    let (why, help) = match error.kind() {
        io::ErrorKind::AddrInUse => in_use(place, option),
        io::ErrorKind::AddrNotAvailable => {
            ("this host has no such address".to_string(), Some(format!("write one of its own in {option}")))
        }
        io::ErrorKind::PermissionDenied => ("this user may not".to_string(), may(place)),
        io::ErrorKind::NotFound => ("its directory does not exist".to_string(), directory(place)),
        _ => (error.to_string(), Some(format!("write another address in {option}"))),
    };
    let fault = Fault::environment(format!("cannot listen on {shown}: {why}"));
    Fault { help, ..fault }
}

fn in_use(place: Place, option: &str) -> (String, Option<String>) {
    let another = format!("write another address in {option}");
    match holder(place) {
        Some(Holder { pid, .. }) if pid == std::process::id() => {
            ("another part of this pipeline listens there".to_string(), Some(another))
        }
        Some(holder) => (format!("it is in use, by {holder}"), Some(format!("stop who holds it, or {another}"))),
        None => ("it is in use".to_string(), Some(format!("stop who holds it, or {another}"))),
    }
}

fn may(place: Place) -> Option<String> {
    match place {
        Place::Udp(_) | Place::Tcp(_) => Some("ports below 1024 need the right CAP_NET_BIND_SERVICE".into()),
        Place::Unix(path) => Some(format!("let it write to `{}`", path.parent().unwrap_or(path).display())),
    }
}

fn directory(place: Place) -> Option<String> {
    match place {
        Place::Udp(_) | Place::Tcp(_) => None,
        Place::Unix(path) => Some(format!("create it: `mkdir -p {}`", path.parent().unwrap_or(path).display())),
    }
}

/// A process.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Holder {
    pub pid: u32,
    pub name: String,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (pid {})", self.name, self.pid)
    }
}

/// The process that holds it, where that may be known.
pub fn holder(place: Place) -> Option<Holder> {
    let inodes = match place {
        Place::Udp(address) => inet("udp", address),
        Place::Tcp(address) => inet("tcp", address),
        Place::Unix(path) => unix(path),
    };
    inodes.iter().find_map(|inode| holder_of(inode))
}

fn holder_of(inode: &str) -> Option<Holder> {
    let socket = format!("socket:[{inode}]");
    for process in std::fs::read_dir("/proc").ok()?.flatten().take(PROCESSES_MAX) {
        let Ok(pid) = process.file_name().to_string_lossy().parse() else { continue };
        if holds(&process.path(), &socket) {
            let name = std::fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            return Some(Holder { pid, name: name.trim().to_string() });
        }
    }
    None
}

/// Inodes of the sockets that are in the way of an address, those that are most so first.
fn inet(protocol: &str, address: SocketAddr) -> Vec<String> {
    let tables = ["", "6"].map(|version| lines(&format!("/proc/net/{protocol}{version}")));
    let lines = tables.iter().zip([false, true]).flat_map(|(lines, is_v6)| lines.iter().map(move |line| (line, is_v6)));
    let mut bound: Vec<Bound> = lines
        .filter_map(|(line, is_v6)| Bound::read(line, is_v6))
        .filter(|bound| bound.is_in_the_way(address))
        .collect();
    // Of TCP, those that listen; where none does, it is a connection that has the port.
    bound.sort_by_key(|bound| (bound.state != LISTEN, bound.address.ip() != address.ip()));
    bound.truncate(SOCKETS_MAX);
    bound.into_iter().map(|bound| bound.inode.to_string()).collect()
}

/// The lines of a table of the kernel, without its head.
fn lines(table: &str) -> Vec<String> {
    // Names of unix sockets may be any bytes.
    let bytes = std::fs::read(table).unwrap_or_default();
    String::from_utf8_lossy(&bytes).lines().skip(1).map(str::to_string).collect()
}

/// A line of `/proc/net/udp`, `tcp` and theirs of IPv6.
#[derive(Debug, PartialEq)]
struct Bound<'a> {
    /// As it was bound: an address of IPv4 at a socket of IPv6 is one of IPv6.
    address: SocketAddr,
    state: &'a str,
    inode: &'a str,
}

impl<'a> Bound<'a> {
    fn read(line: &'a str, is_v6: bool) -> Option<Bound<'a>> {
        let mut fields = line.split_ascii_whitespace();
        let (ip, port) = fields.nth(1)?.split_once(':')?;
        let ip = if is_v6 { v6(ip)?.into() } else { v4(ip)?.into() };
        let state = fields.nth(1)?;
        // One that nobody holds any more has none.
        let inode = fields.nth(5).filter(|inode| *inode != "0")?;
        Some(Bound { address: SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?), state, inode })
    }

    /// Whether nobody else can have an address. Sockets of IPv6 are taken to be of IPv4, too, where they are for
    /// any address: the kernel does not tell here.
    fn is_in_the_way(&self, of: SocketAddr) -> bool {
        let covers = |any: IpAddr, one: IpAddr| match any {
            IpAddr::V6(any) if any.is_unspecified() => true,
            IpAddr::V4(any) if any.is_unspecified() => one.to_canonical().is_ipv4(),
            any => any.to_canonical() == one.to_canonical(),
        };
        let (here, there) = (self.address.ip(), of.ip());
        self.address.port() == of.port() && (covers(here, there) || covers(there, here))
    }
}

/// 32 bits in this host's order of what the network sends.
fn word(hex: &str) -> Option<[u8; 4]> {
    Some(u32::from_str_radix(hex, 16).ok()?.to_ne_bytes())
}

fn v4(hex: &str) -> Option<Ipv4Addr> {
    (hex.len() == 8).then(|| word(hex))?.map(Ipv4Addr::from)
}

/// Four words.
fn v6(hex: &str) -> Option<Ipv6Addr> {
    let words = [hex.get(..8)?, hex.get(8..16)?, hex.get(16..24)?, hex.get(24..)?].map(word);
    let [Some(a), Some(b), Some(c), Some(d)] = words else { return None };
    [a, b, c, d].as_flattened().first_chunk::<16>().map(|bytes| Ipv6Addr::from(*bytes))
}

/// Inodes of the sockets bound to a path. Where a file was taken away and made anew, the last one has it.
fn unix(path: &Path) -> Vec<String> {
    let here = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
    let of = |line: &String| {
        let mut fields = line.split_ascii_whitespace();
        let inode: u64 = fields.nth(6)?.parse().ok()?;
        // The rest of the line, which may have blanks.
        let (_, bound) = line.split_once(&format!(" {inode} "))?;
        let bound = Path::new(bound);
        let is_here = bound.file_name() == path.file_name() && bound.canonicalize().is_ok_and(|bound| bound == here);
        is_here.then_some(inode)
    };
    let mut inodes: Vec<u64> = lines("/proc/net/unix").iter().filter_map(of).collect();
    inodes.sort_unstable_by(|a, b| b.cmp(a));
    inodes.truncate(SOCKETS_MAX);
    inodes.iter().map(u64::to_string).collect()
}

fn holds(process: &Path, socket: &str) -> bool {
    let Ok(files) = std::fs::read_dir(process.join("fd")) else { return false };
    let is_it = |file: std::fs::DirEntry| std::fs::read_link(file.path()).is_ok_and(|to| to == Path::new(socket));
    files.flatten().take(FILES_MAX).any(is_it)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_endian = "little")]
    fn lines_of_the_kernel_are_read() {
        let v4 = "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0";
        let bound = Bound::read(v4, false).unwrap();
        assert_eq!(bound, Bound { address: "127.0.0.1:8080".parse().unwrap(), state: "0A", inode: "4711" });
        let in_the_way = |of: &str| bound.is_in_the_way(of.parse().unwrap());
        let of = ["127.0.0.1:8080", "0.0.0.0:8080", "[::]:8080", "127.0.0.2:8080", "127.0.0.1:8081", "[::1]:8080"];
        assert_eq!(of.map(in_the_way), [true, true, true, false, false, false]);
        let any = v4.replace("0100007F", "00000000");
        let any = Bound::read(&any, false).unwrap();
        assert_eq!(["127.0.0.1:8080", "[::1]:8080"].map(|of| any.is_in_the_way(of.parse().unwrap())), [true, false]);
        let v6 =
            " 1: 00000000000000000000000001000000:0050 00000000000000000000000000000000:0000 07 0:0 0:0 0 0 0 12 2";
        let v6 = Bound::read(v6, true).unwrap();
        assert_eq!(v6.address, "[::1]:80".parse().unwrap());
        assert_eq!(["[::]:80", "0.0.0.0:80"].map(|of| v6.is_in_the_way(of.parse().unwrap())), [true, false]);
        assert_eq!(Bound::read(&v4.replace("4711", "0"), false), None);
        assert_eq!(Bound::read("", false), None);
    }

    /// This process holds what it has just bound.
    #[test]
    fn who_listens_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a socket");
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(dir.path(), &link).unwrap();
        let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let _unix = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let (tcp, udp) = (tcp.local_addr().unwrap(), udp.local_addr().unwrap());
        let through_a_link = link.join("a socket");
        for place in [Place::Tcp(tcp), Place::Udp(udp), Place::Unix(&path), Place::Unix(&through_a_link)] {
            assert_eq!(holder(place).map(|who| who.pid), Some(std::process::id()), "{place:?}");
        }
        assert_eq!(holder(Place::Unix(Path::new("/nobody/here"))), None);
    }

    #[test]
    fn what_is_in_the_way_is_said_with_a_way_out() {
        let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let place = Place::Tcp(tcp.local_addr().unwrap());
        let say = |kind: io::ErrorKind| {
            let Fault { message, help, .. } = fault(place, "`x`", &kind.into(), "`listen:`");
            (message, help.unwrap_or_default())
        };
        let ours =
            ("cannot listen on `x`: another part of this pipeline listens there", "write another address in `listen:`");
        assert_eq!(say(io::ErrorKind::AddrInUse), (ours.0.into(), ours.1.into()));
        let none = ("cannot listen on `x`: this host has no such address", "write one of its own in `listen:`");
        assert_eq!(say(io::ErrorKind::AddrNotAvailable), (none.0.into(), none.1.into()));
        let may = ("cannot listen on `x`: this user may not", "ports below 1024 need the right CAP_NET_BIND_SERVICE");
        assert_eq!(say(io::ErrorKind::PermissionDenied), (may.0.into(), may.1.into()));
    }
}
