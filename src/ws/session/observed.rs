//! Notes the headers of a session's frames, and the content of a Close, while somebody observes the session. A payload
//! is never noted.

use std::{mem, time::Instant};

use super::Session;
use crate::ws::{
    Side,
    close::CloseFrame,
    frame::{ControlFrame, FrameHeader, OpCode},
    tick::Tick,
};

/// The most frames that are kept until somebody takes them. Further frames are only counted.
pub const MOST_SEEN: usize = 1024;

/// A frame that was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenFrame {
    /// The side to which it goes, or would go if it did not end here.
    pub to: Side,
    /// What happens to the frame.
    pub passage: Passage,
    /// Its header. The `mask` only shows that there was a mask; the key is left out.
    pub header: FrameHeader,
    /// The code and the reason, if it is a Close.
    pub close: Option<CloseFrame>,
}

/// What happens to a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Passage {
    /// It passes from one end to the other.
    Relayed,
    /// It is a frame of our own.
    Injected,
    /// It came but does not pass: it answers a frame of ours, or the other end has had its last frame.
    Swallowed,
    /// It breaks the protocol or a limit.
    Refused,
}

impl Passage {
    /// The word for the passage in the log.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Relayed => "relayed",
            Self::Injected => "injected",
            Self::Swallowed => "swallowed",
            Self::Refused => "refused",
        }
    }
}

/// What is noted while somebody observes a session.
#[derive(Debug)]
pub(super) struct Observation {
    until: Tick,
    seen: Vec<SeenFrame>,
    /// Frames for which there was no room.
    missed: u64,
}

impl Session {
    /// Notes the headers of the frames until this instant, for [`Self::take_seen`]; `None` = stops that.
    pub fn observe(&mut self, until: Option<Instant>) {
        let until = until.map(|until| self.common.tick(until));
        match (&mut self.fate, until) {
            (None, None) => {}
            (Some(fate), None) => fate.observation = None,
            (fate, Some(until)) => {
                let fate = fate.get_or_insert_default();
                let observation =
                    fate.observation.get_or_insert_with(|| Observation { until, seen: Vec::new(), missed: 0 });
                observation.until = until;
            }
        }
    }

    /// The frames that were noted since the last call, and how many more there were.
    #[inline]
    pub fn take_seen(&mut self) -> Option<(Vec<SeenFrame>, u64)> {
        let observation = self.fate.as_mut()?.observation.as_mut()?;
        if observation.seen.is_empty() {
            return None;
        }
        Some((mem::take(&mut observation.seen), mem::take(&mut observation.missed)))
    }

    /// Notes the frame that begins `bytes`, if its header is whole.
    #[inline(never)]
    pub(super) fn note_theirs(&mut self, from: Side, passage: Passage, bytes: &[u8], now: Tick) {
        if self.observation(now).is_none() {
            return;
        }
        let Ok(Some((header, size))) = FrameHeader::parse(bytes) else { return };
        let payload = usize::try_from(header.length).ok().and_then(|length| bytes[size..].get(..length));
        let close = payload
            .filter(|_| header.opcode == OpCode::Close)
            .map(|payload| CloseFrame::read(&ControlFrame::read(&header, payload)));
        self.note_frame(SeenFrame { to: from.other(), passage, header, close }, now);
    }

    /// Notes a frame of ours.
    pub(super) fn note_ours(&mut self, to: Side, frame: &ControlFrame, now: Tick) {
        let header = FrameHeader {
            fin: true,
            rsv: 0,
            opcode: frame.opcode,
            // A frame toward a backend is masked.
            mask: (to == Side::Backend).then_some([0; 4]),
            length: frame.payload().len() as u64,
        };
        let close = (frame.opcode == OpCode::Close).then(|| CloseFrame::read(frame));
        self.note_frame(SeenFrame { to, passage: Passage::Injected, header, close }, now);
    }

    /// Notes a message of ours.
    pub(super) fn note_our_header(&mut self, to: Side, header: FrameHeader, now: Tick) {
        self.note_frame(SeenFrame { to, passage: Passage::Injected, header, close: None }, now);
    }

    fn note_frame(&mut self, mut seen: SeenFrame, now: Tick) {
        let Some(observation) = self.observation(now) else { return };
        if observation.seen.len() < MOST_SEEN {
            seen.header.mask = seen.header.mask.map(|_| [0; 4]);
            observation.seen.push(seen);
        } else {
            observation.missed += 1;
        }
    }

    /// The observation, unless its time is over.
    fn observation(&mut self, now: Tick) -> Option<&mut Observation> {
        self.fate.as_mut()?.observation.as_mut().filter(|observation| now < observation.until)
    }
}
