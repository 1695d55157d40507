//! `GET /metrics`.

use std::time::Instant;

use hyper::{HeaderMap, StatusCode};

use crate::{
    balance::{FoundAt, Health, Member},
    metrics::{self, BackendState, ProxyState, process::ProcessStats, text::Format},
    net::operate::{
        control::Control,
        desk::answer::{AdminAnswer, with_type},
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
        worker_sessions: live,
        opcodes: sum.opcodes,
    };
    let text = control.metrics().show(format, &state, &sum.routes, ProcessStats::read());
    with_type(StatusCode::OK, format.content_type(), text)
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
