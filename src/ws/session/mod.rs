//! One upgraded session: both directions, our Pings, and how it ends.
//!
//! The driver of a session follows these rules:
//!
//! 1. It feeds the bytes that it reads ([`Session::handle_input`], [`Session::handle_eof`]). It forwards the bytes that
//!    pass, and puts frames of our own behind them ([`Session::poll_transmit`]).
//! 2. After each write, before it reads anything else for that side, it tells what it could write
//!    ([`Session::handle_written`], [`Session::handle_broken`]).
//! 3. Before [`Session::handle_timeout`] and [`Session::is_over`], it asks whether to look at what a side takes
//!    ([`Session::wants_progress`]), and tells what the side's stream says ([`Session::handle_progress`]).
//! 4. If silence is about to end the session ([`Session::judges_silence`]), it first feeds every byte that has come.
//! 5. At the instant of [`Session::poll_timeout`] it calls [`Session::handle_timeout`].
//! 6. It asks whether to read a side ([`Session::wants_read`], [`Session::client_read_limit`]), whether to shut it down or close it
//!    ([`Session::wants_shut`], [`Session::may_close`]), and whether the session is over ([`Session::is_over`]).
//!
//! A session may outlive its backend, and wait for another one: see the head of `hold`. It may outlive its client's connection, and
//! wait for the client to come back: see the head of `resume`.
//!
//! A side that has sent its Close, and no byte behind it, is closed as soon as the last bytes for it are written
//! ([`Session::may_close`]). Any other side gets our FIN, and is read until its own FIN has come.
//!
//! | what happens                   | to the client       | to the backend      | initiator    |
//! |--------------------------------|---------------------|---------------------|--------------|
//! | Close from A                   | passes unchanged    | passes unchanged    | A            |
//! | client lost (FIN, reset)       | 1001, not waited for| 1001 `client lost`  | client       |
//! | backend lost (FIN, reset)      | 1011 `backend lost` | 1001, not waited for| backend      |
//! | client dead                    | 1001, not waited for| 1001 `no answer to pings` | proxy  |
//! | backend dead                   | 1011 `no answer to pings` | 1001, not waited for| proxy  |
//! | breach by the client           | 1002, after what the backend answered | 1001 | proxy     |
//! | breach by the backend          | 1011                | 1002, after what the client answered | proxy |
//! | message or frame too big       | 1009 to its author, at once; the other as at a breach | | proxy  |
//! | too much in a second           | 1008, at once       | 1001 `rate limited` | proxy        |
//! | idle                           | 1001 `idle`         | 1001 `idle`         | proxy        |
//! | memory                         | 1013 `memory`       | 1013 `memory`       | proxy        |
//! | the service that let it in set an end | 1008 `expired` | 1008 `expired`     | proxy        |
//! | notice (drain, lifetime, …)    | 1012 and the cause  | 1012 and the cause  | proxy        |
//! | an operator ends it            | the operator's code and words | the same  | proxy        |

mod ending;
mod half;
mod hold;
mod hold_terms;
mod notice;
mod observed;
mod resume;
mod resume_terms;
mod settings;
#[cfg(test)]
mod tests;
mod timer;

use std::{mem, ops::Range, sync::Arc, time::Instant};

use self::{
    ending::Ending,
    half::{Half, Incoming, Outgoing},
    hold::Hold,
    notice::Notices,
    observed::Observation,
    resume::Resume,
    timer::Timer,
};
pub use self::{
    hold_terms::{HoldCause, HoldState, HoldTally, HoldTerms, HoldTriggers, ResumeFailure},
    notice::{Departure, Notice},
    observed::{MOST_SEEN, Passage, SeenFrame},
    resume_terms::{Claimed, ResumeTally, ResumeTerms},
    settings::{Common, SessionSettings},
};
use super::{
    Side,
    frame::{Breach, ControlFrame, FrameHeader, OpCode},
    keepalive::{PingTerms, PongOwner, RoundTrips},
    meter::Meter,
    opcodes::OpCodeCounts,
    progress::{Look, Progress},
    termination::{Cause, HowEnded, Loss, Silence, Termination},
    tick::Tick,
    tracker::{End, Rules, Step},
};

/// A session, from the 101 to the end of both sides.
#[derive(Debug)]
pub struct Session {
    common: Arc<Common>,
    nonce: u64,
    client: Half,
    backend: Half,
    fate: Option<Box<Fate>>,
}

