//! The only rooms that wait: sockets, TLS, HTTP, timers.
//!
//! [`server`] starts and drains; `listener` accepts; `connection` speaks HTTP with one client; `proxy` is the page
//! to read first: one request from its head to its answer or its session; `upstream` is one attempt at a backend;
//! [`relay`] is one session.

use std::{sync::Arc, time::Instant};

use crate::{
    access_log::{AccessLog, RouteLog},
    balance::Upstream,
    config::{Limits, Tcp, Timeouts},
    routing::RouteTable,
    ws::{
        keepalive::Secret,
        session::{Common, SessionSettings},
    },
};

mod admission;
mod body;
mod client_io;
mod connection;
mod drain;
mod farewell;
mod handshake;
pub mod limits;
mod listener;
mod live;
mod memory;
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
mod unsent;
mod upstream;

/// What all workers share. It does not change while they run; what counts is atomic or a short lock of its own.
#[derive(Debug)]
struct Shared {
    routes: RouteTable,
    /// By the place of the route in `routes`.
    terms: Vec<Terms>,
    /// By the index that routes carry.
    upstreams: Vec<Arc<Upstream>>,
    timeouts: Timeouts,
    limits: Limits,
    tcp: Tcp,
    trusted_proxies: Vec<ipnet::IpNet>,
    /// `None` = records are not written.
    access_log: Option<AccessLog>,
    live: Arc<live::Live>,
    admission: Arc<admission::Admission>,
    nonces: nonces::Nonces,
    accepted: memory::Accepted,
    drain: drain::Drain,
}

/// What the sessions of a route share.
#[derive(Debug)]
struct Terms {
    log: Arc<RouteLog>,
    /// For those that agreed on no extension.
    plain: Arc<Common>,
    /// For those that agreed on one.
    extended: Arc<Common>,
}

impl Terms {
    fn new(log: Arc<RouteLog>, settings: SessionSettings, secret: Secret) -> Self {
        let epoch = Instant::now();
        let common =
            |extensions| Arc::new(Common { settings: SessionSettings { extensions, ..settings }, secret, epoch });
        Self { log, plain: common(false), extended: common(true) }
    }
}

/// One thread and runtime of the process.
#[derive(Debug)]
struct Worker {
    shared: Arc<Shared>,
    dialer: upstream::Dialer,
    /// Where its sessions go once both sides are through the handshake.
    sessions: tokio::sync::mpsc::Sender<Box<session::Held>>,
}
