//! The sessions of a worker, driven by one loop: what the kernel says of their sockets, their alarms, the drain.
//!
//! A task per session would cost its own memory, a timer and a wake-up for each message. Here a session is an entry of a
//! table, and each of its turns is a plain call.

use std::{
    collections::VecDeque,
    future::poll_fn,
    io, mem,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use mio::{Events, Poll as Epoll};
use slab::Slab;
use tokio::{io::unix::AsyncFd, sync::mpsc, task::yield_now, time::Sleep};

use super::{
    Worker,
    drain::Book,
    inquiry::Inquiry,
    relay::{Scratch, Turn},
    session::{Arrival, Held},
    sockets,
    tally::Ledger,
    vital::Fault,
};

/// What the kernel tells at once, at most.
const EVENTS: usize = 256;
/// How often in a row, before the worker's tasks and timers have their turn.
const ROUNDS: usize = 8;
/// Events that come as near to each other as this, in microseconds, make the loop stay for the next ones.
const NEAR: u64 = 250;
/// How many microseconds it stays, before the worker's tasks and timers have their turn.
const STAY: u64 = 2_000;
/// The longest it then waits for one event. It comes much sooner, mostly. A shorter wait costs more than staying saves: one
/// that would end before the kernel's own next tick (4 ms) programs the hardware's timer each time.
const LINGER: Duration = Duration::from_millis(5);
/// Turns in a row that share one look at the clock.
const TURNS_PER_CLOCK: usize = 8;
/// Sessions that have just begun and wait to be driven.
pub(super) const ARRIVALS: usize = 256;
/// The longest that alarms wait to ring together.
const LONGEST_TICK: Duration = Duration::from_millis(128);
/// A new session's alarm rings after this time at the latest.
const SETTLES: Duration = Duration::from_secs(1);
/// An alarm further away is looked at again then, so that the clock of the table may wrap.
const FURTHEST: Duration = Duration::from_secs(24 * 3600);

/// A session in the table.
struct Running {
    session: Box<Held>,
    /// When it wants to be called, if nothing happens. Never too late; too early where its deadlines have receded
    /// since, as they mostly do while bytes flow.
    due: Tick,
    /// It has its turn next.
    queued: bool,
    /// Its alarm has rung once: it stays, and has the socket options that only matter then. Setting them takes five
    /// calls, which a short session saves.
    settled: bool,
}

/// Milliseconds since the table was made, wrapping after 49 days.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Tick(u32);

impl Tick {
    const fn is_before(self, other: Self) -> bool {
        (self.0.wrapping_sub(other.0) as i32) < 0
    }
}

/// A look at the clock.
#[derive(Debug, Clone, Copy)]
struct Moment {
    at: Instant,
    /// Since the table was made.
    micros: u64,
}

impl Moment {
    /// Rounded down: what was rounded up to a millisecond before stays exact.
    const fn tick(self) -> Tick {
        Tick((self.micros / 1000) as u32)
    }
}

/// The sessions of one worker.
pub(super) struct Sessions {
    worker: Arc<Worker>,
    arrivals: mpsc::Receiver<Arrival>,
    /// What was asked of them and is not answered yet.
    inquiries: VecDeque<Inquiry>,
    ledger: Ledger,
    epoll: AsyncFd<Epoll>,
    events: Events,
    running: Slab<Running>,
    /// Those that have their turn next.
    queue: Vec<u32>,
    /// Room for the next queue.
    spare: Vec<u32>,
    scratch: Scratch,
    epoch: Instant,
    /// When events came for sessions last, in [`Moment::micros`].
    last_events: u64,
    /// How many microseconds apart they come, of late. A single pair of a message and its answer does not make it lively.
    pace: u64,
    /// Events of this wake-up were for tasks.
    wakes_tasks: bool,
    /// It was lively before the worker's tasks and timers have had their turn.
    may_stay: bool,
    /// No session is due sooner.
    earliest: Option<Tick>,
    alarm: Pin<Box<Sleep>>,
    /// When the alarm rings; `None` = it has.
    rings: Option<Tick>,
    orders: Arc<Book>,
}

impl Sessions {
    /// Those that come by `arrivals`, on the sockets of this thread.
    ///
    /// # Errors
    /// The runtime takes no more descriptors.
    pub(super) fn new(worker: Arc<Worker>, epoll: Epoll, arrivals: mpsc::Receiver<Arrival>) -> io::Result<Self> {
        let epoch = Instant::now();
        let scratch = Scratch::new(Arc::clone(&worker.shared.admission.unsent));
        Ok(Self {
            worker,
            arrivals,
            inquiries: VecDeque::new(),
            ledger: Ledger::default(),
            epoll: sockets::watch(epoll)?,
            events: Events::with_capacity(EVENTS),
            running: Slab::new(),
            queue: Vec::new(),
            spare: Vec::new(),
            scratch,
            epoch,
            last_events: 0,
            pace: LINGER.as_micros() as u64,
            wakes_tasks: false,
            may_stay: false,
            earliest: None,
            alarm: Box::pin(tokio::time::sleep_until(epoch.into())),
            rings: None,
            orders: Arc::default(),
        })
    }

    /// Drives them until the runtime drops this, which cuts those that are left.
    pub(super) async fn drive(mut self) {
        let mut orders = self.worker.shared.orders.subscribe();
        loop {
            tokio::select! {
                biased;
                // Never an error: this worker holds what sends them.
                _ = orders.changed() => {
                    let book = Arc::clone(&orders.borrow_and_update());
                    self.hear(book);
                }
                () = poll_fn(|cx| self.poll_drive(cx)) => {}
            }
        }
    }

    /// One wake-up. Never ready: the loop ends with its worker.
    fn poll_drive(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(fault) = Fault::of_worker(self.worker.index) {
            self.worker.shared.vitals.strike(fault);
        }
        while let Poll::Ready(Some(arrival)) = self.arrivals.poll_recv(cx) {
            match arrival {
                Arrival::Session(session) => self.adopt(session),
                Arrival::Question(question) => self.inquiries.push_back(Inquiry::new(*question)),
                Arrival::Count(answer) => self.ledger.begin(answer),
            }
        }
        self.answer();
        self.count();
        self.wakes_tasks = false;
        let mut now = self.clock();
        let mut more = self.take_events(cx);
        self.proceed(now);
        for _ in 1..ROUNDS {
            more = match more {
                // One comes alone, mostly: to look for a second one costs more than it saves.
                Poll::Ready(1) if self.queue.is_empty() => self.clear_events(cx),
                Poll::Ready(_) => self.take_events(cx),
                Poll::Pending => break,
            };
            if more.is_ready() {
                now = self.clock();
                self.proceed(now);
            }
        }
        let has_more = more.is_ready() || !self.queue.is_empty() || self.owes_answers();
        let is_lively = !has_more && self.is_lively(now);
        // Before each stay the worker's other tasks have their turn.
        let stays = is_lively && self.may_stay;
        self.may_stay = is_lively && !stays;
        let yields = if stays { self.stay(now) } else { has_more || is_lively };
        self.set_alarm(cx);
        if yields {
            // After the runtime has looked at its own sockets and timers.
            let _ = pin!(yield_now()).poll(cx);
        }
        Poll::Pending
    }

    /// Takes a new session into the table. Bytes may have come for it already.
    fn adopt(&mut self, mut session: Box<Held>) {
        let now = Instant::now();
        if !self.orders.is_empty() {
            session.hear(&self.orders, now);
        }
        let due = session.due().map_or(now + SETTLES, |due| due.min(now + SETTLES));
        let due = self.tick(together(self.epoch, due, now));
        if self.earliest.is_none_or(|earliest| due.is_before(earliest)) {
            self.earliest = Some(due);
        }
        let entry = self.running.vacant_entry();
        // No more than there are descriptors.
        let key = u32::try_from(entry.key()).unwrap_or(u32::MAX);
        session.give_sockets_to(key);
        entry.insert(Running { session, due, queued: true, settled: false });
        self.queue.push(key);
    }

    /// Ready with how many were taken when there may be more: after the turns of those, before the runtime is asked, which
    /// costs two calls and a wake-up.
    fn take_events(&mut self, cx: &mut Context<'_>) -> Poll<usize> {
        loop {
            let Ok(mut ready) = ready!(self.epoll.poll_read_ready_mut(cx)) else { return Poll::Pending };
            if let Err(error) = ready.get_inner_mut().poll(&mut self.events, Some(Duration::ZERO)) {
                tracing::debug!(%error, "waiting for sockets failed");
                return Poll::Ready(0);
            }
            let taken = self.events.iter().count();
            self.wakes_tasks |= pass_on(&self.events, &mut self.running, &mut self.queue);
            if !self.queue.is_empty() || taken == EVENTS {
                return Poll::Ready(taken);
            }
            ready.clear_ready();
        }
    }

    /// Leaves it to the runtime to say when there are more. It says so of all that were not taken: since they were, it has not
    /// been asked.
    fn clear_events(&self, cx: &mut Context<'_>) -> Poll<usize> {
        if let Poll::Ready(Ok(mut ready)) = self.epoll.poll_read_ready(cx) {
            ready.clear_ready();
        }
        self.epoll.poll_read_ready(cx).map(|_| 0)
    }

    /// Whether the next events will be here sooner than the runtime would be asleep and awake again.
    const fn is_lively(&self, now: Moment) -> bool {
        self.pace < NEAR && !self.wakes_tasks && now.micros - self.last_events < NEAR
    }

    /// Waits for events here, not in the runtime, as long as they keep coming: that spares the runtime's own wake-up, most of
    /// what a message costs beside its two calls. Meanwhile tasks and timers wait, and what other threads want: for
    /// [`STAY`] and, when events suddenly stop, [`LINGER`]. Whether sessions have more to do.
    fn stay(&mut self, mut now: Moment) -> bool {
        let until = now.micros + STAY;
        while self.is_lively(now) && now.micros < until && self.queue.is_empty() {
            let soon = Tick(now.tick().0.wrapping_add(LINGER.as_millis() as u32));
            if self.earliest.is_some_and(|earliest| earliest.is_before(soon)) {
                break;
            }
            if self.epoll.get_mut().poll(&mut self.events, Some(LINGER)).is_err() || self.events.is_empty() {
                break;
            }
            self.wakes_tasks |= pass_on(&self.events, &mut self.running, &mut self.queue);
            now = self.clock();
            self.proceed(now);
        }
        !self.queue.is_empty()
    }

    /// After the events of a moment were taken: what is to be done then.
    fn proceed(&mut self, now: Moment) {
        if !self.queue.is_empty() {
            let gap = (now.micros - self.last_events).min(LINGER.as_micros() as u64);
            self.pace = (3 * self.pace + gap) / 4;
            self.last_events = now.micros;
        }
        self.take_due(now);
        self.give_turns(now);
    }

    /// Gives those a turn whose time has come.
    fn take_due(&mut self, now: Moment) {
        let now = now.tick();
        if self.earliest.is_none_or(|earliest| now.is_before(earliest)) {
            return;
        }
        self.earliest = None;
        let tcp = self.worker.shared.plan().config.tcp;
        for (key, running) in &mut self.running {
            if !now.is_before(running.due) {
                if !mem::replace(&mut running.settled, true) {
                    running.session.settle(&tcp);
                }
                if !mem::replace(&mut running.queued, true) {
                    self.queue.push(key as u32);
                }
            } else if self.earliest.is_none_or(|earliest| running.due.is_before(earliest)) {
                self.earliest = Some(running.due);
            }
        }
    }

    fn give_turns(&mut self, mut now: Moment) {
        let mut turns = mem::replace(&mut self.queue, mem::take(&mut self.spare));
        for (given, session) in turns.drain(..).enumerate() {
            if given % TURNS_PER_CLOCK == TURNS_PER_CLOCK - 1 {
                now = self.clock();
            }
            self.give_turn(session, now);
        }
        self.spare = turns;
    }

    fn give_turn(&mut self, key: u32, now: Moment) {
        let Some(running) = self.running.get_mut(key as usize) else { return };
        running.queued = false;
        let is_due = !now.tick().is_before(running.due);
        let (session, scratch) = (&mut running.session, &mut self.scratch);
        // Mostly, and then nothing has to be asked: what was noted is not too late.
        let was_calm = !is_due && session.is_calm();
        // One that panics, which none should, ends alone.
        let turn = catch_unwind(AssertUnwindSafe(|| session.turn(scratch, is_due, now.at)));
        match turn {
            Ok(Turn::Waits) => {}
            Ok(Turn::HasMore) => {
                running.queued = true;
                self.queue.push(key);
            }
            Ok(Turn::Over) => return self.end(key as usize),
            Err(_) => {
                tracing::error!("a session panicked and was ended");
                return self.end(key as usize);
            }
        }
        if !(was_calm && running.session.is_calm()) {
            let due = running.session.due();
            self.expect(key, due, now.at);
        }
    }

    /// A session is over: what it passed goes on to count.
    fn end(&mut self, key: usize) {
        let session = self.running.remove(key).session;
        if let Some((route, passed)) = session.passed() {
            self.ledger.end(key, route, passed);
        }
    }

    /// Notes when a session wants to be called, if that is sooner than what was noted or that has passed.
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

    fn set_alarm(&mut self, cx: &mut Context<'_>) {
        let now = Instant::now();
        let tick = self.tick(now);
        self.rings.take_if(|rings| !tick.is_before(*rings));
        let Some(earliest) = self.earliest else { return };
        if self.rings.is_some_and(|rings| !earliest.is_before(rings)) {
            return;
        }
        let wait = if earliest.is_before(tick) { 0 } else { earliest.0.wrapping_sub(tick.0) };
        self.rings = Some(earliest);
        self.alarm.as_mut().reset((now + Duration::from_millis(wait.into())).into());
        if self.alarm.as_mut().poll(cx).is_ready() {
            cx.waker().wake_by_ref();
        }
    }

    /// Looks at one slice of the sessions for the question that has waited longest.
    fn answer(&mut self) {
        let Some(mut inquiry) = self.inquiries.pop_front() else { return };
        let now = Instant::now();
        for key in inquiry.slice() {
            if let Some(running) = self.running.get_mut(key)
                && inquiry.look(&mut running.session, now)
                && !mem::replace(&mut running.queued, true)
            {
                self.queue.push(key as u32);
            }
        }
        // No session has a key beyond the capacity.
        match inquiry.is_over(self.running.capacity()) {
            true => inquiry.finish(),
            false => self.inquiries.push_front(inquiry),
        }
    }

    /// Looks at one slice of the sessions for who wants to know what they have passed.
    fn count(&mut self) {
        let running = &self.running;
        // No session has a key beyond the capacity.
        let look = |key| running.get(key)?.session.passed().map(|(route, passed)| (route.number(), passed));
        self.ledger.proceed(running.capacity(), running.len(), self.scratch.opcodes(), look);
    }

    fn owes_answers(&self) -> bool {
        !self.inquiries.is_empty() || !self.ledger.is_idle()
    }

    /// The orders have changed: each session learns which concern it.
    fn hear(&mut self, orders: Arc<Book>) {
        let now = Instant::now();
        self.orders = orders;
        for (key, running) in &mut self.running {
            running.session.hear(&self.orders, now);
            if !mem::replace(&mut running.queued, true) {
                self.queue.push(key as u32);
            }
        }
    }

    fn clock(&self) -> Moment {
        self.moment(Instant::now())
    }

    fn moment(&self, at: Instant) -> Moment {
        Moment { at, micros: at.saturating_duration_since(self.epoch).as_micros() as u64 }
    }

    fn tick(&self, at: Instant) -> Tick {
        self.moment(at).tick()
    }
}

/// Gives the sessions a turn next whose sockets have changed. Returns whether a task was woken.
fn pass_on(events: &Events, running: &mut Slab<Running>, queue: &mut Vec<u32>) -> bool {
    sockets::dispatch(events, |key, side, ready| {
        let Some(running) = running.get_mut(key as usize) else { return };
        running.session.note(side, ready);
        if !mem::replace(&mut running.queued, true) {
            queue.push(key);
        }
    })
}

/// An alarm rings a little late, by less than a hundredth of the wait, on ticks that a worker's sessions share: to wake up for
/// one Ping costs more than the Ping.
fn together(epoch: Instant, due: Instant, now: Instant) -> Instant {
    let wait = due.saturating_duration_since(now);
    if wait.is_zero() {
        return due;
    }
    let tick = (wait / 128).min(LONGEST_TICK).as_millis();
    // Powers of two: every tick of a slow clock is one of the faster ones too.
    let tick = 1000_u64 << tick.checked_ilog2().unwrap_or(0);
    let since = due.saturating_duration_since(epoch).as_micros() as u64;
    due + Duration::from_micros(tick - since % tick)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn alarms_ring_together_and_at_most_a_hundredth_late() {
        let epoch = Instant::now();
        let now = epoch + Duration::from_micros(123_456_789);
        for (first, wait) in [(0, 25_000), (7, 25_000), (3, 1_000), (0, 40), (1, 1)] {
            let wait = Duration::from_millis(first + wait);
            let late = together(epoch, now + wait, now).duration_since(now + wait);
            assert!(late <= Duration::from_millis(1).max(wait / 100), "{wait:?}: {late:?}");
        }
        let rings: HashSet<_> =
            (0..1000).map(|ms| together(epoch, now + Duration::from_millis(25_000 + ms), now)).collect();
        assert!(rings.len() <= 1000 / 128 + 2, "{}", rings.len());
        assert_eq!(together(epoch, now, now), now);
    }

    #[test]
    fn a_tick_is_before_another_also_when_the_clock_has_wrapped() {
        let late = Tick(u32::MAX - 5);
        assert!(late.is_before(Tick(10)) && !Tick(10).is_before(late) && !late.is_before(late));
    }
}
