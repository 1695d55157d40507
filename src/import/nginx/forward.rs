//! `proxy_pass`: which upstream, over TLS or not, and which path it gets.

use super::{
    blocks::Directive,
    locations::{PathKind, Spot, shown},
    patterns,
    scope::Scope,
    upstreams::{Groups, PassTarget, Reaching, discovery},
};
use crate::{
    import::{
        origin::is_certificate_name,
        tree::{Branch, Twig},
    },
    routing::Replacement,
};

/// Where the requests of a location go.
#[derive(Debug)]
pub(super) struct Forwarding {
    /// The name of the upstream.
    pub(super) upstream: String,
    pub(super) target: PassTarget,
}

/// A pattern, and the path in the place of a path that it fits.
type Rewriting = (String, String);

/// Adds what a `proxy_pass` says of the path. `scope`: where it stands. `prefix`: the path of the route.
///
/// # Errors
/// A comment that says why the location has no upstream.
pub(super) fn put(
    keys: &mut Twig,
    spot: &Spot<'_>,
    prefix: &str,
    scope: &Scope<'_>,
    groups: &mut Groups<'_>,
) -> Result<Forwarding, String> {
    let Some(pass) = scope.one("proxy_pass") else {
        return Err(spot.at.note(format_args!("location {}: no proxy_pass", shown(spot))));
    };
    let url = scope.expanded(pass.arg(0));
    let target = PassTarget::parse(&url).filter(|target| !target.authority.contains('$'));
    let Some(target) = target else {
        return Err(pass.at.note(format_args!("proxy_pass {url}: longwire has no variables for backends")));
    };
    let tries = scope.one("proxy_next_upstream").filter(|next| next.arg(0) == "off").map(|_| 1);
    let tries = tries.or_else(|| scope.word("proxy_next_upstream_tries").parse().ok());
    let is_on_socket = groups.block(&target.authority).is_some_and(|block| {
        block.inner().iter().any(|inner| inner.name == "server" && inner.arg(0).starts_with("unix:"))
    });
    let tls = target.is_https.then(|| backend_tls(scope, &target, is_on_socket, keys));
    // With a variable nginx asks the resolver at each request, and only then.
    let resolver = scope.one("resolver").filter(|_| pass.arg(0).contains('$'));
    let reaching = Reaching { tls, tries: tries.map(|tries: u32| tries.min(1000)), discovery: resolver.map(discovery) };
    let upstream = groups.reach(&target, &reaching, &pass.at)?;
    path(keys, spot, prefix, scope, &target);
    Ok(Forwarding { upstream, target })
}

/// Adds `strip_prefix` or `rewrite`.
fn path(keys: &mut Twig, spot: &Spot<'_>, prefix: &str, scope: &Scope<'_>, target: &PassTarget) {
    let own = spot.scope.own().iter().chain(scope.own());
    let rule = own.into_iter().find(|directive| directive.name == "rewrite");
    if let Some(rule) = rule {
        let rewriting = (rule.arg(0).to_owned(), dollar_escaped(rule.arg(1)));
        let ends = matches!(rule.arg(2), "break" | "last");
        if !ends || !add_rewriting(keys, &rewriting) {
            keys.notes.push(rule.at.note(format_args!("rewrite {}: longwire has no such rewriting", rule.text())));
        } else if rule.arg(2) == "last" {
            keys.notes.push(rule.at.note("rewrite … last: longwire does not look for another route"));
        }
        return;
    }
    let Some(uri) = &target.uri else { return };
    let pass = scope.one("proxy_pass");
    let has_variable = pass.is_some_and(|pass| pass.arg(0).contains('$'));
    let at = pass.map_or_else(|| spot.at.clone(), |pass| pass.at.clone());
    let bare = without_query(uri);
    let is_pattern = matches!(spot.kind, PathKind::Pattern | PathKind::LoosePattern);
    let is_fixed = !bare.contains('$');
    let rewriting = match spot.kind {
        _ if matches!(bare, "$request_uri" | "$uri" | "/$request_uri") => return,
        _ if before_whole_path(bare).is_some() => {
            before_whole_path(bare).map(|begin| ("^(.*)$".to_owned(), format!("{begin}$1")))
        }
        _ if is_pattern && !is_fixed => Some((spot.path.clone(), bare.to_owned())),
        _ if !is_fixed => None,
        // With a variable nginx sends what is written, whatever the path was; so it does for an expression.
        _ if has_variable || is_pattern => {
            let note = format_args!("proxy_pass {}: every request gets the path {bare}", target_text(pass));
            keys.notes.push(at.note(note));
            if bare == uri {
                keys.notes.push(at.note("proxy_pass with a variable and a path: here the query stays"));
            }
            Some(("^.*$".to_owned(), bare.to_owned()))
        }
        PathKind::Exact => Some((format!("^{}$", patterns::escaped(prefix)), bare.to_owned())),
        _ if bare == prefix => return,
        _ if bare == "/" && prefix.ends_with('/') && !prefix.trim_end_matches('/').is_empty() => {
            return keys.text("strip_prefix", prefix.trim_end_matches('/'));
        }
        _ => Some((format!("^{}(.*)$", patterns::escaped(prefix)), format!("{bare}$1"))),
    };
    if !rewriting.is_some_and(|rewriting| add_rewriting(keys, &rewriting)) {
        keys.notes.push(at.note(format_args!("proxy_pass with {uri}: the path stays as the client sent it")));
    }
}

