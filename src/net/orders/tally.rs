//! What the sessions of a worker have passed, sessions that still live included.
//!
//! Each session counts for itself. Its counts are added up when it ends, and whenever somebody asks. Only frames by
//! opcode are counted in one table for all sessions of a worker, which is handed out with each count.

use std::{
    collections::{HashMap, VecDeque},
    ops::Range,
    sync::{Arc, Weak},
};

use tokio::sync::oneshot;

use crate::{
    metrics::{RouteMetrics, TrafficCounts},
    ws::opcodes::OpCodeCounts,
};

/// Places of the table that one wake-up looks at.
const SLICE: usize = 256;

/// What has passed, at the end of a count.
#[derive(Debug, Clone, Default)]
pub(in crate::net) struct Tally {
    /// The key is the number of a route.
    pub(in crate::net) routes: HashMap<usize, TrafficCounts>,
    /// Frames by opcode, when the count ended.
    pub(in crate::net) opcodes: OpCodeCounts,
    /// Sessions that lived when the count ended.
    pub(in crate::net) live: usize,
}

/// The sums of a worker.
///
/// A count looks at the table slice by slice, and sessions come and end meanwhile. Each session counts exactly once:
///
/// 1. A count begins with the sums of the sessions that have ended before.
/// 2. A session that ends before the count has reached its place is added as it ends.
/// 3. A session that ends later has been added already.
///
/// Therefore no count is ever less than an earlier one.
#[derive(Debug, Default)]
pub(in crate::net) struct Ledger {
    /// The key is the number of a route.
    ended: HashMap<usize, EndedTraffic>,
    counts: VecDeque<Count>,
}

/// What the sessions of one route have passed that have ended.
#[derive(Debug)]
struct EndedTraffic {
    passed: TrafficCounts,
    /// When the route is gone, nobody asks for it any more.
    route: Weak<RouteMetrics>,
}

/// A count on its way through the table.
#[derive(Debug)]
struct Count {
    tally: Tally,
    /// The next place to look at.
    at: usize,
    /// Dropped without an answer if the worker ends first.
    answer: oneshot::Sender<Tally>,
}

impl Tally {
    pub(in crate::net) fn add(&mut self, route: usize, passed: TrafficCounts) {
        *self.routes.entry(route).or_default() += passed;
    }

    /// Adds the tally of another worker.
    pub(in crate::net) fn merge(&mut self, other: &Self) {
        for (route, passed) in &other.routes {
            self.add(*route, *passed);
        }
        self.opcodes += other.opcodes;
    }
}

impl Ledger {
    /// Begins a count that `answer` waits for.
    pub(in crate::net) fn begin(&mut self, answer: oneshot::Sender<Tally>) {
        self.forget_gone();
        let routes = self.ended.iter().map(|(route, ended)| (*route, ended.passed)).collect();
        self.counts.push_back(Count { tally: Tally { routes, ..Tally::default() }, at: 0, answer });
    }

    pub(in crate::net) fn is_idle(&self) -> bool {
        self.counts.is_empty()
    }

    /// Notes that the session at this place of the table has ended.
    pub(in crate::net) fn end(&mut self, place: usize, route: &Arc<RouteMetrics>, passed: TrafficCounts) {
        let number = route.number();
        for count in self.counts.iter_mut().filter(|count| place >= count.at) {
            count.tally.add(number, passed);
        }
        if let Some(ended) = self.ended.get_mut(&number) {
            ended.passed += passed;
            return;
        }
        // Each new route first removes the routes that are gone. So there are never more routes here than lived at one time.
        self.forget_gone();
        self.ended.insert(number, EndedTraffic { passed, route: Arc::downgrade(route) });
    }

    fn forget_gone(&mut self) {
        self.ended.retain(|_, ended| ended.route.strong_count() > 0);
    }

    /// Looks at one slice for the count that has waited longest. `length`: no session has a place beyond this. `live`:
    /// how many sessions there are. `opcodes`: the frames of all sessions since the worker began. `look`: what the
    /// session at a place has passed, and on which route.
    pub(in crate::net) fn proceed(
        &mut self,
        length: usize,
        live: usize,
        opcodes: OpCodeCounts,
        look: impl Fn(usize) -> Option<(usize, TrafficCounts)>,
    ) {
        let Some(count) = self.counts.front_mut() else { return };
        for (route, passed) in count.slice().filter_map(look) {
            count.tally.add(route, passed);
        }
        if count.at >= length || count.answer.is_closed() {
            let Some(mut count) = self.counts.pop_front() else { return };
            (count.tally.live, count.tally.opcodes) = (live, opcodes);
            // Whoever asked may have stopped waiting.
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

    fn passed(bytes: u64) -> TrafficCounts {
        TrafficCounts { bytes: [bytes, 0], ..TrafficCounts::default() }
    }

    /// The bytes in the answer to a count.
    fn bytes(mut answer: oneshot::Receiver<Tally>) -> u64 {
        answer.try_recv().unwrap().routes.values().map(|passed| passed.bytes[0]).sum()
    }

    #[test]
    fn a_session_that_ends_during_a_count_is_counted_once_wherever_the_count_is() {
        // Places in and behind the first slice.
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
