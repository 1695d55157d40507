//! What a route does with the requests that take it: whom it lets in, and where it redirects them.

use hyper::StatusCode;
use ipnet::IpNet;

use super::Resolver;
use crate::{
    config::{
        document::At,
        file::{self, RedirectScheme, RedirectSetting},
        values::{Cidr, ClientNetwork},
    },
    routing::{AddressRules, HttpsRedirect},
};

impl Resolver {
    /// Warns of keys of a route that does not use them.
    pub(super) fn keys_without_use(&mut self, route: &file::Route, at: &At) {
        if route.redirect.is_none() {
            return;
        }
        let file::KeepaliveOverride { ping_interval, pong_timeout, sides } = &route.keepalive;
        let file::TimeoutsOverride { upgrade, response, idle } = &route.timeouts;
        for (key, is_set) in [
            ("origins", !route.origins.is_empty()),
            ("keepalive", ping_interval.is_some() || pong_timeout.is_some() || sides.is_some()),
            ("timeouts", upgrade.is_some() || response.is_some() || idle.is_some()),
            ("max_lifetime", !route.max_lifetime.0.is_zero()),
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

    /// Who may use a route, by address.
    pub(super) fn addresses(
        &mut self,
        allow: Vec<ClientNetwork>,
        deny: Vec<ClientNetwork>,
        route: &At,
    ) -> AddressRules {
        let mut networks = |key, networks: Vec<ClientNetwork>| -> Vec<IpNet> {
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
