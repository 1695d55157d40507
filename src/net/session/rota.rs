//! Whose turn is next among a worker's sessions, and how much a turn and a round may do.
//!
//! Pure: the caller tells what was moved and what time it is. Work is counted by its price, in bytes that are spliced,
//! because the price is known without a look at the clock.

use std::collections::VecDeque;

/// What one direction of a session may move in one turn, by its price: a frame of 1 MiB and the read that found it.
/// That takes half a millisecond or more. A smaller budget would cut such frames: both ends would be woken more often,
/// and a gigabyte would cost a fifth more.
pub(super) const TURN: usize = 1152 * 1024;
/// The least price of a call, and of a turn.
const CALL: usize = 8 * 1024;
/// The price of a byte that is copied and, under TLS, encrypted.
const COPIED: usize = 4;
/// After work of this price, a round ends and the loop looks for events again.
const ROUND: usize = TURN;
/// After work of this price, the loop looks at the clock.
const GLANCE: usize = 64 * 1024;
/// A session whose last turn cost more than this is heavy. That is more than a message of 16 KiB that is copied, or 8 calls.
const LIGHT: usize = 64 * 1024;
/// What a light session may use in a cycle before it loses its place ahead of the heavy ones, in units of [`CALL`]: two
/// messages and their answers.
const AHEAD: u8 = 4;
/// The value of [`Had::used`] that stands for a heavy session.
const HEAVY: u8 = u8::MAX;

/// A round of so many turns of light sessions takes less time than to let tasks go first.
const SHORT: usize = 16;

/// The sessions that have their turn next.
///
/// 1. A heavy session goes to the end of the line of heavy ones if it has more to do.
/// 2. A light session, which sends a message now and then, goes ahead of all heavy ones. Otherwise it would wait for a
///    turn of each.
/// 3. A light session that has used what a cycle allows ([`AHEAD`]) goes to the end of the line too. Otherwise it could
///    stay ahead for ever. What it uses while no heavy session waits does not count: light sessions alone have their
///    turns in the order of their events.
/// 4. A cycle is over when each session that was in the line at its start has had its turn.
#[derive(Debug, Default)]
pub(in crate::net) struct Rota {
    ahead: VecDeque<u32>,
    line: VecDeque<InLine>,
    /// How many of `line` are heavy.
    heavy: usize,
    /// Sessions of `line` whose turn is still to come in this cycle.
    left: usize,
    cycle: u8,
    /// Tasks went before the last round.
    has_given_way: bool,
}

/// A session in the line of heavy ones.
#[derive(Debug, Clone, Copy)]
struct InLine {
    session: u32,
    is_heavy: bool,
}

/// What a session has used of its worker's time, as far as the rota remembers.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::net) struct Had {
    cycle: u8,
    used: u8,
}

impl Rota {
    /// Adds a session that is not in the rota.
    pub(in crate::net) fn push(&mut self, session: u32, had: Had) {
        let is_heavy = had.used == HEAVY;
        if !is_heavy && (had.used < AHEAD || had.cycle != self.cycle) {
            return self.ahead.push_back(session);
        }
        self.line.push_back(InLine { session, is_heavy });
        self.heavy += usize::from(is_heavy);
    }

    /// Takes out the session whose turn is next.
    pub(in crate::net) fn next(&mut self) -> Option<u32> {
        // Once no heavy session waits, those who wait in the line have waited longest.
        if self.heavy > 0 || self.line.is_empty() {
            let ahead = self.ahead.pop_front();
            if ahead.is_some() {
                return ahead;
            }
        }
        let InLine { session, is_heavy } = self.line.pop_front()?;
        if self.left == 0 {
            self.left = self.line.len() + 1;
            self.cycle = self.cycle.wrapping_add(1);
        }
        self.left -= 1;
        self.heavy -= usize::from(is_heavy);
        if self.line.is_empty() {
            // Nobody is left in this cycle. A light session that comes back later must not be held to what it used in it.
            self.left = 0;
            self.cycle = self.cycle.wrapping_add(1);
        }
        Some(session)
    }

    /// Notes a turn that cost so much. Returns whether the session is heavy.
    pub(in crate::net) fn note(&self, had: &mut Had, cost: usize) -> bool {
        if cost > LIGHT {
            had.used = HEAVY;
            return true;
        }
        let before = if had.cycle == self.cycle && had.used != HEAVY { had.used } else { 0 };
        let used = if self.heavy > 0 { (before + cost.div_ceil(CALL) as u8).min(AHEAD) } else { 0 };
        *had = Had { cycle: self.cycle, used };
        false
    }

    /// Gives way to tasks that have something to do, before the next round. Returns whether they go first. A client that
    /// connects has such tasks: each step of its handshake would wait for a whole round otherwise. Tasks never go first
    /// twice in a row, so that sessions wait for one turn of the tasks at most.
    pub(super) fn give_way(&mut self, tasks_wait: bool) -> bool {
        let is_long = self.ahead.len() > SHORT || !self.line.is_empty();
        self.has_given_way = tasks_wait && is_long && !self.has_given_way;
        self.has_given_way
    }

