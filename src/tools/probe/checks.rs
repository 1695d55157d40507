//! What is looked at once, before the silences, which large messages would disturb: how fast a path answers, which messages pass, and whether a Close keeps its code.

use std::sync::Arc;

use hdrhistogram::Histogram;
use tokio::time::{Instant, timeout, timeout_at};

use super::{
    crew::ProbeCrew,
    news::{Checks, ProbeNews},
    socket::{CLOSE_WITHIN, Heard, ProbeSocket},
};
use crate::ws::close::CloseCode;

/// How many questions measure the delay.
const QUESTIONS: u32 = 30;
/// The sizes of messages to try, in bytes: each is this many times the one before.
const GROWTH: usize = 2;
const SMALLEST_MESSAGE: usize = 1024;
/// As many bytes as the largest message that is tried has.
const LARGEST_MESSAGE: usize = 16 * 1024 * 1024;
/// A code that only we use, and a reason.
const CODE: CloseCode = CloseCode(4242);
const REASON: &str = "longwire probe";

/// Which of them to make.
#[derive(Debug, Clone, Copy)]
pub(super) struct ChecksWanted {
    /// Messages and codes too, and not only the delay.
    pub(super) all: bool,
    pub(super) echoes: bool,
}

impl ProbeCrew {
    /// Makes the checks, one after another.
    pub(super) async fn check(self: Arc<Self>, wanted: ChecksWanted) {
        let checks = async {
            let mut checks =
                Checks { latency_ms: self.with_socket(Self::latency).await.flatten(), ..Checks::default() };
            if wanted.all {
                checks.close_code = self.with_socket(Self::close_code).await.flatten();
            }
            if wanted.all && wanted.echoes {
                let found = self.with_socket(Self::largest_message).await;
                (checks.message_bytes, checks.was_cut) = found.map_or((None, false), |(bytes, cut)| (Some(bytes), cut));
            }
            checks
        };
        tokio::select! {
            checks = checks => self.tell(ProbeNews::Checks(checks)).await,
            () = self.stopped() => {}
        }
    }

    async fn with_socket<T>(&self, check: impl AsyncFnOnce(&Self, &mut ProbeSocket) -> T) -> Option<T> {
        let (mut socket, place) = self.open(Instant::now() + self.wait).await?;
        let found = check(self, &mut socket).await;
        socket.close(CLOSE_WITHIN).await;
        drop(place);
        Some(found)
    }

    async fn latency(&self, socket: &mut ProbeSocket) -> Option<(f64, f64)> {
        let mut histogram = Histogram::<u64>::new(3).ok()?;
        for _ in 0..QUESTIONS {
            let Ok(took) = socket.ask(self.ask, self.wait).await else { break };
            histogram.saturating_record(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
        }
        let quantile = |share| histogram.value_at_quantile(share) as f64 / 1e3;
        (!histogram.is_empty()).then(|| (quantile(0.5), quantile(0.99)))
    }

    /// Of an echo, the code of its answer; of an end that obeys, the code and the reason that it was told to send.
    async fn close_code(&self, socket: &mut ProbeSocket) -> Option<bool> {
        if self.obeys {
            socket.message(false, format!("close {} {REASON}", CODE.0).as_bytes());
        } else {
            socket.send_close(CODE, REASON);
        }
        let end = async {
            loop {
                if let Heard::Ended(_, close) = socket.hear().await {
                    return close;
                }
            }
        };
        let close = timeout(self.wait, end).await.ok().flatten()?;
        match close.code {
            Some(CODE) => Some(!self.obeys || close.reason == REASON),
            // Some ends answer so whatever they got.
            None | Some(CloseCode(1000)) if !self.obeys => None,
            _ => Some(false),
        }
    }

    /// Also returns whether the time was over before a message did not come back.
    async fn largest_message(&self, socket: &mut ProbeSocket) -> (usize, bool) {
        let (end, mut size, mut largest) = (Instant::now() + self.patience, SMALLEST_MESSAGE, 0);
        while size <= LARGEST_MESSAGE && self.passes(socket, size, end).await {
            largest = size;
            size *= GROWTH;
        }
        (largest, size <= LARGEST_MESSAGE && Instant::now() >= end)
    }

    /// Whether a message of this size comes back in time.
    async fn passes(&self, socket: &mut ProbeSocket, size: usize, end: Instant) -> bool {
        socket.message(self.obeys, &vec![b'x'; size]);
        let back = async {
            loop {
                match socket.hear().await {
                    Heard::Message { length, .. } if length == size as u64 => return true,
                    Heard::Ended(..) => return false,
                    // The other end sent it by itself.
                    Heard::Message { .. } | Heard::Pong(_) => {}
                }
            }
        };
        timeout_at(end, back).await.unwrap_or(false)
    }
}
