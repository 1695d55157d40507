//! The streams of clients and backends: sockets, their options, TLS, pipes, and streams without a socket.

pub(super) mod backend_io;
pub(super) mod calls;
pub(super) mod client_io;
pub(crate) mod lookup;
#[cfg(test)]
pub(super) mod memory;
pub(super) mod options;
pub(super) mod pipe;
pub mod plain_or_tls;
pub mod socketless;
pub(super) mod sockets;
pub(super) mod unix;
