//! nginx: its file, read and translated. `blocks` reads it from the words of `tokens`; `scope` says which directive counts;
//! `servers` and `locations` are what requests meet; `sites`, `forward`, `fields` and `access` turn a location into a route;
//! `upstreams` and `common` do the rest; `gaps` says what has no counterpart; `report` and `names` say what is wrong.

mod access;
mod blocks;
mod common;
mod fields;
mod forward;
mod gaps;
mod locations;
mod names;
pub(super) mod patterns;
mod report;
mod scope;
pub(super) mod servers;
mod sites;
mod tokens;
pub(super) mod upstreams;

use self::{
    blocks::{BlockReader, Directive, check},
    scope::Scope,
    servers::{ListenGroup, ListenPlace, VirtualServer, listen_groups},
    sites::{SitePlan, plan},
    upstreams::Groups,
};
use super::{
    blueprint::Blueprint,
    origin::{FileLine, ImportError, IncludedFile, ReadFiles},
    remark::Remark,
    routes::{Goal, PlannedRoute, beside_longer_paths, closed, settle},
    tree::Twig,
};

/// The servers that a host meets: in the clear, and over TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Met {
    clear: Option<usize>,
    secure: Option<usize>,
}

/// Reads and translates a configuration.
///
/// # Errors
/// Why it cannot be read.
pub(super) fn translate(
    file: IncludedFile,
    folder: &str,
    read: ReadFiles<'_>,
) -> Result<(Blueprint, Vec<Remark>), ImportError> {
    let mut reader = BlockReader::new(read);
    let directives = reader.file(&file, None)?;
    check(&directives)?;
    let start = FileLine { file: file.name.as_str().into(), line: 1 };
    Ok(Conf::new(&directives, folder, &start).translate(reader.notes))
}

/// A configuration that was read.
struct Conf<'a> {
    directives: &'a [Directive],
    /// The levels around the servers.
    levels: Vec<&'a [Directive]>,
    top: Scope<'a>,
    upstreams: Vec<&'a Directive>,
    servers: Vec<VirtualServer<'a>>,
}

