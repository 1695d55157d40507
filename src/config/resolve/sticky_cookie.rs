//! The sticky cookie of a route.

use hyper::header::SET_COOKIE;

use super::{Resolver, unless_zero};
use crate::{
    config::{
        document::At,
        file::{SameSiteWord, SecureWord, StickyCookieSetting},
    },
    headers::FieldRules,
    hosts::HostPattern,
    routing::{CookieSecurity, RouteAction, RouteEntry, SameSite, StickyCookie},
};

/// Browsers take a cookie with such a name only with `Secure` (RFC 6265bis §4.1.3).
const SECURE_PREFIXES: [&str; 3] = ["__host-", "__secure-", "__http-"];

impl Resolver {
    /// `can_be_secure`: whether a request can come over TLS.
    pub(super) fn sticky_cookie(
        &mut self,
        setting: StickyCookieSetting,
        can_be_secure: bool,
        answer_fields: &FieldRules,
        at: &At,
    ) -> StickyCookie {
        let StickyCookieSetting { name, secure, same_site, max_age } = setting;
        if !is_token(&name) {
            let help = "a name has letters, digits and !#$%&'*+-.^_`|~, such as longwire";
            self.error(at.key("name"), format!("`{name}` is not the name of a cookie"), help);
        }
        if max_age.0.subsec_nanos() != 0 {
            self.error(at.key("max_age"), format!("`max_age` cannot be {max_age}"), "it counts whole seconds");
        }
        let lower = name.to_ascii_lowercase();
        let reason = match same_site {
            SameSiteWord::None => Some(("same_site", "same_site: none")),
            _ if SECURE_PREFIXES.iter().any(|prefix| lower.starts_with(prefix)) => Some(("name", "this name")),
            SameSiteWord::Lax | SameSiteWord::Strict => None,
        };
        if let Some((key, what)) = reason {
            let message = format!("browsers take no cookie with {what} unless it is `Secure`");
            match secure {
                SecureWord::Never => self.error(at.key(key), message, "write secure: auto, or always"),
                SecureWord::Auto if !can_be_secure => {
                    let help = "no request comes over TLS here; if a load balancer takes the TLS off, name it in \
                                `trusted_proxies`, or write secure: always";
                    self.warn(at.key(key), message, help);
                }
                SecureWord::Auto | SecureWord::Always => {}
            }
        }
        if answer_fields.remove.contains(&SET_COOKIE) || answer_fields.set.iter().any(|(name, _)| *name == SET_COOKIE) {
            let help = "`response_headers` of this route takes Set-Cookie away, and its rules come last";
            self.warn(at.clone(), "no client gets this cookie", help);
        }
        StickyCookie {
            name,
            security: match secure {
                SecureWord::Auto => CookieSecurity::Auto,
                SecureWord::Always => CookieSecurity::Always,
                SecureWord::Never => CookieSecurity::Never,
            },
            same_site: match same_site {
                SameSiteWord::Lax => SameSite::Lax,
                SameSiteWord::Strict => SameSite::Strict,
                SameSiteWord::None => SameSite::None,
            },
            max_age: unless_zero(&max_age),
        }
    }

    /// Warns of routes whose cookies take the place of one another. `places`: where the routes stand, in the same order.
    pub(super) fn cookies_of_several_upstreams(&mut self, entries: &[RouteEntry], places: &[At]) {
        for (index, (entry, at)) in entries.iter().zip(places).enumerate() {
            let Some(RouteEntry { route, .. }) = entries[..index].iter().find(|other| clash(entry, other, entries))
            else {
                continue;
            };
            let name = route.sticky.as_ref().map_or("", |cookie| &cookie.name);
            let message = format!("`{}` has a cookie `{name}` for another upstream", route.name);
            let help =
                "a browser has one cookie of a name for all paths of a host: give each upstream a `name` of its own";
            self.warn(at.key("sticky_cookie"), message, help);
        }
    }
}

/// Whether a browser meets both routes at one host, though their cookies have the same name and different upstreams.
fn clash(one: &RouteEntry, other: &RouteEntry, all: &[RouteEntry]) -> bool {
    let cookies = one.route.sticky.as_ref().zip(other.route.sticky.as_ref());
    cookies.is_some_and(|(one, other)| one.name == other.name)
        && one.route.action != other.route.action
        && (one.host == other.host || falls_on(one, other, all) || falls_on(other, one, all))
}

/// Whether a request for a host of `narrow` can take the route `wide`, because no route of that host takes every path.
fn falls_on(narrow: &RouteEntry, wide: &RouteEntry, all: &[RouteEntry]) -> bool {
    let is_covered = match (&narrow.host, &wide.host) {
        (Some(_), None) => true,
        (Some(HostPattern::Exact(name) | HostPattern::Suffix(name)), Some(wide)) => wide.matches(name),
        (None, _) => false,
    };
    let takes_all = |entry: &RouteEntry| {
        entry.host == narrow.host && entry.path == "/" && matches!(entry.route.action, RouteAction::Forward(_))
    };
    is_covered && !all.iter().any(takes_all)
}

/// Whether this can be the name of a cookie: a token (RFC 9110 §5.6.2).
fn is_token(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}
