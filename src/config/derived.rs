//! What `auto` came to on the path of a route, and what it follows from, for people. PURE.

use super::values::Duration;
use crate::{
    paths::{self, Activity, Derived, Limit},
    routing::Route,
    ws::Side,
};

/// A sentence for each value of the route that follows from a limit of its path, and for each limit that no ping is
/// sure to hold. Without limits there is none.
#[must_use]
pub fn derived(route: &Route) -> Vec<String> {
    let limits = &route.limits;
    let intervals = [(Side::Client, "clients"), (Side::Backend, "backends")].into_iter().filter_map(|(side, whom)| {
        let is_pinged = limits.sets_interval && route.keepalive.ping_interval.of(side).is_some();
        interval(whom, limits.interval(side)).filter(|_| is_pinged)
    });
    let lifetime = limits.lifetime().filter(|_| limits.sets_lifetime).and_then(lifetime);
    let unheld = limits.client.iter().chain(&limits.backend).filter_map(only_by_messages);
    intervals.chain(lifetime).chain(unheld).collect()
}

/// A limit over which no interval is sure to hold a session.
fn only_by_messages(limit: &Limit) -> Option<String> {
    let idle = limit.idle.filter(|_| limit.counts == Activity::Messages)?;
    Some(format!("only messages are sure to hold a session over the {} of {}", Duration(idle), limit.name))
}

fn interval(whom: &str, Derived { value, from }: Derived<'_>) -> Option<String> {
    let limit = from?;
    let idle = limit.idle?;
    let (interval, shown, name) = (Duration(value), Duration(idle), &limit.name);
    Some(match paths::holding(idle) {
        fitting if fitting == value => {
            format!("{whom} are pinged after {interval}: two fifths of the {shown} of {name}")
        }
        fitting if fitting < value => {
            format!("{whom} are pinged after {interval}, the shortest of auto: the limit of {name} is {shown}")
        }
        _ => format!(
            "{whom} are pinged after {interval}, the longest of auto: the shortest limit is the {shown} of {name}"
        ),
    })
}

fn lifetime(Derived { value, from }: Derived<'_>) -> Option<String> {
    let limit = from?;
    let (life, name) = (Duration(limit.max_life?), &limit.name);
    Some(format!("sessions end after {}: the {life} of {name} less a twentieth", Duration(value)))
}
