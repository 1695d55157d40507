//! Who may use a location: `allow`, `deny`, `auth_request`, certificates of clients.

use super::{
    blocks::Directive,
    scope::Scope,
    upstreams::{Groups, PassTarget, address},
};
use crate::{
    import::{
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
pub(super) fn service(
    keys: &mut Twig,
    scope: &Scope<'_>,
    groups: &Groups<'_>,
    internal: impl Fn(&str) -> Option<String>,
) -> Vec<String> {
    let Some(asked) = scope.one("auth_request").filter(|asked| asked.arg(0) != "off") else {
        return Vec::new();
    };
    let target = internal(asked.arg(0)).and_then(|pass| PassTarget::parse(&pass));
    let url = target.and_then(|target| {
        let path = match &target.uri {
            Some(uri) if uri.contains('$') => return None,
            Some(uri) => uri.clone(),
            None => asked.arg(0).to_owned(),
        };
        let scheme = if target.is_https { "https" } else { "http" };
        let server = groups.block(&target.authority);
        let server = server.and_then(|block| block.inner().iter().find(|inner| inner.name == "server"));
        let authority = server.map_or(target.authority.as_str(), |server| server.arg(0));
        let whole = address(authority, if target.is_https { "443" } else { "80" })?;
        (!whole.starts_with("unix:")).then(|| format!("{scheme}://{whole}{path}"))
    });
    let Some(url) = url else {
        let note = format_args!("auth_request {}: nobody is asked here, so everybody is let in", asked.arg(0));
        keys.notes.push(asked.at.note(note));
        return Vec::new();
    };
    let granted = granted(scope);
    let mut request = Twig::default();
    request.text("url", url);
    request.texts("pass", granted.clone());
    keys.put("auth_request", Branch::Map(request));
    granted
}

/// The fields that the backend gets from the answer of the service: `auth_request_set $user $upstream_http_x_user` beside
/// `proxy_set_header X-User $user`.
fn granted(scope: &Scope<'_>) -> Vec<String> {
    let mut granted = Vec::new();
    for set in scope.all("auth_request_set") {
        let Some(theirs) = set.arg(1).strip_prefix("$upstream_http_") else { continue };
        let theirs = theirs.replace('_', "-");
        let told = scope.all("proxy_set_header").into_iter().find(|header| header.arg(1) == set.arg(0));
        if let Some(told) = told.filter(|told| told.arg(0).eq_ignore_ascii_case(&theirs)) {
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
