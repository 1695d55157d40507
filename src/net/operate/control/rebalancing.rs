//! Rebalancing: a share of the oldest sessions leaves over a time, so that their clients spread anew. They leave this process, or one
//! backend of it.
//!
//! Sessions are long, so after a scale-up nothing moves by itself. The oldest are chosen once, when the order is given
//! ([`OldestSessions`]), and each gets a moment of its own. Sessions that begin later are not among them. A reload changes nothing of
//! it; a drain of everything takes it back, because then all are to leave.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use jiff::Timestamp;
use tokio::sync;

use super::{Control, Leaving, Unknown};
use crate::{
    balance::Backend,
    fleet::{FleetInstance, even_share},
    net::{
        counts::fleet::FleetStanding,
        orders::{
            age_errand::{Aged, Leavers, Telling},
            ages::{AgeScale, Amount, OldestSessions},
            departures::RebalanceTally,
        },
    },
};

/// What an operator orders.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::net) struct RebalanceOrder {
    pub(in crate::net) how_many: HowMany,
    /// The time over which the sessions leave, one by one.
    pub(in crate::net) over: Duration,
    /// The backend that they leave, by the name of its upstream and its address; `None` = they leave this process.
    pub(in crate::net) backend: Option<(String, String)>,
}

/// How many sessions are to leave.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::net) enum HowMany {
    Just(Amount),
    /// Those that this instance has beyond the mean of its fleet.
    SurplusInFleet,
}

/// A rebalance.
#[derive(Debug, Clone)]
pub(in crate::net) struct Rebalance {
    pub(in crate::net) order: RebalanceOrder,
    pub(in crate::net) since: Timestamp,
    began: Instant,
    /// The sessions among which the oldest were chosen.
    pub(in crate::net) counted: usize,
    /// The mean of the fleet, if the others are to have as many; `None` = nobody asked for it.
    pub(in crate::net) fleet_mean: Option<usize>,
    pub(in crate::net) chosen: Leavers,
    /// The ages of the youngest and of the oldest one that was chosen.
    pub(in crate::net) ages: Option<[Duration; 2]>,
    pub(in crate::net) is_stopped: bool,
}

/// Why an order is not carried out.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::net) enum RebalanceError {
    Unknown(Unknown),
    Leaving,
    /// All sessions, or those of the backend, are told to leave already.
    Draining,
    /// Another rebalance goes on.
    GoesOn,
    /// No other backend of the upstream takes sessions.
    NoOther,
    /// Nobody knows how many sessions the instances of the fleet have, for this reason; `None` = there is no fleet.
    NoFleet(Option<String>),
    /// A worker did not answer in time.
    Busy,
}

/// The rebalance of this process: the one that goes on, or the last one.
#[derive(Debug, Default)]
pub(super) struct Rebalancing {
    /// The turn of an order. It is held while the workers are asked, so that one of two orders comes first.
    turn: sync::Mutex<()>,
    /// A lock, held for a look.
    last: Mutex<Option<Rebalance>>,
}

impl Rebalance {
    /// How long it still goes on; `None` = it is over, as it is at once where nobody leaves.
    pub(in crate::net) fn left(&self, now: Instant) -> Option<Duration> {
        let left = (self.began + self.order.over).checked_duration_since(now)?;
        (!self.is_stopped && self.chosen.all() > 0 && !left.is_zero()).then_some(left)
    }
}

impl Rebalancing {
    fn last(&self) -> MutexGuard<'_, Option<Rebalance>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The one that goes on, or the last one.
    pub(super) fn get(&self) -> Option<Rebalance> {
        self.last().clone()
    }

    /// Notes that it does not go on.
    pub(super) fn stop(&self) {
        let now = Instant::now();
        if let Some(last) = self.last().as_mut().filter(|last| last.left(now).is_some()) {
            last.is_stopped = true;
        }
    }
}

impl Control {
    /// Lets the oldest sessions leave. The same order once more, while it is carried out, changes nothing. `is_dry`: nobody is told.
    ///
    /// # Errors
    /// The order cannot be carried out. Nobody is told then.
    pub(in crate::net) async fn rebalance(
        &self,
        order: RebalanceOrder,
        is_dry: bool,
    ) -> Result<Rebalance, RebalanceError> {
        let _turn = self.rebalancing.turn.lock().await;
        let asked = Instant::now();
        if let Some(going) = self.rebalancing.get().filter(|last| !is_dry && last.left(asked).is_some()) {
            return if going.order == order { Ok(going) } else { Err(RebalanceError::GoesOn) };
        }
        let aged = Aged { backend: self.rebalanced_backend(&order)?, asked };
        let fleet = match order.how_many {
            HowMany::Just(_) => None,
            HowMany::SurplusInFleet => Some(self.instances()?),
        };
        let mean = |counted| fleet.as_ref().map(|instances| even_share(instances, counted));
        let amount = |counted| match order.how_many {
            HowMany::Just(amount) => amount,
            HowMany::SurplusInFleet => Amount::SurplusOver(mean(counted).unwrap_or(counted)),
        };
        let (oldest, counted) = self.find_oldest(&aged, amount).await.ok_or(RebalanceError::Busy)?;
        let began = Instant::now();
        let during = (!is_dry).then_some((began, order.over));
        let telling =
            |worker, workers| Telling::Leave { aged: aged.clone(), picks: oldest.picks_of(worker, workers), during };
        let Some(chosen) = self.survey.tell(telling).await else {
            // Some may have been told.
            if !is_dry {
                let _ = self.survey.tell(|_, _| Telling::Stay).await;
            }
            return Err(RebalanceError::Busy);
        };
        let ages = oldest.ages();
        let is_stopped = self.orders.book().drains_all();
        let fleet_mean = mean(counted);
        let rebalance =
            Rebalance { order, since: Timestamp::now(), began, counted, fleet_mean, chosen, ages, is_stopped };
        if !is_dry {
            let Leavers { end, move_on } = chosen;
            tracing::info!(counted, end, move_on, over = ?rebalance.order.over, "the oldest sessions leave: rebalance");
            *self.rebalancing.last() = Some(rebalance.clone());
        }
        Ok(rebalance)
    }

