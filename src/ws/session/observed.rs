//! What is noted of a session's frames while somebody looks at it: their headers, and what a Close says. Never a payload.

use std::{mem, time::Instant};

use super::Session;
use crate::ws::{
    Side,
    close::CloseFrame,
    frame::{ControlFrame, FrameHeader, OpCode},
    tick::Tick,
};

/// Frames that are kept until somebody takes them; what comes on top is only counted.
pub const MOST_SEEN: usize = 1024;

/// A frame that was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Where it goes; where it would go if it did not end here.
    pub to: Side,
    /// What becomes of it.
    pub passage: Passage,
    /// Its header; `mask` says only whether there was one, the key is left out.
    pub header: FrameHeader,
    /// What it says, if it is a Close.
    pub close: Option<CloseFrame>,
}

/// What becomes of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Passage {
    /// It passes from one end to the other.
    Relayed,
    /// It is ours.
    Injected,
    /// It came and goes no further: it answers a frame of ours, or the other end has had its last frame.
    Swallowed,
    /// It is a breach, or too much.
    Refused,
}

impl Passage {
    /// The word for it in the log.
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

/// A session is looked at.
#[derive(Debug)]
pub(super) struct Observation {
    until: Tick,
    seen: Vec<Seen>,
    /// Frames for which there was no room.
    missed: u64,
}

impl Session {
    /// The headers of its frames are noted until then, for [`Self::take_seen`]; `None` = no longer.
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

    /// The frames that were noted since they were last asked for, and how many more there were.
    #[inline]
    pub fn take_seen(&mut self) -> Option<(Vec<Seen>, u64)> {
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
        self.note(Seen { to: from.other(), passage, header, close }, now);
    }

    /// Notes a frame of ours.
    pub(super) fn note_ours(&mut self, to: Side, frame: &ControlFrame, now: Tick) {
        let header = FrameHeader {
            fin: true,
            rsv: 0,
            opcode: frame.opcode,
            // Toward a backend it is masked.
            mask: (to == Side::Backend).then_some([0; 4]),
            length: frame.payload().len() as u64,
        };
        let close = (frame.opcode == OpCode::Close).then(|| CloseFrame::read(frame));
        self.note(Seen { to, passage: Passage::Injected, header, close }, now);
    }

    fn note(&mut self, mut seen: Seen, now: Tick) {
        let Some(observation) = self.observation(now) else { return };
        if observation.seen.len() < MOST_SEEN {
            seen.header.mask = seen.header.mask.map(|_| [0; 4]);
            observation.seen.push(seen);
        } else {
            observation.missed += 1;
        }
    }

    /// Nothing is noted from its end on.
    fn observation(&mut self, now: Tick) -> Option<&mut Observation> {
        self.fate.as_mut()?.observation.as_mut().filter(|observation| now < observation.until)
    }
}
