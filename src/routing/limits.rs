//! What is known of the path of a route's sessions, and what follows from it. PURE.

use crate::{
    paths::{self, Derived, Limit},
    ws::Side,
};

/// What stands on the path of a route's sessions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PathLimits {
    /// Between clients and here.
    pub client: Vec<Limit>,
    /// Between here and the backends.
    pub backend: Vec<Limit>,
    /// Whether the intervals of the pings follow from these limits.
    pub sets_interval: bool,
    /// Whether the longest life of a session follows from these limits.
    pub sets_lifetime: bool,
}

impl PathLimits {
    /// The limits toward a side.
    #[must_use]
    pub fn toward(&self, side: Side) -> &[Limit] {
        match side {
            Side::Client => &self.client,
            Side::Backend => &self.backend,
        }
    }

    /// The interval of the pings to a side that holds a quiet session.
    #[must_use]
    pub fn interval(&self, side: Side) -> Derived<'_> {
        paths::interval(self.toward(side))
    }

    /// The age at which a session should leave before the path ends it; `None` = no longest life is known.
    #[must_use]
    pub fn lifetime(&self) -> Option<Derived<'_>> {
        paths::lifetime(self.client.iter().chain(&self.backend))
    }
}