    /// The oldest of these sessions, and how many sessions there are. `None`: a worker did not answer in time.
    /// `amount`: how many are wanted of so many.
    async fn find_oldest(&self, aged: &Aged, amount: impl FnOnce(usize) -> Amount) -> Option<(OldestSessions, usize)> {
        let mut scale = AgeScale::whole();
        let mut counts = self.survey.count_ages(aged, &scale).await?;
        let counted = counts.iter().flatten().map(|count| *count as usize).sum();
        let mut oldest = OldestSessions::new(amount(counted).of(counted));
        while let Some(finer) = oldest.narrow(&scale, &counts) {
            scale = finer;
            counts = self.survey.count_ages(aged, &scale).await?;
        }
        Some((oldest, counted))
    }

    /// The rebalance that goes on, or the last one, with what has become of its sessions; that is `None` if a worker did not answer in
    /// time.
    pub(in crate::net) async fn rebalance_so_far(&self) -> Option<(Rebalance, Option<RebalanceTally>)> {
        let last = self.rebalancing.get()?;
        let tally = self.survey.tally_rebalance().await;
        Some((last, tally))
    }

    /// Lets those sessions stay that have not left yet. Returns how many there were.
    ///
    /// # Errors
    /// A worker did not answer in time.
    pub(in crate::net) async fn stop_rebalance(&self) -> Result<usize, RebalanceError> {
        let _turn = self.rebalancing.turn.lock().await;
        let stayed = self.survey.tell(|_, _| Telling::Stay).await.ok_or(RebalanceError::Busy)?.all();
        self.rebalancing.stop();
        tracing::info!(sessions = stayed, "a rebalance was stopped: these sessions stay");
        Ok(stayed)
    }

    /// The instances of the fleet, with their sessions.
    fn instances(&self) -> Result<Vec<FleetInstance>, RebalanceError> {
        let FleetStanding { is_on, connected, instances, loss, .. } = self.shared.fleet.standing();
        match (is_on, connected) {
            (true, true) => Ok(instances),
            (true, false) => Err(RebalanceError::NoFleet(Some(loss.unwrap_or_default()))),
            (false, _) => Err(RebalanceError::NoFleet(None)),
        }
    }

    /// The rebalance that goes on, or the last one.
    pub(in crate::net) fn last_rebalance(&self) -> Option<Rebalance> {
        self.rebalancing.get()
    }

    /// The backend that an order is about, if it can be carried out now.
    fn rebalanced_backend(&self, order: &RebalanceOrder) -> Result<Option<Arc<Backend>>, RebalanceError> {
        let (plan, book) = (self.plan(), self.orders.book());
        if book.is_announced() {
            return Err(RebalanceError::Leaving);
        }
        if book.drains_all() {
            return Err(RebalanceError::Draining);
        }
        let Some((upstream, address)) = &order.backend else { return Ok(None) };
        let (upstream, backend) = plan.backend(upstream, address).map_err(RebalanceError::Unknown)?;
        if book.is_to_be_left(&backend) {
            return Err(RebalanceError::Draining);
        }
        match upstream.has_another(&backend, |other| book.is_to_be_left(other)) {
            true => Ok(Some(backend)),
            false => Err(RebalanceError::NoOther),
        }
    }
}

impl fmt::Display for RebalanceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(unknown) => unknown.fmt(f),
            Self::Leaving => Leaving.fmt(f),
            Self::Draining => f.write_str("these sessions are told to leave already, by a drain"),
            Self::GoesOn => f.write_str("another rebalance goes on: stop it first, or wait for its end"),
            Self::NoOther => f.write_str("no other backend of the upstream takes sessions"),
            Self::NoFleet(None) => f.write_str("the file names no fleet"),
            Self::NoFleet(Some(why)) => {
                write!(
                    f,
                    "nobody knows how many sessions the others have, because the server of the fleet is away: {why}"
                )
            }
            Self::Busy => f.write_str("a worker did not answer in time, and no session is told to leave"),
        }
    }
}

impl std::error::Error for RebalanceError {}
