//! The way to a backend: connections, the heads that longwire writes and reads, the pool, and the checks.

pub(super) mod chance;
pub(super) mod checker;
pub(super) mod connect;
pub(super) mod dialer;
pub(super) mod exchange;
pub(super) mod handshake;
pub(super) mod own;
pub(super) mod pool;
pub(super) mod prober;
pub(super) mod request_body;
pub(super) mod request_head;
mod resumption;
pub(super) mod source;
pub(super) mod tls;
mod unix;
pub(super) mod way;
