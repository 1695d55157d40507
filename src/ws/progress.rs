//! How many of its bytes a side has taken, whether the other bytes wait in our memory or in the kernel.

use super::tick::Tick;

/// What the kernel says of the bytes that it got for a side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// The bytes that the side has acknowledged since its connection began.
    pub acknowledged: u64,
    /// The bytes that the kernel has not yet sent to the side, because the side or the path is slow.
    pub unsent: u64,
}

/// The state of a side's progress at one instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Look {
    pub(super) at: Tick,
    acknowledged: u64,
    /// Whether bytes waited for the side, in our memory or in the kernel.
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
