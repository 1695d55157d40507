//! What does not fit the path that sessions take, or another key. The file can run all the same, so these are warnings. PURE.
//!
//! Each problem points at the key that is wrong if the file has that key, otherwise at the entry of `via` that asks for it.

mod outliving;
mod pings;
mod surroundings;

use std::{collections::HashMap, time::Duration as StdDuration};

use super::{
    Config,
    diagnostics::{Diagnostic, Severity},
    document::{At, Node},
    values,
};
use crate::{
    paths::Limit,
    routing::{Route, RouteAction},
    ws::Side,
};

/// Every warning about `config`, which has no error and which `document` says. `places`: where each route stands, by its name.
pub(super) fn lint(config: &Config, places: &HashMap<String, At>, document: &Node) -> Vec<Diagnostic> {
    let mut linter = Linter { config, document, found: Vec::new() };
    for route in config.routes.routes() {
        if let Some(route) = LintedRoute::new(route, config, places, document) {
            linter.pings(&route);
            linter.surroundings(&route);
            linter.outliving(&route);
        }
    }
    linter.found
}

struct Linter<'a> {
    config: &'a Config,
    document: &'a Node,
    found: Vec<Diagnostic>,
}

/// A route whose requests go to a backend, and where the file says what concerns it.
struct LintedRoute<'a> {
    route: &'a Route,
    at: &'a At,
    /// The list of what stands between clients and here.
    client_via: At,
    /// The list of what stands between here and the backends.
    backend_via: At,
}

/// A limit of the path, and its entry in the file.
struct LintedLimit<'a> {
    limit: &'a Limit,
    at: At,
}

impl Linter<'_> {
    /// Many routes share the path of the whole file, so each problem is noted once.
    fn warn(&mut self, at: &At, message: String, help: impl Into<String>) {
        let diagnostic = Diagnostic::error(self.document.locate_key(at), message).help(help);
        let diagnostic = Diagnostic { severity: Severity::Warning, ..diagnostic };
        if !self.found.contains(&diagnostic) {
            self.found.push(diagnostic);
        }
    }

    /// The first of these places at which the file says something.
    fn written(&self, places: impl IntoIterator<Item = At>) -> Option<At> {
        places.into_iter().find(|at| self.document.has(at))
    }
}

impl<'a> LintedRoute<'a> {
    /// `None` = no session takes this route.
    fn new(route: &'a Route, config: &Config, places: &'a HashMap<String, At>, document: &Node) -> Option<Self> {
        let RouteAction::Forward(upstream) = route.action else { return None };
        let (upstream, at) = (config.upstreams.get(upstream)?, places.get(&route.name)?);
        let root = At::default();
        let own_via = at.key("via");
        let client_via = if document.has(&own_via) { own_via } else { root.key("via") };
        Some(Self { route, at, client_via, backend_via: root.key("upstreams").key(&upstream.name).key("via") })
    }

    /// The limits toward a side.
    fn limits(&self, side: Side) -> impl Iterator<Item = LintedLimit<'a>> {
        let list = match side {
            Side::Client => self.client_via.clone(),
            Side::Backend => self.backend_via.clone(),
        };
        let limits = self.route.limits.toward(side).iter().enumerate();
        limits.map(move |(index, limit)| LintedLimit { limit, at: list.index(index) })
    }

    /// The shortest limit of silence toward a side.
    fn shortest(&self, side: Side) -> Option<(StdDuration, LintedLimit<'a>)> {
        let limits = self.limits(side).filter_map(|limited| Some((limited.limit.idle?, limited)));
        limits.min_by_key(|(idle, _)| *idle)
    }

    /// Where a key of `keepalive` may stand: in the route, or for the whole file.
    fn keepalive(&self, key: &str) -> [At; 2] {
        [self.at, &At::default()].map(|at| at.key("keepalive").key(key))
    }
}

/// A time as the file would have it.
fn shown(time: StdDuration) -> values::Duration {
    values::Duration(time)
}
