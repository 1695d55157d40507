//! A named group of backends, and how one of them is picked.

use std::{
    fmt,
    net::IpAddr,
    sync::{Arc, Mutex},
    task::{Poll, Waker},
    time::Instant,
};

use hyper::HeaderMap;

use super::{
    Policy, UpstreamSettings,
    backend::{Backend, Duty, lock},
    checks::{Check, HealthCheck},
    destination::Destination,
    health::{Limits, Transition},
    key::Key,
    line::{Line, Place},
    pick::{Handshake, Pick},
    policy::{self, Candidate, Turns},
    slow_start,
};

/// A named group of backends. There is one per process, and all workers share it.
#[derive(Debug)]
pub struct Upstream {
    settings: UpstreamSettings,
    limits: Limits,
    line: Arc<Line>,
    /// The backends in the order of `settings.backends`.
    backends: Vec<Arc<Backend>>,
    /// A lock, held for a whole pick: turns, `max_conns` and the one trial are exact only if picks follow one another.
    /// Its holder waits for no peer.
    turns: Mutex<Turns>,
}

impl Upstream {
    /// `backends`: one for each of `settings.backends`, in that order. `seed`: the seed of random choices.
    pub(super) fn new(
        settings: UpstreamSettings,
        backends: Vec<Arc<Backend>>,
        line: Arc<Line>,
        seed: u64,
    ) -> Arc<Self> {
        Arc::new(Self {
            line,
            limits: Limits::new(settings.max_fails, settings.fail_timeout),
            turns: Mutex::new(Turns::new(backends.len(), seed)),
            backends,
            settings,
        })
    }

    /// Its name in the file, the metrics and the log.
    pub fn name(&self) -> &str {
        &self.settings.name
    }

    /// Its backends in the order of the file.
    pub fn backends(&self) -> &[Arc<Backend>] {
        &self.backends
    }

    /// How its backends are checked; `None` = they are not checked.
    pub fn health_check(&self) -> Option<&HealthCheck> {
        self.settings.health_check.as_ref()
    }

    /// Whether a connection with a backend may be used for the requests of several clients, one after another.
    pub fn reuses_connections(&self) -> bool {
        self.settings.reuses_connections
    }

    /// Whether the file marks the backend at this place as `down`.
    pub fn is_down(&self, index: usize) -> bool {
        self.settings.backends.get(index).is_some_and(|backend| backend.down)
    }

    /// Whether any backend takes new requests, by the file and the operator alone; health and counts are not asked.
    pub fn takes_new(&self) -> bool {
        let mut backends = self.backends.iter().zip(&self.settings.backends);
        backends.any(|(backend, settings)| !settings.down && backend.duty() == Duty::Up)
    }

    /// Whether the backend at this place is checked.
    pub fn is_checked(&self, index: usize) -> bool {
        self.health_check().is_some() && !self.is_down(index)
    }

    /// A check of the backend at this place ended.
    ///
    /// Returns a transition of the checks alone. If its requests keep the backend out, it stays out whatever its checks
    /// say.
    pub fn checked(&self, index: usize, check: Check) -> Option<Transition> {
        self.backends.get(index)?.checked(check, self.health_check()?)
    }

    /// How many backends may be tried for one request.
    pub fn tries(&self) -> usize {
        match self.settings.tries {
            0 => self.backends.len(),
            tries => tries as usize,
        }
    }

    /// The part of a request that decides on its backend.
    pub fn key(&self, client: IpAddr, headers: &HeaderMap, query: Option<&str>) -> Key {
        match &self.settings.policy {
            Policy::Hash { on, .. } => on.key(client, headers, query),
            _ => client.into(),
        }
    }

