//! A session from its 101 to its record: takes both streams over from hyper, relays, and gives back everything it holds.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio::{
    io::AsyncWriteExt,
    sync::{mpsc, oneshot},
    time::timeout,
};

use super::{
    dismissal::Dismissal,
    loss::loss,
    reclaim::{Claim, Comeback, FirstWords, Reclaimable},
    redial::{Redial, RedialOrder, Redialled, Successor},
    relay::{Leg, Relay, Scratch, Turn},
    returning::Returning,
};
use crate::{
    access_log::{SessionRecord, Traffic},
    balance::{Backend, Seat},
    config::Tcp,
    metrics::{Metrics, RouteMetrics, TrafficCounts},
    net::{
        counts::{admission::SessionPermit, fleet::Fleet, live::SessionGuard},
        orders::{
            age_errand::{AgeErrand, AgedSession},
            book::Book,
            inquiry::{Kill, Question, Search, Sight},
            observed::{self, Chosen},
            tally::Tally,
        },
        stream::{
            calls::{Calls, SessionKey},
            client_io::ClientIo,
            plain_or_tls::Stream,
            sockets::Ready,
        },
    },
    ws::{
        Side,
        resume_token::ResumeId,
        session::{Claimed, Common, Departure, HoldCause, HoldState, Notice, ResumeFailure, Session},
        termination::{Cause, HowEnded, Initiator, Termination},
    },
};

/// A session whose 101 is still to be written. Dropping it ends the session and writes its record.
#[derive(Debug)]
pub(in crate::net) struct Opening {
    /// The 101.
    pub(in crate::net) answer: FirstWords,
    /// The longest time that the 101 may take to go out.
    pub(in crate::net) patience: Duration,
    /// The backend's stream, and what was read behind the backend's 101.
    pub(in crate::net) backend: (Stream, Bytes),
    pub(in crate::net) common: Arc<Common>,
    pub(in crate::net) nonce: u64,
    /// When the session has to end, if whoever let it in said so.
    pub(in crate::net) expires: Option<Instant>,
    /// How the session gets another backend; `None` = it does not outlive this one.
    pub(in crate::net) redial: Option<Redial>,
    /// Keeps the session among those to which a client can come back; `None` = it ends with its client's connection.
    pub(in crate::net) reclaimable: Option<Box<Reclaimable>>,
    pub(in crate::net) holdings: Holdings,
}

/// The guards that count a session. No seat: the session waits for a backend.
pub(in crate::net) type Guards = (Option<Seat>, SessionGuard, Option<Box<SessionPermit>>);

/// What a session holds beside its streams. The permits are dropped before the record, so that a reader of the record
/// finds the permits given back.
#[derive(Debug)]
pub(in crate::net) struct Holdings {
    pub(in crate::net) guards: Guards,
    pub(in crate::net) record: SessionRecord,
}

/// A session with everything it holds. Dropping it ends the session at once: streams first, then permits, then the record.
#[derive(Debug)]
pub(in crate::net) struct Held {
    relay: Option<Relay>,
    /// `None` = the session ends with its client's connection.
    returning: Option<Box<Returning>>,
    guards: Option<Guards>,
    /// `None` once the record is on its way to the log.
    record: Option<SessionRecord>,
}

/// What comes to the loop of a worker's sessions.
#[derive(Debug)]
pub(in crate::net) enum Arrival {
    /// A new session.
    Session(Box<Held>),
    /// A new session that may outlive its backend.
    Outliving(Box<Held>, Redial),
    /// What came of a call for another backend.
    Redialled(SessionKey, Box<Redialled>),
    /// A client wants to come back to its session.
    Claim(Box<Claim>),
    /// The stream of a client that comes back.
    Comeback(Box<Comeback>),
    /// Something to find out about all sessions.
    Question(Box<Question>),
    /// Something to do with the oldest sessions.
    Ages(Box<AgeErrand>),
    /// A request for what the sessions have passed so far.
    Count(oneshot::Sender<Tally>),
}

