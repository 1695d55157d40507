//! What this instance counts, and what the server has not been told of it.
//!
//! The counts here are the truth about this instance. The server has a copy. A rewrite tells it every count, in chunks. What changes
//! behind the chunk in which its client was, and all that changes later, waits as a difference until it is told too.

use std::{collections::HashMap, mem};

use crate::sender::Octets;

/// The most clients of one chunk. The server does nothing else while it runs one.
pub(super) const CHUNK: usize = 512;
/// The most clients whose differences wait. If there are more, all counts are rewritten instead.
pub(super) const MOST_PENDING: usize = 1 << 17;

#[derive(Debug, Default)]
pub(super) struct OwnCounts {
    total: i64,
    clients: HashMap<Octets, OwnCount>,
    /// Whether differences count: a rewrite has begun on this connection.
    is_told: bool,
    /// The number of the rewrite.
    rewrite: u64,
    /// The clients that the rewrite has not told yet, and those that are gone meanwhile.
    left: Vec<Octets>,
    pending: HashMap<Octets, i64>,
    pending_total: i64,
    /// Differences were lost for want of room.
    has_overflowed: bool,
}

#[derive(Debug, Clone, Copy)]
struct OwnCount {
    sessions: i64,
    /// The rewrite that has told it.
    told_by: u64,
}

/// Counts that a rewrite tells.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct CountsChunk {
    pub(super) clients: Vec<(Octets, i64)>,
    /// The sum of all, if this is the last chunk.
    pub(super) total: Option<i64>,
}

impl OwnCounts {
    /// Sessions, and handshakes that may become sessions.
    pub(super) const fn total(&self) -> u64 {
        self.total.unsigned_abs()
    }

    /// Counts a session. `is_known`: the server has counted it already.
    pub(super) fn add(&mut self, network: Option<Octets>, is_known: bool) {
        self.change(network, 1, is_known);
    }

    pub(super) fn remove(&mut self, network: Option<Octets>) {
        self.change(network, -1, false);
    }

    fn change(&mut self, network: Option<Octets>, by: i64, is_known: bool) {
        self.total += by;
        if !is_known {
            self.pending_total += by;
        }
        let Some(network) = network else { return };
        // A client that comes up behind the begin of a rewrite is not in it.
        let told_by = if self.is_told { self.rewrite } else { 0 };
        let count = self.clients.entry(network).or_insert(OwnCount { sessions: 0, told_by });
        count.sessions += by;
        let (is_gone, is_told) = (count.sessions <= 0, self.is_told && count.told_by == self.rewrite);
        if is_gone {
            self.clients.remove(&network);
        }
        if is_told && !is_known {
            self.note(network, by);
        }
    }

    fn note(&mut self, network: Octets, by: i64) {
        if self.has_overflowed {
            return;
        }
        let pending = self.pending.entry(network).or_default();
        *pending += by;
        if *pending == 0 {
            self.pending.remove(&network);
        }
        if self.pending.len() > MOST_PENDING {
            self.pending = HashMap::new();
            self.has_overflowed = true;
        }
    }

    /// The server cannot be told anything until the next rewrite.
    pub(super) fn forget_differences(&mut self) {
        (self.pending, self.left) = (HashMap::new(), Vec::new());
        (self.is_told, self.has_overflowed) = (false, false);
    }

    pub(super) fn begin_rewrite(&mut self) {
        self.forget_differences();
        self.is_told = true;
        self.rewrite += 1;
        self.left = self.clients.keys().copied().collect();
    }

    /// The next counts of the rewrite, those of `most` clients.
    pub(super) fn next_chunk(&mut self, most: usize) -> CountsChunk {
        let mut clients = Vec::new();
        while clients.len() < most
            && let Some(network) = self.left.pop()
        {
            // A client that was gone and has come back waits as a difference.
            if let Some(count) = self.clients.get_mut(&network).filter(|count| count.told_by != self.rewrite) {
                count.told_by = self.rewrite;
                clients.push((network, count.sessions));
            }
        }
        let is_last = self.left.is_empty();
        if is_last {
            self.left = Vec::new();
            self.pending_total = 0;
        }
        CountsChunk { clients, total: is_last.then_some(self.total) }
    }

    pub(super) fn has_differences(&self) -> bool {
        self.pending_total != 0 || !self.pending.is_empty()
    }

    pub(super) const fn has_overflowed(&self) -> bool {
        self.has_overflowed
    }

