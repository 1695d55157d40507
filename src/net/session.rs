//! A session from its 101 to its record: takes both streams over from hyper, relays, and gives everything back.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, time::timeout};

use super::{
    client_io::ClientIo,
    drain::Drain,
    relay::{Leg, Relay},
    stream::Stream,
};
use crate::{
    access_log::{Record, RecordKind},
    ws::{
        keepalive::Secret,
        session::{Common, Session, SessionSettings},
        termination::{Cause, Initiator, Termination},
    },
};

/// Both streams, as soon as hyper lets go of them.
#[derive(Debug)]
pub(super) struct Takeover {
    pub(super) client: OnUpgrade,
    pub(super) backend: OnUpgrade,
    /// How long that may take: the 101 has to go out to the client.
    pub(super) patience: Duration,
}

/// A session with all that it holds. Dropped in this order: streams, then permits, then the record, so that who reads the
/// record finds the permits given back.
struct Held<G> {
    relay: Option<Relay>,
    _guards: G,
    record: Record,
}

impl<G> Drop for Held<G> {
    fn drop(&mut self) {
        // What has not ended by itself is cut by the end of a drain.
        let cut = Termination {
            initiator: Initiator::Proxy,
            cause: Cause::Drain,
            code: None,
            reason: String::new(),
            clean: false,
        };
        if let Some(relay) = &self.relay {
            self.record.end_session(&relay.session, cut);
        }
        self.relay = None;
    }
}

/// Runs a session to its end; dropping the future cuts it. Either way its record is written.
///
/// No `async fn`: the future of one keeps room for its arguments beside what they were moved into, for the life of the
/// session.
pub(super) fn run<G>(
    takeover: Takeover,
    settings: SessionSettings,
    drain: Drain,
    guards: G,
    record: Record,
) -> impl Future<Output = ()> {
    let mut held = Box::new(Held { relay: None, _guards: guards, record });
    held.record.kind = RecordKind::Session;
    held.record.clean = Some(false);
    async move {
        // Boxed, because it is large and soon over.
        let legs = Box::pin(timeout(takeover.patience, legs(takeover))).await;
        let (Ok(Some((client, backend))), Some(secret), Some(nonce)) = (legs, random(), random()) else {
            held.record.cause = Cause::ClientLost.as_str();
            held.record.initiator = Some(Initiator::Client.as_str());
            return;
        };
        let now = Instant::now();
        let common = Common { settings, secret: Secret(secret), epoch: now };
        let session = Session::new(Arc::new(common), u64::from_ne_bytes(nonce), now);
        let position = session.spread();
        held.relay.insert(Relay::new(client, backend, session)).run(drain, position).await;
    }
}

/// `None` when a connection ended before its 101 was through.
async fn legs(takeover: Takeover) -> Option<(Leg, Leg)> {
    let client = takeover.client.await.ok()?.downcast::<TokioIo<ClientIo>>().ok()?;
    let backend: Upgraded = takeover.backend.await.ok()?;
    let backend = backend.downcast::<TokioIo<TcpStream>>().ok()?;
    Some((
        Leg::new(client.io.into_inner().into_stream(), client.read_buf),
        Leg::new(Stream::Plain(backend.io.into_inner()), backend.read_buf),
    ))
}

fn random<const N: usize>() -> Option<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).ok()?;
    Some(bytes)
}
