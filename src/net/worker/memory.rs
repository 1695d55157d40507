//! Gives memory back to the system when a burst of connections is over.
//!
//! A handshake takes about 30 KB for a moment, a session half a kilobyte for long. After a burst, the memory of the
//! handshakes lies free between the sessions, and the allocator keeps it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use crate::net::libc_calls::trim;

/// So many connections are a burst. For fewer, giving memory back is not worth its time, which grows with the number of sessions.
const BURST: usize = 256;
/// A burst is over when no connection has come for so long.
const QUIET: Duration = Duration::from_millis(250);
/// How often to look whether there was a burst.
const LOOK: Duration = Duration::from_millis(500);

/// Connections that were accepted since memory was last given back.
#[derive(Debug, Default)]
pub(in crate::net) struct AcceptCount(AtomicUsize);

impl AcceptCount {
    pub(in crate::net) fn count(&self) {
        self.0.fetch_add(1, Relaxed);
    }
}

/// Gives memory back after each burst, for as long as the process runs.
pub(in crate::net) async fn give_back(accepted: Arc<AcceptCount>) {
    let mut look = tokio::time::interval(LOOK);
    loop {
        look.tick().await;
        let mut seen = accepted.0.load(Relaxed);
        if seen < BURST {
            continue;
        }
        loop {
            #[expect(clippy::disallowed_methods, reason = "the end of a burst is a time without connections")]
            tokio::time::sleep(QUIET).await;
            let now = accepted.0.load(Relaxed);
            if now == seen {
                break;
            }
            seen = now;
        }
        accepted.0.fetch_sub(seen, Relaxed);
        trim();
    }
}
