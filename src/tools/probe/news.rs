//! What the sockets of a run tell.

use std::time::Duration;

use super::decide::{AgeLimit, KeeperFate, TrialFate};

/// What a task tells.
#[derive(Debug)]
pub(super) enum ProbeNews {
    Fate(usize, TrialFate),
    Keeper(usize, KeeperFate),
    /// The socket that is never silent lives at this age.
    Busy(Duration),
    /// It died.
    BusyDied(AgeLimit),
    /// It could not be opened.
    NoBusy,
    Checks(Checks),
    /// A socket could not be opened, for this reason.
    Unopened(String),
}

/// What was looked at once, before the silences. `None` = not tested.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Checks {
    /// Half of the answers, and all but a hundredth of them, came within so many milliseconds.
    pub(super) latency_ms: Option<(f64, f64)>,
    /// Bytes of the largest message that came back.
    pub(super) message_bytes: Option<usize>,
    /// Whether there was no time for larger ones.
    pub(super) was_cut: bool,
    /// Whether the other end got our code, and we its code.
    pub(super) close_code: Option<bool>,
}
