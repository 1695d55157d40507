//! One upgraded session: both directions, our Pings, and how it ends.
//!
//! The driver feeds what it reads ([`Session::handle_input`], [`Session::handle_eof`]), tells what it could write
//! ([`Session::handle_written`], [`Session::handle_broken`]) and the time ([`Session::handle_timeout`]), and asks what
//! to do: which bytes to forward, which frames of ours to put behind them ([`Session::poll_transmit`]), whether to read
//! a side or shut it down, when to come back, when it is over.
//!
//! | what happens                   | to the client       | to the backend      | initiator    |
//! |--------------------------------|---------------------|---------------------|--------------|
//! | Close from A                   | passes unchanged    | passes unchanged    | A            |
//! | client lost (FIN, reset)       | 1001, not waited for| 1001 `client lost`  | client       |
//! | backend lost (FIN, reset)      | 1011 `backend lost` | 1001, not waited for| backend      |
//! | client dead                    | as lost             | as lost             | proxy        |
//! | backend dead                   | as lost             | as lost             | proxy        |
//! | breach by the client           | 1002, after what the backend answered | 1001 | proxy     |
//! | breach by the backend          | 1011                | 1002, after what the client answered | proxy |
//! | idle                           | 1001 `idle`         | 1001 `idle`         | proxy        |
//! | drain                          | 1012 `drain`        | 1012 `drain`        | proxy        |

use std::{
    ops::Range,
    time::{Duration, Instant},
};

use super::{
    Side,
    close::{CloseCode, CloseFrame, close_frame},
    frame::{Breach, ControlFrame, OpCode},
    keepalive::{Keepalive, PongOwner, RoundTrips, Secret, Settings},
    termination::{Cause, Initiator, Termination},
    tracker::{End, Step, Tracker},
};

/// A session, from the 101 to the end of both sides.
#[derive(Debug)]
pub struct Session {
    client: Half,
    backend: Half,
    idle: Option<Duration>,
    last_received: Instant,
    close_timeout: Duration,
    ending: Option<Ending>,
}

/// What a session is made of, beside its two streams.
#[derive(Debug, Clone, Copy)]
pub struct SessionSettings {
    /// Pings and deadness.
    pub keepalive: Settings,
    /// No byte from either side for this long ends the session; `None` = never.
    pub idle: Option<Duration>,
    /// From the beginning of an end to the end.
    pub close_timeout: Duration,
    /// The 101 agreed on an extension: RSV bits are legal.
    pub extensions: bool,
}

/// What to do with the bytes that were fed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passed {
    /// Forward this many from the start of the buffer (what is ours has been cut out and the rest moved up).
    pub forward: usize,
    /// Keep these back and feed them again in front of what comes next: the begin of a header or of a control frame, at
    /// most [`super::frame::MAX_CONTROL_FRAME`] bytes.
    pub keep: Range<usize>,
}

/// What passed in one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Bytes on the wire, headers included, ours not.
    pub bytes: u64,
    /// Frames that passed whole.
    pub frames: u64,
    /// Messages that passed whole; control frames are none.
    pub messages: u64,
}

/// One side: the frames that come from it and what goes to it.
#[derive(Debug)]
struct Half {
    tracker: Tracker,
    counts: Counts,
    from: From,
    to: To,
    keepalive: Keepalive,
    /// Since when bytes wait for this side and it takes none.
    stalled_since: Option<Instant>,
    /// A Close of our own has gone to it: a Close that comes back answers it.
    told: bool,
    /// Writing to it failed.
    broken: bool,
    /// It ended without a Close, or is dead: nothing is expected of it any more.
    lost: bool,
}

/// What still comes from a side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum From {
    /// Frames.
    Open,
    /// Nothing that counts: its Close has come, or it broke the protocol.
    Done { closed: bool },
    /// Nothing: its FIN has come.
    Eof { closed: bool },
}

/// What still goes to a side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum To {
    /// Frames.
    Open,
    /// Frames, until a Close of ours finds its place.
    Farewell(Farewell),
    /// A FIN, after what waits has been written.
    Fin,
    /// The other end's Close has passed: a FIN follows when that end's FIN or this side's Close has come.
    Closed,
    /// Nothing: writing failed, or the FIN has gone.
    Shut,
}

