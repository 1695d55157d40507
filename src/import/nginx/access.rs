//! Who may use a location: `allow`, `deny`, `auth_request`, certificates of clients.

use hyper::{Uri, header::HeaderName};

use super::{
    blocks::Directive,
    locations::{PathKind, Spot},
    scope::Scope,
    upstreams::{Groups, PassTarget, address, has_flag},
};
use crate::{
    headers::may_be_granted,
    import::{
        origin::is_target,
        routes::EVERYBODY,
        tree::{Branch, Twig},
    },
    sender::Network,
};

/// Adds `allow` and `deny`. nginx takes the first that fits; longwire asks `deny` first.
pub(super) fn addresses(keys: &mut Twig, scope: &Scope<'_>) {
    let rules = scope.either(["allow", "deny"]);
    let (mut allow, mut deny): (Vec<String>, Vec<String>) = Default::default();
    let mut is_closed = false;
    for rule in &rules {
        let who = match rule.arg(0) {
            "unix:" => "unix".to_owned(),
            who => who.to_owned(),
        };
        match (rule.name.as_str(), who.as_str()) {
            ("deny", "all") => {
                is_closed = true;
                break;
            }
            ("allow", "all") => break,
            (_, who) if who.parse::<Network>().is_err() => {
                keys.notes.push(rule.at.note(format_args!("{} {who}: this is no network", rule.name)));
            }
            ("allow", _) => allow.push(who),
            _ => {
                if !allow.is_empty() {
                    let note = format_args!("deny {who} goes before every allow here, whatever the order");
                    keys.notes.push(rule.at.note(note));
                }
                deny.push(who);
            }
        }
    }
    if is_closed && allow.is_empty() {
        deny = EVERYBODY.map(str::to_owned).to_vec();
    }
    if is_closed {
        keys.texts("allow", allow);
    }
    keys.texts("deny", deny);
    if let Some(satisfy) = scope.one("satisfy").filter(|satisfy| satisfy.arg(0) == "any") {
        keys.notes.push(satisfy.at.note("satisfy any: longwire wants all that a route asks for"));
    }
}

/// Adds `auth_request`, and returns the fields that the service grants. `spots`: the locations of the server.
///
/// # Errors
/// A comment that says why nobody can be asked.
pub(super) fn service(
    keys: &mut Twig,
    scope: &Scope<'_>,
    groups: &Groups<'_>,
    spots: &[Spot<'_>],
) -> Result<Vec<String>, String> {
    let Some(asked) = scope.one("auth_request").filter(|asked| asked.arg(0) != "off") else {
        return Ok(Vec::new());
    };
    let Some(url) = serving(spots, asked.arg(0)).and_then(|spot| question(keys, spot, asked, groups)) else {
        return Err(asked.at.note(format_args!("auth_request {}: longwire cannot ask it", asked.arg(0))));
    };
    let granted = granted(scope);
    let mut request = Twig::default();
    request.text("url", url);
    request.texts("pass", granted.clone());
    keys.put("auth_request", Branch::Map(request));
    Ok(granted)
}

/// The location that serves a path of nginx's own: the one of this path, or else the longest prefix.
fn serving<'s, 'a>(spots: &'s [Spot<'a>], path: &str) -> Option<&'s Spot<'a>> {
    let is_prefix = |spot: &&Spot<'_>| {
        matches!(spot.kind, PathKind::Prefix | PathKind::FinalPrefix) && path.starts_with(&spot.path)
    };
    let exact = spots.iter().find(|spot| spot.kind == PathKind::Exact && spot.path == path);
    exact.or_else(|| spots.iter().filter(is_prefix).max_by_key(|spot| spot.path.len()))
}

/// The URL at which a location asks its service; `None` = longwire cannot ask it.
fn question(keys: &mut Twig, spot: &Spot<'_>, asked: &Directive, groups: &Groups<'_>) -> Option<String> {
    let pass = spot.scope.own().iter().find(|directive| directive.name == "proxy_pass")?;
    let target = PassTarget::parse(&spot.scope.expanded(pass.arg(0)))?;
    let path = match &target.uri {
        None => asked.arg(0).to_owned(),
        Some(uri) if pass.arg(0).contains('$') => uri.clone(),
        Some(uri) => format!("{uri}{}", asked.arg(0).strip_prefix(&*spot.path)?),
    };
    let mut servers = Vec::new();
    if let Some(block) = groups.block(&target.authority) {
        let is_used = |server: &&Directive| server.name == "server" && !has_flag(server, "down");
        servers.extend(block.inner().iter().filter(is_used));
        servers.sort_by_key(|server| has_flag(server, "backup"));
    }
    let authority = servers.first().map_or(target.authority.as_str(), |server| server.arg(0));
    let (scheme, port) = if target.is_https { ("https", "443") } else { ("http", "80") };
    let whole = address(authority, port).filter(|whole| !whole.starts_with("unix:"))?;
    if servers.len() > 1 {
        let note = format_args!("auth_request {}: longwire asks one server, {whole}", asked.arg(0));
        keys.notes.push(pass.at.note(note));
    }
    Some(format!("{scheme}://{whole}{path}")).filter(|url| is_target(&path) && url.parse::<Uri>().is_ok())
}

/// The fields that the backend gets from the answer of the service: `auth_request_set $user $upstream_http_x_user` beside
/// `proxy_set_header X-User $user`.
fn granted(scope: &Scope<'_>) -> Vec<String> {
    let mut granted = Vec::new();
    for set in scope.all("auth_request_set") {
        let Some(theirs) = set.arg(1).strip_prefix("$upstream_http_") else { continue };
        let theirs = theirs.replace('_', "-");
        let told = scope.all("proxy_set_header").into_iter().find(|header| header.arg(1) == set.arg(0));
        let may_be = |name: &str| name.parse::<HeaderName>().is_ok_and(|field| may_be_granted(&field));
        if let Some(told) = told.filter(|told| told.arg(0).eq_ignore_ascii_case(&theirs) && may_be(told.arg(0))) {
            granted.push(told.arg(0).to_owned());
        }
    }
    granted
}

/// Adds `client_cert` where the location wants a certificate.
pub(super) fn client_cert(keys: &mut Twig, scope: &Scope<'_>) {
    let wants = |directive: &Directive| {
        directive.name == "if"
            && directive.text().contains("$ssl_client_verify")
            && directive
                .inner()
                .iter()
                .any(|inner| inner.name == "return" && matches!(inner.arg(0), "403" | "400" | "401" | "444"))
    };
    // A listener may ask without need, for the sake of another server.
    if scope.own().iter().any(wants) || scope.word("ssl_verify_client") == "on" {
        keys.bare("client_cert", "required");
    }
}
