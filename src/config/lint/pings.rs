//! Whether pings hold quiet sessions on the path that is named.

use std::time::Duration as StdDuration;

use super::{LintedLimit, LintedRoute, Linter, shown};
use crate::{
    config::document::At,
    paths::{self, Activity, Manner},
    ws::Side,
};

/// Half of 55 s, the shortest idle limit that is common on a path. With a longer interval, one lost ping loses the session.
const LONGEST_SAFE_PING: StdDuration = StdDuration::from_secs(27);

const SIDES: [Side; 2] = [Side::Client, Side::Backend];

impl Linter<'_> {
    pub(super) fn pings(&mut self, route: &LintedRoute<'_>) {
        let interval = route.route.keepalive.ping_interval;
        if SIDES.iter().all(|side| route.shortest(*side).is_none()) {
            self.common_limit(route);
        }
        for side in SIDES {
            match interval.of(side) {
                Some(interval) => self.interval(route, side, interval),
                None => self.kernel_keepalive(route, side),
            }
        }
        match (interval.client, interval.backend) {
            (None, None) => self.nothing_holds(route),
            (None, Some(_)) => self.left_out(route, Side::Client),
            (Some(_), None) => self.left_out(route, Side::Backend),
            (Some(_), Some(_)) => {}
        }
    }

    /// With no limit named, the interval is held against the limits that are common.
    fn common_limit(&mut self, route: &LintedRoute<'_>) {
        let interval = route.route.keepalive.ping_interval;
        let Some(interval) = interval.client.or(interval.backend).filter(|interval| *interval > LONGEST_SAFE_PING)
        else {
            return;
        };
        if let Some(at) = self.written(route.keepalive("ping_interval")) {
            let interval = shown(interval);
            let message = format!("`ping_interval` ({interval}) is longer than half of the shortest common limit, 55s");
            self.warn(&at, message, "with 27s or less, one lost ping does not lose the session");
        }
    }

    fn interval(&mut self, route: &LintedRoute<'_>, side: Side, interval: StdDuration) {
        let Some((idle, LintedLimit { limit, at })) = route.shortest(side) else { return };
        if interval * 2 < idle {
            return;
        }
        let (name, limit, fitting) = (&limit.name, shown(idle), shown(paths::holding(idle)));
        let written = self.written(route.keepalive("ping_interval")).filter(|_| !route.route.limits.sets_interval);
        let interval = shown(interval);
        let Some(at) = written else {
            let message =
                format!("the {interval} of `ping_interval: auto` is not below half of the {limit} of `{name}`");
            let help = format!("`auto` does not ping more often: write ping_interval: {fitting}");
            return self.warn(&at, message, help);
        };
        let message = format!("`ping_interval` ({interval}) is not below half of the {limit} of `{name}`");
        let help = if paths::holding(idle) < paths::SHORTEST_INTERVAL {
            format!("one lost ping loses the session: write ping_interval: {fitting}")
        } else {
            format!("one lost ping loses the session: write ping_interval: {fitting}, or auto")
        };
        self.warn(&at, message, help);
    }

    /// A limit that nobody is told of needs TCP keepalive where no ping goes.
    fn kernel_keepalive(&mut self, route: &LintedRoute<'_>, side: Side) {
        let keepalive = self.config.tcp.keepalive_idle;
        let silent = route.limits(side).filter(|LintedLimit { limit, .. }| is_silent(limit.dies));
        let unheld = silent.filter_map(|limited| Some((limited.limit.idle?, limited)));
        let unheld = unheld.filter(|(idle, _)| keepalive.is_none_or(|keepalive| keepalive >= *idle));
        let Some((idle, LintedLimit { limit, at })) = unheld.min_by_key(|(idle, _)| *idle) else { return };
        let at = self.written([At::default().key("tcp").key("keepalive_idle")]).unwrap_or(at);
        let (name, idle, fitting) = (&limit.name, shown(idle), shown(paths::holding(idle)));
        let whom = match side {
            Side::Client => "clients",
            Side::Backend => "backends",
        };
        let message = match keepalive {
            Some(keepalive) => {
                let keepalive = shown(keepalive);
                format!(
                    "`tcp.keepalive_idle` ({keepalive}) is not below the {idle} of `{name}`, and no ping goes to {whom}"
                )
            }
            None => format!("neither pings nor keepalives of TCP go to {whom}, and the limit of `{name}` is {idle}"),
        };
        let help = format!("nobody is told of this end: let longwire ping them, or write keepalive_idle: {fitting}");
        self.warn(&at, message, help);
    }

    /// Without pings, nothing holds a quiet session over a limit that does not count keepalives of TCP.
    fn nothing_holds(&mut self, route: &LintedRoute<'_>) {
        for side in SIDES {
            for LintedLimit { limit, at } in route.limits(side) {
                let is_held = limit.counts == Activity::Packets || limit.counts == Activity::Messages;
                if let Some(idle) = limit.idle.filter(|_| !is_held && !is_silent(limit.dies)) {
                    let message =
                        format!("no side is pinged, and `{}` ends a session after {}", limit.name, shown(idle));
                    self.warn(&at, message, format!("write ping_interval: {}, or auto", shown(paths::holding(idle))));
                }
            }
        }
    }

    /// Over such a limit a client's own pings hold nothing, and neither does TCP. Only our pings do: those to clients, and those
    /// that the backend answers.
    fn left_out(&mut self, route: &LintedRoute<'_>, side: Side) {
        let is_one_way = |limited: &LintedLimit<'_>| limited.limit.counts == Activity::BytesFromBackend;
        let Some(LintedLimit { limit, at }) = route.limits(side).find(is_one_way) else { return };
        let at = self.written(route.keepalive("sides")).unwrap_or(at);
        let side = match side {
            Side::Client => "client",
            Side::Backend => "backend",
        };
        let message = format!(
            "`{}` counts only bytes from the backend toward the client, and `sides` leaves the {side} out",
            limit.name
        );
        self.warn(&at, message, "only pings of longwire hold it: write sides: [client, backend]");
    }
}

/// Whether an end may pass without a word to us.
const fn is_silent(dies: Manner) -> bool {
    matches!(dies, Manner::Silent | Manner::OneSided | Manner::Forgotten)
}
