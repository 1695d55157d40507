//! The calls about a rebalance, and how each is answered.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use hyper::StatusCode;
use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize};

use crate::net::{
    operate::{
        control::{Control, HowMany, Rebalance, RebalanceError, RebalanceOrder},
        desk::answer::{AdminAnswer, AdminRefusal, json, millis},
    },
    orders::{ages::Amount, departures::RebalanceTally},
};

/// The time over which sessions leave if the operator gives none.
const USUAL_TIME: Duration = Duration::from_secs(10 * 60);
/// The longest such time.
const LONGEST_TIME: Duration = Duration::from_secs(24 * 3600);
/// The most sessions that an order can name.
const MOST_SESSIONS: f64 = 1e9;

/// An order, as it is sent. Floats, because 200.0 is an integer in JSON Schema.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct HowToRebalance {
    #[serde(deserialize_with = "present")]
    share: Option<f64>,
    #[serde(deserialize_with = "present")]
    sessions: Option<f64>,
    #[serde(deserialize_with = "present")]
    surplus_over: Option<f64>,
    /// The surplus over the mean of the fleet.
    fleet: bool,
    #[serde(deserialize_with = "present")]
    over_ms: Option<f64>,
    #[serde(deserialize_with = "present")]
    upstream: Option<String>,
    #[serde(deserialize_with = "present")]
    backend: Option<String>,
    dry_run: bool,
}

/// A key that is there has a value. `null` is none.
fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// How a rebalance stands.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
enum Standing {
    /// There was none since the process began.
    None,
    /// It would be like this.
    Planned,
    Running,
    Over,
    /// An operator stopped it, or a drain came.
    Stopped,
}

/// A rebalance, for people and programs.
#[derive(Debug, Serialize)]
pub(super) struct RebalanceView {
    state: Standing,
    #[serde(flatten)]
    rebalance: Option<ParticularsOfRebalance>,
    /// Absent if nobody asked the workers, or one did not answer in time.
    #[serde(flatten)]
    so_far: Option<RebalanceSoFar>,
}

/// What has become of the sessions that leave. The others have ended for another reason, or stay because nobody else takes them.
#[derive(Debug, Serialize)]
struct RebalanceSoFar {
    waiting: usize,
    moved: usize,
    ended: usize,
}

#[derive(Debug, Serialize)]
struct ParticularsOfRebalance {
    since: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    upstream: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    backend: Option<String>,
    /// The sessions among which the oldest were chosen.
    counted: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    fleet_mean: Option<usize>,
    /// The sessions that leave.
    sessions: usize,
    /// The part of them that moves to another backend, if one takes them.
    move_on: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    youngest_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    oldest_ms: Option<u64>,
    over_ms: u64,
    left_ms: u64,
}

impl RebalanceView {
    /// What is known without asking the sessions; `None` = there was no rebalance.
    pub(super) fn of_last(control: &Control) -> Option<Self> {
        let last = control.last_rebalance()?;
        let state = match last.left(Instant::now()) {
            Some(_) => Standing::Running,
            None if last.is_stopped => Standing::Stopped,
            None => Standing::Over,
        };
        Some(Self::new(state, last, None))
    }

    fn new(state: Standing, rebalance: Rebalance, tally: Option<RebalanceTally>) -> Self {
        let left = rebalance.left(Instant::now()).unwrap_or_default();
        let Rebalance { order, since, counted, fleet_mean, chosen, ages, .. } = rebalance;
        let (upstream, backend) = order.backend.unzip();
        let [youngest_ms, oldest_ms] = match ages {
            Some(ages) => ages.map(|age| Some(millis(age))),
            None => [None, None],
        };
        let rebalance = ParticularsOfRebalance {
            since,
            upstream,
            backend,
            counted,
            fleet_mean,
            sessions: chosen.all(),
            move_on: chosen.move_on,
            youngest_ms,
            oldest_ms,
            over_ms: millis(order.over),
            left_ms: millis(left),
        };
        let so_far = tally.map(|RebalanceTally { waiting, moved, ended }| RebalanceSoFar { waiting, moved, ended });
        Self { state, rebalance: Some(rebalance), so_far }
    }
}

