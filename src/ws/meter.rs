//! What one session may carry: the sizes of messages and frames, and how many of them in a second.

use super::{
    Side,
    frame::{Breach, FrameHeader, OpCode},
    rate::{Bucket, Rate},
    tick::{SECOND, Tick},
    tracker::Tracker,
};

/// Bounds on each session; `None` = no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MessageLimits {
    /// Bytes of payload of a message from the client, compressed where it is.
    pub message_size: Option<u64>,
    /// Bytes of payload of a frame from the client.
    pub frame_size: Option<u64>,
    /// Bytes of payload of a message from the backend.
    pub backend_message_size: Option<u64>,
    /// Frames from the client. Every frame counts but a Close: fragments, Pings and Pongs cost what a message costs.
    pub frames: Option<Rate>,
    /// Bytes from the client, headers included.
    pub bytes: Option<Rate>,
}

impl MessageLimits {
    /// Nothing is limited.
    pub const NONE: Self =
        Self { message_size: None, frame_size: None, backend_message_size: None, frames: None, bytes: None };
}

/// What a session has used of its limits.
#[derive(Debug)]
pub struct Meter {
    limits: MessageLimits,
    /// Payload that the client's, or the backend's, message has announced so far.
    messages: [u64; 2],
    frames: Bucket,
    bytes: Bucket,
    /// What comes until `late_until` may have waited since `late_since`, unread because the backend took nothing: a client
    /// is not to blame for the burst in which it is read.
    late_since: Tick,
    late_until: Tick,
}

impl Meter {
    /// `None` where nothing is limited: so a session without limits has no meter.
    #[must_use]
    pub fn new(limits: MessageLimits, now: Tick) -> Option<Self> {
        let full = Bucket::full(now);
        (limits != MessageLimits::NONE).then_some(Self {
            limits,
            messages: [0; 2],
            frames: full,
            bytes: full,
            late_since: now,
            late_until: now,
        })
    }

    /// Measures what [`Tracker::step`] is about to consume at the start of `bytes`.
    ///
    /// # Errors
    /// It is too much: nothing of it may pass.
    pub fn measure(&mut self, from: Side, tracker: &Tracker, bytes: &[u8], now: Tick) -> Result<(), Breach> {
        if !tracker.at_frame_end() {
            let left = usize::try_from(tracker.payload_left()).unwrap_or(usize::MAX);
            return self.take_bytes(from, bytes.len().min(left) as u64, now);
        }
        let Some((header, size)) = FrameHeader::parse(bytes)? else { return Ok(()) };
        let here = (bytes.len() - size) as u64;
        if header.opcode.is_control() && here < header.length {
            // Not whole: it is fed again.
            return Ok(());
        }
        self.begin_frame(from, &header, now)?;
        self.take_bytes(from, size as u64 + here.min(header.length), now)
    }

    /// Measures payload that has been moved without being looked at.
    ///
    /// # Errors
    /// It was too much: nothing more may pass.
    pub fn take_bytes(&mut self, from: Side, count: u64, now: Tick) -> Result<(), Breach> {
        let is_fine = match (from, self.limits.bytes) {
            (Side::Client, Some(rate)) => self.bytes.take_late(count, rate, self.late_since(now), now),
            _ => true,
        };
        if is_fine { Ok(()) } else { Err(Breach::TooManyBytes) }
    }

    /// The client is not read from now on, because the backend takes nothing.
    pub fn handle_stalled(&mut self, now: Tick) {
        self.late_since = self.late_since(now);
    }

    /// The client is read again. What waited comes within a second, or the backend is too slow for it again.
    pub fn handle_resumed(&mut self, now: Tick) {
        self.late_until = now.after(SECOND);
    }

    fn late_since(&self, now: Tick) -> Tick {
        if now <= self.late_until { self.late_since } else { now }
    }

    fn begin_frame(&mut self, from: Side, header: &FrameHeader, now: Tick) -> Result<(), Breach> {
        let MessageLimits { message_size, frame_size, backend_message_size, frames, .. } = self.limits;
        let (message_size, frame_size, frames) = match from {
            Side::Client => (message_size, frame_size, frames),
            Side::Backend => (backend_message_size, None, None),
        };
        if !header.opcode.is_control() {
            let message = &mut self.messages[from as usize];
            let before = if header.opcode == OpCode::Continuation { *message } else { 0 };
            *message = before.saturating_add(header.length);
            if message_size.is_some_and(|most| *message > most) {
                return Err(Breach::MessageTooBig);
            }
            if frame_size.is_some_and(|most| header.length > most) {
                return Err(Breach::FrameTooBig);
            }
        }
        let is_fine = match frames {
            Some(rate) if header.opcode != OpCode::Close => self.frames.take_late(1, rate, self.late_since(now), now),
            _ => true,
        };
        if is_fine { Ok(()) } else { Err(Breach::TooManyMessages) }
    }
}
