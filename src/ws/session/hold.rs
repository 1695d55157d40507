//! A session that outlives its backend: the client is kept until another backend takes the session.
//!
//! | stage     | what has happened                                  | the client's frames              |
//! |-----------|----------------------------------------------------|----------------------------------|
//! | `Settled` | a backend is there                                 | pass                             |
//! | `Fading`  | the backend takes nothing any more                 | are not read                     |
//! | `Halting` | the session is to move to another backend          | pass until a message ends        |
//! | `Parting` | our Close goes to the old backend, or has gone     | wait in the queue                |
//! | `Away`    | no backend is there                                | wait in the queue                |
//!
//! In `Fading` and `Parting`, what the old backend has sent still passes. Only in `Away` may another backend take its place
//! ([`Session::take_backend`]).
//!
//! 1. **Where a hold begins.** Both directions stand between two messages. Of a message that began before, one backend would
//!    have the begin and another one the rest. The start of a header that never became whole counts as nothing.
//! 2. **The queue.** It takes what the client sends after a hold has begun, `HoldTerms::queue` bytes at most. Then the client
//!    is not read. A half message may be in it: the rest follows to the next backend.
//! 3. **Pings.** Those of the client are answered here, the one too that the lost backend has not answered. An end may answer
//!    only the latest Ping (RFC 6455 §5.5.3), and so do we.
//! 4. **Pongs.** A Pong for a backend that is gone reaches no other backend.
//! 5. **Ends.** A Close of the client is answered at once with its own code. Every other end tells the client why.

mod frames;

use std::{
    mem,
    time::{Duration, Instant},
};

pub(super) use self::frames::Pings;
use super::{
    Session,
    ending::{Farewell, Reason},
    half::{Incoming, Outgoing},
    hold_terms::{HoldCause, HoldState, HoldTally, HoldTriggers, ResumeFailure},
};
use crate::ws::{
    Side::{Backend, Client},
    close::{CloseCode, CloseFrame, close_frame},
    frame::{ControlFrame, OpCode},
    termination::{Cause, HowEnded, Initiator, Loss, Termination},
    tick::Tick,
};

/// A backend that has stayed for so long, or for `HoldTerms::longest`, did not take the session in vain. It may be the next one in a
/// row of restarts.
const STAYS: Duration = Duration::from_millis(500);
/// The reason for the old backend in a move.
const MOVED: &str = "moved";
/// The reason for the client if no backend takes the session as the first one did.
const REFUSED: &str = "resume refused";

/// The state of a session that may outlive its backend. Most sessions have none, although their routes allow it.
#[derive(Debug, Default)]
pub(super) struct Hold {
    stage: HoldStage,
    /// The last Ping of the client that has passed to the backend and is not answered.
    asked: Option<ControlFrame>,
    /// A Pong of ours that the client is to get.
    pong: Option<ControlFrame>,
    /// Whether the client is to get `HoldTerms::notify`.
    notifies: bool,
    /// The session leaves its backend in a rebalance, and not because the backend is drained.
    is_rebalanced: bool,
    /// The bytes in the queue.
    queued: usize,
    /// Those of them that the driver has not been told of yet.
    untold: usize,
    /// The Pings of the backend that have passed to the client and are not answered.
    asking: Pings,
    /// The same of the backends before.
    late: Pings,
    /// When the present backend took the session, and how much of `HoldTerms::longest` was left then. A backend that goes at once
    /// ([`STAYS`]) gives no further time: another one would be sought for ever. `None` = there was none, or the last one stayed.
    taken: Option<(Tick, Duration)>,
    tally: HoldTally,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum HoldStage {
    #[default]
    Settled,
    /// Writing to the backend has failed. `until`: its unread bytes are given up then.
    Fading { loss: Loss, until: Tick },
    /// `until`: the message of the client must have ended then.
    Halting { until: Tick },
    /// `until`: the Close of the backend must have come then.
    Parting { since: Tick, until: Tick },
    /// `how`: how the backend ended. `until`: a backend must be there then.
    Away { cause: HoldCause, how: HowEnded, since: Tick, until: Tick, failure: ResumeFailure },
}

impl Hold {
    /// Whether what the client sends goes to the queue.
    const fn queues(&self) -> bool {
        matches!(self.stage, HoldStage::Parting { .. } | HoldStage::Away { .. })
    }

