//! How many of its bytes a side has taken, wherever the other bytes wait: in our memory, in the kernel, or in a stream
//! without a socket. Only what the far end has taken proves that it lives. A full stream that takes bytes again shows
//! that too, because the far end has made the room.

use super::tick::Tick;

/// What a side's stream says of the bytes that it got for the side. Of a socket, the kernel says it (`TCP_INFO`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// The bytes that the side has taken since its connection began.
    pub acknowledged: u64,
    /// The bytes that wait in the kernel or in the stream, because the side or the path is slow.
    pub unsent: u64,
}

/// The state of a side's progress at one instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Look {
    pub(super) at: Tick,
    acknowledged: u64,
    /// Whether bytes waited for the side, in our memory or elsewhere.
    pub(super) waits: bool,
}

impl Look {
    /// `holds`: whether bytes wait in our memory.
    pub(super) const fn new(progress: Progress, holds: bool, at: Tick) -> Self {
        Self { at, acknowledged: progress.acknowledged, waits: holds || progress.unsent > 0 }
    }

    /// Whether the side has since taken some of the bytes that waited at this look.
    pub(super) const fn was_followed_by(self, progress: Progress) -> bool {
        self.waits && progress.acknowledged > self.acknowledged
    }
}
