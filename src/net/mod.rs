//! The only rooms that wait.

pub mod server;
pub mod tls;