/// A Close of ours that waits for its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Farewell {
    code: CloseCode,
    reason: &'static str,
    /// Also wait until the other end has nothing more to say to this side.
    last_word: bool,
}

/// The session is ending.
#[derive(Debug)]
struct Ending {
    /// `None` while the cause is still to be read: writing failed, but a Close may wait to be read.
    termination: Option<Termination>,
    /// Up to here a Close of ours waits for the end of a message; from here on the end of a frame will do.
    polite_until: Option<Instant>,
    /// Then whatever is left is cut.
    deadline: Instant,
}

impl Session {
    /// A session whose 101 has just passed.
    #[must_use]
    pub const fn new(settings: &SessionSettings, secret: Secret, now: Instant) -> Self {
        Self {
            client: Half::new(Side::Client, settings, secret, now),
            backend: Half::new(Side::Backend, settings, secret, now),
            idle: settings.idle,
            last_received: now,
            close_timeout: settings.close_timeout,
            ending: None,
        }
    }

    /// Bytes have come from a side. Afterwards [`Self::poll_transmit`] may have something to put behind them.
    pub fn handle_input(&mut self, from: Side, buffer: &mut [u8], now: Instant) -> Passed {
        self.last_received = now;
        self.half_mut(from).keepalive.handle_received();
        let (mut read, mut forward) = (0, 0);
        loop {
            let passes = self.passes(from, now);
            let step = match self.half_mut(from).tracker.step(&buffer[read..]) {
                Ok(Step::Incomplete) => break,
                Ok(step) => step,
                Err(breach) => {
                    if self.half(from).from == From::Open {
                        self.handle_breach(from, breach, now);
                    }
                    read = buffer.len();
                    break;
                }
            };
            let (length, keep) = match step {
                Step::Incomplete => break,
                Step::Data { length, end } => {
                    if passes {
                        self.half_mut(from).counts.pass(end);
                    }
                    (length, passes)
                }
                Step::Control { length, frame } => (length, self.handle_control(from, &frame, passes, now)),
            };
            if keep {
                if read != forward {
                    buffer.copy_within(read..read + length, forward);
                }
                forward += length;
            }
            read += length;
        }
        if forward > 0 {
            self.half_mut(from).counts.bytes += forward as u64;
            self.half_mut(from.other()).keepalive.handle_sent(now);
        }
        Passed { forward, keep: read..buffer.len() }
    }

    /// Payload bytes from a side that may be moved without being looked at; tell [`Self::handle_unseen`] how many were.
    #[must_use]
    pub fn unseen(&self, from: Side, now: Instant) -> u64 {
        if self.passes(from, now) { self.half(from).tracker.payload_left() } else { 0 }
    }

    /// Payload bytes have been moved past us, at most [`Self::unseen`] many.
    pub fn handle_unseen(&mut self, from: Side, length: u64, now: Instant) {
        self.last_received = now;
        let half = self.half_mut(from);
        half.keepalive.handle_received();
        let end = half.tracker.skip(length);
        half.counts.pass(end);
        half.counts.bytes += length;
        self.half_mut(from.other()).keepalive.handle_sent(now);
    }

    /// Nothing more comes from a side: its FIN (or its reset) has been read.
    pub fn handle_eof(&mut self, from: Side, now: Instant) {
        let half = self.half_mut(from);
        let From::Open = half.from else {
            let closed = matches!(half.from, From::Done { closed: true } | From::Eof { closed: true });
            half.from = From::Eof { closed };
            self.follow_close(from.other());
            return;
        };
        half.from = From::Eof { closed: false };
        if half.told {
            return;
        }
        let cause = match from {
            Side::Client => Cause::ClientLost,
            Side::Backend => Cause::BackendLost,
        };
        self.lose(from, cause, Initiator::from(from), now);
    }

    /// Writing to a side failed. What it sent before is still read: its Close may be among it.
    pub fn handle_broken(&mut self, to: Side, now: Instant) {
        let half = self.half_mut(to);
        half.to = To::Shut;
        half.stalled_since = None;
        half.broken = true;
        self.begin_ending(None, now);
    }

