//! The loop that drives all sessions of a worker: events of their sockets, their alarms, the drain.
//!
//! A task per session would cost its own memory, a timer and a wake-up for each message. Here a session is an entry of
//! a table, and each of its turns is a plain call.
//!
//! # How no event is lost
//!
//! The worker's epoll holds the worker's sockets, and the runtime's epoll holds the worker's epoll. Both are
//! edge-triggered. When the runtime's epoll reports the worker's epoll, the runtime sets a flag ([`AsyncFd`]:
//! readable). The loop keeps these rules:
//!
//! 1. The loop takes events only while the flag is set, or while the loop itself waits (a stay or a wait of [`Stay`]).
//! 2. The loop clears the flag only after a look that took fewer events than the kernel may hand over at once
//!    ([`EVENTS`]). Such a look leaves no event behind.
//! 3. The runtime does not ask its epoll between that look and the clearing. An event that comes after the look is
//!    therefore still to be reported by the runtime's epoll, and will set the flag again.
//! 4. After the clearing, the loop polls the flag. The runtime then wakes the loop when the flag is set again.
//! 5. While the flag is set, or a session has more to do, the loop does not wait: the loop asks to be polled again.
//! 6. A stay or a wait begins only with the flag cleared. Events that are left when the stay ends came after the
//!    runtime asked its epoll, so that rule 3 holds for them too.

mod outliving;