/// The parts of a session that most sessions do not need for most of their life.
#[derive(Debug, Default)]
struct Fate {
    notices: Notices,
    ending: Option<Ending>,
    /// `None` = nothing is limited.
    meter: Option<Meter>,
    /// `Some` while somebody observes the frames.
    observation: Option<Observation>,
    /// `None` = nothing has happened to the backend, and nothing is open that the session would need if something did.
    hold: Option<Box<Hold>>,
    /// `None` = the session ends with its client's connection.
    resume: Option<Box<Resume>>,
}

/// What the driver does with the bytes that it fed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passed {
    /// How many bytes to forward from the start of the buffer. The frames that do not pass have been cut out of them,
    /// and the rest has moved up.
    pub forward: usize,
    /// How many of these, the last ones, go to the queue for the next backend ([`Session::queue_room`]).
    pub queued: usize,
    /// The bytes to keep and to feed again in front of the next ones. They are the start of a header or of a control
    /// frame, at most [`super::frame::MAX_CONTROL_FRAME`] bytes.
    pub keep: Range<usize>,
}

/// What passed in one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Bytes on the wire, headers included. Frames of our own do not count.
    pub bytes: u64,
    /// Whole frames.
    pub frames: u64,
    /// Whole messages. Control frames do not count.
    pub messages: u64,
}

impl Session {
    /// A session whose 101 has just passed. `nonce` is a random number, a different one for each session.
    #[must_use]
    pub fn new(common: Arc<Common>, nonce: u64, now: Instant) -> Self {
        let now = Tick::new(common.epoch, now);
        let lifetime = common.settings.max_lifetime;
        let notices = lifetime.map(|longest| Notices::of_lifetime(longest, position(&common, nonce), now));
        let meter = Meter::new(common.settings.limits, now);
        let is_plain = notices.is_none() && meter.is_none();
        let fate = Fate { notices: notices.unwrap_or_default(), meter, ..Fate::default() };
        Self {
            client: Half::new(now),
            backend: Half::new(now),
            common,
            nonce,
            fate: (!is_plain).then(|| Box::new(fate)),
        }
    }

    /// Bytes have come from a side. The frames that pass are added to `counts`. Afterwards [`Self::poll_transmit`] may
    /// have a frame of ours to put behind them.
    pub fn handle_input(&mut self, from: Side, buffer: &mut [u8], counts: &mut OpCodeCounts, now: Instant) -> Passed {
        let tick = self.common.tick(now);
        let rules = Rules { sender: from, extensions: self.common.settings.extensions };
        let (mut read, mut forward) = (0, 0);
        while read < buffer.len() && self.half(from).from == Incoming::Open {
            let (first, begins) = (buffer[read], self.half(from).tracker.at_frame_end());
            let measured = if self.fate.is_some() { self.measure(from, &buffer[read..], tick) } else { Ok(()) };
            let step = measured.and_then(|()| self.half_mut(from).tracker.step(rules, &buffer[read..]));
            // These steps may end the session. What came before them, in the same read, has broken the silence.
            if read > 0 && matches!(step, Ok(Step::Control { .. }) | Err(_)) {
                self.break_silence(from, forward, tick);
            }
            let (length, passes) = match step {
                Ok(Step::Incomplete) => break,
                Ok(Step::Data { length, end }) => (length, self.handle_data(from, length, end)),
                Ok(Step::Control { length, header, payload }) => {
                    (length, self.handle_control(from, &header, payload, now))
                }
                Err(breach) => {
                    if self.fate.is_some() && begins {
                        self.note_theirs(from, Passage::Refused, &buffer[read..], tick);
                    }
                    self.handle_breach(from, breach, now);
                    break;
                }
            };
            if self.fate.is_some() {
                self.note_step(from, passes, (&buffer[read..], length, begins), tick);
            }
            if passes {
                if read != forward {
                    buffer.copy_within(read..read + length, forward);
                }
                forward += length;
                if begins {
                    counts.count(from, first);
                }
            }
            read += length;
            self.place_closes(tick);
        }
        if self.half(from).from != Incoming::Open {
            // Bytes behind a Close or a breach have no meaning, so all are dropped. More of them may come.
            if read < buffer.len() && self.half(from).from == Incoming::Closed {
                self.half_mut(from).from = Incoming::Done;
            }
            read = buffer.len();
        }
        if forward > 0 {
            self.half_mut(from).counts.bytes += forward as u64;
        }
        let (forward, queued) = if self.fate.is_some() { self.divide(from, forward) } else { (forward, 0) };
        self.break_silence(from, forward - queued, tick);
        Passed { forward, queued, keep: read..buffer.len() }
    }