impl Opening {
    /// Writes the 101 and gives the session to its worker's loop. `early`: what was read from the client behind its
    /// request. Dropping the future ends the session and writes its record.
    pub(in crate::net) async fn open(self, mut client: ClientIo, early: Bytes, sessions: &mpsc::Sender<Arrival>) {
        let sent = timeout(self.patience, async {
            client.write_all(&self.answer.0).await?;
            client.flush().await
        });
        match sent.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return self.fail(HowEnded::Lost(loss(&error))),
            Err(_) => return self.fail(HowEnded::Silent),
        }
        let Self { backend: (backend, greeting), common, nonce, expires, redial, reclaimable, holdings, .. } = self;
        let mut session = Session::new(common, nonce, Instant::now());
        if let Some(at) = expires {
            session.expire_at(at);
        }
        let client = Leg::new(client.into_stream(), early);
        let relay = Relay::new(client, Leg::new(backend, greeting), session);
        let held = Box::new(Held::new(relay, reclaimable, holdings));
        let arrival = match redial {
            None => Arrival::Session(held),
            Some(redial) => Arrival::Outliving(held, redial),
        };
        // An error says that the worker has stopped, and the session is cut.
        let _ = sessions.send(arrival).await;
    }

    /// Ends the session, because the client's connection ended before the 101 was sent.
    pub(in crate::net) fn fail(self, how: HowEnded) {
        let Holdings { guards, record } = self.holdings;
        let record = record.fail(end_without_close(Initiator::Client, Cause::ClientLost, how));
        drop(guards);
        drop(record);
    }
}

impl Held {
    /// `reclaimable`: how its client comes back; `None` = it does not.
    pub(super) fn new(
        mut relay: Relay,
        reclaimable: Option<Box<Reclaimable>>,
        Holdings { guards, record }: Holdings,
    ) -> Self {
        let returning = reclaimable.map(|reclaimable| {
            relay.session.begin_resumable(&reclaimable.lodging().secret.0);
            Returning::new(*reclaimable)
        });
        Self { relay: Some(relay), returning, guards: Some(guards), record: Some(record) }
    }

    /// From now on, the events and calls of both streams are for this session of the loop.
    pub(super) fn give_streams_to(&mut self, session: SessionKey, calls: &Arc<Calls>) {
        if let Some(relay) = &mut self.relay {
            relay.give_to(session, calls);
        }
    }

    /// Whether an event or a call for `session` is for this session and its present streams. An earlier session had the
    /// same place, or this one had other streams.
    pub(super) fn is_of(&self, session: SessionKey) -> bool {
        self.relay.as_ref().is_some_and(|relay| relay.generation() == session.generation)
    }

    /// Notes what an event has said of the socket of a side. The session wants a turn then.
    pub(super) fn note(&self, side: Side, ready: Ready) {
        if let Some(socket) = self.relay.as_ref().and_then(|relay| relay.stream(side).socket()) {
            socket.note(ready);
        }
    }

    /// Notes that the stream of a side has called. The session wants a turn then.
    pub(super) fn note_call(&mut self, side: Side) {
        if let Some(relay) = &mut self.relay {
            relay.note_call(side);
        }
    }

    /// Lets go of the backend, if the session waits for another one. `attempts`: how many it took to find the one that goes.
    /// Returns what to ask for, and what the old backend is still to read.
    pub(super) fn let_go(&mut self, attempts: u32, now: Instant) -> Option<(RedialOrder, Option<Dismissal>)> {
        let relay = self.relay.as_mut()?;
        let session = &relay.session;
        let (cause, until) = session.awaits_backend().zip(session.hold_ends())?;
        let number = session.hold_tally().resumes.saturating_add(1);
        let attempts = if session.is_held_again() { attempts } else { 0 };
        let leaves =
            (cause == HoldCause::Move).then(|| self.record.as_ref().map(|record| Arc::clone(record.backend())));
        let dismissal = relay.let_go(now);
        // A backend that is full may take its sessions again once it is back.
        if let Some((seat, ..)) = &mut self.guards {
            *seat = None;
        }
        Some((RedialOrder { cause, leaves: leaves.flatten(), number, attempts, until }, dismissal))
    }

    /// Takes another backend. Returns how long the session had none, or the backend if it does not wait for one any more.
    pub(super) fn take_successor(&mut self, successor: Successor, now: Instant) -> Result<Duration, Successor> {
        let (Some(relay), Some(guards)) = (&mut self.relay, &mut self.guards) else { return Err(successor) };
        let before = relay.session.hold_tally().gap;
        if !relay.session.take_backend(now) {
            return Err(successor);
        }
        let Successor { stream, early, seat, expires, .. } = successor;
        relay.begin_backend(Leg::new(stream, early), now);
        if let Some(at) = expires {
            relay.session.expire_at(at);
        }
        if let Some(record) = &mut self.record {
            record.change_backend(Arc::clone(seat.backend()));
        }
        guards.0 = Some(seat);
        Ok(relay.session.hold_tally().gap.saturating_sub(before))
    }

