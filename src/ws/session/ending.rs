//! How a session ends: everything that begins an end, and where our own Closes go between the frames.

use std::time::{Duration, Instant};

use super::{
    Session,
    half::{Incoming, Outgoing},
    hold_terms::HoldCause,
};
use crate::ws::{
    Side,
    close::{CloseCode, CloseFrame, close_frame},
    frame::{Breach, ControlFrame, OpCode},
    progress::Look,
    termination::{Cause, HowEnded, Initiator, Loss, Silence, Termination},
    tick::{Tick, nanos},
};

/// The state of a session that is ending.
#[derive(Debug)]
pub(super) struct Ending {
    pub(super) termination: Termination,
    /// As it was when the end began.
    pub(super) silence: Silence,
    /// No Close has passed yet, so the cause may still change. If a side's Close still passes, no Close of ours went
    /// out before it, and that Close says why the session ends.
    provisional: bool,
    /// Half of the time is over. A Close of ours now waits only for the end of a frame, no longer for the end of a
    /// message.
    pub(super) hurried: bool,
    /// The instant at which everything that is left is cut.
    pub(super) deadline: Tick,
    /// The Closes of our own to the client and to the backend.
    farewells: [Option<Farewell>; 2],
    /// The last look at what each side takes, the client first.
    pub(super) looks: [Option<Look>; 2],
}

/// A Close of our own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Farewell {
    pub(super) code: CloseCode,
    pub(super) reason: Reason,
    /// Whether the Close waits until the other end has nothing more to say to this side.
    last_word: bool,
}

/// The reason in a Close of our own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reason {
    /// The proxy's own words.
    Ours(&'static str),
    /// The operator's words. The termination holds them as long as the operator is its cause.
    Operators,
    /// The Close has no code either.
    NoPayload,
}

impl Ending {
    /// The Close of our own for a side on the wire, if there is one.
    pub(super) fn close_frame(&self, to: Side) -> Option<ControlFrame> {
        let Farewell { code, reason, .. } = self.farewell(to)?;
        Some(match reason {
            Reason::NoPayload => ControlFrame::new(OpCode::Close, &[], None),
            Reason::Ours(words) => close_frame(code, words),
            Reason::Operators if self.termination.cause == Cause::Killed => close_frame(code, &self.termination.reason),
            Reason::Operators => close_frame(code, Cause::Killed.as_reason()),
        })
    }

    /// The Close of our own to a side, if there is one.
    const fn farewell(&self, to: Side) -> Option<Farewell> {
        self.farewells[to as usize]
    }

    /// When to look at what a side takes: first when half of the time `whole` is over, then at the deadline, and whenever there is a look
    /// at the other side. What a side took before the deadline moved would else count as if it came after.
    pub(super) fn poll_look(&self, of: Side, whole: Duration) -> Tick {
        match (self.looks[of as usize], self.looks[of.other() as usize]) {
            (None, _) => self.half_time(whole),
            (Some(look), Some(other)) if other.at > look.at => other.at,
            _ => self.deadline,
        }
    }

    /// When half of the time `whole` is over; `None` = it is over already.
    pub(super) fn poll_hurry(&self, whole: Duration) -> Option<Tick> {
        (!self.hurried).then(|| self.half_time(whole))
    }

    fn half_time(&self, whole: Duration) -> Tick {
        self.deadline.before(nanos(whole / 2))
    }
}

impl Farewell {
    /// A Close with the words of its cause.
    const fn of(cause: Cause, code: CloseCode) -> Self {
        Self::of_words(code, Reason::Ours(cause.as_reason()))
    }

    pub(super) const fn of_words(code: CloseCode, reason: Reason) -> Self {
        Self { code, reason, last_word: false }
    }
}

