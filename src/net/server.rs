//! Starts, runs and drains a proxy.

use std::{
    io,
    num::NonZeroUsize,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    sync::{Arc, Mutex, RwLock},
    thread,
    time::{Duration, Instant},
};

use tokio::{
    runtime::{self, Handle, Runtime},
    sync::{mpsc, watch},
    task::JoinSet,
    time::timeout,
};

#[cfg(feature = "otlp")]
use super::operate::collector;
use super::{
    backend::{dialer::Dialer, pool::IDLE_TIME},
    counts::{admission::Admission, fleet::Fleet, live::Live, wrong_tokens::WrongTokens},
    front::{
        bind::bind,
        inherited::Inherited,
        listener::{Crew, HAND_OVER, HandOver},
        serve::{self, Accepted, LAST_CALL},
        tickets::Tickets,
    },
    operate::{admin, control::Control, desk, discovery, fleet::FleetTarget, history::History},
    orders::book::Orders,
    session::{
        held::Arrival,
        reclaim::Reclaims,
        sessions::{ARRIVALS, Process, Sessions},
    },
    stream::{
        options,
        sockets::{self, Attendant},
    },
    thread::{door, vital::Vitals},
    worker::{
        memory,
        nonces::Nonces,
        plan::Planner,
        probe_place::ProbePlace,
        shared::{Shared, Worker},
    },
};
#[cfg(not(feature = "otlp"))]
use crate::traces::Traces;
use crate::{
    access_log::AccessLog,
    config::{Config, ListenAddress},
    discovery::Findings,
    metrics::Metrics,
    ws::resume_token::ResumeKey,
};

pub use super::front::bind::StartError;

/// The most time that the process takes at its end for each of these:
///
/// 1. Workers, after the end of a drain: to write the records of sessions and requests that were cut.
/// 2. Slow readers, after the end of a drain: to read the records and messages that still wait.
/// 3. A collector, within what is left of `timeouts.drain`: to take the spans that still wait.
pub const LAST_WORDS: Duration = Duration::from_secs(5);

/// At the end, a reader of records that takes longer than this is named in the log.
const SLOW: Duration = Duration::from_secs(1);

/// A worker with many tasks asks the kernel for events only after it has run so many of them, which saves system calls.
const TASKS_PER_POLL: u32 = 61;

/// A running proxy: its listeners and worker threads. Dropping it ends all of them at once.
#[derive(Debug)]
pub struct Server {
    control: Arc<Control>,
    /// Dropped to stop the workers.
    stop: watch::Sender<()>,
    /// Closed when the last worker has ended.
    workers: mpsc::Receiver<()>,
}

/// How a drain ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drained {
    /// Sessions that were open when the drain began.
    pub sessions: usize,
    /// Sessions and requests still open at the deadline.
    pub cut: usize,
    /// Records that could not be written since the process began.
    pub records_lost: usize,
    /// How long the drain took.
    pub took: Duration,
}

impl Server {
    /// Binds every listener and starts the workers; connections are accepted from now on.
    ///
    /// # Errors
    /// An address that cannot be bound, a certificate that cannot be read, a thread that cannot be made.
    pub fn start(config: Config, access_log: AccessLog) -> Result<Self, StartError> {
        Self::start_with(config, access_log, &mut Inherited::default())
    }

