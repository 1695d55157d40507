//! What the sessions of a worker have passed, those that live included. A session counts for itself anyway, and is added up
//! when it ends, and whenever somebody asks. Only frames by opcode are counted by all of a worker's sessions together, in one
//! table, which is handed out with each count.

use std::{
    collections::{HashMap, VecDeque},
    ops::Range,
    sync::{Arc, Weak},
};

use tokio::sync::oneshot;

use crate::{
    metrics::{Passed, RouteMetrics},
    ws::opcodes::OpCodeCounts,
};

/// Places of the table that are looked at in one go.
const SLICE: usize = 256;

/// What has passed.
#[derive(Debug, Clone, Default)]
pub(super) struct Tally {
    /// By the number of a route.
    pub(super) routes: HashMap<usize, Passed>,
    /// When the count ended.
    pub(super) opcodes: OpCodeCounts,
    /// Sessions in the table when the count ended.
    pub(super) live: usize,
}

/// The sums of a worker.
///
/// A count looks at the table slice by slice, and sessions come and end meanwhile. Each counts exactly once: it begins with
/// what had ended by then, a session that ends before its turn is added as it ends, and one that ends later has been added
/// already. So no count is ever less than one before it.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// By the number of a route.
    ended: HashMap<usize, Ended>,
    counts: VecDeque<Count>,
}

/// What the sessions of a route have passed that have ended.
#[derive(Debug)]
struct Ended {
    passed: Passed,
    /// Nobody asks for a route that lives no more.
    route: Weak<RouteMetrics>,
}

/// A count on its way through the table.
#[derive(Debug)]
struct Count {
    tally: Tally,
    /// The place that is looked at next.
    at: usize,
    /// Dropped without an answer where the worker ends first.
    answer: oneshot::Sender<Tally>,
}

impl Tally {
    pub(super) fn add(&mut self, route: usize, passed: Passed) {
        *self.routes.entry(route).or_default() += passed;
    }

    /// Adds those of another worker.
    pub(super) fn merge(&mut self, other: &Self) {
        for (route, passed) in &other.routes {
            self.add(*route, *passed);
        }
        self.opcodes += other.opcodes;
    }
}

impl Ledger {
    /// Somebody wants to know.
    pub(super) fn begin(&mut self, answer: oneshot::Sender<Tally>) {
        self.forget_gone();
        let routes = self.ended.iter().map(|(route, ended)| (*route, ended.passed)).collect();
        self.counts.push_back(Count { tally: Tally { routes, ..Tally::default() }, at: 0, answer });
    }

    pub(super) fn is_idle(&self) -> bool {
        self.counts.is_empty()
    }

    /// The session at this place of the table ends.
    pub(super) fn end(&mut self, place: usize, route: &Arc<RouteMetrics>, passed: Passed) {
        let number = route.number();
        for count in self.counts.iter_mut().filter(|count| place >= count.at) {
            count.tally.add(number, passed);
        }
        if let Some(ended) = self.ended.get_mut(&number) {
            ended.passed += passed;
            return;
        }
        // Whoever adds one looks for those that are gone: so there are never more than lived at one time.
        self.forget_gone();
        self.ended.insert(number, Ended { passed, route: Arc::downgrade(route) });
    }

    fn forget_gone(&mut self) {
        self.ended.retain(|_, ended| ended.route.strong_count() > 0);
    }

    /// One slice for the count that has waited longest. `length`: no session has a place beyond; `live`: how many there are;
    /// `opcodes`: the frames of all that ever were; `look`: what the session at a place has passed, and on which route.
    pub(super) fn proceed(
        &mut self,
        length: usize,
        live: usize,
        opcodes: OpCodeCounts,
        look: impl Fn(usize) -> Option<(usize, Passed)>,
    ) {
        let Some(count) = self.counts.front_mut() else { return };
        for (route, passed) in count.slice().filter_map(look) {
            count.tally.add(route, passed);
        }
        if count.at >= length || count.answer.is_closed() {
            let Some(mut count) = self.counts.pop_front() else { return };
            (count.tally.live, count.tally.opcodes) = (live, opcodes);
            // Whoever asked may have lost patience.
            let _ = count.answer.send(count.tally);
        }
    }
}

impl Count {
    fn slice(&mut self) -> Range<usize> {
        let from = self.at;
        self.at += SLICE;
        from..self.at
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;

    fn passed(bytes: u64) -> Passed {
        Passed { bytes: [bytes, 0], ..Passed::default() }
    }

    /// The sum of a count over a table with one session at each of these places.
    fn bytes(mut answer: oneshot::Receiver<Tally>) -> u64 {
        answer.try_recv().unwrap().routes.values().map(|passed| passed.bytes[0]).sum()
    }

    #[test]
    fn a_session_that_ends_during_a_count_is_counted_once_wherever_the_count_is() {
        // Places before and behind the first slice.
        let route = Metrics::default().route("*/", "chat");
        for place in [0, SLICE - 1, SLICE, SLICE + 1] {
            let mut ledger = Ledger::default();
            let (sender, answer) = oneshot::channel();
            ledger.begin(sender);
            ledger.proceed(2 * SLICE, 1, OpCodeCounts::default(), |at| (at == place).then_some((0, passed(10))));
            ledger.end(place, &route, passed(12));
            ledger.proceed(2 * SLICE, 0, OpCodeCounts::default(), |_| None);
            let first = bytes(answer);
            assert_eq!(first, if place < SLICE { 10 } else { 12 }, "{place}");
            let (sender, answer) = oneshot::channel();
            ledger.begin(sender);
            ledger.proceed(SLICE, 0, OpCodeCounts::default(), |_| None);
            assert_eq!(bytes(answer), 12, "{place}");
            assert!(ledger.is_idle());
        }
    }

    #[test]
    fn a_place_that_is_taken_again_is_another_session() {
        let mut ledger = Ledger::default();
        let (sender, answer) = oneshot::channel();
        ledger.begin(sender);
        ledger.end(SLICE, &Metrics::default().route("*/", "chat"), passed(1));
        ledger.proceed(2 * SLICE, 1, OpCodeCounts::default(), |at| (at == SLICE).then_some((3, passed(100))));
        ledger.proceed(2 * SLICE, 1, OpCodeCounts::default(), |at| (at == SLICE).then_some((3, passed(100))));
        assert_eq!(bytes(answer), 101);
    }

    #[test]
    fn routes_that_are_gone_leave_nothing() {
        let (mut ledger, metrics) = (Ledger::default(), Metrics::default());
        let stays = metrics.route("*/", "chat");
        ledger.end(0, &stays, passed(1));
        for n in 0..200 {
            ledger.end(0, &metrics.route(&format!("*/{n}"), "chat"), passed(1));
            assert!(ledger.ended.len() <= 2);
        }
        let (sender, answer) = oneshot::channel();
        ledger.begin(sender);
        assert_eq!(ledger.ended.len(), 1);
        ledger.proceed(0, 0, OpCodeCounts::default(), |_| None);
        assert_eq!(bytes(answer), 1);
    }
}
