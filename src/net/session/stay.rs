//! Where a worker waits for what comes next: in the runtime, or in its own epoll, which spares the runtime's wake-up.
//!
//! The contract: **on an idle core, whoever has work for a worker has it done within 1 ms, whatever the worker expects
//! to come next.** With `coalesce`, sessions and timers may wait for the time of `coalesce` in addition. Clients that
//! connect, HTTP and other threads never wait longer than 1 ms.
//!
//! | who has work | when the worker sees it |
//! |---|---|
//! | a session, a client that connects, a client that speaks HTTP | at once: all their sockets are in the worker's own epoll |
//! | another thread: a connection, an order, a question | at once: the thread knocks ([`crate::net::thread::door`]) |
//! | a stream without a socket | at once: what it waits for is a task's or another thread's, and both end a stay |
//! | a timer of the runtime | at the latest when a stay ends after [`LONGEST`], or a wait after the time of `coalesce` |
//! | a session's alarm | at its time: no stay and no wait reaches beyond the alarm |
//!
//! A *stay* is the time in which the loop of the sessions waits in the worker's own epoll. The loop keeps the contract
//! by these rules:
//!
//! 1. The loop stays only while events come less than [`NEAR`] apart. Calls of streams without a socket do not count,
//!    because a stay does not see the next one.
//! 2. Between two stays, the runtime looks at timers, and the tasks that it wakes have their turn.
//! 3. A stay ends with the first event for a task, with a turn that may wake a task, and when a session has more to do
//!    than one turn takes.
//! 4. A stay ends [`LONGEST`] after the runtime has looked at timers. If no event comes by then, the bell ends it.
//!
//! A *wait* is what `coalesce` adds: after the loop has read, it waits for that time, and events of sessions do not end
//! the wait. One wake-up then serves many events. The loop waits only where that saves wake-ups ([`Stay::gains`]).
//! Rules 2 and 3 hold for a wait too. A timer of the runtime may wait for the time of `coalesce` and 1 ms.
//!
//! Pure: the caller tells the time, in microseconds since the caller's epoch.

use std::mem;

/// Events that come less than this apart, in microseconds, make the loop stay for the next ones.
const NEAR: u64 = 250;
/// A stay ends this long after the runtime has looked at timers, in microseconds. The rest of 1 ms is for a turn that
/// has just begun, and for the runtime.
const LONGEST: u64 = 920;
/// How long sessions may have turns in one wake-up before tasks and timers have theirs, in microseconds.
const BUSY: u64 = 500;
/// A longer gap between events counts as one of this length, in microseconds.
const LONGEST_GAP: u64 = 5_000;
/// With `coalesce`: if so many events come at once, the worker has enough to do and does not wait for more.
const MANY: usize = 12;
/// With `coalesce`: fewer events than this in a wait save fewer than two wake-ups, which are not worth the wait.
const WORTHWHILE: u64 = 3;
/// With `coalesce`: after a turn of a heavy session, no wait begins for so long, in microseconds.
const BULK: u64 = 5_000;
/// With `coalesce`: events that come less than this apart, in microseconds, keep a worker busy. Such events are read
/// together without a wait.
const QUICK: u64 = 12;

/// What the loop does when the turns of a wake-up are over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::net) enum Next {
    /// Tasks and timers have their turn, then the loop has its next one.
    Yield,
    /// The runtime has just looked at timers. The tasks that it has woken have their turn, then the loop has its next one.
    Pass,
    /// The loop waits for events itself, until the bell rings at this time.
    Stay { bell: u64 },
    /// The loop waits until this time, unless an event comes for a task. Then it reads what has come for sessions.
    Coalesce { until: u64 },
    /// The runtime waits, and wakes the loop.
    Leave,
}

/// What the decisions depend on beside the time.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::net) struct Seen {
    /// A session has more to do, or something goes through the table of the sessions.
    pub(super) has_more: bool,
    /// An event of this wake-up was for a task, or a turn may have woken one.
    pub(super) wakes_tasks: bool,
    /// When the next alarm of a session rings.
    pub(in crate::net) alarm: Option<u64>,
}

