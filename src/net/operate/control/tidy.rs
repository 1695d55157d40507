//! Forgets what nobody uses any more.

use std::{
    sync::Weak,
    time::{Duration, Instant},
};

use tokio::time::sleep;

use super::Control;
use crate::net::{thread::vital::Fault, worker::plan::Plan};

/// How often to look for things that the configuration does not have any more and that nobody uses. Nobody looks while
/// there is nothing to come.
const TIDY: Duration = Duration::from_secs(1);

impl Control {
    /// Forgets what this plan, which runs, does not have and nobody uses, in every table that has a row for each such thing.
    pub(in crate::net) fn forget_gone(&self, plan: &Plan) {
        self.plans.forget_gone(plan);
        self.orders.forget_gone();
    }

    /// Forgets what is gone, if something is. Returns whether something will go by itself later: what a reload has
    /// removed and somebody still uses, or a choice that has not ended.
    fn tidy(&self) -> bool {
        let plan = self.plan();
        if self.plans.has_gone() || self.orders.book().choices().has_ended(Instant::now()) {
            self.forget_gone(&plan);
        }
        self.plans.has_more_than(&plan) || !self.orders.book().choices().is_empty()
    }
}

/// Looks for what is gone, as the last session of something removed may end at any time. If nothing is left to go, only
/// a change of the orders can bring something, and a reload is such a change. A process whose file stays as it is does
/// nothing here.
pub(super) async fn tidy(control: Weak<Control>) {
    let Some(mut orders) = control.upgrade().map(|control| control.shared.orders.subscribe()) else { return };
    loop {
        let is_more_to_go = {
            let Some(control) = control.upgrade() else { return };
            let _vital = control.vitals().guard("the background thread");
            control.vitals().strike(Fault::Background);
            control.tidy()
        };
        if is_more_to_go {
            #[expect(clippy::disallowed_methods, reason = "nothing says when the last user of a row is gone")]
            sleep(TIDY).await;
        } else if orders.changed().await.is_err() {
            return;
        }
    }
}
