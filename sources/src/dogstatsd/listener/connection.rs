//! A connection of a unix stream, and its frames.

use std::io;
use std::sync::Arc;

use tokio::net::UnixStream;
use weir_core::SourceCx;

use super::super::decode::Payload;
use super::super::rows::Sender;
use super::{CALLS_MAX, Next, PACE, Take};
use crate::net::datagrams;

/// The length before each frame of a stream, little-endian.
pub const FRAME_HEAD_BYTES: usize = 4;

pub struct Connection {
    pub stream: Arc<UnixStream>,
    /// Of a frame that is not whole.
    pub partial: Vec<u8>,
    pub sender: Sender,
    pub listener: usize,
}

impl Connection {
    /// Gives the frames that are there; `None` when it is to be closed.
    /// Without `waited`, the kernel is asked whatever the runtime has heard of it.
    pub fn frames(
        &mut self,
        scratch: &mut [u8],
        bytes_max: usize,
        waited: bool,
        cx: &mut SourceCx,
        take: &mut Take,
    ) -> Option<Next> {
        for _ in 0..CALLS_MAX {
            let n = match self.read(scratch, waited) {
                Ok(0) => return None,
                Ok(n) => n,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Some(Next::Readable),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => return None,
            };
            self.partial.extend_from_slice(&scratch[..n]);
            if !self.give(bytes_max, cx, take)? {
                return Some(Next::SOON);
            }
            if n < scratch.len() {
                return Some(Next::After(PACE));
            }
        }
        Some(Next::SOON)
    }

    fn read(&self, into: &mut [u8], waited: bool) -> io::Result<usize> {
        if waited {
            return self.stream.try_read(into);
        }
        datagrams::receive_now(&*self.stream, into)
    }

    /// Gives the frames that are whole; whether there is room for more, `None` after one that is too long.
    fn give(&mut self, bytes_max: usize, cx: &mut SourceCx, take: &mut Take) -> Option<bool> {
        let Connection { partial, sender, .. } = self;
        let peer = || match sender.pid {
            Some(pid) => format!("pid {pid}"),
            None => "unixstream".to_string(),
        };
        let mut more = true;
        let mut start = 0;
        while let Some((head, rest)) = partial[start..].split_first_chunk::<FRAME_HEAD_BYTES>() {
            let length = u32::from_le_bytes(*head) as usize;
            if length > bytes_max {
                cx.reject("too_long", 1);
                // It is dealt with: what is left of it is not cut off as well.
                partial.clear();
                return None;
            }
            let Some(bytes) = rest.get(..length) else { break };
            cx.note("frames", 1);
            more &= take(&Payload { bytes, is_truncated: false, sender, peer: &peer });
            start += FRAME_HEAD_BYTES + length;
        }
        partial.drain(..start);
        Some(more)
    }
}
