//! What the process has learned of the paths of its routes, on its way from the ends of sessions to the sessions that begin.

use std::{
    collections::HashMap,
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::terms::RouteTerms;
use crate::{
    explain::Pattern,
    learning::{LearnedInterval, Learner, LearningChange, LearningRules, TrialCount, TrialTerms, TrialWatch},
    routing::{Route, RouteAction},
    ws::Side,
};

/// What is learned, and the trials that go on. It outlives plans.
#[derive(Debug, Default)]
pub(in crate::net) struct Lessons(Mutex<LessonBook>);

/// The book in which that stands.
#[derive(Debug, Default)]
pub(in crate::net) struct LessonBook {
    learner: Learner,
    /// The trials that go on, by route.
    watches: HashMap<(String, Side), Arc<TrialWatch>>,
}

impl Lessons {
    /// Opens the book. A lock, because reloads make plans on a thread of their own. No worker takes it.
    pub(in crate::net) fn open(&self) -> MutexGuard<'_, LessonBook> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LessonBook {
    /// Learns by other times from now on.
    pub(in crate::net) const fn set_rules(&mut self, rules: LearningRules) {
        self.learner.set_rules(rules);
    }

    /// Keeps to the routes of a plan. `now`: in milliseconds since 1970.
    pub(in crate::net) fn follow<'r>(
        &mut self,
        routes: impl Iterator<Item = &'r Route>,
        now: i64,
    ) -> Vec<LearningChange> {
        let learning = routes.filter(|route| route.learns && matches!(route.action, RouteAction::Forward(_)));
        let changes = self.learner.follow(learning.map(|route| (&*route.name, route.keepalive.ping_interval)), now);
        self.watch_trials();
        changes
    }

    /// Learns from the trials that go on, and from these patterns. `uses` says whether the requests of a route may go to a
    /// backend.
    pub(in crate::net) fn learn(
        &mut self,
        patterns: &[Pattern],
        uses: impl Fn(&str, &str) -> bool,
        now: i64,
    ) -> Vec<LearningChange> {
        let Self { learner, watches } = self;
        let count = |route: &str, side| {
            watches.get(&(route.to_owned(), side)).map_or_else(TrialCount::default, |watch| watch.count())
        };
        let mut changes = learner.try_again(count, now);
        changes.extend(learner.learn(patterns, uses, now));
        self.watch_trials();
        changes
    }

    /// Gives the terms of a route what is known of its path.
    pub(in crate::net) fn teach(&self, route: &Route, terms: &RouteTerms) {
        if route.learns {
            let times = self.learner.times(&route.name, route.keepalive.ping_interval);
            let sides = [Side::Client, Side::Backend];
            let watches = sides.iter().filter_map(|side| self.watches.get(&(route.name.clone(), *side)));
            terms.set_learned(times, watches.map(Arc::clone).collect());
        }
    }

    /// What is learned: route, side and interval.
    pub(in crate::net) fn learned(&self) -> impl Iterator<Item = (&str, Side, LearnedInterval)> {
        self.learner.learned()
    }

    /// Has a watch for each trial that goes on, and for no other.
    fn watch_trials(&mut self) {
        let mut before = mem::take(&mut self.watches);
        for (route, side, learned) in self.learner.learned().filter(|(_, _, learned)| learned.is_on_trial) {
            let key = (route.to_owned(), side);
            let terms = TrialTerms { interval: learned.of_file, limit: learned.limit };
            let watch = before.remove(&key).unwrap_or_else(|| Arc::new(TrialWatch::new(side, terms)));
            self.watches.insert(key, watch);
        }
    }
}