    /// Takes differences to tell, [`CHUNK`] at most, and that of the sum.
    pub(super) fn take_differences(&mut self) -> (Vec<(Octets, i64)>, i64) {
        let total = mem::take(&mut self.pending_total);
        let clients = if self.pending.len() <= CHUNK {
            mem::take(&mut self.pending).into_iter().collect()
        } else {
            self.pending.extract_if(|_, _| true).take(CHUNK).collect()
        };
        (clients, total)
    }

    /// The counts of all clients, for tests.
    #[cfg(test)]
    pub(super) fn clients(&self) -> impl Iterator<Item = (Octets, i64)> {
        self.clients.iter().map(|(network, count)| (*network, count.sessions))
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use proptest::{collection::vec, prelude::*};

    use super::*;
    use crate::sender::Client;

    fn network(number: u32) -> Octets {
        Client::from(IpAddr::from(number.to_be_bytes())).counted_as()
    }

    /// What a server has been told.
    #[derive(Debug, Default, PartialEq)]
    struct Copy {
        total: i64,
        clients: HashMap<Octets, i64>,
    }

    impl Copy {
        fn of(counts: &OwnCounts) -> Self {
            Self { total: counts.total, clients: counts.clients().collect() }
        }

        fn hear(&mut self, (clients, total): (Vec<(Octets, i64)>, i64)) {
            self.total += total;
            for (network, by) in clients {
                *self.clients.entry(network).or_default() += by;
            }
            self.clients.retain(|_, count| *count != 0);
        }
    }

    proptest! {
        #[test]
        fn a_rewrite_and_what_changes_meanwhile_make_a_true_copy(
            events in vec((0..9_u8, 0..6_u32), 0..200),
        ) {
            let (mut counts, mut copy, mut chunks) = (OwnCounts::default(), Copy::default(), None);
            let mut held: Vec<Option<Octets>> = Vec::new();
            for (event, number) in events {
                let some = Some(network(number)).filter(|_| number > 0);
                match event {
                    0..=2 => {
                        counts.add(some, false);
                        held.push(some);
                    }
                    3 | 4 if !held.is_empty() => counts.remove(held.swap_remove(number as usize % held.len())),
                    5 => {
                        counts.begin_rewrite();
                        (copy, chunks) = (Copy::default(), Some(true));
                    }
                    6 => {
                        counts.forget_differences();
                        chunks = None;
                    }
                    7 if chunks == Some(true) => {
                        let chunk = counts.next_chunk(1);
                        copy.clients.extend(chunk.clients);
                        if let Some(total) = chunk.total {
                            (copy.total, chunks) = (total, Some(false));
                        }
                    }
                    8 if chunks == Some(false) => copy.hear(counts.take_differences()),
                    _ => {}
                }
            }
            while chunks == Some(true) {
                let chunk = counts.next_chunk(CHUNK);
                copy.clients.extend(chunk.clients);
                if let Some(total) = chunk.total {
                    (copy.total, chunks) = (total, Some(false));
                }
            }
            if chunks == Some(false) {
                copy.hear(counts.take_differences());
                prop_assert!(!counts.has_differences());
                prop_assert_eq!(copy, Copy::of(&counts));
            }
        }
    }

    #[test]
    fn what_the_server_has_counted_is_not_told() {
        let mut counts = OwnCounts::default();
        counts.begin_rewrite();
        assert_eq!(counts.next_chunk(CHUNK), CountsChunk { clients: Vec::new(), total: Some(0) });
        counts.add(Some(network(1)), true);
        assert!(!counts.has_differences() && counts.total() == 1);
        counts.remove(Some(network(1)));
        assert_eq!(counts.take_differences(), (vec![(network(1), -1)], -1));
    }

    #[test]
    fn too_many_differences_are_dropped_for_a_rewrite_and_many_are_told_in_parts() {
        let mut counts = OwnCounts::default();
        counts.begin_rewrite();
        let _ = counts.next_chunk(CHUNK);
        (0..2 * CHUNK as u32).for_each(|number| counts.add(Some(network(number)), false));
        let (first, total) = counts.take_differences();
        assert_eq!((first.len(), total), (CHUNK, 2 * CHUNK as i64));
        assert_eq!(counts.take_differences().0.len(), CHUNK);
        (0..=MOST_PENDING as u32).for_each(|number| counts.add(Some(network(number)), false));
        assert!(counts.has_overflowed() && counts.pending.is_empty());
        counts.begin_rewrite();
        assert!(!counts.has_overflowed() && counts.left.len() == MOST_PENDING + 1);
    }
}
