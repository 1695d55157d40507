//! Start, run, drain.

use std::{
    fmt, io,
    net::SocketAddr,
    num::NonZeroUsize,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use tokio::{
    runtime,
    sync::{mpsc, watch},
    time::timeout,
};
use tokio_rustls::rustls;

use super::{
    Shared, Terms, Worker,
    admission::Admission,
    connection::{self, Accepted},
    drain::{Drain, Order},
    listener::{Acceptor, HAND_OVER, HandOver},
    live::Live,
    memory,
    nonces::Nonces,
    sessions::{ARRIVALS, Sessions},
    socket, sockets,
    tls::{self, TlsError},
    upstream::{Dialer, IDLE_TIME},
};
use crate::{
    access_log::{AccessLog, RouteLog},
    balance::Upstream,
    config::{Config, Tcp},
    routing::Route,
    ws::{keepalive::Secret, session::SessionSettings},
};

/// How long the record of what was cut at the end of a drain may take to be written.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Tasks that a worker runs before it asks the kernel for more to do, if it does not run out of them: a busy worker saves
/// system calls.
const TASKS_PER_POLL: u32 = 61;

/// A running proxy: its listeners and worker threads. Dropping it ends everything at once.
#[derive(Debug)]
pub struct Server {
    addresses: Vec<SocketAddr>,
    live: Arc<Live>,
    drain: watch::Sender<Option<Order>>,
    deadline: Duration,
    /// Dropped to stop the workers.
    stop: watch::Sender<()>,
    /// Closed when the last worker has ended.
    workers: mpsc::Receiver<()>,
}

/// How a drain ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drained {
    /// Sessions that were open when it began.
    pub sessions: usize,
    /// Sessions and requests still open at the deadline.
    pub cut: usize,
    /// How long it took.
    pub took: Duration,
}

/// Why a server could not start.
#[derive(Debug)]
pub enum StartError {
    /// An address cannot be bound.
    Bind(SocketAddr, io::Error),
    /// The certificates of a listener cannot be used.
    Tls(TlsError),
    /// A worker's thread or runtime could not be made.
    Worker(io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bind(address, error) => write!(f, "cannot listen on {address}: {error}"),
            Self::Tls(error) => error.fmt(f),
            Self::Worker(error) => write!(f, "cannot start a worker: {error}"),
        }
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Bind(_, error) | Self::Worker(error) => Some(error),
            Self::Tls(error) => Some(error),
        }
    }
}

/// A bound listener, not yet in a runtime.
struct Bound {
    listener: std::net::TcpListener,
    tls: Option<Arc<rustls::ServerConfig>>,
}

impl Server {
    /// Binds every listener and starts the workers; connections are accepted from now on.
    ///
    /// # Errors
    /// An address that cannot be bound, a certificate that cannot be read, a thread that cannot be made.
    pub fn start(config: Config, access_log: AccessLog) -> Result<Self, StartError> {
        let Config { workers, listeners, upstreams, routes, timeouts, limits, tcp, trusted_proxies, log } = config;
        let mut bound = Vec::new();
        let mut addresses = Vec::new();
        for listener in &listeners {
            let tls = listener.tls.as_ref().map(tls::load).transpose().map_err(StartError::Tls)?;
            let socket = bind(listener.bind, &tcp)?;
            addresses.push(socket.local_addr().map_err(|error| StartError::Bind(listener.bind, error))?);
            bound.push(Bound { listener: socket, tls });
        }
        let workers = workers.or_else(|| thread::available_parallelism().ok()).map_or(1, NonZeroUsize::get);
        let (drain, order) = watch::channel(None);
        let live = Live::new(workers);
        let upstreams: Vec<_> = upstreams.into_iter().map(Upstream::new).collect();
        let access_log = log.access.then_some(access_log);
        let mut secret = [0; 16];
        getrandom::fill(&mut secret).map_err(|error| StartError::Worker(io::Error::other(error)))?;
        let terms = |route: &Route| {
            let log = RouteLog::new(access_log.clone(), &route.name, upstreams[route.upstream].name());
            let settings = SessionSettings {
                keepalive: route.keepalive,
                idle: timeouts.idle,
                close_timeout: timeouts.close,
                limits: limits.messages,
                extensions: false,
            };
            Terms::new(log, settings, Secret(secret))
        };
        let admission = Admission::new(Instant::now());
        admission.unsent.set_limit(limits.unsent_memory);
        let shared = Arc::new(Shared {
            terms: routes.routes().map(terms).collect(),
            routes,
            upstreams,
            timeouts,
            limits,
            tcp,
            trusted_proxies,
            access_log,
            live: Arc::clone(&live),
            admission,
            nonces: Nonces::new().map_err(StartError::Worker)?,
            accepted: memory::Accepted::default(),
            drain: Drain::new(order),
        });
        let (stop, stopped) = watch::channel(());
        let (alive, ended) = mpsc::channel(1);
        let crew = Crew { shared, stopped, alive };
        crew.start(workers, bound).map_err(StartError::Worker)?;
        Ok(Self { addresses, live, drain, deadline: timeouts.drain, stop, workers: ended })
    }

