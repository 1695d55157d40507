//! Whether there is room for another session: here, and with `fleet` among all proxies that share limits.
//!
//! The limits of this process come first, because they cost nothing. Then the fleet is asked. Without its answer the file decides
//! (`fleet.on_loss`). Rates are never asked about: each proxy has its share of them.

use std::time::Instant;

use super::connection::Connection;
use crate::{
    config::{FleetSettings, Limits, OnLoss},
    error::{Error, Kind},
    fleet::{FleetLimits, share_of},
    net::{
        counts::{
            admission::{Admitted, SessionPermit},
            fleet::{Fleet, FleetPermit, FleetVerdict},
        },
        worker::plan::Plan,
    },
    sender::{Client, Octets},
    ws::rate::Rate,
};

/// Who decides about a handshake of which the counts of this process say that there is room.
enum Decision {
    /// The fleet: there is room.
    Counted(FleetPermit),
    /// The share of this proxy.
    Share,
    /// Nobody: it is let in.
    Open,
}

/// The limits that hold for this process alone: the share of the rates that several proxies have together, and all else as the file has it.
pub(super) fn limits_here(plan: &Plan, fleet: &Fleet) -> Limits {
    let limits = plan.config.limits;
    if plan.config.fleet.is_none() {
        return limits;
    }
    let share = |rate: Option<Rate>| {
        let count = usize::try_from(rate?.count()).unwrap_or(usize::MAX);
        Rate::per_second(share_of(count, fleet.living()) as u64)
    };
    Limits {
        new_sessions: share(limits.new_sessions),
        new_sessions_per_client: share(limits.new_sessions_per_client),
        ..limits
    }
}

/// Admits a handshake. `is_in_rates`: it was taken from the rates before.
///
/// # Errors
/// The limit that has no room; [`Kind::FleetUnavailable`].
pub(super) async fn admit(
    connection: &Connection,
    plan: &Plan,
    client: Client,
    is_in_rates: bool,
) -> Result<Admitted, Error> {
    let shared = &connection.worker.shared;
    let (limits, open) = (limits_here(plan, &shared.fleet), || shared.live.sessions());
    let admitted = match is_in_rates {
        false => shared.admission.admit(client, open, &limits, Instant::now())?,
        true => shared.admission.admit_from_rates(client, open, &limits, Instant::now())?,
    };
    let Some(settings) = &plan.config.fleet else { return Ok(admitted) };
    let network = limits.sessions_per_client.map(|_| client.counted_as());
    // Boxed, because requests of other proxies have no use for so large a future.
    let decision = Box::pin(decide(connection, settings, &limits, network)).await?;
    Ok(match decision {
        Decision::Counted(permit) => admitted.counted_in_fleet(permit),
        Decision::Open => admitted.counted_in_fleet(shared.fleet.admitted_locally(network)),
        Decision::Share => {
            // Given back first, or it would stand in its own way.
            drop(admitted);
            let share = share_here(&limits, &shared.fleet);
            let admitted = shared.admission.admit_from_rates(client, open, &share, Instant::now())?;
            admitted.counted_in_fleet(shared.fleet.admitted_locally(network))
        }
    })
}

/// Counts a session for an address from which its client has come back. `None`: nothing counts it.
///
/// # Errors
/// The limit on the sessions of an address has no room; [`Kind::FleetUnavailable`].
pub(super) async fn admit_move(
    connection: &Connection,
    plan: &Plan,
    client: Client,
) -> Result<Option<Box<SessionPermit>>, Error> {
    let (shared, limits) = (&connection.worker.shared, plan.config.limits);
    let mut permit = shared.admission.move_session(client, &limits, Instant::now())?;
    let Some(settings) = &plan.config.fleet else { return Ok(permit) };
    let network = limits.sessions_per_client.map(|_| client.counted_as());
    // For the number of all sessions it counts already.
    let limits = Limits { sessions: None, ..limits };
    let counted = match Box::pin(decide(connection, settings, &limits, network)).await? {
        Decision::Counted(counted) => counted,
        Decision::Open => shared.fleet.admitted_locally(network),
        Decision::Share => {
            drop(permit);
            permit = shared.admission.move_session(client, &share_here(&limits, &shared.fleet), Instant::now())?;
            shared.fleet.admitted_locally(network)
        }
    };
    SessionPermit::add(&mut permit, counted);
    Ok(permit)
}

/// Asks the fleet about one more session, if it has a limit for it.
///
/// # Errors
/// The limit that has no room; [`Kind::FleetUnavailable`].
async fn decide(
    connection: &Connection,
    settings: &FleetSettings,
    limits: &Limits,
    network: Option<Octets>,
) -> Result<Decision, Error> {
    let shared = &connection.worker.shared;
    let limits = FleetLimits { sessions: limits.sessions, sessions_per_client: limits.sessions_per_client };
    if limits.sessions.or(limits.sessions_per_client).is_none() {
        return Ok(Decision::Open);
    }
    let asked = Instant::now();
    let verdict = shared.fleet.take(network, limits, &connection.alarm).await;
    let took = asked.elapsed();
    if !matches!(verdict, FleetVerdict::Away) || took >= settings.timeout {
        shared.metrics.fleet_asked(took);
    }
    let by = match &verdict {
        FleetVerdict::Granted(_) | FleetVerdict::Full(_) => "valkey",
        FleetVerdict::Away => settings.on_loss.as_str(),
    };
    shared.metrics.fleet_decided(by);
    match (verdict, settings.on_loss) {
        (FleetVerdict::Granted(permit), _) => Ok(Decision::Counted(permit)),
        (FleetVerdict::Full(kind), _) => Err(kind.into()),
        (FleetVerdict::Away, OnLoss::Share) => Ok(Decision::Share),
        (FleetVerdict::Away, OnLoss::Open) => Ok(Decision::Open),
        (FleetVerdict::Away, OnLoss::Deny) => Err(Kind::FleetUnavailable.into()),
    }
}

/// The limits that hold here while nobody counts the sessions of all proxies.
fn share_here(limits: &Limits, fleet: &Fleet) -> Limits {
    let share = |most: Option<usize>| most.map(|most| share_of(most, fleet.living()));
    Limits { sessions: share(limits.sessions), sessions_per_client: share(limits.sessions_per_client), ..*limits }
}
