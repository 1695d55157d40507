//! A refusal that a page in a browser can read: a 101 of our own, and a Close that gives the reason.

use std::{iter, time::Duration};

use hyper::{
    HeaderMap, Request, StatusCode,
    body::Incoming,
    header::{HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_PROTOCOL},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::OwnedSemaphorePermit,
    time::timeout,
};

use super::answer_rules::answer_rules;
use crate::{
    access_log::Record,
    config::Refuse,
    error::Error,
    headers::{self, BoundRules},
    net::{backend::handshake::switching, counts::live::ConnectionGuard, stream::client_io::ClientIo},
    routing::Route,
    ws::{
        close::{CloseCode, close_frame},
        handshake,
        resume_offer::{ResumeOffer, SUBPROTOCOL, is_resume_offer},
        termination::Initiator,
    },
};

/// How many bytes one read takes of what a refused client still sends. They are all discarded.
const DISCARDED: usize = 512;

/// What the answer to a handshake needs, taken from the request before it is served.
#[derive(Debug)]
pub(in crate::net) struct Acceptance {
    accept: HeaderValue,
    subprotocol: Option<HeaderValue>,
}

/// A refusal that is being sent: a 101 and a Close.
#[derive(Debug)]
pub(in crate::net) struct CloseRefusal {
    words: Vec<u8>,
    /// The reason in the Close.
    reason: &'static str,
    patience: Duration,
    /// The refused client counts as a connection.
    counted: (ConnectionGuard, OwnedSemaphorePermit),
    record: Record,
}

impl Acceptance {
    /// `None` if refusals are told by status, or if the request is no handshake.
    pub(super) fn prepare(refuse: Refuse, request: &Request<Incoming>) -> Option<Self> {
        if refuse == Refuse::Http {
            return None;
        }
        let headers = request.headers();
        let handshake::RequestKind::WebSocket(asked_for) =
            handshake::classify(request.method(), request.version(), headers)
        else {
            return None;
        };
        let accept = HeaderValue::from_bytes(&asked_for.accept()).ok()?;
        Some(Self { accept, subprotocol: offered_subprotocol(headers) })
    }

    /// Answers the handshake, with the fields that its route wants. `patience`: how long the client may take to close. The record gets the reason now, and what was sent once it is sent.
    pub(in crate::net) fn refuse(
        self,
        guard: ConnectionGuard,
        permit: OwnedSemaphorePermit,
        patience: Duration,
        error: &Error,
        route: Option<&Route>,
        mut record: Record,
    ) -> CloseRefusal {
        let reason = error.reason();
        record.fail(error);
        let subprotocol = self.subprotocol.as_ref().map(|subprotocol| (&SEC_WEBSOCKET_PROTOCOL, subprotocol));
        let of_route: Vec<_> = answer_rules(route, &record).into_iter().flat_map(BoundRules::fields).collect();
        let of_route = of_route.iter().map(|(name, value)| (*name, value));
        let fields = iter::once((&SEC_WEBSOCKET_ACCEPT, &self.accept)).chain(subprotocol).chain(of_route);
        let mut words = switching(b"Switching Protocols", fields);
        close_frame(CloseCode::TRY_AGAIN_LATER, reason).encode(None, &mut words);
        CloseRefusal { words, reason, patience, counted: (guard, permit), record }
    }
}

impl CloseRefusal {
    /// Sends the refusal, then reads and discards until the client's FIN, for `timeouts.close` at most. Closing over
    /// unread bytes would send a reset, which destroys the Close.
    pub(in crate::net) async fn send(mut self, mut client: ClientIo) {
        let said = timeout(self.patience, async {
            client.write_all(&self.words).await.ok()?;
            self.note_said();
            let mut stream = client.into_stream();
            stream.shutdown().await.ok()?;
            let mut discarded = [0; DISCARDED];
            while stream.read(&mut discarded).await.ok()? > 0 {}
            Some(())
        });
        if said.await.is_err() {
            tracing::debug!("a refused client did not close in time");
        }
        drop(self.counted);
        // The record is dropped last, so that a reader of it finds everything given back.
        drop(self.record);
    }

    /// Notes in the record the 101 and the Close that were sent.
    fn note_said(&mut self) {
        let record = &mut self.record;
        record.status = Some(StatusCode::SWITCHING_PROTOCOLS.as_u16());
        record.close_code = Some(CloseCode::TRY_AGAIN_LATER.0);
        record.close_reason = self.reason.to_owned();
        record.initiator = Some(Initiator::Proxy);
    }
}

/// A subprotocol that the client offers. If the 101 chooses none of those offered, Chrome fails the handshake and does not read the
/// Close. A client that may come back is told ours: with another one, it would take its session for lost. A token is not sent back.
fn offered_subprotocol(headers: &HeaderMap) -> Option<HeaderValue> {
    let offered = || headers::tokens(headers, &SEC_WEBSOCKET_PROTOCOL);
    let ours = offered().find(|item| *item == SUBPROTOCOL.as_bytes());
    let first = || offered().find(|item| !is_resume_offer(item));
    let resume = || ResumeOffer::read(headers).map(|_| SUBPROTOCOL.as_bytes());
    HeaderValue::from_bytes(ours.or_else(first).or_else(resume)?).ok()
}