    /// Whether the session would be the same without this value.
    pub(super) fn is_idle(&self) -> bool {
        let Self { stage, asked, pong, notifies, is_rebalanced, queued, untold: _, asking, late, taken: _, tally } =
            self;
        *stage == HoldStage::Settled
            && !is_rebalanced
            && asked.is_none()
            && pong.is_none()
            && !notifies
            && *queued == 0
            && asking.is_empty()
            && late.is_empty()
            && *tally == HoldTally::default()
    }

    /// When the present stage must be over.
    pub(super) const fn poll(&self) -> Option<Tick> {
        match self.stage {
            HoldStage::Settled => None,
            HoldStage::Fading { until, .. }
            | HoldStage::Halting { until }
            | HoldStage::Parting { until, .. }
            | HoldStage::Away { until, .. } => Some(until),
        }
    }

    /// Whether there is no backend that could be pinged or judged.
    pub(super) const fn is_without_backend(&self) -> bool {
        matches!(self.stage, HoldStage::Fading { .. } | HoldStage::Away { .. })
    }

    /// The end of the session has begun: no other backend will come.
    pub(super) fn end(&mut self, now: Tick) {
        if let HoldStage::Parting { since, .. } | HoldStage::Away { since, .. } = mem::take(&mut self.stage) {
            self.tally.gap += now.since(since);
        }
        (self.asked, self.pong, self.notifies) = (None, None, false);
    }
}

/// What the driver asks and tells. It owns the queue and the connections.
impl Session {
    /// Where the session stands between two backends.
    #[must_use]
    pub fn hold_state(&self) -> HoldState {
        match self.hold().map(|hold| hold.stage) {
            None | Some(HoldStage::Settled) => HoldState::Open,
            Some(HoldStage::Halting { .. } | HoldStage::Parting { .. }) => HoldState::Moving,
            Some(HoldStage::Fading { .. } | HoldStage::Away { .. }) => HoldState::Held,
        }
    }

    /// Why the session waits for another backend; `None` = it does not. The driver then lets go of the connection to the old
    /// one, to which [`Self::poll_last_words`] may go.
    #[must_use]
    pub fn awaits_backend(&self) -> Option<HoldCause> {
        match self.hold()?.stage {
            HoldStage::Away { cause, .. } => Some(cause),
            _ => None,
        }
    }

    /// Until when the session waits for another backend; `None` = it does not wait.
    #[must_use]
    pub fn hold_ends(&self) -> Option<Instant> {
        match self.hold()?.stage {
            HoldStage::Away { until, .. } => Some(until.instant(self.common.epoch)),
            _ => None,
        }
    }

    /// How long the backend that is let go of may take to close. Nothing is heard of a dead one.
    #[must_use]
    pub fn parting_timeout(&self) -> Duration {
        match self.hold().map(|hold| hold.stage) {
            Some(HoldStage::Away { how: HowEnded::Silent, .. }) => Duration::ZERO,
            _ => self.common.settings.close_timeout,
        }
    }

    /// Whether the time that is left is that of an earlier hold, because the backend since then went at once.
    #[must_use]
    pub fn is_held_again(&self) -> bool {
        self.hold().is_some_and(|hold| matches!(hold.stage, HoldStage::Away { .. }) && hold.taken.is_some())
    }

