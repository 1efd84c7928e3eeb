//! The sockets of one source: bound before start ([`bind`]), read by one task, a batch of datagrams at a time.

mod bind;
mod connection;
mod files;
mod reader;
mod socket;

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::UdpSocket;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixListener as StdUnixListener;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::net;
use weir_core::{Fault, SourceCx};

use super::about::Sender;
use super::decode::Payload;
use super::frames::{self, Frames};
use super::origin::Origins;
use crate::net::datagrams::{Datagram, Datagrams};
use bind::Bound;
pub use bind::{Listeners, Setup};
use connection::Connection;
use files::Unbound;
pub use reader::held_bytes;
use reader::{Reader, Received, Sent};
use socket::Socket;

/// Datagrams taken from a UDP socket with one call.
pub const DATAGRAMS_MAX: usize = 64;
/// How long a socket that was read empty is left alone: what comes meanwhile is read with one call.
const PACE: Duration = Duration::from_millis(20);
/// The same where that much would fill a good part of its buffer.
const PACE_SHORT: Duration = Duration::from_millis(1);
/// What a small datagram takes of a receive buffer, with the kernel's overhead; a large one takes up to twice
/// its length.
const DATAGRAM_BYTES: usize = 2304;
/// Of a buffer, what may fill up in one pause: one part in this many.
const PAUSE_PART: usize = 8;
/// Sockets of which each may say that what was read need not wait for more.
const RESTING_MAX: usize = 4;
/// Calls for one socket before the others have their turn.
const CALLS_MAX: usize = 16;
/// How long nobody is let in after a connection could not be.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long a connection may stand still inside a frame.
const STALL_MAX: Duration = Duration::from_secs(30);

impl Listeners {
    /// Begins to listen; needs the runtime.
    pub fn listen(self) -> Result<Listening, Fault> {
        let unregistered = |error: io::Error| Fault::environment(format!("cannot watch a socket: {error}"));
        let mut listening = Listening {
            buffers: Datagrams::new(DATAGRAMS_MAX, self.setup.message_bytes_max),
            scratch: vec![0; self.setup.message_bytes_max + frames::HEAD_BYTES],
            setup: self.setup,
            sockets: HashMap::new(),
            next: 0,
            waiting: FuturesUnordered::new(),
            origins: Origins::default(),
            warnings: self.warnings,
            rest: None,
            is_ending: false,
            drained: 0,
            unbound: Vec::new(),
        };
        for bound in self.bound {
            match bound {
                Bound::Udp(sockets, _) => {
                    for socket in sockets {
                        listening.add(Socket::Udp { socket: Arc::new(socket), dropped: 0 });
                    }
                }
                Bound::Unixgram(socket, file) => {
                    let unread = |error| Fault::environment(format!("cannot read `{}`: {error}", file.path.display()));
                    let reader = Reader::start(socket, listening.setup.message_bytes_max).map_err(unread)?;
                    listening.add(Socket::datagrams(reader, file));
                }
                Bound::Unixstream(socket, file) => {
                    let socket = net::UnixListener::from_std(socket).map_err(unregistered)?;
                    listening.add(Socket::listener(socket, file));
                }
            }
        }
        Ok(listening)
    }
}

/// Waits until there is something.
async fn readable(socket: &UdpSocket) {
    match socket.try_clone().and_then(net::UdpSocket::from_std) {
        Ok(watched) => drop(watched.readable().await),
        // It cannot be watched now.
        Err(_) => tokio::time::sleep(PACE).await,
    }
}

/// What happened to a socket.
pub struct Woken {
    socket: usize,
    what: What,
}

enum What {
    Readable,
    /// By its thread; nothing once that has ended.
    Received(Option<Received>),
    /// There was no room to give all that was received.
    Rest,
    Accepted(io::Result<net::UnixStream>),
    /// A connection stands still inside a frame.
    Stalled,
}