    /// The addresses in the order of `Config::listeners`, with the ports that were really bound.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Worker threads.
    #[must_use]
    pub fn workers(&self) -> usize {
        self.live.workers()
    }

    /// Connections that may wait to be accepted, as asked of the kernel.
    #[must_use]
    pub const fn backlog(&self) -> i32 {
        socket::BACKLOG
    }

    /// Sessions open now.
    #[must_use]
    pub fn sessions(&self) -> usize {
        self.live.sessions()
    }

    /// Closes the listeners, answers 503 on connections that are still open, tells every session 1012 spread over half of
    /// `timeouts.drain`, and waits until all are gone or the time is up.
    pub async fn drain(self) -> Drained {
        let Self { live, drain, deadline, stop, mut workers, .. } = self;
        let began = Instant::now();
        let sessions = live.sessions();
        drain.send_replace(Some(Order::new(began, deadline / 2)));
        let cut = match timeout(deadline, live.gone()).await {
            Ok(()) => 0,
            Err(_) => live.connections(),
        };
        drop(stop);
        // What is cut writes its record as its worker ends.
        let _ = timeout(LAST_WORDS, workers.recv()).await;
        Drained { sessions, cut, took: began.elapsed() }
    }
}

fn bind(address: SocketAddr, tcp: &Tcp) -> Result<std::net::TcpListener, StartError> {
    socket::listen(address, tcp).map_err(|error| StartError::Bind(address, error))
}

/// What every worker thread is given.
#[derive(Clone)]
struct Crew {
    shared: Arc<Shared>,
    stopped: watch::Receiver<()>,
    alive: mpsc::Sender<()>,
}

impl Crew {
    /// One thread and runtime each; the first one accepts for all.
    fn start(self, workers: usize, bound: Vec<Bound>) -> io::Result<()> {
        let (others, inboxes): (Vec<HandOver>, Vec<_>) = (0..workers).map(|_| mpsc::channel(HAND_OVER)).unzip();
        let mut accepts = Some((bound, others));
        for (index, inbox) in inboxes.into_iter().enumerate() {
            let runtime = runtime::Builder::new_current_thread().enable_all().event_interval(TASKS_PER_POLL).build()?;
            let crew = self.clone();
            let accepts = accepts.take();
            thread::Builder::new().name(format!("worker-{index}")).spawn(move || {
                let alive = crew.alive.clone();
                runtime.block_on(crew.work(accepts, inbox));
                // First the tasks, with the records that they still hold; then the word that this worker has ended.
                drop(runtime);
                drop(alive);
            })?;
        }
        Ok(())
    }

    async fn work(self, accepts: Option<(Vec<Bound>, Vec<HandOver>)>, inbox: mpsc::Receiver<Accepted>) {
        let Self { shared, mut stopped, .. } = self;
        let dialer = Dialer::new(shared.timeouts, shared.tcp);
        let (sessions, arrivals) = mpsc::channel(ARRIVALS);
        let worker = Arc::new(Worker { shared, dialer, sessions });
        let sessions = match sockets::open().and_then(|epoll| Sessions::new(Arc::clone(&worker), epoll, arrivals)) {
            Ok(sessions) => sessions,
            Err(error) => return tracing::error!(%error, "a worker cannot watch sockets"),
        };
        tokio::spawn(sessions.drive());
        if accepts.is_some() {
            tokio::spawn(memory::give_back(Arc::clone(&worker.shared)));
        }
        let (bound, others) = accepts.unwrap_or_default();
        for Bound { listener, tls } in bound {
            let port = listener.local_addr().map_or(0, |address| address.port());
            match sockets::watch(mio::net::TcpListener::from_std(listener)) {
                Ok(listener) => {
                    let (worker, others) = (Arc::clone(&worker), others.clone());
                    tokio::spawn(Acceptor { listener, port, tls, worker, others }.run());
                }
                Err(error) => tracing::error!(%error, "a listener cannot be registered"),
            }
        }
        drop(others);
        tokio::spawn(sweep(Arc::clone(&worker)));
        tokio::select! {
            // Only ever an error: the sender is dropped to say stop.
            _ = stopped.changed() => {}
            () = serve_inbox(worker, inbox) => {}
        }
    }
}

/// Serves connections that were accepted on another thread.
async fn serve_inbox(worker: Arc<Worker>, mut inbox: mpsc::Receiver<Accepted>) {
    while let Some(accepted) = inbox.recv().await {
        tokio::spawn(connection::serve(Arc::clone(&worker), accepted));
    }
    // The listeners are closed; what runs goes on until the process stops it.
    std::future::pending().await
}

/// Lets go of idle backend connections.
async fn sweep(worker: Arc<Worker>) {
    let mut interval = tokio::time::interval(IDLE_TIME / 4);
    loop {
        interval.tick().await;
        worker.dialer.sweep(Instant::now());
    }
}