    /// No backend was found. The session may go on waiting, or ends.
    pub(super) fn note_resume_failure(&mut self, failure: ResumeFailure, now: Instant) {
        if let Some(relay) = &mut self.relay {
            relay.session.handle_resume_failure(failure, now);
        }
    }

    /// No further backend comes.
    pub(super) fn drop_queue(&mut self) {
        if let Some(relay) = &mut self.relay {
            relay.drop_queue();
        }
    }

    /// Whether the end of the session has begun.
    pub(super) fn is_ending(&self) -> bool {
        self.relay.as_ref().is_some_and(|relay| relay.session.is_ending())
    }

    /// No backend is sought any more. Sessions to which this happens at the same time end over `spread`.
    pub(super) fn prolong_hold(&mut self, spread: Duration) {
        if let Some(Relay { session, .. }) = &mut self.relay {
            session.prolong_hold(spread.mul_f64(session.position().clamp(0.0, 1.0)));
        }
    }

    /// Whether an order moves the session now, away from this backend.
    pub(super) fn about_to_leave(&self, now: Instant) -> Option<&Arc<Backend>> {
        let is_about_to = self.relay.as_ref().is_some_and(|relay| relay.session.is_about_to_move(now));
        self.record.as_ref().filter(|_| is_about_to).map(SessionRecord::backend)
    }

    /// The session can move to no other backend. An order that would move it ends it.
    pub(super) fn forbid_move(&mut self) {
        if let Some(relay) = &mut self.relay {
            relay.session.forbid_move();
        }
    }

    /// By what a client that comes back names the session; `None` = none does.
    pub(super) fn resume_id(&self) -> Option<ResumeId> {
        self.returning.as_ref().map(|returning| returning.id())
    }

    /// Lets go of the client that is gone. If too many clients are, the session does not wait for it. It wants a turn then.
    pub(super) fn part_from_client(&mut self, metrics: &Arc<Metrics>, now: Instant) {
        let Some(relay) = &mut self.relay else { return };
        if self.returning.as_mut().is_some_and(|returning| returning.begin_absence(metrics)) {
            relay.let_go_of_client();
        } else {
            // Its connection may still take the reason.
            relay.session.refuse_absence(now);
        }
    }

    /// A client wants to come back: lets go of the one before. The session wants a turn then.
    pub(super) fn claim(&mut self, (attempt, count): (u64, u64), metrics: &Arc<Metrics>, now: Instant) -> Claimed {
        let (Some(relay), Some(returning)) = (&mut self.relay, &mut self.returning) else { return Claimed::Gone };
        let claimed = relay.session.claim(attempt, count, now);
        if matches!(claimed, Claimed::Ready { .. }) {
            returning.begin_change(metrics);
            relay.let_go_of_client();
        }
        claimed
    }

    /// Takes a client that comes back, if the session waits for this one. Returns how many bytes it is sent at once; the session
    /// wants a turn then. An error says what a client that is not taken is to be told. `place`: that of the session.
    pub(super) fn take_client(
        &mut self,
        comeback: Comeback,
        (place, calls): (u32, &Arc<Calls>),
        now: Instant,
    ) -> Result<usize, Option<Dismissal>> {
        let Comeback { attempt, mut stream, early, client, permit, expires, patience, .. } = comeback;
        let (Some(relay), Some(returning), Some(guards)) = (&mut self.relay, &mut self.returning, &mut self.guards)
        else {
            return Err(None);
        };
        if let Err(error) = stream.enter_thread() {
            tracing::debug!(%error, "the stream of a client that comes back cannot be watched");
            stream.say_goodbye();
            return Err(None);
        }
        if let Some(close) = relay.session.late_close() {
            return Err(Some(Dismissal::of_late_client(stream, &close, patience)));
        }
        let before = relay.session.resume_tally().gap;
        // The generation stays: what is under way for the backend is still for this session.
        stream.give_to(SessionKey { place, generation: relay.generation() }, Side::Client, calls);
        let replayed = match relay.take_client(attempt, Leg::new(stream, early), now) {
            Ok(replayed) => replayed,
            // The session goes on with a later attempt of this client.
            Err(leg) => {
                leg.say_goodbye();
                return Err(None);
            }
        };
        let moved_to = permit.is_some().then(|| client.counted_as());
        returning.end_absence(moved_to, relay.session.resume_tally().gap.saturating_sub(before));
        if let Some(record) = &mut self.record {
            record.move_to(client);
        }
        if let Some(permit) = permit {
            guards.2 = permit;
        }
        if let Some(at) = expires {
            relay.session.expire_at(at);
        }
        Ok(replayed)
    }

