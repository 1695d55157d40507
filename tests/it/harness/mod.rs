//! The base of every test: a proxy, its backends and its clients in one process, on free ports of loopback.
//!
//! A test starts backends, puts a [`Proxy`] before them, sends and reads on the [`Wire`] of a client and that of a backend,
//! and calls `proxy.stop().await`.
//!
//! No test sleeps, and each passes on a machine that stands still for two seconds. A test waits for bytes, for a record or
//! for the end of a stream, and never longer than [`PATIENCE`]. To prove that nothing was sent, it lets a marker be sent
//! afterwards, which must arrive first.

mod authority;
mod backend;
mod client;
#[cfg(feature = "otlp")]
pub mod collector;
pub mod dns;
pub mod frames;
pub mod library;
mod process;
mod proxy;
pub mod secure;
mod strict;
pub mod valkey;
mod wire;

use std::time::Duration;

pub use authority::{Authority, Shown};
pub use backend::{Backend, accepting};
pub use client::{HANDSHAKE_HEADERS, handshake, tls_connect, trusting, visit, visit_at};
pub use process::Process;
pub use proxy::{Proxy, Setup};
pub use strict::strict_framing;
pub use wire::{Head, Response, Wire};

/// The longest that one wait of a test may take. A healthy run needs far less, so only a broken one reaches it.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Waits for `wait`. After [`PATIENCE`], the test fails and names `what`.
pub async fn within<T>(what: &str, wait: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, wait).await {
        Ok(value) => value,
        Err(_) => panic!("waited {PATIENCE:?} for {what}"),
    }
}
