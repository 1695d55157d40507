//! The accept loop of one listener: accept, choose a worker, hand over. It ends by the drain only.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use mio::net::{TcpListener, TcpStream};
use tokio::{
    io::{Interest, unix::AsyncFd},
    sync::mpsc,
    time::timeout,
};
use tokio_rustls::rustls;

use super::{
    Worker,
    connection::{self, Accepted},
};

/// First and longest pause after a failed accept: out of descriptors, there is nothing to do but to wait for some.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(5), Duration::from_secs(1));

/// Connections that may wait for a worker; when they are more, the kernel's backlog fills.
pub(super) const HAND_OVER: usize = 1024;

/// Where connections of the other workers go.
pub(super) type HandOver = mpsc::Sender<Accepted>;

/// One listener, run by the first worker.
#[derive(Debug)]
pub(super) struct Acceptor {
    pub(super) listener: AsyncFd<TcpListener>,
    /// What it is bound to.
    pub(super) port: u16,
    pub(super) tls: Option<Arc<rustls::ServerConfig>>,
    pub(super) worker: Arc<Worker>,
    /// By worker; the first one's is not used.
    pub(super) others: Vec<HandOver>,
}

impl Acceptor {
    /// Accepts until the drain begins, then closes the socket.
    pub(super) async fn run(self) {
        let mut drain = self.worker.shared.drain.clone();
        tokio::select! {
            _ = drain.began() => {}
            () = self.accept_all() => {}
        }
        // Those that the kernel has accepted already would be reset by the close: they read a 503 instead.
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
        self.worker.shared.accepted.count();
        let guard = self.worker.shared.live.place();
        let worker = guard.worker();
        let tls = self.tls.clone();
        let accepted = Accepted { stream, sender, port: self.port, tls, guard };
        if worker == 0 {
            tokio::spawn(connection::serve(Arc::clone(&self.worker), accepted));
            return Ok(());
        }
        // It fails only when that worker has stopped, and then the process is stopping.
        self.others[worker].send(accepted).await.map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}
