//! A session from its 101 to its record: takes both streams over from hyper, relays, and gives back everything it holds.

#[cfg(test)]
use std::mem;
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
    loss::loss,
    relay::{Leg, Relay, Scratch, Turn},
};
use crate::{
    access_log::{SessionRecord, Traffic},
    balance::Seat,
    config::Tcp,
    metrics::{RouteMetrics, TrafficCounts},
    net::{
        counts::{admission::ClientPermit, live::SessionGuard},
        orders::{
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
        session::{Common, Session},
        termination::{Cause, HowEnded, Initiator, Termination},
    },
};

/// A session whose 101 is still to be written. Dropping it ends the session and writes its record.
#[derive(Debug)]
pub(in crate::net) struct Opening {
    /// The 101.
    pub(in crate::net) answer: Vec<u8>,
    /// The longest time that the 101 may take to go out.
    pub(in crate::net) patience: Duration,
    /// The backend's stream, and what was read behind the backend's 101.
    pub(in crate::net) backend: (Stream, Bytes),
    pub(in crate::net) common: Arc<Common>,
    pub(in crate::net) nonce: u64,
    /// When the session has to end, if whoever let it in said so.
    pub(in crate::net) expires: Option<Instant>,
    pub(in crate::net) holdings: Holdings,
}

/// The guards that count a session.
pub(in crate::net) type Guards = (Seat, SessionGuard, Option<Box<ClientPermit>>);

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
    guards: Option<Guards>,
    /// `None` once the record is on its way to the log.
    record: Option<SessionRecord>,
}

/// A new stream for a side, and the seat at its backend, if the side is the backend.
#[cfg(test)]
pub(super) type Offer = (Leg, Option<Seat>);

/// What comes to the loop of a worker's sessions.
#[derive(Debug)]
pub(in crate::net) enum Arrival {
    /// A new session.
    Session(Box<Held>),
    /// Something to find out about all sessions.
    Question(Box<Question>),
    /// A request for what the sessions have passed so far.
    Count(oneshot::Sender<Tally>),
}

impl Opening {
    /// Writes the 101 and gives the session to its worker's loop. `early`: what was read from the client behind its
    /// request. Dropping the future ends the session and writes its record.
    pub(in crate::net) async fn open(self, mut client: ClientIo, early: Bytes, sessions: &mpsc::Sender<Arrival>) {
        let sent = timeout(self.patience, async {
            client.write_all(&self.answer).await?;
            client.flush().await
        });
        match sent.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return self.fail(HowEnded::Lost(loss(&error))),
            Err(_) => return self.fail(HowEnded::Silent),
        }
        let Self { backend: (backend, greeting), common, nonce, expires, holdings, .. } = self;
        let mut session = Session::new(common, nonce, Instant::now());
        if let Some(at) = expires {
            session.expire_at(at);
        }
        let client = Leg::new(client.into_stream(), early);
        let relay = Relay::new(client, Leg::new(backend, greeting), session);
        let held = Box::new(Held::new(relay, holdings));
        // An error says that the worker has stopped, and the session is cut.
        let _ = sessions.send(Arrival::Session(held)).await;
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
    pub(super) fn new(relay: Relay, Holdings { guards, record }: Holdings) -> Self {
        Self { relay: Some(relay), guards: Some(guards), record: Some(record) }
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

    /// Lets go of a side and takes another stream for it, between two messages. The record stays that of the first
    /// backend. Returns the old stream and seat, or the offer if the session does not let go of the side now.
    #[cfg(test)]
    pub(super) fn replace(
        &mut self,
        side: Side,
        (leg, seat): Offer,
        now: Instant,
    ) -> Result<(Stream, Option<Seat>), Offer> {
        let (Some(relay), Some(guards)) = (&mut self.relay, &mut self.guards) else { return Err((leg, seat)) };
        match relay.replace(side, leg, now) {
            Ok(old) => Ok((old, seat.map(|seat| mem::replace(&mut guards.0, seat)))),
            Err(leg) => Err((leg, seat)),
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

    /// Learns which orders stand. The session wants a turn then.
    pub(in crate::net) fn hear(&mut self, book: &Book, now: Instant) {
        if let (Some(relay), Some((seat, ..)), Some(record)) = (&mut self.relay, &self.guards, &self.record) {
            let notice = book.notice(record.route(), seat.backend(), relay.session.position());
            relay.session.handle_notice(notice, now);
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
        let (seat, ..) = self.guards.as_ref()?;
        let is = |wanted: &Option<String>, value: &str| wanted.as_ref().is_none_or(|wanted| wanted == value);
        let is_wanted = is(&search.route, record.route())
            && is(&search.upstream, record.upstream())
            && is(&search.backend, seat.backend().address())
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
                buffered: relay.buffered(),
                is_ending: session.is_ending(),
            }
        })
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
        self.relay = None;
        self.guards = None;
        drop(record);
    }
}

/// An end without a Close.
const fn end_without_close(initiator: Initiator, cause: Cause, how: HowEnded) -> Termination {
    Termination { initiator, cause, how, code: None, reason: String::new(), clean: false }
}
