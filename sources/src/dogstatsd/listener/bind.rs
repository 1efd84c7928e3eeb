//! Binding: every address before anything starts, with what is in the way said in words.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use weir_core::Fault;
use weir_core::host::holder::{self, Place};
use weir_spec::units;

use crate::net::address::Address;
use crate::net::datagrams::{self, Sharing};

/// As the Agent sets it: everybody may write, nobody else may read.
const SOCKET_MODE: u32 = 0o722;

#[derive(Clone, Copy, Debug)]
pub struct Setup {
    /// For each UDP address.
    pub sockets: usize,
    pub receive_buffer_bytes: usize,
    /// What the kernel gave the socket with the smallest one.
    pub granted_bytes: usize,
    pub message_bytes_max: usize,
    /// For each unix stream.
    pub connections_max: usize,
}

/// A socket's file: taken away at the end, if it is still ours.
pub struct SocketFile {
    pub path: PathBuf,
    device: u64,
    inode: u64,
}

impl SocketFile {
    /// What stands at a path that we have just bound.
    fn of(path: &Path) -> io::Result<SocketFile> {
        let meta = std::fs::symlink_metadata(path)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(SOCKET_MODE))?;
        Ok(SocketFile { path: path.to_path_buf(), device: meta.dev(), inode: meta.ino() })
    }

    fn is_ours(&self) -> bool {
        self.found().is_ok_and(|is_ours| is_ours)
    }

    /// Whether nothing is there any more, or something that is not ours.
    pub fn is_gone(&self) -> bool {
        self.found().map_or_else(|error| error.kind() == io::ErrorKind::NotFound, |is_ours| !is_ours)
    }

    /// Whether what is at the path is ours.
    fn found(&self) -> io::Result<bool> {
        let meta = std::fs::symlink_metadata(&self.path)?;
        Ok((meta.dev(), meta.ino()) == (self.device, self.inode))
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.is_ours() {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

pub enum Bound {
    Udp(Vec<std::net::UdpSocket>, SocketAddr),
    Unixgram(UnixDatagram, SocketFile),
    Unixstream(UnixListener, SocketFile),
}

/// Sockets that are bound and not yet read.
pub struct Listeners {
    pub bound: Vec<Bound>,
    pub setup: Setup,
    /// What a user should know of them.
    pub warnings: Vec<String>,
}

impl Listeners {
    /// Binds every address, or none; the fault says what is in the way.
    pub fn bind(addresses: &[Address], setup: Setup) -> Result<Listeners, Fault> {
        let mut listeners = Listeners { bound: Vec::new(), setup, warnings: Vec::new() };
        for address in addresses {
            let bound = match address {
                Address::Udp(socket) => listeners.udp(*socket, addresses)?,
                Address::Unixgram(path) => {
                    make_way(path, address)?;
                    let (socket, file) = bind_datagrams(path).map_err(|error| fault(address, &error))?;
                    listeners.buffer(&socket, address);
                    Bound::Unixgram(socket, file)
                }
                Address::Unixstream(path) => {
                    make_way(path, address)?;
                    let (socket, file) = bind_stream(path).map_err(|error| fault(address, &error))?;
                    Bound::Unixstream(socket, file)
                }
            };
            listeners.bound.push(bound);
        }
        Ok(listeners)
    }

    fn udp(&mut self, address: SocketAddr, all: &[Address]) -> Result<Bound, Fault> {
        let shown = Address::Udp(address);
        // `[::]` is for IPv4 as well, unless somebody else has that.
        let has_v4 = |other: &Address| matches!(other, Address::Udp(v4) if v4.is_ipv4() && v4.port() == address.port());
        let sharing = Sharing { reuse_port: self.setup.sockets > 1, only_v6: all.iter().any(has_v4) };
        let mut sockets = Vec::new();
        let mut address = address;
        for _ in 0..self.setup.sockets {
            let socket = datagrams::udp(address, sharing).map_err(|error| fault(&shown, &error))?;
            socket.set_nonblocking(true).map_err(|error| fault(&shown, &error))?;
            // The first one of port 0 finds the port for all.
            address = socket.local_addr().map_err(|error| fault(&shown, &error))?;
            self.buffer(&socket, &shown);
            sockets.push(socket);
        }
        Ok(Bound::Udp(sockets, address))
    }

    /// Sets the receive buffer and says where the kernel grants less.
    fn buffer(&mut self, socket: &impl AsRawFd, address: &Address) {
        let wanted = self.setup.receive_buffer_bytes;
        let granted = datagrams::set_receive_buffer(socket, wanted).unwrap_or(0);
        self.setup.granted_bytes = self.setup.granted_bytes.min(granted);
        // The kernel counts its own overhead in, and doubles what is asked for to make room for it.
        if granted < wanted.saturating_mul(2) {
            let (got, asked) = (units::size(granted as i64 / 2), units::size(wanted as i64));
            self.warnings.push(format!(
                "`{address}` has a receive buffer of {got}, not of the {asked} asked for: bursts may be dropped; \
                 `sysctl -w net.core.rmem_max={wanted}` allows it"
            ));
        }
    }

    /// The port of the first UDP address.
    pub fn udp_port(&self) -> Option<u16> {
        self.bound.iter().find_map(|bound| match bound {
            Bound::Udp(_, address) => Some(address.port()),
            _ => None,
        })
    }
}

fn fault(address: &Address, error: &io::Error) -> Fault {
    let place = match address {
        Address::Udp(socket) => Place::Udp(*socket),
        Address::Unixgram(path) | Address::Unixstream(path) => Place::Unix(path),
    };
    holder::fault(place, &format!("`{address}`"), error, "`listen:`")
}

/// Takes away a socket's file that nobody listens on any more; what is no socket stays, and is in the way.
fn make_way(path: &Path, address: &Address) -> Result<(), Fault> {
    let Ok(meta) = std::fs::symlink_metadata(path) else { return Ok(()) };
    if !meta.file_type().is_socket() {
        let fault = Fault::environment(format!("cannot listen on `{address}`: a file that is no socket is there"));
        return Err(fault.help("move it away, or write another path in `listen:`"));
    }
    if is_listened_on(path) {
        return Err(fault(address, &io::ErrorKind::AddrInUse.into()));
    }
    std::fs::remove_file(path).map_err(|error| fault(address, &error))
}

/// A datagram socket at a path, whose messages say who sent them.
pub fn bind_datagrams(path: &Path) -> io::Result<(UnixDatagram, SocketFile)> {
    make_directory(path);
    let socket = UnixDatagram::bind(path)?;
    let file = SocketFile::of(path)?;
    socket.set_nonblocking(true)?;
    datagrams::pass_credentials(&socket)?;
    Ok((socket, file))
}

/// A socket for connections at a path.
pub fn bind_stream(path: &Path) -> io::Result<(UnixListener, SocketFile)> {
    make_directory(path);
    let socket = UnixListener::bind(path)?;
    let file = SocketFile::of(path)?;
    socket.set_nonblocking(true)?;
    Ok((socket, file))
}

/// The Agent's package makes its directory, weir has none that would.
fn make_directory(path: &Path) {
    if let Some(directory) = path.parent().filter(|directory| !directory.exists()) {
        let _ = std::fs::create_dir(directory);
    }
}

/// Whether somebody still has the socket of that file open.
fn is_listened_on(path: &Path) -> bool {
    let datagram = UnixDatagram::unbound().and_then(|socket| socket.connect(path));
    match datagram {
        Ok(()) => true,
        // A socket of another type: somebody may listen there.
        Err(error) if error.raw_os_error() == Some(libc::EPROTOTYPE) => UnixStream::connect(path).is_ok(),
        Err(_) => false,
    }
}