    /// Counts what the session keeps for its client. Returns whether it has to keep less; it wants a turn then.
    pub(super) fn count_kept(&mut self, now: Instant) -> bool {
        let (Some(relay), Some(returning)) = (&mut self.relay, &mut self.returning) else { return false };
        let is_short = returning.count_kept(relay.session.kept_for_client());
        if is_short {
            relay.session.handle_replay_shortage(now);
            // What it keeps is less now.
            let _ = returning.count_kept(relay.session.kept_for_client());
        }
        is_short
    }

    /// Has the fleet count the session, if it does not yet.
    pub(super) fn join_fleet(&mut self, fleet: &Arc<Fleet>) {
        if let Some((.., permit)) = &mut self.guards {
            SessionPermit::join(permit, fleet);
        }
    }

    /// Whether a turn, or the end of the session, may wake tasks of this worker.
    pub(super) fn wakes_tasks(&self) -> bool {
        self.relay.as_ref().is_some_and(Relay::wakes_tasks)
    }

    /// The session stays: sets the options of the backend's socket that matter only then. The client's socket has them
    /// from its listener.
    pub(in crate::net) fn set_lasting_options(&self, tcp: &Tcp) {
        let Some(relay) = &self.relay else { return };
        if let Some(socket) = relay.stream(Side::Backend).socket()
            && let Err(error) = socket.set_options(tcp)
        {
            tracing::debug!(%error, "the options of a backend's socket cannot be set");
        }
    }

    /// Learns which orders stand. `redial`: how the session gets another backend, if it may. The session wants a turn then.
    pub(in crate::net) fn hear(&mut self, book: &Book, redial: Option<&Redial>, now: Instant) {
        if let (Some(relay), Some(record)) = (&mut self.relay, &self.record) {
            let (backend, is_leaving) = (record.backend(), relay.session.hold_state() != HoldState::Open);
            let notice =
                |may_move| book.notice(record.route(), backend, (is_leaving, may_move), relay.session.position());
            let mut heard = notice(redial.is_some());
            // Whether another backend takes the session is asked when the session is to move, not before.
            let moves_now = |notice: &Notice| notice.departure == Departure::Move && notice.at <= now && !is_leaving;
            if heard.as_ref().is_some_and(moves_now) && !redial.is_some_and(|redial| (redial.looks)(backend)) {
                heard = notice(false);
            }
            if book.drains_all() {
                relay.session.handle_rebalance(None, now);
            }
            relay.session.handle_notice(heard, now);
            let until = book.choices().until(|chosen| match chosen {
                Chosen::Session(id) => record.has_id(id),
                Chosen::Client(network) => record.client().is_in(network),
            });
            relay.session.observe(until.filter(|until| *until > now));
        }
    }

    /// What the session looks like now, if `search` is for it.
    pub(in crate::net) fn sight(&self, search: &Search, now: Instant) -> Option<Sight> {
        let (relay, record) = (self.relay.as_ref()?, self.record.as_ref()?);
        let is = |wanted: &Option<String>, value: &str| wanted.as_ref().is_none_or(|wanted| wanted == value);
        let is_wanted = is(&search.route, record.route())
            && is(&search.upstream, record.upstream())
            && is(&search.backend, record.backend().address())
            && search.text.as_ref().is_none_or(|text| record.mentions(text))
            && search.client.is_none_or(|network| record.client().is_in(&network))
            && search.id.as_ref().is_none_or(|id| record.has_id(id));
        is_wanted.then(|| {
            let (session, particulars) = (&relay.session, record.particulars());
            Sight {
                age: now.saturating_duration_since(particulars.started()),
                particulars,
                idle: now.saturating_duration_since(session.last_received()),
                traffic: Traffic::of(session),
                buffered: relay.buffered() + session.kept_for_client(),
                is_ending: session.is_ending(),
                hold: session.hold_state(),
                is_away: session.awaits_client(),
            }
        })
    }

