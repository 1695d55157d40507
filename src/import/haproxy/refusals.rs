//! `http-request deny` by host and path: which routes refuse everybody, or all but some networks.

use super::{
    conditions::{Ask, Case, Term},
    fitting::{Fitting, covers},
};
use crate::{
    import::{
        origin::FileLine,
        routes::{Goal, MOST_ROUTES, PlannedRoute},
        tree::{Branch, Twig},
    },
    sender::Network,
};

/// A rule that refuses requests by host or path.
#[derive(Debug)]
pub(super) struct DenyRule {
    at: FileLine,
    text: String,
    fitting: Fitting,
    /// Who is let in all the same; `None` = nobody.
    spared_sources: Option<Vec<String>>,
    /// Who alone is refused; empty = everybody.
    sources: Vec<String>,
}

impl DenyRule {
    /// The rule for one case; `None` = it asks what longwire cannot ask.
    pub(super) fn of(at: &FileLine, text: String, case: &Case) -> Option<Self> {
        let (mut rest, mut sources, mut spared): (Case, Vec<String>, Vec<String>) = Default::default();
        let mut is_spared = false;
        for Term { is_opposite, ask } in case {
            match (ask, is_opposite) {
                (Ask::Sources(networks), false) if sources.is_empty() => sources.clone_from(networks),
                (Ask::Sources(networks), true) => {
                    is_spared = true;
                    spared.extend(networks.iter().cloned());
                }
                // Without the header, nobody would be refused who must be, or everybody.
                (Ask::Sources(_), false) | (Ask::Upgrade, _) => return None,
                _ => rest.push(Term { is_opposite: *is_opposite, ask: ask.clone() }),
            }
        }
        let fitting = Fitting::of(&rest).filter(|fitting| fitting.is_secure.is_none())?;
        let spared_sources = is_spared.then_some(spared);
        // Who is in one list and not in another has no counterpart.
        (sources.is_empty() || spared_sources.is_none()).then_some(Self {
            at: at.clone(),
            text,
            fitting,
            spared_sources,
            sources,
        })
    }

    /// Lets the routes refuse what the rule refuses. `is_meant`: whether the rule is for a route.
    pub(super) fn apply(&self, routes: &mut Vec<PlannedRoute>, is_meant: &dyn Fn(&PlannedRoute) -> bool) {
        let Fitting { hosts, spared, spared_hosts, .. } = &self.fitting;
        for host in hosts.iter().chain(spared_hosts) {
            copy_for(routes, host);
        }
        let is_of_host = |host: Option<&str>| {
            let is_spared = spared_hosts.iter().any(|spared| covers(Some(spared), host));
            !is_spared && (hosts.is_empty() || hosts.iter().any(|own| covers(Some(own), host)))
        };
        let mut known: Vec<Option<String>> = Vec::new();
        for route in &*routes {
            if is_of_host(route.host.as_deref()) && !known.contains(&route.host) {
                known.push(route.host.clone());
            }
        }
        let paths = self.fitting.paths();
        for host in &known {
            for path in paths.iter().chain(spared) {
                let placed = placed(routes, host.as_deref(), path).filter(|_| routes.len() <= MOST_ROUTES);
                routes.extend(placed);
            }
        }
        let mut note = Some(self.at.note(format_args!("{}: here everybody gets 403", self.text)));
        for route in &mut *routes {
            let begins = |paths: &[String]| paths.iter().any(|path| route.path.starts_with(path.as_str()));
            if is_of_host(route.host.as_deref()) && begins(&paths) && !begins(spared) && is_meant(route) {
                self.restrict(route, &mut note);
            }
        }
    }

    /// `note`: what is said at the first route that is closed.
    fn restrict(&self, route: &mut PlannedRoute, note: &mut Option<String>) {
        if route.goal == Goal::Closed {
            return;
        }
        let listed = |keys: &Twig, key: &str| match keys.pairs.iter().find(|(known, _)| known == key) {
            Some((_, Branch::Texts(networks))) => Some(networks.clone()),
            _ => None,
        };
        let keys = &mut route.keys;
        let (allow, deny) = (listed(keys, "allow"), listed(keys, "deny").unwrap_or_default());
        let (allow, deny) = match &self.spared_sources {
            Some(networks) => (Some(allow.map_or_else(|| networks.clone(), |allow| narrowed(&allow, networks))), deny),
            None if self.sources.is_empty() => (Some(Vec::new()), deny),
            None => (allow, [deny, self.sources.clone()].concat()),
        };
        if allow.as_ref().is_some_and(Vec::is_empty) {
            route.goal = Goal::Closed;
            route.keys = Twig { notes: note.take().into_iter().collect(), pairs: Vec::new() };
            return;
        }
        keys.pairs.retain(|(key, _)| key != "allow" && key != "deny");
        keys.texts("allow", allow.unwrap_or_default());
        keys.texts("deny", deny);
    }
}

/// Adds a host to the routes that only those of any host, or of a wildcard, served so far.
fn copy_for(routes: &mut Vec<PlannedRoute>, host: &str) {
    let mut wider: Vec<PlannedRoute> = routes
        .iter()
        .filter(|route| route.host.as_deref() != Some(host) && covers(route.host.as_deref(), Some(host)))
        .cloned()
        .collect();
    // The most exact host first: its routes go before those of wider ones.
    wider.sort_by_key(|route| std::cmp::Reverse(route.host.as_ref().map_or(0, String::len)));
    for route in wider {
        let is_there = routes.iter().any(|other| other.host.as_deref() == Some(host) && other.path == route.path);
        if !is_there && routes.len() <= MOST_ROUTES {
            let keys = Twig { notes: Vec::new(), pairs: route.keys.pairs.clone() };
            routes.push(PlannedRoute { host: Some(host.to_owned()), keys, ..route });
        }
    }
}

/// A route for a path of a host that does what is done with the path anyway; `None` = it has one, or nothing is done.
pub(super) fn placed(routes: &[PlannedRoute], host: Option<&str>, path: &str) -> Option<PlannedRoute> {
    let serving = serving(routes, host, path)?;
    let keys = Twig { notes: Vec::new(), pairs: serving.keys.pairs.clone() };
    (serving.host.as_deref() != host || serving.path != path).then(|| PlannedRoute {
        host: host.map(str::to_owned),
        path: path.to_owned(),
        keys,
        ..serving.clone()
    })
}

/// The route that takes a path of a host: that of the most exact host, then the longest.
fn serving<'a>(routes: &'a [PlannedRoute], host: Option<&str>, path: &str) -> Option<&'a PlannedRoute> {
    let takes = |route: &&PlannedRoute| covers(route.host.as_deref(), host) && path.starts_with(&route.path);
    routes.iter().filter(takes).max_by_key(|route| {
        (route.host.as_deref() == host, route.host.as_ref().map_or(0, String::len), route.path.len())
    })
}

/// The networks that are in both lists.
pub(super) fn narrowed(one: &[String], other: &[String]) -> Vec<String> {
    let within = |inner: &[String], outer: &[String]| -> Vec<String> {
        let is_in = |inner: &&String| {
            let inner = inner.parse::<Network>().ok();
            outer
                .iter()
                .filter_map(|outer| outer.parse::<Network>().ok())
                .any(|outer| inner.is_some_and(|inner| outer.contains(&inner)))
        };
        inner.iter().filter(is_in).cloned().collect()
    };
    let mut both = within(one, other);
    for network in within(other, one) {
        if !both.contains(&network) {
            both.push(network);
        }
    }
    both
}
