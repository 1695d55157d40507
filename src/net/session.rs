//! A session from its 101 to its record: takes both streams over from hyper, relays, and gives everything back.

use std::time::{Duration, Instant};

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
    access_log::SessionRecord,
    ws::{
        keepalive::Secret,
        session::{Session, SessionSettings},
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
    guards: Option<G>,
    /// `None` once it is on its way to the log.
    record: Option<SessionRecord>,
}

impl<G> Drop for Held<G> {
    fn drop(&mut self) {
        // What has not ended by itself is cut by the end of a drain.
        let cut = end(Initiator::Proxy, Cause::Drain);
        let record = match &self.relay {
            Some(relay) => self.record.take().map(|record| record.end(&relay.session, cut)),
            // Cut before it began: its record knows what to say.
            None => None,
        };
        self.relay = None;
        self.guards = None;
        drop(record);
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
    record: SessionRecord,
) -> impl Future<Output = ()> {
    let mut held = Box::new(Held { relay: None, guards: Some(guards), record: Some(record) });
    async move {
        // Boxed, because it is large and soon over.
        let legs = Box::pin(timeout(takeover.patience, legs(takeover))).await;
        let (Ok(Some((client, backend))), Some(secret), Some(position)) = (legs, random(), random()) else {
            let record = held.record.take().map(|record| record.fail(end(Initiator::Client, Cause::ClientLost)));
            drop(held);
            drop(record);
            return;
        };
        let position = u64::from_ne_bytes(position) as f64 / u64::MAX as f64;
        let session = Session::new(&settings, Secret(secret), Instant::now());
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

/// An end without a Close.
const fn end(initiator: Initiator, cause: Cause) -> Termination {
    Termination { initiator, cause, code: None, reason: String::new(), clean: false }
}

fn random<const N: usize>() -> Option<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{balance::InFlight, net::live::SessionGuard};

    #[test]
    fn a_session_holds_a_hundred_bytes_at_most_beside_its_streams() {
        let held = size_of::<Held<(InFlight, SessionGuard)>>();
        let beside = held - size_of::<Option<Relay>>();
        assert!(beside <= 100, "{beside} of {held}");
    }
}
