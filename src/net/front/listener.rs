//! The accept loop of one listener: it accepts a connection, chooses a worker and hands the connection over. No error
//! ends the loop. Only a drain, a hand-over, or a reload without this listener does.

use std::{
    io,
    net::SocketAddr,
    os::fd::OwnedFd,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{
    runtime::Handle,
    sync::{Semaphore, mpsc, oneshot},
    task::{JoinHandle, coop::consume_budget},
    time::timeout,
};
use tokio_rustls::rustls;

use super::{
    proxy_header::{HeaderReception, MOST_PENDING},
    serve::{self, Accepted},
    socket_file::SocketFile,
    tls::ListenerTls,
};
use crate::{
    config::{ListenAddress, ProxyTrust, SocketRights, Tcp},
    net::{
        backend::own::Place,
        session::held::Arrival,
        stream::{
            options,
            sockets::{BoundSocket, ListeningSocket},
            unix,
        },
        thread::{door, vital::Fault},
        worker::shared::Worker,
    },
    sender::Sender,
};

/// The first and the longest pause after a failed accept. Without free descriptors there is nothing to do but to wait for some.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(5), Duration::from_secs(1));

/// The most connections that wait for a worker. If more come, they wait in the kernel's backlog.
pub(in crate::net) const HAND_OVER: usize = 1024;

/// Where a worker takes connections that were accepted for it.
pub(in crate::net) type HandOver = mpsc::Sender<Accepted>;

/// A listener, as the rest of the process knows it. Dropping it ends the accept loop.
#[derive(Debug)]
pub(in crate::net) struct Listening {
    /// The address in the file.
    pub(in crate::net) bind: ListenAddress,
    /// Where the socket is really bound.
    pub(in crate::net) place: Place,
    /// The socket of the loop, once more: to set its options, and to hand it over.
    socket: BoundSocket,
    /// Of a path. `None` also if the service manager keeps the file.
    file: Option<Arc<SocketFile>>,
    /// What the file of the configuration says of the rights of `file`.
    rights: SocketRights,
    pub(in crate::net) face: Arc<Face>,
    /// Dropped to end the loop.
    stop: oneshot::Sender<()>,
    ended: JoinHandle<()>,
}

/// What an accept loop looks at for each connection.
#[derive(Debug)]
pub(in crate::net) struct Face {
    /// The address of the listener. `None` = a Unix socket.
    address: Option<SocketAddr>,
    /// Behind a lock, because a reload changes them. Only the accept loop waits for it.
    manners: RwLock<Manners>,
    /// The places for PROXY headers that are not complete.
    pending: Arc<Semaphore>,
    origin: Origin,
    /// A successor has this socket too, and may accept from it.
    is_lent: AtomicBool,
    /// A successor has got this socket. It may still have it, though we believe it gone.
    was_lent: AtomicBool,
}

/// How the connections of a listener begin.
#[derive(Debug, Clone, Default)]
pub(in crate::net) struct Manners {
    /// `None` = in the clear.
    pub(in crate::net) tls: Option<Arc<rustls::ServerConfig>>,
    /// `None` = without a PROXY header.
    pub(in crate::net) proxies: Option<Arc<ProxyTrust>>,
}

/// How the connections of a listener will begin whose socket may not be bound yet.
#[derive(Debug)]
pub(in crate::net) struct UnboundManners {
    pub(in crate::net) tls: Option<ListenerTls>,
    pub(in crate::net) proxies: Option<Arc<ProxyTrust>>,
}

impl UnboundManners {
    /// At the address of the socket.
    pub(in crate::net) fn at(self, address: &ListenAddress) -> Manners {
        Manners { tls: self.tls.map(|tls| tls.at(address)), proxies: self.proxies }
    }
}

/// Where a listening socket comes from. The origin decides who else may have the socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::net) enum Origin {
    /// This process opened it.
    Opened,
    /// A predecessor opened it. The predecessor may still have it.
    Predecessor,
    /// The service manager opened it and keeps it, whether the socket came from there or by a predecessor.
    Manager,
}

/// A bound socket, and how to speak with its clients.
#[derive(Debug)]
pub(in crate::net) struct Bound {
    pub(in crate::net) bind: ListenAddress,
    pub(in crate::net) socket: BoundSocket,
    /// Of a path. `None` also if the service manager keeps the file.
    pub(in crate::net) file: Option<SocketFile>,
    pub(in crate::net) rights: SocketRights,
    pub(in crate::net) manners: UnboundManners,
    pub(in crate::net) origin: Origin,
}