/// When a socket is looked at again.
#[derive(Clone, Copy)]
pub enum Next {
    /// When there is something.
    Readable,
    /// After so long, whatever there is.
    After(Duration),
}

impl Next {
    /// At once, when others have had their turn.
    const SOON: Next = Next::After(Duration::ZERO);
}

type Waiting = Pin<Box<dyn Future<Output = Woken> + Send>>;

/// Sockets that are read.
pub struct Listening {
    buffers: Datagrams,
    scratch: Vec<u8>,
    setup: Setup,
    sockets: HashMap<usize, Socket>,
    next: usize,
    waiting: FuturesUnordered<Waiting>,
    origins: Origins,
    warnings: Vec<String>,
    rest: Option<Rest>,
    /// Whether nothing is waited for any more.
    is_ending: bool,
    /// How often what is left was read since then.
    drained: usize,
    unbound: Vec<Unbound>,
}

/// Datagrams that were received and not yet given.
struct Rest {
    socket: usize,
    /// Which is the first.
    from: usize,
    /// By a thread; without one they are in the buffers of all.
    received: Option<Received>,
}

/// Takes a payload; `false` when there is no room for another round.
pub type Take<'a> = dyn FnMut(&Payload) -> bool + Send + 'a;

impl Listening {
    fn add(&mut self, socket: Socket) {
        let at = self.next;
        self.next += 1;
        self.sockets.insert(at, socket);
        self.wait(at, Next::Readable);
    }

    /// Waits for a socket again.
    fn wait(&mut self, at: usize, next: Next) {
        let Some(socket) = self.sockets.get(&at) else { return };
        let pause = async move {
            match next {
                Next::After(pause) if !pause.is_zero() => tokio::time::sleep(pause).await,
                _ => {}
            }
        };
        // A descriptor that cannot be waited for any more says so when it is read.
        let readable = Woken { socket: at, what: What::Readable };
        self.waiting.push(match socket {
            Socket::Udp { socket, .. } => {
                let socket = socket.clone();
                Box::pin(async move {
                    match next {
                        Next::Readable => self::readable(&socket).await,
                        Next::After(_) => pause.await,
                    }
                    readable
                })
            }
            // Its thread knows when.
            Socket::Unixgram { reader, .. } => {
                let handover = reader.handover.clone();
                Box::pin(async move {
                    let received = handover.lock().await.recv().await;
                    Woken { socket: at, what: What::Received(received) }
                })
            }
            Socket::Listener { socket, closing, .. } => {
                let (socket, closing) = (socket.clone(), closing.clone());
                Box::pin(async move {
                    pause.await;
                    tokio::select! {
                        // First: a listener that is shut has `accept` try for ever.
                        biased;
                        () = closing.notified() => readable,
                        accepted = socket.accept() => {
                            Woken { socket: at, what: What::Accepted(accepted.map(|(stream, _)| stream)) }
                        }
                    }
                })
            }
            Socket::Connection(Connection { stream, frames, .. }) => {
                let (stream, is_inside) = (stream.clone(), frames.is_inside());
                Box::pin(async move {
                    pause.await;
                    if !is_inside {
                        let _ = stream.readable().await;
                        return readable;
                    }
                    match tokio::time::timeout(STALL_MAX, stream.readable()).await {
                        Err(_) => Woken { socket: at, what: What::Stalled },
                        Ok(_) => readable,
                    }
                })
            }
        });
    }

    /// The next socket with something to read. Safe to drop.
    pub async fn woken(&mut self) -> Woken {
        if let Some(Rest { socket, .. }) = self.rest {
            return Woken { socket, what: What::Rest };
        }
        match self.waiting.next().await {
            Some(woken) => woken,
            // Every socket waits or is just being read, so only without sockets nobody does.
            None => std::future::pending().await,
        }
    }

