//! What a route does with the requests that take it: whom it lets in.

use ipnet::IpNet;

use super::Resolver;
use crate::{
    config::{
        document::At,
        values::{Cidr, ClientNetwork},
    },
    routing::AddressRules,
};

impl Resolver {
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
