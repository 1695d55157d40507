//! Reads frames where they lie in the buffer, without a copy or an allocation, for an end that looks at payloads: the tools,
//! and the far end of a probe.

use std::ops::Range;

use super::{
    Side,
    frame::{Breach, ControlFrame, FrameHeader},
    tracker::{End, Rules, Step, Tracker},
};

/// The frames of one direction, without extensions. Their bytes come in pieces.
#[derive(Debug)]
pub struct Frames {
    rules: Rules,
    tracker: Tracker,
}

/// The next piece of the stream, with its length on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Payload of a data frame, possibly empty.
    Data {
        /// The header, if the frame begins here; `None` = the piece lies inside a frame.
        header: Option<FrameHeader>,
        /// The place of the payload in the bytes. The payload is still masked.
        payload: Range<usize>,
        /// What ends with this piece: nothing, the frame or the message.
        end: End,
    },
    /// A whole control frame.
    Control {
        /// Bytes of the frame on the wire.
        length: usize,
        /// The frame, unmasked.
        frame: ControlFrame,
    },
}

impl Piece {
    /// Bytes of the piece on the wire.
    #[must_use]
    pub const fn length(&self) -> usize {
        match self {
            Self::Data { payload, .. } => payload.end,
            Self::Control { length, .. } => *length,
        }
    }
}

impl Frames {
    /// Reads the frames that `sender` sends.
    #[must_use]
    pub fn of(sender: Side) -> Self {
        Self { rules: Rules { sender, extensions: false }, tracker: Tracker::default() }
    }

    /// Reads the piece at the start of `bytes`.
    ///
    /// `None` = more bytes are needed, and none is consumed. The caller then keeps at most 131 bytes.
    ///
    /// # Errors
    /// The sender broke the protocol.
    pub fn next(&mut self, bytes: &[u8]) -> Result<Option<Piece>, Breach> {
        let header = if self.tracker.at_frame_end() { FrameHeader::parse(bytes)? } else { None };
        Ok(match self.tracker.step(self.rules, bytes)? {
            Step::Incomplete => None,
            Step::Control { length, header, payload } => {
                Some(Piece::Control { length, frame: ControlFrame::read(&header, payload) })
            }
            Step::Data { length, end } => {
                let start = header.map_or(0, |(_, size)| size);
                Some(Piece::Data { header: header.map(|(header, _)| header), payload: start..length, end })
            }
        })
    }
}

/// Masks or unmasks `bytes` with `key`. The first byte of `key` belongs to the first byte of `bytes` (RFC 6455 §5.3).
pub fn mask(bytes: &mut [u8], key: [u8; 4]) {
    /// A width for which the compiler writes vector instructions.
    const WIDTH: usize = 32;
    let mut wide = [0; WIDTH];
    wide.iter_mut().zip(key.iter().cycle()).for_each(|(to, from)| *to = *from);
    let mut chunks = bytes.chunks_exact_mut(WIDTH);
    for chunk in &mut chunks {
        chunk.iter_mut().zip(wide).for_each(|(byte, key)| *byte ^= key);
    }
    chunks.into_remainder().iter_mut().zip(wide).for_each(|(byte, key)| *byte ^= key);
}

/// The key for the rest of a payload of which `passed` bytes were masked.
#[must_use]
pub fn turned(mut key: [u8; 4], passed: usize) -> [u8; 4] {
    key.rotate_left(passed % 4);
    key
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn payloads_are_found_where_they_lie_and_a_header_comes_once() {
        let mut frames = Frames::of(Side::Backend);
        let bytes = b"\x81\x05Hello\x89\x00";
        let Some(Piece::Data { header: Some(header), payload, end: End::Open }) = frames.next(&bytes[..4]).unwrap()
        else {
            panic!("no begin");
        };
        assert_eq!((header.length, &bytes[payload]), (5, &b"He"[..]));
        let rest = &bytes[4..];
        assert_eq!(frames.next(rest), Ok(Some(Piece::Data { header: None, payload: 0..3, end: End::Message })));
        assert_eq!(frames.next(&rest[3..]).unwrap().unwrap().length(), 2);
        assert_eq!(frames.next(&rest[5..]), Ok(None));
    }

    #[test]
    fn masking_in_pieces_is_masking_at_once() {
        let plain: Vec<u8> = (0..=255).collect();
        let key = [0x37, 0xfa, 0x21, 0x3d];
        let mut whole = plain.clone();
        mask(&mut whole, key);
        assert!(whole.iter().zip(&plain).zip(key.iter().cycle()).all(|((masked, byte), key)| *masked == byte ^ key));
        for cut in 0..plain.len() {
            let mut pieces = plain.clone();
            let (first, second) = pieces.split_at_mut(cut);
            mask(first, key);
            mask(second, turned(key, cut));
            assert_eq!(pieces, whole, "cut at {cut}");
        }
    }
}
