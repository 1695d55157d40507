//! Whose turn is next among a worker's sessions, and how much a turn and a round may do.
//!
//! Pure: it is told what was moved and what time it is. Work is counted by its price in bytes that were spliced, because that is
//! known without a look at the clock.

use std::collections::VecDeque;

/// What one direction of a session may move in one turn, by its price: a frame of a megabyte and the read that found it. That takes
/// half a millisecond or more. A smaller budget would cut frames of a megabyte: both ends would be woken more often, and a
/// gigabyte would cost a fifth more.
pub(super) const TURN: usize = 1152 * 1024;
/// The least price of a call, and of a turn.
const CALL: usize = 8 * 1024;
/// The price of a byte that is copied and, under TLS, encrypted.
const COPIED: usize = 4;
/// The price of what may be done in a round before the loop looks for events again.
const ROUND: usize = TURN;
/// The price of what is done between two looks at the clock.
const GLANCE: usize = 64 * 1024;
/// A session whose last turn cost more than this is heavy: more than a message of 16 KiB, or eight calls.
const LIGHT: usize = 64 * 1024;
/// What a light session may move in a cycle ahead of the heavy ones, in units of [`CALL`]: two messages and their answers.
const AHEAD: u8 = 4;
/// In place of what was used: the session is heavy.
const HEAVY: u8 = u8::MAX;

/// So many turns of light sessions take less time than it takes to let tasks go before them.
const SHORT: usize = 16;

/// The sessions that have their turn next.
///
/// Heavy sessions take turns, and one that has more goes to the end. Light ones, which send a message now and then, go before
/// them, or each would wait for a turn of every heavy one. So that nobody stays ahead for ever, a light session goes to
/// the end too once it has used what a cycle allows it; a cycle is over when each heavy session that was there at its begin
/// has had its turn.
#[derive(Debug, Default)]
pub(super) struct Rota {
    ahead: VecDeque<u32>,
    heavy: VecDeque<u32>,
    /// Heavy sessions whose turn is still to come in this cycle.
    left: usize,
    cycle: u8,
    /// Tasks went before the last round.
    has_given_way: bool,
}

/// What a session has had, as far as the rota remembers.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Had {
    cycle: u8,
    used: u8,
}

impl Rota {
    /// A session that is not in the rota has its turn when those before it have had theirs.
    pub(super) fn push(&mut self, session: u32, had: Had) {
        let goes_ahead = had.used < AHEAD || (had.cycle != self.cycle && had.used != HEAVY);
        if goes_ahead { self.ahead.push_back(session) } else { self.heavy.push_back(session) }
    }

    /// Takes out whose turn it is.
    pub(super) fn next(&mut self) -> Option<u32> {
        if let Some(session) = self.ahead.pop_front() {
            return Some(session);
        }
        let session = self.heavy.pop_front()?;
        if self.left == 0 {
            self.left = self.heavy.len() + 1;
            self.cycle = self.cycle.wrapping_add(1);
        }
        self.left -= 1;
        Some(session)
    }

    /// After a turn that cost so much. Whether the session is heavy.
    pub(super) fn note(&self, had: &mut Had, cost: usize) -> bool {
        if cost > LIGHT {
            had.used = HEAVY;
            return true;
        }
        let before = if had.cycle == self.cycle && had.used != HEAVY { had.used } else { 0 };
        *had = Had { cycle: self.cycle, used: (before + cost.div_ceil(CALL) as u8).min(AHEAD) };
        false
    }

    /// Whether the next round lets tasks go before it that have something to do, a client that connects among them. Each step of a
    /// handshake would wait for a whole round of sessions otherwise. Never two times in a row, so that sessions wait for one turn
    /// of the tasks at most.
    pub(super) fn gives_way(&mut self, tasks_wait: bool) -> bool {
        let is_long = self.ahead.len() > SHORT || !self.heavy.is_empty();
        self.has_given_way = tasks_wait && is_long && !self.has_given_way;
        self.has_given_way
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ahead.is_empty() && self.heavy.is_empty()
    }
}

/// The price of a call, or of a turn, that moved so many bytes without copying them.
pub(super) const fn price(bytes: usize) -> usize {
    if bytes > CALL { bytes } else { CALL }
}

/// The price of a call that moved so many bytes by copying them.
pub(super) const fn price_of_copy(bytes: usize) -> usize {
    price(COPIED * bytes)
}

/// What the sessions may do in a round, by its price and in time.
#[derive(Debug)]
pub(super) struct Round {
    spent: usize,
    /// What had been spent at the last look at the clock.
    seen: usize,
    /// When the round ends, in the microseconds of its caller.
    until: u64,
}

impl Round {
    pub(super) const fn new(until: u64) -> Self {
        Self { spent: 0, seen: 0, until }
    }

    pub(super) const fn spend(&mut self, cost: usize) {
        self.spent += cost;
    }

    /// Whether enough was done to look at the clock.
    pub(super) const fn wants_clock(&mut self) -> bool {
        let wants = self.spent - self.seen >= GLANCE;
        if wants {
            self.seen = self.spent;
        }
        wants
    }