    /// Reads a socket as far as `take` wants, and waits for it again; says how long it is left alone.
    pub fn take(&mut self, woken: Woken, cx: &mut SourceCx, take: &mut Take) -> Duration {
        let at = woken.socket;
        let next = match (woken.what, self.sockets.get(&at)) {
            (What::Accepted(accepted), _) => Some(self.accepted(at, accepted, cx)),
            (What::Stalled, _) => self.stalled(at, cx),
            (What::Rest, _) => {
                self.give(take);
                return Duration::ZERO;
            }
            (What::Received(None), _) => {
                self.forget(at, cx);
                return Duration::ZERO;
            }
            (What::Received(Some(received)), _) => {
                // One that is full has more behind it.
                let pause = if received.is_full() { Duration::ZERO } else { PACE };
                self.received(at, received, cx, take);
                Some(Next::After(pause))
            }
            (What::Readable, Some(Socket::Udp { .. })) => Some(self.datagrams(at, cx, take)),
            (What::Readable, Some(Socket::Connection(_))) => self.frames(at, cx, take),
            (What::Readable, _) => return Duration::ZERO,
        };
        match next {
            Some(next) => self.wait(at, next),
            None => self.close(at, cx),
        }
        match next {
            // Where there are many sockets, others have something soon.
            Some(Next::After(pause)) if self.sockets.len() <= RESTING_MAX => pause,
            _ => Duration::ZERO,
        }
    }

    /// Gives what a UDP socket has.
    fn datagrams(&mut self, at: usize, cx: &mut SourceCx, take: &mut Take) -> Next {
        let Some(Socket::Udp { socket, .. }) = self.sockets.get(&at) else { return Next::Readable };
        let socket = socket.clone();
        let mut taken_bytes = 0;
        let calm_bytes = self.setup.granted_bytes / PAUSE_PART;
        for _ in 0..CALLS_MAX {
            let received = match self.buffers.receive(socket.as_raw_fd()) {
                Ok(n) => n,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Next::Readable,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => {
                    cx.note("receive_errors", 1);
                    return Next::After(PACE);
                }
            };
            cx.note("datagrams", received as u64);
            let filled: usize = self.buffers.lengths().map(|bytes| DATAGRAM_BYTES.max(2 * bytes)).sum();
            self.rest = Some(Rest { socket: at, from: 0, received: None });
            if !self.give(take) {
                return Next::SOON;
            }
            taken_bytes += filled;
            if received < DATAGRAMS_MAX {
                let is_calm = taken_bytes <= calm_bytes;
                return Next::After(if is_calm { PACE } else { PACE_SHORT });
            }
        }
        Next::SOON
    }

    /// Gives what a thread has received; whether there is room for more.
    fn received(&mut self, at: usize, received: Received, cx: &mut SourceCx, take: &mut Take) -> bool {
        cx.note("datagrams", received.len() as u64);
        if received.errors > 0 {
            cx.note("receive_errors", received.errors);
        }
        self.rest = Some(Rest { socket: at, from: 0, received: Some(received) });
        self.give(take)
    }

    /// Gives what was received, until there is no more room; whether there still is some.
    fn give(&mut self, take: &mut Take) -> bool {
        let Some(mut rest) = self.rest.take() else { return true };
        let has_room = match &rest.received {
            Some(received) => self.give_sent(received, &mut rest.from, rest.socket, take),
            None => self.give_datagrams(&mut rest.from, take),
        };
        let len = rest.received.as_ref().map_or(self.buffers.len(), Received::len);
        if rest.from < len {
            self.rest = Some(rest);
        } else if let (Some(received), Some(Socket::Unixgram { reader, .. })) =
            (rest.received, self.sockets.get(&rest.socket))
        {
            reader.give_back(received);
        }
        has_room
    }

