//! A named group of backends and the pick among them.

use std::{
    fmt,
    net::IpAddr,
    sync::{Arc, Mutex},
    time::Instant,
};

use hyper::HeaderMap;

use super::{
    Policy, UpstreamSettings,
    backend::{Backend, Duty, lock},
    checks::{Check, HealthCheck},
    health::{Limits, Transition},
    key::Key,
    pick::Pick,
    policy::{self, Candidate, Turns},
    slow_start,
};

/// A named group of backends; one per process, shared by all workers.
#[derive(Debug)]
pub struct Upstream {
    settings: UpstreamSettings,
    limits: Limits,
    /// In the order of `settings.backends`.
    backends: Vec<Arc<Backend>>,
    /// A lock, held for the whole of a pick: turns, `max_conns` and the one trial are exact only if picks come one
    /// after another. Nothing waits while it is held.
    turns: Mutex<Turns>,
}

impl Upstream {
    /// `backends`: one for each of `settings.backends`, in that order. `seed`: of random choices.
    pub(super) fn new(settings: UpstreamSettings, backends: Vec<Arc<Backend>>, seed: u64) -> Arc<Self> {
        Arc::new(Self {
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

    /// Whether the file has the backend at this place `down`.
    pub fn is_down(&self, index: usize) -> bool {
        self.settings.backends.get(index).is_some_and(|backend| backend.down)
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

    /// The backend for the next attempt of a request, counted as in flight and noted in `tried`.
    ///
    /// # Errors
    ///
    /// [`Unavailable`] when no backend is left that is not down, off duty, full or tried. The number of [`tries`](Self::tries)
    /// is the caller's to keep.
    pub fn pick(&self, key: &Key, tried: &mut Tried, now: Instant) -> Result<Pick, Unavailable> {
        let mut turns = lock(&self.turns);
        let candidates = self.candidates(tried, now);
        let Some(index) = policy::choose(&self.settings.policy, key, &candidates, &mut turns) else {
            return Err(match tried.is_empty() {
                true => Unavailable::DownOrFull,
                false => Unavailable::AllTried,
            });
        };
        tried.indices.push(index);
        Ok(Pick::new(Arc::clone(&self.backends[index]), self.limits, now))
    }

    /// The backends of the best rank that has any.
    fn candidates(&self, tried: &Tried, now: Instant) -> Vec<Candidate<'_>> {
        let mut best = None;
        let mut candidates = Vec::with_capacity(self.backends.len());
        for (index, (backend, settings)) in self.backends.iter().zip(&self.settings.backends).enumerate() {
            let active = backend.active();
            let is_full = settings.max_conns != 0 && active >= settings.max_conns;
            let is_off = settings.down || backend.duty() != Duty::Up;
            if is_off || is_full || tried.contains(index) {
                continue;
            }
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
        candidates
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
    /// Nothing was tried: every backend is `down`, off duty or at its `max_conns`.
    DownOrFull,
}

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AllTried => "every available backend was tried",
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
