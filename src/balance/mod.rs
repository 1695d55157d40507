//! Which backend is next, and which are out. PURE: the time is an argument; no clock, no socket, no tokio.
//!
//! # A pick
//!
//! [`Upstream::pick`] applies the [`Policy`] to the backends that may be picked, and returns a [`Pick`]. The pick
//! counts as in flight until it is dropped. [`Pick::succeeded`] or [`Pick::failed`] tells its outcome. A pick that is
//! dropped without an outcome (the client gave up) says nothing about its backend. A session keeps only the count of
//! its pick ([`Seat`]).
//!
//! Turns, counts and health exist once per process, whatever the number of workers. A pick takes one short lock; a
//! frame takes none. A [`Registry`] finds the backends again when the file changes, and with them their counts, their
//! health and the operator's [`Duty`]. It also changes the [`Member`]s of an upstream without a new file. Everything
//! that is known of a backend goes by its identity, never by its place in a list.
//!
//! # The order of the backends
//!
//! 1. The backend that the request asks for ([`Tried::wanting`]), `backup` or not, if it is up or due for a trial.
//! 2. Backends that are up or due for a trial.
//! 3. `backup` backends that are up or due for a trial.
//! 4. The backend that the request asks for, if it is out.
//! 5. Backends that are out: to try them is better than to refuse the client.
//! 6. `backup` backends that are out.
//!
//! Within each of these, the targets of a service (SRV) with the lowest priority number come first.
//!
//! A backend is never picked while it is `down`, off duty or full, nor twice for one request.
//!
//! # Health
//!
//! Passive health and the active checks ([`HealthCheck`]) both judge a backend, and a backend is up only if both say
//! so. [`Upstream::checked`] gets the results of the checks. If all backends are out, they are tried all the same. A
//! backend whose address was found ([`FoundAt`]) is out until its first check has passed. A backend that comes back begins
//! with a small share of its weight (`slow_start`), whether its requests, its checks or the operator brought it back.
//!
//! The number of handshakes in flight may be limited per backend: then [`Upstream::poll_handshake`] lets handshakes
//! wait in line.
//!
//! Passive health ([`Health`]) follows these rules:
//!
//! 1. `max_fails` failures within a sliding `fail_timeout` take a backend out for `fail_timeout`.
//! 2. After that time, one trial at a time may pass. Only a success brings the backend back.
//! 3. An outcome counts only in the stretch of being up or out in which its pick was made. So a request that began
//!    before the backend went out does not bring it back. A request that began before the backend came back does not
//!    take it out again.
//!
//! # Where this differs from nginx, and why
//!
//! - **A success is the backend's answer** (the 101, or the head of a plain answer). nginx counts the success when the
//!   request ends. For a WebSocket that is hours later. Until then a backend that came back gets one session per
//!   `fail_timeout`, and an old session that ends well clears a backend that fails now.
//! - **The window slides.** nginx adds up failures until a success follows a quiet `fail_timeout`. So rare failures on
//!   a busy backend add up to an outage. Here a failure is forgotten `fail_timeout` after it happened.
//! - **The trial is exact.** nginx lets one request per `fail_timeout` pass, whether or not the last one got an answer.
//!   Here the next trial starts as soon as the last one was given up, and never beside a running one.
//! - **A client is not refused while all backends are out.** nginx then answers 502 and tries no backend (unless there
//!   is only one). Here the backends that are out are tried, and one that answers is back at once.
//! - A failure does not lower a backend's weight in the turns. `backup` also works with `ip_hash`. Counts hold for the
//!   whole process without a `zone`.

mod backend;
mod candidate;
mod checks;
mod destination;
mod health;
mod key;
mod line;
mod members;
mod pick;
mod policy;
mod random;
mod registry;
mod rendezvous;
mod slow_start;
mod sticky;
#[cfg(test)]
mod tests;
mod turns;
mod upstream;

use std::{sync::Arc, time::Duration};

use crate::proxy_protocol::HeaderForm;

pub use self::{
    backend::{Backend, Duty},
    checks::{CheckKind, CheckResult, HealthCheck, OnDown},
    destination::{Destination, alternate},
    health::{Health, MAX_FAIL_TIMEOUT, MAX_FAILS, Transition},
    key::{HashOn, Key},
    line::PlaceInLine,
    members::{Changes, Member},
    pick::{Pick, Seat},
    random::random_at,
    registry::Registry,
    sticky::{StickyKey, StickyTags},
    upstream::{Tried, Unavailable, Upstream},
};