fn target_text(pass: Option<&Directive>) -> &str {
    pass.map_or("", |pass| pass.arg(0))
}

/// A path without the query of the client behind it, which longwire keeps anyway.
fn without_query(uri: &str) -> &str {
    ["$is_args$args", "?$args", "?$query_string"].iter().find_map(|end| uri.strip_suffix(end)).unwrap_or(uri)
}

/// What stands before the whole path of the client.
fn before_whole_path(uri: &str) -> Option<&str> {
    let begin = uri.strip_suffix("$request_uri").or_else(|| uri.strip_suffix("$uri"))?;
    Some(begin.strip_suffix('/').unwrap_or(begin)).filter(|begin| !begin.is_empty() && !begin.contains('$'))
}

/// A replacement as longwire writes it, whose `$` always stands before the number of a group.
fn dollar_escaped(to: &str) -> String {
    to.trim_end_matches('?').replace("${", "$").replace('}', "")
}

fn add_rewriting(keys: &mut Twig, (from, to): &Rewriting) -> bool {
    if Replacement::new(from, to).is_err() {
        return false;
    }
    let mut rewrite = Twig::default();
    rewrite.text("from", from);
    rewrite.text("to", to);
    keys.put("rewrite", Branch::Map(rewrite));
    true
}

/// TLS to the backends. nginx verifies them only where it is told to, and asks for no name.
fn backend_tls(scope: &Scope<'_>, target: &PassTarget, is_on_socket: bool, keys: &mut Twig) -> Twig {
    let mut tls = Twig::default();
    let is_verified = scope.word("proxy_ssl_verify") == "on";
    let trusted = scope.word("proxy_ssl_trusted_certificate");
    if is_verified && !trusted.is_empty() {
        tls.text("ca", scope.path(trusted));
    }
    let name = scope.expanded(scope.word("proxy_ssl_name"));
    let has_sni = scope.word("proxy_ssl_server_name") == "on";
    if is_certificate_name(&name) {
        tls.text("server_name", name);
    } else if target.authority.starts_with("unix:") || is_on_socket {
        tls.text("server_name", "localhost");
    } else if !target.authority.contains([':', '.'])
        && (is_verified || has_sni)
        && is_certificate_name(&target.authority)
    {
        // By default nginx has the name of the `upstream` for the name of its servers.
        tls.text("server_name", target.authority.clone());
    }
    if !has_sni {
        tls.bare("sni", false);
    }
    let (cert, key) = (scope.word("proxy_ssl_certificate"), scope.word("proxy_ssl_certificate_key"));
    if !cert.is_empty() && !key.is_empty() && !cert.contains('$') {
        tls.text("cert", scope.path(cert));
        tls.text("key", scope.path(key));
    }
    if is_verified && !scope.word("proxy_ssl_crl").is_empty() {
        tls.text("crl", scope.path(scope.word("proxy_ssl_crl")));
    }
    if !is_verified {
        tls.notes.push("nginx verifies no backend unless it is told to; without `insecure` longwire does".to_owned());
        tls.bare("insecure", true);
    }
    if let Some(verify) = scope.one("proxy_ssl_verify_depth") {
        keys.notes.push(verify.at.note("proxy_ssl_verify_depth: longwire takes six authorities between at most"));
    }
    tls
}