    /// Of a thread.
    fn give_sent(&self, received: &Received, from: &mut usize, at: usize, take: &mut Take) -> bool {
        while let Some(Sent { bytes, is_truncated, pid, sender }) = received.get(*from) {
            *from += 1;
            let peer = || pid.map_or_else(|| self.path(at), |pid| format!("pid {pid}"));
            if !take(&Payload { bytes, is_truncated, sender, peer: &peer }) {
                return false;
            }
        }
        true
    }

    /// Of UDP.
    fn give_datagrams(&self, from: &mut usize, take: &mut Take) -> bool {
        let nobody = Sender::default();
        for datagram in self.buffers.iter().skip(*from) {
            *from += 1;
            let peer = || datagram.peer.map(|peer| peer.to_string()).unwrap_or_default();
            let Datagram { bytes, is_truncated, .. } = datagram;
            if !take(&Payload { bytes, is_truncated, sender: &nobody, peer: &peer }) {
                return false;
            }
        }
        true
    }

    /// The path of a socket's file.
    fn path(&self, at: usize) -> String {
        let path = self.sockets.get(&at).and_then(Socket::path);
        path.map(|path| path.display().to_string()).unwrap_or_default()
    }

    /// Takes a new connection in.
    fn accepted(&mut self, at: usize, accepted: io::Result<net::UnixStream>, cx: &mut SourceCx) -> Next {
        let Some(Socket::Listener { connections, .. }) = self.sockets.get_mut(&at) else { return Next::Readable };
        let Ok(stream) = accepted else {
            // Too many open files, a client that has gone: the next one may be better.
            cx.note("accept_errors", 1);
            return Next::After(ACCEPT_PAUSE);
        };
        if *connections >= self.setup.connections_max {
            cx.note("connections_refused", 1);
            return Next::Readable;
        }
        *connections += 1;
        let pid = stream.peer_cred().ok().and_then(|peer| peer.pid());
        let sender = pid.map(|pid| (*self.origins.of(pid, None)).clone()).unwrap_or_default();
        self.origins.settle();
        let connection = Connection { stream: Arc::new(stream), frames: Frames::default(), sender, listener: at };
        self.add(Socket::Connection(connection));
        Next::Readable
    }

    /// Gives the frames that are there; `None` when the connection is to be closed.
    fn frames(&mut self, at: usize, cx: &mut SourceCx, take: &mut Take) -> Option<Next> {
        let Listening { sockets, scratch, setup, is_ending, .. } = self;
        let Some(Socket::Connection(connection)) = sockets.get_mut(&at) else { return None };
        connection.frames(scratch, setup.message_bytes_max, !*is_ending, cx, take)
    }

    /// A connection that stood still inside a frame is to be closed.
    fn stalled(&mut self, at: usize, cx: &mut SourceCx) -> Option<Next> {
        if let Some(Socket::Connection(connection)) = self.sockets.get_mut(&at) {
            connection.frames = Frames::default();
            cx.reject("stalled", 1);
        }
        None
    }

    /// Ends a connection; other sockets stay.
    fn close(&mut self, at: usize, cx: &mut SourceCx) {
        if !matches!(self.sockets.get(&at), Some(Socket::Connection(_))) {
            return;
        }
        let Some(Socket::Connection(connection)) = self.sockets.remove(&at) else { return };
        if connection.frames.is_inside() {
            cx.reject("cut_off", 1);
        }
        if let Some(Socket::Listener { connections, .. }) = self.sockets.get_mut(&connection.listener) {
            *connections -= 1;
        }
    }

    /// Counts what the kernel has dropped since it was last asked, and looks after the sockets' files.
    pub fn look_after(&mut self, cx: &mut SourceCx) {
        self.warnings.drain(..).for_each(|warning| cx.warn(warning));
        self.sockets.values_mut().for_each(|socket| socket.count_dropped(cx));
        self.origins.reap();
        self.look_after_files(cx);
    }

    /// Lets go of a socket that is read to its end.
    fn forget(&mut self, at: usize, cx: &mut SourceCx) {
        if let Some(mut socket) = self.sockets.remove(&at) {
            socket.count_dropped(cx);
        }
    }

