//! The admin interface: where an operator looks and orders, over HTTP/1.1 and JSON (docs/openapi.yaml).
//!
//! It runs on the thread for what is no worker's, until the process exits: in a drain it is what still answers. Every head,
//! body and wait is bounded, and so is the number of connections; a connection serves one request. `access` says who may
//! ask, `calls` what can be asked, `views` what is answered.

mod access;
mod answer;
mod calls;
mod history;
mod metrics;
mod page;
mod target;
mod token;
mod views;

use std::{
    convert::Infallible,
    fs, io,
    net::SocketAddr,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    pin::pin,
    sync::{Arc, Mutex, PoisonError, RwLock},
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

pub(crate) use self::token::read as read_token;
pub(super) use self::{access::Access, history::History};
use super::{control::Control, handover::Inherited};
use crate::config::{Admin, AdminBind};

/// Connections at a time; more wait in the kernel.
const CONNECTIONS: usize = 64;
/// Bytes of a request's head.
const HEAD: usize = 16 * 1024;
/// Header fields of a request.
const FIELDS: usize = 64;
/// From the accept to the end of a request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// From the accept to the end of the answer.
const DEADLINE: Duration = Duration::from_secs(30);
/// After an accept that failed: out of descriptors, there is nothing to do but to wait for some.
const BACK_OFF: Duration = Duration::from_millis(100);

/// The address where an operator is answered, bound.
#[derive(Debug)]
pub(super) struct Bound {
    listener: Listener,
    desk: Desk,
}

#[derive(Debug)]
enum Listener {
    Tcp(std::net::TcpListener),
    Unix(std::os::unix::net::UnixListener, SocketFile),
}

/// What a running admin interface is known by.
#[derive(Debug)]
pub(super) struct Desk {
    /// What the file said at the start. Another address needs a restart.
    bind: AdminBind,
    /// The same with the port that was really bound.
    pub(super) address: AdminBind,
    /// A lock, because a reload reads the token again; held for the copy of a pointer.
    access: RwLock<Arc<Access>>,
    /// The listener's, to be handed over; `None` = it is a path, or was handed over.
    socket: Mutex<Option<std::net::TcpListener>>,
    /// Nobody is answered here any more.
    left: Notify,
    pub(super) since: Instant,
}

/// A socket in the file system, removed when this is dropped, unless another one stands in its place by then.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    inode: u64,
}

/// Binds the address, or takes it from the process that hands it over, and reads the token.
///
/// # Errors
/// An address that is taken, a token that cannot be read.
pub(super) fn bind(admin: &Admin, inherited: &mut Inherited) -> io::Result<Bound> {
    let access = Access::new(admin)?;
    let (listener, address) = match &admin.bind {
        AdminBind::Tcp(address) => {
            let listener = match inherited.take(*address) {
                Some((listener, _)) => listener,
                None => std::net::TcpListener::bind(address)?,
            };
            listener.set_nonblocking(true)?;
            let address = AdminBind::Tcp(listener.local_addr()?);
            (Listener::Tcp(listener), address)
        }
        AdminBind::Unix(path) => {
            if inherited.has_predecessor() {
                let _ = fs::remove_file(path);
            }
            let (listener, file) = bind_path(path)?;
            (Listener::Unix(listener, file), admin.bind.clone())
        }
    };
    let socket = match &listener {
        Listener::Tcp(listener) => Some(listener.try_clone()?),
        Listener::Unix(..) => None,
    };
    let access = RwLock::new(Arc::new(access));
    let (socket, left) = (Mutex::new(socket), Notify::new());
    let desk = Desk { bind: admin.bind.clone(), address, access, socket, left, since: Instant::now() };
    Ok(Bound { listener, desk })
}

impl Bound {
    /// What is to be known of it, and the rest.
    pub(super) fn split(self) -> (Desk, Unserved) {
        (self.desk, Unserved(self.listener))
    }
}

/// A listener that nobody serves yet.
#[derive(Debug)]
pub(super) struct Unserved(Listener);

impl Unserved {
    /// Answers from now on, on this runtime.
    pub(super) fn serve(self, runtime: &Handle, control: Arc<Control>) {
        runtime.spawn(async move {
            let left = Arc::clone(&control);
            let served = async {
                match self.0 {
                    Listener::Tcp(listener) => serve_tcp(listener, control).await,
                    Listener::Unix(listener, _removed_at_the_end) => serve_unix(listener, control).await,
                }
            };
            let left = async {
                match left.desk() {
                    Some(desk) => desk.left.notified().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                served = served => if let Err(error) = served {
                    tracing::error!(%error, "the admin interface cannot be served");
                },
                () = left => {}
            }
        });
    }
}

impl Desk {
    /// The rules of another file, ready to be put in place; `None` where that needs a restart.
    ///
    /// # Errors
    /// The token cannot be read.
    pub(super) fn read(&self, admin: Option<&Admin>) -> io::Result<Option<Access>> {
        // An interface that stays where it is must not lose the token that this place demands.
        let here = admin.filter(|admin| admin.bind == self.bind);
        here.map(Access::new).transpose()
    }

    /// The listening socket, for a successor.
    pub(super) fn socket(&self) -> io::Result<Option<std::net::TcpListener>> {
        let socket = self.socket.lock().unwrap_or_else(PoisonError::into_inner);
        socket.as_ref().map(std::net::TcpListener::try_clone).transpose()
    }

    /// A successor answers from now on.
    pub(super) fn leave(&self) {
        self.socket.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.left.notify_one();
    }

    /// Another token and other names from now on.
    pub(super) fn change(&self, access: Access) {
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
    tokio::time::sleep(BACK_OFF).await;
}

/// One request. `address`: where it came in; `None` = by a path.
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

/// Binds a path, in place of a socket that nobody listens on any more. Only this user may connect.
fn bind_path(path: &Path) -> io::Result<(std::os::unix::net::UnixListener, SocketFile)> {
    use std::os::unix::net::{UnixListener, UnixStream};
    match UnixStream::connect(path) {
        Ok(_) => return Err(io::Error::new(io::ErrorKind::AddrInUse, "another process listens there")),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path)?,
        Err(_) => {}
    }
    let listener = UnixListener::bind(path)?;
    let file = SocketFile { path: path.to_owned(), inode: fs::symlink_metadata(path)?.ino() };
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    listener.set_nonblocking(true)?;
    Ok((listener, file))
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|file| file.ino() == self.inode) {
            let _ = fs::remove_file(&self.path);
        }
    }
}
