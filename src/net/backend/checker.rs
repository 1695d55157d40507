//! Checks one backend at regular times, and tells its upstream whether the backend serves.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use tokio::{
    runtime::Handle,
    task::{AbortHandle, JoinSet},
    time::sleep,
};

use super::{
    chance,
    connect::Endpoint,
    own::Own,
    prober::{Failure, check},
    way::Way,
};
use crate::{
    balance::{Backend, CheckResult, HealthCheck, Member, Transition, Upstream},
    error::Kind,
    proxy_protocol::HeaderForm,
};

/// What all checkers of the process use.
#[derive(Clone)]
pub(in crate::net) struct CheckTools {
    /// Where the checks run. Its thread has sockets ([`Attendant`](crate::net::stream::sockets::Attendant)).
    pub(in crate::net) runtime: Handle,
    pub(in crate::net) own: Arc<Own>,
    pub(in crate::net) on_transition: Arc<OnTransition>,
}

/// Called each time the checks find that a backend goes out or comes back. It must not wait. It is the place to drain the
/// sessions of a backend that goes out (`OnDown::Drain` in [`Upstream::health_check`]), and to take that back when the
/// backend comes back.
pub(in crate::net) type OnTransition = dyn Fn(&Upstream, &Arc<Backend>, Transition) + Send + Sync;

/// The checks of one backend. After this is dropped, none of them tells anything, not even one that has just ended on
/// another thread.
#[derive(Debug)]
pub(in crate::net) struct Checker {
    backend: Arc<Backend>,
    /// What the backend is called.
    authority: Arc<str>,
    settings: HealthCheck,
    /// The PROXY header with which each check begins.
    form: Option<HeaderForm>,
    way: Way,
    hearer: Hearer,
    /// The task is aborted at its next wait.
    task: AbortHandle,
}

/// The upstream that hears what the checks find. `None` = nobody does any more. The lock is held while a check tells what
/// it found.
#[derive(Debug, Clone)]
struct Hearer(Arc<Mutex<Option<Arc<Upstream>>>>);

impl fmt::Debug for CheckTools {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CheckTools").finish_non_exhaustive()
    }
}

impl Checker {
    /// Checks a backend again and again, for the first time within the `jitter`. An earlier checker of this backend is to
    /// be dropped first, so that no check is told to two upstreams.
    pub(in crate::net) fn start(
        upstream: &Arc<Upstream>,
        member: &Member,
        (settings, way): (&HealthCheck, &Way),
        tools: &CheckTools,
    ) -> Self {
        let hearer = Hearer(Arc::new(Mutex::new(Some(Arc::clone(upstream)))));
        let (settings, way, form) = (settings.clone(), way.clone(), upstream.proxy_protocol());
        let (backend, authority) = (Arc::clone(&member.backend), Arc::<str>::from(member.settings.authority()));
        let (checked, terms) = ((Arc::clone(&backend), Arc::clone(&authority)), (settings.clone(), way.clone(), form));
        let checks = check_again_and_again(checked, terms, hearer.clone(), tools.clone());
        let task = tools.runtime.spawn(checks).abort_handle();
        Self { backend, authority, settings, form, way, hearer, task }
    }

    /// Whether these are the checks of this member by these settings, for this upstream, over connections of this way.
    pub(in crate::net) fn is_for(
        &self,
        upstream: &Upstream,
        member: &Member,
        (settings, way): (&HealthCheck, &Way),
    ) -> bool {
        let is_same_name = *self.authority == *member.settings.authority();
        let is_same_connection = self.form == upstream.proxy_protocol() && self.way == *way && is_same_name;
        Arc::ptr_eq(&self.backend, &member.backend) && self.settings == *settings && is_same_connection
    }

    /// Tells this upstream from now on what the checks find.
    pub(in crate::net) fn tell(&self, upstream: &Arc<Upstream>) {
        self.hearer.change(Some(Arc::clone(upstream)));
    }
}

impl Drop for Checker {
    fn drop(&mut self) {
        self.hearer.change(None);
        self.task.abort();
    }
}

impl Hearer {
    /// Calls `tell` if somebody hears it. `tell` must not wait.
    fn hear(&self, tell: impl FnOnce(&Upstream)) {
        if let Some(upstream) = &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            tell(upstream);
        }
    }

    /// Once this has returned, no check tells anything to the hearer of before.
    fn change(&self, upstream: Option<Arc<Upstream>>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = upstream;
    }
}

async fn check_again_and_again(
    (backend, authority): (Arc<Backend>, Arc<str>),
    (settings, way, form): (HealthCheck, Way, Option<HeaderForm>),
    hearer: Hearer,
    tools: CheckTools,
) {
    let mut pause = chance::time(settings.jitter);
    loop {
        #[expect(clippy::disallowed_methods, reason = "checks come at intervals")]
        sleep(pause).await;
        pause = settings.interval + chance::time(settings.jitter);
        let (backend, authority) = (Arc::clone(&backend), Arc::clone(&authority));
        let (settings, way) = (settings.clone(), way.clone());
        let (hearer, tools) = (hearer.clone(), tools.clone());
        // Each check has a task of its own: no check should panic, and if one does, others follow it.
        let mut task = JoinSet::new();
        task.spawn(async move {
            // A check is no client's.
            let announcement = form.map(HeaderForm::without_client).unwrap_or_default();
            let address = backend.address();
            let endpoint = Endpoint { address, authority: &authority, way: &way, announcement: &announcement };
            let failure = match check(endpoint, &settings, &tools.own).await {
                Ok(()) => None,
                // We have run out of something. That says nothing about the backend.
                Err(Failure::Exchange(error)) if error.kind() == Kind::Exhausted => return,
                Err(failure) => Some(failure.to_string()),
            };
            hearer.hear(|upstream| report_outcome(upstream, &backend, failure, &*tools.on_transition));
        });
        if let Some(Err(error)) = task.join_next().await {
            tracing::error!(%error, "a check of a backend panicked");
        }
    }
}

