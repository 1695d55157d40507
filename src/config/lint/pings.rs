//! Whether pings hold quiet sessions on the path that is named.

use std::time::Duration as StdDuration;

use super::{LintedLimit, LintedRoute, Linter, shown};
use crate::{
    config::document::At,
    paths::{self, Activity, Limit, Manner},
    ws::{Side, keepalive::SideTimes},
};

/// Half of 55 s, the shortest idle limit that is common on a path. With a longer interval, one lost ping loses the session.
const LONGEST_SAFE_PING: StdDuration = StdDuration::from_secs(27);

const SIDES: [Side; 2] = [Side::Client, Side::Backend];

impl Linter<'_> {
    pub(super) fn pings(&mut self, route: &LintedRoute<'_>) {
        let interval = route.route.keepalive.ping_interval;
        self.common_limit(route);
        for side in SIDES {
            match interval.of(side) {
                Some(interval) => self.interval(route, side, interval),
                None => {
                    self.kernel_keepalive(route, side);
                    self.nothing_holds(route, side);
                    self.left_out(route, side);
                }
            }
        }
        if interval == SideTimes::of_both(None) {
            self.nothing_to_learn(route);
        }
    }

    /// Where no limit is named, the interval is held against the limits that are common. What stands before a backend says
    /// nothing of the clients.
    fn common_limit(&mut self, route: &LintedRoute<'_>) {
        let interval = route.route.keepalive.ping_interval;
        let is_unknown = |side: &Side| route.shortest(*side).is_none();
        let interval = match interval.client {
            Some(interval) if is_unknown(&Side::Client) => interval,
            None if SIDES.iter().all(is_unknown) => interval.backend.unwrap_or_default(),
            _ => return,
        };
        if interval <= LONGEST_SAFE_PING {
            return;
        }
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

    /// A silent limit asks for keepalives of TCP below it where no ping goes.
    fn kernel_keepalive(&mut self, route: &LintedRoute<'_>, side: Side) {
        let silent = route.limits(side).filter(|LintedLimit { limit, .. }| is_silent(limit.dies));
        let unheld = silent.filter_map(|limited| Some((limited.limit.idle?, limited)));
        let unheld = unheld.filter(|(idle, _)| !self.kernel_asks_within(*idle));
        let Some((idle, LintedLimit { limit, at })) = unheld.min_by_key(|(idle, _)| *idle) else { return };
        let at = self.written([At::default().key("tcp").key("keepalive_idle")]).unwrap_or(at);
        let (name, idle, whom) = (&limit.name, shown(idle), whom(side));
        let message = match self.config.tcp.keepalive_idle {
            Some(keepalive) => {
                let keepalive = shown(keepalive);
                format!(
                    "`tcp.keepalive_idle` ({keepalive}) is not below the {idle} of `{name}`, and no ping goes to {whom}"
                )
            }
            None => format!("neither pings nor keepalives of TCP go to {whom}, and the limit of `{name}` is {idle}"),
        };
        let help = match limit.counts {
            Activity::Packets => {
                let fitting = shown(paths::holding(limit.idle.unwrap_or_default()));
                format!("nobody is told of this end: let longwire ping them, or write keepalive_idle: {fitting}")
            }
            _ => "nobody is told of this end, and a keepalive of TCP does not count there: let longwire ping them"
                .to_owned(),
        };
        self.warn(&at, message, help);
    }

    /// Without pings to a side, nothing holds a quiet session over a limit that does not count keepalives of TCP.
    fn nothing_holds(&mut self, route: &LintedRoute<'_>, side: Side) {
        let interval = route.route.keepalive.ping_interval;
        let nobody_is_pinged = SIDES.iter().all(|side| interval.of(*side).is_none());
        for LintedLimit { limit, at } in route.limits(side) {
            let Some(idle) = limit.idle else { continue };
            let is_told_already = is_silent(limit.dies) && !self.kernel_asks_within(idle);
            let is_held = match limit.counts {
                Activity::Packets => self.kernel_asks_within(idle),
                // A Ping would not be sure to hold it either, and over no limit is anything lost.
                Activity::Messages | Activity::Nothing => true,
                Activity::BytesFromBackend => !nobody_is_pinged,
                Activity::Bytes | Activity::Frames => false,
            };
            if is_held || is_told_already {
                continue;
            }
            let (name, fitting, idle) = (&limit.name, shown(paths::holding(idle)), shown(idle));
            let (message, mut help) = match nobody_is_pinged {
                true => (
                    format!("no side is pinged, and `{name}` ends a session after {idle}"),
                    format!("write ping_interval: {fitting}, or auto"),
                ),
                false => (
                    format!("no ping goes to {}, and `{name}` ends a session after {idle}", whom(side)),
                    "write sides: [client, backend]".to_owned(),
                ),
            };
            if limit.counts == Activity::Packets {
                help = format!("{help}, or keepalive_idle: {fitting}");
            }
            self.warn(&at, message, help);
        }
    }

    /// What is learned is an interval, and nothing is pinged.
    fn nothing_to_learn(&mut self, route: &LintedRoute<'_>) {
        if let Some(at) = self.written(route.keepalive("learn")).filter(|_| route.route.learns) {
            self.warn(
                &at,
                "`learn` does nothing here: no side is pinged".to_owned(),
                "set ping_interval, or leave learn out",
            );
        }
    }

    /// Over such a limit a client's own pings hold nothing, and neither does TCP. Only our pings do: those to clients, and those
    /// that the backend answers.
    fn left_out(&mut self, route: &LintedRoute<'_>, side: Side) {
        if route.route.keepalive.ping_interval.of(side.other()).is_none() {
            return;
        }
        let is_one_way = |limit: &Limit| limit.counts == Activity::BytesFromBackend && limit.idle.is_some();
        let Some(LintedLimit { limit, at }) = route.limits(side).find(|limited| is_one_way(limited.limit)) else {
            return;
        };
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

    /// Whether the kernel asks a side that is silent for so long.
    fn kernel_asks_within(&self, idle: StdDuration) -> bool {
        self.config.tcp.keepalive_idle.is_some_and(|keepalive| keepalive < idle)
    }
}

pub(super) const fn whom(side: Side) -> &'static str {
    match side {
        Side::Client => "clients",
        Side::Backend => "backends",
    }
}

/// Whether an end may pass without a word to us.
const fn is_silent(dies: Manner) -> bool {
    matches!(dies, Manner::Silent | Manner::OneSided | Manner::Forgotten)
}