    pub(super) const fn is_over(&self, now: u64) -> bool {
        self.spent >= ROUND || now >= self.until
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    /// Both directions of a session that is never done.
    const ALL: usize = 2 * TURN;

    /// A rota with sessions that always want another turn, each of which costs the same.
    struct Model {
        rota: Rota,
        costs: Vec<usize>,
        had: Vec<Had>,
        turns: Vec<usize>,
    }

    impl Model {
        fn new(costs: impl IntoIterator<Item = usize>) -> Self {
            let costs: Vec<_> = costs.into_iter().collect();
            let mut rota = Rota::default();
            (0..costs.len()).for_each(|key| rota.push(key as u32, Had::default()));
            Self { had: vec![Had::default(); costs.len()], turns: vec![0; costs.len()], rota, costs }
        }

        /// Whose turn it was.
        fn give_turn(&mut self) -> usize {
            let key = self.rota.next().expect("somebody always wants one") as usize;
            self.rota.note(&mut self.had[key], self.costs[key]);
            self.turns[key] += 1;
            self.rota.push(key as u32, self.had[key]);
            key
        }

        fn moved(&self) -> Vec<usize> {
            self.turns.iter().zip(&self.costs).map(|(turns, cost)| turns * cost).collect()
        }
    }

    fn range(values: &[usize]) -> (usize, usize) {
        values.iter().fold((usize::MAX, 0), |(least, most), value| (least.min(*value), most.max(*value)))
    }

    fn length(rota: &Rota) -> usize {
        rota.ahead.len() + rota.heavy.len()
    }

    #[test]
    fn sessions_that_are_never_done_have_their_turns_in_order() {
        let mut model = Model::new([ALL; 5]);
        for turn in 0..50 {
            assert_eq!(model.give_turn(), turn % 5);
        }
    }

    #[test]
    fn a_message_waits_for_none_of_the_turns_that_bulk_still_wants() {
        let mut model = Model::new([ALL; 32]);
        for _ in 0..100 {
            model.give_turn();
        }
        let mut had = Had::default();
        for way in ["the message", "its answer"] {
            model.rota.push(1000, had);
            assert_eq!(model.rota.next(), Some(1000), "{way}");
            model.rota.note(&mut had, price_of_copy(64));
        }
    }

    #[test]
    fn who_turns_to_bulk_goes_to_the_end() {
        let mut model = Model::new([ALL; 3]);
        for _ in 0..6 {
            model.give_turn();
        }
        let mut had = Had::default();
        model.rota.push(1000, had);
        assert_eq!(model.rota.next(), Some(1000));
        model.rota.note(&mut had, ALL);
        model.rota.push(1000, had);
        assert_eq!([model.give_turn(), model.give_turn(), model.give_turn()], [0, 1, 2]);
        assert_eq!(model.rota.next(), Some(1000));
    }

    proptest! {
        #[test]
        fn no_session_has_many_times_what_another_has(light in 1..40_usize, heavy in 1..40_usize) {
            let costs = (0..light).map(|_| CALL).chain((0..heavy).map(|_| ALL));
            let mut model = Model::new(costs);
            // Until each bulk session has had many turns.
            while model.turns.iter().skip(light).any(|turns| *turns < 20) {
                model.give_turn();
                prop_assert!(model.turns.iter().sum::<usize>() < 1_000_000, "one is starved: {:?}", model.turns);
            }
            let moved = model.moved();
            let (light, heavy) = moved.split_at(light);
            for each in [light, heavy] {
                let (least, most) = range(each);
                prop_assert!(most - least <= 2 * ALL, "{moved:?}");
            }
            // A call takes its price in time: this is what they have of the worker.
            prop_assert!(light.iter().max() <= heavy.iter().min(), "{moved:?}");
            let (least, most) = range(&model.turns);
            prop_assert!(most / least <= 2 * usize::from(AHEAD), "{:?}", model.turns);
        }

        #[test]
        fn everybody_who_waits_has_a_turn(steps in vec((0..20_u32, 0..4_usize), 1..300)) {
            let (mut rota, mut had) = (Rota::default(), vec![Had::default(); 20]);
            let mut waits = [false; 20];
            for (key, cost) in steps {
                if !std::mem::replace(&mut waits[key as usize], true) {
                    rota.push(key, had[key as usize]);
                }
                prop_assert_eq!(length(&rota), waits.iter().filter(|waits| **waits).count());
                // Now and then nobody has one.
                if let Some(cost) = [CALL, LIGHT, ALL].get(cost) {
                    let next = rota.next().expect("one waits") as usize;
                    prop_assert!(std::mem::replace(&mut waits[next], false));
                    rota.note(&mut had[next], *cost);
                }
            }
            for left in (0..length(&rota)).rev() {
                prop_assert!(rota.next().is_some());
                prop_assert_eq!(length(&rota), left);
            }
            prop_assert!(rota.is_empty() && rota.next().is_none());
        }
    }

    #[test]
    fn tasks_go_before_every_other_round_that_is_long() {
        let mut rota = Rota::default();
        (0..SHORT as u32).for_each(|key| rota.push(key, Had::default()));
        assert!(!rota.gives_way(true), "a short round is over soon");
        rota.push(SHORT as u32, Had::default());
        assert!(!rota.gives_way(false), "no task waits");
        assert_eq!([true; 5].map(|tasks_wait| rota.gives_way(tasks_wait)), [true, false, true, false, true]);
        let mut rota = Rota::default();
        let mut had = Had::default();
        assert!(rota.note(&mut had, ALL));
        rota.push(0, had);
        assert!(rota.gives_way(true), "the turn of a heavy session is long");
    }

    #[test]
    fn a_round_ends_by_its_time_and_by_what_was_moved() {
        let mut round = Round::new(500);
        round.spend(price_of_copy(64));
        assert!(!round.wants_clock() && !round.is_over(499) && round.is_over(500));
        let (mut looks, mut turns) = (0, 0);
        while !round.is_over(0) {
            round.spend(TURN / 2);
            turns += 1;
            looks += usize::from(round.wants_clock());
        }
        assert_eq!((looks, turns), (2, 2), "of such turns each is followed by a look at the clock");
    }
}