/// What a worker knows of how its events come.
#[derive(Debug)]
pub(in crate::net) struct Stay {
    /// When this wake-up began.
    began: u64,
    /// The runtime has looked at everything that came before this time. What came later may wait until a stay is over.
    looked: u64,
    /// When sessions last had turns after events.
    last_events: u64,
    /// The average gap between events, in microseconds; the newest gap counts a quarter. One message and its answer
    /// alone do not bring it below [`NEAR`].
    pace: u64,
    /// Tasks and timers have had their turn since the last stay.
    may_stay: bool,
    /// After a stay or a wait: tasks and timers have their turn before this time.
    latest: Option<u64>,
    /// When the last stay or wait ended, if it woke no task: the runtime has looked at timers since.
    ended: Option<u64>,
    coalescing: Coalescing,
}

/// What is known for `coalesce`.
#[derive(Debug)]
struct Coalescing {
    /// How long sessions may wait to be read together, in microseconds. 0 = not at all.
    wait: u64,
    /// Recent events of sessions, times 16, and `time` in which they came. Each further look takes a sixteenth off both.
    events: u64,
    time: u64,
    last_look: u64,
    /// The most events that a look of this wake-up has found.
    at_once: usize,
    /// When a session was last heavy.
    last_bulk: Option<u64>,
}

impl Stay {
    /// `coalesce`: how long sessions may wait to be read together, in microseconds.
    pub(in crate::net) const fn new(coalesce: u64) -> Self {
        let coalescing =
            Coalescing { wait: coalesce, events: 0, time: 16 * LONGEST_GAP, last_look: 0, at_once: 0, last_bulk: None };
        Self {
            began: 0,
            looked: 0,
            last_events: 0,
            pace: LONGEST_GAP,
            may_stay: false,
            latest: None,
            ended: None,
            coalescing,
        }
    }

    /// A wake-up begins. Returns until when sessions may have turns in it.
    pub(in crate::net) fn begin(&mut self, now: u64) -> u64 {
        self.began = now;
        self.coalescing.at_once = 0;
        self.turns_until(now)
    }

    /// Until when sessions may have turns, if the turns begin now. After a stay or a wait this is sooner, because tasks
    /// and timers have waited meanwhile.
    fn turns_until(&mut self, now: u64) -> u64 {
        (now + BUSY).min(self.latest.take().unwrap_or(u64::MAX))
    }

    /// A look found so many events of sessions, perhaps none.
    pub(super) fn note_look(&mut self, now: u64, events: usize) {
        if self.coalescing.wait > 0 {
            self.coalescing.note_rate(now, events);
            self.coalescing.at_once = self.coalescing.at_once.max(events);
        }
    }

    /// A session was heavy in its turn.
    pub(super) const fn note_bulk(&mut self, now: u64) {
        self.coalescing.last_bulk = Some(now);
    }

    /// A wait is over, and the look after it found so many events of sessions. Returns until when sessions may have turns.
    pub(super) fn note_wait(&mut self, now: u64, events: usize) -> u64 {
        self.coalescing.note_rate(now, events);
        self.turns_until(now)
    }

    /// Sessions have turns now.
    pub(super) fn note_events(&mut self, now: u64) {
        let gap = (now - self.last_events).min(LONGEST_GAP);
        self.pace = (3 * self.pace + gap) / 4;
        self.last_events = now;
    }

    /// Whether the next event is expected sooner than the runtime could fall asleep and wake up again.
    pub(super) const fn is_lively(&self, now: u64) -> bool {
        self.pace < NEAR && now - self.last_events < NEAR
    }

    /// Whether a stay may follow the runtime's next look. Another thread that sends something after that look has to knock.
    pub(super) const fn may_stay(&self) -> bool {
        self.may_stay
    }

    /// A stay or a wait is over, and woke no task. The runtime looks at timers before the next wake-up.
    pub(super) const fn note_end(&mut self, now: u64) {
        self.ended = Some(now);
    }

