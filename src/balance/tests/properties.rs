//! What holds for every sequence of picks and outcomes.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::{Duration, Instant},
};

use proptest::{collection::vec, prelude::*, sample::Index};

use super::super::*;
use crate::sender::Client;

/// One event. An `Index` chooses among the picks that are held, or among the requests under way.
#[derive(Debug, Clone)]
enum Step {
    Begin { client: u32 },
    MoveOn { request: Index },
    Succeed(Index),
    Fail(Index),
    Drop(Index),
    Wait { seconds: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => any::<u32>().prop_map(|client| Step::Begin { client }),
        2 => any::<Index>().prop_map(|request| Step::MoveOn { request }),
        2 => any::<Index>().prop_map(Step::Succeed),
        3 => any::<Index>().prop_map(Step::Fail),
        2 => any::<Index>().prop_map(Step::Drop),
        1 => (0..20_u64).prop_map(|seconds| Step::Wait { seconds }),
    ]
}

fn settings() -> impl Strategy<Value = UpstreamSettings> {
    let policy = prop_oneof![
        (0..=32_u8).prop_map(|prefix_v4| Policy::IpHash { prefix_v4 }),
        Just(Policy::LeastConn),
        Just(Policy::RandomTwo),
        Just(Policy::RoundRobin),
    ];
    let backend = (1..5_u32, 0..4_usize, any::<bool>(), prop::bool::weighted(0.2));
    (policy, 0..4_u32, vec(backend, 0..5)).prop_map(|(policy, max_fails, backends)| UpstreamSettings {
        name: "chat".to_owned(),
        policy,
        max_fails,
        fail_timeout: Duration::from_secs(10),
        tries: 0,
        slow_start: Duration::ZERO,
        max_handshakes: 0,
        handshake_queue: 0,
        reuses_connections: true,
        proxy_protocol: None,
        health_check: None,
        backends: (0_u16..).zip(backends).map(with_address).collect(),
    })
}

fn with_address((port, (weight, max_conns, backup, down)): (u16, (u32, usize, bool, bool))) -> BackendSettings {
    BackendSettings { address: format!("127.0.0.1:{port}"), weight, max_conns, backup, down, tier: 0, found: None }
}

/// A request under way: the backends that it tried, and their addresses.
struct Request {
    client: Client,
    tried: Tried,
    addresses: Vec<String>,
}

/// An upstream, its requests and picks, and the time.
struct Room {
    settings: UpstreamSettings,
    upstream: Arc<Upstream>,
    now: Instant,
    requests: Vec<Request>,
    picks: Vec<Pick>,
}

impl Room {
    fn new(settings: UpstreamSettings) -> Self {
        Self {
            upstream: super::new(settings.clone()),
            settings,
            now: Instant::now(),
            requests: Vec::new(),
            picks: Vec::new(),
        }
    }

    fn apply(&mut self, step: Step) {
        match step {
            Step::Begin { client } => {
                self.requests.push(Request {
                    client: IpAddr::V4(Ipv4Addr::from_bits(client)).into(),
                    tried: Tried::default(),
                    addresses: Vec::new(),
                });
                self.pick(self.requests.len() - 1);
            }
            Step::MoveOn { request } if !self.requests.is_empty() => self.pick(request.index(self.requests.len())),
            Step::Succeed(pick) if !self.picks.is_empty() => {
                let pick = pick.get_mut(&mut self.picks);
                if pick.succeeded(self.now) == Some(Transition::Back) {
                    assert_eq!(pick.backend().health(self.now), Health::Up);
                }
            }
            Step::Fail(pick) if !self.picks.is_empty() => {
                let pick = pick.get_mut(&mut self.picks);
                if pick.failed(self.now) == Some(Transition::Out) {
                    assert_ne!(pick.backend().health(self.now), Health::Up);
                }
            }
            Step::Drop(pick) if !self.picks.is_empty() => {
                drop(self.picks.swap_remove(pick.index(self.picks.len())));
            }
            Step::Wait { seconds } => self.now += Duration::from_secs(seconds),
            _ => {}
        }
    }

    /// One attempt of a request. Its backend may be picked, and no backend with a better rank may.
    fn pick(&mut self, request: usize) {
        let request = &mut self.requests[request];
        let may_be_picked: Vec<_> = self
            .settings
            .backends
            .iter()
            .filter(|backend| !backend.down && !request.addresses.contains(&backend.address))
            .filter(|backend| backend.max_conns == 0 || active(&self.picks, &backend.address) < backend.max_conns)
            .collect();
        let rank = |backend: &BackendSettings| {
            let members = self.upstream.members();
            let shared = members.iter().find(|member| member.backend.address() == backend.address).unwrap();
            (!shared.backend.is_ready(self.now), backend.backup)
        };
        let ranks: Vec<_> = may_be_picked.iter().map(|backend| rank(backend)).collect();

        match self.upstream.pick(&request.client.into(), &mut request.tried, self.now) {
            Ok(pick) => {
                let picked = may_be_picked.iter().position(|backend| backend.address == pick.address());
                let picked = picked.expect("down, full or tried before");
                assert_eq!(Some(&ranks[picked]), ranks.iter().min());
                request.addresses.push(pick.address().to_owned());
                self.picks.push(pick);
            }
            Err(why) => {
                assert!(may_be_picked.is_empty());
                assert_eq!(why != Unavailable::AllTried, request.addresses.is_empty());
                assert_eq!(why == Unavailable::Empty, self.settings.backends.is_empty());
            }
        }
    }

    /// Every backend counts exactly the picks that are held.
    fn check(&self) {
        for Member { backend, settings } in self.upstream.members().iter() {
            assert_eq!(backend.active(), active(&self.picks, backend.address()));
            assert!(settings.max_conns == 0 || backend.active() <= settings.max_conns);
            assert!(self.settings.max_fails != 0 || backend.health(self.now) == Health::Up);
        }
    }
}

fn active(picks: &[Pick], address: &str) -> usize {
    picks.iter().filter(|pick| pick.address() == address).count()
}

proptest! {
    #[test]
    fn any_interleaving_keeps_the_rules_and_ends_with_all_counts_zero(
        settings in settings(),
        steps in vec(step(), 0..80),
    ) {
        let mut room = Room::new(settings);
        for step in steps {
            room.apply(step);
            room.check();
        }
        room.picks.clear();
        room.check();
        prop_assert!(room.upstream.members().iter().all(|member| member.backend.active() == 0));
    }

    /// No trial slot is lost: `fail_timeout` after all picks were dropped, the first request may go to any backend.
    #[test]
    fn any_interleaving_leaves_every_backend_ready_after_fail_timeout(
        settings in settings(),
        steps in vec(step(), 0..80),
    ) {
        let mut room = Room::new(settings);
        for step in steps {
            room.apply(step);
        }
        room.picks.clear();
        room.now += Duration::from_secs(10);
        for member in room.upstream.members().iter() {
            prop_assert!(member.backend.is_ready(room.now));
        }
    }
}