    /// The last frame for the backend that the driver lets go of, if it is to get one: the answer to its Close, or a 1001. It
    /// goes behind whole frames only, and nobody waits for what becomes of it.
    pub fn poll_last_words(&mut self, now: Instant) -> Vec<u8> {
        let mut out = Vec::new();
        let Some(HoldStage::Away { cause, how, .. }) = self.hold().map(|hold| hold.stage) else { return out };
        if self.backend.broken {
            return out;
        }
        let close = match cause {
            // It has got our Close already.
            HoldCause::Move => return out,
            HoldCause::Close(None) => ControlFrame::new(OpCode::Close, &[], None),
            HoldCause::Close(Some(code)) => close_frame(code, ""),
            HoldCause::Lost if how == HowEnded::Silent => {
                close_frame(CloseCode::GOING_AWAY, Cause::BackendDead.as_reason())
            }
            HoldCause::Lost => close_frame(CloseCode::GOING_AWAY, Cause::BackendLost.as_reason()),
        };
        let (half, terms) = self.half_and_terms(Backend);
        close.encode(half.keepalive.mask(terms, OpCode::Close), &mut out);
        let now = self.common.tick(now);
        self.note_ours(Backend, &close, now);
        out
    }

    /// The most bytes that the driver reads of the client at once; `None` = as many as it likes. In a move, the next message may
    /// go to the queue already.
    #[must_use]
    pub fn client_read_limit(&self) -> Option<usize> {
        match self.hold()?.stage {
            HoldStage::Fading { .. } => Some(0),
            HoldStage::Halting { .. } => Some(self.common.hold.as_ref()?.queue),
            _ => self.queue_room().map(|room| room.saturating_sub(self.held_back())),
        }
    }

    /// How many bytes of the client the queue still takes; `None` = the client's frames do not go to a queue.
    #[must_use]
    pub fn queue_room(&self) -> Option<usize> {
        let queued = self.hold().filter(|hold| hold.queues())?.queued;
        Some(self.common.hold.as_ref()?.queue.saturating_sub(queued))
    }

    /// What the session has been through with its backends. A hold that goes on does not count yet.
    #[must_use]
    pub fn hold_tally(&self) -> HoldTally {
        self.hold().map(|hold| hold.tally).unwrap_or_default()
    }

    /// Adds bytes for a backend of which nobody knows whether they arrived.
    pub fn note_maybe_lost(&mut self, bytes: u64) {
        if bytes > 0 {
            self.fate.get_or_insert_default().hold_mut().tally.maybe_lost += bytes;
        }
    }

    /// The session is to leave its backend for another one. Returns false, and changes nothing, if it cannot: then it has to
    /// end, as a drain or a rebalance ends it.
    pub fn begin_move(&mut self, cause: Cause, now: Instant) -> bool {
        let tick = self.common.tick(now);
        let Some(terms) = self.common.hold.as_ref().filter(|_| self.may_leave()) else { return false };
        let until = tick + terms.longest;
        let hold = self.fate.get_or_insert_default().hold_mut();
        (hold.stage, hold.is_rebalanced) = (HoldStage::Halting { until }, cause == Cause::Rebalanced);
        self.halt(tick);
        true
    }

    /// More time for a hold for which no backend is sought any more, so that many sessions do not end at once.
    pub fn prolong_hold(&mut self, by: Duration) {
        if let Some(HoldStage::Away { until, .. }) = self.stage_mut() {
            *until = *until + by;
        }
    }

    /// An attempt to find another backend has failed. A refusal ends the session; the last failure decides what the client is
    /// told if no backend is found in time.
    pub fn handle_resume_failure(&mut self, failed: ResumeFailure, now: Instant) {
        let Some(HoldStage::Away { failure, .. }) = self.stage_mut() else { return };
        *failure = failed;
        if failed == ResumeFailure::Refused {
            self.give_hold_up(now);
        }
    }

