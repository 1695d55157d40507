//! The answer to a client that comes back to its session: a 101 and a hello, and then its stream goes to the session.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use hyper::header::{HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_PROTOCOL, VIA};
use tokio::{io::AsyncWriteExt as _, sync::mpsc, time::timeout};

use super::answer_rules::answer_rules;
use crate::{
    access_log::Record,
    headers::{BoundRules, VIA_1_1},
    net::{
        backend::handshake::switching,
        counts::admission::SessionPermit,
        session::{
            held::Arrival,
            reclaim::{Comeback, FirstWords, Lodging},
        },
        stream::client_io::ClientIo,
        thread::door::answering,
        worker::{plan::Plan, shared::Shared},
    },
    routing::Route,
    sender::Client,
    ws::{handshake::ACCEPT_TEXT, resume_hello::Hello, resume_offer::SUBPROTOCOL, resume_token::ResumeId},
};

/// The subprotocol of a 101 that a hello follows.
pub(super) static RESUME: HeaderValue = HeaderValue::from_static(SUBPROTOCOL);

/// A session that has let go of its old client for that of this handshake. Dropping it leaves the session away.
#[derive(Debug)]
pub(super) struct Reclaimed {
    pub(super) lodging: Arc<Lodging>,
    pub(super) id: ResumeId,
    pub(super) attempt: u64,
    /// How many messages of the client have passed.
    pub(super) received: u64,
    pub(super) client: Client,
    /// What takes the place of the session's permit; `None` = the client has the address of before.
    pub(super) permit: Option<Option<Box<SessionPermit>>>,
    pub(super) expires: Option<Instant>,
    /// The `Sec-WebSocket-Accept` of the 101.
    pub(super) accept: [u8; ACCEPT_TEXT],
}

/// A client that is about to read its 101 and its hello. Dropping it leaves the session away.
#[derive(Debug)]
pub(in crate::net) struct Return {
    /// 101 and hello.
    words: FirstWords,
    /// The longest time that they may take to go out.
    patience: Duration,
    /// How long the client may take to close, if its session is over meanwhile.
    close_timeout: Duration,
    reclaimed: Reclaimed,
    /// The loop that has the session; `None` = it has stopped.
    sessions: Option<mpsc::Sender<Arrival>>,
    /// Says that the client has gone, unless the words go out.
    record: Record,
}

impl Return {
    /// For the handshake of a client whose session has let go of the old one.
    pub(super) fn new(
        shared: &Shared,
        plan: &Plan,
        reclaimed: Reclaimed,
        route: Option<&Route>,
        record: Record,
    ) -> Self {
        let lodging = &reclaimed.lodging;
        let (terms, protocol) = &lodging.promised;
        let token = shared.resume_key.token(reclaimed.id);
        let hello = Hello::on(&token, &lodging.secret.0, protocol.as_deref(), terms, Some(reclaimed.received));
        let of_route: Vec<_> = answer_rules(route, &record).into_iter().flat_map(BoundRules::fields).collect();
        let of_route = of_route.iter().map(|(name, value)| (*name, value));
        // An accept value is base64.
        let accept = HeaderValue::from_bytes(&reclaimed.accept).ok();
        let via = HeaderValue::from_static(VIA_1_1);
        let accept = accept.iter().map(|accept| (&SEC_WEBSOCKET_ACCEPT, accept));
        let via = plan.config.via_header.then_some((&VIA, &via));
        let fields = accept.chain([(&SEC_WEBSOCKET_PROTOCOL, &RESUME)]).chain(of_route).chain(via);
        let mut words = switching(b"Switching Protocols", fields);
        words.extend(hello.frame());
        let sessions = shared.loops.get(lodging.worker).cloned();
        let (patience, close_timeout) = (plan.config.timeouts.request_header, plan.config.timeouts.close);
        Self { words: FirstWords(words), patience, close_timeout, reclaimed, sessions, record }
    }

    /// Sends 101 and hello, and gives the stream to the session. `early`: what was read behind the request.
    pub(in crate::net) async fn send(self, mut client: ClientIo, early: Bytes) {
        let sent = timeout(self.patience, async {
            client.write_all(&self.words.0).await?;
            client.flush().await
        });
        if !matches!(sent.await, Ok(Ok(()))) {
            return;
        }
        self.record.leave_to_session();
        let Reclaimed { id, attempt, client: who, permit, expires, .. } = self.reclaimed;
        let mut stream = client.into_stream();
        if let Err(error) = stream.leave_thread() {
            return tracing::debug!(%error, "a client that came back cannot leave its thread");
        }
        let patience = self.close_timeout;
        let comeback = Comeback { id, attempt, stream, early, client: who, permit, expires, patience };
        if let Some(sessions) = self.sessions {
            // An error says that the worker has stopped, and that the session is gone.
            let _ = answering(sessions.send(Arrival::Comeback(Box::new(comeback)))).await;
        }
    }
}
