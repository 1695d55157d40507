//! Gives memory back to the system when a burst of connections is over.
//!
//! A handshake takes some thirty kilobytes for a moment, a session half of one for long. After a burst what the handshakes
//! took lies free between the sessions, where the allocator keeps it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use super::{Shared, libc_calls::trim};

/// So many connections are a burst: to look for what is free takes time in proportion to the sessions.
const BURST: usize = 256;
/// It is over when none has come for so long.
const QUIET: Duration = Duration::from_millis(250);
/// How often to look whether there was one.
const LOOK: Duration = Duration::from_millis(500);

/// Connections accepted since memory was given back.
#[derive(Debug, Default)]
pub(super) struct Accepted(AtomicUsize);

impl Accepted {
    pub(super) fn count(&self) {
        self.0.fetch_add(1, Relaxed);
    }
}

/// Gives memory back after each burst, for as long as the process runs.
pub(super) async fn give_back(shared: Arc<Shared>) {
    let mut look = tokio::time::interval(LOOK);
    loop {
        look.tick().await;
        let mut seen = shared.accepted.0.load(Relaxed);
        if seen < BURST {
            continue;
        }
        loop {
            tokio::time::sleep(QUIET).await;
            let now = shared.accepted.0.load(Relaxed);
            if now == seen {
                break;
            }
            seen = now;
        }
        shared.accepted.0.fetch_sub(seen, Relaxed);
        trim();
    }
}
