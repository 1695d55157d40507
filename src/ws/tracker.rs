//! Follows the frames of one direction. It reads headers and control frames, and lets payloads pass unread.
//!
//! A partial header (at most 14 bytes) and an incomplete control frame (at most 131 bytes) are not consumed: the caller
//! keeps them back until more arrives. So whenever no payload is pending, the boundary between two frames is real and a
//! frame of our own may go in there.

use super::{
    Side,
    frame::{Breach, ControlFrame, FrameHeader, OpCode},
};

/// The frames that one side sends.
#[derive(Debug)]
pub struct Tracker {
    sender: Side,
    extensions: bool,
    /// The message's last fragment has not begun yet.
    fragmented: bool,
    payload_left: u64,
}

/// What stands next in the bytes of a direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Nothing whole: keep these bytes until more have come.
    Incomplete,
    /// Bytes of a data frame, header or payload.
    Data {
        /// How many.
        length: usize,
        /// What ends with them.
        end: End,
    },
    /// A whole control frame.
    Control {
        /// Its bytes on the wire.
        length: usize,
        /// The frame, unmasked.
        frame: ControlFrame,
    },
}

/// What a piece of data ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Nothing: more of the frame is to come.
    Open,
    /// Its frame, a fragment.
    Frame,
    /// Its message, and so its frame.
    Message,
}

impl Tracker {
    /// `extensions`: the backend's 101 agreed on one, so RSV bits have a meaning.
    #[must_use]
    pub const fn new(sender: Side, extensions: bool) -> Self {
        Self { sender, extensions, fragmented: false, payload_left: 0 }
    }

    /// Reads what stands at the start of `bytes` and consumes the length it tells.
    ///
    /// # Errors
    /// The peer broke the protocol at the start of `bytes`; everything before it was right.
    pub fn step(&mut self, bytes: &[u8]) -> Result<Step, Breach> {
        if self.payload_left > 0 {
            let length = usize::try_from(self.payload_left).map_or(bytes.len(), |left| left.min(bytes.len()));
            return Ok(if length == 0 { Step::Incomplete } else { self.pass(length, 0) });
        }
        let Some((header, size)) = FrameHeader::parse(bytes)? else { return Ok(Step::Incomplete) };
        self.check(&header)?;
        if header.opcode.is_control() {
            let Some(payload) = usize::try_from(header.length).ok().and_then(|length| bytes[size..].get(..length))
            else {
                return Ok(Step::Incomplete);
            };
            let frame = ControlFrame::new(header.opcode, payload, header.mask);
            return Ok(Step::Control { length: size + payload.len(), frame });
        }
        self.fragmented = !header.fin;
        self.payload_left = header.length;
        let here = bytes.len() - size;
        let length = usize::try_from(header.length).map_or(here, |left| left.min(here));
        Ok(self.pass(length, size))
    }

    /// Payload bytes of the current frame that are still to come: as many may pass without being looked at.
    #[must_use]
    pub const fn payload_left(&self) -> u64 {
        self.payload_left
    }

    /// Counts payload bytes that were moved without being looked at, at most [`Self::payload_left`] many.
    pub fn skip(&mut self, length: u64) -> End {
        self.payload_left = self.payload_left.saturating_sub(length);
        self.end()
    }

    /// Nothing of a frame is pending: a frame of ours may follow.
    #[must_use]
    pub const fn at_frame_end(&self) -> bool {
        self.payload_left == 0
    }

    /// Nothing of a message is pending.
    #[must_use]
    pub const fn at_message_end(&self) -> bool {
        self.payload_left == 0 && !self.fragmented
    }

    /// Counts `payload` bytes after `header` bytes as passed.
    fn pass(&mut self, payload: usize, header: usize) -> Step {
        self.payload_left -= payload as u64;
        Step::Data { length: header + payload, end: self.end() }
    }

    const fn end(&self) -> End {
        match (self.payload_left, self.fragmented) {
            (0, false) => End::Message,
            (0, true) => End::Frame,
            _ => End::Open,
        }
    }

    const fn check(&self, header: &FrameHeader) -> Result<(), Breach> {
        match (self.sender, header.mask) {
            (Side::Client, None) => return Err(Breach::Unmasked),
            (Side::Backend, Some(_)) => return Err(Breach::Masked),
            _ => {}
        }
        // No extension in use gives the RSV bits of a control frame a meaning: permessage-deflate marks the first
        // frame of a message only (RFC 7692 §6). Judging them finer than this is for the endpoints.
        if header.rsv != 0 && !self.extensions {
            return Err(Breach::ReservedBits);
        }
        match (header.opcode, self.fragmented) {
            (OpCode::Continuation, false) => Err(Breach::StrayContinuation),
            (OpCode::Text | OpCode::Binary, true) => Err(Breach::InterruptedMessage),
            _ => Ok(()),
        }
    }
}
