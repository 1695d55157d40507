//! The plan that runs, and the making of the next one.

use std::{sync::Arc, time::Instant};

use super::changes::{self, Reloaded};
use crate::{
    access_log::AccessLog,
    balance::StickyKey,
    config::{Config, certificates::TlsError, sticky_key::StickyKeyError},
    net::worker::{
        lessons::Lessons,
        plan::{Plan, Planner, StickySecret, Ways},
        probe_place::ProbePlace,
        shared::Shared,
    },
};

/// Makes the plans of the process, and has the one that runs. [`super::dispatch::Dispatch::replace_plan`] replaces that one.
#[derive(Debug)]
pub(super) struct Plans {
    planner: Planner,
    /// The configuration that the process began with.
    started: Config,
    shared: Arc<Shared>,
}

impl Plans {
    /// The plan that runs in `shared` is the first one.
    pub(super) fn new(planner: Planner, shared: Arc<Shared>) -> Self {
        Self { planner, started: shared.plan().config.clone(), shared }
    }

    /// The plan that runs.
    pub(super) fn running(&self) -> Arc<Plan> {
        self.shared.plan()
    }

    /// Does what can fail for a plan: reads the files that connections with backends need.
    ///
    /// # Errors
    /// A file that is wrong.
    pub(super) fn prepare(&self, config: &Config) -> Result<Ways, TlsError> {
        self.planner.ways(config, Some(&self.running()))
    }

    /// The key of sticky cookies for a configuration.
    ///
    /// # Errors
    /// A file that holds no key.
    pub(super) fn sticky_key(&self, config: &Config) -> Result<StickyKey, StickyKeyError> {
        self.planner.sticky_key(config)
    }

    /// Makes a plan that does not run yet. What it has in common with the plan that runs, the two share.
    pub(super) fn make(
        &self,
        config: Config,
        (ways, sticky_key, probe): (Ways, &StickyKey, Option<ProbePlace>),
    ) -> Arc<Plan> {
        Arc::new(self.planner.plan(config, (ways, sticky_key, probe), Some(&self.running()), Instant::now()))
    }

    /// The process's own key of sticky cookies, for a successor.
    pub(super) const fn sticky_secret(&self) -> &StickySecret {
        &self.planner.sticky_secret
    }

    /// What is known of the paths of routes that learn.
    pub(super) const fn lessons(&self) -> &Lessons {
        &self.planner.lessons
    }

    /// Shows in the metrics what a plan knows of TLS to backends.
    pub(super) fn show_backend_tls(&self, plan: &Plan) {
        let insecure = plan.backend_tls().filter(|(_, tls)| tls.settings.insecure);
        self.shared.metrics.set_insecure(insecure.map(|(upstream, _)| upstream));
        let certificates = plan.backend_tls().filter_map(|(upstream, tls)| {
            let cert = tls.settings.certificate.as_ref()?.cert.display().to_string();
            Some((upstream.to_owned(), cert, tls.certificate_end?))
        });
        self.shared.metrics.set_own_certificates(certificates);
    }

    /// Gives the upstreams of a plan their members, just before it runs.
    pub(super) fn settle(&self, plan: &Plan) {
        self.planner.settle(plan, Instant::now());
    }

    /// Puts a plan in the place of the one that runs.
    pub(super) fn replace(&self, plan: &Arc<Plan>) {
        self.shared.change_plan(Arc::clone(plan));
    }

    /// What one plan has that another has not, apart from what only the listeners and the admin interface can tell.
    pub(super) fn changes(&self, before: &Plan, after: &Plan) -> Reloaded {
        changes::between(&self.started, &before.config, &after.config)
    }

    /// Forgets the routes and backends that this plan, which runs, does not have and that nobody uses: their counts and
    /// the rows of their metrics.
    pub(super) fn forget_gone(&self, plan: &Plan) {
        self.planner.forget_gone();
        let members: Vec<_> = plan.members().collect();
        let rows = members.iter().map(|(upstream, member)| (*upstream, member.backend.address()));
        self.shared.metrics.forget_gone(rows);
    }

    /// Whether a route or a backend has lost its last user, so that there is something to forget.
    pub(super) fn has_gone(&self) -> bool {
        self.planner.has_gone()
    }

    /// Whether a route or a backend is still in use that this plan, which runs, does not have.
    pub(super) fn has_more_than(&self, plan: &Plan) -> bool {
        self.planner.has_more_than(plan)
    }

    /// Where the records of the process go.
    pub(super) const fn access_log(&self) -> &AccessLog {
        &self.planner.access_log
    }
}
