//! Files of sockets that are deleted under us. Clients that come then find new ones; the old socket is kept for who is
//! connected to it, and for containers that have the file itself mounted.

use std::io;
use std::path::{Path, PathBuf};

use tokio::net::UnixListener;
use weir_core::SourceCx;

use super::Listening;
use super::bind::{bind_datagrams, bind_stream};
use super::reader::Reader;
use super::socket::Socket;
use crate::net::datagrams;

/// Sockets without a file that are kept of each path. With one more, who sends to the oldest is refused: clients then
/// connect anew, to the file that is there. They are not in the plan's memory, which bears a fifth more.
const ORPHANS_MAX: usize = 1;

/// A file that could not be bound again yet.
pub struct Unbound {
    path: PathBuf,
    is_stream: bool,
    /// Whether a user was told.
    is_told: bool,
}

impl Listening {
    /// Binds anew what is gone, and lets go of what is too old.
    pub fn look_after_files(&mut self, cx: &mut SourceCx) {
        for socket in self.sockets.values_mut().filter(|socket| socket.is_gone()) {
            if let Socket::Unixgram { path, file, .. } | Socket::Listener { path, file, .. } = socket {
                // What is there now is somebody else's.
                *file = None;
                let path = path.clone();
                let is_stream = socket.is_listener();
                self.unbound.push(Unbound { path, is_stream, is_told: false });
            }
        }
        self.bind_again(cx);
        self.retire_orphans();
        self.hand_over(cx);
    }

    /// Where the path of a socket that is closing is, waits: deleted faster than they are read, they would add up.
    fn bind_again(&mut self, cx: &mut SourceCx) {
        for unbound in std::mem::take(&mut self.unbound) {
            let Unbound { path, is_stream, is_told } = unbound;
            if self.sockets.values().any(|socket| socket.is_closing() && socket.path() == Some(&path)) {
                self.unbound.push(Unbound { path, is_stream, is_told });
                continue;
            }
            match self.bound_again(&path, is_stream) {
                Ok(socket) => {
                    cx.note("rebound", 1);
                    self.add(socket);
                }
                Err(error) => {
                    cx.note("rebind_errors", 1);
                    if !is_told {
                        let shown = path.display();
                        cx.warn(format!(
                            "`{shown}` is not ours any more, and clients that come now do not reach us: {error}"
                        ));
                    }
                    self.unbound.push(Unbound { path, is_stream, is_told: true });
                }
            }
        }
    }

    fn bound_again(&self, path: &Path, is_stream: bool) -> io::Result<Socket> {
        if is_stream {
            let (socket, file) = bind_stream(path)?;
            return Ok(Socket::listener(UnixListener::from_std(socket)?, file));
        }
        let (socket, file) = bind_datagrams(path)?;
        datagrams::set_receive_buffer(&socket, self.setup.receive_buffer_bytes)?;
        Ok(Socket::datagrams(Reader::start(socket, self.setup.message_bytes_max)?, file))
    }

    /// Closes the oldest sockets without a file, where there is a newer one to go to.
    fn retire_orphans(&mut self) {
        let mut orphans: Vec<(PathBuf, usize)> = Vec::new();
        for (at, socket) in self.sockets.iter().filter(|(_, socket)| socket.is_orphan()) {
            let Some(path) = socket.path() else { continue };
            if self.unbound.iter().all(|unbound| unbound.path != path) {
                orphans.push((path.to_path_buf(), *at));
            }
        }
        orphans.sort_unstable();
        for of_path in orphans.chunk_by(|(a, _), (b, _)| a == b) {
            for (_, at) in &of_path[..of_path.len().saturating_sub(ORPHANS_MAX)] {
                if let Some(socket) = self.sockets.get_mut(at) {
                    socket.close();
                }
            }
        }
    }

    /// Takes in who waits at listeners that are closed; their connections count at the newest one of their path.
    fn hand_over(&mut self, cx: &mut SourceCx) {
        let is_closed = |socket: &Socket| matches!(socket, Socket::Listener { is_closed: true, .. });
        let closed: Vec<usize> =
            self.sockets.iter().filter(|(_, socket)| is_closed(socket)).map(|(at, _)| *at).collect();
        for old in closed {
            // Without descriptors for all of them there may be some later.
            if !self.accept_waiting(old, cx) {
                continue;
            }
            let Some(Socket::Listener { path, connections: taken_over, .. }) = self.sockets.remove(&old) else {
                continue;
            };
            let is_heir = |socket: &Socket| matches!(socket, Socket::Listener { path: other, .. } if *other == path);
            let heir = self.sockets.iter().filter(|(_, socket)| is_heir(socket)).map(|(at, _)| *at).max();
            let Some(heir) = heir else { continue };
            for socket in self.sockets.values_mut() {
                match socket {
                    Socket::Connection(connection) if connection.listener == old => connection.listener = heir,
                    _ => {}
                }
            }
            if let Some(Socket::Listener { connections, .. }) = self.sockets.get_mut(&heir) {
                *connections += taken_over;
            }
        }
    }
}