/// The workers that serve what is accepted.
#[derive(Debug, Clone)]
pub(in crate::net) struct Crew {
    /// The first worker, which accepts for all.
    pub(in crate::net) first: Arc<Worker>,
    pub(in crate::net) runtime: Handle,
    /// By worker: where its connections go. The first worker's is not used.
    pub(in crate::net) others: Vec<HandOver>,
    /// By worker: where to send new sessions, and questions about its sessions.
    pub(in crate::net) sessions: Vec<mpsc::Sender<Arrival>>,
}

impl Crew {
    /// Accepts connections on a socket from now on.
    ///
    /// # Errors
    /// The socket cannot be duplicated.
    pub(in crate::net) fn accept(&self, bound: Bound) -> io::Result<Listening> {
        let Bound { bind, socket, file, rights, manners, origin } = bound;
        let place = Place::of(&socket)?;
        let (is_lent, was_lent) = (AtomicBool::new(false), AtomicBool::new(false));
        let address = place.tcp().map_or_else(|| bind.clone(), ListenAddress::Tcp);
        let (manners, pending) = (RwLock::new(manners.at(&address)), Arc::new(Semaphore::new(MOST_PENDING)));
        let face = Arc::new(Face { address: place.tcp(), manners, pending, origin, is_lent, was_lent });
        let (stop, stopped) = oneshot::channel();
        let accepts = socket.try_clone()?;
        let (crew, shown) = (self.clone(), Arc::clone(&face));
        let ended = self.runtime.spawn(async move {
            let shared = Arc::clone(&crew.first.shared);
            let _vital = shared.vitals.guard("an accept loop");
            match ListeningSocket::new(accepts) {
                Ok(listener) => door::answering(Acceptor { listener, face: shown, crew }.run(stopped)).await,
                Err(error) => {
                    tracing::error!(%address, %error, "a listener cannot be registered");
                    shared.vitals.fail("an accept loop");
                }
            }
        });
        Ok(Listening { bind, place, socket, file: file.map(Arc::new), rights, face, stop, ended })
    }
}

impl Listening {
    /// The address, with the port that was really bound.
    pub(in crate::net) fn address(&self) -> ListenAddress {
        self.place.tcp().map_or_else(|| self.bind.clone(), ListenAddress::Tcp)
    }

    /// Gives a copy of this socket to a successor. From now on, clients that wait in the kernel are the successor's, if
    /// we end first, and this process does not remove the socket's file.
    ///
    /// # Errors
    /// Out of descriptors.
    pub(in crate::net) fn lend(&self) -> io::Result<(BoundSocket, Option<&SocketFile>)> {
        let socket = self.socket.try_clone()?;
        self.face.is_lent.store(true, Relaxed);
        self.face.was_lent.store(true, Relaxed);
        if let Some(file) = &self.file {
            file.lend();
        }
        Ok((socket, self.file.as_deref()))
    }

    pub(in crate::net) fn origin(&self) -> Origin {
        self.face.origin
    }

    /// Takes the socket back, because the successor has gone. The file stays lent, because the successor may serve there
    /// all the same. A file that nobody answers at does no harm, and one that is removed under a listener does.
    pub(in crate::net) fn take_back(&self) {
        self.face.is_lent.store(false, Relaxed);
        if let BoundSocket::Unix(socket) = &self.socket
            && let Err(error) = unix::listen_again(socket)
        {
            tracing::debug!(%error, "the successor is still told as the one who listens");
        }
    }

    /// Makes the file of the socket ours, because the predecessor has gone, and gives it the rights that our configuration
    /// names.
    pub(in crate::net) fn take_file(&self) {
        let Some(file) = &self.file else { return };
        file.take_back();
        if let Err(error) = file.set_rights(&self.rights) {
            tracing::warn!(address = %self.bind, %error, "the file of the socket keeps the rights of before");
        }
    }

    /// The file of the socket, if it has one that is not the service manager's, and the rights that it should have.
    pub(in crate::net) fn file(&self) -> Option<(Arc<SocketFile>, SocketRights)> {
        self.file.as_ref().map(|file| (Arc::clone(file), self.rights.clone()))
    }