    /// Another backend takes the session. Its 101 has just passed. Returns false, and changes nothing, if the session does not
    /// wait for one.
    ///
    /// The driver then writes the queue to the backend, asks [`Self::poll_transmit`] for the client before it reads the
    /// backend, and asks [`Self::poll_timeout`] again.
    pub fn take_backend(&mut self, now: Instant) -> bool {
        let tick = self.common.tick(now);
        let notifies = self.common.hold.as_ref().is_some_and(|terms| terms.notify.is_some());
        let Some(hold) = self.fate.as_mut().and_then(|fate| fate.hold.as_mut()) else { return false };
        let HoldStage::Away { since, until, .. } = hold.stage else { return false };
        (hold.stage, hold.is_rebalanced, hold.queued, hold.untold) = (HoldStage::Settled, false, 0, 0);
        hold.taken = Some((tick, until.since(tick)));
        hold.notifies = notifies;
        hold.tally.resumes = hold.tally.resumes.saturating_add(1);
        hold.tally.gap += tick.since(since);
        self.backend.begin_anew(tick);
        self.client.keepalive.handle_resumed(tick);
        if let Some(meter) = self.meter_mut() {
            meter.handle_resumed(tick);
        }
        if let Some(fate) = &mut self.fate {
            fate.notices.forget_move();
        }
        self.owe_resync();
        if self.is_without_client() {
            self.keep_notice(now);
        }
        true
    }
}

impl Session {
    const fn hold(&self) -> Option<&Hold> {
        match &self.fate {
            Some(fate) => match &fate.hold {
                Some(hold) => Some(hold),
                None => None,
            },
            None => None,
        }
    }

    fn hold_state_mut(&mut self) -> Option<&mut Hold> {
        self.fate.as_mut()?.hold.as_deref_mut()
    }

    fn stage_mut(&mut self) -> Option<&mut HoldStage> {
        Some(&mut self.hold_state_mut()?.stage)
    }

    /// When the backend went; `None` = one is there.
    pub(super) fn without_backend_since(&self) -> Option<Tick> {
        match self.hold()?.stage {
            HoldStage::Away { since, .. } => Some(since),
            _ => None,
        }
    }

    /// Whether the frames of the client wait for another backend.
    pub(super) fn queues(&self) -> bool {
        self.hold().is_some_and(Hold::queues)
    }

    pub(super) fn is_without_backend(&self) -> bool {
        self.hold().is_some_and(Hold::is_without_backend)
    }

    /// A piece of the client's data goes to the queue. Returns false if it does not.
    pub(super) fn queue(&mut self, length: usize) -> bool {
        let Some(hold) = self.fate.as_mut().and_then(|fate| fate.hold.as_mut()) else { return false };
        let queues = hold.queues();
        if queues {
            hold.queued += length;
            hold.untold += length;
        }
        queues
    }

    /// How many of the bytes that pass now go to the queue: the last ones.
    pub(super) fn tell_queued(&mut self) -> usize {
        let hold = self.fate.as_mut().and_then(|fate| fate.hold.as_mut());
        hold.map_or(0, |hold| mem::take(&mut hold.untold))
    }

    /// Whether the session may have another backend than the present one, at some moment.
    pub(super) fn may_leave(&self) -> bool {
        let Some(terms) = &self.common.hold else { return false };
        let (stage, tally) = self.hold().map(|hold| (hold.stage, hold.tally)).unwrap_or_default();
        stage == HoldStage::Settled
            && self.ending().is_none()
            && (self.backend.from, self.backend.to) == (Incoming::Open, Outgoing::Open)
            && terms.times.is_none_or(|times| tally.resumes < times.get())
    }

    /// Writing to the backend has failed. Returns whether the session may outlive that: what the backend has sent is read
    /// first.
    pub(super) fn fades(&mut self, loss: Loss, now: Instant) -> bool {
        let until = self.common.tick(now) + self.common.settings.close_timeout;
        // The failure has closed the way to the backend already.
        let may = self.common.hold.as_ref().is_some_and(|terms| {
            let (stage, tally) = self.hold().map(|hold| (hold.stage, hold.tally)).unwrap_or_default();
            stage == HoldStage::Settled
                && self.ending().is_none()
                && self.backend.from == Incoming::Open
                && self.client.tracker.at_message_end()
                && terms.on.lost
                && terms.times.is_none_or(|times| tally.resumes < times.get())
        });
        if may {
            self.fate.get_or_insert_default().hold_mut().stage = HoldStage::Fading { loss, until };
        }
        may || self.hold().is_some_and(|hold| hold.queues() || matches!(hold.stage, HoldStage::Fading { .. }))
    }

