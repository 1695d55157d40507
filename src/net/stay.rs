//! Where a worker waits for what comes next: in the runtime, or in its own epoll, which spares the runtime's wake-up.
//!
//! The contract: **whoever has work for a worker has it done within 1 ms on an idle core, whatever the worker believes of the next
//! event.** Only what `coalesce` makes sessions wait comes on top, for these.
//!
//! | who has work | seen |
//! |---|---|
//! | a session, a client that connects, who speaks HTTP | at once: each of their sockets is in the worker's own epoll |
//! | another thread: a connection, an order, a question | at once: it knocks ([`super::door`]) |
//! | a timer of the runtime | when the worker has stayed for [`LONGEST`], at the latest |
//! | a session's alarm | at its time: no stay reaches beyond it |
//!
//! To keep it, the loop of the sessions stays by these rules:
//!
//! 1. It stays only while events come less than [`NEAR`] apart, or where `coalesce` gains something.
//! 2. Before each stay, tasks and timers have had their turn since the last one.
//! 3. A stay ends with the first event for a task, and when a session has more to do than one turn takes.
//! 4. It ends [`LONGEST`] after its wake-up began, by the bell where no event comes.
//!
//! Pure: it is told the time, in microseconds since its caller's epoch.

use std::mem;

/// Events that come as near to each other as this make the loop stay for the next ones.
const NEAR: u64 = 250;
/// A stay ends this long after its wake-up began. What is left to 1 ms is for a turn that has just begun, and for the runtime.
const LONGEST: u64 = 900;
/// No event is waited for so late in a stay: the bell, which costs a wake-up, hardly ever rings.
const LAST_EVENT: u64 = LONGEST - NEAR;
/// The longest gap between events that is told from longer ones.
const LONGEST_GAP: u64 = 5_000;

/// What the loop does when the turns of a wake-up are over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// Tasks and timers have their turn, then the loop again.
    Yield,
    /// It waits for events itself, until the bell rings at this time.
    Stay { bell: u64 },
    /// The runtime waits, and wakes the loop.
    Leave,
}

/// What the decisions depend on beside the time.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Seen {
    /// A session has more to do, or something goes through the table of the sessions.
    pub(super) has_more: bool,
    /// An event of this wake-up was for a task.
    pub(super) wakes_tasks: bool,
    /// When the next alarm of a session rings.
    pub(super) alarm: Option<u64>,
}

/// What a worker knows of how its events come.
#[derive(Debug)]
pub(super) struct Stay {
    /// When the wake-up began.
    began: u64,
    /// When events came for sessions last.
    last_events: u64,
    /// How far apart they come, of late. A single pair of a message and its answer does not make them near.
    pace: u64,
    /// Tasks and timers have had their turn since the last stay.
    may_stay: bool,
}

impl Stay {
    pub(super) const fn new() -> Self {
        Self { began: 0, last_events: 0, pace: LONGEST_GAP, may_stay: false }
    }

    /// A wake-up begins.
    pub(super) const fn begin(&mut self, now: u64) {
        self.began = now;
    }

    /// Sessions have a turn now.
    pub(super) fn note_events(&mut self, now: u64) {
        let gap = (now - self.last_events).min(LONGEST_GAP);
        self.pace = (3 * self.pace + gap) / 4;
        self.last_events = now;
    }

    /// Whether the next events will be here sooner than the runtime would be asleep and awake again.
    pub(super) const fn is_lively(&self, now: u64) -> bool {
        self.pace < NEAR && now - self.last_events < NEAR
    }

    /// Whether a stay may follow the runtime's next look: who comes after that look has to knock.
    pub(super) const fn may_stay(&self) -> bool {
        self.may_stay
    }

    /// What comes after the turns of a wake-up.
    pub(super) fn next(&mut self, now: u64, seen: Seen) -> Next {
        let may_stay = mem::take(&mut self.may_stay);
        if seen.has_more {
            return Next::Yield;
        }
        if seen.wakes_tasks || !self.is_lively(now) {
            return Next::Leave;
        }
        if !may_stay {
            self.may_stay = true;
            return Next::Yield;
        }
        let bell = self.began + LONGEST;
        if seen.alarm.is_some_and(|alarm| alarm <= bell) { Next::Leave } else { Next::Stay { bell } }
    }

    /// Whether events are still taken in this stay.
    pub(super) const fn takes_events(&self, now: u64) -> bool {
        now < self.began + LAST_EVENT
    }
}