impl Session {
    /// A side's Close has come. It passes, unless it answers a Close of ours or the other side has had its last frame.
    pub(super) fn handle_close(&mut self, from: Side, frame: &ControlFrame, now: Instant) -> bool {
        match from {
            Side::Client if self.queues() => {
                self.answer_close(frame, now);
                return false;
            }
            Side::Backend if self.outlives_close(frame, now) || self.keeps_close(frame, now) => return false,
            _ => {}
        }
        let passes = self.passes(from) && !self.half(from).told;
        let half = self.half_mut(from);
        half.from = Incoming::Closed;
        half.closed = true;
        if passes {
            half.counts.frames += 1;
            // The other end will answer this Close. Its answer is better than a Close of ours, so ours waits for it.
            if let Some(farewell) = self.ending_mut().and_then(|ending| ending.farewells[from as usize].as_mut()) {
                farewell.last_word = true;
            }
            self.half_mut(from.other()).to = Outgoing::Closed;
            self.end_with_their_close(from, frame, now);
        }
        if self.client.closed && self.backend.closed {
            self.client.follow_close();
            self.backend.follow_close();
        }
        if self.ending().is_none() {
            // The answer to our Close in a move has come inside a message.
            self.end_instead_of_move(now);
        }
        passes
    }

    /// A side broke the protocol or a limit.
    ///
    /// 1. The other side is told at once.
    /// 2. A side that broke a limit is told at once too.
    /// 3. A side that broke the protocol reads a 1002, after the frames that the other side still sends as its answer.
    #[cold]
    pub(super) fn handle_breach(&mut self, from: Side, breach: Breach, now: Instant) {
        let code = match from {
            Side::Client => CloseCode::GOING_AWAY,
            Side::Backend => CloseCode::INTERNAL_ERROR,
        };
        let (cause, author_code) = cause_and_code(from, breach);
        let last_word = author_code == CloseCode::PROTOCOL_ERROR;
        let author = Farewell { code: author_code, reason: Reason::Ours(breach.as_str()), last_word };
        self.begin_ending(ours(cause, Initiator::Proxy, HowEnded::Ours, author), false, now);
        self.bid_farewell(from, author);
        let half = self.half_mut(from);
        half.from = Incoming::Done;
        half.follow_close();
        self.bid_farewell(from.other(), Farewell::of(cause, code));
        self.place_farewells();
    }

    /// A side is dead: nothing that it may still send counts.
    pub(super) fn bury(&mut self, side: Side, now: Instant) {
        let is_outlived = match side {
            Side::Client => self.outlives_client(HowEnded::Silent, now),
            Side::Backend => self.outlives(HoldCause::Lost, HowEnded::Silent, now),
        };
        if !is_outlived {
            self.end_dead(side, now);
        }
    }

    /// Ends the session, because a side is dead.
    pub(super) fn end_dead(&mut self, side: Side, now: Instant) {
        let cause = match side {
            Side::Client => Cause::ClientDead,
            Side::Backend => Cause::BackendDead,
        };
        self.half_mut(side).from = Incoming::Done;
        let farewell = farewell_of_lost(side, cause);
        self.begin_ending(ours(cause, Initiator::Proxy, HowEnded::Silent, farewell), false, now);
        self.give_up(side, farewell);
    }

    /// A side's connection has ended without a Close.
    pub(super) fn lose(&mut self, side: Side, loss: Loss, now: Instant) {
        self.end_lost(side, HowEnded::Lost(loss), now);
    }

    /// Ends the session, because a side is lost. `how`: how that came about.
    pub(super) fn end_lost(&mut self, side: Side, how: HowEnded, now: Instant) {
        let cause = lost(side);
        let farewell = farewell_of_lost(side, cause);
        self.begin_ending(ours(cause, side.into(), how, farewell), false, now);
        self.give_up(side, farewell);
    }

    /// A side is gone. The other side gets a Close. The lost side gets one too if it can still be written, but nothing
    /// waits for the lost side.
    fn give_up(&mut self, side: Side, other: Farewell) {
        self.bid_farewell(side, Farewell { code: CloseCode::GOING_AWAY, ..other });
        let half = self.half_mut(side);
        half.lost = true;
        half.follow_close();
        // In a move, our Close may have gone to the old backend.
        self.half_mut(side.other()).follow_close();
        self.bid_farewell(side.other(), other);
        self.place_farewells();
    }

    /// Writing to a side failed. The side is lost, unless its Close is still among its unread bytes.
    pub(super) fn begin_losing(&mut self, side: Side, loss: Loss, now: Instant) {
        let cause = lost(side);
        self.begin_ending(ours(cause, side.into(), HowEnded::Lost(loss), farewell_of_lost(side, cause)), true, now);
    }

