//! The list of the known backends. With it their counts and their health outlive a change of the file.

use std::{
    collections::HashMap,
    mem,
    sync::{Arc, Mutex, Weak},
    time::Instant,
};

use super::{
    BackendSettings, UpstreamSettings,
    backend::{Backend, lock},
    line::Line,
    members::{Changes, Member},
    upstream::Upstream,
};

/// Finds the backends of an earlier file again, by the upstream's name and the backend's address.
///
/// A backend is kept as long as an upstream or a session holds it. The file may lose a backend and name it again later.
/// If nobody held the backend in between, the later one is new. If a session still held it, the backend begins anew, but
/// keeps its counts.
///
/// A change of the file that gives an upstream other settings makes another [`Upstream`]. Requests that began before still
/// use the old one, which picks under its own lock. While both pick, a backend may get one request more than `max_conns`.
#[derive(Debug, Default)]
pub struct Registry {
    /// The known upstreams by name. A lock that no request takes: a change of the file or of the members takes it, and the
    /// look for what is gone.
    known: Mutex<HashMap<String, Known>>,
    seed: u64,
}

/// What is known of one upstream.
#[derive(Debug, Default)]
struct Known {
    /// The backends by address.
    backends: HashMap<String, Weak<Backend>>,
    /// The line of the upstream. All who wait in the line, and all handshakes that end a wait, keep the line alive.
    line: Weak<Line>,
}

impl Known {
    /// Whether neither an upstream nor a backend of this name is left.
    fn is_gone(&self) -> bool {
        self.backends.is_empty() && self.line.strong_count() == 0
    }

    /// A member with the backend of this address: the known one, or a new one.
    fn member(&mut self, settings: BackendSettings, is_checked: bool, now: Instant) -> Member {
        let known = self.backends.get(&settings.address).and_then(Weak::upgrade);
        let backend = known.unwrap_or_else(|| {
            let backend = Arc::new(Backend::new(settings.address.clone(), now));
            if is_checked && settings.wants_first_check() {
                backend.hold_for_first_check();
            }
            self.backends.insert(settings.address.clone(), Arc::downgrade(&backend));
            backend
        });
        Member { backend, settings }
    }
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
    /// beginning of its slow start. If its address was found and it is checked, it waits for its first check.
    pub fn upstream(&self, mut settings: UpstreamSettings, now: Instant) -> Arc<Upstream> {
        let mut known = lock(&self.known);
        let known = known.entry(settings.name.clone()).or_default();
        let line = known.line.upgrade().unwrap_or_default();
        known.line = Arc::downgrade(&line);
        let backends = mem::take(&mut settings.backends).into_iter();
        let is_checked = settings.health_check.is_some();
        let members = backends.map(|settings| known.member(settings, is_checked, now)).collect();
        Upstream::new(settings, members, line, self.seed)
    }

    /// Gives an upstream the members that these settings name; its own settings stay. Each pick sees either all old or all
    /// new members.
    ///
    /// A backend that stays keeps all that is known of it, and its credit in the turns. A backend that is new, or that
    /// comes back while a session of before still holds it, takes its share as if the file had named it just now.
    pub fn change_members(&self, upstream: &Upstream, backends: Vec<BackendSettings>, now: Instant) -> Changes {
        let mut known = lock(&self.known);
        let known = known.entry(upstream.name().to_owned()).or_default();
        let is_checked = upstream.health_check().is_some();
        let members = backends.into_iter().map(|settings| known.member(settings, is_checked, now)).collect();
        // The entry may have been forgotten while the upstream had no members.
        known.line = Arc::downgrade(upstream.line());
        upstream.replace_members(members, now)
    }

    /// Forgets the backends that nobody holds any more, and then the upstreams of which nothing is left.
    pub fn forget_gone(&self) {
        lock(&self.known).retain(|_, upstream| {
            upstream.backends.retain(|_, backend| backend.strong_count() > 0);
            !upstream.is_gone()
        });
    }

    /// Whether a known backend or upstream has lost its last user: then [`Self::forget_gone`] has something to do.
    pub fn has_gone(&self) -> bool {
        let known = lock(&self.known);
        let has_lost = |upstream: &Known| upstream.backends.values().any(|backend| backend.strong_count() == 0);
        known.values().any(|upstream| upstream.is_gone() || has_lost(upstream))
    }

    /// How many backends are known.
    pub fn known(&self) -> usize {
        lock(&self.known).values().map(|upstream| upstream.backends.len()).sum()
    }
}
