//! Start, run, drain.

use std::{net::SocketAddr, time::Duration};

use crate::{access_log::AccessLog, config::Config};

/// A running proxy: its listeners and worker threads. Dropping it ends everything at once.
#[derive(Debug)]
pub struct Server {}

/// How a drain ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drained {
    /// Sessions that were told their end and left in time.
    pub sessions: usize,
    /// Sessions and requests still open at the deadline.
    pub cut: usize,
    /// How long it took.
    pub took: Duration,
}

/// Why a server could not start.
#[derive(Debug)]
pub struct StartError {}

impl Server {
    /// Binds every listener and starts the workers; returns once connections are accepted.
    ///
    /// # Errors
    /// An address that cannot be bound, a certificate that cannot be read, a thread that cannot be made.
    pub fn start(_config: Config, _access_log: AccessLog) -> Result<Self, StartError> {
        unimplemented!()
    }

    /// The addresses in the order of `Config::listeners`, with the ports that were really bound.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        unimplemented!()
    }

    /// Closes the listeners, tells every session 1012 spread over half of `timeouts.drain`, waits for all to leave or
    /// the deadline.
    pub async fn drain(self) -> Drained {
        unimplemented!()
    }
}
