//! The accept loop of one listener: accept, choose a worker, hand over. No error ends it: only the drain, or a reload
//! that has it no more.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use mio::net::{TcpListener, TcpStream};
use tokio::{
    runtime::Handle,
    sync::{mpsc, oneshot},
    task::{JoinHandle, coop::consume_budget},
    time::timeout,
};
use tokio_rustls::rustls;

use super::{
    Worker,
    connection::{self, Accepted},
    door,
    own::Place,
    session::Arrival,
    socket,
    sockets::Listener,
    vital::Fault,
};

/// First and longest pause after a failed accept: out of descriptors, there is nothing to do but to wait for some.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(5), Duration::from_secs(1));

/// Connections that may wait for a worker; when they are more, the kernel's backlog fills.
pub(super) const HAND_OVER: usize = 1024;

/// Where connections of the other workers go.
pub(super) type HandOver = mpsc::Sender<Accepted>;

/// What is known of a listener outside of its accept loop. Dropping it ends the loop.
#[derive(Debug)]
pub(super) struct Listening {
    /// What the file says.
    pub(super) bind: SocketAddr,
    /// What it is bound to.
    pub(super) place: Place,
    /// The same socket as the loop's: for its options, and to hand it over.
    pub(super) socket: std::net::TcpListener,
    pub(super) face: Arc<Face>,
    /// Dropped to end the loop.
    stop: oneshot::Sender<()>,
    ended: JoinHandle<()>,
}

/// What an accept loop looks at for each connection.
#[derive(Debug)]
pub(super) struct Face {
    /// The port that was connected to.
    port: u16,
    /// A lock, because a reload reads the certificates again; only the loop waits for it.
    tls: RwLock<Option<Arc<rustls::ServerConfig>>>,
    /// Another process keeps this socket.
    is_shared: bool,
    /// A successor has this socket too, and may accept from it.
    is_lent: AtomicBool,
}

/// A bound socket and how connections to it are spoken with.
#[derive(Debug)]
pub(super) struct Bound {
    pub(super) bind: SocketAddr,
    pub(super) socket: std::net::TcpListener,
    pub(super) tls: Option<Arc<rustls::ServerConfig>>,
    /// Another process holds it too.
    pub(super) is_shared: bool,
}

/// Who serves what is accepted.
#[derive(Debug, Clone)]
pub(super) struct Crew {
    /// The first worker accepts for all.
    pub(super) first: Arc<Worker>,
    pub(super) runtime: Handle,
    /// By worker; the first one's is not used.
    pub(super) others: Vec<HandOver>,
    /// By worker: where its sessions can be asked.
    pub(super) sessions: Vec<mpsc::Sender<Arrival>>,
}

impl Crew {
    /// Accepts connections on a socket from now on.
    ///
    /// # Errors
    /// The socket cannot be duplicated.
    pub(super) fn accept(&self, bound: Bound) -> io::Result<Listening> {
        let Bound { bind, socket, tls, is_shared } = bound;
        let place = Place::of(&socket)?;
        let address = place.address;
        let (tls, is_lent) = (RwLock::new(tls), AtomicBool::new(false));
        let face = Arc::new(Face { port: address.port(), tls, is_shared, is_lent });
        let (stop, stopped) = oneshot::channel();
        let accepts = socket.try_clone()?;
        let (crew, shown) = (self.clone(), Arc::clone(&face));
        let ended = self.runtime.spawn(async move {
            let shared = Arc::clone(&crew.first.shared);
            let _vital = shared.vitals.guard("an accept loop");
            match Listener::new(TcpListener::from_std(accepts)) {
                Ok(listener) => door::answering(Acceptor { listener, face: shown, crew }.run(stopped)).await,
                Err(error) => {
                    tracing::error!(%address, %error, "a listener cannot be registered");
                    shared.vitals.fail("an accept loop");
                }
            }
        });
        Ok(Listening { bind, place, socket, face, stop, ended })
    }
}

impl Listening {
    /// A successor gets this socket too: what waits in the kernel from now on is its own, if we end before it.
    ///
    /// # Errors
    /// Out of descriptors.
    pub(super) fn lend(&self) -> io::Result<std::net::TcpListener> {
        self.face.is_lent.store(true, Relaxed);
        self.socket.try_clone()
    }

    /// The successor has gone.
    pub(super) fn own(&self) {
        self.face.is_lent.store(false, Relaxed);
    }

    /// Whether another process keeps this socket.
    pub(super) fn is_shared(&self) -> bool {
        self.face.is_shared
    }

    /// Ends the loop: ready when nothing is accepted any more and the socket is closed.
    pub(super) fn end(self) -> JoinHandle<()> {
        let Self { socket, stop, ended, .. } = self;
        // Before the loop takes what waits: it must be the last to close.
        drop(socket);
        drop(stop);
        ended
    }
}

impl Face {
    /// Connections that are accepted from now on are spoken with so.
    pub(super) fn change_tls(&self, tls: Option<Arc<rustls::ServerConfig>>) {
        *self.tls.write().unwrap_or_else(PoisonError::into_inner) = tls;
    }
}

/// One listener's accept loop, run by the first worker.
#[derive(Debug)]
struct Acceptor {
    listener: Listener,
    face: Arc<Face>,
    crew: Crew,
}

impl Acceptor {
    /// Accepts until the listener is ended.
    async fn run(self, mut stopped: oneshot::Receiver<()>) {
        let mut pause = BACK_OFF.0;
        loop {
            // Only the wait is given up, never a connection that was accepted.
            let accepted = tokio::select! {
                // Always an error: it is dropped, never sent.
                _ = &mut stopped => break,
                accepted = self.accept() => accepted,
            };
            match accepted {
                Ok((stream, sender)) => {
                    pause = BACK_OFF.0;
                    self.place(stream, sender).await;
                }
                // The client gave up while it waited: the next one is not to blame.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    tracing::error!(%error, pause_ms = pause.as_millis(), "accept failed");
                    if timeout(pause, &mut stopped).await.is_ok() {
                        break;
                    }
                    pause = (pause * 2).min(BACK_OFF.1);
                }
            }
        }
        // Those that wait in the kernel are the other process's now.
        if !self.face.is_shared && !self.face.is_lent.load(Relaxed) {
            self.accept_last().await;
        }
    }

    /// Takes what waits in the kernel, which the close would reset, until the kernel says that nothing does: in a drain it
    /// reads a 503.
    async fn accept_last(&self) {
        for _ in 0..=socket::BACKLOG {
            match self.listener.accept_now() {
                Ok((stream, sender)) => self.place(stream, sender).await,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => return tracing::error!(%error, "the last clients of a listener are lost"),
            }
        }
    }

    async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        // However many come, those that have come want to be served too.
        consume_budget().await;
        self.listener.accept().await
    }

    async fn place(&self, stream: TcpStream, sender: SocketAddr) {
        let Crew { first, others, .. } = &self.crew;
        first.shared.vitals.strike(Fault::AcceptLoop);
        first.shared.accepted.count();
        let guard = first.shared.live.place();
        let worker = guard.worker();
        let tls = self.face.tls.read().unwrap_or_else(PoisonError::into_inner).clone();
        let accepted = Accepted { stream, sender, port: self.face.port, tls, guard };
        if worker == 0 {
            // Boxed: a task moves what it is given about before it begins.
            tokio::spawn(Box::pin(connection::serve(Arc::clone(first), accepted)));
        } else if others[worker].send(accepted).await.is_err() {
            // That worker has stopped, and then the process is stopping.
            tracing::warn!(client = %sender, "a connection could not be handed to its worker");
        }
    }
}