    /// `left` bytes wait for a side after a write that moved `moved`.
    pub fn handle_written(&mut self, to: Side, moved: usize, left: usize, now: Instant) {
        if left == 0 {
            let half = self.half_mut(to);
            half.keepalive.handle_flushed(now);
            if half.stalled_since.take().is_some() {
                self.half_mut(to.other()).keepalive.handle_resumed(now);
            }
            return;
        }
        let stalled = &mut self.half_mut(to).stalled_since;
        if moved > 0 || stalled.is_none() {
            *stalled = Some(now);
            let deadline = now + self.close_timeout;
            if let Some(ending) = &mut self.ending {
                ending.deadline = deadline;
            }
        }
    }

    /// A side has been shut down for writing: our FIN is out.
    pub fn handle_shut(&mut self, to: Side) {
        self.half_mut(to).to = To::Shut;
    }

    /// The process drains: 1012 to both sides.
    pub fn handle_drain(&mut self, now: Instant) {
        self.close_both(CloseCode::SERVICE_RESTART, Cause::Drain, now);
    }

    /// Time has passed: a Ping falls due, a side is dead, the session is idle.
    pub fn handle_timeout(&mut self, now: Instant) {
        if let Some(ending) = &mut self.ending {
            ending.polite_until = ending.polite_until.filter(|until| now < *until);
            return;
        }
        for side in [Side::Client, Side::Backend] {
            if self.poll_death(side).is_some_and(|at| at <= now) {
                let cause = match side {
                    Side::Client => Cause::ClientDead,
                    Side::Backend => Cause::BackendDead,
                };
                self.half_mut(side).from = From::Done { closed: false };
                return self.lose(side, cause, Initiator::Proxy, now);
            }
        }
        if self.poll_idle().is_some_and(|at| at <= now) {
            return self.close_both(CloseCode::GOING_AWAY, Cause::Idle, now);
        }
        for half in [&mut self.client, &mut self.backend] {
            if half.stalled_since.is_some() {
                half.keepalive.handle_sent(now);
            }
            half.keepalive.handle_timeout(now);
        }
    }

    /// When [`Self::handle_timeout`] wants to be called; an instant that has passed means at once.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        if let Some(ending) = &self.ending {
            let waiting = [&self.client, &self.backend].iter().any(|half| matches!(half.to, To::Farewell(_)));
            let polite_until = ending.polite_until.filter(|_| waiting);
            return Some(polite_until.map_or(ending.deadline, |until| until.min(ending.deadline)));
        }
        [
            self.poll_idle(),
            self.poll_ping(Side::Client),
            self.poll_ping(Side::Backend),
            self.poll_death(Side::Client),
            self.poll_death(Side::Backend),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Whether [`Self::poll_transmit`] may have something for a side.
    #[must_use]
    pub const fn wants_to_transmit(&self, to: Side) -> bool {
        let half = self.half(to);
        match half.to {
            To::Open => half.keepalive.owes_ping(),
            To::Farewell(_) => true,
            To::Fin | To::Closed | To::Shut => false,
        }
    }

    /// Appends frames of our own for a side, to go behind all that was forwarded to it. Nothing unless a boundary is here.
    pub fn poll_transmit(&mut self, to: Side, now: Instant, out: &mut Vec<u8>) {
        let at_frame_end = self.half(to.other()).tracker.at_frame_end();
        match self.half(to).to {
            To::Open if self.ending.is_none() && at_frame_end && self.half(to).stalled_since.is_none() => {
                let half = self.half_mut(to);
                if half.keepalive.owes_ping() {
                    let ping = half.keepalive.ping(now);
                    ping.encode(half.keepalive.mask(OpCode::Ping), out);
                }
            }
            To::Farewell(farewell) if self.is_time_for(farewell, to, now) => {
                let half = self.half_mut(to);
                if at_frame_end {
                    close_frame(farewell.code, farewell.reason).encode(half.keepalive.mask(OpCode::Close), out);
                }
                half.told = at_frame_end;
                half.to = To::Fin;
            }
            _ => {}
        }
    }

    /// Whether a side is worth reading (when the other can take what comes).
    #[must_use]
    pub fn wants_read(&self, from: Side) -> bool {
        let half = self.half(from);
        !matches!(half.from, From::Eof { .. }) && !half.lost
    }

    /// Whether a side wants our FIN once all that waits for it has been written.
    #[must_use]
    pub fn wants_shut(&self, to: Side) -> bool {
        matches!(self.half(to).to, To::Fin)
    }

    /// Whether a side is lost: a write to it that would have to wait is not worth it.
    #[must_use]
    pub fn is_lost(&self, side: Side) -> bool {
        self.half(side).lost
    }

    /// Whether nothing is left to do or no time to do it in: drop both streams.
    #[must_use]
    pub fn is_over(&self, now: Instant) -> bool {
        let Some(ending) = &self.ending else { return false };
        let done = |half: &Half| half.to == To::Shut && (half.lost || matches!(half.from, From::Eof { .. }));
        now >= ending.deadline || (done(&self.client) && done(&self.backend))
    }

    /// How it ended; before the end, what is known of it.
    #[must_use]
    pub fn termination(&self) -> Option<Termination> {
        let known = self.ending.as_ref()?.termination.clone().unwrap_or_else(|| {
            let (side, cause) = if self.client.broken {
                (Side::Client, Cause::ClientLost)
            } else {
                (Side::Backend, Cause::BackendLost)
            };
            Termination { initiator: side.into(), cause, code: None, reason: String::new(), clean: false }
        });
        Some(Termination { clean: self.client.has_closed() && self.backend.has_closed(), ..known })
    }

    /// What passed from a side to the other.
    #[must_use]
    pub const fn counts(&self, from: Side) -> Counts {
        self.half(from).counts
    }

    /// What our Pings to a side have shown.
    #[must_use]
    pub const fn round_trips(&self, side: Side) -> RoundTrips {
        self.half(side).keepalive.round_trips()
    }
}

