//! The last words for an end that no session has: a backend that was let go of or came too late, or a client that came back too late.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::timeout,
};

use crate::{
    net::stream::plain_or_tls::Stream,
    ws::{
        close::{CloseCode, close_frame},
        frame::ControlFrame,
    },
};

/// How many bytes one read takes of what such an end still sends. They are all discarded.
const DISCARDED: usize = 512;
/// The reason for a backend whose 101 no session wants.
const UNWANTED: &str = "not needed";

/// A stream that no session has any more, and the last bytes for its far end.
#[derive(Debug)]
pub(in crate::net) struct Dismissal {
    stream: Stream,
    words: Vec<u8>,
    patience: Duration,
}

impl Dismissal {
    /// From now on, the stream is a task's. `patience`: how long the far end may take to close.
    pub(super) fn new(stream: Stream, words: Vec<u8>, patience: Duration) -> Self {
        stream.give_to_task();
        Self { stream, words, patience }
    }

    /// For a client that comes back to a session which is over.
    pub(super) fn of_late_client(stream: Stream, close: &ControlFrame, patience: Duration) -> Self {
        let mut words = Vec::new();
        close.encode(None, &mut words);
        Self::new(stream, words, patience)
    }

    /// For a backend that has taken a session which is over, or on other terms than those of the session.
    pub(in crate::net) fn of_unwanted_backend(stream: Stream, patience: Duration) -> Self {
        let (mut mask, mut words) = ([0; 4], Vec::new());
        // A mask hides nothing of words that everybody knows: without random bytes, any will do.
        let _ = getrandom::fill(&mut mask);
        close_frame(CloseCode::GOING_AWAY, UNWANTED).encode(Some(mask), &mut words);
        Self::new(stream, words, patience)
    }

    /// Writes the words and our FIN, then reads and discards until the far end's FIN. Closing over unread bytes would send a reset,
    /// which destroys the words.
    pub(in crate::net) async fn send(mut self) {
        let said = timeout(self.patience, async {
            self.stream.write_all(&self.words).await?;
            self.stream.shutdown().await?;
            let mut discarded = [0; DISCARDED];
            while self.stream.read(&mut discarded).await? > 0 {}
            std::io::Result::Ok(())
        });
        if !matches!(said.await, Ok(Ok(()))) {
            tracing::debug!("an end that no session has was not told, or did not close in time");
        }
    }
}