    /// [`Self::start`], on sockets of another process if it passed those that the file asks for.
    ///
    /// # Errors
    /// Those of [`Self::start`].
    pub fn start_with(config: Config, access_log: AccessLog, inherited: &mut Inherited) -> Result<Self, StartError> {
        let tickets = inherited.tickets().map_or_else(|| Tickets::new(Instant::now()), Ok);
        let tickets = Arc::new(tickets.map_err(StartError::Worker)?);
        let bound = config.listeners.iter().map(|listener| bind(listener, &config.tcp, &tickets, inherited));
        let bound = bound.collect::<Result<Vec<_>, _>>()?;
        let admin = config
            .admin
            .as_ref()
            .map(|admin| desk::bind(admin, inherited).map_err(|error| StartError::Admin(admin.bind.clone(), error)));
        let admin = admin.transpose()?;
        for address in inherited.left() {
            tracing::warn!(%address, "a socket was passed for this address, and no listener of the file has it");
        }
        let workers = config.workers.or_else(|| thread::available_parallelism().ok()).map_or(1, NonZeroUsize::get);
        let history = admin.is_some().then(History::default);
        let endings = history.as_ref().map_or_else(Arc::default, |history| Arc::clone(&history.endings));
        let endings = (endings, history.is_some());
        let metrics = Arc::new(Metrics::default());
        #[cfg(feature = "otlp")]
        let traces = collector::traces(config.tracing.as_ref(), metrics.spans());
        #[cfg(not(feature = "otlp"))]
        let traces = Traces::default();
        let findings = Arc::new(Findings::default());
        discovery::prepare(&findings, &config);
        let planner = Planner::new(access_log, endings, findings, Arc::clone(&metrics), inherited.sticky_secret());
        let planner = planner.map_err(StartError::Worker)?;
        let ways = planner.ways(&config, None).map_err(StartError::Tls)?;
        let sticky_key = planner.sticky_key(&config).map_err(StartError::StickyKey)?;
        let probe = ProbePlace::read(&config).map_err(StartError::Probe)?;
        let fleet = FleetTarget::load(config.fleet.as_ref(), None).map_err(StartError::Tls)?;
        let admission = Admission::new(Instant::now());
        admission.unsent.set_limit(config.limits.unsent_memory);
        let reclaims = Reclaims::new();
        reclaims.set_limits(config.limits.away, config.limits.resume_memory);
        let mut random = [0; ResumeKey::RANDOM];
        getrandom::fill(&mut random).map_err(|error| StartError::Worker(io::Error::other(error)))?;
        let (loops, arrivals): (Vec<_>, Vec<_>) = (0..workers).map(|_| mpsc::channel(ARRIVALS)).unzip();
        let shared = Arc::new(Shared {
            plan: RwLock::new(Arc::new(planner.plan(config, (ways, &sticky_key, probe), None, Instant::now()))),
            live: Live::new(workers),
            nonces: Nonces::new().map_err(StartError::Worker)?,
            accepted: Arc::default(),
            strangers: Mutex::default(),
            orders: Orders::new(),
            own: Arc::default(),
            admission,
            fleet: Fleet::new(Instant::now()),
            metrics,
            traces,
            vitals: Arc::new(Vitals::new()),
            resume_key: ResumeKey::new(&random),
            reclaims,
            wrong_tokens: WrongTokens::new(Instant::now()),
            loops,
        });
        let (stop, stopped) = watch::channel(());
        let (alive, ended) = mpsc::channel(1);
        let crew = start_workers(&shared, arrivals, &stopped, &alive).map_err(StartError::Worker)?;
        let background = start_background(Arc::clone(&shared), stopped, alive).map_err(StartError::Thread)?;
        let (desk, listener) = admin.map(desk::BoundAdmin::split).unzip();
        let control =
            Control::start(shared, crew, background.clone(), planner, (tickets, fleet), bound, desk.zip(history))?;
        if let Some(listener) = listener {
            admin::serve(listener, &background, Arc::clone(&control));
            admin::watch(&background, Arc::downgrade(&control));
        }
        Ok(Self { control, stop, workers: ended })
    }

    /// How to change the proxy while it runs.
    #[must_use]
    pub const fn control(&self) -> &Arc<Control> {
        &self.control
    }

    /// The addresses in the order of `Config::listeners`, with the ports that were really bound.
    #[must_use]
    pub fn addresses(&self) -> Vec<ListenAddress> {
        self.control.addresses()
    }

    /// Worker threads.
    #[must_use]
    pub fn workers(&self) -> usize {
        self.control.live().workers()
    }

    /// Connections that may wait to be accepted, as asked of the kernel.
    #[must_use]
    pub const fn backlog(&self) -> i32 {
        options::BACKLOG
    }

    /// Sessions open now.
    #[must_use]
    pub fn sessions(&self) -> usize {
        self.control.sessions()
    }

    /// Drains the proxy, in these steps:
    ///
    /// 1. Load balancers are told to look away, and clients are still served, for `drain.wait`.
    /// 2. The listeners close, and connections that are still open get a 503.
    /// 3. Every session is told to leave, over `drain.spread`.
    /// 4. This waits until all have gone, or until `timeouts.drain` is up.
    ///
    /// The rest of `timeouts.drain` is for spans that are not exported yet. The rest and [`LAST_WORDS`] are for records
    /// that are not written yet.
    pub async fn drain(self) -> Drained {
        self.drain_beside(std::future::pending()).await
    }

