//! What the paths of the routes teach: from what the ends of sessions have in common to the intervals of new sessions.

use std::sync::{Arc, Weak};

use jiff::Timestamp;
use tokio::{sync::watch, time::timeout};

use super::Control;
use crate::{
    explain::Pattern,
    learning::{LearnedInterval, LearningChange, LearningReason, LearningRules},
    net::{
        operate::explainer::STEP,
        worker::{lessons::LessonBook, plan::Plan},
    },
    ws::Side,
};

impl Control {
    /// Learns from these patterns. Sessions that begin from now on use what follows from them.
    fn learn(&self, patterns: &[Pattern]) {
        let mut book = self.plans.lessons().open();
        // Asked while the book is open. So a reload that replaces this plan comes to the book later, in `follow_file`.
        let plan = self.plan();
        let now = Timestamp::now().as_millisecond();
        let changes = book.learn(patterns, |route, backend| goes_to(&plan, route, backend), now);
        self.apply(&book, &plan, &changes);
    }

    /// Keeps to the file, whose plan runs from now on.
    pub(super) fn follow_file(&self, plan: &Plan) {
        let mut book = self.plans.lessons().open();
        let changes = book.follow(plan.config.routes.routes(), Timestamp::now().as_millisecond());
        self.apply(&book, plan, &changes);
    }

    /// What is learned: route, side and interval.
    pub(in crate::net::operate) fn learned(&self) -> Vec<(String, Side, LearnedInterval)> {
        let book = self.plans.lessons().open();
        book.learned().map(|(route, side, learned)| (route.to_owned(), side, learned)).collect()
    }

    /// Looks at the ends of the last hour now, and learns from what they have in common, for tests.
    #[doc(hidden)]
    pub async fn learn_now(&self) {
        self.explain_now().await;
        self.learn(&self.patterns());
    }

    /// Learns by other times from now on, for tests.
    #[doc(hidden)]
    pub fn set_learning_rules(&self, rules: LearningRules) {
        self.plans.lessons().open().set_rules(rules);
    }

    fn apply(&self, book: &LessonBook, plan: &Plan, changes: &[LearningChange]) {
        for (route, terms) in plan.config.routes.routes().zip(&plan.terms) {
            book.teach(route, terms);
        }
        if !changes.is_empty() {
            self.metrics().set_learned(book.learned().map(|(route, side, learned)| (route, side, learned.interval)));
        }
        for change in changes {
            tell(change);
        }
    }
}

/// Learns each time something else is found, and in any case each [`STEP`]: trials begin and end too.
pub(super) async fn follow_patterns(control: Weak<Control>, mut news: watch::Receiver<Arc<[Pattern]>>) {
    loop {
        if let Ok(Err(_)) = timeout(STEP, news.changed()).await {
            return;
        }
        let patterns = Arc::clone(&news.borrow_and_update());
        let Some(control) = control.upgrade() else { return };
        let _vital = control.vitals().guard("the background thread");
        control.learn(&patterns);
    }
}

/// Tells a change in the log.
fn tell(LearningChange { route, side, from, to, reason }: &LearningChange) {
    let side = side.as_str();
    let message = match reason {
        LearningReason::Limit { limit, .. } if limit <= to => {
            "new sessions are pinged more often, but not often enough for this limit"
        }
        LearningReason::Limit { .. } | LearningReason::TooLong { .. } => "new sessions are pinged more often",
        LearningReason::TrialBegins => "a learned interval of pings is tried again",
        LearningReason::TrialCut(_) => "a learned interval of pings stays",
        LearningReason::TrialLived(_) | LearningReason::File => "a learned interval of pings is forgotten",
    };
    tracing::info!(route, side, ?from, ?to, because = %reason, "{message}");
}

/// Whether the requests of a route may go to the backend with this address.
fn goes_to(plan: &Plan, route: &str, backend: &str) -> bool {
    let named = plan.config.routes.routes().find(|other| other.name == route);
    let upstream = named.and_then(|route| plan.upstream_of(route));
    upstream.is_some_and(|upstream| upstream.members().iter().any(|member| member.backend.address() == backend))
}
