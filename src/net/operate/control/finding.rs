//! Backends come and go by what is found, without a new file.

use std::sync::{Arc, Weak};

use tokio::sync::Notify;

use super::Control;
use crate::{balance::Upstream, net::worker::plan::Plan};

impl Control {
    /// The upstreams that run get the backends that are known now, and the checks, orders and metrics follow.
    fn change_members(&self) {
        let plan = self.plan();
        let were_empty: Vec<_> = plan.upstreams.iter().map(|upstream| upstream.is_empty()).collect();
        self.orders.change_members(&self.plans);
        for (upstream, was_empty) in plan.upstreams.iter().zip(were_empty) {
            match (was_empty, upstream.is_empty()) {
                (true, false) => tracing::info!(upstream = upstream.name(), "an upstream has a backend again"),
                (false, true) => warn_of_empty(upstream),
                _ => {}
            }
        }
        self.checks.follow(&self.plans);
        self.forget_gone(&self.plan());
    }
}

/// Says which upstreams of a plan that begins to run have no backend.
pub(super) fn warn_of_all_empty(plan: &Plan) {
    plan.upstreams.iter().filter(|upstream| upstream.is_empty()).for_each(|upstream| warn_of_empty(upstream));
}

fn warn_of_empty(upstream: &Upstream) {
    tracing::warn!(
        upstream = upstream.name(),
        "an upstream has no backend: until one is found, its requests are answered 503"
    );
}

/// Changes the members each time there is news.
pub(super) async fn follow_findings(control: Weak<Control>, news: Arc<Notify>) {
    loop {
        news.notified().await;
        let Some(control) = control.upgrade() else { return };
        let _vital = control.vitals().guard("the background thread");
        control.change_members();
    }
}
