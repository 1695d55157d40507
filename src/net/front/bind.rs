//! Binds the listeners of the configuration.

use std::{fmt, io, sync::Arc};

use super::{
    inherited::{Inherited, PassedSocket},
    listener::{Bound, Origin, UnboundManners},
    socket_file::{self, SocketFile},
    tickets::Tickets,
    tls,
};
use crate::{
    config::{AdminBind, ListenAddress, Listener, Tcp, UnixName, certificates::TlsError, sticky_key::StickyKeyError},
    net::stream::{options, sockets::BoundSocket, unix},
};

/// Why a server could not start.
#[derive(Debug)]
pub enum StartError {
    /// An address cannot be bound.
    Bind(ListenAddress, io::Error),
    /// A file cannot be used that TLS needs, for a listener or for backends.
    Tls(TlsError),
    /// The file of the key of sticky cookies holds none.
    StickyKey(StickyKeyError),
    /// The token of probes cannot be read.
    Probe(io::Error),
    /// A worker's thread or runtime could not be made.
    Worker(io::Error),
    /// A thread that is no worker's, or its runtime, could not be made.
    Thread(io::Error),
    /// The admin interface cannot be opened.
    Admin(AdminBind, io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bind(address, error) => write!(f, "cannot listen on {address}: {error}"),
            Self::Tls(error) => error.fmt(f),
            Self::StickyKey(error) => write!(f, "cannot use the key of sticky cookies: {error}"),
            Self::Probe(error) => write!(f, "cannot use the token of probes: {error}"),
            Self::Admin(address, error) => write!(f, "cannot open the admin interface on {address}: {error}"),
            Self::Worker(error) => write!(f, "cannot start a worker: {error}"),
            Self::Thread(error) => write!(f, "cannot start a thread: {error}"),
        }
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Bind(_, error)
            | Self::Admin(_, error)
            | Self::Probe(error)
            | Self::Worker(error)
            | Self::Thread(error) => Some(error),
            Self::Tls(error) => Some(error),
            Self::StickyKey(error) => Some(error),
        }
    }
}

/// A listener of the file, ready to accept: on a socket that another process passed, or on a new one.
pub(in crate::net) fn bind(
    listener: &Listener,
    tcp: &Tcp,
    tickets: &Arc<Tickets>,
    inherited: &mut Inherited,
) -> Result<Bound, StartError> {
    let manners = load_manners(listener, tickets)?;
    let (socket, file, origin) = match inherited.take(&listener.bind) {
        Some(passed) => adopt(passed, &listener.bind, tcp),
        None => open(listener, tcp).map(|(socket, file)| (socket, file, Origin::Opened)),
    }
    .map_err(|error| StartError::Bind(listener.bind.clone(), error))?;
    Ok(Bound { bind: listener.bind.clone(), socket, file, rights: listener.rights.clone(), manners, origin })
}

/// Opens a new listening socket. A path gets a file.
fn open(Listener { bind, rights, .. }: &Listener, tcp: &Tcp) -> io::Result<(BoundSocket, Option<SocketFile>)> {
    match bind {
        ListenAddress::Tcp(address) => Ok((BoundSocket::Tcp(options::listen(*address, tcp)?), None)),
        ListenAddress::Unix(UnixName::Path(path)) => {
            let (listener, file) = socket_file::listen(path, rights, options::BACKLOG)?;
            Ok((BoundSocket::Unix(listener), Some(file)))
        }
        ListenAddress::Unix(name @ UnixName::Abstract(_)) => {
            Ok((BoundSocket::Unix(unix::listen_abstract(name)?), None))
        }
    }
}

/// Takes over a socket that another process passed. The rights of a predecessor's file change when the predecessor has gone
/// ([`Listening::take_file`](super::listener::Listening::take_file)). Those of a service manager are its own affair.
fn adopt(
    PassedSocket { socket, file, origin }: PassedSocket,
    bind: &ListenAddress,
    tcp: &Tcp,
) -> io::Result<(BoundSocket, Option<SocketFile>, Origin)> {
    let file = match (bind, file) {
        (ListenAddress::Unix(UnixName::Path(path)), Some(id)) => Some(SocketFile::of_another(path, id)),
        _ => None,
    };
    Ok((socket.adopt(tcp)?, file, origin))
}

/// How the connections of a listener begin. Reads its certificates.
pub(in crate::net) fn load_manners(listener: &Listener, tickets: &Arc<Tickets>) -> Result<UnboundManners, StartError> {
    let tls = listener.tls.as_ref().map(|tls| tls::load(tls, tickets)).transpose().map_err(StartError::Tls)?;
    Ok(UnboundManners { tls, proxies: listener.proxy_protocol.clone().map(Arc::new) })
}
