//! The last words for a backend that a session has let go of.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::timeout,
};

use crate::net::stream::plain_or_tls::Stream;

/// How many bytes one read takes of what such a backend still sends. They are all discarded.
const DISCARDED: usize = 512;

/// A stream that no session has any more, and the last bytes for its far end.
#[derive(Debug)]
pub(super) struct Dismissal {
    stream: Stream,
    words: Vec<u8>,
    patience: Duration,
}

impl Dismissal {
    /// From now on, the stream is a task's. `patience`: how long the backend may take to close.
    pub(super) fn new(stream: Stream, words: Vec<u8>, patience: Duration) -> Self {
        stream.give_to_task();
        Self { stream, words, patience }
    }

    /// Writes the words and our FIN, then reads and discards until the backend's FIN. Closing over unread bytes would send a reset,
    /// which destroys the words.
    pub(super) async fn send(mut self) {
        let said = timeout(self.patience, async {
            self.stream.write_all(&self.words).await?;
            self.stream.shutdown().await?;
            let mut discarded = [0; DISCARDED];
            while self.stream.read(&mut discarded).await? > 0 {}
            std::io::Result::Ok(())
        });
        if !matches!(said.await, Ok(Ok(()))) {
            tracing::debug!("an old backend was not told, or did not close in time");
        }
    }
}
