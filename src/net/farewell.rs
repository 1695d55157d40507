//! A refusal that a page in a browser can read: a 101 of our own, and a Close that says why.

use hyper::{
    HeaderMap, Request, Response, StatusCode,
    body::Incoming,
    header::{CONNECTION, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, UPGRADE},
    upgrade::OnUpgrade,
};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::OwnedSemaphorePermit,
    time::timeout,
};

use super::{body::AnswerBody, client_io::ClientIo, proxy::Connection};
use crate::{
    access_log::Record,
    config::Refuse,
    error::Error,
    headers,
    ws::{
        close::{CloseCode, close_frame},
        handshake,
        termination::Initiator,
    },
};

/// What is read at once of what a refused client still sends; none of it means anything.
const DISCARDED: usize = 512;

/// What the answer to a handshake needs, kept from it before it is served.
#[derive(Debug)]
pub(super) struct Farewell {
    client: OnUpgrade,
    accept: HeaderValue,
    subprotocol: Option<HeaderValue>,
}

impl Farewell {
    /// `None` where refusals are told by status, and for requests that are no handshake.
    pub(super) fn prepare(refuse: Refuse, request: &Request<Incoming>) -> Option<Self> {
        if refuse == Refuse::Http {
            return None;
        }
        let headers = request.headers();
        let handshake::Kind::WebSocket(_) = handshake::classify(request.method(), request.version(), headers) else {
            return None;
        };
        let client = request.extensions().get::<OnUpgrade>()?.clone();
        let key = headers.get(SEC_WEBSOCKET_KEY)?.to_str().ok()?;
        let accept = HeaderValue::try_from(handshake::accept_for(key)).ok()?;
        Some(Self { client, accept, subprotocol: first_subprotocol(headers) })
    }

    /// Answers the handshake; the Close follows, in a task that counts as a connection and lasts `timeouts.close` at most.
    /// Its record says 101, which was sent, and the cause and code of the refusal.
    pub(super) fn bid(
        self,
        connection: &Connection,
        permit: OwnedSemaphorePermit,
        error: &Error,
        mut record: Record,
    ) -> Response<AnswerBody> {
        let Self { client, accept, subprotocol } = self;
        let reason = error.reason();
        record.status = Some(StatusCode::SWITCHING_PROTOCOLS.as_u16());
        record.fail(error);
        record.close_code = Some(CloseCode::TRY_AGAIN_LATER.0);
        record.close_reason = reason.to_owned();
        record.initiator = Some(Initiator::Proxy.as_str());
        let counted = connection.guard.again();
        let deadline = connection.worker.shared.plan().config.timeouts.close;
        tokio::spawn(async move {
            if timeout(deadline, close(client, reason)).await.is_err() {
                tracing::debug!("a refused client did not close in time");
            }
            drop((counted, permit));
            // Last, so that who reads it finds everything given back.
            drop(record);
        });
        let mut response = Response::new(AnswerBody::ours(String::new(), connection.debt.clone()));
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
        if let Some(subprotocol) = subprotocol {
            headers.insert(SEC_WEBSOCKET_PROTOCOL, subprotocol);
        }
        response
    }
}

/// The one to agree on: Chrome fails a handshake of whose subprotocols none is chosen, and reads no Close then.
fn first_subprotocol(headers: &HeaderMap) -> Option<HeaderValue> {
    let first = headers::tokens(headers, &SEC_WEBSOCKET_PROTOCOL).next()?;
    HeaderValue::from_bytes(first).ok()
}

/// Says why, and reads and discards until the client's FIN: closing over unread bytes would send a reset, which destroys the
/// Close.
async fn close(client: OnUpgrade, reason: &str) -> Option<()> {
    let upgraded = client.await.ok()?.downcast::<TokioIo<ClientIo>>().ok()?;
    let mut stream = upgraded.io.into_inner().into_stream();
    let mut frame = Vec::new();
    close_frame(CloseCode::TRY_AGAIN_LATER, reason).encode(None, &mut frame);
    stream.write_all(&frame).await.ok()?;
    stream.shutdown().await.ok()?;
    let mut discarded = [0; DISCARDED];
    while stream.read(&mut discarded).await.ok()? > 0 {}
    Some(())
}
