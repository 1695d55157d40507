//! The backends that live, so that what is counted and known of them goes on when the file changes.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, Weak},
    time::Instant,
};

use super::{
    UpstreamSettings,
    backend::{Backend, lock},
    line::Line,
    upstream::Upstream,
};

/// Finds the backends of an earlier file again, by the upstream's name and their address. A backend lives as long as an
/// upstream or a session has it; one that comes back later is a new one, and one that comes back sooner begins anew but for
/// its counts ([`Backend::begin_anew`]).
///
/// Requests that began before a reload go on with the old [`Upstream`], which picks under a lock of its own: while both
/// pick, a backend may get one request more than `max_conns`.
#[derive(Debug, Default)]
pub struct Registry {
    /// By the upstream's name. A lock, taken at a (re)load only.
    known: Mutex<HashMap<String, Known>>,
    seed: u64,
}

/// What is known of one upstream.
#[derive(Debug, Default)]
struct Known {
    /// By address.
    backends: HashMap<String, Weak<Backend>>,
    /// Its backends have it too.
    line: Weak<Line>,
}

impl Registry {
    /// `seed`: of random choices. Another one in each process, or all proxies of a fleet choose alike.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { known: Mutex::default(), seed }
    }

    /// An upstream as the file has it now, with the backends that are known: their counts, their health and the
    /// operator's duty go on. Those it does not know are up, idle, and at the beginning of their slow start.
    pub fn upstream(&self, settings: UpstreamSettings, now: Instant) -> Arc<Upstream> {
        let mut known = lock(&self.known);
        let known = known.entry(settings.name.clone()).or_default();
        let line = known.line.upgrade().unwrap_or_default();
        known.line = Arc::downgrade(&line);
        let backend = |address: &String| {
            if let Some(backend) = known.backends.get(address).and_then(Weak::upgrade) {
                return backend;
            }
            let backend = Arc::new(Backend::new(address.clone(), Arc::clone(&line), now));
            known.backends.insert(address.clone(), Arc::downgrade(&backend));
            backend
        };
        let backends = settings.backends.iter().map(|settings| &settings.address).map(backend).collect();
        let upstream = Upstream::new(settings, backends, line, self.seed);
        for (index, backend) in upstream.backends().iter().enumerate() {
            if !upstream.is_checked(index) {
                backend.forget_checks();
            }
        }
        upstream
    }

    /// Forgets the backends that live no more, and upstreams without any.
    pub fn forget_gone(&self) {
        lock(&self.known).retain(|_, upstream| {
            upstream.backends.retain(|_, backend| backend.strong_count() > 0);
            !upstream.backends.is_empty()
        });
    }

    /// Whether a backend lives no more, so that there is something to forget.
    pub fn has_gone(&self) -> bool {
        let known = lock(&self.known);
        known.values().flat_map(|upstream| upstream.backends.values()).any(|backend| backend.strong_count() == 0)
    }

    /// How many backends are known.
    pub fn known(&self) -> usize {
        lock(&self.known).values().map(|upstream| upstream.backends.len()).sum()
    }
}
