//! How a policy chooses among the backends that may be picked: hash, fewest in flight, the better of two, or turns.

use super::{Policy, candidate::Candidate, key::Key, random::Random, rendezvous};

/// The index of the backend to pick; `None` without candidates.
pub(super) fn choose(policy: &Policy, key: &Key, candidates: &[Candidate<'_>], turns: &mut Turns) -> Option<usize> {
    match policy {
        Policy::Hash { prefix_v4, .. } | Policy::IpHash { prefix_v4 } => {
            rendezvous::highest_score(key, *prefix_v4, candidates)
        }
        Policy::LeastConn => turns.next(&least_loaded(candidates)),
        Policy::RandomTwo => turns.better_of_two(candidates),
        Policy::RoundRobin => turns.next(candidates),
    }
}

/// What a pick needs to know of the picks before.
///
/// Smooth weighted turns, as in nginx: in each pick every candidate gains its weight. The candidate with the most
/// credit is picked and pays the sum of these gains. While candidates and weights stay the same, any `sum of weights`
/// picks give each candidate exactly its weight, spread as evenly as possible.
#[derive(Debug)]
pub(super) struct Turns {
    /// What each member has gained and not yet paid, by its place.
    credit: Vec<i64>,
    random: Random,
}

impl Turns {
    pub(super) fn new(backends: usize, seed: u64) -> Self {
        Self { credit: vec![0; backends], random: Random::new(seed) }
    }

    /// The members have changed. `places`: for each member of now, its place before; `None` = it is new, and has no
    /// credit yet.
    pub(super) fn rearrange(&mut self, places: &[Option<usize>]) {
        self.credit = places.iter().map(|place| place.map_or(0, |place| self.credit[place])).collect();
    }

    fn next(&mut self, candidates: &[Candidate<'_>]) -> Option<usize> {
        let mut total = 0_i64;
        let mut richest: Option<usize> = None;
        for candidate in candidates {
            let weight = i64::try_from(candidate.effective_weight()).unwrap_or(i64::MAX);
            // Saturating, so that a pick cannot panic. Credit stays near the sum of the weights, far from the limits.
            total = total.saturating_add(weight);
            self.credit[candidate.index] = self.credit[candidate.index].saturating_add(weight);
            if richest.is_none_or(|richest| self.credit[candidate.index] > self.credit[richest]) {
                richest = Some(candidate.index);
            }
        }
        let richest = richest?;
        self.credit[richest] = self.credit[richest].saturating_sub(total);
        Some(richest)
    }

    /// Draws two backends by weight and takes the one with fewer in flight per weight; in a tie the first (nginx:
    /// `random two least_conn`).
    ///
    /// So requests that come together do not all go to the one least loaded backend, and a slow backend still gets
    /// fewer.
    fn better_of_two(&mut self, candidates: &[Candidate<'_>]) -> Option<usize> {
        let first = self.draw(candidates, None)?;
        match self.draw(candidates, Some(first.index)) {
            Some(second) if second.is_less_loaded_than(first) => Some(second.index),
            _ => Some(first.index),
        }
    }

    /// Draws one candidate by weight, except the one with the index `except`.
    fn draw<'c, 'a>(&mut self, candidates: &'c [Candidate<'a>], except: Option<usize>) -> Option<&'c Candidate<'a>> {
        let mut drawn = candidates.iter().filter(|candidate| Some(candidate.index) != except);
        let total = drawn.clone().map(Candidate::effective_weight).sum();
        let mut left = self.random.below(total);
        drawn.find(|candidate| match left.checked_sub(candidate.effective_weight()) {
            Some(rest) => {
                left = rest;
                false
            }
            None => true,
        })
    }
}

/// All candidates that share the fewest in flight per weight.
fn least_loaded<'a>(candidates: &[Candidate<'a>]) -> Vec<Candidate<'a>> {
    let mut least: Vec<Candidate<'a>> = Vec::with_capacity(candidates.len());
    for candidate in candidates {
        match least.first() {
            Some(best) if best.is_less_loaded_than(candidate) => continue,
            Some(best) if candidate.is_less_loaded_than(best) => least.clear(),
            _ => {}
        }
        least.push(*candidate);
    }
    least
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::net::IpAddr;

    use super::{super::slow_start::WeightShare, *};
    use crate::sender::Client;

    fn candidates<'a>(backends: &[(&'a str, u32, usize)]) -> Vec<Candidate<'a>> {
        let with_index =
            |(index, &(address, weight, active))| Candidate { index, address, weight, share: WeightShare(1), active };
        backends.iter().enumerate().map(with_index).collect()
    }

    fn next(policy: &Policy, candidates: &[Candidate<'_>], turns: &mut Turns) -> usize {
        choose(policy, &Key::from(Client::from(IpAddr::from([10, 0, 0, 1]))), candidates, turns).unwrap()
    }

    #[test]
    fn turns_follow_the_weights_in_the_order_of_nginx() {
        let backends = candidates(&[("a", 5, 0), ("b", 1, 0), ("c", 1, 0)]);
        let mut turns = Turns::new(3, 0);
        let order: String = (0..14).map(|_| backends[turns.next(&backends).unwrap()].address).collect();
        assert_eq!(order, "aabacaaaabacaa");
    }

    #[test]
    fn backend_that_missed_turns_gets_its_share_without_a_burst() {
        let backends = candidates(&[("a", 1, 0), ("b", 1, 0)]);
        let mut turns = Turns::new(2, 0);
        for _ in 0..100 {
            assert_eq!(turns.next(&backends[..1]), Some(0));
        }
        let after: Vec<_> = (0..4).map(|_| turns.next(&backends).unwrap()).collect();
        assert_eq!(after, [0, 1, 0, 1]);
    }

    #[test]
    fn largest_weights_do_not_overflow() {
        let backends = candidates(&[("a", u32::MAX, usize::MAX), ("b", u32::MAX, usize::MAX)]);
        let mut turns = Turns::new(2, 0);
        for _ in 0..10 {
            next(&Policy::LeastConn, &backends, &mut turns);
            next(&Policy::RandomTwo, &backends, &mut turns);
        }
        assert!(turns.credit.iter().all(|credit| credit.abs() <= i64::from(u32::MAX)));
        assert!(next(&Policy::IpHash { prefix_v4: 32 }, &backends, &mut turns) < 2);
    }

    #[test]
    fn fewest_in_flight_per_weight_is_next() {
        // 6/4 is less than 2/1 and 5/3.
        let backends = candidates(&[("a", 1, 2), ("b", 4, 6), ("c", 3, 5)]);
        assert_eq!(next(&Policy::LeastConn, &backends, &mut Turns::new(3, 0)), 1);
    }

    #[test]
    fn ties_of_least_conn_take_weighted_turns() {
        // 2/1 = 6/3 is a tie; 9/4 is more and does not take part.
        let backends = candidates(&[("a", 1, 2), ("b", 3, 6), ("c", 4, 9)]);
        let mut turns = Turns::new(3, 0);
        let order: String = (0..8)
            .map(|_| next(&Policy::LeastConn, &backends, &mut turns))
            .map(|index| backends[index].address)
            .collect();
        assert_eq!(order, "babbbabb");
    }

    #[test]
    fn better_of_two_is_the_one_with_fewer_in_flight_per_weight() {
        let backends = candidates(&[("a", 1, 2), ("b", 4, 6)]);
        let mut turns = Turns::new(2, 0);
        for _ in 0..100 {
            assert_eq!(next(&Policy::RandomTwo, &backends, &mut turns), 1);
        }
    }

    #[test]
    fn most_loaded_of_three_is_never_the_better_of_two() {
        let backends = candidates(&[("a", 1, 9), ("b", 1, 3), ("c", 1, 5)]);
        let mut turns = Turns::new(3, 0);
        let mut counts = [0; 3];
        for _ in 0..3000 {
            counts[next(&Policy::RandomTwo, &backends, &mut turns)] += 1;
        }
        // b wins against a and c. c wins only against a, in one of the three pairs.
        assert_eq!(counts[0], 0);
        assert!((900..1100).contains(&counts[2]), "{counts:?}");
    }

    #[test]
    fn two_of_idle_backends_follow_their_weights() {
        let backends = candidates(&[("a", 1, 0), ("b", 3, 0)]);
        let mut turns = Turns::new(2, 0);
        let on_a = (0..4000).filter(|_| next(&Policy::RandomTwo, &backends, &mut turns) == 0).count();
        assert!((900..1100).contains(&on_a), "{on_a} of 4000, expected 1000");
    }

    #[test]
    fn two_of_one_is_that_one() {
        let backends = candidates(&[("a", 0, 5)]);
        assert_eq!(next(&Policy::RandomTwo, &backends, &mut Turns::new(1, 0)), 0);
    }

    #[test]
    fn small_share_weighs_as_a_small_weight() {
        let mut backends = candidates(&[("a", 10, 0), ("b", 10, 0)]);
        backends[0].share = WeightShare(50);
        backends[1].share = WeightShare(1000);
        let mut turns = Turns::new(2, 0);
        let on_a = (0..210).filter(|_| next(&Policy::RoundRobin, &backends, &mut turns) == 0).count();
        assert_eq!(on_a, 10);
        (backends[0].active, backends[1].active) = (1, 19);
        assert_eq!(next(&Policy::LeastConn, &backends, &mut turns), 1, "1/0.5 is more than 19/10");
        backends[1].active = 21;
        assert_eq!(next(&Policy::LeastConn, &backends, &mut turns), 0);
    }
}
