//! The only rooms that wait: sockets, TLS, HTTP, timers.
//!
//! [`server`] starts and drains; `listener` accepts; `connection` speaks HTTP with one client. `proxy` is the file to
//! read first: one request from its head to its answer or its session. `upstream` is one attempt at a backend;
//! [`relay`] is one session.

use std::sync::{Arc, Mutex, RwLock};

pub mod admin;
mod attempts;
pub(crate) mod backend;
mod connection;
pub mod control;
mod counts;
mod expiry;
mod farewell;
pub mod handover;
mod libc_calls;
pub mod limits;
mod listener;
mod memory;
mod nonces;
pub mod orders;
mod plan;
mod proxy;
pub mod server;
pub mod session;
mod socket_file;
pub mod stream;
pub mod thread;
pub mod tickets;
pub mod tls;

/// What all workers share for as long as the process runs. Counts are atomic, or have a short lock of their own.
#[derive(Debug)]
struct Shared {
    /// Behind a lock, because a reload replaces the plan. The lock is held for the copy of a pointer.
    plan: RwLock<Arc<plan::Plan>>,
    live: Arc<counts::live::Live>,
    admission: Arc<counts::admission::Admission>,
    nonces: nonces::Nonces,
    accepted: memory::Accepted,
    /// Behind a lock, which is taken only for requests with forwarding headers that are not believed.
    strangers: Mutex<crate::headers::Strangers>,
    orders: orders::book::Orders,
    own: Arc<backend::own::Own>,
    metrics: Arc<crate::metrics::Metrics>,
    traces: crate::traces::Traces,
    vitals: thread::vital::Vitals,
}

/// One thread and runtime of the process.
#[derive(Debug)]
struct Worker {
    /// The worker's number. Worker 0 accepts.
    index: usize,
    shared: Arc<Shared>,
    dialer: backend::dialer::Dialer,
    /// Takes new sessions to this worker's loop, and questions about its sessions.
    sessions: tokio::sync::mpsc::Sender<session::held::Arrival>,
}
