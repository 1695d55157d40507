//! The admin interface: where an operator looks and orders, over HTTP/1.1 and JSON (docs/openapi.yaml).
//!
//! It runs on the thread for what is no worker's, until the process exits, so that it still answers in a drain. Every
//! head, body and wait is bounded, and so is the number of connections. A connection serves one request. `access` says
//! who may ask, `calls` what can be asked, `views` what is answered.

mod access;
mod answer;
mod calls;
mod door;
mod history;
mod metrics;
mod page;
mod target;
mod views;

use std::{
    convert::Infallible,
    io,
    net::SocketAddr,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
    time::{Duration, Instant},
};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, UnixListener},
    runtime::Handle,
    sync::{Notify, Semaphore},
    time::timeout,
};

use self::door::{Door, Listener};
pub(in crate::net) use self::{access::Access, history::History};
use super::{
    control::Control,
    handover::{Inherited, Sockets},
    socket_file,
};
use crate::{
    config::{Admin, AdminBind},
    net::thread::vital::Fault,
};

/// The most connections at a time. More wait in the kernel.
const CONNECTIONS: usize = 64;
/// The most bytes of a request's head.
const HEAD: usize = 16 * 1024;
/// The most header fields of a request.
const FIELDS: usize = 64;
/// The most time from the accept to the end of a request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// The most time from the accept to the end of the answer.
const DEADLINE: Duration = Duration::from_secs(30);
/// The pause after a failed accept. Without free descriptors there is nothing to do but to wait for some.
const BACK_OFF: Duration = Duration::from_millis(100);

/// The interface that the file asks for, ready to be served.
#[derive(Debug)]
pub(in crate::net) struct Bound {
    /// `None` = another process still has the address.
    listener: Option<Listener>,
    desk: Desk,
}

/// What the process knows of its admin interface.
#[derive(Debug)]
pub(in crate::net) struct Desk {
    /// The address in the file at the start. Another address needs a restart.
    bind: AdminBind,
    /// Behind a lock, because a reload reads the token again. The lock is held for the copy of a pointer.
    access: RwLock<Arc<Access>>,
    /// `None` = another process has the address: still a predecessor, or already a successor.
    door: Mutex<Option<Door>>,
    /// Notified when a successor answers in our place.
    left: Notify,
    pub(in crate::net) since: Instant,
}

/// Reads the token, and opens the address or takes it from the process that hands it over. It is no error if another
/// process has the address: that may be a predecessor that is about to end, and is waited for.
///
/// # Errors
/// The address cannot be opened, or the token cannot be read.
pub(in crate::net) fn bind(admin: &Admin, inherited: &mut Inherited) -> io::Result<Bound> {
    let access = RwLock::new(Arc::new(Access::new(admin)?));
    let (listener, door) = match door::open(&admin.bind, inherited) {
        Ok((listener, door)) => (Some(listener), Some(door)),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            tracing::warn!(address = %admin.bind, %error, "the admin interface opens when its address is free");
            (None, None)
        }
        Err(error) => return Err(error),
    };
    let (door, left) = (Mutex::new(door), Notify::new());
    let desk = Desk { bind: admin.bind.clone(), access, door, left, since: Instant::now() };
    Ok(Bound { listener, desk })
}

impl Bound {
    /// The desk, and the listener to be served.
    pub(in crate::net) fn split(self) -> (Desk, Unserved) {
        (self.desk, Unserved(self.listener))
    }
}

/// A listener that nobody serves yet. `None` = it has to be opened first.
#[derive(Debug)]
pub(in crate::net) struct Unserved(Option<Listener>);

impl Unserved {
    /// Answers from now on, on this runtime.
    pub(in crate::net) fn serve(self, runtime: &Handle, control: Arc<Control>) {
        runtime.spawn(async move {
            let _vital = control.vitals().guard("the admin interface");
            let Some(desk) = control.desk() else { return };
            let served = async {
                let listener = match self.0 {
                    Some(listener) => listener,
                    None => desk.open().await?,
                };
                match listener {
                    Listener::Tcp(listener) => serve_tcp(listener, Arc::clone(&control)).await,
                    Listener::Unix(listener, file) => {
                        file.own();
                        serve_unix(listener, Arc::clone(&control)).await
                    }
                }
            };
            tokio::select! {
                served = served => if let Err(error) = served {
                    tracing::error!(address = %desk.bind, %error, "the admin interface cannot be served");
                    control.vitals().fail("the admin interface");
                },
                () = desk.left.notified() => {}
            }
        });
    }
}