    /// How many payload bytes from a side may pass unread. The driver tells [`Self::handle_unseen`] how many did. While
    /// this is not 0, no bytes are kept back.
    #[must_use]
    pub fn unseen(&self, from: Side) -> u64 {
        match self.half(from).tracker.payload_left() {
            left if left > 0 && self.passes(from) && !self.is_resumable() => left,
            _ => 0,
        }
    }

    /// Payload bytes have passed unread: at least one, at most [`Self::unseen`].
    pub fn handle_unseen(&mut self, from: Side, length: u64, now: Instant) {
        let tick = self.common.tick(now);
        let half = self.half_mut(from);
        half.keepalive.handle_received(tick);
        let end = half.tracker.skip(length);
        half.counts.pass(end);
        half.counts.bytes += length;
        self.half_mut(from.other()).keepalive.handle_sent(tick);
        if let Some(meter) = self.meter_mut()
            && let Err(breach) = meter.take_bytes(from, length, tick)
        {
            self.handle_breach(from, breach, now);
        }
        self.place_closes(tick);
    }

    /// Nothing more comes from a side: its FIN or its reset has been read.
    pub fn handle_eof(&mut self, from: Side, now: Instant) {
        let before = mem::replace(&mut self.half_mut(from).from, Incoming::Eof);
        if before == Incoming::Open {
            let how = HowEnded::Lost(Loss::Fin);
            let is_outlived = match from {
                Side::Client => self.outlives_client(how, now),
                Side::Backend => self.outlives(HoldCause::Lost, how, now),
            };
            if !is_outlived {
                self.lose(from, Loss::Fin, now);
            }
            return;
        }
        self.half_mut(from.other()).follow_close();
        self.place_farewells();
    }

    /// Writing to a side failed, or reading from it. The bytes that it sent before are still read, because its Close may
    /// be among them.
    pub fn handle_broken(&mut self, to: Side, loss: Loss, now: Instant) {
        let half = self.half_mut(to);
        half.to = Outgoing::Shut;
        half.keepalive.handle_broken();
        half.broken = true;
        let is_outlived = match to {
            Side::Client => self.client_fades(loss, now),
            Side::Backend => self.keeps_their_close() || self.fades(loss, now),
        };
        if !is_outlived {
            self.begin_losing(to, loss, now);
        }
    }

    /// A write for a side moved `moved` bytes, and `left` bytes still wait. Call this after each write, before anything
    /// else is read for that side.
    #[inline]
    pub fn handle_written(&mut self, to: Side, moved: usize, left: usize, now: Instant) {
        // No bytes waited before and none wait now. The written bytes already counted when they passed.
        if left > 0 || !self.half(to).keepalive.is_calm() {
            self.note_written(to, moved, left, now);
        }
    }

    /// Whether it is time to look at what a side takes, and to call [`Self::handle_progress`].
    ///
    /// If bytes wait for a side, the look decides whether the side is dead, and whether it gets more time at the end.
    /// Ask this before [`Self::handle_timeout`] and [`Self::is_over`], which judge by the look.
    #[must_use]
    pub fn wants_progress(&self, of: Side, now: Instant) -> bool {
        match self.ending() {
            Some(_) => self.is_due(Timer::Look(of), self.common.tick(now)),
            None if self.half(of).keepalive.is_calm() => false,
            None => self.half(of).keepalive.wants_progress(self.common.terms(self.nonce, of), self.common.tick(now)),
        }
    }

    /// What a side's stream says of the bytes for the side.
    pub fn handle_progress(&mut self, of: Side, progress: Progress, now: Instant) {
        let tick = self.common.tick(now);
        if self.ending().is_none() {
            return self.half_mut(of).keepalive.handle_progress(progress, tick);
        }
        let look = Look::new(progress, self.half(of).keepalive.is_stalled(), tick);
        let before = self.ending_mut().and_then(|ending| ending.looks[of as usize].replace(look));
        if before.is_some_and(|before| before.was_followed_by(progress)) {
            self.grant_time(of, now);
        }
    }

