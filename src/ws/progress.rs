//! How many of its bytes a side has taken, wherever the other bytes wait: in our memory, in the kernel, or in a stream
//! without a socket. Only what the far end has taken proves that it lives. A full stream that takes bytes again shows
//! that too, because the far end has made the room.

use super::tick::Tick;

/// What a side's stream says of the bytes that it got for the side. Of a socket, the kernel says it (`TCP_INFO`,
/// `SIOCOUTQ`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// A count that grows only when the side takes bytes: of TCP, the bytes that it has taken since its connection began; of a
    /// Unix socket see [`Self::of_queue`].
    pub acknowledged: u64,
    /// The bytes that wait in the kernel or in the stream, because the side or the path is slow.
    pub unsent: u64,
}

/// The longest queue of a side that reads all the time, in bytes as the kernel counts them: some forty small messages. A
/// side that reads and answers no Ping is dead, though the last message is always in its queue at some look.
const SHORT_QUEUE: u64 = 32 * 1024;

impl Progress {
    /// The progress of a side that shares a queue with us, in which so many bytes are unread. Only the side makes the
    /// queue shorter, by reading. Bytes that we add between two looks may hide that it has read; they never make a side
    /// that reads nothing seem to read. While the queue is full, nothing is added, and each byte that is read shows.
    #[must_use]
    pub const fn of_queue(bytes: u64) -> Self {
        Self { acknowledged: u64::MAX - bytes, unsent: bytes.saturating_sub(SHORT_QUEUE) }
    }
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
