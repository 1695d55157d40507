//! The list of the known backends. With it their counts and their health outlive a change of the file.

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

/// Finds the backends of an earlier file again, by the upstream's name and the backend's address.
///
/// A backend is kept as long as an upstream or a session holds it. The file may lose a backend and name it again later.
/// If nobody held the backend in between, the later one is new. If a session still held it, the backend begins anew, but
/// keeps its counts ([`Backend::begin_anew`]).
///
/// Requests that began before a reload still use the old [`Upstream`], which picks under its own lock. While both pick,
/// a backend may get one request more than `max_conns`.
#[derive(Debug, Default)]
pub struct Registry {
    /// The known upstreams by name. A lock, taken only at a load or reload of the file.
    known: Mutex<HashMap<String, Known>>,
    seed: u64,
}

/// What is known of one upstream.
#[derive(Debug, Default)]
struct Known {
    /// The backends by address.
    backends: HashMap<String, Weak<Backend>>,
    /// The line of the upstream. The backends keep the line alive.
    line: Weak<Line>,
}

impl Registry {
    /// `seed`: the seed of random choices. Each process needs its own seed, or all proxies of a fleet make the same
    /// choices.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { known: Mutex::default(), seed }
    }

    /// An upstream as the file has it now.
    ///
    /// A known backend keeps its counts, its health and the operator's duty. A new backend is up, idle, and at the
    /// beginning of its slow start.
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

    /// Forgets the backends that nobody holds any more, and then the upstreams without backends.
    pub fn forget_gone(&self) {
        lock(&self.known).retain(|_, upstream| {
            upstream.backends.retain(|_, backend| backend.strong_count() > 0);
            !upstream.backends.is_empty()
        });
    }

    /// Whether nobody holds a known backend any more: then [`Self::forget_gone`] has something to do.
    pub fn has_gone(&self) -> bool {
        let known = lock(&self.known);
        known.values().flat_map(|upstream| upstream.backends.values()).any(|backend| backend.strong_count() == 0)
    }

    /// How many backends are known.
    pub fn known(&self) -> usize {
        lock(&self.known).values().map(|upstream| upstream.backends.len()).sum()
    }
}