    /// A side has been shut down for writing: our FIN is out.
    pub fn handle_shut(&mut self, to: Side) {
        self.half_mut(to).to = Outgoing::Shut;
    }

    /// Whether nothing has happened to the backend, and the session ends with its client. Then [`Self::client_read_limit`] and
    /// [`Self::backend_read_limit`] say nothing, and nothing goes to a queue.
    #[must_use]
    pub const fn is_plain(&self) -> bool {
        match &self.fate {
            None => true,
            Some(fate) => fate.hold.is_none() && fate.resume.is_none(),
        }
    }

    /// Whether nothing is open: no bytes wait for a side, no Ping is owed or unanswered, and no end has begun.
    ///
    /// 1. A calm session has nothing to transmit and nothing to shut.
    /// 2. From one calm moment to the next, [`Self::poll_timeout`] only moves to a later instant. So a driver that may
    ///    come back too early need not ask again, unless the time was up.
    /// 3. A session with limits or a longest life is never calm, nor is one that can be resumed, or that ever had a notice, an
    ///    observer or another backend.
    #[must_use]
    pub const fn is_calm(&self) -> bool {
        self.fate.is_none() && self.client.keepalive.is_calm() && self.backend.keepalive.is_calm()
    }

    /// Whether [`Self::poll_transmit`] has something for a side.
    #[inline]
    #[must_use]
    pub fn wants_to_transmit(&self, to: Side) -> bool {
        let half = self.half(to);
        match half.to {
            Outgoing::Open => (half.keepalive.owes_ping() || self.fate.is_some()) && self.owes_frame(to),
            Outgoing::Due => true,
            Outgoing::Farewell | Outgoing::Fin | Outgoing::Closed | Outgoing::Shut => false,
        }
    }

    /// Appends the frames of our own that are due for a side. They go behind all bytes that were forwarded to the side.
    /// Appends nothing unless the forwarded bytes end between two frames.
    pub fn poll_transmit(&mut self, to: Side, now: Instant, out: &mut Vec<u8>) {
        if !self.wants_to_transmit(to) {
            return;
        }
        let now = self.common.tick(now);
        if self.half(to).to == Outgoing::Open && self.tell(to, now, out) && !self.wants_to_transmit(to) {
            return;
        }
        let close = self.ending().and_then(|ending| ending.close_frame(to));
        let parting = if to == Side::Backend { self.parting_close() } else { None };
        let answer = if to == Side::Backend { self.answer() } else { None };
        let (half, terms) = self.half_and_terms(to);
        let frame = if let Some(close) = close {
            half.to = Outgoing::Fin;
            close
        } else if let Some(close) = parting {
            // The old backend may still have something to say.
            half.to = Outgoing::Closed;
            close
        } else if let Some(close) = answer {
            half.to = Outgoing::Fin;
            close
        } else {
            half.keepalive.ping(terms, now)
        };
        frame.encode(half.keepalive.mask(terms, frame.opcode), out);
        self.note_ours(to, &frame, now);
    }

    /// Whether a side is worth reading, as long as the other side can take its bytes. See [`Self::client_read_limit`] too.
    #[must_use]
    pub fn wants_read(&self, from: Side) -> bool {
        self.half(from).from != Incoming::Eof
    }

    /// Whether no message and no Close will come from a side any more.
    #[must_use]
    pub fn is_done(&self, from: Side) -> bool {
        self.half(from).from != Incoming::Open
    }

    /// Whether nothing more will come from a side: its FIN has come, or under TLS its close_notify.
    #[must_use]
    pub const fn has_ended(&self, from: Side) -> bool {
        matches!(self.half(from).from, Incoming::Eof)
    }

    /// Whether to send a side our FIN once all bytes that wait for it have been written.
    #[must_use]
    pub fn wants_shut(&self, to: Side) -> bool {
        self.half(to).to == Outgoing::Fin
    }

    /// Whether a side may be closed once all bytes that wait for it are written and none of its own bytes is unread.
    /// Only a FIN can still come from it then, so no reset destroys the bytes that were written.
    #[must_use]
    pub const fn may_close(&self, side: Side) -> bool {
        let half = self.half(side);
        match (half.from, half.to) {
            // A side that has sent its Close sends nothing more, except the Pong to a Ping that came before the other
            // end's Close (RFC 6455 §5.5.2).
            (Incoming::Closed, Outgoing::Fin | Outgoing::Shut) => half.keepalive.is_calm() && half.pongs_owed == 0,
            (Incoming::Eof, Outgoing::Fin) => true,
            _ => false,
        }
    }

