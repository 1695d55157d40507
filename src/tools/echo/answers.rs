//! What the echo answers to the bytes of a client. This module only decides; the caller reads and writes.

use super::MAX_MESSAGE;
use crate::ws::{
    Side,
    close::{CloseCode, close_frame},
    frame::{ControlFrame, FrameHeader, OpCode, encode_header},
    pieces::{Frames, Piece, mask, turned},
    tracker::End,
};

/// The code for a message that is too long (RFC 6455 §7.4.1).
const MESSAGE_TOO_BIG: CloseCode = CloseCode(1009);

/// The WebSocket of one client. A payload goes back as it comes and not as a whole message, so an echo of 16 MiB holds no 16
/// MiB.
#[derive(Debug)]
pub(super) struct Answers {
    frames: Frames,
    /// The key for the next payload byte of the frame that is being read.
    key: [u8; 4],
    /// The bytes of the message, by the headers of its frames so far.
    message: u64,
    over: bool,
}

impl Answers {
    pub(super) fn new() -> Self {
        Self { frames: Frames::of(Side::Client), key: [0; 4], message: 0, over: false }
    }

    /// Appends the answer to `out`, and returns how many bytes of `input` are consumed.
    ///
    /// The caller must put the rest, at most 131 bytes, in front of the next input.
    pub(super) fn answer(&mut self, input: &[u8], out: &mut Vec<u8>) -> usize {
        let mut at = 0;
        while !self.over {
            let rest = &input[at..];
            let piece = match self.frames.next(rest) {
                Ok(Some(piece)) => piece,
                Ok(None) => break,
                Err(breach) => {
                    self.close(CloseCode::PROTOCOL_ERROR, breach.as_str(), out);
                    break;
                }
            };
            at += piece.length();
            match piece {
                Piece::Data { header, payload, end } => {
                    if let Some(header) = &header
                        && !self.begin(header, rest[0], out)
                    {
                        break;
                    }
                    self.pass(&rest[payload], out);
                    if end == End::Message {
                        self.message = 0;
                    }
                }
                Piece::Control { frame, .. } => self.control(&frame, out),
            }
        }
        at
    }

    /// Whether nothing more is to be read or sent.
    pub(super) const fn is_over(&self) -> bool {
        self.over
    }

    /// Writes the same header without its mask. Closes and returns `false` if the message gets too long.
    fn begin(&mut self, header: &FrameHeader, first: u8, out: &mut Vec<u8>) -> bool {
        self.message = self.message.saturating_add(header.length);
        if usize::try_from(self.message).map_or(true, |length| length > MAX_MESSAGE) {
            self.close(MESSAGE_TOO_BIG, "message too big", out);
            return false;
        }
        self.key = header.mask.unwrap_or_default();
        encode_header(first, header.length, None, out);
        true
    }

    fn pass(&mut self, masked: &[u8], out: &mut Vec<u8>) {
        let from = out.len();
        out.extend_from_slice(masked);
        mask(&mut out[from..], self.key);
        self.key = turned(self.key, masked.len());
    }

    fn control(&mut self, frame: &ControlFrame, out: &mut Vec<u8>) {
        match frame.opcode {
            OpCode::Ping => ControlFrame::new(OpCode::Pong, frame.payload(), None).encode(None, out),
            OpCode::Close => {
                frame.encode(None, out);
                self.over = true;
            }
            _ => {}
        }
    }

    fn close(&mut self, code: CloseCode, reason: &str, out: &mut Vec<u8>) {
        close_frame(code, reason).encode(None, out);
        self.over = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A Ping of 2 bytes between two fragments of a masked "Hello", then an empty binary message.
    const STREAM: &[u8] = b"\x01\x83\x37\xfa\x21\x3d\x7f\x9f\x4d\x89\x82\x01\x02\x03\x04ij\x80\x82\x01\x01\x01\x01mn\x82\x80\x01\x02\x03\x04";
    const ANSWER: &[u8] = b"\x01\x03Hel\x8a\x02hh\x80\x02lo\x82\x00";

    #[test]
    fn any_split_of_the_stream_gives_the_same_answer() {
        for cut in 0..=STREAM.len() {
            let (mut answers, mut out) = (Answers::new(), Vec::new());
            let consumed = answers.answer(&STREAM[..cut], &mut out);
            assert_eq!(consumed + answers.answer(&STREAM[consumed..], &mut out), STREAM.len(), "cut at {cut}");
            assert_eq!(out, ANSWER, "cut at {cut}");
        }
    }

    #[test]
    fn a_close_comes_back_and_ends_it() {
        let (mut answers, mut out) = (Answers::new(), Vec::new());
        answers.answer(b"\x88\x82\0\0\0\0\x0f\xa1\x89\x80\0\0\0\0", &mut out);
        assert_eq!((out.as_slice(), answers.is_over()), (&b"\x88\x02\x0f\xa1"[..], true));
    }

    #[test]
    fn a_breach_is_told_and_ends_it() {
        let (mut answers, mut out) = (Answers::new(), Vec::new());
        answers.answer(b"\x81\x00", &mut out);
        assert_eq!((out.as_slice(), answers.is_over()), (&b"\x88\x1e\x03\xeaunmasked frame from a client"[..], true));
    }

    #[test]
    fn fragments_count_together_against_the_limit() {
        let (mut answers, mut out) = (Answers::new(), Vec::new());
        let mut input = b"\x02\x81\0\0\0\0x\x80\xff".to_vec();
        input.extend((MAX_MESSAGE as u64).to_be_bytes());
        input.extend([0; 4]);
        answers.answer(&input, &mut out);
        assert_eq!(out, b"\x02\x01x\x88\x11\x03\xf1message too big");
    }
}
