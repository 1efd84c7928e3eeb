//! A connection of a unix stream, and its frames.

use std::io;
use std::sync::Arc;

use tokio::net::UnixStream;
use weir_core::SourceCx;

use super::super::about::Sender;
use super::super::decode::Payload;
use super::super::frames::{Frames, TooLong};
use super::{CALLS_MAX, Next, PACE, Take};
use crate::net::datagrams;

pub struct Connection {
    pub stream: Arc<UnixStream>,
    pub frames: Frames,
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
            if !self.give(&scratch[..n], bytes_max, cx, take)? {
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

    /// Gives the frames that are whole now; whether there is room for more, `None` after one that is too long.
    fn give(&mut self, bytes: &[u8], bytes_max: usize, cx: &mut SourceCx, take: &mut Take) -> Option<bool> {
        let Connection { frames, sender, .. } = self;
        let peer = || match sender.pid {
            Some(pid) => format!("pid {pid}"),
            None => "unixstream".to_string(),
        };
        let (mut count, mut has_room) = (0, true);
        let taken = frames.take(bytes, bytes_max, |bytes| {
            count += 1;
            has_room &= take(&Payload { bytes, is_truncated: false, sender, peer: &peer });
        });
        cx.note("frames", count);
        if taken == Err(TooLong) {
            cx.reject("too_long", 1);
            return None;
        }
        Some(has_room)
    }
}