/// Tells the outcome of a check to the upstream, and a transition to `on_transition`.
fn report_outcome(upstream: &Upstream, backend: &Arc<Backend>, failure: Option<String>, on_transition: &OnTransition) {
    let check = CheckResult { at: Instant::now(), failure: failure.clone() };
    let Some(transition) = upstream.checked(backend, check) else { return };
    let (name, address) = (upstream.name(), backend.address());
    match failure {
        Some(reason) => tracing::warn!(upstream = name, backend = address, reason, "backend is out: its checks fail"),
        None => tracing::info!(upstream = name, backend = address, "backend is back: its checks pass"),
    }
    on_transition(upstream, backend, transition);
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::{
        path::Path,
        sync::{
            atomic::{AtomicBool, Ordering::SeqCst},
            mpsc,
        },
        thread,
        time::Duration,
    };

    use tokio::{runtime::Runtime, sync::oneshot};

    use super::*;
    use crate::{balance::Registry, config, net::stream::sockets::Attendant};

    /// An upstream with one backend that is checked all the time.
    fn upstream(registry: &Registry, address: &str) -> Arc<Upstream> {
        let file = "listeners: [ { bind: \"127.0.0.1:0\" } ]\nroutes: [ { upstream: chat } ]\n\
                    upstreams: { chat: { backends: [ { address: \"ADDRESS\" } ], \
                    health_check: { kind: tcp, interval: 20ms, jitter: 0s, timeout: 20ms, rise: 1, fall: 1 } } }\n";
        let settings = config::parse(&file.replace("ADDRESS", address), "proxy.yaml", Path::new("."))
            .unwrap()
            .config
            .upstreams
            .remove(0);
        registry.upstream(settings, Instant::now())
    }

    fn start(
        upstream: &Arc<Upstream>,
        runtime: &Runtime,
        on_transition: impl Fn(&Upstream, &Arc<Backend>, Transition) + Send + Sync + 'static,
    ) -> Checker {
        let (own, on_transition) = (Arc::default(), Arc::new(on_transition));
        let tools = CheckTools { runtime: runtime.handle().clone(), own, on_transition };
        let terms = (upstream.health_check().unwrap(), &Way::default());
        Checker::start(upstream, &upstream.members()[0], terms, &tools)
    }

    fn runtime() -> Runtime {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
    }

    /// Runs `test` as the background thread runs the checks.
    fn run<T>(runtime: &Runtime, test: impl Future<Output = T>) -> T {
        runtime.block_on(async { Attendant::new().unwrap().attend(test).await })
    }

    #[test]
    fn no_check_speaks_any_more_once_its_checker_is_dropped() {
        let upstream = upstream(&Registry::new(0), "127.0.0.1:1");
        let runtime = runtime();
        let ((speaks, heard), (go_on, may_go_on)) = (mpsc::channel(), mpsc::channel::<()>());
        let (is_speaking, may_go_on) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(may_go_on)));
        let speaking = Arc::clone(&is_speaking);
        let speaks = Mutex::new(speaks);
        let checker = start(&upstream, &runtime, move |_, _, _| {
            speaking.store(true, SeqCst);
            speaks.lock().unwrap().send(()).unwrap();
            may_go_on.lock().unwrap().recv().unwrap();
            speaking.store(false, SeqCst);
        });
        let (stop, stopped) = oneshot::channel::<()>();
        let checking = thread::spawn(move || run(&runtime, stopped).is_err());
        heard.recv().unwrap();
        let (begins, begun) = mpsc::channel();
        let dropping = thread::spawn(move || {
            begins.send(()).unwrap();
            drop(checker);
            is_speaking.load(SeqCst)
        });
        begun.recv().unwrap();
        (0..1000).for_each(|_| thread::yield_now());
        go_on.send(()).unwrap();
        assert!(!dropping.join().unwrap(), "a check was still speaking");
        drop(stop);
        assert!(checking.join().unwrap());
    }

    #[test]
    fn a_check_that_panics_is_not_the_last_one() {
        let reserved = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = reserved.local_addr().unwrap();
        drop(reserved);
        let (upstream, runtime) = (upstream(&Registry::new(0), &address.to_string()), runtime());
        let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
        let _checker = start(&upstream, &runtime, move |_, _, transition| {
            tell.send(transition).unwrap();
            assert!(transition == Transition::Back, "what none should do");
        });
        let back = run(&runtime, async {
            assert_eq!(told.recv().await, Some(Transition::Out));
            let _backend = std::net::TcpListener::bind(address).unwrap();
            tokio::time::timeout(Duration::from_secs(10), told.recv()).await
        });
        assert_eq!(back, Ok(Some(Transition::Back)));
    }

    #[test]
    fn checks_that_go_on_tell_the_upstream_of_the_new_plan() {
        let (registry, runtime) = (Registry::new(0), runtime());
        let [old, new] = [upstream(&registry, "127.0.0.1:1"), upstream(&registry, "127.0.0.1:1")];
        let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
        let expected = Arc::as_ptr(&new) as usize;
        let checker = start(&old, &runtime, move |upstream, _, _| {
            tell.send(std::ptr::from_ref(upstream) as usize == expected).unwrap();
        });
        // No check has begun before the runtime runs.
        checker.tell(&new);
        let is_new = run(&runtime, async { tokio::time::timeout(Duration::from_secs(10), told.recv()).await });
        assert_eq!(is_new, Ok(Some(true)));
    }
}
