//! A named group of backends and the pick among them.

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

/// A named group of backends; one per process, shared by all workers.
#[derive(Debug)]
pub struct Upstream {
    settings: UpstreamSettings,
    limits: Limits,
    line: Arc<Line>,
    /// In the order of `settings.backends`.
    backends: Vec<Arc<Backend>>,
    /// A lock, held for the whole of a pick: turns, `max_conns` and the one trial are exact only if picks come one
    /// after another. Nothing waits while it is held.
    turns: Mutex<Turns>,
}

impl Upstream {
    /// `backends`: one for each of `settings.backends`, in that order. `seed`: of random choices.
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

    /// How its backends are checked; `None` = they are not.
    pub fn health_check(&self) -> Option<&HealthCheck> {
        self.settings.health_check.as_ref()
    }

    /// Whether a connection with a backend may be used for the requests of several clients, one after another.
    pub fn reuses_connections(&self) -> bool {
        self.settings.reuses_connections
    }

    /// Whether the file has the backend at this place `down`.
    pub fn is_down(&self, index: usize) -> bool {
        self.settings.backends.get(index).is_some_and(|backend| backend.down)
    }

    /// Whether any of its backends takes new requests, as far as the file and the operator are asked.
    pub fn takes_new(&self) -> bool {
        let mut backends = self.backends.iter().zip(&self.settings.backends);
        backends.any(|(backend, settings)| !settings.down && backend.duty() == Duty::Up)
    }

    /// Whether the backend at this place is checked.
    pub fn is_checked(&self, index: usize) -> bool {
        self.health_check().is_some() && !self.is_down(index)
    }

    /// A check of the backend at this place came to its end. The transition is the checks' own: a backend that its
    /// requests keep out is not picked by right however its checks end.
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

    /// What of a request decides where it goes.
    pub fn key(&self, client: IpAddr, headers: &HeaderMap, query: Option<&str>) -> Key {
        match &self.settings.policy {
            Policy::Hash { on, .. } => on.key(client, headers, query),
            _ => client.into(),
        }
    }

    /// Where to connect for a pick that was made with this key.
    pub fn destination<'a>(&self, pick: &'a Pick, key: &'a Key) -> Destination<'a> {
        let hash = match self.settings.policy {
            Policy::Hash { prefix_v4, .. } | Policy::IpHash { prefix_v4 } => Some((key, prefix_v4)),
            Policy::LeastConn | Policy::RandomTwo | Policy::RoundRobin => None,
        };
        Destination { backend: pick.backend(), hash }
    }

    /// The backend for the next attempt of a request, counted as in flight and noted in `tried`.
    ///
    /// # Errors
    ///
    /// [`Unavailable`] when no backend is left that is not down, off duty, full or tried; never [`Unavailable::Busy`]. The
    /// number of [`tries`](Self::tries) is the caller's to keep.
    pub fn pick(&self, key: &Key, tried: &mut Tried, now: Instant) -> Result<Pick, Unavailable> {
        let mut turns = lock(&self.turns);
        let candidates = self.candidates(tried, now)?;
        let index = self.choose(key, &candidates, &mut turns).ok_or(Unavailable::DownOrFull)?;
        Ok(self.picked(index, None, tried, now))
    }

    /// The same for a WebSocket handshake, of which a backend takes `max_handshakes` at a time: with all its backends at
    /// that number, it waits. `place` is the caller's place in the line, to be given again when `waker` was called;
    /// dropped, it gives up. How long to wait is the caller's to say.
    ///
    /// It waits rather than go where it would not go otherwise: to a backup, to a backend that is out, or, with a hash, to
    /// another backend than its own.
    ///
    /// # Errors
    ///
    /// As [`pick`](Self::pick), and [`Unavailable::Busy`] when `handshake_queue` wait already.
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
            // First the waker, then the look at the places: else one could come free in between, and nobody be told.
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

    /// The same backend as before, for a client that has a connection of its own with it: the policy and the health of
    /// that backend are not asked. `None` when that backend takes no more: it is gone from the file, `down`, off duty,
    /// full, or (for a handshake) at its `max_handshakes`.
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

    /// Whether the file or the operator keeps it from being picked.
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

    /// The backends of the best rank that has any, at least one.
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

/// Backends tried for one request, by their place in the upstream whose picks noted them here.
#[derive(Debug, Default)]
pub struct Tried {
    indices: Vec<usize>,
}

impl Tried {
    /// How many were tried.
    pub fn len(&self) -> usize {
        self.indices.len()
    }

    /// Whether none was tried yet.
    pub fn is_empty(&self) -> bool {
        self.indices.is_empty()
    }

    fn contains(&self, index: usize) -> bool {
        self.indices.contains(&index)
    }
}

/// Why there is no backend to pick.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unavailable {
    /// This request has tried every backend that could be picked.
    AllTried,
    /// Every backend that could be picked has `max_handshakes` in flight, and enough wait.
    Busy,
    /// Nothing was tried: every backend is `down`, off duty or at its `max_conns`.
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

/// Who is asked before whom, best first.
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
