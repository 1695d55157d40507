//! The listening socket of the admin interface: how it is opened, handed over and given up.

use std::{
    io,
    net::TcpListener,
    os::unix::net::UnixListener,
    sync::{Arc, Weak},
};

use crate::{
    config::{AdminBind, ListenAddress},
    net::{
        front::{
            inherited::{Inherited, PassedSocket},
            listener::Origin,
            parcel::Sockets,
            socket_file::{self, SocketFile},
        },
        stream::sockets::BoundSocket,
    },
};

/// The listener for operators.
#[derive(Debug)]
pub(in crate::net) enum AdminListener {
    Tcp(TcpListener),
    /// With its file, which is removed when nobody answers here any more.
    Unix(UnixListener, Arc<SocketFile>),
}

/// What is known of a listener while it is served, and what a successor gets of it.
#[derive(Debug)]
pub(super) enum ServedSocket {
    Tcp(AdminBind, TcpListener),
    Unix(AdminBind, UnixListener, Weak<SocketFile>),
}

/// Opens the address, or takes it from the process that hands it over.
///
/// # Errors
/// `AddrInUse`: another process has the address.
pub(super) fn open(bind: &AdminBind, inherited: &mut Inherited) -> io::Result<(AdminListener, ServedSocket)> {
    match bind {
        AdminBind::Tcp(address) => {
            let listener = match inherited.take(&ListenAddress::Tcp(*address)) {
                Some(PassedSocket { socket: BoundSocket::Tcp(listener), .. }) => listener,
                _ => TcpListener::bind(address)?,
            };
            listener.set_nonblocking(true)?;
            let served = ServedSocket::Tcp(AdminBind::Tcp(listener.local_addr()?), listener.try_clone()?);
            Ok((AdminListener::Tcp(listener), served))
        }
        AdminBind::Unix(path) => {
            let (listener, file) = socket_file::bind(path, inherited.take_path(path))?;
            let file = Arc::new(file);
            let served = ServedSocket::Unix(bind.clone(), listener.try_clone()?, Arc::downgrade(&file));
            Ok((AdminListener::Unix(listener, file), served))
        }
    }
}

impl ServedSocket {
    /// The address, with the port that was really bound.
    pub(super) const fn address(&self) -> &AdminBind {
        let (Self::Tcp(address, _) | Self::Unix(address, ..)) = self;
        address
    }

    /// Gives the listening socket to a successor too, which may use it as its own from now on.
    pub(super) fn lend(&self, sockets: &mut Sockets) -> io::Result<()> {
        match self {
            Self::Tcp(_, listener) => {
                sockets.listeners.push((BoundSocket::Tcp(listener.try_clone()?), Origin::Opened));
            }
            Self::Unix(_, listener, file) => {
                if let Some(file) = file.upgrade() {
                    sockets.add_path(listener, &file)?;
                }
            }
        }
        Ok(())
    }

    /// Takes the socket back: no other process has it.
    pub(super) fn take_back(&self) {
        if let Self::Unix(_, _, file) = self
            && let Some(file) = file.upgrade()
        {
            file.take_back();
        }
    }
}
