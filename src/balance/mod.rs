//! Which backend is next, and which are out. PURE: the time is an argument; no clock, no socket, no tokio.

use std::time::Duration;

/// How an upstream chooses among its backends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// Weighted rendezvous over the client's address.
    IpHash {
        /// Leading bits of an IPv4 address that count (0 to 32; nginx groups by 24).
        prefix_v4: u8,
    },
    /// Fewest sessions and requests in flight per weight.
    LeastConn,
    /// Smooth weighted turns.
    RoundRobin,
}

/// What the file says of one upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamSettings {
    /// Its name in the file, the metrics and the log.
    pub name: String,
    /// How it chooses.
    pub policy: Policy,
    /// Failures within `fail_timeout` that take a backend out; 0 = never.
    pub max_fails: u32,
    /// The sliding window of failures, and how long a backend stays out.
    pub fail_timeout: Duration,
    /// Backends tried for one request; 0 = all.
    pub tries: u32,
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