    /// Takes in who waits to be, of a listener that is shut; whether that is all.
    fn accept_waiting(&mut self, at: usize, cx: &mut SourceCx) -> bool {
        let Some(Socket::Listener { socket, .. }) = self.sockets.get(&at) else { return true };
        let Ok(listener) = socket.as_fd().try_clone_to_owned().map(StdUnixListener::from) else { return false };
        loop {
            match listener.accept() {
                Ok((stream, _)) => {
                    let stream = stream.set_nonblocking(true).and_then(|()| net::UnixStream::from_std(stream));
                    self.accepted(at, stream, cx);
                }
                Err(error) if matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted) => {
                }
                Err(error) => return error.kind() == io::ErrorKind::WouldBlock,
            }
        }
    }

    /// Takes in the connections that wait to be, and has threads read what is left. From then on the kernel
    /// is asked at once: what came just before the end, the runtime may not have heard of.
    pub fn begin_to_end(&mut self, cx: &mut SourceCx) {
        self.is_ending = true;
        // Who waits holds the handovers.
        self.waiting.clear();
        // Who sends from now on finds nobody, as behind the end.
        self.sockets.values_mut().for_each(Socket::close);
        let listeners = self.sockets.iter().filter(|(_, socket)| socket.is_listener());
        let listeners: Vec<usize> = listeners.map(|(at, _)| *at).collect();
        for at in listeners {
            self.accept_waiting(at, cx);
        }
        // Those too that have just been taken in.
        let connections = self.sockets.values_mut().filter(|socket| matches!(socket, Socket::Connection(_)));
        connections.for_each(Socket::close);
    }

    /// Reads what is still there, without waiting, as far as there is room; whether there is more.
    pub async fn drain(&mut self, cx: &mut SourceCx, take: &mut Take<'_>) -> bool {
        if !self.give(take) {
            return true;
        }
        let mut sockets: Vec<usize> = self.sockets.keys().copied().collect();
        sockets.sort_unstable();
        // Each time another one is the first, so that one that is always full takes no other's turn.
        let first = self.drained % sockets.len().max(1);
        self.drained += 1;
        sockets.rotate_left(first);
        let mut more = false;
        for at in sockets {
            if !self.drain_reader(at, cx, take).await {
                return true;
            }
            let mut rounds = 0;
            loop {
                let mut is_full = false;
                let mut took = false;
                let mut watched = |payload: &Payload| {
                    took = true;
                    is_full = !take(payload);
                    !is_full
                };
                let is_connection = matches!(self.sockets.get(&at), Some(Socket::Connection(_)));
                if is_connection && self.frames(at, cx, &mut watched).is_none() {
                    self.close(at, cx);
                } else if !is_connection {
                    self.datagrams(at, cx, &mut watched);
                }
                if is_full {
                    return true;
                }
                // Whoever never stops sending must not put off the end.
                rounds += 1;
                more |= took && rounds == CALLS_MAX;
                if !took || rounds == CALLS_MAX {
                    break;
                }
            }
        }
        more
    }

    /// Gives what a thread still reads until it has ended; `false` when there is no room for more.
    async fn drain_reader(&mut self, at: usize, cx: &mut SourceCx, take: &mut Take<'_>) -> bool {
        while let Some(Socket::Unixgram { reader, .. }) = self.sockets.get(&at) {
            let handover = reader.handover.clone();
            let Some(received) = handover.lock().await.recv().await else { break };
            if !self.received(at, received, cx, take) {
                return false;
            }
        }
        true
    }

    /// Ends every connection; what is left of a frame is counted.
    pub fn close_all(&mut self, cx: &mut SourceCx) {
        let sockets: Vec<usize> = self.sockets.keys().copied().collect();
        sockets.into_iter().for_each(|at| self.close(at, cx));
    }
}
