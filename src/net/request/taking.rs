//! Which route a request takes, and what that makes of the request before a backend gets it.

use hyper::{HeaderMap, Uri, http::request::Parts};

use super::{
    connection::{Connection, Entrance},
    stickiness::Stickiness,
};
use crate::{
    balance::Upstream,
    error::{Error, Kind},
    headers,
    net::worker::plan::Plan,
    routing::{PathRule, Route},
};

/// The route of a request, and its place among all routes.
pub(super) fn find_route<'p>(
    connection: &Connection,
    plan: &'p Plan,
    parts: &Parts,
    host: &str,
) -> Option<(usize, &'p Route)> {
    let is_secure = || is_secure(connection, plan, &parts.headers);
    // An OPTIONS of `*` asks for the whole server (RFC 9110 §9.3.7). The route that takes `/` answers it.
    let path = if parts.uri.path() == "*" { "/" } else { parts.uri.path() };
    plan.config.routes.find(host, path, is_secure)
}

/// Whether a request came from its client over TLS.
fn is_secure(connection: &Connection, plan: &Plan, headers: &HeaderMap) -> bool {
    let Entrance { sender, tls, .. } = &connection.entrance;
    let trusted = headers::is_trusted(sender.client(), &plan.config.trusted_proxies);
    headers::is_secure(tls.is_some(), trusted, headers)
}

/// Takes the sticky cookie of the route out of a request; `None` = the route has none.
pub(super) fn take_cookie<'p>(
    connection: &Connection,
    plan: &'p Plan,
    (route, place): (&'p Route, usize),
    upstream: &Upstream,
    headers: &mut HeaderMap,
) -> Option<Stickiness<'p>> {
    let cookie = (route.sticky.as_ref()?, plan.terms[place].tags.as_ref()?);
    let is_secure = is_secure(connection, plan, headers);
    Some(Stickiness::take(cookie, upstream, headers, is_secure))
}

/// The target that a route makes of the target of a request, and the prefix that was taken off, if one was. `None` = the
/// target stays as it is.
pub(super) fn rewritten<'r>(route: &'r Route, parts: &Parts) -> Result<Option<(Uri, Option<&'r str>)>, Error> {
    let bad = |why| Error::from_source(Kind::BadRequest, why);
    let Some(target) = route.path_rule.apply(&parts.uri).map_err(bad)? else { return Ok(None) };
    let prefix = match &route.path_rule {
        PathRule::Strip(prefix) => Some(&**prefix),
        PathRule::Keep | PathRule::Replace(_) => None,
    };
    Ok(Some((target, prefix)))
}