    /// [`Self::drain`] together with `handed_over`, for as long as there are listeners that a successor could take over.
    pub async fn drain_beside(self, handed_over: impl Future<Output = ()>) -> Drained {
        let Self { control, stop, mut workers } = self;
        let began = Instant::now();
        let config = control.config();
        let (wait, deadline) = (config.drain.wait, config.timeouts.drain);
        // Connections that were accepted before a successor took over are served if their request comes soon.
        let wait = if control.has_left() { wait.max(LAST_CALL.min(deadline / 2)) } else { wait };
        // After a failure, the rest of the process is not trusted to go on serving.
        let wait = if control.has_failed() { Duration::ZERO } else { wait };
        let closes = async {
            if !wait.is_zero() {
                control.announce();
                #[expect(clippy::disallowed_methods, reason = "`drain.wait` is a time")]
                tokio::time::sleep(wait).await;
            }
            let sessions = control.sessions();
            // The sessions that are told last need time to leave, too.
            control.close(config.drain.spread.min(deadline.saturating_sub(wait) / 2)).await;
            sessions
        };
        let mut closes = pin!(closes);
        let sessions = tokio::select! {
            sessions = &mut closes => sessions,
            () = handed_over => closes.await,
        };
        let cut = match timeout(deadline.saturating_sub(began.elapsed()), control.live().gone()).await {
            Ok(()) => 0,
            Err(_) => control.live().connections(),
        };
        control.leave_fleet().await;
        drop(stop);
        // Sessions and requests that are cut write their records when their worker ends.
        let _ = timeout(LAST_WORDS, workers.recv()).await;
        let export = control.traces().finish(deadline.saturating_sub(began.elapsed()).min(LAST_WORDS));
        let ((), records_lost) =
            tokio::join!(export, finish(control.access_log().clone(), began + deadline + LAST_WORDS));
        Drained { sessions, cut, records_lost, took: began.elapsed() }
    }
}

/// Waits for the records to be written. Returns how many never will be.
async fn finish(log: AccessLog, deadline: Instant) -> usize {
    let wait = move || {
        let waiting = log.lines().wait(deadline.min(Instant::now() + SLOW));
        if waiting > 0 {
            tracing::warn!(records = waiting, "waiting for whoever reads the records");
        }
        log.lines().finish(deadline)
    };
    // An error says that the process is already stopping its threads.
    tokio::task::spawn_blocking(wait).await.unwrap_or_default()
}

/// What a worker's thread is given.
struct Start {
    worker: Arc<Worker>,
    arrivals: mpsc::Receiver<Arrival>,
    inbox: mpsc::Receiver<Accepted>,
    stopped: watch::Receiver<()>,
    alive: mpsc::Sender<()>,
}

/// Starts the workers, one thread and runtime each. The first one accepts for all.
fn start_workers(
    shared: &Arc<Shared>,
    arrivals: Vec<mpsc::Receiver<Arrival>>,
    stopped: &watch::Receiver<()>,
    alive: &mpsc::Sender<()>,
) -> io::Result<Crew> {
    let count = arrivals.len();
    let (others, inboxes): (Vec<HandOver>, Vec<_>) = (0..count).map(|_| mpsc::channel(HAND_OVER)).unzip();
    let mut first = None;
    let (report, reports) = std::sync::mpsc::channel();
    let loops = inboxes.into_iter().zip(arrivals).zip(&shared.loops).enumerate();
    for (index, ((inbox, arrivals), sessions)) in loops {
        let runtime = runtime::Builder::new_current_thread().enable_all().event_interval(TASKS_PER_POLL).build()?;
        let dialer = Dialer { own: Arc::clone(&shared.own), ..Dialer::default() };
        let worker = Arc::new(Worker { index, shared: Arc::clone(shared), dialer, sessions: sessions.clone() });
        first.get_or_insert_with(|| (Arc::clone(&worker), runtime.handle().clone()));
        let start = Start { worker, arrivals, inbox, stopped: stopped.clone(), alive: alive.clone() };
        thread::Builder::new().name(format!("worker-{index}")).spawn({
            let report = report.clone();
            move || start.run(runtime, report)
        })?;
    }
    drop(report);
    // The reports end when the last thread has told how it started.
    let started: usize = reports.iter().map(|started| started.map(|()| 1)).sum::<io::Result<_>>()?;
    if started < count {
        return Err(io::Error::other("a thread ended at once"));
    }
    let (first, runtime) = first.ok_or(io::ErrorKind::InvalidInput)?;
    Ok(Crew { first, runtime, others, sessions: shared.loops.clone() })
}

/// Starts a thread and runtime for all work that is no worker's, so that it slows no session down.
fn start_background(
    shared: Arc<Shared>,
    mut stopped: watch::Receiver<()>,
    alive: mpsc::Sender<()>,
) -> io::Result<Handle> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    let handle = runtime.handle().clone();
    let (report, started) = std::sync::mpsc::channel();
    thread::Builder::new().name("background".into()).spawn(move || {
        let _vital = shared.vitals.guard("the background thread");
        runtime.block_on(async {
            let (attendant, started) = match Attendant::new() {
                Ok(attendant) => (Some(attendant), Ok(())),
                Err(error) => (None, Err(error)),
            };
            // The receiver waits for this.
            let _ = report.send(started);
            if let Some(attendant) = attendant {
                // Always an error: the sender is dropped to stop this thread.
                let _ = attendant.attend(stopped.changed()).await;
            }
        });
        // A file may still not have come. The end waits for none.
        runtime.shutdown_background();
        drop(alive);
    })?;
    started.recv().map_err(io::Error::other)??;
    Ok(handle)
}

