//! Which clients may use a route, by their addresses. PURE.

use crate::sender::{Client, Network};

/// Who may use a route. Without networks, everybody may.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AddressRules {
    /// A client in one of these networks is refused, whatever `allow` says.
    pub deny: Vec<Network>,
    /// Where it is not empty, only a client in one of these networks may come.
    pub allow: Vec<Network>,
}

impl AddressRules {
    /// Whether a client may use the route.
    #[must_use]
    pub fn admits(&self, client: Client) -> bool {
        let is_in = |networks: &[Network]| networks.iter().any(|network| client.is_in(network));
        !is_in(&self.deny) && (self.allow.is_empty() || is_in(&self.allow))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    #[test]
    fn deny_goes_first_and_allow_refuses_everybody_else() {
        for (deny, allow, admitted, refused) in [
            (&[][..], &[][..], &["192.0.2.1", "2001:db8::1"][..], &[][..]),
            (&[], &["10.0.0.0/8"], &["10.1.2.3", "::ffff:10.1.2.3"], &["11.0.0.1", "2001:db8::1", "::10.1.2.3"]),
            (&["10.0.0.0/8"], &[], &["11.0.0.1", "2001:db8::1"], &["10.1.2.3", "::ffff:10.1.2.3"]),
            (&["10.1.0.0/16"], &["10.0.0.0/8"], &["10.2.0.1"], &["10.1.0.1", "11.0.0.1"]),
            (&["10.0.0.0/8"], &["10.1.0.0/16"], &[], &["10.1.0.1", "10.2.0.1", "11.0.0.1"]),
            (&[], &["2001:db8::/32", "192.0.2.1/32"], &["2001:db8::1", "192.0.2.1"], &["192.0.2.2", "2001:db9::1"]),
        ] {
            let networks = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
            let rules = AddressRules { deny: networks(deny), allow: networks(allow) };
            let admits = |text: &&str| rules.admits(text.parse::<IpAddr>().unwrap().into());
            assert!(admitted.iter().all(admits), "{rules:?} refuses one of {admitted:?}");
            assert!(!refused.iter().any(admits), "{rules:?} admits one of {refused:?}");
        }
    }

    #[test]
    fn clients_of_unix_sockets_are_in_no_network_but_their_own() {
        for (deny, allow, is_admitted) in
            [(None, None, true), (None, Some("::/0"), false), (None, Some("unix"), true), (Some("unix"), None, false)]
        {
            let networks = |text: Option<&str>| text.iter().map(|text| text.parse().unwrap()).collect();
            let rules = AddressRules { deny: networks(deny), allow: networks(allow) };
            assert_eq!(rules.admits(Client::of_unix()), is_admitted, "{rules:?}");
        }
    }
}
