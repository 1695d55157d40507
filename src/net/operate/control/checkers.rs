//! Which backends are checked: the members of the upstreams that run, as far as the file wants them checked.

use std::{
    collections::HashMap,
    mem,
    sync::{Mutex, PoisonError},
};

use super::plans::Plans;
use crate::net::backend::checker::{CheckTools, Checker};

/// One checker for each backend that is checked.
#[derive(Debug)]
pub(super) struct Checkers {
    tools: CheckTools,
    /// By upstream and address. A lock that only changes of the plan or of its members take.
    running: Mutex<HashMap<(String, String), Checker>>,
}

impl Checkers {
    pub(super) fn new(tools: CheckTools) -> Self {
        Self { tools, running: Mutex::default() }
    }

    /// Checks exactly the members of the plan that runs, as far as they are to be checked. This is the door for members that
    /// come and go in any way: a new file, or a change of the members alone.
    ///
    /// - If backend, settings and way are those of before, the check that is under way goes on, and so does the wait for the
    ///   next one. A reload of any other key delays no check and adds none.
    /// - Of all other backends, no check says anything any more when this returns. What the checks said of a member that
    ///   is not checked now is forgotten. A backend whose checks begin anew by other settings keeps its last result.
    pub(super) fn follow(&self, plans: &Plans) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        // Asked under the lock: of two changes at a time, the last one here sees what both have done.
        let plan = plans.running();
        let mut before = mem::take(&mut *running);
        for (upstream, way) in plan.upstreams.iter().zip(&plan.ways) {
            let Some(settings) = upstream.health_check() else { continue };
            let members = upstream.members();
            for member in members.iter().filter(|member| upstream.is_checked(member)) {
                let name = (upstream.name().to_owned(), member.backend.address().to_owned());
                let goes_on = before.remove(&name).filter(|checker| checker.is_for(upstream, member, (settings, way)));
                let checker = goes_on.inspect(|checker| checker.tell(upstream));
                let checker = checker.unwrap_or_else(|| Checker::start(upstream, member, (settings, way), &self.tools));
                running.insert(name, checker);
            }
        }
        drop(before);
        plan.upstreams.iter().for_each(|upstream| upstream.forget_needless_checks());
    }
}