    /// The backend is gone. Returns whether the session outlives that. Call this before anything else changes.
    pub(super) fn outlives(&mut self, cause: HoldCause, how: HowEnded, now: Instant) -> bool {
        let Some(terms) = &self.common.hold else { return false };
        let (stage, tally) = self.hold().map(|hold| (hold.stage, hold.tally)).unwrap_or_default();
        let (cause, how) = match stage {
            HoldStage::Parting { .. } => (HoldCause::Move, how),
            HoldStage::Fading { loss, .. } if cause == HoldCause::Lost => (cause, HowEnded::Lost(loss)),
            _ => (cause, how),
        };
        let stands = self.queues() || self.client.tracker.at_message_end();
        let may = !matches!(stage, HoldStage::Away { .. })
            && self.ending().is_none()
            && stands
            && self.backend.tracker.at_message_end()
            && terms.on.has(cause)
            && terms.times.is_none_or(|times| tally.resumes < times.get());
        if may {
            let (tick, longest) = (self.common.tick(now), terms.longest);
            self.lose_backend(stage, (cause, how), longest, tick);
        }
        may
    }

    fn lose_backend(&mut self, stage: HoldStage, (cause, how): (HoldCause, HowEnded), longest: Duration, now: Tick) {
        let since = if let HoldStage::Parting { since, .. } = stage { since } else { now };
        self.client.pongs_owed = 0;
        let backend = &mut self.backend;
        (backend.from, backend.to, backend.lost) = (Incoming::Eof, Outgoing::Shut, true);
        backend.keepalive.handle_gone();
        let hold = self.fate.get_or_insert_default().hold_mut();
        let goes_at_once = |(at, _): &(Tick, Duration)| cause != HoldCause::Move && now.since(*at) < longest.min(STAYS);
        hold.taken = hold.taken.filter(goes_at_once);
        let until = now + hold.taken.map_or(longest, |(_, left)| left);
        hold.stage = HoldStage::Away { cause, how, since, until, failure: ResumeFailure::Failed };
        let asked = hold.asked.take().map(|asked| ControlFrame::new(OpCode::Pong, asked.payload(), None));
        hold.pong = hold.pong.take().or(asked);
        hold.late.append(&mut hold.asking);
        self.forget_pings_of_backend();
        if let Some(meter) = self.meter_mut() {
            meter.handle_stalled(now);
        }
    }

    /// Nothing says any more that the backend is to be left: a move that has not reached the backend is over.
    pub(super) fn stay(&mut self) {
        let hold = self.hold_state_mut().filter(|hold| matches!(hold.stage, HoldStage::Halting { .. }));
        if let Some(hold) = hold {
            (hold.stage, hold.is_rebalanced) = (HoldStage::Settled, false);
        }
    }

    /// Whether the session is to move, and its backend does not know that yet.
    pub(super) fn halts(&self) -> bool {
        self.hold().is_some_and(|hold| matches!(hold.stage, HoldStage::Halting { .. }))
    }

    /// Whether the session moves because of a rebalance.
    pub(super) fn is_rebalanced(&self) -> bool {
        self.hold().is_some_and(|hold| hold.is_rebalanced)
    }

    /// In a move: stops the client if its message has ended, and makes our Close for the old backend due.
    pub(super) fn halt(&mut self, now: Tick) {
        let close_timeout = self.common.settings.close_timeout;
        if !self.client.tracker.at_message_end() {
            return;
        }
        if let Some(stage @ HoldStage::Halting { .. }) = self.stage_mut() {
            *stage = HoldStage::Parting { since: now, until: now + close_timeout };
            (self.backend.to, self.backend.told) = (Outgoing::Due, true);
        }
    }

    /// The Close for the old backend in a move; `None` = the session does not move.
    pub(super) fn parting_farewell(&self) -> Option<Farewell> {
        let parts = matches!(self.hold()?.stage, HoldStage::Parting { .. });
        parts.then(|| Farewell::of_words(CloseCode::GOING_AWAY, Reason::Ours(MOVED)))
    }

    /// The same on the wire.
    pub(super) fn parting_close(&self) -> Option<ControlFrame> {
        self.parting_farewell().map(|_| close_frame(CloseCode::GOING_AWAY, MOVED))
    }

