//! What a client with `longwire-client` does when it loses its connection: `clients/js/src/policy.ts` and `machine.ts`, with their
//! defaults. A test of `it` holds the numbers against those files.

use super::{Millis, lots::Lots};

/// Over so long clients come back that read 1012 or 1013, at least.
pub const SPREAD: Millis = 5_000;
/// The first window of the full jitter, and the longest.
pub const MIN_DELAY: Millis = 500;
pub const MAX_DELAY: Millis = 30_000;
/// A connection that lived so long was a success: the next delay is drawn from the first window again.
pub const PROVEN: Millis = 10_000;
/// How long an attempt may take.
pub const CONNECT_TIMEOUT: Millis = 10_000;
/// With a heartbeat of the application: how often it asks, and how long it waits for an answer.
pub const HEARTBEAT: Millis = 25_000;
pub const HEARTBEAT_TIMEOUT: Millis = 10_000;

/// How a client learns that its connection or its attempt is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// It reads Close 1012.
    Restart,
    /// It reads nothing: 1006, or a handshake that failed.
    Nothing,
}

/// How long to wait before the next attempt.
pub fn delay(told: Told, failures: u8, lots: &mut Lots) -> Millis {
    let window = MAX_DELAY.min(MIN_DELAY << u32::from(failures).min(16));
    lots.within(if told == Told::Restart { window.max(SPREAD) } else { window })
}

/// How long a client with a heartbeat takes to notice that nobody answers any more: to its next question, and then its timeout.
pub fn notices_silence(lots: &mut Lots) -> Millis {
    lots.within(HEARTBEAT) + HEARTBEAT_TIMEOUT
}
