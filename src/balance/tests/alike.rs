//! Instances that know the same backends choose alike by a hash, whatever each of them went through before.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::{Duration, Instant},
};

use proptest::{array, collection::vec, prelude::*, sample::subsequence};

use super::super::*;
use crate::sender::Client;

/// As many backends as can be known.
const ALL: u16 = 9;

/// Some of all backends in some order, each with a weight.
fn known(fewest: usize) -> impl Strategy<Value = Vec<BackendSettings>> {
    let numbers = subsequence((0..ALL).collect::<Vec<_>>(), fewest..=usize::from(ALL));
    let weighted = (numbers, vec(1..4_u32, usize::from(ALL)));
    weighted.prop_map(|(numbers, weights)| {
        let backend = |(number, weight)| BackendSettings {
            address: format!("10.0.0.{number}:9001"),
            weight,
            max_conns: 0,
            backup: false,
            down: false,
            tier: 0,
            found: None,
        };
        numbers.into_iter().zip(weights).map(backend).collect()
    })
}

/// What two instances know one after another, and at the end the same backends in two orders.
fn histories() -> impl Strategy<Value = [Vec<Vec<BackendSettings>>; 2]> {
    let last = known(1).prop_flat_map(|last| [Just(last.clone()).prop_shuffle(), Just(last).prop_shuffle()]);
    (array::uniform2(vec(known(0).prop_shuffle(), 0..4)), last).prop_map(|(mut before, [one, other])| {
        before[0].push(one);
        before[1].push(other);
        before
    })
}

/// An upstream that has known these backends one after another, and has had requests meanwhile. One failure takes no backend out.
fn after(history: Vec<Vec<BackendSettings>>, policy: Policy, seed: u64, now: Instant) -> Arc<Upstream> {
    let registry = Registry::new(seed);
    let settings = UpstreamSettings { max_fails: 100, ..super::settings(policy, Vec::new()) };
    let upstream = registry.upstream(settings, now);
    for (place, backends) in history.into_iter().enumerate() {
        registry.change_members(&upstream, backends, now + Duration::from_secs(place as u64));
        for client in 0..seed % 7 {
            if let Ok(mut pick) = upstream.pick(&key(client as u32), &mut Tried::default(), now) {
                let _ = pick.failed(now);
            }
        }
    }
    upstream
}

fn key(client: u32) -> Key {
    Client::from(IpAddr::from(Ipv4Addr::from_bits(client))).into()
}

/// The backends that a request would try, one after another.
fn tries(upstream: &Arc<Upstream>, client: u32, now: Instant) -> Vec<String> {
    let mut tried = Tried::default();
    let next = || upstream.pick(&key(client), &mut tried, now).ok().map(|pick| pick.address().to_owned());
    std::iter::from_fn(next).collect()
}

proptest! {
    #[test]
    fn a_hash_picks_alike_in_any_order_and_after_any_history(
        [one, other] in histories(),
        seeds in array::uniform2(any::<u64>()),
        clients in vec(any::<u32>(), 1..20),
        prefix_v4 in 0..=32_u8,
    ) {
        let (now, backends) = (Instant::now(), one.last().map_or(0, Vec::len));
        let policy = Policy::IpHash { prefix_v4 };
        let instances = [after(one, policy.clone(), seeds[0], now), after(other, policy, seeds[1], now)];
        for client in clients {
            let [one, other] = instances.each_ref().map(|instance| tries(instance, client, now));
            prop_assert_eq!(&one, &other);
            prop_assert_eq!(one.len(), backends, "each is tried");
        }
    }
}