impl Session {
    /// Whether a frame that begins here, from this side, still passes to the other.
    fn passes(&self, from: Side, now: Instant) -> bool {
        self.half(from).from == From::Open
            && match self.half(from.other()).to {
                To::Open => true,
                To::Farewell(farewell) => !self.is_time_for(farewell, from.other(), now),
                To::Fin | To::Closed | To::Shut => false,
            }
    }

    /// Whether a Close of ours goes to a side here and now; mid-frame it can only be a FIN.
    fn is_time_for(&self, farewell: Farewell, to: Side, now: Instant) -> bool {
        let (target, source) = (self.half(to), self.half(to.other()));
        if source.from != From::Open || target.lost {
            return true;
        }
        let polite_until = self.ending.as_ref().and_then(|ending| ending.polite_until);
        if target.has_closed() || polite_until.is_none_or(|until| until <= now) {
            return source.tracker.at_frame_end();
        }
        !farewell.last_word && source.tracker.at_message_end()
    }

    /// Whether the control frame passes.
    fn handle_control(&mut self, from: Side, frame: &ControlFrame, passes: bool, now: Instant) -> bool {
        match frame.opcode {
            OpCode::Close => return self.handle_close(from, frame, passes, now),
            OpCode::Pong if self.half_mut(from).keepalive.handle_pong(frame, now) == PongOwner::Proxy => return false,
            OpCode::Ping if passes => self.half_mut(from.other()).keepalive.handle_relayed_ping(frame, now),
            _ => {}
        }
        if passes {
            self.half_mut(from).counts.frames += 1;
        }
        passes
    }

    /// A side's Close: it passes, unless it answers a Close of ours or the other side has had its last frame.
    fn handle_close(&mut self, from: Side, frame: &ControlFrame, passes: bool, now: Instant) -> bool {
        let half = self.half_mut(from);
        if half.from != From::Open {
            return false;
        }
        half.from = From::Done { closed: true };
        if half.told || !passes {
            self.finish_closed();
            return false;
        }
        half.counts.frames += 1;
        self.half_mut(from.other()).to = To::Closed;
        self.finish_closed();
        let CloseFrame { code, reason } = CloseFrame::read(frame);
        let cause = match from {
            Side::Client => Cause::ClientClose,
            Side::Backend => Cause::BackendClose,
        };
        let initiator = Initiator::from(from);
        self.begin_ending(Some(Termination { initiator, cause, code, reason, clean: false }), now);
        true
    }

