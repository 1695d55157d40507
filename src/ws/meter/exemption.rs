//! What a client that has come back may send again beyond the rates.

use std::time::Duration;

use crate::ws::{rate::Rate, tick::Tick};

/// What an exempt frame counts beside its bytes. An end that keeps messages to send them again counts them so too.
const FRAME: u64 = 8;

/// As much beyond the rates as a client can have kept, to send it again.
///
/// It is whole again only when all that was taken of it would have passed at the rates. So a client that comes back all the time passes
/// its rates at most twice over.
#[derive(Debug)]
pub(super) struct Exemption {
    /// So many bytes are left.
    left: u64,
    /// What comes later is said for the first time.
    until: Tick,
    /// It is not whole again before.
    again: Tick,
    /// So many of the next bytes belong to a frame that was taken.
    frame: u64,
}

impl Exemption {
    pub(super) const fn new(now: Tick) -> Self {
        Self { left: 0, until: now, again: now, frame: 0 }
    }

    /// The client is back. It has kept at most `most` bytes. `longest`: its repetition lasts no longer, and so long after this one the next
    /// one is exempt at the earliest.
    pub(super) fn renew(&mut self, most: u64, longest: Duration, now: Tick) {
        if self.again <= now {
            (self.left, self.again) = (most, now + longest);
        }
        (self.until, self.frame) = (now + longest, 0);
    }

    /// Takes a frame of `size` bytes, header included, that the limit of frames refuses. All its bytes are exempt then.
    pub(super) fn take_frame(&mut self, size: u64, frames: Rate, now: Tick) -> bool {
        let is_taken = self.take(size.saturating_add(FRAME), frames.time(1), now);
        if is_taken {
            self.frame = size;
        }
        is_taken
    }

    /// How many of so many bytes belong to a frame that was taken.
    pub(super) fn take_of_frame(&mut self, count: u64) -> u64 {
        let of_frame = self.frame.min(count);
        self.frame -= of_frame;
        of_frame
    }

    /// Takes bytes that their limit refuses.
    pub(super) fn take_bytes(&mut self, count: u64, bytes: Rate, now: Tick) -> bool {
        self.take(count, bytes.time(count), now)
    }

    /// `time`: how long it would take to pass at the rate, in nanoseconds.
    fn take(&mut self, count: u64, time: u64, now: Tick) -> bool {
        let is_taken = now < self.until && count <= self.left;
        if is_taken {
            self.left -= count;
            self.again = self.again.after(time);
        }
        is_taken
    }
}
