//! The way of a client to its first request: listener, TLS, HTTP.

pub(super) mod listener;
pub(super) mod serve;
pub mod tickets;
pub mod tls;