#[cfg(test)]
mod tests {
    use Work::{Accept, Http, OtherThread, Session, Timer};

    use super::*;

    /// What things take, in microseconds: a turn, a task, a pass of the runtime, to be woken.
    const TURN: u64 = 8;
    const TASK: u64 = 20;
    const PASS: u64 = 3;
    const WAKE: u64 = 20;
    /// The sessions' share of a wake-up.
    const BUSY: u64 = 500;

    /// Who has work.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    enum Work {
        Session,
        Accept,
        Http,
        OtherThread,
        Timer,
    }

    const KINDS: [Work; 5] = [Session, Accept, Http, OtherThread, Timer];

    /// A worker on an idle core, in virtual time.
    struct Model {
        stay: Stay,
        now: u64,
        /// By [`Work`]: when it arrives, soonest last.
        coming: [Vec<u64>; 5],
        /// Events of sessions that wait for a turn.
        queued: Vec<u64>,
        /// Tasks that run when the loop has ended its wake-up.
        tasks: Vec<(Work, u64)>,
        /// By [`Work`]: the longest that one has waited until it was done.
        longest: [u64; 5],
        /// This is looked at by the runtime only.
        unwatched: Option<Work>,
        /// Other threads knock.
        is_shut: bool,
        /// One has, and the runtime has its task already.
        knocked: bool,
        stays: usize,
    }

    impl Model {
        /// `apart`: how many microseconds apart each kind comes, on average.
        fn new(seed: u64, apart: [u64; 5], time: u64) -> Self {
            let mut random = seed;
            let mut draw = move |most: u64| {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (random >> 33) % most
            };
            let coming = apart.map(|apart| {
                let (mut at, mut all) = (0, Vec::new());
                while at < time {
                    // Now in bursts, now alone, now not for a while.
                    at += match draw(8) {
                        0..=2 => draw(apart / 4 + 1),
                        7 => draw(8 * apart) + 1,
                        _ => draw(2 * apart) + 1,
                    };
                    all.push(at);
                }
                all.reverse();
                all
            });
            Self {
                stay: Stay::new(),
                now: 0,
                coming,
                queued: vec![],
                tasks: vec![],
                longest: [0; 5],
                unwatched: None,
                is_shut: false,
                knocked: false,
                stays: 0,
            }
        }

        fn take(&mut self, kind: Work) -> Option<u64> {
            self.coming[kind as usize].pop_if(|at| *at <= self.now)
        }

        fn done(&mut self, kind: Work, since: u64) {
            let longest = &mut self.longest[kind as usize];
            *longest = (*longest).max(self.now - since);
        }

        /// Whether the worker's own epoll tells of it.
        fn is_watched(&self, kind: Work) -> bool {
            kind != Timer && self.unwatched != Some(kind) && (kind != OtherThread || self.is_shut)
        }

        /// Sleeps until the first of these comes, or until then.
        fn sleep(&mut self, until: u64, kinds: impl Fn(&Self, Work) -> bool) {
            let next =
                KINDS.iter().filter(|kind| kinds(self, **kind)).filter_map(|kind| self.coming[*kind as usize].last());
            let next = next.copied().min().unwrap_or(u64::MAX).min(until);
            if next > self.now {
                self.now = next + WAKE;
            }
        }

        /// Takes what the worker's own epoll has. Whether a task was woken.
        fn look(&mut self) -> bool {
            self.now += 1;
            while let Some(since) = self.take(Session) {
                self.queued.push(since);
            }
            let before = self.tasks.len();
            for kind in [Accept, Http, OtherThread] {
                while self.is_watched(kind)
                    && let Some(since) = self.take(kind)
                {
                    self.tasks.push((kind, since));
                }
            }
            mem::take(&mut self.knocked) || self.tasks.len() > before
        }

        fn give_turns(&mut self) {
            if !self.queued.is_empty() {
                self.stay.note_events(self.now);
            }
            for since in mem::take(&mut self.queued) {
                self.now += TURN;
                self.done(Session, since);
            }
        }

        /// One wake-up of the loop. Whether it wants another at once.
        fn wake_up(&mut self) -> bool {
            self.stay.begin(self.now);
            let until = self.now + BUSY;
            let mut seen = Seen::default();
            loop {
                seen.wakes_tasks |= self.look();
                let has_events = !self.queued.is_empty();
                self.give_turns();
                if seen.wakes_tasks || !has_events {
                    break;
                }
                if self.now >= until {
                    seen.has_more = true;
                    break;
                }
            }
            let next = self.stay.next(self.now, seen);
            self.is_shut = self.stay.may_stay() || matches!(next, Next::Stay { .. });
            match next {
                Next::Yield => return true,
                Next::Leave => return false,
                Next::Stay { bell } => {
                    self.stays += 1;
                    while self.stay.is_lively(self.now) && !seen.wakes_tasks {
                        self.sleep(bell, Self::is_watched);
                        seen.wakes_tasks |= self.look();
                        if !self.stay.takes_events(self.now) {
                            break;
                        }
                        self.give_turns();
                    }
                }
            }
            !self.queued.is_empty()
        }

        fn run(mut self, time: u64) -> Self {
            while self.now < time {
                self.now += PASS;
                // What the runtime's own look finds. As unlucky as can be: the loop has its turn before the tasks.
                for kind in KINDS {
                    if kind != OtherThread && self.is_watched(kind) {
                        continue;
                    }
                    while let Some(since) = self.take(kind) {
                        self.tasks.push((kind, since));
                        self.knocked |= kind == OtherThread && self.is_watched(kind);
                    }
                }
                let wants_more = self.wake_up();
                let ran = !self.tasks.is_empty();
                for (kind, since) in mem::take(&mut self.tasks) {
                    self.now += TASK;
                    self.done(kind, since);
                }
                if !wants_more && !ran {
                    self.sleep(time, |_, _| true);
                }
            }
            self
        }
    }

    /// The longest waits of each kind, over many ways in which work may come; and how often the worker stayed.
    fn longest_waits(unwatched: Option<Work>) -> ([u64; 5], usize) {
        const TIME: u64 = 3_000_000;
        let (mut longest, mut stays) = ([0; 5], 0);
        for (seed, sessions) in [(1, 30), (2, 60), (3, 100), (4, 125), (5, 200), (6, 300), (7, 1_000), (8, 20_000)] {
            let mut model = Model::new(seed, [sessions, 9_000, 4_000, 7_000, 5_000], TIME);
            model.unwatched = unwatched;
            let model = model.run(TIME);
            longest.iter_mut().zip(model.longest).for_each(|(all, one)| *all = (*all).max(one));
            stays += model.stays;
        }
        (longest, stays)
    }

    #[test]
    fn whoever_has_work_has_it_done_within_a_millisecond_and_at_once_where_the_worker_sees_it() {
        let (longest, stays) = longest_waits(None);
        for kind in KINDS {
            println!("longest wait of {kind:?}: {} us", longest[kind as usize]);
        }
        println!("stays: {stays}");
        assert!(stays > 1_000, "the worker is to stay now and then: {stays}");
        assert!(longest.iter().all(|longest| *longest <= 1_000), "{longest:?}");
        for kind in [Session, Accept, Http, OtherThread] {
            assert!(longest[kind as usize] <= 300, "{kind:?} waits for {} us", longest[kind as usize]);
        }
    }

    #[test]
    fn the_model_tells_when_somebody_is_not_looked_at() {
        for kind in [Accept, Http, OtherThread] {
            let longest = longest_waits(Some(kind)).0[kind as usize];
            assert!(longest > 600, "{kind:?} waits for {longest} us only");
        }
    }

    #[test]
    fn no_stay_reaches_beyond_an_alarm_or_begins_before_tasks_have_had_their_turn() {
        let mut stay = Stay::new();
        for now in (10_000..11_000).step_by(50) {
            stay.note_events(now);
        }
        let next = |stay: &mut Stay, alarm| {
            stay.begin(11_000);
            let seen = Seen { alarm, ..Seen::default() };
            [stay.next(11_000, seen), stay.next(11_000, seen)]
        };
        let bell = 11_000 + LONGEST;
        assert_eq!(next(&mut stay, None), [Next::Yield, Next::Stay { bell }]);
        assert_eq!(next(&mut stay, Some(bell + 1)), [Next::Yield, Next::Stay { bell }]);
        assert_eq!(next(&mut stay, Some(bell)), [Next::Yield, Next::Leave]);
        let woken = Seen { wakes_tasks: true, ..Seen::default() };
        assert_eq!(stay.next(11_000, woken), Next::Leave);
        let busy = Seen { has_more: true, ..Seen::default() };
        assert_eq!([stay.next(11_000, busy), stay.next(11_000, busy)], [Next::Yield; 2]);
    }
}
