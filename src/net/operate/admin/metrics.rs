//! `GET /metrics`.

use std::time::Instant;

use hyper::{HeaderMap, StatusCode};

use super::answer::{Answer, with_type};
use crate::{
    balance::{Duty, Health},
    metrics::{BackendState, State, process::Process, text::Format},
    net::{operate::control::Control, worker::plan::Plan},
};

/// All metrics, in the format that the request accepts. If the sessions do not answer in time, their counters stay as
/// they were: the rest is most needed just then.
pub(super) async fn answer(control: &Control, headers: &HeaderMap) -> Answer {
    let format = Format::accepted(headers);
    let _turn = control.scrape().await;
    control.forget_gone();
    let tallies = control.count().await;
    let (plan, book) = (control.plan(), control.book());
    let live = tallies.as_ref().map(|tallies| tallies.iter().map(|tally| tally.live).collect());
    let sum = tallies.into_iter().flatten().reduce(|mut sum, tally| {
        sum.merge(&tally);
        sum
    });
    let sum = sum.unwrap_or_default();
    let state = State {
        connections: control.live().connections(),
        is_ready: control.is_ready(),
        is_draining: book.drains_all(),
        lines_dropped: control.lost_lines(),
        routes: plan
            .config
            .routes
            .routes()
            .map(|route| {
                let drains = book.drains_all() || book.routes().any(|name| name == route.name);
                (route.name.as_str(), plan.upstreams[route.upstream].name(), drains)
            })
            .collect(),
        backends: backends(&plan),
        worker_sessions: live,
        opcodes: sum.opcodes,
    };
    let text = control.metrics().show(format, &state, &sum.routes, Process::read());
    with_type(StatusCode::OK, format.content_type(), text)
}

fn backends(plan: &Plan) -> Vec<BackendState<'_>> {
    let now = Instant::now();
    let of = |index: usize| {
        let upstream = &plan.upstreams[index];
        upstream.backends().iter().enumerate().map(move |(place, backend)| BackendState {
            upstream: upstream.name(),
            backend: backend.address(),
            active: backend.active(),
            is_up: !upstream.is_down(place) && backend.duty() == Duty::Up && backend.health(now) == Health::Up,
            picks: backend.picks(),
        })
    };
    (0..plan.upstreams.len()).flat_map(of).collect()
}
