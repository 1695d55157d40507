//! What a route does with the requests that take it: whom it lets in, where it redirects them, and
//! which path and `Host` their backend gets.

use hyper::StatusCode;

use super::Resolver;
use crate::{
    config::{
        document::At,
        file::{self, RedirectScheme, RedirectSetting, RewriteSetting},
        values::{Cidr, ClientNetwork},
    },
    headers,
    hosts::bare_name,
    routing::{AddressRules, BadReplacement, HostHeader, HttpsRedirect, PathRule, Replacement},
    sender::Network,
};

impl Resolver {
    /// Warns of keys of a route that does not use them.
    pub(super) fn keys_without_use(&mut self, route: &file::Route, at: &At) {
        if route.redirect.is_none() {
            return;
        }
        let changes_keepalive = route.keepalive != file::KeepaliveOverride::default();
        let file::TimeoutsOverride { upgrade, response, idle } = &route.timeouts;
        for (key, is_set) in [
            ("strip_prefix", route.strip_prefix.is_some()),
            ("rewrite", route.rewrite.is_some()),
            ("host_header", route.host_header != file::Route::default_host_header()),
            ("request_headers", route.request_headers != file::HeaderChanges::default()),
            ("sticky_cookie", route.sticky_cookie.is_some()),
            ("origins", !route.origins.is_empty()),
            ("compression", route.compression != file::CompressionOffer::default()),
            ("hold", route.hold.is_some()),
            ("resume", route.resume.is_some()),
            ("auth_request", route.auth_request.is_some()),
            ("via", route.via.is_some()),
            ("keepalive", changes_keepalive),
            ("timeouts", upgrade.is_some() || response.is_some() || idle.is_some()),
            ("max_lifetime", route.max_lifetime != file::Route::default_max_lifetime()),
        ] {
            if is_set {
                let help = "it does nothing here: write it in the route that takes the requests over TLS";
                self.warn(at.key(key), format!("`{key}` beside `redirect`"), help);
            }
        }
    }

    /// The redirect of a route; `None` = a problem was noted.
    pub(super) fn redirect(
        &mut self,
        redirect: RedirectSetting,
        can_be_secure: bool,
        at: &At,
    ) -> Option<HttpsRedirect> {
        let RedirectSetting { to: RedirectScheme::Https, code, port } = redirect;
        if !can_be_secure {
            let help = "if a load balancer takes the TLS off, name it in `trusted_proxies`: otherwise its clients are \
                        redirected for ever";
            self.warn(at.clone(), "every request is redirected: none comes over TLS here", help);
        }
        match StatusCode::from_u16(code) {
            Ok(status) if matches!(code, 301 | 302 | 307 | 308) => Some(HttpsRedirect { status, port }),
            _ => {
                self.error(at.key("code"), format!("a redirect cannot have status {code}"), "301, 302, 307 or 308");
                None
            }
        }
    }

    /// The path that the backends of a route get. `path`: the paths of the route.
    pub(super) fn path_rule(
        &mut self,
        strip_prefix: Option<String>,
        rewrite: Option<RewriteSetting>,
        path: &str,
        route: &At,
    ) -> PathRule {
        match (strip_prefix, rewrite) {
            (None, None) => PathRule::Keep,
            (Some(prefix), None) => self.prefix(&prefix, path, route.key("strip_prefix")),
            (None, Some(RewriteSetting { from, to })) => match Replacement::new(&from, &to) {
                Ok(replacement) => PathRule::Replace(replacement),
                Err(bad) => {
                    self.replacement_problem(bad, &from, &to, &route.key("rewrite"));
                    PathRule::Keep
                }
            },
            (Some(_), Some(_)) => {
                let help = "one of the two: a `rewrite` can take a prefix off too";
                self.error(route.key("strip_prefix"), "both `strip_prefix` and `rewrite`", help);
                PathRule::Keep
            }
        }
    }

