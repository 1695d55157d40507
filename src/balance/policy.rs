//! Who is next among the backends that may be picked: hash, fewest in flight, or turns.

use std::{
    hash::Hasher,
    net::{IpAddr, Ipv4Addr},
};

use siphasher::sip::SipHasher13;

use super::Policy;

/// A backend that may be picked, as it was when the pick began: counts that move meanwhile would make a comparison lie.
#[derive(Debug, Clone, Copy)]
pub(super) struct Candidate<'a> {
    /// Its place in the file.
    pub(super) index: usize,
    pub(super) address: &'a str,
    pub(super) weight: u32,
    /// Sessions and requests in flight.
    pub(super) active: usize,
}

/// The index of the one to pick; `None` without candidates.
pub(super) fn choose(policy: Policy, client: IpAddr, candidates: &[Candidate<'_>], turns: &mut Turns) -> Option<usize> {
    match policy {
        Policy::IpHash { prefix_v4 } => highest_score(&ClientKey::new(client, prefix_v4), candidates),
        Policy::LeastConn => turns.next(&least_loaded(candidates)),
        Policy::RoundRobin => turns.next(candidates),
    }
}

/// Smooth weighted turns, as in nginx: each candidate gains its weight, the richest is picked and pays what all of them
/// gained. Over any `sum of weights` picks each gets exactly its weight, as evenly spread as can be.
#[derive(Debug)]
pub(super) struct Turns {
    /// What each backend has gained and not yet paid, by its place in the file.
    credit: Vec<i64>,
}

impl Turns {
    pub(super) fn new(backends: usize) -> Self {
        Self { credit: vec![0; backends] }
    }

    fn next(&mut self, candidates: &[Candidate<'_>]) -> Option<usize> {
        let mut total = 0_i64;
        let mut richest: Option<usize> = None;
        for candidate in candidates {
            let weight = i64::from(candidate.weight);
            total += weight;
            // Saturating: credit stays near the sum of weights, and a pick must not be able to panic.
            self.credit[candidate.index] = self.credit[candidate.index].saturating_add(weight);
            if richest.is_none_or(|richest| self.credit[candidate.index] > self.credit[richest]) {
                richest = Some(candidate.index);
            }
        }
        let richest = richest?;
        self.credit[richest] = self.credit[richest].saturating_sub(total);
        Some(richest)
    }
}

/// All candidates with the fewest in flight per weight.
fn least_loaded<'a>(candidates: &[Candidate<'a>]) -> Vec<Candidate<'a>> {
    let mut least: Vec<Candidate<'a>> = Vec::with_capacity(candidates.len());
    for candidate in candidates {
        let Some(best) = least.first() else {
            least.push(*candidate);
            continue;
        };
        // a/v < b/w as a*w < b*v: exact, and 64 by 32 bits cannot overflow.
        let mine = candidate.active as u128 * u128::from(best.weight);
        let theirs = best.active as u128 * u128::from(candidate.weight);
        if mine < theirs {
            least.clear();
        }
        if mine <= theirs {
            least.push(*candidate);
        }
    }
    least
}

/// Weighted rendezvous: every backend has a score of its own for this client, and the highest wins. So the loss of a
/// backend moves nobody else's clients, and its own go each to their second best.
fn highest_score(key: &ClientKey, candidates: &[Candidate<'_>]) -> Option<usize> {
    let mut best: Option<(f64, usize)> = None;
    for candidate in candidates {
        let score = key.score(candidate.address, candidate.weight);
        if best.is_none_or(|(highest, _)| score > highest) {
            best = Some((score, candidate.index));
        }
    }
    best.map(|(_, index)| index)
}

/// What of the client's address counts: of IPv4 the leading bits, of IPv6 the /64 (one household or machine; the rest
/// changes by itself, RFC 8981).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct ClientKey {
    bytes: [u8; 8],
    len: usize,
}

impl ClientKey {
    /// `::ffff:a.b.c.d` is the IPv4 address; `prefix_v4` past 32 is 32.
    fn new(client: IpAddr, prefix_v4: u8) -> Self {
        let mut bytes = [0; 8];
        let len = match client.to_canonical() {
            IpAddr::V4(address) => {
                let ignored = 32_u32.saturating_sub(u32::from(prefix_v4));
                let mask = u32::MAX.checked_shl(ignored).unwrap_or(0);
                let masked = Ipv4Addr::from_bits(address.to_bits() & mask);
                bytes[..4].copy_from_slice(&masked.octets());
                4
            }
            IpAddr::V6(address) => {
                bytes.copy_from_slice(&address.octets()[..8]);
                8
            }
        };
        Self { bytes, len }
    }

