//! Frames of a unix stream: each behind its length, in four bytes, little-endian.

/// The length before each frame.
pub const HEAD_BYTES: usize = 4;

/// The frames of one connection, as its bytes come.
#[derive(Default)]
pub struct Frames {
    /// Of a frame that is not whole.
    partial: Vec<u8>,
}

/// A frame says that it is longer than there is room for. Where the next one begins, nobody knows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TooLong;

impl Frames {
    /// Whether a frame has begun and is not whole.
    pub fn is_inside(&self) -> bool {
        !self.partial.is_empty()
    }

    /// Takes what came and gives every frame that is whole now. After one that is too long nothing is held.
    pub fn take(&mut self, bytes: &[u8], bytes_max: usize, mut give: impl FnMut(&[u8])) -> Result<(), TooLong> {
        self.partial.extend_from_slice(bytes);
        let mut rest = self.partial.as_slice();
        while let Some((head, behind)) = rest.split_first_chunk::<HEAD_BYTES>() {
            let length = u32::from_le_bytes(*head) as usize;
            if length > bytes_max {
                self.partial.clear();
                return Err(TooLong);
            }
            let Some((frame, next)) = behind.split_at_checked(length) else { break };
            give(frame);
            rest = next;
        }
        let given = self.partial.len() - rest.len();
        self.partial.drain(..given);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_length_that_nobody_has_room_for_ends_it() {
        let mut frames = Frames::default();
        let mut given = Vec::new();
        let mut take = |bytes: &[u8]| frames.take(bytes, 4, |frame| given.push(frame.to_vec()));
        assert_eq!(take(b"\x01\0\0\0a\0\0\0\0\xff\xff\xff\xff"), Err(TooLong));
        assert_eq!(given, [b"a".to_vec(), Vec::new()]);
        assert!(!frames.is_inside());
    }

    proptest! {
        /// However a connection's bytes are cut, its frames are those that were sent.
        #[test]
        fn frames_come_out_as_they_were_sent(
            sent in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..20),
            pieces in prop::collection::vec(1..60usize, 1..20),
            cut_off in 0..8usize,
        ) {
            let mut bytes: Vec<u8> =
                sent.iter().flat_map(|frame| (frame.len() as u32).to_le_bytes().into_iter().chain(frame.clone())).collect();
            // Of another one that never becomes whole.
            bytes.extend(&[9, 0, 0, 0, 1, 2, 3, 4][..cut_off]);
            let (mut frames, mut given) = (Frames::default(), Vec::new());
            let (mut rest, mut pieces) = (bytes.as_slice(), pieces.iter().cycle());
            while !rest.is_empty() {
                let piece = rest.split_off(..rest.len().min(*pieces.next().unwrap())).unwrap();
                prop_assert_eq!(frames.take(piece, 40, |frame| given.push(frame.to_vec())), Ok(()));
            }
            prop_assert_eq!(given, sent);
            prop_assert_eq!(frames.is_inside(), cut_off > 0);
        }
    }
}
