//! What has become of the sessions that one worker was to let leave in the last rebalance. A session that was chosen by an earlier one,
//! and leaves late, is not among them.

use std::collections::HashSet;

/// How a rebalance stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::net) struct RebalanceTally {
    /// Sessions that are still to leave, or are on their way: their Close is not answered, or no other backend has them yet.
    pub(in crate::net) waiting: usize,
    /// Those that another backend has.
    pub(in crate::net) moved: usize,
    /// Those that have ended.
    pub(in crate::net) ended: usize,
}

impl RebalanceTally {
    pub(in crate::net) const fn add(&mut self, other: Self) {
        self.waiting += other.waiting;
        self.moved += other.moved;
        self.ended += other.ended;
    }
}

/// The sessions that were told to leave, by their places in the table of the worker.
#[derive(Debug, Default)]
pub(in crate::net) struct Departures {
    /// Those that may still leave. No more than the worker has sessions.
    told: HashSet<u32>,
    moved: usize,
    ended: usize,
}

impl Departures {
    /// Another rebalance begins.
    pub(in crate::net) fn begin(&mut self) {
        *self = Self::default();
    }

    /// The session at this place is told to leave, or to stay.
    pub(in crate::net) fn tell(&mut self, place: u32, leaves: bool) {
        if leaves {
            self.told.insert(place);
        } else {
            self.told.remove(&place);
        }
    }

    pub(in crate::net) fn has(&self, place: u32) -> bool {
        self.told.contains(&place)
    }

    /// Another backend has the session at this place, which has left its own in a rebalance.
    pub(in crate::net) fn note_moved(&mut self, place: u32) {
        self.moved += usize::from(self.told.remove(&place));
    }

    /// The session at this place is over. `has_left`: it has ended because of a rebalance.
    pub(in crate::net) fn note_end(&mut self, place: u32, has_left: bool) {
        if !self.told.is_empty() {
            self.ended += usize::from(self.told.remove(&place) && has_left);
        }
    }

    /// How the rebalance stands at this worker, where so many sessions are still to leave, or on their way.
    pub(in crate::net) const fn tally(&self, waiting: usize) -> RebalanceTally {
        RebalanceTally { waiting, moved: self.moved, ended: self.ended }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_session_counts_once_and_for_the_rebalance_that_chose_it() {
        let mut departures = Departures::default();
        departures.begin();
        (0..5).for_each(|place| departures.tell(place, true));
        departures.tell(4, false);
        departures.note_moved(0);
        // It has left already, so that this is another end. So is that of a client that has closed, and of a newcomer.
        departures.note_end(0, true);
        departures.note_end(1, true);
        departures.note_end(2, false);
        departures.note_end(4, true);
        departures.note_moved(7);
        assert_eq!(departures.tally(1), RebalanceTally { waiting: 1, moved: 1, ended: 1 });
        assert!(departures.has(3) && !departures.has(2));
        departures.begin();
        departures.tell(8, true);
        departures.note_end(3, true);
        assert_eq!(departures.tally(1), RebalanceTally { waiting: 1, moved: 0, ended: 0 });
    }
}
