//! The way of a client to its first request: listener, TLS, HTTP.

pub mod bind;
pub mod inherited;
pub(super) mod listener;
pub(super) mod parcel;
mod proxy_header;
pub(super) mod serve;
pub(super) mod socket_file;
pub mod tickets;
pub mod tls;
pub(super) mod tls_failure;