    /// What a rebalance has to know of the session. `is_drained`: all sessions are to leave. `may_move`: it may have another backend.
    /// `is_told`: the last rebalance has told it to leave.
    pub(super) fn aged(&self, is_drained: bool, may_move: bool, is_told: bool) -> Option<AgedSession<'_>> {
        let (Relay { session, .. }, record) = (self.relay.as_ref()?, self.record.as_ref()?);
        let is_to_leave = session.is_to_be_rebalanced();
        Some(AgedSession {
            started: record.started(),
            backend: record.backend(),
            is_leaving: is_drained || session.is_ending() || session.hold_state() != HoldState::Open,
            is_to_leave,
            is_waiting: is_told && (is_to_leave || session.leaves_in_rebalance()),
            may_move,
        })
    }

    /// Lets the session leave in a rebalance, or takes that back. The session wants a turn then.
    pub(super) fn rebalance(&mut self, leaves: Option<(Instant, Departure)>, now: Instant) {
        if let Some(relay) = &mut self.relay {
            relay.session.handle_rebalance(leaves, now);
        }
    }

    /// Whether the session leaves now in a rebalance, or has left in one.
    pub(super) fn leaves_in_rebalance(&self) -> bool {
        self.relay.as_ref().is_some_and(|relay| relay.session.leaves_in_rebalance())
    }

    /// What the session has passed so far, and on which route.
    pub(in crate::net) fn passed(&self) -> Option<(&Arc<RouteMetrics>, TrafficCounts)> {
        let (relay, record) = (self.relay.as_ref()?, self.record.as_ref()?);
        let sides = [Side::Client, Side::Backend];
        let counts = sides.map(|side| relay.session.counts(side));
        let trips = sides.map(|side| relay.session.round_trips(side));
        let passed = TrafficCounts {
            bytes: counts.map(|counts| counts.bytes),
            frames: counts.map(|counts| counts.frames),
            messages: counts.map(|counts| counts.messages),
            pings: trips.map(|trips| trips.pings.into()),
            pongs: trips.map(|trips| trips.measured.into()),
        };
        Some((record.metrics(), passed))
    }

    /// Ends the session, as an operator wants it. The session wants a turn then.
    pub(in crate::net) fn kill(&mut self, Kill { code, reason }: &Kill, now: Instant) {
        if let Some(relay) = &mut self.relay {
            relay.session.handle_kill(*code, reason, now);
        }
    }

    /// When the session wants to be called if nothing happens.
    pub(in crate::net) fn due(&self) -> Option<Instant> {
        self.relay.as_ref()?.session.poll_timeout()
    }

    /// Whether the session is calm. From one calm moment to the next, [`Self::due`] can only move to a later time.
    pub(super) fn is_calm(&self) -> bool {
        self.relay.as_ref().is_some_and(|relay| relay.session.is_calm())
    }

    /// Does what can be done without waiting. `is_due`: the session's alarm may have rung.
    #[inline]
    pub(in crate::net) fn turn(&mut self, scratch: &mut Scratch, is_due: bool, now: Instant) -> Turn {
        let Some(relay) = &mut self.relay else { return Turn::Over };
        let turn = relay.turn(scratch, is_due, now);
        if let (Some((seen, missed)), Some(record)) = (relay.session.take_seen(), &self.record) {
            observed::log_frames(&record.particulars().show().id, &seen, missed);
        }
        turn
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // A session that has not ended by itself is cut by the end of a drain.
        let cut = end_without_close(Initiator::Proxy, Cause::Drain, HowEnded::Ours);
        let record =
            self.relay.as_ref().zip(self.record.take()).and_then(|(relay, record)| record.end(&relay.session, cut));
        if let (Some(relay), Some(returning)) = (&self.relay, &mut self.returning)
            && relay.session.termination().is_some_and(|end| end.cause == Cause::ClientLost)
        {
            returning.note_patience_over();
        }
        self.relay = None;
        self.returning = None;
        self.guards = None;
        drop(record);
    }
}

/// An end without a Close.
const fn end_without_close(initiator: Initiator, cause: Cause, how: HowEnded) -> Termination {
    Termination { initiator, cause, how, code: None, reason: String::new(), clean: false }
}
