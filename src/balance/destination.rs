//! The address that an attempt connects to, and the order of the addresses if a backend's name has several.

use std::{hash::Hasher as _, net::SocketAddr};

use super::{backend::Backend, key::Key};

/// The place that an attempt connects to.
#[derive(Debug, Clone, Copy)]
pub struct Destination<'a> {
    pub(super) backend: &'a Backend,
    /// The name that led to the backend's address, with the port.
    pub(super) name: Option<&'a str>,
    /// The key of the request and the `hash_prefix_v4`, if the upstream uses a hash.
    pub(super) hash: Option<(&'a Key, u8)>,
}

impl<'a> Destination<'a> {
    /// A server of no upstream. The addresses of its name take turns.
    pub const fn of(backend: &'a Backend) -> Self {
        Self { backend, name: None, hash: None }
    }

    /// `host:port` or `unix:…`, as the file has it, or as it was found.
    pub fn address(&self) -> &'a str {
        self.backend.address()
    }

    /// `host:port` as the backend is called: the name that led to its address, or the address.
    pub fn authority(&self) -> &'a str {
        self.name.unwrap_or_else(|| self.backend.address())
    }

    /// Whether the hash gives each client its own address among those of a name.
    pub const fn is_hashed(&self) -> bool {
        self.hash.is_some()
    }

    /// The addresses of the backend's name, in the order in which they are tried.
    ///
    /// With a hash the order depends on the key, so a client stays at one address. Without a hash each call takes the
    /// next turn. The address families alternate as in [`alternate`].
    pub fn arrange(&self, addresses: &[SocketAddr]) -> Vec<SocketAddr> {
        match self.hash {
            Some((key, prefix_v4)) => {
                let score = |address: &SocketAddr| {
                    let mut hasher = key.hasher(prefix_v4);
                    hasher.write(address.to_string().as_bytes());
                    hasher.finish()
                };
                alternate(addresses, |family| family.sort_by_cached_key(score))
            }
            None => {
                let turn = self.backend.next_turn();
                alternate(addresses, |family| {
                    // Each resolver rotates the addresses in its own way, so sort them before the turn.
                    family.sort_unstable();
                    let first = turn.checked_rem(family.len()).unwrap_or(0);
                    family.rotate_left(first);
                })
            }
        }
    }
}

/// The addresses of both families in alternation. The family of the first address begins, because this machine reaches
/// that address best (RFC 6724; RFC 8305 §4). `order` sorts each family.
pub fn alternate(addresses: &[SocketAddr], order: impl Fn(&mut [SocketAddr])) -> Vec<SocketAddr> {
    let Some(first) = addresses.first() else { return Vec::new() };
    let (mut first, mut second): (Vec<_>, Vec<_>) =
        addresses.iter().partition(|address| address.is_ipv6() == first.is_ipv6());
    order(&mut first);
    order(&mut second);
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let mut all = Vec::with_capacity(addresses.len());
    loop {
        let before = all.len();
        all.extend(first.next());
        all.extend(second.next());
        if all.len() == before {
            return all;
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::{net::IpAddr, time::Instant};

    use super::*;
    use crate::sender::Client;

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| SocketAddr::new(text.parse().unwrap(), 80)).collect()
    }

    fn backend() -> Backend {
        Backend::new("app:80".into(), Instant::now())
    }

    #[test]
    fn families_alternate_and_the_one_that_the_resolver_prefers_begins() {
        let resolved = addresses(&["2001:db8::1", "2001:db8::2", "2001:db8::3", "192.0.2.1"]);
        let expected = addresses(&["2001:db8::1", "192.0.2.1", "2001:db8::2", "2001:db8::3"]);
        assert_eq!(alternate(&resolved, |_| {}), expected);
        assert_eq!(alternate(&[], |_| {}), []);
    }

    #[test]
    fn without_a_hash_the_addresses_take_turns_whatever_the_resolvers_order() {
        let backend = backend();
        let destination = Destination { backend: &backend, name: None, hash: None };
        let (forth, back) = (["192.0.2.1", "192.0.2.2", "192.0.2.3"], ["192.0.2.3", "192.0.2.2", "192.0.2.1"]);
        let firsts: Vec<_> = [forth, back, back, forth, forth, back]
            .iter()
            .map(|resolved| destination.arrange(&addresses(resolved))[0].ip().to_string())
            .collect();
        assert_eq!(firsts, [&forth[..], &forth[..]].concat());
    }

    #[test]
    fn with_a_hash_a_client_has_its_address_and_the_clients_share_them() {
        let backend = backend();
        let resolved = addresses(&["192.0.2.1", "192.0.2.2", "192.0.2.3"]);
        let turned: Vec<_> = resolved.iter().rev().copied().collect();
        let mut clients = [0; 3];
        for last in 0..=255 {
            let key = Key::from(Client::from(IpAddr::from([198, 51, 100, last])));
            let destination = Destination { backend: &backend, name: None, hash: Some((&key, 32)) };
            let first = destination.arrange(&resolved)[0];
            assert_eq!(destination.arrange(&turned)[0], first);
            let without: Vec<_> = resolved.iter().filter(|address| **address != resolved[0]).copied().collect();
            if first != resolved[0] {
                assert_eq!(destination.arrange(&without)[0], first, "the loss of one moves nobody else");
            }
            clients[resolved.iter().position(|address| *address == first).unwrap()] += 1;
        }
        assert!(clients.iter().all(|count| *count > 50), "{clients:?}");
    }
}