    /// Ends the session: both sides get a Close, each at the end of a message. Changes nothing if an end has begun.
    pub(super) fn close_both(&mut self, code: CloseCode, cause: Cause, now: Instant) {
        if self.ending().is_some() {
            return;
        }
        let farewell = Farewell::of(cause, code);
        self.begin_ending(ours(cause, Initiator::Proxy, HowEnded::Ours, farewell), true, now);
        self.bid_both_farewell(farewell);
    }

    /// An operator ends the session. Both sides get a Close with the operator's words (at most 123 bytes), each at the
    /// end of a message. Changes nothing if an end has begun.
    pub fn handle_kill(&mut self, code: CloseCode, reason: &str, now: Instant) {
        if self.ending().is_some() {
            return;
        }
        let (cause, reason) = (Cause::Killed, reason.to_owned());
        let (initiator, how) = (Initiator::Proxy, HowEnded::Ours);
        let termination = Termination { initiator, cause, how, code: Some(code), reason, clean: false };
        self.begin_ending(termination, true, now);
        self.bid_both_farewell(Farewell { reason: Reason::Operators, ..Farewell::of(cause, code) });
    }

    fn bid_both_farewell(&mut self, farewell: Farewell) {
        self.bid_farewell(Side::Client, farewell);
        self.bid_farewell(Side::Backend, farewell);
        self.place_farewells();
    }

    /// Too many bytes wait for slow sides in all sessions together, and this session has added to them.
    ///
    /// Both sides get a 1013, each at the end of a frame. Even if a side's Close still passes, the cause stays, because
    /// this cause gives slow sides no time.
    pub fn handle_shortage(&mut self, now: Instant) {
        if self.ending().is_some() {
            return;
        }
        self.close_both(CloseCode::TRY_AGAIN_LATER, Cause::Memory, now);
        if let Some(ending) = self.ending_mut() {
            ending.provisional = false;
        }
        self.hurry();
    }

    /// Half of the time for the end is over. From now on no Close of ours waits for the end of a message, and we do not
    /// wait for the Close of a side that cannot be written.
    pub(super) fn hurry(&mut self) {
        let Some(ending) = self.ending_mut() else { return };
        ending.hurried = true;
        for side in [Side::Client, Side::Backend] {
            let half = self.half(side);
            if half.broken && half.from == Incoming::Open {
                self.give_up(side, farewell_of_lost(side, lost(side)));
            }
        }
        self.place_farewells();
    }

    /// Makes each of our Closes due if its place has come. Call this after everything that may bring the place. Once a
    /// Close is due, nothing else passes to its side.
    pub(super) fn place_farewells(&mut self) {
        if self.ending().is_some() {
            self.place_farewell(Side::Client);
            self.place_farewell(Side::Backend);
        }
    }

    /// The same after bytes have passed. In a move, they may have ended the message after which the client is stopped.
    #[inline]
    pub(super) fn place_closes(&mut self, now: Tick) {
        if self.fate.is_some() {
            self.place_farewells();
            self.halt(now);
        }
    }

    #[cold]
    fn place_farewell(&mut self, to: Side) {
        let holds_half = to == Side::Backend && self.waits_for_half_message();
        let (target, source) = match to {
            Side::Client => (&mut self.client, &self.backend),
            Side::Backend => (&mut self.backend, &self.client),
        };
        let ending = self.fate.as_ref().and_then(|fate| fate.ending.as_ref());
        let Some(ending) = ending.filter(|_| target.to == Outgoing::Farewell) else { return };
        let nothing_follows = source.from != Incoming::Open || target.lost;
        let last_word = ending.farewell(to).is_some_and(|farewell| farewell.last_word);
        let is_between = source.tracker.at_message_end() && !holds_half;
        let message_end = is_between && !last_word;
        if source.tracker.at_frame_end() && (nothing_follows || ending.hurried || message_end) {
            target.to = Outgoing::Due;
            target.told = true;
        } else if nothing_follows {
            // Inside a frame, the side would read a Close as payload.
            target.to = Outgoing::Fin;
        }
    }