    pub(in crate::net) fn note_rights(&mut self, rights: SocketRights) {
        self.rights = rights;
    }

    /// Sets the file's `tcp` options for those who connect from now on.
    ///
    /// # Errors
    /// Those of setsockopt(2).
    pub(in crate::net) fn set_options(&self, tcp: &Tcp) -> io::Result<()> {
        self.socket.set_options(tcp)
    }

    /// Whether the service manager keeps this socket.
    pub(in crate::net) fn is_shared(&self) -> bool {
        self.face.origin == Origin::Manager
    }

    /// Ends the loop. The handle is ready when nothing is accepted any more and the socket is closed.
    pub(in crate::net) fn end(self) -> JoinHandle<()> {
        let Self { socket, file, stop, ended, .. } = self;
        // Nobody finds the socket any more.
        drop(file);
        // This copy is closed first. The loop accepts all clients that still wait before it closes its own, which must
        // be the last one.
        drop(socket);
        drop(stop);
        ended
    }
}

impl Face {
    /// Changes how connections begin that are accepted from now on.
    pub(in crate::net) fn change_manners(&self, manners: Manners) {
        *self.manners.write().unwrap_or_else(PoisonError::into_inner) = manners;
    }
}

/// One listener's accept loop, run by the first worker.
#[derive(Debug)]
struct Acceptor {
    listener: ListeningSocket,
    face: Arc<Face>,
    crew: Crew,
}

impl Acceptor {
    /// Accepts until the listener is ended.
    async fn run(self, mut stopped: oneshot::Receiver<()>) {
        let mut pause = BACK_OFF.0;
        loop {
            // Only the wait is cancelled, never a connection that was accepted.
            let accepted = tokio::select! {
                // Always an error: the sender is dropped, and never sends.
                _ = &mut stopped => break,
                accepted = self.accept() => accepted,
            };
            match accepted {
                Ok((stream, sender)) => {
                    pause = BACK_OFF.0;
                    self.place(stream, sender).await;
                }
                // This client gave up while it waited. The next one can be accepted at once.
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
        // If another process accepts from the socket, the clients that still wait in the kernel are that process's.
        if self.face.origin != Origin::Manager && !self.face.is_lent.load(Relaxed) {
            // The filter stays on the socket as long as any process has the socket. So only a socket that no other process
            // can have gets the filter.
            if self.face.origin == Origin::Opened
                && !self.face.was_lent.load(Relaxed)
                && let Err(error) = self.listener.ignore_new_clients()
            {
                tracing::debug!(%error, "clients that connect before the listener is closed are lost");
            }
            self.accept_last().await;
        }
    }

    /// Accepts the clients that still wait in the kernel, until the kernel says that none does. Closing the socket
    /// would reset them. In a drain they get a 503.
    async fn accept_last(&self) {
        for _ in 0..=options::BACKLOG {
            match self.listener.accept_now() {
                Ok((stream, sender)) => self.place(stream, sender).await,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => return tracing::error!(%error, "the last clients of a listener are lost"),
            }
        }
    }

    async fn accept(&self) -> io::Result<(OwnedFd, Sender)> {
        // Connections may come without end. The tasks of those that were accepted must have their turn too.
        consume_budget().await;
        self.listener.accept().await
    }

    async fn place(&self, stream: OwnedFd, sender: Sender) {
        let Crew { first, others, .. } = &self.crew;
        first.shared.vitals.strike(Fault::AcceptLoop);
        first.shared.accepted.count();
        let guard = first.shared.live.place();
        let worker = guard.worker();
        let Manners { tls, proxies } = self.face.manners.read().unwrap_or_else(PoisonError::into_inner).clone();
        let reception = proxies.map(|trust| HeaderReception { trust, pending: Arc::clone(&self.face.pending) });
        let accepted = Accepted { stream, sender, local: self.face.address, tls, reception, guard };
        if worker == 0 {
            // Boxed, because the runtime moves a future several times before it first polls it.
            tokio::spawn(Box::pin(serve::serve(Arc::clone(first), accepted)));
        } else if others[worker].send(accepted).await.is_err() {
            // The worker has stopped, which means that the process is stopping.
            tracing::warn!(client = %sender, "a connection could not be handed to its worker");
        }
    }
}