    fn prefix(&mut self, prefix: &str, path: &str, at: At) -> PathRule {
        if !prefix.starts_with('/') {
            let help = format!("write /{prefix}");
            self.error(at, format!("prefix `{prefix}` does not start with `/`"), help);
            return PathRule::Keep;
        }
        let bare = prefix.trim_end_matches('/');
        if bare.is_empty() {
            self.warn(at, "`strip_prefix: /` takes nothing off", "leave it out");
            return PathRule::Keep;
        }
        // Each path of the route begins with `path`.
        if !path.starts_with(bare) && !bare.starts_with(path) {
            let message = format!("no path of this route has the prefix `{prefix}`");
            self.warn(at, message, format!("its paths begin with {path}"));
        } else if bare.contains(|c: char| !c.is_ascii_graphic() || matches!(c, '?' | '#')) {
            let help = "the raw path of a request has other bytes %-encoded, and no query";
            self.warn(at, format!("prefix `{prefix}` is in no path"), help);
        }
        PathRule::Strip(bare.to_owned())
    }

    fn replacement_problem(&mut self, bad: BadReplacement, from: &str, to: &str, at: &At) {
        let (key, message, help) = match bad {
            BadReplacement::Pattern(why) => {
                let help = "a pattern is a regular expression, such as '^/ws/(.*)$'";
                ("from", format!("`{from}` is not a pattern: {why}"), help.to_owned())
            }
            BadReplacement::LargePattern => {
                let message = format!("`{from}` takes more than 16 KiB when it is compiled");
                ("from", message, "write a smaller pattern: fewer repetitions".to_owned())
            }
            BadReplacement::NoSlash => {
                ("to", format!("`{to}` does not start with `/`"), format!("a path does: write '/{to}'"))
            }
            BadReplacement::Character(character) => {
                let help = "the query of the request stays by itself; other bytes are written %-encoded";
                ("to", format!("`{to}` is no path: it has {character:?}"), help.to_owned())
            }
            BadReplacement::Dollar => {
                let help = "$1 is what the first group captured; a $ as such is written %24";
                ("to", format!("a `$` in `{to}` has no number behind it"), help.to_owned())
            }
            BadReplacement::Group { named, groups } => {
                let help = format!("`{from}` has {groups} groups; every digit behind a $ belongs to its number");
                ("to", format!("there is no group {named}"), help)
            }
        };
        self.error(at.key(key), message, help);
    }

    /// The `Host` that the backends of a route get.
    pub(super) fn host_header(&mut self, host: String, at: At) -> HostHeader {
        let word = host.to_ascii_lowercase();
        let is_word = matches!(&*word, "keep" | "upstream");
        match &*host {
            "keep" => HostHeader::Keep,
            "upstream" => HostHeader::Upstream,
            _ if !is_word && !bare_name(&host).is_empty() && headers::is_host(&host) => HostHeader::Fixed(host),
            _ => {
                let help = match &*host {
                    _ if is_word => "these words are written in lower case: keep, upstream",
                    "$host" | "$http_host" => "write keep, which is the default",
                    "$proxy_host" => "write upstream",
                    _ => "keep, upstream, or a host such as chat.internal, with a port if it needs one",
                };
                self.error(at, format!("`{host}` is not a host"), help);
                HostHeader::Keep
            }
        }
    }

    /// Who may use a route, by address.
    pub(super) fn addresses(
        &mut self,
        allow: Vec<ClientNetwork>,
        deny: Vec<ClientNetwork>,
        route: &At,
    ) -> AddressRules {
        let mut networks = |key, networks: Vec<ClientNetwork>| -> Vec<Network> {
            let networks = networks.into_iter().map(|ClientNetwork(network)| Cidr(network)).collect();
            self.networks(networks, &route.key(key))
        };
        let rules = AddressRules { allow: networks("allow", allow), deny: networks("deny", deny) };
        for (index, network) in rules.allow.iter().enumerate() {
            if let Some(denied) = rules.deny.iter().find(|denied| denied.contains(network)) {
                let help = "`deny` goes first: where `allow` names somebody, everybody else is refused anyway";
                let at = route.key("allow").index(index);
                self.warn(at, format!("`{network}` is refused, because `deny` has `{denied}`"), help);
            }
        }
        rules
    }
}
