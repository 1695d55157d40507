//! Whether sessions wait for a side as long as their route says.

use super::{LintedRoute, Linter, pings::whom, shown};
use crate::{config::document::At, ws::Side};

impl Linter<'_> {
    /// The side that stays breaks the silence by answering our pings. Where none goes to it, idle time may be over first.
    pub(super) fn outliving(&mut self, route: &LintedRoute<'_>) {
        let settings = route.route;
        let Some(idle) = settings.timeouts.idle else { return };
        let hold = settings.hold.as_ref().map(|hold| ("hold", hold.terms.longest, Side::Client));
        let resume = settings.resume.map(|terms| ("resume", terms.longest, Side::Backend));
        for (key, longest, stays) in [hold, resume].into_iter().flatten() {
            if idle >= longest || settings.keepalive.ping_interval.of(stays).is_some() {
                continue;
            }
            let idle_of = |at: &At| at.key("timeouts").key("idle");
            let at = self.written([route.at, &At::default()].map(idle_of)).unwrap_or_else(|| route.at.key(key));
            let (idle, longest) = (shown(idle), shown(longest));
            let message = format!("`timeouts.idle` ({idle}) may end a session before `{key}.for` ({longest}) is over");
            let help = format!("no ping goes to {}: write ping_interval, or a longer idle", whom(stays));
            self.warn(&at, message, help);
        }
    }
}