impl<'a> Conf<'a> {
    fn new(directives: &'a [Directive], folder: &'a str, start: &FileLine) -> Self {
        let https = directives.iter().filter(|directive| directive.name == "http").map(Directive::inner);
        let levels: Vec<&[Directive]> = [directives].into_iter().chain(https).collect();
        let top = Scope::new(folder, levels.clone());
        let of = |name: &'static str| {
            levels
                .iter()
                .flat_map(|level| level.iter())
                .filter(move |directive| directive.name == name && directive.block.is_some())
        };
        let mut servers: Vec<_> =
            of("server").map(|server| VirtualServer::new(&server.at, server.inner(), &top)).collect();
        // A piece of a file that stands inside a `server`.
        if let Some(first) = of("location").next().filter(|_| servers.is_empty()) {
            let at = FileLine { line: first.at.line.min(start.line), ..start.clone() };
            servers.push(VirtualServer::new(&at, directives, &Scope::new(folder, Vec::new())));
        }
        Self { directives, upstreams: of("upstream").collect(), levels: levels.clone(), top, servers }
    }

    /// `notes`: what was to be said of the files.
    fn translate(self, notes: Vec<String>) -> (Blueprint, Vec<Remark>) {
        let mut remarks = Vec::new();
        names::remarks(self.directives, false, &mut remarks);
        report::remarks(&self.servers, &self.upstreams, &mut remarks);
        let mut blueprint = Blueprint { notes, ..Blueprint::default() };
        let is_piece = self.servers.iter().any(|server| std::ptr::eq(server.scope.own(), self.directives));
        if !is_piece {
            common::notes(&mut blueprint, &self.levels);
        }
        let mut groups = Groups::new(self.upstreams.clone(), self.top.clone());
        let plans: Vec<SitePlan> = self.servers.iter().map(|server| plan(server, &mut groups)).collect();
        let listens = listen_groups(&self.servers);
        let mut scopes: Vec<Scope<'_>> = Vec::new();
        for (server, plan) in self.servers.iter().zip(&plans) {
            for note in &plan.notes {
                blueprint.note(note.clone());
            }
            let passing = locations::spots(server).into_iter().filter(|spot| spot.scope.one("proxy_pass").is_some());
            scopes.extend(passing.map(|spot| spot.scope));
        }
        common::put(&mut blueprint, &self.top, &scopes);
        let (routes, met) = self.routes(&listens, plans, &mut blueprint);
        for group in listens.iter().filter(|group| group.servers.iter().any(|place| met.contains(place))) {
            let listener = common::listener(group, &self.servers, &mut blueprint);
            blueprint.listeners.extend(listener);
        }
        let (routes, left_out) = settle(routes);
        let routes = closed(routes, &groups.upstreams);
        for note in left_out {
            blueprint.note(note);
        }
        blueprint.routes = routes;
        blueprint.upstreams = groups.upstreams;
        (blueprint, remarks)
    }

    /// The routes of every host, and the places of the servers that a host meets. The others are left out with a comment.
    fn routes(
        &self,
        listens: &[ListenGroup],
        mut plans: Vec<SitePlan>,
        blueprint: &mut Blueprint,
    ) -> (Vec<PlannedRoute>, Vec<usize>) {
        let mut hosts: Vec<Option<&str>> = Vec::new();
        for name in self.servers.iter().flat_map(|server| &server.names) {
            if !hosts.contains(&Some(name)) {
                hosts.push(Some(name));
            }
        }
        hosts.push(None);
        let (mut routes, mut is_met): (Vec<PlannedRoute>, Vec<usize>) = Default::default();
        for host in hosts {
            let met = self.met(listens, host, &plans);
            is_met.extend(met.clear.into_iter().chain(met.secure));
            let mut own = self.routes_of(host, met, &mut plans);
            if let Some(redirect) = Self::to_secure(listens, met, host, &own) {
                own.push(redirect);
                let beside = beside_longer_paths(&own, |_| false);
                own.extend(beside);
            }
            // Of two servers, the one that leads somewhere counts; hosts that nobody names need no route to be refused.
            own.sort_by_key(|route| route.goal == Goal::Closed);
            if host.is_none() {
                let is_left = |route: &PlannedRoute| route.goal == Goal::Closed && route.path == "/";
                for left in own.iter().filter(|route| is_left(route)) {
                    blueprint.note(left.at.note("here hosts that no server names get 404"));
                }
                own.retain(|route| !is_left(route));
            }
            let default = met.secure.or(met.clear).and_then(|place| self.servers.get(place));
            if let (None, false, Some(first), Some(server)) = (host, routes.is_empty(), own.first_mut(), default) {
                let note = "the default server: it also takes the hosts that no server names";
                first.keys.notes.insert(0, server.at.note(note));
            }
            routes.append(&mut own);
        }
        for (place, server) in self.servers.iter().enumerate() {
            let is_empty = plans.get(place).is_none_or(|plan| plan.paths.is_empty());
            if !is_met.contains(&place) && !is_empty {
                let note =
                    "left out: the routes of longwire are of every listener, so servers are told apart by name alone";
                blueprint.note(server.at.note(note));
            }
        }
        (routes, is_met)
    }

    /// Which servers a host meets. The first address at which a server has the name counts. Where the name is known in the clear
    /// or over TLS alone, the default server of the other does not count, unless it redirects to https.
    fn met(&self, listens: &[ListenGroup], host: Option<&str>, plans: &[SitePlan]) -> Met {
        let of = |is_secure: bool| {
            let groups = || listens.iter().filter(move |group| group.is_secure == is_secure);
            let named = groups().map(|group| group.server(&self.servers, host)).find(|(_, is_named)| *is_named);
            named.or_else(|| groups().map(|group| group.server(&self.servers, host)).next())
        };
        let (clear, secure) = (of(false), of(true));
        let is_named = |met: Option<(usize, bool)>| met.is_some_and(|(_, is_named)| is_named);
        let leads = |place: usize, redirects: bool| {
            let paths = plans.get(place).map_or(&[][..], |plan| &plan.paths);
            paths.iter().any(|site| match site.goal {
                Goal::Redirect { .. } => true,
                Goal::Upstream(_) => !redirects,
                Goal::Closed => false,
            })
        };
        let counts = |met: (usize, bool), other: Option<(usize, bool)>| met.1 || !is_named(other);
        Met {
            // A default server that has nothing in the clear leaves a host to TLS alone.
            clear: clear
                .filter(|met| counts(*met, secure) || leads(met.0, true))
                .filter(|met| met.1 || secure.is_none_or(|secure| secure.0 == met.0) || leads(met.0, false))
                .map(|met| met.0),
            secure: secure.filter(|met| counts(*met, clear)).map(|met| met.0),
        }
    }

    /// A redirect for a host that nginx serves over TLS alone, where longwire listens in the clear too.
    fn to_secure(
        listens: &[ListenGroup],
        met: Met,
        host: Option<&str>,
        routes: &[PlannedRoute],
    ) -> Option<PlannedRoute> {
        let first = routes.iter().find(|route| matches!(route.goal, Goal::Upstream(_)))?;
        let place = met.secure.filter(|_| met.clear.is_none() && listens.iter().any(|group| !group.is_secure))?;
        let group = listens.iter().find(|group| group.is_secure && group.servers.contains(&place))?;
        let port = match &group.endpoint {
            ListenPlace::Tcp(address) => address.port(),
            ListenPlace::Unix(_) => 443,
        };
        let notes = vec![first.at.note("nginx does not serve this host in the clear")];
        let (at, host, path) = (first.at.clone(), host.map(str::to_owned), "/".to_owned());
        Some(PlannedRoute {
            at,
            host,
            path,
            goal: Goal::Redirect { code: 302, port },
            keys: Twig { notes, ..Twig::default() },
        })
    }

    fn routes_of(&self, host: Option<&str>, met: Met, plans: &mut [SitePlan]) -> Vec<PlannedRoute> {
        let mut routes: Vec<PlannedRoute> = Vec::new();
        let mut clear: Vec<String> = Vec::new();
        let is_one = met.clear == met.secure;
        let secure = met.secure.filter(|_| !is_one);
        for (place, is_secure) in [(secure, true), (met.clear, false)] {
            let Some(plan) = place.and_then(|place| plans.get_mut(place)) else { continue };
            for site in &mut plan.paths {
                let is_redirect = matches!(site.goal, Goal::Redirect { .. });
                // Over TLS, a redirect to https would lead to itself.
                if is_redirect && is_secure {
                    continue;
                }
                if !is_secure && !is_redirect && !is_one {
                    clear.push(site.path.clone());
                }
                let mut keys = Twig { notes: std::mem::take(&mut site.keys.notes), pairs: site.keys.pairs.clone() };
                keys.notes.extend(site.for_any_host.take_if(|_| host.is_none()));
                let (at, path, goal) = (site.at.clone(), site.path.clone(), site.goal.clone());
                routes.push(PlannedRoute { at, host: host.map(str::to_owned), path, goal, keys });
            }
        }
        let beside = beside_longer_paths(&routes, |route| clear.contains(&route.path));
        routes.extend(beside);
        routes
    }
}
