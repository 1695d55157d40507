//! Which backend is next, and which are out. PURE: the time is an argument; no clock, no socket, no tokio.
//!
//! [`Upstream::pick`] asks the [`Policy`] among the backends that may be picked and hands out a [`Pick`], which counts
//! as in flight until it is dropped. What becomes of it is told by [`Pick::succeeded`] or [`Pick::failed`]; a pick
//! dropped without either (the client gave up) says nothing about its backend. What a session keeps of it is the count
//! alone ([`Seat`]). Turns, counts and health are one per
//! process, whatever the number of workers: a pick takes one short lock, a frame none. A [`Registry`] finds the backends
//! again when the file changes, and with them their counts, their health and the operator's [`Duty`].
//!
//! The order: backends that are up or due for a trial, then the same among the `backup` ones, then those out (trying
//! them beats refusing the client), primaries first. Never one that is `down`, off duty, full, or tried for this request
//! already.
//!
//! Who is up, by two voices, and both must say yes: passive health, and the active checks ([`HealthCheck`]), whose results
//! [`Upstream::checked`] is told. Where they take everyone out, those out are tried all the same. A backend that comes back,
//! by either voice or by the operator's, begins with a small share of its weight (`slow_start`).
//!
//! Handshakes in flight may be limited per backend: [`Upstream::poll_handshake`] then lets them wait in line.
//!
//! Passive health ([`Health`]): `max_fails` failures within a sliding `fail_timeout` take a backend out for
//! `fail_timeout`; after that one trial at a time is let through, and only a success brings it back. An outcome counts
//! only in the stretch of being up or out in which its pick was made: one that began before the backend went out does
//! not clear it, one that began before it came back does not take it out again.
//!
//! Where this differs from nginx, and why:
//!
//! - **Success is the backend's answer** (the 101, or the head of a plain answer). nginx counts it when the request
//!   ends, which for a WebSocket is hours later: until then a backend that came back gets one session per
//!   `fail_timeout`, and an old session that ends well clears a backend that fails now.
//! - **The window slides.** nginx keeps adding up failures until a success follows a quiet `fail_timeout`, so rare
//!   failures on a busy backend add up to an outage. Here a failure is forgotten `fail_timeout` after it happened.
//! - **The trial is exact.** nginx lets one request per `fail_timeout` through, whether or not the last one came to an
//!   answer. Here the next trial starts as soon as the last one was given up, and never beside a running one.
//! - **Out is not refused.** With every backend out, nginx answers 502 without trying (unless there is only one). Here
//!   those out are tried, and one that answers is back at once.
//! - A failure does not lower a backend's weight in the turns; `backup` goes with `ip_hash` too; counts hold for the
//!   whole process without a `zone`.

mod backend;
mod checks;
mod destination;
mod health;
mod key;
mod line;
mod pick;
mod policy;
mod random;
mod registry;
mod rendezvous;
mod slow_start;
#[cfg(test)]
mod tests;
mod upstream;

use std::time::Duration;

pub use self::{
    backend::{Backend, Duty},
    checks::{Check, CheckKind, HealthCheck, OnDown},
    destination::{Destination, alternate},
    health::{Health, MAX_FAIL_TIMEOUT, MAX_FAILS, Transition},
    key::{HashOn, Key},
    line::Place,
    pick::{Pick, Seat},
    registry::Registry,
    upstream::{Tried, Unavailable, Upstream},
};

/// How an upstream chooses among its backends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Policy {
    /// Weighted rendezvous over a value of the request, or over the client's address where it has none.
    Hash {
        /// Where the value is.
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
    /// Of two drawn by weight, the one with fewer in flight per weight.
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
    /// How it chooses.
    pub policy: Policy,
    /// Failures within `fail_timeout` that take a backend out, at most [`MAX_FAILS`]; 0 = never.
    pub max_fails: u32,
    /// The sliding window of failures, and how long a backend stays out; at most [`MAX_FAIL_TIMEOUT`].
    pub fail_timeout: Duration,
    /// Backends tried for one request; 0 = all.
    pub tries: u32,
    /// How long a backend that came back, or is new beside others, takes to grow to its whole weight; 0s = not at all. The
    /// hashes know no such time: a client has one backend.
    pub slow_start: Duration,
    /// WebSocket handshakes in flight that a backend takes at most; 0 = no limit.
    pub max_handshakes: usize,
    /// Handshakes that wait for a place at most.
    pub handshake_queue: usize,
    /// Whether a connection with a backend may be used for the requests of several clients, one after another.
    pub reuses_connections: bool,
    /// How its backends are checked; `None` = only by their requests.
    pub health_check: Option<HealthCheck>,
    /// In the order of the file.
    pub backends: Vec<BackendSettings>,
}

/// What the file says of one backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackendSettings {
    /// `host:port`, as written: its identity for the hash, the counters and the log.
    pub address: String,
    /// Its share, 1 or more.
    pub weight: u32,
    /// Sessions and requests in flight it takes at most; 0 = no limit.
    pub max_conns: usize,
    /// Picked only when no other backend can be.
    pub backup: bool,
    /// Never picked; keeps its place in the hash.
    pub down: bool,
}
