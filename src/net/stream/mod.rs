//! The streams of clients and backends: sockets, their options, TLS, pipes.

pub(super) mod backend_io;
pub(super) mod client_io;
pub(super) mod options;
pub(super) mod pipe;
pub mod plain_or_tls;
pub(super) mod sockets;
