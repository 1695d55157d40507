//! One longwire process: whom it serves, its line of handshakes, its memory.

use std::collections::VecDeque;

use super::{Millis, anchors};

/// Whether somebody answers at its address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// It serves.
    Serving,
    /// Its listeners are closed. It tells its sessions to leave, each at a moment of its own in this window from this instant on.
    Leaving { since: Millis, spread: Millis },
    /// The process is gone, its host is there and refuses.
    Gone,
    /// The host is gone, nobody answers.
    Silent,
}

#[derive(Debug, Clone)]
pub struct Instance {
    pub presence: Presence,
    /// Whether the balancer sends it new connections.
    pub is_in_turn: bool,
    pub sessions: u32,
    /// Handshakes that it has and that are not decided.
    pub in_flight: u32,
    /// Those of them that backends have, and those that wait for a backend, the first first. Some of these may have left the line.
    pub asking: u32,
    pub line: VecDeque<u32>,
    pub in_line: usize,
    /// Attempts in the second that is under way.
    pub arrivals: u32,
    /// When it has worked off the handshakes that it has, in ms.
    free_at: f64,
}

/// What one process has to work with.
#[derive(Debug, Clone, Copy)]
pub struct Strength {
    pub cores: f64,
    /// CPU of a handshake, in microseconds.
    pub handshake_us: f64,
    /// Bytes of an idle session, and of a handshake in flight.
    pub idle: f64,
    pub handshake: f64,
}

impl Strength {
    /// Two cores, TLS toward clients, who all bring no ticket.
    pub const TLS: Self = Self {
        cores: 2.0,
        handshake_us: anchors::HANDSHAKE_TLS_US,
        idle: anchors::IDLE_TLS,
        handshake: anchors::IN_FLIGHT_TLS,
    };
    /// Two cores, no TLS.
    pub const PLAIN: Self = Self {
        cores: 2.0,
        handshake_us: anchors::HANDSHAKE_PLAIN_US,
        idle: anchors::IDLE_PLAIN,
        handshake: anchors::IN_FLIGHT_PLAIN,
    };

    /// Milliseconds of the process for a handshake.
    fn handshake_millis(self) -> f64 {
        self.handshake_us / self.cores / 1000.0
    }
}

impl Instance {
    pub fn new(is_there: bool) -> Self {
        let presence = if is_there { Presence::Serving } else { Presence::Gone };
        Self {
            presence,
            is_in_turn: is_there,
            sessions: 0,
            in_flight: 0,
            asking: 0,
            line: VecDeque::new(),
            in_line: 0,
            arrivals: 0,
            free_at: 0.0,
        }
    }

    /// Takes a handshake into its line, and says when it will have done its part.
    pub fn take(&mut self, now: Millis, strength: Strength) -> Millis {
        self.in_flight += 1;
        self.arrivals += 1;
        self.free_at = self.free_at.max(f64::from(now)) + strength.handshake_millis();
        self.free_at.ceil() as Millis
    }

    /// A process that is started anew has nothing to do yet.
    pub fn start(&mut self) {
        *self = Self { is_in_turn: self.is_in_turn, presence: Presence::Serving, ..Self::new(true) };
    }

    /// Bytes of user memory.
    pub fn memory(&self, strength: Strength) -> f64 {
        anchors::PROCESS + f64::from(self.sessions) * strength.idle + f64::from(self.in_flight) * strength.handshake
    }
}