    /// `-weight / ln(u)`, with `u` in (0, 1) from a hash of client and backend: the one draw per backend under which
    /// each wins in proportion to its weight.
    ///
    /// Equal on every machine: SipHash-1-3 with the key 0 reads bytes, `u` is exact in 53 bits, IEEE 754 fixes the
    /// division, and `libm::log` computes in software where `f64::ln` calls what the platform has.
    fn score(&self, address: &str, weight: u32) -> f64 {
        let mut hasher = SipHasher13::new_with_keys(0, 0);
        hasher.write(&self.bytes[..self.len]);
        hasher.write(address.as_bytes());
        // 52 bits and a half: never 0, never 1.
        let u = ((hasher.finish() >> 12) as f64 + 0.5) / (1_u64 << 52) as f64;
        -f64::from(weight) / libm::log(u)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const WHOLE: Policy = Policy::IpHash { prefix_v4: 32 };

    fn candidates<'a>(backends: &[(&'a str, u32, usize)]) -> Vec<Candidate<'a>> {
        let with_index = |(index, &(address, weight, active))| Candidate { index, address, weight, active };
        backends.iter().enumerate().map(with_index).collect()
    }

    fn next(policy: Policy, client: IpAddr, candidates: &[Candidate<'_>]) -> usize {
        let backends = candidates.iter().map(|c| c.index + 1).max().unwrap();
        choose(policy, client, candidates, &mut Turns::new(backends)).unwrap()
    }

    /// Clients 10.0.0.0 and up.
    fn clients(count: u32) -> impl Iterator<Item = IpAddr> {
        (0..count).map(|n| IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + n)))
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn turns_follow_the_weights_in_the_order_of_nginx() {
        let backends = candidates(&[("a", 5, 0), ("b", 1, 0), ("c", 1, 0)]);
        let mut turns = Turns::new(3);
        let order: String = (0..14).map(|_| backends[turns.next(&backends).unwrap()].address).collect();
        assert_eq!(order, "aabacaaaabacaa");
    }

    #[test]
    fn backend_that_missed_turns_gets_its_share_without_a_burst() {
        let backends = candidates(&[("a", 1, 0), ("b", 1, 0)]);
        let mut turns = Turns::new(2);
        for _ in 0..100 {
            assert_eq!(turns.next(&backends[..1]), Some(0));
        }
        let after: Vec<_> = (0..4).map(|_| turns.next(&backends).unwrap()).collect();
        assert_eq!(after, [0, 1, 0, 1]);
    }

    #[test]
    fn largest_weights_do_not_overflow() {
        let backends = candidates(&[("a", u32::MAX, usize::MAX), ("b", u32::MAX, usize::MAX)]);
        let mut turns = Turns::new(2);
        for _ in 0..10 {
            choose(Policy::LeastConn, ip("::1"), &backends, &mut turns).unwrap();
        }
        assert!(turns.credit.iter().all(|credit| credit.abs() <= i64::from(u32::MAX)));
        assert!(next(WHOLE, ip("::1"), &backends) < 2);
    }

    #[test]
    fn fewest_in_flight_per_weight_is_next() {
        // 6/4 is less than 2/1 and 5/3.
        let backends = candidates(&[("a", 1, 2), ("b", 4, 6), ("c", 3, 5)]);
        assert_eq!(next(Policy::LeastConn, ip("10.0.0.1"), &backends), 1);
    }

    #[test]
    fn ties_of_least_conn_take_weighted_turns() {
        // 2/1 = 6/3 tie; 9/4 does not take part.
        let backends = candidates(&[("a", 1, 2), ("b", 3, 6), ("c", 4, 9)]);
        let mut turns = Turns::new(3);
        let order: String = (0..8)
            .map(|_| choose(Policy::LeastConn, ip("10.0.0.1"), &backends, &mut turns).unwrap())
            .map(|index| backends[index].address)
            .collect();
        assert_eq!(order, "babbbabb");
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

    /// Worked out by a program of its own, not by this one: a change here moves clients on every upgrade.
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
            let grouped = Policy::IpHash { prefix_v4: 24 };
            assert_eq!(next(grouped, ip(client), &backends), by_24, "{client}, by /24");
        }
        let score = |client| ClientKey::new(ip(client), 32).score("127.0.0.1:9001", 1);
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

    #[test]
    fn key_is_the_v4_prefix_the_v6_network_or_the_mapped_v4_address() {
        let key = |text, prefix| ClientKey::new(ip(text), prefix);
        assert_ne!(key("192.0.2.1", 32), key("192.0.2.2", 32));
        assert_eq!(key("192.0.2.1", 24), key("192.0.2.254", 24));
        assert_ne!(key("192.0.2.1", 24), key("192.0.3.1", 24));
        assert_eq!(key("192.0.2.1", 0), key("10.9.8.7", 0));
        assert_eq!(key("192.0.2.1", 33), key("192.0.2.1", 32));
        assert_eq!(key("::ffff:192.0.2.1", 32), key("192.0.2.1", 32));
        assert_eq!(key("2001:db8:1:2::1", 24), key("2001:db8:1:2:ffff::9", 32));
        assert_ne!(key("2001:db8:1:2::1", 32), key("2001:db8:1:3::1", 32));
    }
}