    /// A side broke the protocol. The other is told at once; the author reads 1002 after what the other still answers.
    fn handle_breach(&mut self, from: Side, breach: Breach, now: Instant) {
        self.half_mut(from).from = From::Done { closed: false };
        let (cause, code) = match from {
            Side::Client => (Cause::ClientBreach, CloseCode::GOING_AWAY),
            Side::Backend => (Cause::BackendBreach, CloseCode::INTERNAL_ERROR),
        };
        let author = CloseCode::PROTOCOL_ERROR;
        self.end_with(cause, Initiator::Proxy, author, breach.as_str(), now);
        self.half_mut(from).bid_farewell(Farewell { code: author, reason: breach.as_str(), last_word: true });
        self.half_mut(from.other()).bid_farewell(Farewell { code, reason: cause.as_reason(), last_word: false });
        self.follow_close(from);
    }

    /// A side is gone. The other is told; it is told too if that can still be written, and not waited for.
    fn lose(&mut self, side: Side, cause: Cause, initiator: Initiator, now: Instant) {
        let code = match side {
            Side::Client => CloseCode::GOING_AWAY,
            Side::Backend => CloseCode::INTERNAL_ERROR,
        };
        let reason = cause.as_reason();
        self.end_with(cause, initiator, code, reason, now);
        let lost = self.half_mut(side);
        lost.lost = true;
        lost.bid_farewell(Farewell { code: CloseCode::GOING_AWAY, reason, last_word: false });
        self.half_mut(side.other()).bid_farewell(Farewell { code, reason, last_word: false });
        self.follow_close(side);
    }

    fn close_both(&mut self, code: CloseCode, cause: Cause, now: Instant) {
        if self.ending.is_some() {
            return;
        }
        let reason = cause.as_reason();
        self.end_with(cause, Initiator::Proxy, code, reason, now);
        for half in [&mut self.client, &mut self.backend] {
            half.bid_farewell(Farewell { code, reason, last_word: false });
        }
    }

    fn end_with(&mut self, cause: Cause, initiator: Initiator, code: CloseCode, reason: &str, now: Instant) {
        let termination = Termination { initiator, cause, code: Some(code), reason: reason.into(), clean: false };
        self.begin_ending(Some(termination), now);
    }

    /// The first cause stands; the clock of the end runs from the first.
    fn begin_ending(&mut self, termination: Option<Termination>, now: Instant) {
        let close_timeout = self.close_timeout;
        let ending = self.ending.get_or_insert_with(|| Ending {
            termination: None,
            polite_until: Some(now + close_timeout / 2),
            deadline: now + close_timeout,
        });
        ending.termination = ending.termination.take().or(termination);
    }

    /// Both Closes have come: what got the other's has nothing more to wait for.
    fn finish_closed(&mut self) {
        if self.client.has_closed() && self.backend.has_closed() {
            self.follow_close(Side::Client);
            self.follow_close(Side::Backend);
        }
    }

    /// A side has been sent the other end's Close, and nothing more will come of either: our FIN follows.
    fn follow_close(&mut self, to: Side) {
        let half = self.half_mut(to);
        if half.to == To::Closed {
            half.to = To::Fin;
        }
    }

    fn poll_idle(&self) -> Option<Instant> {
        Some(self.last_received + self.idle?)
    }

    fn poll_ping(&self, to: Side) -> Option<Instant> {
        self.half(to).keepalive.poll_ping()
    }

    /// A side is dead when no byte came from it since our Ping while we read it, or when it takes nothing.
    fn poll_death(&self, side: Side) -> Option<Instant> {
        let half = self.half(side);
        let reading = self.half(side.other()).stalled_since.is_none();
        let silent = half.keepalive.poll_death().filter(|_| reading);
        let stalled = half.stalled_since.and_then(|since| Some(since + half.keepalive.stall_limit()?));
        silent.into_iter().chain(stalled).min()
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

impl Half {
    const fn new(side: Side, settings: &SessionSettings, secret: Secret, now: Instant) -> Self {
        Self {
            tracker: Tracker::new(side, settings.extensions),
            counts: Counts { bytes: 0, frames: 0, messages: 0 },
            from: From::Open,
            to: To::Open,
            keepalive: Keepalive::new(side, &settings.keepalive, secret, now),
            stalled_since: None,
            told: false,
            broken: false,
            lost: false,
        }
    }

    const fn has_closed(&self) -> bool {
        matches!(self.from, From::Done { closed: true } | From::Eof { closed: true })
    }

    /// Wants a Close of ours, unless this side has had its last frame.
    fn bid_farewell(&mut self, farewell: Farewell) {
        if self.to == To::Open {
            self.to = To::Farewell(farewell);
        }
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
