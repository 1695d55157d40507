//! The only rooms that wait: sockets, TLS, HTTP, timers.
//!
//! [`server`] starts and drains; `listener` accepts; `connection` speaks HTTP with one client; `proxy` is the page
//! to read first: one request from its head to its answer or its session; `upstream` is one attempt at a backend;
//! [`relay`] is one session.

use std::sync::Arc;

use crate::{
    access_log::{AccessLog, RouteLog},
    balance::Upstream,
    config::{Limits, Tcp, Timeouts},
    routing::RouteTable,
};

mod body;
mod client_io;
mod connection;
mod drain;
mod handshake;
pub mod limits;
mod listener;
mod live;
mod nonces;
mod pipe;
mod proxy;
pub mod relay;
pub mod server;
mod session;
mod sessions;
mod socket;
mod sockets;
pub mod stream;
pub mod tls;
mod upstream;

/// What all workers share. It does not change while they run; what counts is atomic or a short lock of its own.
#[derive(Debug)]
struct Shared {
    routes: RouteTable,
    /// By the place of the route in `routes`.
    route_logs: Vec<Arc<RouteLog>>,
    /// By the index that routes carry.
    upstreams: Vec<Arc<Upstream>>,
    timeouts: Timeouts,
    limits: Limits,
    tcp: Tcp,
    trusted_proxies: Vec<ipnet::IpNet>,
    /// `None` = records are not written.
    access_log: Option<AccessLog>,
    live: Arc<live::Live>,
    nonces: nonces::Nonces,
    drain: drain::Drain,
}

/// One thread and runtime of the process.
#[derive(Debug)]
struct Worker {
    shared: Arc<Shared>,
    dialer: upstream::Dialer,
    /// Where its sessions go once both sides are through the handshake.
    sessions: tokio::sync::mpsc::Sender<Box<session::Held>>,
}
