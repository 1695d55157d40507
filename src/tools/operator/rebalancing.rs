//! `longwire rebalance`: orders one, shows how it stands, and stops it.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::{
    signal::unix::{SignalKind, signal},
    time::MissedTickBehavior,
};

use super::{
    Form, LOOK,
    client::{AdminClient, CallError},
    names::{self, What},
    tables,
};
use crate::tools::progress::ProgressLine;

/// What to do about a rebalance.
#[derive(Debug)]
pub enum RebalanceStep {
    /// Let sessions leave.
    Begin {
        /// The key of the order that says how many, and its value.
        amount: (&'static str, Value),
        /// The backend that they leave, by its upstream and its address; `None` = they leave the proxy.
        backend: Option<(String, String)>,
        /// Over how long; `None` = the default.
        over: Option<Duration>,
        /// Whether nobody is told.
        is_dry: bool,
        /// Whether to wait until all have left, where somebody looks.
        waits: bool,
    },
    /// Show how it stands.
    Show,
    /// Let those stay that have not left yet.
    Stop,
}

/// Takes the step, and prints how the rebalance then stands.
pub(super) async fn run(
    admin: &AdminClient,
    step: RebalanceStep,
    form: Form,
    mut print: impl FnMut(&str),
) -> Result<(), CallError> {
    let (stands, waits) = match step {
        RebalanceStep::Show => (admin.get("/api/rebalance").await?, false),
        RebalanceStep::Stop => (admin.post("/api/rebalance/stop", &json!({})).await?, false),
        RebalanceStep::Begin { amount: (key, amount), backend, over, is_dry, waits } => {
            let mut order = json!({ key: amount, "dry_run": is_dry });
            if let Some(over) = over {
                order["over_ms"] = json!(over.as_millis() as u64);
            }
            if let Some((upstream, address)) = &backend {
                order["upstream"] = upstream.as_str().into();
                order["backend"] = address.as_str().into();
            }
            let begun = admin.post("/api/rebalance", &order).await;
            if let (Err(CallError::Refused(error)), Some((upstream, address))) = (&begun, &backend)
                && error["code"] == "not_found"
            {
                names::check(admin, What::Upstream, upstream).await?;
                names::check(admin, What::Backend, address).await?;
            }
            (begun?, waits && !is_dry)
        }
    };
    let mut line = ProgressLine::of_stderr();
    let stands = match waits && !form.json && line.is_live() {
        true => follow(admin, stands, &mut line).await?,
        false => stands,
    };
    match form.json {
        true => print(&format!("{stands:#}")),
        false => print(&tables::rebalance(&stands)),
    }
    Ok(())
}

/// Shows the rebalance on the terminal until it is over, or until Ctrl-C, with which it goes on. Returns how it stands then.
async fn follow(admin: &AdminClient, mut stands: Value, line: &mut ProgressLine) -> Result<Value, CallError> {
    let mut interrupt = signal(SignalKind::interrupt()).map_err(CallError::Signal)?;
    let mut looks = tokio::time::interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while stands["state"] == "running" {
        line.draw(|| tables::rebalance(&stands));
        tokio::select! {
            _ = looks.tick() => stands = admin.get("/api/rebalance").await?,
            _ = interrupt.recv() => break,
        }
    }
    line.clear();
    Ok(stands)
}
