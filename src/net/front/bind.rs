//! Binds the listeners of the configuration.

use std::{fmt, io, net::SocketAddr, sync::Arc};

use super::{
    inherited::Inherited,
    listener::{Bound, Origin, UnboundManners},
    tickets::Tickets,
    tls,
};
use crate::{
    config::{AdminBind, Listener, Tcp, certificates::TlsError, sticky_key::StickyKeyError},
    net::stream::options,
};

/// Why a server could not start.
#[derive(Debug)]
pub enum StartError {
    /// An address cannot be bound.
    Bind(SocketAddr, io::Error),
    /// A file cannot be used that TLS needs, for a listener or for backends.
    Tls(TlsError),
    /// The file of the key of sticky cookies holds none.
    StickyKey(StickyKeyError),
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
            Self::Admin(address, error) => write!(f, "cannot open the admin interface on {address}: {error}"),
            Self::Worker(error) => write!(f, "cannot start a worker: {error}"),
            Self::Thread(error) => write!(f, "cannot start a thread: {error}"),
        }
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Bind(_, error) | Self::Admin(_, error) | Self::Worker(error) | Self::Thread(error) => Some(error),
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
    let (socket, origin) = match inherited.take(listener.bind) {
        Some((socket, origin)) => (options::adopt(socket, tcp), origin),
        None => (options::listen(listener.bind, tcp), Origin::Opened),
    };
    let socket = socket.map_err(|error| StartError::Bind(listener.bind, error))?;
    Ok(Bound { bind: listener.bind, socket, manners, origin })
}

/// How the connections of a listener begin. Reads its certificates.
pub(in crate::net) fn load_manners(listener: &Listener, tickets: &Arc<Tickets>) -> Result<UnboundManners, StartError> {
    let tls = listener.tls.as_ref().map(|tls| tls::load(tls, tickets)).transpose().map_err(StartError::Tls)?;
    Ok(UnboundManners { tls, proxies: listener.proxy_protocol.clone().map(Arc::new) })
}