    /// What the loop does after the turns of a wake-up.
    pub(in crate::net) fn next(&mut self, now: u64, seen: Seen) -> Next {
        let may_stay = mem::take(&mut self.may_stay);
        // If many events came at once, the loop looks once more whether they still do, before it waits.
        let ended = self.ended.take().filter(|_| self.coalescing.at_once < MANY);
        if seen.has_more {
            return Next::Yield;
        }
        let gains = self.gains(now);
        if seen.wakes_tasks || !(gains || self.is_lively(now)) {
            return Next::Leave;
        }
        if !may_stay {
            (self.may_stay, self.looked) = (true, ended.unwrap_or(self.began));
            return if ended.is_some() { Next::Pass } else { Next::Yield };
        }
        let bell = self.looked + LONGEST;
        let is_free = |until| seen.alarm.is_none_or(|alarm| alarm > until);
        // Long turns have used up the time of a stay.
        if bell <= now {
            return Next::Yield;
        }
        let until = now + self.coalescing.wait;
        if gains && is_free(until) {
            self.latest = Some(bell + self.coalescing.wait);
            return Next::Coalesce { until };
        }
        self.latest = (self.is_lively(now) && is_free(bell)).then_some(bell);
        self.latest.map_or(Next::Leave, |bell| Next::Stay { bell })
    }

    /// Whether a wait for more events of sessions saves wake-ups, and delays no session that sends much at once.
    pub(super) fn gains(&self, now: u64) -> bool {
        let Coalescing { wait, events, time, at_once, last_bulk, .. } = self.coalescing;
        wait > 0
            && at_once < MANY
            && events * wait >= 16 * WORTHWHILE * time
            && events * QUICK < 16 * time
            && last_bulk.is_none_or(|last| now.saturating_sub(last) >= BULK)
    }

    /// Whether this stay takes further events. A stay ends early if the next event is expected too late for it: to let
    /// the bell ring would cost a wake-up. A stay also ends where a wait of `coalesce` gains more.
    pub(super) fn takes_events(&self, now: u64) -> bool {
        let next = now + (3 * self.pace / 2).min(NEAR);
        next < self.looked + LONGEST && !self.gains(now)
    }
}

impl Coalescing {
    fn note_rate(&mut self, now: u64, events: usize) {
        let time = (now - self.last_look).min(LONGEST_GAP);
        self.time = self.time - self.time / 16 + time;
        self.events = self.events - self.events / 16 + 16 * events as u64;
        self.last_look = now;
    }
}

#[cfg(test)]
mod tests {
    use Work::{Accept, Http, OtherThread, Session, Timer};

    use super::*;

    /// How long things take, in microseconds: a turn, a task, a pass of the runtime, a wake-up.
    const TURN: u64 = 8;
    const TASK: u64 = 20;
    const PASS: u64 = 3;
    const WAKE: u64 = 20;
    /// Turns between two looks at the clock.
    const GLANCE: usize = 8;

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

