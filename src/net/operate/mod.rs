//! What an operator can change and see while the proxy runs.

pub mod admin;
#[cfg(feature = "otlp")]
pub(super) mod collector;
pub mod control;
pub mod handover;
pub mod limits;
pub(super) mod socket_file;
