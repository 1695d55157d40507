//! What every test stands on: a proxy, its backends and its clients in one process, on free ports of loopback.
//!
//! A test reads like this: start backends, put a [`Proxy`] before them, talk from a client's [`Wire`] and from the
//! backend's, `proxy.stop().await`. Nothing sleeps: a test waits for bytes, for a record or for the end of a
//! stream, never longer than [`PATIENCE`]. That nothing was sent is proven by a marker sent after it that arrives
//! first.

mod backend;
mod client;
#[cfg(feature = "otlp")]
pub mod collector;
pub mod frames;
mod process;
mod proxy;
mod strict;
mod wire;

use std::time::Duration;

pub use backend::{Backend, accepting};
pub use client::{HANDSHAKE_HEADERS, handshake, tls_connect, trusting, visit};
pub use process::Process;
pub use proxy::{Proxy, Setup};
pub use strict::strict_framing;
pub use wire::{Head, Response, Wire};

/// The longest any single wait of a test may take: far more than a healthy run needs, so that only a broken one
/// meets it.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Awaits `wait`, and fails the test naming `what` once [`PATIENCE`] is over.
pub async fn within<T>(what: &str, wait: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, wait).await {
        Ok(value) => value,
        Err(_) => panic!("waited {PATIENCE:?} for {what}"),
    }
}
