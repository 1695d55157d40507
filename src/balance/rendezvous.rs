//! Weighted rendezvous hashing: which backend a client belongs to.

use std::hash::Hasher as _;

use siphasher::sip::SipHasher13;

use super::{candidate::Candidate, key::Key};

/// The index of the backend with the highest score for this key. `prefix_v4`: as in [`Key::hasher`].
///
/// Each backend has its own score for each key. So if a backend is lost, only its own clients move, each to the backend
/// with its second highest score.
pub(super) fn highest_score(key: &Key, prefix_v4: u8, candidates: &[Candidate<'_>]) -> Option<usize> {
    let key = key.hasher(prefix_v4);
    let mut best: Option<(f64, usize)> = None;
    for candidate in candidates {
        let score = score(&key, candidate.address, candidate.weight);
        if best.is_none_or(|(highest, _)| score > highest) {
            best = Some((score, candidate.index));
        }
    }
    best.map(|(_, index)| index)
}

/// The score of a backend: `-weight / ln(u)`, where `u` in (0, 1) is a hash of key and backend.
///
/// With this formula each backend wins in proportion to its weight, from one hash per backend.
///
/// The score is equal on every machine. SipHash-1-3 with the key 0 reads bytes, `u` is exact in 53 bits, and IEEE 754
/// fixes the division. `libm::log` computes in software; `f64::ln` would call the library of the platform.
fn score(key: &SipHasher13, address: &str, weight: u32) -> f64 {
    let mut hasher = *key;
    hasher.write(address.as_bytes());
    // 52 bits plus a half, so `u` is never 0 and never 1.
    let u = ((hasher.finish() >> 12) as f64 + 0.5) / (1_u64 << 52) as f64;
    -f64::from(weight) / libm::log(u)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::{super::slow_start, *};
    use crate::sender::Client;

    const WHOLE: u8 = 32;

    fn candidates<'a>(backends: &[(&'a str, u32, usize)]) -> Vec<Candidate<'a>> {
        let with_index = |(index, &(address, weight, active))| Candidate {
            index,
            address,
            weight,
            share: slow_start::WHOLE,
            active,
        };
        backends.iter().enumerate().map(with_index).collect()
    }

    fn next(prefix_v4: u8, client: Client, candidates: &[Candidate<'_>]) -> usize {
        highest_score(&client.into(), prefix_v4, candidates).unwrap()
    }

    /// Clients 10.0.0.0 and up.
    fn clients(count: u32) -> impl Iterator<Item = Client> {
        (0..count).map(|n| IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + n)).into())
    }

    fn ip(text: &str) -> Client {
        text.parse::<IpAddr>().unwrap().into()
    }

    #[test]
    fn hash_shares_clients_in_proportion_to_the_weights() {
        let backends = candidates(&[("127.0.0.1:9001", 1, 0), ("127.0.0.1:9002", 3, 0)]);
        let first = clients(20_000).filter(|&c| next(WHOLE, c, &backends) == 0).count();
        assert!((4_800..5_200).contains(&first), "{first} of 20000, expected 5000");
    }

    #[test]
    fn lost_backend_moves_only_its_own_clients_and_spreads_them() {
        let all = candidates(&[("a:1", 1, 0), ("b:1", 1, 0), ("c:1", 1, 0), ("d:1", 1, 0)]);
        let mut without_b = all.clone();
        without_b.remove(1);
        let mut moved = [0; 4];
        for client in clients(8_000) {
            let (before, after) = (next(WHOLE, client, &all), next(WHOLE, client, &without_b));
            if before == 1 {
                moved[after] += 1;
            } else {
                assert_eq!(after, before);
            }
        }
        assert!(moved[0] > 500 && moved[2] > 500 && moved[3] > 500, "{moved:?}");
    }

    /// Another program has computed these values. If they change, an upgrade of longwire moves clients.
    #[test]
    fn mappings_are_those_of_every_version_and_machine() {
        let backends = candidates(&[("127.0.0.1:9001", 1, 0), ("127.0.0.1:9002", 1, 0), ("chat.internal:8080", 2, 0)]);
        for (client, whole, by_24) in [
            ("192.0.2.1", 0, 2),
            ("192.0.2.2", 0, 2),
            ("192.0.2.3", 2, 2),
            ("198.51.100.7", 2, 2),
            ("203.0.113.255", 2, 1),
            ("0.0.0.0", 0, 0),
            ("255.255.255.255", 1, 0),
            ("2001:db8::1", 1, 1),
            ("2001:db8:0:1::1", 1, 1),
            ("::1", 2, 2),
            ("::ffff:192.0.2.1", 0, 2),
        ] {
            assert_eq!(next(WHOLE, ip(client), &backends), whole, "{client}");
            let grouped = 24;
            assert_eq!(next(grouped, ip(client), &backends), by_24, "{client}, by /24");
        }
        let score = |client| score(&Key::from(ip(client)).hasher(32), "127.0.0.1:9001", 1);
        assert_eq!(score("192.0.2.1").to_bits(), 0x4007_4ed0_5795_4dd6);
        assert_eq!(score("2001:db8::1").to_bits(), 0x3fda_6500_8dd9_83be);
    }

    #[test]
    fn order_in_the_file_does_not_change_whose_client_it_is() {
        let forth = candidates(&[("a:1", 1, 0), ("b:1", 2, 0), ("c:1", 3, 0)]);
        let back = candidates(&[("c:1", 3, 0), ("b:1", 2, 0), ("a:1", 1, 0)]);
        for client in clients(1_000) {
            let (one, other) = (next(WHOLE, client, &forth), next(WHOLE, client, &back));
            assert_eq!(forth[one].address, back[other].address);
        }
    }
}