    /// Plans a Close of ours for a side, unless that side has had its last frame. Call this after the end has begun.
    pub(super) fn bid_farewell(&mut self, to: Side, farewell: Farewell) {
        if self.half(to).to != Outgoing::Open {
            return;
        }
        if let Some(ending) = self.ending_mut() {
            ending.farewells[to as usize] = Some(farewell);
            self.half_mut(to).to = Outgoing::Farewell;
        }
    }

    /// Ends the session by a side's Close. An earlier cause stands, unless it was provisional.
    pub(super) fn end_with_their_close(&mut self, from: Side, frame: &ControlFrame, now: Instant) {
        let CloseFrame { code, reason } = CloseFrame::read(frame);
        let cause = match from {
            Side::Client => Cause::ClientClose,
            Side::Backend => Cause::BackendClose,
        };
        let termination =
            Termination { initiator: from.into(), cause, how: HowEnded::Close, code, reason, clean: false };
        match self.ending_mut() {
            Some(ending) if ending.provisional => {
                ending.termination = termination;
                ending.provisional = false;
            }
            _ => self.begin_ending(termination, false, now),
        }
    }

    /// Begins the end, unless it has begun: the time of the end runs from its first cause.
    pub(super) fn begin_ending(&mut self, termination: Termination, provisional: bool, now: Instant) {
        if self.ending().is_none() {
            let now = self.common.tick(now);
            // A move that has got no further than our Close: the Close still goes.
            let parting = self.parting_farewell().filter(|_| self.backend.to == Outgoing::Due);
            let ending = Ending {
                termination,
                silence: self.silence_until(now),
                provisional,
                hurried: false,
                deadline: now + self.common.settings.close_timeout,
                farewells: [None, parting],
                looks: [None; 2],
            };
            let fate = self.fate.get_or_insert_default();
            fate.ending = Some(ending);
            if let Some(hold) = &mut fate.hold {
                hold.end(now);
            }
            if let Some(resume) = &mut fate.resume {
                resume.end(self.client.counts.messages, now);
            }
        }
    }

    /// How long it is since the last byte of each direction. A backend that is gone was silent until it went.
    pub(super) fn silence_until(&self, now: Tick) -> Silence {
        let (client, backend) = (&self.client.keepalive, &self.backend.keepalive);
        let went = self.without_backend_since().unwrap_or(now);
        let between = |last: Tick, end: Tick| u32::try_from(end.since(last).as_millis()).unwrap_or(u32::MAX);
        Silence {
            from_client: between(client.last_received(), now),
            from_backend: between(backend.last_received(), went),
            to_client: between(client.last_sent(), now),
            to_backend: between(backend.last_sent(), went),
        }
    }
}

/// The cause of the end, and the code for the author of the breach.
const fn cause_and_code(from: Side, breach: Breach) -> (Cause, CloseCode) {
    match (breach, from) {
        (Breach::MessageTooBig | Breach::FrameTooBig, _) => (Cause::MessageTooBig, CloseCode::MESSAGE_TOO_BIG),
        (Breach::TooManyBytes | Breach::TooManyMessages, _) => (Cause::RateLimited, CloseCode::POLICY_VIOLATION),
        (_, Side::Client) => (Cause::ClientBreach, CloseCode::PROTOCOL_ERROR),
        (_, Side::Backend) => (Cause::BackendBreach, CloseCode::PROTOCOL_ERROR),
    }
}

/// The cause when a side's connection ended without a Close.
const fn lost(side: Side) -> Cause {
    match side {
        Side::Client => Cause::ClientLost,
        Side::Backend => Cause::BackendLost,
    }
}

/// The Close for the other side when this side is gone.
const fn farewell_of_lost(side: Side, cause: Cause) -> Farewell {
    let code = match side {
        Side::Client => CloseCode::GOING_AWAY,
        Side::Backend => CloseCode::INTERNAL_ERROR,
    };
    Farewell::of(cause, code)
}

fn ours(cause: Cause, initiator: Initiator, how: HowEnded, farewell: Farewell) -> Termination {
    let reason = match farewell.reason {
        Reason::Ours(words) => words.to_owned(),
        Reason::Operators | Reason::NoPayload => String::new(),
    };
    Termination { initiator, cause, how, code: Some(farewell.code), reason, clean: false }
}