    /// The place to connect to for a pick that was made with this key.
    pub fn destination<'a>(&self, pick: &'a Pick, key: &'a Key) -> Destination<'a> {
        let hash = match self.settings.policy {
            Policy::Hash { prefix_v4, .. } | Policy::IpHash { prefix_v4 } => Some((key, prefix_v4)),
            Policy::LeastConn | Policy::RandomTwo | Policy::RoundRobin => None,
        };
        Destination { backend: pick.backend(), hash }
    }

    /// Picks the backend for the next attempt of a request, counts it as in flight, and adds it to `tried`.
    ///
    /// # Errors
    ///
    /// [`Unavailable`] when every backend is down, off duty, full or tried; never [`Unavailable::Busy`]. The caller
    /// respects the number of [`tries`](Self::tries).
    pub fn pick(&self, key: &Key, tried: &mut Tried, now: Instant) -> Result<Pick, Unavailable> {
        let mut turns = lock(&self.turns);
        let candidates = self.candidates(tried, now)?;
        let index = self.choose(key, &candidates, &mut turns).ok_or(Unavailable::DownOrFull)?;
        Ok(self.picked(index, None, tried, now))
    }

    /// Picks a backend for a WebSocket handshake, as [`pick`](Self::pick) does, or waits for a place.
    ///
    /// A backend takes `max_handshakes` handshakes at a time. If all backends have as many, the handshake waits in
    /// line. `place` is the caller's place in the line: the caller gives it again after `waker` was called, and drops
    /// it to give up. The caller decides how long to wait.
    ///
    /// A handshake waits only for backends to which it would go anyway. It does not go to a backup or to a backend that
    /// is out instead, nor, with a hash, to a backend other than its own.
    ///
    /// # Errors
    ///
    /// The errors of [`pick`](Self::pick), and [`Unavailable::Busy`] when `handshake_queue` handshakes wait already.
    pub fn poll_handshake(
        &self,
        key: &Key,
        tried: &mut Tried,
        place: &mut Option<Place>,
        waker: &Waker,
        now: Instant,
    ) -> Poll<Result<Pick, Unavailable>> {
        let most = self.settings.max_handshakes;
        if most == 0 {
            return Poll::Ready(self.pick(key, tried, now));
        }
        let mut turns = lock(&self.turns);
        loop {
            let mut candidates = self.candidates(tried, now)?;
            let own = match self.settings.policy {
                Policy::Hash { .. } | Policy::IpHash { .. } => self.choose(key, &candidates, &mut turns),
                Policy::LeastConn | Policy::RandomTwo | Policy::RoundRobin => None,
            };
            let wish = own.map(|index| Arc::clone(&self.backends[index]));
            // Store the waker before the look at the places (rule 1 of the line): a place that came free in between
            // would wake nobody.
            let is_next = match place {
                Some(place) => place.is_first(&wish, waker),
                None => self.line.is_free(&wish),
            };
            match own {
                Some(index) => candidates.retain(|candidate| candidate.index == index),
                None => candidates.retain(|candidate| self.backends[candidate.index].handshakes() < most),
            }
            if is_next
                && let Some(index) = self.choose(key, &candidates, &mut turns)
                && let Some(handshake) = Handshake::begin(&self.backends[index], most)
            {
                *place = None;
                return Poll::Ready(Ok(self.picked(index, Some(handshake), tried, now)));
            }
            if place.is_some() {
                return Poll::Pending;
            }
            if self.line.len() >= self.settings.handshake_queue {
                return Poll::Ready(Err(Unavailable::Busy));
            }
            *place = Some(self.line.join(wish, waker));
        }
    }

    /// Picks the same backend as before, for a client with its own connection to that backend.
    ///
    /// The policy and the health of the backend are not asked. `None` if the backend takes no more: it is gone from the
    /// file, `down`, off duty, full, or (for a handshake) at its `max_handshakes`.
    pub fn pick_again(
        &self,
        backend: &Arc<Backend>,
        is_handshake: bool,
        tried: &mut Tried,
        now: Instant,
    ) -> Option<Pick> {
        let _turns = lock(&self.turns);
        let index = self.backends.iter().position(|candidate| Arc::ptr_eq(candidate, backend))?;
        if self.is_off(index) || self.is_full(index) {
            return None;
        }
        let handshake = match self.settings.max_handshakes {
            most if is_handshake && most != 0 => Some(Handshake::begin(backend, most)?),
            _ => None,
        };
        Some(self.picked(index, handshake, tried, now))
    }

