//! What a side has taken of the bytes for it, wherever those that it has not taken wait.

use super::tick::Tick;

/// What the kernel says of the bytes that it was given for a side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Bytes that the side has acknowledged since its connection began.
    pub acknowledged: u64,
    /// Bytes that have not been sent to it yet: it is slow, or the path is.
    pub unsent: u64,
}

/// A look at the progress of a side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Look {
    pub(super) at: Tick,
    acknowledged: u64,
    /// Bytes waited for the side, in our hands or in the kernel.
    pub(super) waits: bool,
}

impl Look {
    /// `holds`: bytes wait in our hands.
    pub(super) const fn new(progress: Progress, holds: bool, at: Tick) -> Self {
        Self { at, acknowledged: progress.acknowledged, waits: holds || progress.unsent > 0 }
    }

    /// Whether the side has taken some of what waited for it then.
    pub(super) const fn was_followed_by(self, progress: Progress) -> bool {
        self.waits && progress.acknowledged > self.acknowledged
    }
}