    /// A side was closed, as [`Self::may_close`] allows.
    pub fn handle_closed(&mut self, side: Side, now: Instant) {
        self.handle_shut(side);
        self.handle_eof(side, now);
    }

    /// Whether a side is lost. A write to it that would have to wait is then not worth the wait.
    #[must_use]
    pub fn is_lost(&self, side: Side) -> bool {
        self.half(side).lost
    }

    /// Whether the session ends because its backend is gone, although its route holds sessions.
    #[must_use]
    pub fn ends_instead_of_hold(&self) -> bool {
        let is_gone = |cause| matches!(cause, Cause::BackendLost | Cause::BackendDead);
        self.common.hold.is_some() && self.ending().is_some_and(|ending| is_gone(ending.termination.cause))
    }

    /// Whether nothing is left to do, or no time to do it in. Then drop both streams.
    #[must_use]
    pub fn is_over(&self, now: Instant) -> bool {
        let Some(ending) = self.ending() else { return false };
        self.common.tick(now) >= ending.deadline || (self.client.is_over() && self.backend.is_over())
    }

    /// How the session ended. While it ends, this is what is known so far; `None` = its end has not begun.
    #[must_use]
    pub fn termination(&self) -> Option<Termination> {
        let termination = self.ending()?.termination.clone();
        Some(Termination { clean: self.client.closed && self.backend.closed, ..termination })
    }

    /// For how long no byte had passed when the end of the session began; up to `now` if it has not begun.
    #[must_use]
    pub fn silence(&self, now: Instant) -> Silence {
        self.ending().map_or_else(|| self.silence_until(self.common.tick(now)), |ending| ending.silence)
    }

    /// What passed from one side to the other.
    #[must_use]
    pub const fn counts(&self, from: Side) -> Counts {
        self.half(from).counts
    }

    /// When the last byte came from either side. Pongs to our own Pings count too.
    #[must_use]
    pub fn last_received(&self) -> Instant {
        self.last_byte().instant(self.common.epoch)
    }

    /// Whether the end of the session has begun.
    #[must_use]
    pub const fn is_ending(&self) -> bool {
        self.ending().is_some()
    }

    /// The round trips that our Pings to a side have measured.
    #[must_use]
    pub fn round_trips(&self, side: Side) -> RoundTrips {
        self.half(side).keepalive.round_trips()
    }

    /// The session's own place among all sessions, from 0 to 1. If all sessions have to do something, but not at the
    /// same moment, each takes its moment from this number.
    #[must_use]
    pub fn position(&self) -> f64 {
        position(&self.common, self.nonce)
    }
}

impl Session {
    /// Whether a side to which frames go is to get one of ours now. Apart from the path of a message, on which nothing is owed.
    #[inline(never)]
    fn owes_frame(&self, to: Side) -> bool {
        let is_pinged = self.half(to).keepalive.owes_ping()
            && self.ending().is_none()
            && self.half(to.other()).tracker.at_frame_end();
        is_pinged
            || match to {
                Side::Client => self.owes_client(),
                Side::Backend => self.owes_backend(),
            }
    }

    /// Appends the frames of ours that are due because of what happened to an end. Returns whether there were any.
    fn tell(&mut self, to: Side, now: Tick, out: &mut Vec<u8>) -> bool {
        match to {
            Side::Client if self.owes_client() => self.tell_client(now, out),
            Side::Backend if self.owes_backend() => self.tell_backend(now, out),
            _ => return false,
        }
        true
    }

    /// Notes a step of the parts that most sessions do not have. `bytes` begin with the step.
    #[inline(never)]
    fn note_step(&mut self, from: Side, passes: bool, (bytes, length, begins): (&[u8], usize, bool), now: Tick) {
        if begins {
            let passage = if passes { Passage::Relayed } else { Passage::Swallowed };
            self.note_theirs(from, passage, bytes, now);
        }
        let is_control = begins && bytes.first().is_some_and(|first| first & 0x08 != 0);
        if from == Side::Backend && passes && !is_control {
            self.log_piece(&bytes[..length], now);
        }
    }

