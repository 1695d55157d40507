//! The far end of `longwire probe`: a WebSocket that ends in this process, beside all routes. No backend hears of it, and it
//! is no session of a route: a task serves it, no ping of ours keeps it alive, and it is counted apart.

mod order;
mod output;
mod session;

use std::{
    future::poll_fn,
    io, iter, mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use bytes::Bytes;
use hyper::{
    header::{HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_PROTOCOL},
    http::request::Parts,
};
use tokio::{
    io::{AsyncWrite as _, AsyncWriteExt as _},
    sync::{OwnedSemaphorePermit, watch},
    task::yield_now,
    time::timeout,
};

use self::session::ProbeSession;
use crate::{
    access_log::Record,
    config::Timeouts,
    error::{Error, Kind},
    headers,
    net::{
        backend::handshake::switching,
        counts::live::ConnectionGuard,
        orders::book::Book,
        session::loss::loss,
        stream::{client_io::ClientIo, plain_or_tls::Stream},
        thread::alarm::Alarm,
        worker::{probe_place::ProbePlace, shared::Shared},
    },
    ws::{
        handshake::{self, RequestKind},
        termination::Loss,
    },
};

/// The subprotocol that tells a client that this end obeys its orders.
static SUBPROTOCOL: HeaderValue = HeaderValue::from_static("longwire-probe.1");

/// The most bytes of one read.
const READ: usize = 16 * 1024;

/// A probe that is let in.
#[derive(Debug)]
pub(super) struct AdmittedProbe {
    accept: HeaderValue,
    offers_orders: bool,
    permit: OwnedSemaphorePermit,
}

/// A probe whose 101 is still to be written. Dropping it ends the probe and writes its record.
#[derive(Debug)]
pub(in crate::net) struct ProbeOpening {
    /// The 101.
    answer: Vec<u8>,
    /// The longest time that the 101 may take to go out.
    patience: Duration,
    /// How long the client may take to close after us.
    close_timeout: Duration,
    orders: watch::Receiver<Arc<Book>>,
    /// The place of this probe among all that are told to leave, from 0 to 1.
    position: f64,
    /// The probe counts as a connection. Given back before the record is written.
    counted: (ConnectionGuard, OwnedSemaphorePermit),
    record: Record,
}

/// What happens on the way to the end of a probe.
#[derive(Debug)]
enum ProbeEvent {
    /// The client has sent these bytes; none = its FIN.
    Come(Vec<u8>),
    /// The client has taken so many bytes.
    Taken(usize),
    Due,
}

/// Lets a request in that asks for the place of probes, if it is a handshake that shows the token.
pub(super) fn admit(shared: &Shared, place: &ProbePlace, parts: &Parts) -> Result<AdmittedProbe, Error> {
    if !place.token.is_shown_in(&parts.headers) {
        return Err(Kind::ProbeToken.into());
    }
    if shared.orders.book().drains_all() {
        return Err(Kind::Draining.into());
    }
    let upgrade = match handshake::classify(&parts.method, parts.version, &parts.headers) {
        RequestKind::WebSocket(upgrade) => upgrade,
        RequestKind::Bad(bad) => return Err(bad.into()),
        RequestKind::Plain => return Err(Kind::NoUpgrade.into()),
    };
    let accept =
        HeaderValue::from_bytes(&upgrade.accept()).map_err(|error| Error::from_source(Kind::BadHandshake, error))?;
    let mut offered = headers::tokens(&parts.headers, &SEC_WEBSOCKET_PROTOCOL);
    let offers_orders = offered.any(|name| name == SUBPROTOCOL.as_bytes());
    let permit = shared.admission.probe_permit().ok_or(Kind::Probes)?;
    Ok(AdmittedProbe { accept, offers_orders, permit })
}

impl AdmittedProbe {
    /// Counts the probe, and makes its 101.
    pub(super) fn open(
        self,
        shared: &Shared,
        guard: ConnectionGuard,
        timeouts: Timeouts,
        record: Record,
    ) -> ProbeOpening {
        shared.metrics.probe_begun();
        let subprotocol = self.offers_orders.then_some((&SEC_WEBSOCKET_PROTOCOL, &SUBPROTOCOL));
        let fields = iter::once((&SEC_WEBSOCKET_ACCEPT, &self.accept)).chain(subprotocol);
        ProbeOpening {
            answer: switching(b"Switching Protocols", fields),
            patience: timeouts.request_header,
            close_timeout: timeouts.close,
            orders: shared.orders.subscribe(),
            position: shared.nonces.next() as f64 / u128::MAX as f64,
            counted: (guard, self.permit),
            record,
        }
    }
}

impl ProbeOpening {
    /// Writes the 101 and serves the probe to its end. `early`: what was read from the client behind its request. Dropping the
    /// future ends the probe and writes its record.
    pub(in crate::net) async fn serve(mut self, mut client: ClientIo, early: Bytes) {
        let sent = timeout(self.patience, async {
            client.write_all(&self.answer).await?;
            client.flush().await
        });
        // Otherwise the record says that the client has gone.
        let Ok(Ok(())) = sent.await else { return };
        self.record.begin_probe();
        let mut stream = client.into_stream();
        // A probe of the kernel's would keep a path alive that counts packets.
        if let Some(Err(error)) = stream.socket().map(|socket| socket.stop_keepalive()) {
            tracing::debug!(%error, "the keepalive of the kernel goes on beside a probe");
        }
        let mut session = ProbeSession::new(self.close_timeout, Instant::now());
        session.handle_input(&early, Instant::now());
        drop(early);
        drive(&mut session, &mut stream, &mut self.orders, self.position).await;
        part(stream, self.close_timeout).await;
        let (termination, sent) = session.outcome();
        if let Some(termination) = termination {
            self.record.end_probe(termination, sent);
        }
        drop(self.counted);
        // The record is dropped last, so that a reader of it finds everything given back.
        drop(self.record);
    }
}

/// Serves a probe until it is over, or until the process ends.
async fn drive(
    session: &mut ProbeSession,
    stream: &mut Stream,
    orders: &mut watch::Receiver<Arc<Book>>,
    position: f64,
) {
    let (mut alarm, mut written) = (Alarm::default(), 0);
    while !session.is_over() {
        session.handle_notice(orders.borrow_and_update().notice_to_all(position));
        alarm.set(Some(session.due()));
        let event = tokio::select! {
            event = poll_fn(|cx| poll_stream(cx, session, stream, &mut written)) => event,
            () = poll_fn(|cx| alarm.poll(cx)) => Ok(ProbeEvent::Due),
            heard = orders.changed() => match heard {
                Ok(()) => continue,
                Err(_) => return,
            },
        };
        let now = Instant::now();
        match event {
            Ok(ProbeEvent::Come(bytes)) if !bytes.is_empty() => session.handle_input(&bytes, now),
            Ok(ProbeEvent::Come(_)) => session.handle_lost(Loss::Fin, now),
            Err(error) => session.handle_lost(loss(&error), now),
            Ok(ProbeEvent::Taken(bytes)) => session.handle_taken(bytes, now),
            Ok(ProbeEvent::Due) => session.handle_due(now),
        }
        // A client that always has more to say must not keep the worker from its other tasks.
        yield_now().await;
    }
}

/// Writes what waits for the client, or else reads. `written`: bytes that were written and are not flushed yet.
fn poll_stream(
    cx: &mut Context<'_>,
    session: &mut ProbeSession,
    stream: &mut Stream,
    written: &mut usize,
) -> Poll<io::Result<ProbeEvent>> {
    if *written == 0 {
        let output = session.output();
        if !output.is_empty() {
            *written = ready!(Pin::new(&mut *stream).poll_write(cx, output))?;
            if *written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
        }
    }
    if *written > 0 {
        ready!(Pin::new(&mut *stream).poll_flush(cx))?;
        return Poll::Ready(Ok(ProbeEvent::Taken(mem::take(written))));
    }
    stream.poll_take(cx, READ).map_ok(ProbeEvent::Come)
}

/// Sends our FIN, then reads and discards until the client's, for `patience` at most. Closing over unread bytes would send a
/// reset, which destroys a Close that is on its way.
async fn part(mut stream: Stream, patience: Duration) {
    let parting = timeout(patience, async {
        stream.shutdown().await?;
        while !poll_fn(|cx| stream.poll_take(cx, READ)).await?.is_empty() {
            yield_now().await;
        }
        io::Result::Ok(())
    });
    if parting.await.is_err() {
        tracing::debug!("the client of a probe did not close in time");
    }
}
