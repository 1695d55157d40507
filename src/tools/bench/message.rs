//! The message that a connection sends and expects back. It is made once for each thread, and a tag in front tells one
//! message from the other.

use crate::ws::{
    frame::{MAX_HEADER, OpCode, encode_header},
    pieces,
};

/// Bytes of the tag, which stands at the start of each payload: 8 hexadecimal digits for the number of the message, then 8
/// for its connection, each with the lowest digit first. A shorter payload has only the begin of the tag.
pub(super) const TAG: usize = 16;

/// A frame that is sent again and again, each time with another tag.
///
/// Its mask stays the same. RFC 6455 §5.3 wants a new mask for each frame, so that no script can choose the bytes on the
/// wire; here no script chooses anything.
#[derive(Debug)]
pub(super) struct Message {
    /// Header, mask and masked payload. The bytes in the tag's place are overwritten before each use.
    frame: Box<[u8]>,
    payload: Box<[u8]>,
    header: usize,
    mask: [u8; 4],
    opcode: OpCode,
}

/// A tag: the number of a message and of its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tag([u8; TAG]);

impl Message {
    /// A text or binary message of `size` bytes that compress badly. Text is ASCII.
    #[must_use]
    pub(super) fn new(size: usize, binary: bool, mask: [u8; 4]) -> Self {
        let (first, opcode) = if binary { (0x82, OpCode::Binary) } else { (0x81, OpCode::Text) };
        let payload = noise(size, binary);
        let mut frame = Vec::with_capacity(MAX_HEADER + size);
        encode_header(first, size as u64, Some(mask), &mut frame);
        let header = frame.len();
        frame.extend_from_slice(&payload);
        pieces::mask(&mut frame[header..], mask);
        Self { frame: frame.into(), payload: payload.into(), header, mask, opcode }
    }

    /// Bytes of payload.
    #[must_use]
    pub(super) const fn size(&self) -> usize {
        self.payload.len()
    }

    /// Bytes on the wire.
    #[must_use]
    pub(super) const fn length(&self) -> usize {
        self.frame.len()
    }

    /// The opcode: Text or Binary.
    #[must_use]
    pub(super) const fn opcode(&self) -> OpCode {
        self.opcode
    }

    /// Appends the whole frame.
    pub(super) fn write(&self, tag: Tag, out: &mut Vec<u8>) {
        let start = out.len() + self.header;
        out.extend_from_slice(&self.frame);
        let tagged = self.tagged();
        let place = &mut out[start..start + tagged];
        place.copy_from_slice(&tag.0[..tagged]);
        pieces::mask(place, self.mask);
    }

    /// The frame in two parts: the part that differs between messages, and the part that all messages share.
    #[must_use]
    pub(super) fn parts(&self, tag: Tag) -> (FrameStart, &[u8]) {
        let length = self.header + self.tagged();
        let mut bytes = [0; MAX_HEADER + TAG];
        bytes[..self.header].copy_from_slice(&self.frame[..self.header]);
        let place = &mut bytes[self.header..length];
        place.copy_from_slice(&tag.0[..self.tagged()]);
        pieces::mask(place, self.mask);
        (FrameStart { bytes, length }, &self.frame[length..])
    }

    /// Whether the payload has these `bytes` from `at` on.
    #[must_use]
    pub(super) fn matches(&self, tag: Tag, at: usize, bytes: &[u8]) -> bool {
        let Some(rest) = self.payload.get(at..).filter(|rest| rest.len() >= bytes.len()) else { return false };
        let in_tag = self.tagged().saturating_sub(at).min(bytes.len());
        let (tagged, same) = bytes.split_at(in_tag);
        (in_tag == 0 || *tagged == tag.0[at..at + in_tag]) && *same == rest[in_tag..bytes.len()]
    }

    fn tagged(&self) -> usize {
        self.payload.len().min(TAG)
    }
}

/// The begin of a frame, up to the end of the tag.
#[derive(Debug, Clone, Copy)]
pub(super) struct FrameStart {
    bytes: [u8; MAX_HEADER + TAG],
    length: usize,
}

impl FrameStart {
    #[must_use]
    pub(super) fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

impl Tag {
    /// The tag of a message. It holds the lower 32 bits of both numbers.
    #[must_use]
    pub(super) fn new(connection: u64, number: u64) -> Self {
        let mut digits = (number & 0xFFFF_FFFF) | (connection << 32);
        let mut tag = [0; TAG];
        for digit in &mut tag {
            *digit = b"0123456789abcdef"[(digits & 0xF) as usize];
            digits >>= 4;
        }
        Self(tag)
    }
}

/// Bytes without a pattern (xorshift, Marsaglia 2003), the same in every run.
fn noise(size: usize, binary: bool) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_be_bytes()[0]
    };
    // From space to underscore: printable, and one byte each in UTF-8.
    (0..size).map(|_| if binary { next() } else { b' ' + next() % 64 }).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::ws::frame::FrameHeader;

    const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
    const SIZES: [usize; 8] = [0, 1, 15, 16, 17, 125, 126, 70_000];

    fn unmasked(frame: &[u8]) -> Vec<u8> {
        let (header, size) = FrameHeader::parse(frame).unwrap().unwrap();
        let mut payload = frame[size..].to_vec();
        assert_eq!((payload.len() as u64, header.mask), (header.length, Some(MASK)));
        pieces::mask(&mut payload, MASK);
        payload
    }

    #[test]
    fn what_is_sent_is_what_is_expected_in_any_pieces() {
        for size in SIZES {
            let message = Message::new(size, false, MASK);
            let tag = Tag::new(7, 300);
            let mut frame = Vec::new();
            message.write(tag, &mut frame);
            assert_eq!(frame.len(), message.length());
            let payload = unmasked(&frame);
            assert!(payload.is_ascii());
            for cut in [0, 1, 3, 16, 20].into_iter().filter(|cut| *cut <= size) {
                assert!(
                    message.matches(tag, 0, &payload[..cut]) && message.matches(tag, cut, &payload[cut..]),
                    "{size}/{cut}"
                );
            }
            assert!(!message.matches(tag, 1, &payload[..size]) || size == 0, "longer than the message");
        }
    }

    #[test]
    fn both_ways_to_write_a_frame_are_the_same() {
        for size in SIZES {
            let message = Message::new(size, true, MASK);
            let tag = Tag::new(1, 2);
            let mut frame = Vec::new();
            message.write(tag, &mut frame);
            let (head, tail) = message.parts(tag);
            assert_eq!([head.as_slice(), tail].concat(), frame);
        }
    }

    #[test]
    fn one_wrong_byte_anywhere_is_noticed() {
        let message = Message::new(64, true, MASK);
        let tag = Tag::new(1, 2);
        let mut frame = Vec::new();
        message.write(tag, &mut frame);
        let payload = unmasked(&frame);
        for at in 0..payload.len() {
            let mut broken = payload.clone();
            broken[at] ^= 1;
            assert!(!message.matches(tag, 0, &broken), "byte {at}");
        }
    }

    #[test]
    fn the_answer_to_another_message_or_connection_does_not_match() {
        let message = Message::new(64, false, MASK);
        let mut frame = Vec::new();
        message.write(Tag::new(1, 2), &mut frame);
        let payload = unmasked(&frame);
        assert!(!message.matches(Tag::new(1, 3), 0, &payload) && !message.matches(Tag::new(2, 2), 0, &payload));
    }
}
