//! The only rooms that wait: sockets, TLS, HTTP, timers.
//!
//! [`server`] starts and drains; `listener` accepts; `connection` speaks HTTP with one client. `proxy` is the file to
//! read first: one request from its head to its answer or its session. `upstream` is one attempt at a backend;
//! [`relay`] is one session.

pub mod admin;
pub(crate) mod backend;
pub mod control;
mod counts;
mod expiry;
pub mod front;
pub mod handover;
mod libc_calls;
pub mod limits;
pub mod orders;
mod request;
pub mod server;
pub mod session;
mod socket_file;
pub mod stream;
pub mod thread;
mod worker;