/// How an upstream chooses among its backends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Policy {
    /// Weighted rendezvous over a value of the request, or over the client's address if the request has no value.
    Hash {
        /// The place of the value in a request.
        on: HashOn,
        /// As in [`Self::IpHash`].
        prefix_v4: u8,
    },
    /// Weighted rendezvous over the client's address.
    IpHash {
        /// Leading bits of an IPv4 address that count (0 to 32; nginx groups by 24).
        prefix_v4: u8,
    },
    /// Fewest sessions and requests in flight per weight.
    LeastConn,
    /// Two backends are drawn by weight, and the one with fewer in flight per weight is taken.
    RandomTwo,
    /// Smooth weighted turns.
    RoundRobin,
}

impl Policy {
    /// The word in the file.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Hash { .. } => "hash",
            Self::IpHash { .. } => "ip_hash",
            Self::LeastConn => "least_conn",
            Self::RandomTwo => "random_two",
            Self::RoundRobin => "round_robin",
        }
    }
}

/// What the file says of one upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamSettings {
    /// Its name in the file, the metrics and the log.
    pub name: String,
    /// How it chooses a backend.
    pub policy: Policy,
    /// How many failures within `fail_timeout` take a backend out, at most [`MAX_FAILS`]; 0 = never.
    pub max_fails: u32,
    /// The sliding window of failures, and how long a backend stays out; at most [`MAX_FAIL_TIMEOUT`].
    pub fail_timeout: Duration,
    /// The most backends that are tried for one request; 0 = all.
    pub tries: u32,
    /// How long the weight of a backend grows after it came back, or after it was added beside others; 0s = not at all.
    /// The hash policies ignore this time: they keep a client at one backend.
    pub slow_start: Duration,
    /// The most WebSocket handshakes in flight that a backend takes; 0 = no limit.
    pub max_handshakes: usize,
    /// The most handshakes that wait for a place.
    pub handshake_queue: usize,
    /// Whether a connection with a backend may be used for the requests of several clients, one after another.
    pub reuses_connections: bool,
    /// The header with which a connection with a backend begins; `None` = it begins with a request.
    pub proxy_protocol: Option<HeaderForm>,
    /// How its backends are checked; `None` = only their requests tell whether they are up.
    pub health_check: Option<HealthCheck>,
    /// The backends in the order of the file.
    pub backends: Vec<BackendSettings>,
}

/// What the file says of one backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackendSettings {
    /// `host:port` or `unix:…`, as written: its identity for the hash, the counters and the log.
    pub address: String,
    /// The weight: its share of the requests, 1 or more.
    pub weight: u32,
    /// The most sessions and requests in flight that it takes; 0 = no limit.
    pub max_conns: usize,
    /// Picked only while no other backend is up or due for a trial. Among backends that are out, it is picked last.
    pub backup: bool,
    /// Never picked. The backend still keeps its place in the hash.
    pub down: bool,
    /// Picked only while no backend of a lower tier is up or due for a trial; 0 is the first tier. Each group of the order
    /// of the backends has its tiers.
    pub tier: u16,
    /// How the address was found; `None` = the file names it.
    pub found: Option<FoundAt>,
}

impl BackendSettings {
    /// `host:port` as the backend is called: the name that led to its address, or what the file has.
    #[must_use]
    pub fn authority(&self) -> &str {
        self.found_name().map_or(self.address.as_str(), AsRef::as_ref)
    }

    /// The name that led to the address, with the port.
    fn found_name(&self) -> Option<&Arc<str>> {
        self.found.as_ref()?.name.as_ref()
    }

    /// Whether a new backend gets requests only after its first check, if it is checked. An address that was found may not
    /// serve yet.
    const fn wants_first_check(&self) -> bool {
        self.found.is_some() && !self.down
    }
}

/// How the address of a backend was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundAt {
    /// The kind of place.
    pub by: FoundBy,
    /// What the file says of the place.
    pub from: Arc<str>,
    /// The name that led to the address, with the port; `None` = the address was found without a name.
    pub name: Option<Arc<str>>,
}

/// A kind of place where addresses are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FoundBy {
    /// A name with addresses.
    Dns,
    /// A file with a list of backends.
    File,
    /// A service (SRV).
    Srv,
}

impl FoundBy {
    /// The key of the file that names such a place.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Dns => "dns",
            Self::File => "file",
            Self::Srv => "srv",
        }
    }
}
