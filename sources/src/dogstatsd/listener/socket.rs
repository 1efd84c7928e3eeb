//! One socket that is read, and how nobody reaches it any more.

use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::net::UnixListener;
use tokio::sync::Notify;
use weir_core::SourceCx;

use super::bind::SocketFile;
use super::connection::Connection;
use super::reader::Reader;
use crate::net::datagrams;

pub enum Socket {
    /// Unknown to the runtime as long as it is looked at now and then: it would be woken for each datagram.
    Udp {
        socket: Arc<UdpSocket>,
        /// What the kernel had dropped when it was last asked.
        dropped: u32,
    },
    Unixgram {
        reader: Reader,
        path: PathBuf,
        file: Option<SocketFile>,
        dropped: u32,
    },
    Listener {
        socket: Arc<UnixListener>,
        path: PathBuf,
        file: Option<SocketFile>,
        connections: usize,
        /// Told when nobody is to be waited for any more.
        closing: Arc<Notify>,
        is_closed: bool,
    },
    Connection(Connection),
}

impl Socket {
    pub fn listener(socket: UnixListener, file: SocketFile) -> Socket {
        Socket::Listener {
            socket: Arc::new(socket),
            path: file.path.clone(),
            file: Some(file),
            connections: 0,
            closing: Arc::default(),
            is_closed: false,
        }
    }

    pub fn datagrams(reader: Reader, file: SocketFile) -> Socket {
        Socket::Unixgram { reader, path: file.path.clone(), file: Some(file), dropped: 0 }
    }

    /// Of its file.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Socket::Unixgram { path, .. } | Socket::Listener { path, .. } => Some(path),
            Socket::Udp { .. } | Socket::Connection(_) => None,
        }
    }

    pub fn is_listener(&self) -> bool {
        matches!(self, Socket::Listener { .. })
    }

    /// Whether its file was deleted since it was last asked.
    pub fn is_gone(&self) -> bool {
        match self {
            Socket::Unixgram { file, .. } | Socket::Listener { file, .. } => {
                file.as_ref().is_some_and(SocketFile::is_gone)
            }
            Socket::Udp { .. } | Socket::Connection(_) => false,
        }
    }

    /// Whether its file is gone, and it is read all the same.
    pub fn is_orphan(&self) -> bool {
        matches!(self, Socket::Unixgram { file: None, .. } | Socket::Listener { file: None, .. }) && !self.is_closing()
    }

    /// Whether nobody reaches it any more, and what came before is still to be read.
    pub fn is_closing(&self) -> bool {
        match self {
            Socket::Unixgram { reader, .. } => !reader.is_running(),
            Socket::Listener { is_closed, .. } => *is_closed,
            Socket::Udp { .. } | Socket::Connection(_) => false,
        }
    }

    /// From now on nobody reaches it; what is queued stays.
    pub fn close(&mut self) {
        match self {
            Socket::Udp { socket, .. } => {
                let _ = socket.local_addr().and_then(|own| socket.connect(own));
            }
            Socket::Unixgram { reader, .. } => {
                datagrams::shut(&*reader.socket);
                reader.stop();
            }
            Socket::Listener { socket, closing, is_closed, .. } => {
                // In this order: who waits for a socket that is shut tries for ever.
                closing.notify_one();
                datagrams::shut(&**socket);
                *is_closed = true;
            }
            Socket::Connection(connection) => datagrams::shut(&*connection.stream),
        }
    }

    /// Counts the packets that the kernel has dropped since it was last asked.
    pub fn count_dropped(&mut self, cx: &mut SourceCx) {
        let (now, before) = match self {
            Socket::Udp { socket, dropped } => (datagrams::dropped(socket), dropped),
            Socket::Unixgram { reader, dropped, .. } => (datagrams::dropped(&reader.socket), dropped),
            Socket::Listener { .. } | Socket::Connection(_) => return,
        };
        let dropped = now.wrapping_sub(std::mem::replace(before, now));
        if dropped > 0 {
            cx.reject("kernel", dropped as usize);
        }
    }
}
