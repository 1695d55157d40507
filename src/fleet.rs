//! The limits of several instances together: what one instance asks of a server (Valkey or Redis) that all share, what it tells it,
//! and what it makes of the answers. PURE.
//!
//! The rules, each with the reason:
//!
//! 1. **Each instance has a count of its own at the server, and nobody else changes it.** So no crash leaves a count that somebody must
//!    repair: it goes with the lease of its instance. A limit is held against the sum of those who live, within one call of a script,
//!    which the server runs as a whole (`fleet.lua`).
//! 2. **One connection, whose order is kept.** What an instance gives back is told before it asks for more. What came of a call on a
//!    connection that was lost is unknown. So each connection begins with a rewrite of all counts (`own_counts`).
//! 3. **Each rewrite has a number, its generation, and the count at the server carries it.** A call of another generation changes nothing
//!    and is told so. That finds a late call of a lost connection, a server that has lost its data, and a lease that has run out while
//!    the process stood still.
//! 4. **A rewrite is built beside the old count and takes its place as a whole.** Others never see half of it.
//! 5. **A server that has lost its counts, or had nobody for a lease, is not believed for a while.** A member that comes back says so there.
//!    All are back within a lease and 8 s, or do not count.
//! 6. **Nobody waits for a server that is away or slow.** While a call is older than the patience of a handshake, no other is asked.
//!
//! [`Membership`] is the state of one instance. Its driver has the connection (`net/operate/fleet`).

mod backoff;
mod failure;
mod membership;
mod own_counts;
mod script;
#[cfg(test)]
pub(crate) mod tests;
mod wire;

pub use self::{
    backoff::pause,
    failure::FleetFailure,
    membership::{FleetAnswer, FleetTerms, Membership, greeting},
    wire::{BadReply, Reply, ReplyReader},
};

/// The limits that hold for all instances together; `None` = no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FleetLimits {
    /// All sessions.
    pub sessions: Option<usize>,
    /// The sessions of one client.
    pub sessions_per_client: Option<usize>,
}

/// An instance that shares the limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FleetInstance {
    /// `NAME/RANDOM`: no two have the same.
    pub member: String,
    /// The name in its file.
    pub name: String,
    /// Its sessions, and handshakes that may become sessions.
    pub sessions: u64,
    /// Whether it takes no sessions any more, because its process is about to end.
    pub is_leaving: bool,
    /// Whether it is this one.
    pub is_ours: bool,
}

/// How many sessions each instance has when all have as many, rounded up. Those that leave do not count. `ours`: the sessions of this
/// one now.
#[must_use]
pub fn even_share(instances: &[FleetInstance], ours: usize) -> usize {
    let others = instances.iter().filter(|other| !other.is_ours && !other.is_leaving);
    let sessions = others.clone().map(|other| usize::try_from(other.sessions).unwrap_or(usize::MAX));
    sessions.fold(ours, usize::saturating_add).div_ceil(others.count() + 1)
}

/// The part of a limit that one of so many instances may use by itself. All parts together are no less than the limit.
#[must_use]
pub fn share_of(limit: usize, living: usize) -> usize {
    limit.div_ceil(living.max(1))
}
