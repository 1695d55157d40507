//! Connections with backends that wait for another request: those that anybody's request may use ([`Pool`]), and those
//! that belong to one client ([`Bonds`]). What they promise is in `docs/backend-connections.md`.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use hyper::client::conn::http1::SendRequest;
use tokio::time::timeout;

use super::body::RequestBody;
use crate::balance::{Backend, Destination};

/// Idle connections that a worker keeps to one backend (nginx: `keepalive` of an upstream).
const IDLE_PER_BACKEND: usize = 32;
/// How long one may be idle (nginx: `keepalive_timeout` of an upstream).
pub(super) const IDLE_TIME: Duration = Duration::from_secs(60);

/// A connection with a backend on which HTTP is spoken.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) sender: SendRequest<RequestBody>,
    /// The backend's address at the other end.
    pub(super) peer: SocketAddr,
    /// The backend may take its requests for one client's: nobody else's may go over it any more.
    pub(super) is_private: bool,
}

/// The connections of a worker that anybody's request may use.
#[derive(Debug, Default)]
pub(super) struct Pool {
    /// By the backend's address. Behind a lock because tasks must be `Send`; only this worker's tasks take it, and never
    /// across an await.
    sites: Mutex<HashMap<String, Site>>,
}

/// What is known of a backend.
#[derive(Debug, Default)]
struct Site {
    /// Of its name, as last looked up.
    addresses: Vec<SocketAddr>,
    idle: Vec<Idle>,
}

#[derive(Debug)]
struct Idle {
    link: Link,
    since: Instant,
}

/// The connections that belong to one client's connection: at most one for each upstream. They are closed with it.
#[derive(Debug, Default)]
pub(super) struct Bonds(Mutex<Vec<Bond>>);

/// A connection that belongs to one client's connection.
#[derive(Debug)]
pub(super) struct Bond {
    /// The upstream's name.
    pub(super) upstream: String,
    pub(super) backend: Arc<Backend>,
    pub(super) link: Link,
}

impl Link {
    pub(super) const fn new(sender: SendRequest<RequestBody>, peer: SocketAddr) -> Self {
        Self { sender, peer, is_private: false }
    }

    /// Waits for the end of the request before; `None` when the connection is closed, or still busy after `patience`.
    pub(super) async fn ready(mut self, patience: Duration) -> Option<Self> {
        timeout(patience, self.sender.ready()).await.ok()?.ok()?;
        Some(self)
    }
}

impl Pool {
    /// A connection that can take a request at once. One that is still busy with the rest of its last request stays.
    pub(super) fn take(&self, destination: Destination<'_>) -> Option<Link> {
        let mut sites = lock(&self.sites);
        let Site { addresses, idle } = sites.get_mut(destination.address())?;
        idle.retain(|idle| !idle.link.sender.is_closed());
        // By a hash a client stays at one address of a name, over whichever connection.
        let own = match destination.is_hashed() && addresses.len() > 1 {
            true => destination.arrange(addresses).first().copied(),
            false => None,
        };
        let is_there = |idle: &Idle| own.is_none_or(|own| own == idle.link.peer);
        let place = idle.iter().rposition(|idle| is_there(idle) && idle.link.sender.is_ready())?;
        Some(idle.remove(place).link)
    }

    /// Learns the addresses that the backend's name has now.
    pub(super) fn learn(&self, backend: &str, addresses: Vec<SocketAddr>) {
        if !addresses.is_empty() {
            lock(&self.sites).entry(backend.into()).or_default().addresses = addresses;
        }
    }

    /// Keeps a connection whose answer has been read to its end, for another request.
    pub(super) fn keep(&self, address: &str, link: Link) {
        debug_assert!(!link.is_private, "a client's own connection is never shared");
        let mut sites = lock(&self.sites);
        let Site { idle, .. } = sites.entry(address.into()).or_default();
        if idle.len() < IDLE_PER_BACKEND && !link.is_private {
            idle.push(Idle { link, since: Instant::now() });
        }
    }

    /// Lets go of connections that have been idle for too long, or were closed by their backend.
    pub(super) fn sweep(&self, now: Instant) {
        lock(&self.sites).retain(|_, Site { idle, .. }| {
            idle.retain(|idle| now.duration_since(idle.since) < IDLE_TIME && !idle.link.sender.is_closed());
            !idle.is_empty()
        });
    }
}

impl Bonds {
    /// The connection with a backend of this upstream, for the next request of the client.
    pub(super) fn take(&self, upstream: &str) -> Option<Bond> {
        let mut bonds = lock(&self.0);
        let place = bonds.iter().position(|bond| bond.upstream == upstream)?;
        Some(bonds.swap_remove(place))
    }

    /// Keeps a connection whose answer has been read to its end, in the place of an earlier one.
    pub(super) fn keep(&self, bond: Bond) {
        let mut bonds = lock(&self.0);
        bonds.retain(|earlier| earlier.upstream != bond.upstream);
        bonds.push(bond);
    }
}

/// A panic while it was held leaves a list that is whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