use std::{
    collections::{HashMap, VecDeque},
    future::poll_fn,
    io, mem,
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use mio::{Events, Poll as Epoll};
use slab::Slab;
use tokio::{
    io::unix::AsyncFd,
    sync::{mpsc, watch},
    task::{unconstrained, yield_now},
    time::Sleep,
};

use super::{
    held::{Arrival, Held},
    reclaim::{Claim, Reclaims},
    redial::{Outliving, Redial},
    relay::{Scratch, Turn},
    rota::{Had, Rota, Round, TURN, price},
    stay::{Next, Seen, Stay},
};
use crate::{
    config::Tcp,
    metrics::Metrics,
    net::{
        counts::{fleet::Fleet, unsent::Unsent},
        orders::{age_errand::AgeErrand, book::Book, departures::Departures, inquiry::Inquiry, tally::Ledger},
        stream::{
            calls::{Calls, SessionKey},
            sockets::{self, Apart, Epolls},
        },
        thread::{
            bell::Bell,
            door::Door,
            vital::{Fault, Vitals},
        },
    },
    ws::resume_token::ResumeId,
};

/// The most events that one look at the epoll takes.
const EVENTS: usize = 256;
/// The most sessions that one wake-up takes in, and the most that it tells of a new order.
const SLICE: usize = 64;
/// Places of the table that one wake-up looks through for alarms that ring.
const PLACES: usize = 4096;
/// The most new sessions that wait to be taken in.
pub(in crate::net) const ARRIVALS: usize = 256;
/// The longest that an alarm waits to ring together with others.
const LONGEST_TICK: Duration = Duration::from_millis(128);
/// A new session's alarm rings after this time at the latest.
const SETTLES: Duration = Duration::from_secs(1);
/// An alarm that is further away is looked at again after this time, because [`WrappingMillis`] wraps.
const FURTHEST: Duration = Duration::from_secs(24 * 3600);

/// A session in the table.
struct Running {
    session: Box<Held>,
    /// When the session wants to be called if nothing happens. Never too late. Too early if the session's deadlines
    /// have moved on since, as they mostly do while bytes flow.
    due: WrappingMillis,
    /// The session is in the rota.
    queued: bool,
    /// What the session has had of its worker's time.
    had: Had,
    /// The alarm has rung once. The session stays, and its backend's socket has the options that matter only to
    /// sessions that stay. Setting these options takes five calls, which a short session saves.
    settled: bool,
}

/// Milliseconds since the table was made. Wraps after 49 days.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct WrappingMillis(u32);

impl WrappingMillis {
    const fn is_before(self, other: Self) -> bool {
        (self.0.wrapping_sub(other.0) as i32) < 0
    }
}

/// A look at the clock.
#[derive(Debug, Clone, Copy)]
struct Moment {
    at: Instant,
    /// Microseconds since the table was made.
    micros: u64,
}

impl Moment {
    /// Rounds down. A time that was rounded up to a millisecond before ([`together`]) stays exact.
    const fn tick(self) -> WrappingMillis {
        WrappingMillis((self.micros / 1000) as u32)
    }
}

/// What the loop of a worker needs of its process.
pub(in crate::net) struct Process {
    /// The worker's number.
    pub(in crate::net) worker: usize,
    pub(in crate::net) orders: watch::Receiver<Arc<Book>>,
    pub(in crate::net) unsent: Arc<Unsent>,
    /// What clients have sent for their next backends.
    pub(in crate::net) queued: Arc<Unsent>,
    pub(in crate::net) metrics: Arc<Metrics>,
    /// The proxies that count sessions together, and whether the configuration that runs wants that.
    pub(in crate::net) fleet: Arc<Fleet>,
    pub(in crate::net) shares_limits: Box<dyn Fn() -> bool + Send>,
    /// The sessions of the process to which clients may come back.
    pub(in crate::net) reclaims: Arc<Reclaims>,
    pub(in crate::net) vitals: Arc<Vitals>,
    /// The socket options of the configuration that runs.
    pub(in crate::net) tcp: Box<dyn Fn() -> Tcp + Send>,
}

/// The sessions of one worker.
pub(in crate::net) struct Sessions {
    process: Process,
    arrivals: mpsc::Receiver<Arrival>,
    /// Questions about the sessions that are not answered yet.
    inquiries: VecDeque<Inquiry>,
    /// What is still to be done about the ages of the sessions.
    errands: VecDeque<AgeErrand>,
    departures: Departures,
    ledger: Ledger,
    epoll: AsyncFd<Epoll>,
    /// The sockets of tasks, with `coalesce` only. Sessions then wait to be read together, and tasks do not wait with them.
    apart: Option<Apart>,
    events: Events,
    running: Slab<Running>,
    /// Those of them that may outlive their backends, by their places. Apart from the others, which have no room for it.
    outliving: HashMap<u32, Outliving>,
    /// The places of those whose clients may come back.
    resumable: HashMap<ResumeId, u32>,
    /// Claims for sessions that are on their way to this loop.
    early: Vec<Claim>,
    /// The generation of the next session, or of the next streams of a session.
    generation: u32,
    /// What streams without a socket have called, and the task that the calls wake.
    calls: Arc<Calls>,
    called: Option<Waker>,
    /// The sessions that have their turn next.
    rota: Rota,
    scratch: Scratch,
    epoch: Instant,
    /// An event of this wake-up was for a task, or a turn wrote to a stream whose far end is a task.
    wakes_tasks: bool,
    stay: Stay,
    /// Ends a stay when no event comes.
    bell: Bell,
    /// Shut while the loop may stay: other threads then knock.
    door: Arc<Door>,
    /// No session that was looked at is due before this.
    earliest: Option<WrappingMillis>,
    /// The place where the look for alarms that ring goes on.
    ringing: Option<usize>,
    alarm: Pin<Box<Sleep>>,
    /// When `alarm` rings. `None` = `alarm` has rung.
    rings: Option<WrappingMillis>,
    orders: Arc<Book>,
    /// How far the sessions have been told of `orders`.
    telling: Walk,
}

impl Sessions {
    /// Drives the sessions that come by `arrivals`, on the sockets of this thread. `coalesce`: how long sessions may
    /// wait to be read together.
    ///
    /// # Errors
    /// The runtime takes no more descriptors.
    pub(in crate::net) fn new(
        process: Process,
        epolls: Epolls,
        coalesce: Duration,
        arrivals: mpsc::Receiver<Arrival>,
    ) -> io::Result<Self> {
        let epoch = Instant::now();
        let scratch = Scratch::new(Arc::clone(&process.unsent), Arc::clone(&process.queued));
        let Epolls { all, apart } = epolls;
        let bell = Bell::hang(all.registry())?;
        // A wait of `coalesce` watches the sockets of tasks only. The door is among these, so that a knock ends every wait.
        let door = match &apart {
            None => Door::hang(all.registry())?,
            Some(apart) => Door::hang(&apart.registry()?)?,
        };
        Ok(Self {
            process,
            arrivals,
            inquiries: VecDeque::new(),
            errands: VecDeque::new(),
            departures: Departures::default(),
            ledger: Ledger::default(),
            epoll: sockets::watch(all)?,
            apart,
            events: Events::with_capacity(EVENTS),
            running: Slab::new(),
            outliving: HashMap::new(),
            resumable: HashMap::new(),
            early: Vec::new(),
            generation: 0,
            calls: Arc::default(),
            called: None,
            rota: Rota::default(),
            scratch,
            epoch,
            wakes_tasks: false,
            stay: Stay::new(coalesce.as_micros() as u64),
            bell,
            door,
            earliest: None,
            ringing: None,
            alarm: Box::pin(tokio::time::sleep_until(epoch.into())),
            rings: None,
            orders: Arc::default(),
            telling: Walk::default(),
        })
    }

    /// Drives the sessions until the runtime drops this future, which cuts the sessions that are left.
    pub(in crate::net) async fn drive(mut self) {
        let mut orders = self.process.orders.clone();
        loop {
            tokio::select! {
                biased;
                // Never an error: the worker's thread holds the sender.
                _ = orders.changed() => {
                    self.orders = Arc::clone(&orders.borrow_and_update());
                    self.telling.begin();
                }
                () = poll_fn(|cx| self.poll_drive(cx)) => {}
            }
        }
    }

    /// One wake-up. Never ready: the loop ends with its worker.
    fn poll_drive(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(fault) = Fault::of_worker(self.process.worker) {
            self.process.vitals.strike(fault);
        }
        self.hear_calls(cx.waker());
        let mut now = self.clock();
        let until = self.stay.begin(now.micros);
        let has_arrivals = self.receive(cx);
        self.answer();
        self.run_errand();
        self.count();
        self.tell_orders();
        self.wakes_tasks = false;
        sockets::begin_wake_up();
        let mut more = self.take_events(cx, now);
        // A round of sessions may take long, and the work of tasks is short: every other time, tasks go first.
        if !self.rota.give_way(self.wakes_tasks) {
            self.proceed(now, until);
        }
        // A session may always have more to do. A task whose event has come does not wait for that.
        while !self.wakes_tasks {
            more = match more {
                // Mostly one event comes alone: a look for a second one costs more than it saves. With `coalesce`, a
                // wait gathers more.
                Poll::Ready(found) if self.rota.is_empty() && (found == 1 || self.stay.gains(now.micros)) => {
                    self.clear_events(cx)
                }
                Poll::Ready(_) => self.take_events(cx, now),
                Poll::Pending => Poll::Pending,
            };
            if more.is_pending() {
                break;
            }
            now = self.clock();
            if now.micros >= until {
                break;
            }
            self.proceed(now, until);
        }
        let has_more = has_arrivals || more.is_ready() || !self.rota.is_empty() || self.owes_work();
        let next = self.stay.next(now.micros, self.seen(now, has_more));
        self.door.set_shut(self.stay.may_stay() || matches!(next, Next::Stay { .. } | Next::Coalesce { .. }));
        let yields = match next {
            Next::Yield => true,
            Next::Stay { bell } => self.stay_until(bell, &mut now),
            Next::Coalesce { until } => {
                self.coalesce_until(until, &mut now);
                true
            }
            Next::Leave => !self.rota.is_empty(),
            Next::Pass => {
                cx.waker().wake_by_ref();
                false
            }
        };
        self.set_alarm(cx, now);
        if yields {
            // The runtime polls the loop again after it has looked at its own sockets and timers.
            let _ = pin!(yield_now()).poll(cx);
        }
        Poll::Pending
    }

    /// Takes in what has come, [`SLICE`] at most. Returns whether there may be more.
    fn receive(&mut self, cx: &mut Context<'_>) -> bool {
        for _ in 0..SLICE {
            match self.arrivals.poll_recv(cx) {
                Poll::Ready(Some(Arrival::Session(session))) => self.adopt(session, None),
                Poll::Ready(Some(Arrival::Outliving(session, redial))) => self.adopt(session, Some(redial)),
                Poll::Ready(Some(Arrival::Redialled(session, came))) => self.note_redialled(session, *came),
                Poll::Ready(Some(Arrival::Claim(claim))) => self.note_claim(*claim),
                Poll::Ready(Some(Arrival::Comeback(comeback))) => {
                    // Others have their turns before the next one that moves much.
                    if self.note_comeback(*comeback) > TURN {
                        return true;
                    }
                }
                Poll::Ready(Some(Arrival::Question(question))) => self.inquiries.push_back(Inquiry::new(*question)),
                Poll::Ready(Some(Arrival::Ages(errand))) => self.errands.push_back(*errand),
                Poll::Ready(Some(Arrival::Count(answer))) => self.ledger.begin(answer),
                Poll::Ready(None) | Poll::Pending => return false,
            }
        }
        true
    }

    /// Takes a new session into the table, and gives it a turn: bytes may have come for it already. `redial`: how it gets another
    /// backend, if it may.
    fn adopt(&mut self, mut session: Box<Held>, redial: Option<Redial>) {
        let now = Instant::now();
        if !self.orders.is_empty() {
            session.hear(&self.orders, redial.as_ref(), now);
        }
        // Its handshake may have begun before the fleet did.
        if (self.process.shares_limits)() {
            session.join_fleet(&self.process.fleet);
        }
        let due = session.due().map_or(now + SETTLES, |due| due.min(now + SETTLES));
        let due = self.tick(together(self.epoch, due, now));
        if self.earliest.is_none_or(|earliest| due.is_before(earliest)) {
            self.earliest = Some(due);
        }
        let generation = self.next_generation();
        let entry = self.running.vacant_entry();
        // A process does not have four billion sessions.
        let place = u32::try_from(entry.key()).unwrap_or(u32::MAX);
        session.give_streams_to(SessionKey { place, generation }, &self.calls);
        if let Some(id) = session.resume_id() {
            self.resumable.insert(id, place);
        }
        let had = Had::default();
        entry.insert(Running { session, due, queued: true, had, settled: false });
        self.rota.push(place, had);
        if let Some(redial) = redial {
            self.outliving.insert(place, Outliving { redial, call: None, attempts: 0 });
        }
        if !self.early.is_empty() {
            mem::take(&mut self.early).into_iter().for_each(|claim| self.note_claim(claim));
        }
    }

    /// Gives a session a turn, because something was done to it. Its deadlines may have come nearer.
    fn rouse(&mut self, place: u32, now: Instant) {
        let Some(running) = self.running.get_mut(place as usize) else { return };
        if !mem::replace(&mut running.queued, true) {
            self.rota.push(place, running.had);
        }
        let due = running.session.due();
        self.expect(place, due, now);
    }

    /// A generation that no session has. An event or a call would have to be late by four billion of them to meet its
    /// number again.
    const fn next_generation(&mut self) -> u32 {
        self.generation = self.generation.wrapping_add(1);
        self.generation
    }

    /// Lets calls wake this task.
    fn hear_calls(&mut self, task: &Waker) {
        if !self.called.as_ref().is_some_and(|called| called.will_wake(task)) {
            self.calls.wake(task);
            self.called = Some(task.clone());
        }
    }

    /// Takes events, and passes each on to its session or task. `Ready`: so many events were taken, and there may be
    /// more. Sessions then have their turns before the next look; to ask the runtime would cost two calls and a
    /// wake-up.
    fn take_events(&mut self, cx: &mut Context<'_>, now: Moment) -> Poll<usize> {
        let mut has_looked = false;
        loop {
            let Poll::Ready(Ok(mut ready)) = self.epoll.poll_read_ready_mut(cx) else {
                // A look that finds nothing lowers the rate of events. Without it, waits of `coalesce` would follow
                // each other for ever.
                if !has_looked {
                    self.stay.note_look(now.micros, 0);
                }
                return Poll::Pending;
            };
            has_looked = true;
            if let Err(error) = ready.get_inner_mut().poll(&mut self.events, Some(Duration::ZERO)) {
                tracing::debug!(%error, "waiting for sockets failed");
                return Poll::Ready(0);
            }
            let taken = self.events.iter().count();
            let found = dispatch_events(&self.events, self.apart.as_mut(), &mut self.running, &mut self.rota);
            self.wakes_tasks |= found.wakes_tasks;
            self.stay.note_look(now.micros, found.of_sessions);
            if !self.rota.is_empty() || taken == EVENTS {
                return Poll::Ready(taken);
            }
            ready.clear_ready();
        }
    }

    /// Clears the flag of the runtime without another look (rules 2 to 4 above). The last look took fewer than
    /// [`EVENTS`]: one event, or, with `coalesce`, few enough for [`Stay::gains`].
    fn clear_events(&self, cx: &mut Context<'_>) -> Poll<usize> {
        if let Poll::Ready(Ok(mut ready)) = self.epoll.poll_read_ready(cx) {
            ready.clear_ready();
        }
        self.epoll.poll_read_ready(cx).map(|_| 0)
    }

    /// What [`Stay`] has to know at this moment.
    fn seen(&self, now: Moment, has_more: bool) -> Seen {
        let tick = now.tick();
        let alarm = self.earliest.map(|earliest| match earliest.is_before(tick) {
            true => now.micros,
            false => 1000 * (now.micros / 1000 + u64::from(earliest.0.wrapping_sub(tick.0))),
        });
        Seen { has_more, wakes_tasks: self.wakes_tasks, alarm }
    }

    /// Waits for events here and not in the runtime. This spares the runtime's own wake-up, which is most of what a
    /// message costs beside its two calls. Returns whether sessions have more to do.
    fn stay_until(&mut self, bell: u64, now: &mut Moment) -> bool {
        // The turns before may have taken long.
        if self.bell.ring_after(Duration::from_micros(bell.saturating_sub(self.clock().micros))).is_err() {
            return false;
        }
        while self.stay.is_lively(now.micros) && !self.wakes_tasks && self.rota.is_empty() {
            if self.epoll.get_mut().poll(&mut self.events, None).is_err() {
                break;
            }
            let found = dispatch_events(&self.events, self.apart.as_mut(), &mut self.running, &mut self.rota);
            self.wakes_tasks |= found.wakes_tasks;
            *now = self.clock();
            self.stay.note_look(now.micros, found.of_sessions);
            if self.rota.give_way(self.wakes_tasks) || !self.stay.takes_events(now.micros) {
                break;
            }
            self.proceed(*now, bell);
        }
        let yields = !self.rota.is_empty() || self.owes_work();
        if yields && !self.wakes_tasks {
            self.stay.note_end(now.micros);
        }
        yields
    }

    /// Waits for more events of sessions, unless an event comes for a task. Then gives turns to the sessions whose
    /// events have come.
    fn coalesce_until(&mut self, until: u64, now: &mut Moment) {
        let wait = Duration::from_micros(until.saturating_sub(self.clock().micros));
        // What has come is read after a wait that a signal has cut short too: the look takes it out of the epoll for good.
        if let Some(Err(error)) = self.apart.as_ref().map(|apart| apart.wait(wait)) {
            tracing::debug!(%error, "a wait was cut short");
        }
        if let Err(error) = self.epoll.get_mut().poll(&mut self.events, Some(Duration::ZERO)) {
            tracing::debug!(%error, "waiting for sockets failed");
            return;
        }
        let found = dispatch_events(&self.events, self.apart.as_mut(), &mut self.running, &mut self.rota);
        self.wakes_tasks |= found.wakes_tasks;
        *now = self.clock();
        let until = self.stay.note_wait(now.micros, found.of_sessions);
        self.proceed(*now, until);
        if !self.wakes_tasks {
            self.stay.note_end(now.micros);
        }
    }

    /// One round, after the events of this moment were taken: calls, alarms that ring, then turns.
    fn proceed(&mut self, now: Moment, until: u64) {
        if !self.rota.is_empty() {
            self.stay.note_events(now.micros);
        }
        // Neither a call nor an alarm is an event: a stay would not see the next one.
        self.take_calls();
        self.take_due(now);
        self.give_turns(now, until);
    }

    /// Puts each session that was called by a stream without a socket in the rota.
    fn take_calls(&mut self) {
        if self.calls.is_empty() {
            return;
        }
        for call in self.calls.take() {
            let Some(running) = named(&mut self.running, call.key) else { continue };
            running.session.note_call(call.side);
            if !mem::replace(&mut running.queued, true) {
                self.rota.push(call.key.place, running.had);
            }
        }
    }

    /// Looks at one slice of the table, and puts each session whose alarm rings now in the rota.
    fn take_due(&mut self, now: Moment) {
        let now = now.tick();
        if self.ringing.is_none() {
            if self.earliest.is_none_or(|earliest| now.is_before(earliest)) {
                return;
            }
            self.earliest = None;
        }
        for key in next_slice(&mut self.ringing, PLACES, self.running.capacity()) {
            let Some(running) = self.running.get_mut(key) else { continue };
            if !now.is_before(running.due) {
                if !mem::replace(&mut running.queued, true) {
                    self.rota.push(key as u32, running.had);
                }
            } else if self.earliest.is_none_or(|earliest| running.due.is_before(earliest)) {
                self.earliest = Some(running.due);
            }
        }
    }

    /// One round of turns. Sessions that are left in the rota have their turn in the next round.
    fn give_turns(&mut self, mut now: Moment, until: u64) {
        let mut round = Round::new(until);
        while let Some(session) = self.rota.next() {
            self.give_turn(session, &mut round, now);
            if round.take_glance() {
                now = self.clock();
                if round.is_over(now.micros) {
                    break;
                }
            }
        }
    }

    fn give_turn(&mut self, key: u32, round: &mut Round, now: Moment) {
        let Some(running) = self.running.get_mut(key as usize) else { return };
        running.queued = false;
        let is_due = !now.tick().is_before(running.due);
        if is_due && !mem::replace(&mut running.settled, true) {
            running.session.set_lasting_options(&(self.process.tcp)());
        }
        // Few workers have a stream without a socket, and to ask a session looks at both its streams.
        if self.calls.has_callers() {
            self.wakes_tasks |= running.session.wakes_tasks();
        }
        let (session, scratch) = (&mut running.session, &mut self.scratch);
        if is_due
            && let Some(outliving) = self.outliving.get(&key)
            && session.about_to_leave(now.at).is_some_and(|backend| !(outliving.redial.looks)(backend))
        {
            session.forbid_move();
        }
        // Most turns begin and end calm. The noted time is then not too late, and the session is not asked.
        let was_calm = !is_due && session.is_calm();
        // No session should panic. One that does ends alone.
        let turn = catch_unwind(AssertUnwindSafe(|| session.turn(scratch, is_due, now.at)));
        let stays_calm = was_calm && session.is_calm();
        let cost = price(scratch.take_moved());
        round.spend(cost);
        if self.rota.note(&mut running.had, cost) {
            self.stay.note_bulk(now.micros);
        }
        match turn {
            Ok(Turn::Waits) => {}
            Ok(Turn::HasMore) => {
                running.queued = true;
                self.rota.push(key, running.had);
            }
            Ok(Turn::AwaitsBackend) => self.call_successor(key, now.at),
            Ok(Turn::AwaitsClient) => self.part_from_client(key, now.at),
            Ok(Turn::Over) => return self.end(key as usize),
            Err(_) => return self.end_panicked(key as usize),
        }
        if !stays_calm {
            self.look_after(key, now.at);
        }
    }

    /// Does what may follow from a turn that was not calm.
    fn look_after(&mut self, key: u32, now: Instant) {
        let Some(running) = self.running.get_mut(key as usize) else { return };
        if running.session.is_ending()
            && let Some(outliving) = self.outliving.get_mut(&key)
        {
            // No backend is to see a session that is over, and none gets what waits for it.
            outliving.call = None;
            running.session.drop_queue();
        }
        if running.session.count_kept(now) && !mem::replace(&mut running.queued, true) {
            self.rota.push(key, running.had);
        }
        let due = running.session.due();
        self.expect(key, due, now);
    }

    fn end_panicked(&mut self, key: usize) {
        tracing::error!("a session panicked and was ended");
        self.end(key);
    }

    /// Ends a session. What it has passed stays counted.
    fn end(&mut self, key: usize) {
        let session = self.running.remove(key).session;
        self.departures.note_end(key as u32, session.leaves_in_rebalance());
        if !self.outliving.is_empty() {
            self.outliving.remove(&(key as u32));
        }
        if let Some(id) = session.resume_id() {
            self.resumable.remove(&id);
        }
        if let Some((route, passed)) = session.passed() {
            self.ledger.end(key, route, passed);
        }
    }

    /// Notes when a session wants to be called, unless an earlier time is noted that is still to come.
    fn expect(&mut self, key: u32, due: Option<Instant>, now: Instant) {
        let furthest = now + FURTHEST;
        let due = due.map_or(furthest, |due| due.min(furthest));
        let Some(noted) = self.running.get(key as usize).map(|running| running.due) else { return };
        if self.tick(now).is_before(noted) && !self.tick(due).is_before(noted) {
            return;
        }
        let due = self.tick(together(self.epoch, due, now));
        self.running[key as usize].due = due;
        if self.earliest.is_none_or(|earliest| due.is_before(earliest)) {
            self.earliest = Some(due);
        }
    }

    fn set_alarm(&mut self, cx: &mut Context<'_>, now: Moment) {
        let tick = now.tick();
        self.rings.take_if(|rings| !tick.is_before(*rings));
        let Some(earliest) = self.earliest else { return };
        if self.rings.is_some_and(|rings| !earliest.is_before(rings)) {
            return;
        }
        let wait = if earliest.is_before(tick) { 0 } else { earliest.0.wrapping_sub(tick.0) };
        self.rings = Some(earliest);
        self.alarm.as_mut().reset((now.at + Duration::from_millis(wait.into())).into());
        // Where the loop has spent what the runtime allows a task, a poll that is refused would leave no waker behind.
        if pin!(unconstrained(self.alarm.as_mut())).poll(cx).is_ready() {
            cx.waker().wake_by_ref();
        }
    }

    /// Looks at one slice of the sessions for the question that has waited longest.
    fn answer(&mut self) {
        let Some(mut inquiry) = self.inquiries.pop_front() else { return };
        let now = Instant::now();
        for key in inquiry.slice() {
            let Some(running) = self.running.get_mut(key) else { continue };
            if inquiry.joins_fleet() {
                running.session.join_fleet(&self.process.fleet);
            }
            let Some(kill) = inquiry.look(|search, asked| running.session.sight(search, asked)) else { continue };
            running.session.kill(kill, now);
            if !mem::replace(&mut running.queued, true) {
                self.rota.push(key as u32, running.had);
            }
        }
        // No session has a key beyond the capacity.
        match inquiry.is_over(self.running.capacity()) {
            true => inquiry.finish(),
            false => self.inquiries.push_front(inquiry),
        }
    }

    /// Looks at one slice of the sessions for the errand that has waited longest.
    fn run_errand(&mut self) {
        let Some(mut errand) = self.errands.pop_front() else { return };
        let (now, is_drained) = (Instant::now(), self.orders.drains_all());
        if errand.begins_rebalance() {
            self.departures.begin();
        }
        for key in errand.slice() {
            let Some(running) = self.running.get_mut(key) else { continue };
            let place = key as u32;
            let (may_move, is_told) = (self.outliving.contains_key(&place), self.departures.has(place));
            let change = running.session.aged(is_drained, may_move, is_told).and_then(|aged| errand.look(&aged));
            if let Some(leaves) = change {
                self.departures.tell(place, leaves.is_some());
                running.session.rebalance(leaves, now);
                self.rouse(place, now);
            }
        }
        // No session has a key beyond the capacity.
        match errand.is_over(self.running.capacity()) {
            true => errand.finish(&self.departures),
            false => self.errands.push_front(errand),
        }
    }

    /// Looks at one slice of the sessions for a count of what they have passed.
    fn count(&mut self) {
        let running = &self.running;
        // No session has a key beyond the capacity.
        let look = |key| running.get(key)?.session.passed().map(|(route, passed)| (route.number(), passed));
        self.ledger.proceed(running.capacity(), running.len(), self.scratch.opcodes(), look);
    }

    /// Whether a walk through the table is under way, which takes one slice in each wake-up.
    fn owes_work(&self) -> bool {
        !self.inquiries.is_empty()
            || !self.errands.is_empty()
            || !self.ledger.is_idle()
            || self.ringing.is_some()
            || !self.telling.is_over()
    }

    /// After a change of the orders: tells one slice of the sessions which orders concern them.
    fn tell_orders(&mut self) {
        if self.telling.is_over() {
            return;
        }
        let now = Instant::now();
        for key in self.telling.next_slice(SLICE, self.running.capacity()) {
            let Some(running) = self.running.get_mut(key) else { continue };
            let redial = self.outliving.get(&(key as u32)).map(|outliving| &outliving.redial);
            running.session.hear(&self.orders, redial, now);
            if !mem::replace(&mut running.queued, true) {
                self.rota.push(key as u32, running.had);
            }
        }
    }

    fn clock(&self) -> Moment {
        self.moment(Instant::now())
    }

    fn moment(&self, at: Instant) -> Moment {
        Moment { at, micros: at.saturating_duration_since(self.epoch).as_micros() as u64 }
    }

    fn tick(&self, at: Instant) -> WrappingMillis {
        self.moment(at).tick()
    }
}

/// The session that an event or a call names, if it is still there and has the same streams.
fn named(running: &mut Slab<Running>, session: SessionKey) -> Option<&mut Running> {
    running.get_mut(session.place as usize).filter(|running| running.session.is_of(session))
}

/// What a look at the sockets has found.
struct Found {
    of_sessions: usize,
    wakes_tasks: bool,
}

/// Puts each session whose sockets have events in the rota, and wakes each task whose socket has some.
fn dispatch_events(events: &Events, apart: Option<&mut Apart>, running: &mut Slab<Running>, rota: &mut Rota) -> Found {
    let mut of_sessions = 0;
    let woken = sockets::dispatch(events, apart, |key, side, ready| {
        let Some(running) = named(running, key) else { return };
        of_sessions += 1;
        running.session.note(side, ready);
        if !mem::replace(&mut running.queued, true) {
            rota.push(key.place, running.had);
        }
    });
    let wakes_tasks = woken.unwrap_or_else(|error| {
        tracing::debug!(%error, "waiting for the sockets of tasks failed");
        false
    });
    Found { of_sessions, wakes_tasks }
}

/// The places to look at now. `at` is where they begin, and is then set to where the next slice begins. `None` = no
/// place is left. No session has a place beyond the table's `capacity`.
fn next_slice(at: &mut Option<usize>, length: usize, capacity: usize) -> Range<usize> {
    let from = at.unwrap_or(0);
    let to = (from + length).min(capacity);
    *at = (to < capacity).then_some(to);
    from..to
}

/// A way through the whole table, slice by slice.
#[derive(Debug, Default)]
struct Walk {
    /// The place where the walk goes on. `None` = the walk is over.
    at: Option<usize>,
    /// Another walk follows this one.
    again: bool,
}

impl Walk {
    /// From now on, every place is looked at. A walk that is under way ends first. If each change of the orders began
    /// the walk anew, frequent changes would keep it from the last places.
    fn begin(&mut self) {
        self.again = self.at.is_some_and(|at| at > 0);
        self.at.get_or_insert(0);
    }

    /// The places to look at now.
    fn next_slice(&mut self, length: usize, capacity: usize) -> Range<usize> {
        let slice = next_slice(&mut self.at, length, capacity);
        if self.at.is_none() && mem::take(&mut self.again) {
            self.at = Some(0);
        }
        slice
    }

    const fn is_over(&self) -> bool {
        self.at.is_none()
    }
}

/// Moves an alarm to the next tick that the worker's sessions share. One wake-up then serves many alarms: a wake-up for
/// one Ping costs more than the Ping. The alarm rings late by at most a hundredth of the wait, or 1 ms if that is more.
fn together(epoch: Instant, due: Instant, now: Instant) -> Instant {
    let wait = due.saturating_duration_since(now);
    if wait.is_zero() {
        return due;
    }
    let tick = (wait / 128).min(LONGEST_TICK).as_millis();
    // Powers of two: each tick of a slow clock is also a tick of the faster clocks.
    let tick = 1000_u64 << tick.checked_ilog2().unwrap_or(0);
    let since = due.saturating_duration_since(epoch).as_micros() as u64;
    due + Duration::from_micros(tick - since % tick)
}

#[cfg(test)]
mod tests;