    /// A Close of the backend has come. Returns whether the session outlives it.
    pub(super) fn outlives_close(&mut self, frame: &ControlFrame, now: Instant) -> bool {
        self.outlives(HoldCause::Close(CloseFrame::read(frame).code), HowEnded::Close, now)
    }

    /// A Close of the client has come while no backend takes it: it is answered here.
    pub(super) fn answer_close(&mut self, frame: &ControlFrame, now: Instant) {
        self.client.from = Incoming::Closed;
        self.client.closed = true;
        self.end_with_their_close(Client, frame, now);
        let code = CloseFrame::read(frame).code.filter(|code| code.may_be_sent());
        let reason = if code.is_some() { Reason::Ours("") } else { Reason::NoPayload };
        self.bid_farewell(Client, Farewell::of_words(code.unwrap_or(HoldTriggers::NO_CODE), reason));
        self.place_farewells();
    }

    /// The stage has lasted too long.
    pub(super) fn end_stage(&mut self, now: Instant) {
        let Some(stage) = self.hold().map(|hold| hold.stage) else { return };
        match stage {
            HoldStage::Settled => {}
            HoldStage::Fading { loss, .. } => {
                if !self.outlives(HoldCause::Lost, HowEnded::Lost(loss), now) {
                    self.backend.from = Incoming::Done;
                    self.lose(Backend, loss, now);
                }
            }
            // The backend knows nothing of it yet, and goes on.
            HoldStage::Halting { .. } if self.is_rebalanced() => self.stay(),
            HoldStage::Halting { .. } => self.end_instead_of_move(now),
            HoldStage::Parting { .. } => {
                if !self.outlives(HoldCause::Move, HowEnded::Silent, now) {
                    self.end_instead_of_move(now);
                }
            }
            HoldStage::Away { .. } => self.give_hold_up(now),
        }
    }

    /// The session cannot move to another backend.
    pub(super) fn end_instead_of_move(&mut self, now: Instant) {
        let Some(terms) = &self.common.hold else { return };
        match self.is_rebalanced() {
            true => self.close_both(CloseCode::SERVICE_RESTART, Cause::Rebalanced, now),
            false => self.close_both(terms.drain_code, Cause::Drain, now),
        }
    }

    /// Ends a session for which no backend was found.
    fn give_hold_up(&mut self, now: Instant) {
        let Some(terms) = &self.common.hold else { return };
        let Some(HoldStage::Away { cause, how, failure, .. }) = self.hold().map(|hold| hold.stage) else { return };
        let (initiator, end) = match cause {
            HoldCause::Lost if how == HowEnded::Silent => (Initiator::Proxy, Cause::BackendDead),
            HoldCause::Lost => (Initiator::Backend, Cause::BackendLost),
            HoldCause::Close(_) => (Initiator::Backend, Cause::BackendClose),
            HoldCause::Move if self.is_rebalanced() => (Initiator::Proxy, Cause::Rebalanced),
            HoldCause::Move => (Initiator::Proxy, Cause::Drain),
        };
        let how = if cause == HoldCause::Move { HowEnded::Ours } else { how };
        let (code, words) = match (failure, cause) {
            (ResumeFailure::Refused | ResumeFailure::Unlike, _) => (CloseCode::INTERNAL_ERROR, REFUSED),
            (ResumeFailure::Failed, HoldCause::Lost) => (CloseCode::INTERNAL_ERROR, Cause::BackendLost.as_reason()),
            (ResumeFailure::NoTurn, HoldCause::Lost) => (terms.drain_code, Cause::BackendLost.as_reason()),
            (_, HoldCause::Move) if self.is_rebalanced() => (CloseCode::SERVICE_RESTART, end.as_reason()),
            (_, HoldCause::Close(_) | HoldCause::Move) => (terms.drain_code, end.as_reason()),
        };
        let termination =
            Termination { initiator, cause: end, how, code: Some(code), reason: words.to_owned(), clean: false };
        self.begin_ending(termination, false, now);
        self.bid_farewell(Client, Farewell::of_words(code, Reason::Ours(words)));
        self.place_farewells();
    }
}
