//! A thread that reads a unix datagram socket.
//!
//! Such a socket holds ten datagrams (`net.unix.max_dgram_qlen`), whatever its buffer is: who sends the next
//! one waits, or loses it. So it has to be read as soon as there is something, a thousand times a second, and
//! waking a task of the runtime for so little costs as much as reading the lines. A thread that sleeps in the
//! system call is woken for a quarter of that. What it read it hands over many datagrams at a time.

use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::sync::Arc;
use std::sync::mpsc as std_mpsc;
use std::time::{Duration, Instant};

use tokio::sync::{Mutex, mpsc};

use super::super::about::Sender;
use super::super::origin::Origins;
use super::PACE;
use crate::net::datagrams::{self, Datagram, Datagrams};

/// Datagrams taken with one call.
pub const DATAGRAMS_MAX: usize = 16;
/// With so much, it is handed over.
const HANDOVER_BYTES: usize = 256 << 10;
/// How often it is looked whether senders still live.
const REAP: Duration = Duration::from_secs(1);

/// Room that a socket needs, for datagrams of at most so many bytes: one part is read while the other is
/// filled.
pub fn held_bytes(message_bytes_max: usize) -> usize {
    let call = DATAGRAMS_MAX * message_bytes_max;
    call + 2 * (HANDOVER_BYTES + call)
}

/// Datagrams on their way from the thread, and room for others on its way back.
#[derive(Default)]
pub struct Received {
    /// One behind the other.
    bytes: Vec<u8>,
    heads: Vec<Head>,
    /// Calls that failed.
    pub errors: u64,
}

struct Head {
    end: usize,
    is_truncated: bool,
    pid: Option<i32>,
    /// As it was when the datagram came.
    sender: Arc<Sender>,
}

/// A datagram, and who sent it.
pub struct Sent<'a> {
    pub bytes: &'a [u8],
    pub is_truncated: bool,
    pub pid: Option<i32>,
    pub sender: &'a Sender,
}

impl Received {
    pub fn len(&self) -> usize {
        self.heads.len()
    }

    /// Whether it is handed over because there is so much of it: then there is more.
    pub fn is_full(&self) -> bool {
        self.bytes.len() >= HANDOVER_BYTES
    }

    fn is_empty(&self) -> bool {
        self.heads.is_empty() && self.errors == 0
    }

    pub fn get(&self, at: usize) -> Option<Sent<'_>> {
        let head = self.heads.get(at)?;
        let start = at.checked_sub(1).map_or(0, |before| self.heads[before].end);
        let Head { end, is_truncated, pid, sender } = head;
        Some(Sent { bytes: &self.bytes[start..*end], is_truncated: *is_truncated, pid: *pid, sender })
    }

    fn push(&mut self, datagram: &Datagram, sender: Arc<Sender>) {
        self.bytes.extend_from_slice(datagram.bytes);
        let Datagram { is_truncated, pid, .. } = *datagram;
        self.heads.push(Head { end: self.bytes.len(), is_truncated, pid, sender });
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.heads.clear();
        self.errors = 0;
    }
}

/// What comes from the thread. Locked by whoever waits for it.
pub type Handover = Arc<Mutex<mpsc::Receiver<Received>>>;

/// The thread, as who reads from it sees it.
pub struct Reader {
    pub socket: Arc<UnixDatagram>,
    pub handover: Handover,
    emptied: std_mpsc::Sender<Received>,
    /// Closed, it has the thread read what is left, and end.
    running: Option<UnixStream>,
}

impl Reader {
    pub fn start(socket: UnixDatagram, message_bytes_max: usize) -> io::Result<Reader> {
        let socket = Arc::new(socket);
        let (running, stopped) = UnixStream::pair()?;
        let (filled, handover) = mpsc::channel(1);
        let (emptied, empty) = std_mpsc::channel();
        // The other end is just above.
        let _ = emptied.send(Received::default());
        let thread = Thread {
            socket: socket.clone(),
            buffers: Datagrams::new(DATAGRAMS_MAX, message_bytes_max),
            stopped,
            filled,
            empty,
            origins: Origins::default(),
            handed_over: Instant::now(),
            reaped: Instant::now(),
        };
        std::thread::Builder::new().name("unixgram".into()).spawn(move || thread.run())?;
        Ok(Reader { socket, handover: Arc::new(Mutex::new(handover)), emptied, running: Some(running) })
    }

    /// Gives back what was read.
    pub fn give_back(&self, mut received: Received) {
        received.clear();
        // Without a thread nobody needs it.
        let _ = self.emptied.send(received);
    }

    pub fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// The thread is to read what is there, hand it over, and end.
    pub fn stop(&mut self) {
        self.running = None;
    }
}

struct Thread {
    socket: Arc<UnixDatagram>,
    buffers: Datagrams,
    stopped: UnixStream,
    filled: mpsc::Sender<Received>,
    empty: std_mpsc::Receiver<Received>,
    origins: Origins,
    handed_over: Instant,
    reaped: Instant,
}

impl Thread {
    /// Until it is stopped, or nobody takes what it reads.
    fn run(mut self) {
        let mut received = Received::default();
        loop {
            let is_stopped = self.wait(&received);
            let is_all = !self.receive(&mut received);
            self.look_after_senders();
            let is_over = is_stopped && is_all;
            let is_due = is_over || self.handed_over.elapsed() >= PACE;
            if received.is_full() || (is_due && !received.is_empty()) {
                match self.hand_over(received) {
                    Some(empty) => received = empty,
                    None => return,
                }
            }
            if is_over {
                return;
            }
        }
    }

    /// Until there is something, it is stopped, or what was received is to be handed over; whether it is
    /// stopped.
    fn wait(&self, received: &Received) -> bool {
        let left = match (received.is_empty(), self.origins.is_empty()) {
            (false, _) => Some(PACE.saturating_sub(self.handed_over.elapsed())),
            (true, false) => Some(REAP),
            (true, true) => None,
        };
        // What cannot be waited for says so when it is read.
        datagrams::wait(&*self.socket, &self.stopped, left).unwrap_or(false)
    }

    /// Takes what is there; `false` when nothing was.
    fn receive(&mut self, received: &mut Received) -> bool {
        match self.buffers.receive(self.socket.as_raw_fd()) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return true,
            Err(_) => {
                received.errors += 1;
                std::thread::sleep(PACE);
                return false;
            }
        }
        for datagram in self.buffers.iter() {
            let sender = datagram.pid.map(|pid| self.origins.of(pid, datagram.sent));
            received.push(&datagram, sender.unwrap_or_default());
        }
        self.origins.settle();
        true
    }

    fn look_after_senders(&mut self) {
        if self.reaped.elapsed() >= REAP {
            self.origins.reap();
            self.reaped = Instant::now();
        }
    }

    /// An empty one for a filled one, once it was taken; nothing if nobody takes it.
    fn hand_over(&mut self, received: Received) -> Option<Received> {
        self.filled.blocking_send(received).ok()?;
        self.handed_over = Instant::now();
        self.empty.recv().ok()
    }
}