    /// How many of the bytes that pass from a side go to the other side or to a queue, and how many of them to a queue. While there is no
    /// client, what passes is kept here.
    fn divide(&mut self, from: Side, forward: usize) -> (usize, usize) {
        let queued = self.tell_queued();
        if from == Side::Backend && self.client.to == Outgoing::Shut { (0, queued) } else { (forward, queued) }
    }

    /// Whether bytes from a side pass to the other side.
    fn passes(&self, from: Side) -> bool {
        self.half(from).from == Incoming::Open
            && matches!(self.half(from.other()).to, Outgoing::Open | Outgoing::Farewell)
    }

    /// Bytes have come from a side, and `forward` of them pass.
    fn break_silence(&mut self, from: Side, forward: usize, now: Tick) {
        self.half_mut(from).keepalive.handle_received(now);
        if forward > 0 {
            self.half_mut(from.other()).keepalive.handle_sent(now);
        }
    }

    /// Checks the next step against the limits.
    #[inline(never)]
    fn measure(&mut self, from: Side, bytes: &[u8], now: Tick) -> Result<(), Breach> {
        let Some(meter) = self.fate.as_mut().and_then(|fate| fate.meter.as_mut()) else { return Ok(()) };
        let half = match from {
            Side::Client => &self.client,
            Side::Backend => &self.backend,
        };
        meter.measure(from, &half.tracker, bytes, now)
    }

    /// Counts a piece of a data frame if it passes; returns whether it does.
    fn handle_data(&mut self, from: Side, length: usize, end: End) -> bool {
        let passes = self.passes(from)
            || match from {
                Side::Client => self.queue(length),
                Side::Backend => self.keeps_data(),
            };
        if passes {
            self.half_mut(from).counts.pass(end);
        }
        passes
    }

    /// Handles a control frame; returns whether it passes.
    ///
    /// This function is never inlined. So the path of data, which runs far more often, needs fewer registers.
    #[inline(never)]
    fn handle_control(&mut self, from: Side, header: &FrameHeader, payload: &[u8], now: Instant) -> bool {
        let frame = &ControlFrame::read(header, payload);
        let mut passes = self.passes(from);
        let tick = self.common.tick(now);
        match frame.opcode {
            OpCode::Close => return self.handle_close(from, frame, now),
            OpCode::Pong => {
                let (half, terms) = self.half_and_terms(from);
                let measured = half.keepalive.round_trips().measured;
                if half.keepalive.handle_pong(terms, frame, tick) == PongOwner::Proxy {
                    let RoundTrips { measured: now_measured, last, .. } = half.keepalive.round_trips();
                    if let Some(last) = last.filter(|_| now_measured != measured) {
                        self.common.round_trips.observe(from, last);
                    }
                    return false;
                }
                half.pongs_owed = half.pongs_owed.saturating_sub(1);
                if self.fate.is_some() {
                    match from {
                        Side::Client => {
                            self.note_answered_by_client(frame);
                            passes &= !self.takes_late_pong(frame);
                        }
                        Side::Backend => {
                            passes &= !self.takes_late_pong_of_backend(frame);
                            self.note_answered(frame);
                        }
                    }
                }
            }
            _ if passes => {
                let (half, terms) = self.half_and_terms(from.other());
                half.pongs_owed = half.pongs_owed.saturating_add(1);
                half.keepalive.handle_relayed_ping(terms, frame, tick);
                match from {
                    Side::Client => {
                        self.note_asked(frame);
                        self.note_asked_by_client(frame);
                    }
                    Side::Backend => {
                        self.note_asking(frame);
                        self.note_asked_by_backend(frame);
                    }
                }
            }
            _ if from == Side::Client && self.queues() => self.owe_pong(frame),
            _ if from == Side::Backend => self.owe_pong_to_backend(frame),
            _ => {}
        }
        if passes {
            self.half_mut(from).counts.frames += 1;
        }
        passes
    }

