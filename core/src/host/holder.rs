//! Who holds an address that is to be listened on, as far as `/proc` tells.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

/// Processes that are looked at, and open files of each.
const PROCESSES_MAX: usize = 65_536;
const FILES_MAX: usize = 65_536;
/// The state of a TCP socket that listens, in `/proc/net/tcp`.
const LISTEN: &str = "0A";

/// Where something is to be listened on.
#[derive(Clone, Copy, Debug)]
pub enum Place<'a> {
    Udp(SocketAddr),
    Tcp(SocketAddr),
    Unix(&'a Path),
}

/// Why nothing can be listened on there, in words, with who holds it.
pub fn reason(place: Place, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => match holder(place) {
            Some(by) => format!("it is in use, by {by}"),
            None => "it is in use".to_string(),
        },
        io::ErrorKind::AddrNotAvailable => "this host has no such address".to_string(),
        io::ErrorKind::PermissionDenied => "this user may not".to_string(),
        io::ErrorKind::NotFound => "its directory does not exist".to_string(),
        _ => error.to_string(),
    }
}

/// The process that holds it: `netdata (pid 412)`.
pub fn holder(place: Place) -> Option<String> {
    let inodes = match place {
        Place::Udp(address) => inet("udp", address),
        Place::Tcp(address) => inet("tcp", address),
        Place::Unix(path) => unix(path),
    };
    let processes = std::fs::read_dir("/proc").ok()?;
    for process in processes.flatten().take(PROCESSES_MAX) {
        let pid = process.file_name().to_string_lossy().into_owned();
        if pid.bytes().all(|b| b.is_ascii_digit()) && holds(&process.path(), &inodes) {
            let name = std::fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            return Some(format!("{} (pid {pid})", name.trim()));
        }
    }
    None
}

/// Inodes of the sockets that are in the way of an address. Of TCP, those that listen; where none does, it is a
/// connection that has the port.
fn inet(protocol: &str, address: SocketAddr) -> Vec<String> {
    let tables = ["", "6"].map(|version| format!("/proc/net/{protocol}{version}"));
    let lines: Vec<String> = tables.iter().flat_map(|table| lines(table)).collect();
    let bound = || lines.iter().filter_map(|line| Bound::read(line)).filter(|bound| bound.is_in_the_way(address));
    let listening: Vec<String> =
        bound().filter(|bound| bound.state == LISTEN).map(|bound| bound.inode.into()).collect();
    if !listening.is_empty() {
        return listening;
    }
    bound().map(|bound| bound.inode.into()).collect()
}

/// The lines of a table of the kernel, without its head.
fn lines(table: &str) -> Vec<String> {
    std::fs::read_to_string(table).unwrap_or_default().lines().skip(1).map(str::to_string).collect()
}

/// A line of `/proc/net/udp`, `tcp` and theirs of IPv6.
#[derive(Debug, PartialEq)]
struct Bound<'a> {
    address: SocketAddr,
    state: &'a str,
    inode: &'a str,
}

impl<'a> Bound<'a> {
    fn read(line: &'a str) -> Option<Bound<'a>> {
        let mut fields = line.split_ascii_whitespace();
        let (ip, port) = fields.nth(1)?.split_once(':')?;
        let address = SocketAddr::new(self::ip(ip)?, u16::from_str_radix(port, 16).ok()?);
        let state = fields.nth(1)?;
        // One that nobody holds any more has none.
        let inode = fields.nth(5).filter(|inode| *inode != "0")?;
        Some(Bound { address, state, inode })
    }

    fn is_in_the_way(&self, of: SocketAddr) -> bool {
        let (here, there) = (self.address.ip(), of.ip().to_canonical());
        self.address.port() == of.port() && (here == there || here.is_unspecified() || there.is_unspecified())
    }
}

/// An address as words of 32 bits, each in this host's order of what the network sends.
fn ip(hex: &str) -> Option<IpAddr> {
    let word = |at: usize| Some(u32::from_str_radix(hex.get(at * 8..at * 8 + 8)?, 16).ok()?.to_ne_bytes());
    match hex.len() {
        8 => Some(Ipv4Addr::from(word(0)?).into()),
        32 => {
            let words = [word(0)?, word(1)?, word(2)?, word(3)?];
            Some(Ipv6Addr::from(words.as_flattened().first_chunk::<16>().copied()?).to_canonical())
        }
        _ => None,
    }
}

/// Inodes of the sockets bound to a path.
fn unix(path: &Path) -> Vec<String> {
    let of = |line: String| {
        let mut fields = line.split_ascii_whitespace();
        let inode = fields.nth(6)?.to_string();
        // The rest of the line, which may have blanks.
        let at = line.find('/')?;
        (Path::new(&line[at..]) == path).then_some(inode)
    };
    lines("/proc/net/unix").into_iter().filter_map(of).collect()
}

fn holds(process: &Path, inodes: &[String]) -> bool {
    let Ok(files) = std::fs::read_dir(process.join("fd")) else { return false };
    files.flatten().take(FILES_MAX).any(|file| {
        let Ok(target) = std::fs::read_link(file.path()) else { return false };
        let target = target.to_string_lossy();
        inodes.iter().any(|inode| target.strip_prefix("socket:[").and_then(|t| t.strip_suffix(']')) == Some(inode))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_endian = "little")]
    fn lines_of_the_kernel_are_read() {
        let v4 = "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0";
        let bound = Bound::read(v4).unwrap();
        assert_eq!(bound, Bound { address: "127.0.0.1:8080".parse().unwrap(), state: "0A", inode: "4711" });
        let in_the_way = |of: &str| bound.is_in_the_way(of.parse().unwrap());
        let of = ["127.0.0.1:8080", "0.0.0.0:8080", "[::]:8080", "127.0.0.2:8080", "127.0.0.1:8081"];
        assert_eq!(of.map(in_the_way), [true, true, true, false, false]);
        let v6 =
            " 1: 00000000000000000000000001000000:0050 00000000000000000000000000000000:0000 07 0:0 0:0 0 0 0 12 2";
        assert_eq!(Bound::read(v6).map(|bound| bound.address), Some("[::1]:80".parse().unwrap()));
        assert_eq!(Bound::read(&v4.replace("4711", "0")), None);
        assert_eq!(Bound::read(""), None);
    }

    /// This process holds what it has just bound.
    #[test]
    fn who_listens_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a socket");
        let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let udp = std::net::UdpSocket::bind("[::1]:0").unwrap();
        let _unix = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let me = format!("(pid {})", std::process::id());
        for place in [Place::Tcp(tcp.local_addr().unwrap()), Place::Udp(udp.local_addr().unwrap()), Place::Unix(&path)]
        {
            assert!(holder(place).is_some_and(|who| who.ends_with(&me)), "{place:?}");
        }
        assert_eq!(holder(Place::Unix(Path::new("/nobody/here"))), None);
        let error = std::net::TcpListener::bind(tcp.local_addr().unwrap()).unwrap_err();
        let why = reason(Place::Tcp(tcp.local_addr().unwrap()), &error);
        assert!(why.starts_with("it is in use, by ") && why.ends_with(&me), "{why}");
    }
}
