//! What is seen of a run: second by second, and its extremes.

use super::{Millis, limits::Deviation};

/// The fleet is even when its fullest instance has at most so many times its part of all clients.
pub const EVEN: f64 = 1.05;

/// One second.
#[derive(Debug, Clone, Copy, Default)]
pub struct Second {
    /// Attempts that found an instance.
    pub arrivals: u32,
    /// Attempts that found nobody.
    pub nobody: u32,
    /// The most sessions of an instance in turn, to its part of all clients.
    pub ratio: f64,
    pub open: u32,
    /// Handshakes for the watched backend, and how long it is behind, in ms.
    pub watched: u32,
    pub behind: f64,
    pub deviation: Deviation,
}

#[derive(Debug, Default)]
pub struct Record {
    pub seconds: Vec<Second>,
    /// The most attempts at one instance in a second.
    pub busiest: u32,
    /// The most user memory of an instance, in bytes, and its sessions and handshakes then.
    pub memory: f64,
    pub at_most_memory: (u32, u32),
    /// Handshakes that were refused by a limit, or because all backends were busy.
    pub refused: u64,
    /// Handshakes that took too long for their client.
    pub gave_up: u64,
    /// The longest wait of a handshake that succeeded, in ms.
    pub longest: Millis,
    /// Sessions that ended although nobody wanted it: told, or lost.
    pub ended: u64,
    pub opened: u64,
    /// Rounds of `rebalance` that had something to do.
    pub rounds: u32,
    /// When the last client opened a session that had lost one, in ms.
    pub last_back: Millis,
}

impl Record {
    pub fn wait(&mut self, took: Millis) {
        self.longest = self.longest.max(took);
    }

    pub fn memory(&mut self, bytes: f64, sessions: u32, in_flight: u32) {
        if bytes > self.memory {
            (self.memory, self.at_most_memory) = (bytes, (sessions, in_flight));
        }
    }

    /// Arrivals in the busiest second, and in the one that 99 of 100 do not surpass, of the seconds from this one on in which somebody
    /// was on the way back.
    pub fn arrivals(&self, since: usize) -> (u32, u32) {
        let until = if self.last_back == 0 { usize::MAX } else { (self.last_back / 1000) as usize + 1 };
        let end = until.clamp(since, self.seconds.len());
        let mut counts: Vec<_> = self.seconds[since.min(end)..end].iter().map(|second| second.arrivals).collect();
        counts.sort_unstable();
        let place = counts.len().saturating_sub(1);
        (counts.last().copied().unwrap_or(0), counts.get(place * 99 / 100).copied().unwrap_or(0))
    }

    pub fn nobody(&self) -> u64 {
        self.seconds.iter().map(|second| u64::from(second.nobody)).sum()
    }

    /// The seconds from this one on until the fleet is even and stays so; `None` where it is not even at the end.
    pub fn even_after(&self, since: usize) -> Option<usize> {
        let uneven = self.seconds.iter().rposition(|second| second.ratio > EVEN);
        match uneven {
            None => Some(0),
            Some(last) if last + 1 == self.seconds.len() => None,
            Some(last) => Some((last + 1).saturating_sub(since)),
        }
    }

    pub fn most_uneven(&self) -> f64 {
        self.seconds.iter().map(|second| second.ratio).fold(0.0, f64::max)
    }
}