    pub(in crate::net) fn is_empty(&self) -> bool {
        self.ahead.is_empty() && self.line.is_empty()
    }
}

/// The price of a call, or of a turn, that moved so many bytes without a copy.
pub(super) const fn price(bytes: usize) -> usize {
    if bytes > CALL { bytes } else { CALL }
}

/// The price of a call that copied so many bytes.
pub(super) const fn price_of_copy(bytes: usize) -> usize {
    price(COPIED * bytes)
}

/// What the sessions may do in one round, by its price and in time.
#[derive(Debug)]
pub(in crate::net) struct Round {
    spent: usize,
    /// `spent` at the last look at the clock.
    seen: usize,
    /// When the round ends, in microseconds since the caller's epoch.
    until: u64,
}

impl Round {
    pub(in crate::net) const fn new(until: u64) -> Self {
        Self { spent: 0, seen: 0, until }
    }

    pub(super) const fn spend(&mut self, cost: usize) {
        self.spent += cost;
    }

    /// Takes the next look at the clock, if enough was done since the last one. Returns whether to look.
    pub(super) const fn take_glance(&mut self) -> bool {
        let wants = self.spent - self.seen >= GLANCE;
        if wants {
            self.seen = self.spent;
        }
        wants
    }

    pub(in crate::net) const fn is_over(&self, now: u64) -> bool {
        self.spent >= ROUND || now >= self.until
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    /// The price of a turn in which a session that always has more uses the budget of both directions.
    const ALL: usize = 2 * TURN;

    /// A rota of sessions that always want another turn, and whose turns always cost the same.
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

        /// Gives a turn. Returns whose turn it was.
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
        rota.ahead.len() + rota.line.len()
    }

    #[test]
    fn sessions_that_are_never_done_have_their_turns_in_order() {
        let mut model = Model::new([ALL; 5]);
        for turn in 0..50 {
            assert_eq!(model.give_turn(), turn % 5);
        }
    }

    #[test]
    fn light_sessions_alone_have_their_turns_in_order_however_much_they_use() {
        let mut model = Model::new([2 * CALL; 5]);
        for turn in 0..50 {
            assert_eq!(model.give_turn(), turn % 5);
        }
    }

    #[test]
    fn light_sessions_of_the_line_go_first_once_no_heavy_one_waits() {
        let mut model = Model::new([2 * CALL, 2 * CALL, ALL]);
        // The light sessions use up what the cycle allows while the heavy one waits, and go to the line behind it.
        let before: Vec<_> = (0..7).map(|_| model.give_turn()).collect();
        assert_eq!(before, [0, 1, 2, 0, 1, 0, 1]);
        assert_eq!(model.rota.next(), Some(2));
        model.rota.push(7, Had::default());
        assert_eq!([0, 1, 7].map(Some), [(); 3].map(|()| model.rota.next()));
    }

    #[test]
    fn what_a_light_session_used_beside_earlier_bulk_does_not_count_later() {
        let (mut rota, mut light) = (Rota::default(), Had::default());
        let heavy = Had { used: HEAVY, ..Had::default() };
        rota.push(1, heavy);
        rota.push(2, heavy);
        assert_eq!(rota.next(), Some(1));
        // While session 2 waits, the light session uses up what the cycle allows. Then all bulk is over.
        rota.note(&mut light, AHEAD as usize * CALL);
        assert_eq!((rota.next(), rota.next()), (Some(2), None));
        (3..35).for_each(|session| rota.push(session, heavy));
        rota.push(0, light);
        assert_eq!(rota.next(), Some(0), "behind new bulk");
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
            // The price of a call stands for its time: these figures are the shares of the worker's time.
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
                // Sometimes nobody has a turn.
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
        assert!(!rota.give_way(true), "a short round is over soon");
        rota.push(SHORT as u32, Had::default());
        assert!(!rota.give_way(false), "no task waits");
        assert_eq!([true; 5].map(|tasks_wait| rota.give_way(tasks_wait)), [true, false, true, false, true]);
        let mut rota = Rota::default();
        let mut had = Had::default();
        assert!(rota.note(&mut had, ALL));
        rota.push(0, had);
        assert!(rota.give_way(true), "the turn of a heavy session is long");
    }

    #[test]
    fn a_round_ends_by_its_time_and_by_what_was_moved() {
        let mut round = Round::new(500);
        round.spend(price_of_copy(64));
        assert!(!round.take_glance() && !round.is_over(499) && round.is_over(500));
        let (mut looks, mut turns) = (0, 0);
        while !round.is_over(0) {
            round.spend(TURN / 2);
            turns += 1;
            looks += usize::from(round.take_glance());
        }
        assert_eq!((looks, turns), (2, 2), "of such turns each is followed by a look at the clock");
    }
}
