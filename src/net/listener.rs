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
    io::{Interest, unix::AsyncFd},
    runtime::Handle,
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::timeout,
};
use tokio_rustls::rustls;

use super::{
    Worker,
    connection::{self, Accepted},
    session::Arrival,
    sockets,
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
    pub(super) address: SocketAddr,
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
    /// Another process accepts from this socket too, or will.
    is_shared: AtomicBool,
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
        let address = socket.local_addr()?;
        let face = Face { port: address.port(), tls: RwLock::new(tls), is_shared: AtomicBool::new(is_shared) };
        let face = Arc::new(face);
        let (stop, stopped) = oneshot::channel();
        let accepts = socket.try_clone()?;
        let (crew, shown) = (self.clone(), Arc::clone(&face));
        let ended = self.runtime.spawn(async move {
            match sockets::watch(TcpListener::from_std(accepts)) {
                Ok(listener) => Acceptor { listener, face: shown, crew }.run(stopped).await,
                Err(error) => tracing::error!(%address, %error, "a listener cannot be registered"),
            }
        });
        Ok(Listening { bind, address, socket, face, stop, ended })
    }
}

impl Listening {
    /// Ends the loop in favour of another process that accepts from this socket too: ready when it accepts no more.
    pub(super) fn leave(self) -> JoinHandle<()> {
        self.face.share();
        drop(self.stop);
        self.ended
    }
}

impl Face {
    /// Connections that are accepted from now on are spoken with so.
    pub(super) fn change_tls(&self, tls: Option<Arc<rustls::ServerConfig>>) {
        *self.tls.write().unwrap_or_else(PoisonError::into_inner) = tls;
    }

    /// From now on another process accepts from this socket.
    pub(super) fn share(&self) {
        self.is_shared.store(true, Relaxed);
    }
}

/// One listener's accept loop, run by the first worker.
#[derive(Debug)]
struct Acceptor {
    listener: AsyncFd<TcpListener>,
    face: Arc<Face>,
    crew: Crew,
}

impl Acceptor {
    /// Accepts until the process closes or the listener is removed.
    async fn run(self, stopped: oneshot::Receiver<()>) {
        let shared = Arc::clone(&self.crew.first.shared);
        tokio::select! {
            () = shared.orders.closing() => {}
            // Always an error: it is dropped, never sent.
            _ = stopped => {}
            () = self.accept_all() => {}
        }
        // Those that wait in the kernel are the other process's now.
        if self.face.is_shared.load(Relaxed) {
            return;
        }
        // They would be reset by the close: in a drain they read a 503 instead.
        while let Ok(Ok((stream, sender))) = timeout(Duration::ZERO, self.accept()).await {
            let _ = self.place(stream, sender).await;
        }
    }

    async fn accept_all(&self) {
        let mut pause = BACK_OFF.0;
        loop {
            match self.accept().await {
                Ok((stream, sender)) => {
                    pause = BACK_OFF.0;
                    if let Err(error) = self.place(stream, sender).await {
                        tracing::warn!(%error, "a connection could not be handed to its worker");
                    }
                }
                // The client gave up while it waited: the next one is not to blame.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    tracing::error!(%error, pause_ms = pause.as_millis(), "accept failed");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(BACK_OFF.1);
                }
            }
        }
    }

    async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        self.listener.async_io(Interest::READABLE, TcpListener::accept).await
    }

    async fn place(&self, stream: TcpStream, sender: SocketAddr) -> io::Result<()> {
        let Crew { first, others, .. } = &self.crew;
        first.shared.accepted.count();
        let guard = first.shared.live.place();
        let worker = guard.worker();
        let tls = self.face.tls.read().unwrap_or_else(PoisonError::into_inner).clone();
        let accepted = Accepted { stream, sender, port: self.face.port, tls, guard };
        if worker == 0 {
            tokio::spawn(connection::serve(Arc::clone(first), accepted));
            return Ok(());
        }
        // It fails only when that worker has stopped, and then the process is stopping.
        others[worker].send(accepted).await.map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}
