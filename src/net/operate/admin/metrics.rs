//! `GET /metrics`.

use std::time::Instant;

use hyper::{HeaderMap, StatusCode};

use crate::{
    balance::{FoundAt, Health, Member},
    explain::{Pattern, PatternKind},
    metrics::{self, BackendState, ProxyState, process::ProcessStats, text::Format},
    net::{
        operate::{
            control::Control,
            desk::answer::{AdminAnswer, with_type},
        },
        worker::plan::Plan,
    },
};

/// All metrics, in the format that the request accepts. If the sessions do not answer in time, their counters stay as
/// they were: the rest is most needed just then.
pub(super) async fn answer(control: &Control, headers: &HeaderMap) -> AdminAnswer {
    let format = Format::accepted(headers);
    let _turn = control.scrape().await;
    control.forget_gone(&control.plan());
    let tallies = control.survey().count().await;
    let (plan, book) = (control.plan(), control.orders().book());
    let live = tallies.as_ref().map(|tallies| tallies.iter().map(|tally| tally.live).collect());
    let sum = tallies.into_iter().flatten().reduce(|mut sum, tally| {
        sum.merge(&tally);
        sum
    });
    let sum = sum.unwrap_or_default();
    let members: Vec<_> = plan.members().collect();
    let patterns = control.patterns();
    let state = ProxyState {
        connections: control.live().connections(),
        probes_active: control.probes(),
        is_ready: control.is_ready(),
        is_draining: book.drains_all(),
        lines_dropped: control.lost_lines(),
        routes: plan
            .config
            .routes
            .routes()
            .map(|route| {
                let drains = book.drains_all() || book.routes().any(|name| name == route.name);
                let upstream = plan.upstream_of(route).map_or(metrics::NONE, |upstream| upstream.name());
                (route.name.as_str(), upstream, drains)
            })
            .collect(),
        backends: members.iter().map(|(upstream, member)| backend_state(upstream, member)).collect(),
        places: control.discovery().staleness(),
        suspected: suspected(&patterns, &plan),
        worker_sessions: live,
        opcodes: sum.opcodes,
        queued_bytes: control.queued_bytes(),
        away_sessions: control.reclaims().away(),
        kept_bytes: control.reclaims().kept.bytes(),
        fleet: plan.config.fleet.as_ref().map(|settings| {
            let standing = control.fleet_standing();
            (settings.prefix.as_str(), standing.connected, standing.living)
        }),
    };
    let text = control.metrics().show(format, &state, &sum.routes, ProcessStats::read());
    with_type(StatusCode::OK, format.content_type(), text)
}

/// The limits of silence that the sessions of each route meet: each limit at each route where it may be.
fn suspected<'p>(patterns: &[Pattern], plan: &'p Plan) -> Vec<(&'p str, &'static str, f64)> {
    let mut suspected = Vec::new();
    for pattern in patterns {
        let (Some(side), Some(seconds)) = (pattern.side, pattern.seconds) else { continue };
        for route in plan.config.routes.routes() {
            let Some(upstream) = plan.upstream_of(route) else { continue };
            let has_backend =
                |address: &str| upstream.members().iter().any(|member| member.backend.address() == address);
            if is_limit_of(pattern, &route.name, has_backend) {
                suspected.push((route.name.as_str(), side, seconds));
            }
        }
    }
    suspected
}

/// Whether all clients of this route may meet the limit. What only one network has is no limit of a route.
fn is_limit_of(pattern: &Pattern, route: &str, has_backend: impl FnOnce(&str) -> bool) -> bool {
    pattern.kind == PatternKind::IdleLimit
        && pattern.network.is_none()
        && pattern.route.as_deref().is_none_or(|name| name == route)
        && pattern.backend.as_deref().is_none_or(has_backend)
}

fn backend_state<'a>(upstream: &'a str, member: &'a Member) -> BackendState<'a> {
    let backend = &member.backend;
    BackendState {
        upstream,
        backend: backend.address(),
        active: backend.active(),
        is_up: member.takes_new() && backend.health(Instant::now()) == Health::Up,
        picks: backend.picks(),
        found: member.settings.found.as_ref().map(|FoundAt { by, from, name }| {
            let name = name.as_ref().unwrap_or(from);
            (by.as_str(), name.to_string())
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explain::Witnesses;

    #[test]
    fn a_limit_is_of_the_routes_where_all_clients_may_meet_it() {
        let everywhere = Pattern {
            kind: PatternKind::IdleLimit,
            side: Some("client"),
            route: None,
            backend: None,
            network: None,
            status: None,
            seconds: Some(47.0),
            at: None,
            for_seconds: None,
            cases: 12,
            share: 0.5,
            confidence: 0.999,
            key: None,
            value: None,
            text: String::new(),
            histogram: None,
            bound: None,
            witnesses: Witnesses::default(),
        };
        let is_of = |pattern: &Pattern| is_limit_of(pattern, "*/ws", |backend| backend == "b:1");
        assert!(is_of(&everywhere));
        for (name, is) in [("*/ws", true), ("*/", false)] {
            assert_eq!(is_of(&Pattern { route: Some(name.to_owned()), ..everywhere.clone() }), is, "{name}");
        }
        for (name, is) in [("b:1", true), ("b:2", false)] {
            assert_eq!(is_of(&Pattern { backend: Some(name.to_owned()), ..everywhere.clone() }), is, "{name}");
        }
        assert!(!is_of(&Pattern { network: Some("192.0.2.0/24".to_owned()), ..everywhere.clone() }));
        assert!(!is_of(&Pattern { kind: PatternKind::LifeLimit, ..everywhere }));
    }
}
