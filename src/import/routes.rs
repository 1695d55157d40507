//! Routes before they are written: what both languages do with them.

use super::{
    origin::FileLine,
    tree::{Branch, Twig},
};

/// The most routes of one file.
pub(super) const MOST_ROUTES: usize = 2000;

/// Everybody, as `deny` names them.
pub(super) const EVERYBODY: [&str; 3] = ["0.0.0.0/0", "::/0", "unix"];

/// A route of the new file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PlannedRoute {
    /// Where the original says it.
    pub(super) at: FileLine,
    /// `None` = any host.
    pub(super) host: Option<String>,
    pub(super) path: String,
    pub(super) goal: Goal,
    /// The other keys of the route, and the comments above it.
    pub(super) keys: Twig,
}

/// Where a route leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Goal {
    /// An upstream of this name.
    Upstream(String),
    /// The same URL by https.
    Redirect { code: u16, port: u16 },
    /// Nowhere: everybody is refused.
    Closed,
}

impl PlannedRoute {
    fn is_redirect(&self) -> bool {
        matches!(self.goal, Goal::Redirect { .. })
    }

    fn is_like(&self, other: &Self) -> bool {
        self.host == other.host && self.path == other.path && self.is_redirect() == other.is_redirect()
    }

    pub(super) fn into_twig(self) -> Twig {
        let Self { at: _, host, path, goal, keys } = self;
        let Twig { notes, pairs } = keys;
        let mut route = Twig { notes, pairs: Vec::new() };
        if let Some(host) = host {
            route.text("host", host);
        }
        if path != "/" {
            route.text("path", path);
        }
        match goal {
            Goal::Upstream(name) => route.text("upstream", name),
            // `closed` has put an upstream in its place.
            Goal::Closed => {}
            Goal::Redirect { code, port } => {
                let mut redirect = Twig::default();
                redirect.bare("to", "https");
                redirect.bare("code", code);
                if port != 443 {
                    redirect.bare("port", port);
                }
                route.put("redirect", Branch::Map(redirect));
            }
        }
        route.pairs.extend(pairs);
        route
    }
}

/// The routes without those that stand for a host and a path that another one has already, and what is left out.
pub(super) fn settle(routes: Vec<PlannedRoute>) -> (Vec<PlannedRoute>, Vec<String>) {
    let (mut settled, mut left_out): (Vec<PlannedRoute>, Vec<String>) = Default::default();
    for route in routes {
        if !route.path.starts_with('/') {
            left_out.push(route.at.note(format_args!("left out: {} is no path", route.path)));
            continue;
        }
        match settled.iter().find(|other| other.is_like(&route)) {
            None if settled.len() == MOST_ROUTES => {
                left_out.push(route.at.note(format_args!("left out: more than {MOST_ROUTES} routes")));
                break;
            }
            None => settled.push(route),
            Some(other) if other.goal == route.goal && other.keys.pairs == route.keys.pairs => {}
            Some(other) => {
                let PlannedRoute { host, path, at, .. } = &route;
                let host = host.as_deref().unwrap_or("any host");
                let note = format_args!("left out: {} has a route for {host} and {path} already", other.at);
                left_out.push(at.note(note));
            }
        }
    }
    (settled, left_out)
}

/// The routes, with those that lead nowhere as routes that refuse everybody: 403, whichever of the upstreams stands there.
pub(super) fn closed(routes: Vec<PlannedRoute>, upstreams: &[(String, Twig)]) -> Vec<PlannedRoute> {
    let any = routes.iter().find_map(|route| match &route.goal {
        Goal::Upstream(name) => Some(name.clone()),
        Goal::Redirect { .. } | Goal::Closed => None,
    });
    let any = any.or_else(|| upstreams.first().map(|(name, _)| name.clone()));
    let close = |route: PlannedRoute| match (&route.goal, &any) {
        (Goal::Closed, None) => None,
        (Goal::Closed, Some(name)) => {
            let mut keys = Twig { notes: route.keys.notes.clone(), pairs: Vec::new() };
            keys.texts("deny", EVERYBODY.map(str::to_owned).to_vec());
            Some(PlannedRoute { goal: Goal::Upstream(name.clone()), keys, ..route })
        }
        _ => Some(route),
    };
    routes.into_iter().filter_map(close).collect()
}

/// Redirects beside every longer path of the same host: the longest path wins before a redirect does. `stays`: the paths
/// that are served in the clear too.
pub(super) fn beside_longer_paths(routes: &[PlannedRoute], stays: impl Fn(&PlannedRoute) -> bool) -> Vec<PlannedRoute> {
    let redirects = routes.iter().filter(|route| route.is_redirect());
    let mut added: Vec<PlannedRoute> = Vec::new();
    for redirect in redirects {
        let longer = routes.iter().filter(|route| {
            !route.is_redirect()
                && route.host == redirect.host
                && route.path.len() > redirect.path.len()
                && route.path.starts_with(&redirect.path)
                && !stays(route)
        });
        for route in longer {
            let keys = Twig { notes: Vec::new(), pairs: redirect.keys.pairs.clone() };
            let path = route.path.clone();
            let beside = PlannedRoute { keys, path, ..redirect.clone() };
            if !routes.iter().chain(&added).any(|other| other.is_like(&beside)) && added.len() < MOST_ROUTES {
                added.push(beside);
            }
        }
    }
    added
}
