//! Looks for the backends that `proxy.yaml` does not name, at the places that it names. Never on a worker.
//!
//! Each place has a task on the background thread, which lives as long as the configuration names the place. What the task
//! finds goes to [`Findings`]; `control/finding` then changes the members of the upstreams.

mod dns_client;
mod list;
mod names;

use std::{
    collections::{HashMap, HashSet},
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc},
    time::{Duration, Instant},
};

use tokio::{runtime::Handle, sync::Notify, task::AbortHandle};

use crate::{
    config::Config,
    discovery::{BackendEntry, Finding, FindingPlace, Findings},
};

/// How long a start or a reload waits for the first answers about names. Then it goes on without those that have not come.
const FIRST_ANSWERS: Duration = Duration::from_secs(3);

/// Who looks for backends.
#[derive(Debug)]
pub(in crate::net) struct Seekers {
    runtime: Handle,
    findings: Arc<Findings>,
    /// Told when other backends were found.
    news: Arc<Notify>,
    /// A lock that only changes of the plan take.
    seekers: Mutex<HashMap<FindingPlace, Seeker>>,
}

/// A task that looks into one place again and again. After a drop it ends at its next wait.
#[derive(Debug)]
struct Seeker(AbortHandle);

impl Drop for Seeker {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Seekers {
    /// `runtime`: that of the background thread.
    pub(in crate::net) fn new(runtime: Handle, findings: Arc<Findings>) -> Self {
        Self { runtime, findings, news: Arc::default(), seekers: Mutex::default() }
    }

    /// Reads the lists of a configuration, and looks up the names that are new, so that it runs with their backends from its
    /// start. Blocks while files are read, and for [`FIRST_ANSWERS`] at most while names are looked up.
    pub(in crate::net) fn prepare(&self, config: &Config) {
        prepare(&self.findings, config);
        let (first, come) = mpsc::channel();
        let mut seekers = self.seekers();
        for place in places(config) {
            if let FindingPlace::Names(_) = place
                && !seekers.contains_key(place)
            {
                seekers.insert(place.clone(), self.seek(place, &first));
            }
        }
        drop((seekers, first));
        // Nobody sends: the channel closes with the first answers of the last place.
        let _ = come.recv_timeout(FIRST_ANSWERS);
    }

    /// Looks into exactly the places of this configuration from now on. What is known of other places is forgotten.
    pub(in crate::net) fn follow(&self, config: &Config) {
        let mut seekers = self.seekers();
        let mut before = mem::take(&mut *seekers);
        for place in places(config) {
            if !seekers.contains_key(place) {
                self.findings.remember(place, |_| true, Instant::now());
                // Nobody waits for first answers any more.
                let seeker = before.remove(place).unwrap_or_else(|| self.seek(place, &mpsc::channel().0));
                seekers.insert(place.clone(), seeker);
            }
        }
        self.findings.forget_gone(|place| seekers.contains_key(place));
    }

    /// What is known of a place.
    pub(in crate::net) fn finding(&self, place: &FindingPlace) -> Option<Finding> {
        self.findings.of(place)
    }

    /// Each place that is looked into: its kind, its name, and how old what is known of it is.
    pub(in crate::net) fn staleness(&self) -> Vec<(&'static str, String, Duration)> {
        self.findings.staleness(Instant::now())
    }

    /// Told when other backends were found.
    pub(in crate::net) fn news(&self) -> Arc<Notify> {
        Arc::clone(&self.news)
    }

    fn seekers(&self) -> MutexGuard<'_, HashMap<FindingPlace, Seeker>> {
        self.seekers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `first`: dropped when the place has had its first answers.
    fn seek(&self, place: &FindingPlace, first: &mpsc::Sender<()>) -> Seeker {
        let (findings, news) = (Arc::clone(&self.findings), Arc::clone(&self.news));
        let task = match place {
            FindingPlace::File(path) => self.runtime.spawn(list::follow(path.clone(), findings, news)),
            FindingPlace::Names(place) => {
                self.runtime.spawn(names::follow(place.clone(), findings, news, first.clone()))
            }
        };
        Seeker(task.abort_handle())
    }
}

/// [`Seekers::prepare`], for a process that has no background thread yet.
pub(in crate::net) fn prepare(findings: &Findings, config: &Config) {
    let named: HashSet<_> = places(config).collect();
    for place in &named {
        findings.remember(place, |other| named.contains(other), Instant::now());
        match place {
            // Known or not: a reload begins with what the list says now.
            FindingPlace::File(path) => drop(list::read(path, findings)),
            // Names need a runtime.
            FindingPlace::Names(_) => {}
        }
    }
}

/// The places that a configuration names; one may come several times.
fn places(config: &Config) -> impl Iterator<Item = &FindingPlace> {
    config.backend_entries.iter().flatten().filter_map(BackendEntry::place)
}