/// `POST /api/rebalance`
pub(super) async fn begin(control: &Arc<Control>, how: HowToRebalance) -> Result<AdminAnswer, AdminRefusal> {
    let is_dry = how.dry_run;
    let (order, ordered) = (how.order()?, Arc::clone(control));
    // In a task of its own: an order that has told some sessions is carried out and noted, whoever waits for the answer.
    let task = tokio::spawn(async move { ordered.rebalance(order, is_dry).await });
    let rebalance = task.await.unwrap_or(Err(RebalanceError::Busy))?;
    match is_dry {
        true => Ok(json(StatusCode::OK, &RebalanceView::new(Standing::Planned, rebalance, None))),
        false => Ok(show(control).await),
    }
}

/// `GET /api/rebalance`
pub(super) async fn show(control: &Control) -> AdminAnswer {
    let none = RebalanceView { state: Standing::None, rebalance: None, so_far: None };
    let view = control.rebalance_so_far().await.map_or(none, |(last, tally)| {
        let state = match last.left(Instant::now()) {
            _ if last.is_stopped => Standing::Stopped,
            // Each leaves at the end of a message, and then has an answer to wait for, so some may be late.
            None if tally.is_some_and(|tally| tally.waiting == 0) => Standing::Over,
            _ => Standing::Running,
        };
        RebalanceView::new(state, last, tally)
    });
    json(StatusCode::OK, &view)
}

/// `POST /api/rebalance/stop`
pub(super) async fn stop(control: &Control) -> Result<AdminAnswer, AdminRefusal> {
    control.stop_rebalance().await?;
    Ok(show(control).await)
}

impl HowToRebalance {
    fn order(self) -> Result<RebalanceOrder, AdminRefusal> {
        let Self { share, sessions, surplus_over, fleet, over_ms, upstream, backend, dry_run: _ } = self;
        let whole = |key: &str, number: f64| match number.fract() == 0.0 && (0.0..=MOST_SESSIONS).contains(&number) {
            true => Ok(number as usize),
            false => Err(AdminRefusal::bad_request(format!("`{key}` is a number from 0 to {MOST_SESSIONS}"))),
        };
        let how_many = match (share, sessions, surplus_over, fleet) {
            (Some(share), None, None, false) if share > 0.0 && share <= 1.0 => HowMany::Just(Amount::Share(share)),
            (Some(_), None, None, false) => {
                return Err(AdminRefusal::bad_request("`share` is more than 0, and 1 at most"));
            }
            (None, Some(sessions), None, false) => HowMany::Just(Amount::Sessions(whole("sessions", sessions)?)),
            (None, None, Some(most), false) => HowMany::Just(Amount::SurplusOver(whole("surplus_over", most)?)),
            (None, None, None, true) if upstream.is_none() && backend.is_none() => HowMany::SurplusInFleet,
            (None, None, None, true) => {
                return Err(AdminRefusal::bad_request("`fleet` is about all sessions here, and not about a backend"));
            }
            _ => {
                let message = "either `share`, `sessions`, `surplus_over` or `fleet` says how many leave";
                return Err(AdminRefusal::bad_request(message));
            }
        };
        let longest = LONGEST_TIME.as_millis() as f64;
        let over = match over_ms {
            None => USUAL_TIME,
            Some(millis) if millis.fract() == 0.0 && (1.0..=longest).contains(&millis) => {
                Duration::from_millis(millis as u64)
            }
            Some(_) => {
                return Err(AdminRefusal::bad_request(format!("`over_ms` is a number from 1 to {longest}: a day")));
            }
        };
        let backend = match (upstream, backend) {
            (None, None) => None,
            (Some(upstream), Some(backend)) => Some((upstream, backend)),
            _ => return Err(AdminRefusal::bad_request("a backend is named by `upstream` and `backend`")),
        };
        Ok(RebalanceOrder { how_many, over, backend })
    }
}

impl From<RebalanceError> for AdminRefusal {
    fn from(error: RebalanceError) -> Self {
        let conflict = |code| Self::new(StatusCode::CONFLICT, code, error.to_string());
        match error {
            RebalanceError::Unknown(unknown) => unknown.into(),
            RebalanceError::Leaving => conflict("leaving"),
            RebalanceError::Draining => conflict("draining"),
            RebalanceError::GoesOn => conflict("rebalancing"),
            RebalanceError::NoOther => conflict("no_other_backend"),
            RebalanceError::NoFleet(_) => conflict("no_fleet"),
            RebalanceError::Busy => Self::new(StatusCode::SERVICE_UNAVAILABLE, "busy", error.to_string()),
        }
    }
}