    /// Whether the file or the operator excludes the backend from picks.
    fn is_off(&self, index: usize) -> bool {
        self.is_down(index) || self.backends[index].duty() != Duty::Up
    }

    fn is_full(&self, index: usize) -> bool {
        let most = self.settings.backends[index].max_conns;
        most != 0 && self.backends[index].active() >= most
    }

    fn choose(&self, key: &Key, candidates: &[Candidate<'_>], turns: &mut Turns) -> Option<usize> {
        policy::choose(&self.settings.policy, key, candidates, turns)
    }

    fn picked(&self, index: usize, handshake: Option<Handshake>, tried: &mut Tried, now: Instant) -> Pick {
        tried.indices.push(index);
        Pick::new(Arc::clone(&self.backends[index]), self.limits, handshake, now)
    }

    /// The backends that may be picked and have the best rank; at least one.
    fn candidates(&self, tried: &Tried, now: Instant) -> Result<Vec<Candidate<'_>>, Unavailable> {
        let mut best = None;
        let mut candidates = Vec::with_capacity(self.backends.len());
        for (index, (backend, settings)) in self.backends.iter().zip(&self.settings.backends).enumerate() {
            if self.is_off(index) || self.is_full(index) || tried.contains(index) {
                continue;
            }
            let active = backend.active();
            let rank = Rank::new(backend.is_ready(now), settings.backup);
            if best.is_some_and(|best| rank > best) {
                continue;
            }
            if best.is_some_and(|best| rank < best) {
                candidates.clear();
            }
            best = Some(rank);
            let share = slow_start::share(backend.age(now), self.settings.slow_start);
            candidates.push(Candidate { index, address: backend.address(), weight: settings.weight, share, active });
        }
        match (candidates.is_empty(), tried.is_empty()) {
            (false, _) => Ok(candidates),
            (true, true) => Err(Unavailable::DownOrFull),
            (true, false) => Err(Unavailable::AllTried),
        }
    }
}

/// The backends tried for one request, by their place in the upstream.
#[derive(Debug, Default)]
pub struct Tried {
    indices: Vec<usize>,
}

impl Tried {
    /// How many backends were tried.
    pub fn len(&self) -> usize {
        self.indices.len()
    }

    /// Whether no backend was tried yet.
    pub fn is_empty(&self) -> bool {
        self.indices.is_empty()
    }

    fn contains(&self, index: usize) -> bool {
        self.indices.contains(&index)
    }
}

/// Why no backend can be picked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unavailable {
    /// This request has tried every backend that could be picked.
    AllTried,
    /// Every backend that could be picked has `max_handshakes` in flight, and `handshake_queue` handshakes wait
    /// already.
    Busy,
    /// No backend was tried: each is `down`, off duty or at its `max_conns`.
    DownOrFull,
}

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AllTried => "every available backend was tried",
            Self::Busy => "every backend is busy with handshakes",
            Self::DownOrFull => "every backend is down or full",
        })
    }
}

impl std::error::Error for Unavailable {}

/// The rank of a backend, best first. A backend is picked only if none has a better rank.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Primary,
    Backup,
    OutPrimary,
    OutBackup,
}

impl Rank {
    fn new(is_ready: bool, is_backup: bool) -> Self {
        match (is_ready, is_backup) {
            (true, false) => Self::Primary,
            (true, true) => Self::Backup,
            (false, false) => Self::OutPrimary,
            (false, true) => Self::OutBackup,
        }
    }
}
