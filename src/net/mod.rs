//! The only rooms that wait: sockets, TLS, HTTP, timers.
//!
//! [`server`] starts and drains. The wings stand in the order of a session's life: [`front`] leads a client to its first
//! request, `request` answers the request or opens its session, `backend` is the way to a backend, and [`session`] relays.
//! `request::proxy` is the file to read first.

mod backend;
mod counts;
pub mod front;
pub(crate) mod libc_calls;
pub mod operate;
pub mod orders;
mod request;
pub mod server;
pub mod session;
pub mod stream;
pub mod thread;
mod worker;
