//! A client and its session, in 16 bytes.

use super::wheel::NONE;

/// Where a client stands, and so what its next event means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(u8)]
pub enum Stage {
    /// It waits for its next attempt.
    #[default]
    Away,
    /// The instance has its handshake.
    Arriving,
    /// A backend has its handshake.
    Asking,
    /// Its handshake waits in line for a backend, and is refused then.
    InLine,
    /// Its attempt comes to nothing then, and nobody has it.
    Failing,
    /// It has a session. Its user leaves then, and another one comes.
    Open,
    /// It has a session that is ended then, by `max_lifetime`, a drain or `rebalance`.
    Told,
    /// Its session is dead, and it will notice then.
    Unaware,
}

#[derive(Debug, Clone, Copy)]
pub struct Seat {
    /// The neighbours in the list of the next event.
    pub(super) before: u32,
    pub(super) behind: u32,
    /// When the session began, or the attempt. Before the start of the simulation it is negative.
    pub since: i32,
    /// The instance.
    pub home: u16,
    /// Attempts and sessions in a row that came to nothing, for the client's next delay.
    pub failures: u8,
    pub stage: Stage,
}

impl Default for Seat {
    fn default() -> Self {
        Self { before: NONE, behind: NONE, since: 0, home: 0, failures: 0, stage: Stage::Away }
    }
}

impl Seat {
    pub(super) fn link(&mut self, before: u32, behind: u32) {
        (self.before, self.behind) = (before, behind);
    }

    pub(super) fn unlink(&mut self) -> (u32, u32) {
        let links = (self.before, self.behind);
        self.link(NONE, NONE);
        links
    }

    pub fn has_session(&self) -> bool {
        matches!(self.stage, Stage::Open | Stage::Told)
    }

    /// Whether an instance has its handshake.
    pub fn is_in_flight(&self) -> bool {
        matches!(self.stage, Stage::Arriving | Stage::Asking | Stage::InLine)
    }
}
