//! A session from its 101 to its record: takes both streams over from hyper, relays, and gives everything back.

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
    admission::ClientPermit,
    client_io::ClientIo,
    drain::Book,
    inquiry::{Kill, Question, Search, Sight},
    live::SessionGuard,
    observed::{self, Chosen},
    relay::{Leg, Relay, Scratch, Turn},
    socket,
    sockets::{Ready, Socket},
    stream::Stream,
    tally::Tally,
};
use crate::{
    access_log::{SessionRecord, Traffic},
    balance::Seat,
    config::Tcp,
    metrics::{Passed, RouteMetrics},
    ws::{
        Side,
        session::{Common, Session},
        termination::{Cause, Initiator, Termination},
    },
};

/// A session whose 101 is still to be written. Dropping it ends the session; its record is written.
#[derive(Debug)]
pub(super) struct Opening {
    /// The 101.
    pub(super) answer: Vec<u8>,
    /// How long it may take to go out.
    pub(super) patience: Duration,
    /// The backend's socket, and what was read behind its 101.
    pub(super) backend: (Socket, Bytes),
    pub(super) common: Arc<Common>,
    pub(super) nonce: u64,
    pub(super) holdings: Holdings,
}

/// What counts a session.
pub(super) type Guards = (Seat, SessionGuard, Option<Box<ClientPermit>>);

/// What a session holds beside its streams. Dropped in this order: permits, then the record, so that who reads the record
/// finds the permits given back.
#[derive(Debug)]
pub(super) struct Holdings {
    pub(super) guards: Guards,
    pub(super) record: SessionRecord,
}

/// A session with all that it holds. Dropping it ends it where it is: streams, then permits, then the record.
#[derive(Debug)]
pub(super) struct Held {
    relay: Option<Relay>,
    guards: Option<Guards>,
    /// `None` once it is on its way to the log.
    record: Option<SessionRecord>,
}

/// What comes to the loop of a worker's sessions.
#[derive(Debug)]
pub(super) enum Arrival {
    /// One more.
    Session(Box<Held>),
    /// Something to find out of all.
    Question(Box<Question>),
    /// What they have passed so far.
    Count(oneshot::Sender<Tally>),
}

impl Opening {
    /// Writes the 101 and gives the session to its worker's loop. `early`: what was read of the client behind its request.
    /// Dropping the future ends the session; its record is written.
    pub(super) async fn open(self, mut client: ClientIo, early: Bytes, sessions: &mpsc::Sender<Arrival>) {
        let sent = timeout(self.patience, async {
            client.write_all(&self.answer).await?;
            client.flush().await
        });
        let Ok(Ok(())) = sent.await else { return self.fail() };
        let Self { backend: (socket, greeting), common, nonce, holdings: Holdings { guards, record }, .. } = self;
        let session = Session::new(common, nonce, Instant::now());
        let client = Leg::new(client.into_stream(), early);
        let relay = Some(Relay::new(client, Leg::new(Stream::Plain(socket), greeting), session));
        let held = Box::new(Held { relay, guards: Some(guards), record: Some(record) });
        // An error says that the worker has stopped: the session is cut.
        let _ = sessions.send(Arrival::Session(held)).await;
    }

    /// The client's connection ended before its 101 was through.
    pub(super) fn fail(self) {
        let Holdings { guards, record } = self.holdings;
        let record = record.fail(end(Initiator::Client, Cause::ClientLost));
        drop(guards);
        drop(record);
    }
}

impl Held {
    /// From now on the events of its sockets are for the session of this number.
    pub(super) fn give_sockets_to(&self, session: u32) {
        let Some(relay) = &self.relay else { return };
        for side in [Side::Client, Side::Backend] {
            if let Some(socket) = relay.stream(side).socket() {
                socket.give_to(session, side);
            }
        }
    }

    /// Events have said so of the socket of a side. It wants a turn then.
    pub(super) fn note(&self, side: Side, ready: Ready) {
        if let Some(socket) = self.relay.as_ref().and_then(|relay| relay.stream(side).socket()) {
            socket.note(ready);
        }
    }