    /// Gives a slow side time for the next bytes, because it has taken some.
    ///
    /// 1. Only the last bytes for a side get more time. They are the last if nothing more goes to this side, or if the
    ///    other side is broken.
    /// 2. Bytes to which more may be added get no more time: a message without an end would hold the session for ever.
    /// 3. No bytes get more time if the session ends because too many bytes wait.
    fn grant_time(&mut self, to: Side, now: Instant) {
        let may_grow = !matches!(self.half(to).to, Outgoing::Fin | Outgoing::Closed | Outgoing::Shut);
        if may_grow && !self.half(to.other()).broken {
            return;
        }
        let deadline = self.common.tick(now) + self.common.settings.close_timeout;
        // Rule 3.
        if let Some(ending) = self.ending_mut().filter(|ending| ending.termination.cause != Cause::Memory) {
            ending.deadline = deadline;
        }
    }

    fn note_written(&mut self, to: Side, moved: usize, left: usize, now: Instant) {
        let tick = self.common.tick(now);
        let keepalive = &mut self.half_mut(to).keepalive;
        let was_stalled = keepalive.is_stalled();
        if moved > 0 {
            keepalive.handle_sent(tick);
        }
        if left == 0 {
            keepalive.handle_flushed(tick);
        } else if moved > 0 || !was_stalled {
            keepalive.handle_stalled(tick);
        }
        if was_stalled && left == 0 {
            self.half_mut(to.other()).keepalive.handle_resumed(tick);
        }
        if was_stalled && moved > 0 {
            if to == Side::Client {
                self.note_taken_by_client();
            }
            self.grant_time(to, now);
            if let Some(ending) = self.ending_mut() {
                ending.looks[to as usize] = None;
            }
        }
        if let Some(meter) = self.meter_mut().filter(|_| to == Side::Backend) {
            match (was_stalled, left == 0) {
                (false, false) => meter.handle_stalled(tick),
                (true, true) => meter.handle_resumed(tick),
                _ => {}
            }
        }
    }

    fn last_byte(&self) -> Tick {
        self.client.keepalive.last_received().max(self.backend.keepalive.last_received())
    }

    /// Whether we read a side. We do not while the other side, or the queue, does not take its bytes.
    fn reads(&self, side: Side) -> bool {
        if self.fate.is_none() {
            return !self.half(side.other()).keepalive.is_stalled();
        }
        match side {
            Side::Client if self.queues() => self.client_read_limit() != Some(0),
            Side::Client => !self.backend.keepalive.is_stalled() && self.client_read_limit() != Some(0),
            Side::Backend => !self.client.keepalive.is_stalled() && self.backend_read_limit() != Some(0),
        }
    }

    /// Drops the parts that a session needs no more.
    fn forget_idle_fate(&mut self) {
        self.fate.take_if(|fate| {
            let Fate { notices, ending, meter, observation, hold, resume } = &**fate;
            let is_idle = hold.as_ref().is_none_or(|hold| hold.is_idle()) && resume.is_none();
            is_idle && notices.poll().is_none() && ending.is_none() && meter.is_none() && observation.is_none()
        });
    }

    const fn ending(&self) -> Option<&Ending> {
        match &self.fate {
            Some(fate) => fate.ending.as_ref(),
            None => None,
        }
    }

    fn ending_mut(&mut self) -> Option<&mut Ending> {
        self.fate.as_mut()?.ending.as_mut()
    }

    fn meter_mut(&mut self) -> Option<&mut Meter> {
        self.fate.as_mut()?.meter.as_mut()
    }

    fn half_and_terms(&mut self, side: Side) -> (&mut Half, PingTerms<'_>) {
        let half = match side {
            Side::Client => &mut self.client,
            Side::Backend => &mut self.backend,
        };
        (half, self.common.terms(self.nonce, side))
    }

    const fn half(&self, side: Side) -> &Half {
        match side {
            Side::Client => &self.client,
            Side::Backend => &self.backend,
        }
    }

    const fn half_mut(&mut self, side: Side) -> &mut Half {
        match side {
            Side::Client => &mut self.client,
            Side::Backend => &mut self.backend,
        }
    }
}

impl Fate {
    fn hold_mut(&mut self) -> &mut Hold {
        self.hold.get_or_insert_default()
    }
}

impl Counts {
    const fn pass(&mut self, end: End) {
        match end {
            End::Open => {}
            End::Frame => self.frames += 1,
            End::Message => {
                self.frames += 1;
                self.messages += 1;
            }
        }
    }
}

fn position(common: &Common, nonce: u64) -> f64 {
    common.secret.derive(nonce, Side::Client, b's', 0) as f64 / u64::MAX as f64
}