impl Start {
    /// Runs a worker's thread. `report`: where the thread tells how it started.
    fn run(self, runtime: Runtime, report: Report) {
        let Self { worker, arrivals, inbox, stopped, alive } = self;
        let entered = runtime.enter();
        let coalesce = worker.shared.plan().config.coalesce;
        let sessions = sockets::open(!coalesce.is_zero())
            .and_then(|epolls| Sessions::new(process(&worker), epolls, coalesce, arrivals));
        drop(entered);
        let (sessions, started) = match sessions {
            Ok(sessions) => (Some(sessions), Ok(())),
            Err(error) => (None, Err(error)),
        };
        // The receiver stops at the first failure.
        let _ = report.send(started);
        drop(report);
        let Some(sessions) = sessions else { return };
        let work = door::answering(work(Arc::clone(&worker), sessions, inbox, stopped));
        let ended = catch_unwind(AssertUnwindSafe(|| runtime.block_on(work)));
        if !matches!(ended, Ok(WorkerEnd::Stopped)) {
            worker.shared.live.retire(worker.index);
            worker.shared.vitals.fail("a worker");
        }
        // The tasks are dropped first, with the records that they still hold. Then `alive` tells that this worker has ended.
        drop(runtime);
        drop(alive);
    }
}

/// What the loop of the worker's sessions needs of the process.
fn process(worker: &Worker) -> Process {
    let Worker { index, shared, .. } = worker;
    let (plans, fleets) = (Arc::clone(shared), Arc::clone(shared));
    Process {
        worker: *index,
        orders: shared.orders.subscribe(),
        unsent: Arc::clone(&shared.admission.unsent),
        queued: Arc::clone(&shared.admission.queued),
        metrics: Arc::clone(&shared.metrics),
        fleet: Arc::clone(&shared.fleet),
        shares_limits: Box::new(move || fleets.plan().config.fleet.is_some()),
        reclaims: Arc::clone(&shared.reclaims),
        vitals: Arc::clone(&shared.vitals),
        tcp: Box::new(move || plans.plan().config.tcp),
    }
}

/// Where a worker's thread tells how it started.
type Report = std::sync::mpsc::Sender<io::Result<()>>;

/// How a worker ended.
enum WorkerEnd {
    /// The process stops.
    Stopped,
    /// A task has ended that the worker cannot do without. The worker's connections end too, because they would wait for ever.
    Failed,
}

async fn work(
    worker: Arc<Worker>,
    sessions: Sessions,
    inbox: mpsc::Receiver<Accepted>,
    mut stopped: watch::Receiver<()>,
) -> WorkerEnd {
    let mut vital = JoinSet::new();
    vital.spawn(door::answering(sessions.drive()));
    if worker.index == 0 {
        vital.spawn(memory::give_back(Arc::clone(&worker.shared.accepted)));
    }
    vital.spawn(sweep(Arc::clone(&worker)));
    tokio::select! {
        // Always an error: the sender is dropped to stop this worker.
        _ = stopped.changed() => WorkerEnd::Stopped,
        () = serve_inbox(worker, inbox) => WorkerEnd::Stopped,
        // These tasks end by a panic only.
        _ = vital.join_next() => WorkerEnd::Failed,
    }
}

/// Serves connections that were accepted on another thread.
async fn serve_inbox(worker: Arc<Worker>, mut inbox: mpsc::Receiver<Accepted>) {
    while let Some(accepted) = inbox.recv().await {
        // Boxed, because the runtime moves a future several times before it first polls it.
        tokio::spawn(Box::pin(serve::serve(Arc::clone(&worker), accepted)));
    }
    // No more connections can come. Those that are served go on until the process stops this worker.
    std::future::pending().await
}

/// Closes idle backend connections that are too old, or that their backend has closed.
async fn sweep(worker: Arc<Worker>) {
    let mut interval = tokio::time::interval(IDLE_TIME / 4);
    loop {
        tokio::select! {
            _ = interval.tick() => {}
            () = worker.dialer.pool.stirred() => {}
        }
        worker.dialer.pool.sweep(Instant::now());
    }
}