    /// It stays: its backend's socket gets the options that only matter then. The client's has them from its listener.
    pub(super) fn settle(&self, tcp: &Tcp) {
        let Some(relay) = &self.relay else { return };
        if let Some(socket) = relay.stream(Side::Backend).socket()
            && let Err(error) = socket::set_options(socket, tcp)
        {
            tracing::debug!(%error, "the options of a backend's socket cannot be set");
        }
    }

    /// Learns which orders stand. It wants a turn then.
    pub(super) fn hear(&mut self, book: &Book, now: Instant) {
        if let (Some(relay), Some((seat, ..)), Some(record)) = (&mut self.relay, &self.guards, &self.record) {
            let notice = book.notice(record.route(), seat.backend(), relay.session.spread());
            relay.session.handle_notice(notice, now);
            let until = book.choices().until(|chosen| match chosen {
                Chosen::Session(id) => record.has_id(id),
                Chosen::Client(network) => network.contains(&record.client()),
            });
            relay.session.observe(until.filter(|until| *until > now));
        }
    }

    /// What is to be seen of it now, if it is searched for.
    pub(super) fn sight(&self, search: &Search, now: Instant) -> Option<Sight> {
        let (relay, record) = (self.relay.as_ref()?, self.record.as_ref()?);
        let (seat, ..) = self.guards.as_ref()?;
        let is = |wanted: &Option<String>, value: &str| wanted.as_ref().is_none_or(|wanted| wanted == value);
        let is_wanted = is(&search.route, record.route())
            && is(&search.upstream, record.upstream())
            && is(&search.backend, seat.backend().address())
            && search.text.as_ref().is_none_or(|text| record.mentions(text))
            && search.client.is_none_or(|client| client.contains(&record.client()))
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

    /// What it has passed so far, and on which route.
    pub(super) fn passed(&self) -> Option<(&Arc<RouteMetrics>, Passed)> {
        let (relay, record) = (self.relay.as_ref()?, self.record.as_ref()?);
        let sides = [Side::Client, Side::Backend];
        let counts = sides.map(|side| relay.session.counts(side));
        let trips = sides.map(|side| relay.session.round_trips(side));
        let passed = Passed {
            bytes: counts.map(|counts| counts.bytes),
            frames: counts.map(|counts| counts.frames),
            messages: counts.map(|counts| counts.messages),
            pings: trips.map(|trips| trips.pings.into()),
            pongs: trips.map(|trips| trips.measured.into()),
        };
        Some((record.metrics(), passed))
    }

    /// An operator ends it. It wants a turn then.
    pub(super) fn kill(&mut self, Kill { code, reason }: &Kill, now: Instant) {
        if let Some(relay) = &mut self.relay {
            relay.session.handle_kill(*code, reason, now);
        }
    }

    /// When it wants to be called if nothing happens.
    pub(super) fn due(&self) -> Option<Instant> {
        self.relay.as_ref()?.session.poll_timeout()
    }

    /// Whether [`Self::due`] only moves on from one such moment to the next.
    pub(super) fn is_calm(&self) -> bool {
        self.relay.as_ref().is_some_and(|relay| relay.session.is_calm())
    }

    /// Does what can be done without waiting. `is_due`: its alarm may have rung.
    #[inline]
    pub(super) fn turn(&mut self, scratch: &mut Scratch, is_due: bool, now: Instant) -> Turn {
        let Some(relay) = &mut self.relay else { return Turn::Over };
        let turn = relay.turn(scratch, is_due, now);
        if let (Some((seen, missed)), Some(record)) = (relay.session.take_seen(), &self.record) {
            observed::tell(&record.particulars().show().id, &seen, missed);
        }
        turn
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // What has not ended by itself is cut by the end of a drain.
        let cut = end(Initiator::Proxy, Cause::Drain);
        let record =
            self.relay.as_ref().zip(self.record.take()).and_then(|(relay, record)| record.end(&relay.session, cut));
        self.relay = None;
        self.guards = None;
        drop(record);
    }
}

/// An end without a Close.
const fn end(initiator: Initiator, cause: Cause) -> Termination {
    Termination { initiator, cause, code: None, reason: String::new(), clean: false }
}