    /// What follows a wake-up of the loop: the tasks, then a look of the runtime, or a sleep.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    enum After {
        Tasks,
        Look,
        Sleep,
    }

    /// A worker on an idle core, in virtual time.
    struct Model {
        stay: Stay,
        now: u64,
        /// For each [`Work`]: when each piece arrives, the soonest last.
        coming: [Vec<u64>; 5],
        /// The events whose sessions have not had their turn since: when each event came.
        queued: Vec<u64>,
        /// Tasks that run when the loop has ended its wake-up, and when their work came.
        tasks: Vec<(Work, u64)>,
        /// For each [`Work`]: the longest time that a piece has waited until it was done.
        longest: [u64; 5],
        /// Only the runtime looks at this kind.
        unwatched: Option<Work>,
        /// The door is shut: other threads knock.
        is_shut: bool,
        /// Another thread has knocked, and the runtime has its task already.
        knocked: bool,
        stays: usize,
        /// How often the runtime has looked.
        looks: usize,
        /// How often the worker slept. `events`: how many events of sessions came.
        sleeps: usize,
        events: usize,
    }

    impl Model {
        /// `apart`: the average gap of each kind, in microseconds.
        fn new(seed: u64, apart: [u64; 5], coalesce: u64, time: u64) -> Self {
            let mut random = seed;
            let mut draw = move |most: u64| {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (random >> 33) % most
            };
            let coming = apart.map(|apart| {
                let (mut at, mut all) = (0, Vec::new());
                while at < time {
                    // Sometimes in bursts, sometimes alone, sometimes not for a while.
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
                stay: Stay::new(coalesce),
                now: 0,
                coming,
                queued: vec![],
                tasks: vec![],
                longest: [0; 5],
                unwatched: None,
                is_shut: false,
                knocked: false,
                stays: 0,
                looks: 0,
                sleeps: 0,
                events: 0,
            }
        }

        fn take(&mut self, kind: Work) -> Option<u64> {
            self.coming[kind as usize].pop_if(|at| *at <= self.now)
        }

        fn done(&mut self, kind: Work, since: u64) {
            let longest = &mut self.longest[kind as usize];
            *longest = (*longest).max(self.now - since);
        }

        /// Whether the worker's own epoll reports this kind.
        fn is_watched(&self, kind: Work) -> bool {
            kind != Timer && self.unwatched != Some(kind) && (kind != OtherThread || self.is_shut)
        }

        /// Sleeps until the first piece of these kinds comes, or until `until`.
        fn sleep(&mut self, until: u64, kinds: impl Fn(&Self, Work) -> bool) {
            let next =
                KINDS.iter().filter(|kind| kinds(self, **kind)).filter_map(|kind| self.coming[*kind as usize].last());
            let next = next.copied().min().unwrap_or(u64::MAX).min(until);
            if next > self.now {
                self.sleeps += 1;
                self.now = next + WAKE;
            }
        }

        /// Takes what the worker's own epoll has. Returns whether a task was woken.
        fn look(&mut self) -> bool {
            let (woken, found) = self.find();
            self.stay.note_look(self.now, found);
            woken
        }

        /// Takes what the worker's own epoll has. Returns whether a task was woken, and how many events of sessions were found.
        fn find(&mut self) -> (bool, usize) {
            self.now += 1;
            let queued = self.queued.len();
            while let Some(since) = self.take(Session) {
                self.queued.push(since);
            }
            let found = self.queued.len() - queued;
            self.events += found;
            let before = self.tasks.len();
            for kind in [Accept, Http, OtherThread] {
                while self.is_watched(kind)
                    && let Some(since) = self.take(kind)
                {
                    self.tasks.push((kind, since));
                }
            }
            (mem::take(&mut self.knocked) || self.tasks.len() > before, found)
        }

        fn give_turns(&mut self, until: u64) {
            if !self.queued.is_empty() {
                self.stay.note_events(self.now);
            }
            let (mut turns, all) = (0, mem::take(&mut self.queued));
            let mut waiting = all.into_iter();
            while (turns % GLANCE != 0 || turns == 0 || self.now < until)
                && let Some(since) = waiting.next()
            {
                turns += 1;
                self.now += TURN;
                self.done(Session, since);
            }
            self.queued = waiting.collect();
        }

        /// One wake-up of the loop. Returns what follows it.
        fn wake_up(&mut self) -> After {
            let until = self.stay.begin(self.now);
            let mut seen = Seen::default();
            loop {
                seen.wakes_tasks |= self.look();
                let has_events = !self.queued.is_empty();
                self.give_turns(until);
                seen.has_more = !self.queued.is_empty() || has_events && self.now >= until;
                if seen.wakes_tasks || seen.has_more || !has_events {
                    break;
                }
            }
            let next = self.stay.next(self.now, seen);
            self.is_shut = self.stay.may_stay() || matches!(next, Next::Stay { .. } | Next::Coalesce { .. });
            match next {
                Next::Yield => return After::Look,
                Next::Pass => return After::Tasks,
                Next::Leave => return After::Sleep,
                Next::Stay { bell } => {
                    self.stays += 1;
                    while self.stay.is_lively(self.now) && !seen.wakes_tasks && self.queued.is_empty() {
                        self.sleep(bell, Self::is_watched);
                        seen.wakes_tasks |= self.look();
                        if !self.stay.takes_events(self.now) {
                            break;
                        }
                        self.give_turns(bell);
                    }
                    if !self.queued.is_empty() && !seen.wakes_tasks {
                        self.stay.note_end(self.now);
                    }
                }
                Next::Coalesce { until } => {
                    self.stays += 1;
                    self.sleep(until, |model, kind| kind != Session && model.is_watched(kind));
                    let (woken, found) = self.find();
                    let ended = self.now;
                    let until = self.stay.note_wait(ended, found);
                    self.give_turns(until);
                    if !woken {
                        self.stay.note_end(ended);
                    }
                    return After::Look;
                }
            }
            if self.queued.is_empty() { After::Sleep } else { After::Look }
        }

        /// What the runtime's own look finds. The worst order: the loop has its turn before the tasks.
        fn be_looked_at(&mut self) {
            self.looks += 1;
            for kind in KINDS {
                if kind != OtherThread && self.is_watched(kind) {
                    continue;
                }
                while let Some(since) = self.take(kind) {
                    self.tasks.push((kind, since));
                    self.knocked |= kind == OtherThread && self.is_watched(kind);
                }
            }
        }

        fn run(mut self, time: u64) -> Self {
            let mut after = After::Look;
            while self.now < time {
                self.now += PASS;
                if after != After::Tasks {
                    self.be_looked_at();
                }
                after = self.wake_up();
                let ran = !self.tasks.is_empty();
                for (kind, since) in mem::take(&mut self.tasks) {
                    self.now += TASK;
                    self.done(kind, since);
                }
                if after == After::Sleep && !ran {
                    self.sleep(time, |_, _| true);
                }
            }
            self
        }
    }

    /// Runs many rates of work. Returns the longest wait of each kind, the stays, and the sleeps for each event of a session.
    fn outcome(coalesce: u64, unwatched: Option<Work>) -> ([u64; 5], usize, f64) {
        const TIME: u64 = 3_000_000;
        let (mut longest, mut stays, mut sleeps, mut events) = ([0; 5], 0, 0, 0);
        for (seed, sessions) in [(1, 30), (2, 60), (3, 100), (4, 125), (5, 200), (6, 300), (7, 1_000), (8, 20_000)] {
            let mut model = Model::new(seed, [sessions, 9_000, 4_000, 7_000, 5_000], coalesce, TIME);
            model.unwatched = unwatched;
            let model = model.run(TIME);
            longest.iter_mut().zip(model.longest).for_each(|(all, one)| *all = (*all).max(one));
            (stays, sleeps, events) = (stays + model.stays, sleeps + model.sleeps, events + model.events);
        }
        (longest, stays, sleeps as f64 / events as f64)
    }

    #[test]
    fn whoever_has_work_has_it_done_within_a_millisecond_and_at_once_where_the_worker_sees_it() {
        for coalesce in [0, 250, 500, 1_000, 2_000] {
            let (longest, stays, sleeps) = outcome(coalesce, None);
            println!("coalesce {coalesce} us: the longest waits in us, stays, sleeps for each event of a session");
            println!("  {:?} {stays} {sleeps:.2}", KINDS.map(|kind| (kind, longest[kind as usize])));
            assert!(stays > 1_000, "the worker is to stay now and then: {stays}");
            for kind in KINDS {
                let most = match kind {
                    Session => 300 + coalesce,
                    Accept | Http | OtherThread if coalesce == 0 => 300,
                    // The turns of sessions that came together go first.
                    Accept | Http | OtherThread => 1_000,
                    Timer => 1_000 + coalesce,
                };
                assert!(longest[kind as usize] <= most, "{kind:?} waits for {} us", longest[kind as usize]);
            }
        }
    }

    #[test]
    fn the_model_tells_when_somebody_is_not_looked_at() {
        for (coalesce, kind) in [(0, Accept), (0, Http), (0, OtherThread), (1_000, Accept)] {
            let longest = outcome(coalesce, Some(kind)).0[kind as usize];
            assert!(longest > 600, "{kind:?} waits for {longest} us only");
        }
    }

    #[test]
    fn a_stay_takes_one_look_of_the_runtime_while_messages_keep_coming() {
        const TIME: u64 = 1_000_000;
        for apart in [40, 125, 200] {
            let mut model = Model::new(1, [TIME; 5], 0, TIME);
            model.coming = Default::default();
            model.coming[Session as usize] = (1..TIME / apart).rev().map(|count| count * apart).collect();
            let Model { stays, looks, .. } = model.run(TIME);
            println!("every {apart} us: {stays} stays, {looks} looks of the runtime");
            assert!(stays > 1_000 && looks < stays + stays / 10, "every {apart} us: {stays} stays, {looks} looks");
        }
    }

    #[test]
    fn to_coalesce_saves_most_of_the_times_that_a_worker_sleeps() {
        let sleeps = |coalesce| outcome(coalesce, None).2;
        assert!(
            sleeps(500) < 0.5 * sleeps(0) && sleeps(1_000) < 0.7 * sleeps(500),
            "{:?}",
            [0, 500, 1_000].map(sleeps)
        );
    }

    #[test]
    fn sessions_wait_only_where_that_saves_wake_ups_and_holds_nobody_up_who_sends_much() {
        const WAIT: u64 = 500;
        /// Whether the loop waits: after events `apart` from each other, then `at_once` events in one look, and after
        /// bulk if `bulk`.
        fn waits(apart: u64, at_once: usize, bulk: bool, alarm: Option<u64>) -> bool {
            let (mut stay, mut now) = (Stay::new(WAIT), 1_000_000);
            for _ in 0..200 {
                now += apart;
                stay.begin(now);
                stay.note_look(now, 1);
                stay.note_events(now);
            }
            if bulk {
                // A turn ends later than the moment at which its wake-up decides.
                stay.note_bulk(now + 300);
            }
            let seen = Seen { alarm: alarm.map(|after| now + after), ..Seen::default() };
            stay.next(now, seen);
            stay.begin(now);
            stay.note_look(now, at_once);
            matches!(stay.next(now, seen), Next::Coalesce { until } if until == now + WAIT)
        }
        assert!(waits(100, 0, false, None) && waits(100, MANY - 1, false, Some(WAIT + 1)));
        assert!(!waits(100, MANY, false, None), "many came at once");
        assert!(!waits(100, 0, true, None), "bulk flows");
        assert!(!waits(100, 0, false, Some(WAIT)), "an alarm rings");
        assert!(!waits(WAIT / WORTHWHILE + 20, 0, false, None), "too few are to be expected");
        assert!(!waits(QUICK / 2, 0, false, None), "a worker has enough to do");
    }

    #[test]
    fn a_wait_is_as_long_as_was_asked_for_and_tasks_have_their_turn_a_millisecond_later() {
        let (mut stay, mut now) = (Stay::new(2_000), 1_000_000);
        for _ in 0..200 {
            now += 100;
            stay.begin(now);
            stay.note_look(now, 1);
        }
        let until = now + 2_000;
        assert_eq!([(); 2].map(|()| stay.next(now, Seen::default())), [Next::Yield, Next::Coalesce { until }]);
        assert_eq!(stay.note_wait(until, 20), until + BUSY);
        stay.note_end(until);
        let next = [(); 2].map(|()| stay.next(until + 100, Seen::default()));
        assert_eq!(next, [Next::Pass, Next::Coalesce { until: until + 2_100 }]);
        assert_eq!(stay.note_wait(until + 2_600, 20), until + 2_000 + LONGEST, "so late, turns are short");
    }

    #[test]
    fn no_stay_reaches_beyond_an_alarm_or_begins_before_tasks_have_had_their_turn() {
        let mut stay = Stay::new(0);
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