impl Desk {
    /// Opens the address as soon as no other process has it.
    async fn open(&self) -> io::Result<Listener> {
        let (listener, door) = socket_file::when_free(|| door::open(&self.bind, &mut Inherited::default())).await?;
        tracing::info!(address = %door.address(), "admin interface");
        *self.door() = Some(door);
        Ok(listener)
    }

    /// The address in the file at the start.
    pub(in crate::net) const fn bind(&self) -> &AdminBind {
        &self.bind
    }

    /// The address, with the port that was really bound. `None` = another process still has it.
    pub(in crate::net) fn address(&self) -> Option<AdminBind> {
        self.door().as_ref().map(|door| door.address().clone())
    }

    /// The rules of another file, ready to be used. `None` if the file wants another address, which needs a restart.
    ///
    /// # Errors
    /// The token cannot be read.
    pub(in crate::net) fn read(&self, admin: Option<&Admin>) -> io::Result<Option<Access>> {
        // Without a restart the interface stays at its address, and must not lose the token that the file demanded for
        // this address.
        let here = admin.filter(|admin| admin.bind == self.bind);
        here.map(Access::new).transpose()
    }

    /// Gives the listening socket to a successor too.
    pub(in crate::net) fn lend(&self, sockets: &mut Sockets) -> io::Result<()> {
        self.door().as_ref().map_or(Ok(()), |door| door.lend(sockets))
    }

    /// Takes the socket back, because the successor did not take over.
    pub(in crate::net) fn own(&self) {
        if let Some(door) = &*self.door() {
            door.own();
        }
    }

    /// Stops answering, because a successor answers from now on.
    pub(in crate::net) fn leave(&self) {
        self.door().take();
        self.left.notify_one();
    }

    fn door(&self) -> MutexGuard<'_, Option<Door>> {
        self.door.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Uses another token and other names from now on.
    pub(in crate::net) fn change(&self, access: Access) {
        *self.access.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(access);
    }

    fn access(&self) -> Arc<Access> {
        Arc::clone(&self.access.read().unwrap_or_else(PoisonError::into_inner))
    }
}

async fn serve_tcp(listener: std::net::TcpListener, control: Arc<Control>) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    while let Ok(place) = Arc::clone(&places).acquire_owned().await {
        match listener.accept().await.and_then(|(stream, _)| Ok((stream.local_addr()?, stream))) {
            Ok((address, stream)) => {
                control.vitals().strike(Fault::AdminLoop);
                let control = Arc::clone(&control);
                tokio::spawn(async move {
                    serve(stream, Some(address), control).await;
                    drop(place);
                });
            }
            Err(error) => back_off(&error).await,
        }
    }
    Ok(())
}

async fn serve_unix(listener: std::os::unix::net::UnixListener, control: Arc<Control>) -> io::Result<()> {
    let listener = UnixListener::from_std(listener)?;
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    while let Ok(place) = Arc::clone(&places).acquire_owned().await {
        match listener.accept().await {
            Ok((stream, _)) => {
                let control = Arc::clone(&control);
                tokio::spawn(async move {
                    serve(stream, None, control).await;
                    drop(place);
                });
            }
            Err(error) => back_off(&error).await,
        }
    }
    Ok(())
}

async fn back_off(error: &io::Error) {
    tracing::warn!(%error, "the admin interface cannot accept");
    #[expect(clippy::disallowed_methods, reason = "nothing says when descriptors are free again")]
    tokio::time::sleep(BACK_OFF).await;
}

/// Serves one request. `address`: our address that it came to. `None` = it came by a path.
async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    address: Option<SocketAddr>,
    control: Arc<Control>,
) {
    let service = service_fn(|request| {
        let control = Arc::clone(&control);
        async move { Ok::<_, Infallible>(calls::answer(&control, address, request).await) }
    });
    let connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .max_buf_size(HEAD)
            .max_headers(FIELDS)
            .keep_alive(false)
            .serve_connection(TokioIo::new(stream), service)
    );
    match timeout(DEADLINE, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a connection to the admin interface ended"),
        Err(_) => tracing::debug!("a connection to the admin interface took too long"),
    }
}
