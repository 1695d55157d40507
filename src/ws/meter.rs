//! The limits of one session: the sizes of its messages and frames, and how many of them may pass per second.

mod exemption;

use std::time::Duration;

use self::exemption::Exemption;
use super::{
    Side,
    frame::{Breach, FrameHeader, OpCode},
    rate::{Bucket, Rate},
    tick::{SECOND, Tick, nanos},
    tracker::Tracker,
};

/// The limits of each session; `None` = no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MessageLimits {
    /// The most payload bytes in a message from the client. Compressed bytes count as they are on the wire.
    pub message_size: Option<u64>,
    /// The most payload bytes in a frame from the client.
    pub frame_size: Option<u64>,
    /// The most payload bytes in a message from the backend.
    pub backend_message_size: Option<u64>,
    /// Frames from the client per second. Every frame but a Close counts, because a fragment, Ping or Pong costs what a
    /// message costs.
    pub frames: Option<Rate>,
    /// Bytes from the client per second, headers included.
    pub bytes: Option<Rate>,
}

impl MessageLimits {
    /// Nothing is limited.
    pub const NONE: Self =
        Self { message_size: None, frame_size: None, backend_message_size: None, frames: None, bytes: None };
}

/// How much of its limits a session has used.
#[derive(Debug)]
pub struct Meter {
    limits: MessageLimits,
    /// The payload that the current message of the client, and of the backend, has announced so far, in bytes.
    messages: [u64; 2],
    frames: Bucket,
    bytes: Bucket,
    /// Bytes that come until `late_until` may have waited unread since `late_since`, because the backend took nothing.
    /// The client is not to blame for the burst in which we then read them.
    late_since: Tick,
    late_until: Tick,
    /// `None` = the client has never come back.
    exemption: Option<Box<Exemption>>,
}

impl Meter {
    /// A new meter; `None` = nothing is limited. So a session without limits has no meter.
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
            exemption: None,
        })
    }

    /// Measures the bytes that [`Tracker::step`] is about to consume at the start of `bytes`.
    ///
    /// # Errors
    /// They break a limit, and none of them may pass.
    pub fn measure(&mut self, from: Side, tracker: &Tracker, bytes: &[u8], now: Tick) -> Result<(), Breach> {
        if !tracker.at_frame_end() {
            let left = usize::try_from(tracker.payload_left()).unwrap_or(usize::MAX);
            return self.take_bytes(from, bytes.len().min(left) as u64, now);
        }
        let Some((header, size)) = FrameHeader::parse(bytes)? else { return Ok(()) };
        let here = (bytes.len() - size) as u64;
        if header.opcode.is_control() && here < header.length {
            // The frame is not whole, so it is measured when it comes again.
            return Ok(());
        }
        let whole = (size as u64).saturating_add(header.length);
        self.begin_frame(from, &header, whole, now)?;
        self.take_bytes(from, size as u64 + here.min(header.length), now)
    }

    /// Measures bytes from a side, also payload that passed unread.
    ///
    /// # Errors
    /// The bytes broke a limit, and nothing more may pass.
    pub fn take_bytes(&mut self, from: Side, count: u64, now: Tick) -> Result<(), Breach> {
        let (Side::Client, Some(rate)) = (from, self.limits.bytes) else { return Ok(()) };
        let since = self.late_since(now);
        let exemption = &mut self.exemption;
        let count = count - exemption.as_mut().map_or(0, |exemption| exemption.take_of_frame(count));
        let is_fine = self.bytes.take_late(count, rate, since, now)
            || exemption.as_mut().is_some_and(|exemption| exemption.take_bytes(count, rate, now));
        if is_fine { Ok(()) } else { Err(Breach::TooManyBytes) }
    }

    /// From now on the client is not read, because the backend takes nothing.
    pub fn handle_stalled(&mut self, now: Tick) {
        self.late_since = self.late_since(now);
    }

    /// The client is read again. The bytes that waited come within a second, or else the backend is too slow again.
    pub fn handle_resumed(&mut self, now: Tick) {
        self.late_until = now.after(SECOND);
    }

    /// The client has come back, and sends again at most `most` bytes that were lost. What it said since it was heard last, `longest` ago
    /// at most, needs no exemption if it kept to the rates meanwhile.
    pub fn handle_returned(&mut self, most: u64, longest: Duration, now: Tick) {
        self.late_since = self.late_since.max(now.before(nanos(longest)));
        self.handle_resumed(now);
        self.exemption.get_or_insert_with(|| Box::new(Exemption::new(now))).renew(most, longest, now);
    }

    /// Takes control texts of the client, `idle` of which say nothing new. Such a one costs what a message costs. How many say
    /// something new depends on the backend.
    ///
    /// # Errors
    /// They break a limit.
    pub fn take_texts(&mut self, bytes: u64, idle: u64, now: Tick) -> Result<(), Breach> {
        self.take_bytes(Side::Client, bytes, now)?;
        match self.limits.frames {
            Some(rate) if idle > 0 && !self.frames.take_late(idle, rate, self.late_since(now), now) => {
                Err(Breach::TooManyMessages)
            }
            _ => Ok(()),
        }
    }

    fn late_since(&self, now: Tick) -> Tick {
        if now <= self.late_until { self.late_since } else { now }
    }

    fn begin_frame(&mut self, from: Side, header: &FrameHeader, size: u64, now: Tick) -> Result<(), Breach> {
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
        let Some(rate) = frames.filter(|_| header.opcode != OpCode::Close) else { return Ok(()) };
        let since = self.late_since(now);
        let is_fine = self.frames.take_late(1, rate, since, now)
            || self.exemption.as_mut().is_some_and(|exemption| exemption.take_frame(size, rate, now));
        if is_fine { Ok(()) } else { Err(Breach::TooManyMessages) }
    }
}
