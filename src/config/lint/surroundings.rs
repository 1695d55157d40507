//! Whether the other keys fit what stands on the path: who the clients are, how long sessions and the process may live.

use super::{LintedLimit, LintedRoute, Linter, shown};
use crate::{
    config::document::At,
    paths::{self, Introduction, Limit},
    ws::Side,
};

const SIDES: [Side; 2] = [Side::Client, Side::Backend];

impl Linter<'_> {
    pub(super) fn surroundings(&mut self, route: &LintedRoute<'_>) {
        self.clients(route);
        self.life(route);
        self.grace(route);
        self.pong_timeout(route);
        self.unverified(route);
    }

    /// Whether the address of a client is known behind what stands in front.
    fn clients(&mut self, route: &LintedRoute<'_>) {
        let takes_headers = self.config.listeners.iter().any(|listener| listener.proxy_protocol.is_some());
        let introduced = |kinds: &[Introduction]| {
            let introduces = |limit: &Limit| paths::preset(&limit.name).and_then(|preset| preset.introduces);
            route
                .limits(Side::Client)
                .find(|limited| introduces(limited.limit).is_some_and(|kind| kinds.contains(&kind)))
        };
        if let Some(LintedLimit { limit, at }) = introduced(&[Introduction::ByProxyHeader]).filter(|_| !takes_headers) {
            let message = format!("`{}` stands in front, and no listener takes PROXY headers", limit.name);
            let help = "let the balancer send them, and write proxy_protocol: { from: [10.0.0.0/8] } in the listener, with its \
                        networks: otherwise no address of a client is sure";
            self.warn(&at, message, help);
        }
        let kinds: &[_] = match takes_headers {
            // What can send a header is taken to do so.
            true => &[Introduction::ByField],
            false => &[Introduction::ByField, Introduction::ByEither],
        };
        if let Some(LintedLimit { limit, at }) = introduced(kinds).filter(|_| self.config.trusted_proxies.is_empty()) {
            let at = self.written([At::default().key("trusted_proxies")]).unwrap_or(at);
            let message = format!("`{}` stands in front, and `trusted_proxies` names nobody", limit.name);
            let help =
                "every client has the address of that proxy: write trusted_proxies: [10.0.0.0/8], with its networks";
            self.warn(&at, message, help);
        }
    }

    fn life(&mut self, route: &LintedRoute<'_>) {
        let max_lifetime = route.route.max_lifetime;
        let sets_lifetime = route.route.limits.sets_lifetime;
        let limits = || SIDES.into_iter().flat_map(move |side| route.limits(side));
        for LintedLimit { limit, at } in limits().filter(|LintedLimit { limit, .. }| !limit.life_given) {
            let name = &limit.name;
            let unless = limit.max_life.map_or_else(String::new, |life| format!(" ({} unless set)", shown(life)));
            let help = format!("write {{ name: {name}, max_life: TIME }} with the time that is set there{unless}");
            if sets_lifetime {
                let message =
                    format!("`max_lifetime: auto` leaves `{name}` out: its longest life is what people set there");
                self.warn(&at, message, help);
            } else if max_lifetime.is_none() {
                let message = format!("`{name}` ends each session at some age, and no `max_lifetime` ends it before");
                self.warn(&at, message, format!("{help}, and max_lifetime: auto in the route"));
            } else if let (Some(own), Some(life)) = (max_lifetime, limit.max_life)
                && own >= life
            {
                let at = self.written([route.at.key("max_lifetime")]).unwrap_or(at);
                let (own, life) = (shown(own), shown(life));
                let message = format!(
                    "`{name}` ends each session at the age of {life} unless that is set, and `max_lifetime` ({own}) is not below"
                );
                self.warn(
                    &at,
                    message,
                    format!("write {{ name: {name}, max_life: TIME }} with the time that is set there"),
                );
            }
        }
        let lives = limits().filter_map(|limited| Some((limited.limit.max_life?, limited)));
        let lives = lives.filter(|(_, LintedLimit { limit, .. })| limit.life_given);
        let Some((life, LintedLimit { limit, at })) = lives.min_by_key(|(life, _)| *life) else { return };
        let at = self.written([route.at.key("max_lifetime")]).unwrap_or(at);
        let name = &limit.name;
        match max_lifetime {
            None => {
                let life = shown(life);
                let message =
                    format!("`{name}` ends each session at the age of {life}, and no `max_lifetime` ends it before");
                self.warn(&at, message, "clients read 1006 then: write max_lifetime: auto in the route");
            }
            Some(own) if own >= life => {
                let message = format!("`max_lifetime` ({}) is not below the {} of `{name}`", shown(own), shown(life));
                self.warn(&at, message, "clients read 1006 then: write max_lifetime: auto");
            }
            Some(_) => {}
        }
    }

    fn grace(&mut self, route: &LintedRoute<'_>) {
        let drain = self.config.timeouts.drain;
        let short = route.limits(Side::Client).filter_map(|limited| Some((limited.limit.grace?, limited)));
        let short = short.filter(|(grace, _)| drain > *grace);
        let Some((grace, LintedLimit { limit, at })) = short.min_by_key(|(grace, _)| *grace) else { return };
        let at = self.written([At::default().key("timeouts").key("drain")]).unwrap_or(at);
        let (drain, grace) = (shown(drain), shown(grace));
        let message = format!("`timeouts.drain` ({drain}) is beyond the {grace} that `{}` gives", limit.name);
        let help = "the process is killed before it has drained: make it shorter, or give it more time there, and say so by grace";
        self.warn(&at, message, help);
    }

    /// Only a timeout that the file says. The default for backends is long on purpose.
    fn pong_timeout(&mut self, route: &LintedRoute<'_>) {
        let Some(idle) = route.route.timeouts.idle else { return };
        for (side, key) in [(Side::Client, "client"), (Side::Backend, "backend")] {
            let is_pinged = route.route.keepalive.ping_interval.of(side).is_some();
            let Some(timeout) =
                route.route.keepalive.pong_timeout.of(side).filter(|timeout| is_pinged && *timeout > idle)
            else {
                continue;
            };
            // One duration is for both sides. A mapping may leave a side to the mapping of the whole file.
            let places = route.keepalive("pong_timeout").into_iter().flat_map(|at| {
                let other = if side == Side::Client { "backend" } else { "client" };
                let is_for_both = !self.document.has(&at.key(other)) && !self.document.has(&at.key(key));
                [Some(at.key(key)), is_for_both.then_some(at)].into_iter().flatten()
            });
            if let Some(at) = self.written(places) {
                let (timeout, idle) = (shown(timeout), shown(idle));
                let message = format!("`pong_timeout` ({timeout}) is longer than `timeouts.idle` ({idle})");
                self.warn(&at, message, "a session that is silent ends as idle before a side is judged dead");
            }
        }
    }

    /// `auto` follows from a figure that could not be verified, but says so.
    fn unverified(&mut self, route: &LintedRoute<'_>) {
        let settings = &route.route.limits;
        let life = settings.lifetime().filter(|_| settings.sets_lifetime).and_then(|derived| derived.from?.max_life);
        for side in SIDES {
            let is_pinged = route.route.keepalive.ping_interval.of(side).is_some();
            let interval = settings.interval(side);
            let is_used = settings.sets_interval && is_pinged && interval.value < paths::LONGEST_INTERVAL;
            let idle = interval.from.and_then(|limit| limit.idle).filter(|_| is_used);
            for LintedLimit { limit, at } in route.limits(side).filter(|limited| !limited.limit.verified) {
                let used = [
                    ("idle", limit.idle.filter(|own| idle == Some(*own))),
                    ("max_life", limit.max_life.filter(|own| limit.life_given && life == Some(*own))),
                ];
                for (key, figure) in used {
                    let is_given = self.document.has(&at.key(key));
                    if let Some(figure) = figure.filter(|_| !is_given) {
                        let (name, figure) = (&limit.name, shown(figure));
                        let message = format!("`auto` relies on the {figure} of `{name}`, which nobody could verify");
                        let help = format!(
                            "measure the path, and write {{ name: {name}, {key}: {figure} }} with what holds there"
                        );
                        self.warn(&at, message, help);
                    }
                }
            }
        }
    }
}
