//! Listening sockets that another process has opened. The service manager passes some at the start (`LISTEN_FDS`). A
//! predecessor hands its own over through a Unix socket ([`Handover`](crate::net::operate::handover::Handover)).

use std::{
    io::{self, Read as _, Write as _},
    net::SocketAddr,
    os::unix::net::{UnixListener, UnixStream},
    path::Path,
    time::Duration,
};

use listenfd::ListenFd;

use super::{
    listener::Origin,
    parcel::{self, Secrets, Sockets},
    socket_file::{self, CallOutcome, FileId, SocketFile},
    tickets::Tickets,
};
use crate::{
    config::{ListenAddress, UnixName},
    net::{
        stream::{sockets::BoundSocket, unix},
        worker::plan::StickySecret,
    },
};

/// How long each step may take. In one of them the successor reads certificates and starts its threads.
pub(in crate::net) const PATIENCE: Duration = Duration::from_secs(30);
/// How long a predecessor may take to send its sockets, and to close once we serve. It has little to do for either.
const FIRST_WORD: Duration = Duration::from_secs(5);
/// The byte by which the successor tells that it accepts connections.
pub(in crate::net) const READY: u8 = b'R';

/// Listening sockets that another process has opened.
#[derive(Debug, Default)]
pub struct Inherited {
    sockets: Vec<(BoundSocket, Origin)>,
    /// The predecessor's sockets that have files.
    paths: Vec<(UnixListener, FileId)>,
    /// The predecessor, which waits for our byte.
    predecessor: Option<UnixStream>,
    secrets: Secrets,
}

/// A listening socket for an address of the file, opened by another process.
#[derive(Debug)]
pub(in crate::net) struct PassedSocket {
    pub(in crate::net) socket: BoundSocket,
    /// The identity of the socket's file, which is the predecessor's. Nobody but the service manager has its files.
    pub(in crate::net) file: Option<FileId>,
    pub(in crate::net) origin: Origin,
}

impl Inherited {
    /// Takes the sockets of the service manager (`LISTEN_FDS`), and those of a predecessor that answers at `path`. It
    /// is no error if nobody answers there, or if a process there hands nothing over: that process may be about to end,
    /// and its addresses may be free.
    ///
    /// # Errors
    /// A descriptor of the service manager that is no listener.
    pub fn collect(path: Option<&Path>) -> io::Result<Self> {
        let mut manager = ListenFd::from_env();
        let mut inherited = Self::default();
        for index in 0..manager.len() {
            // A descriptor of the other kind stays where it is.
            let socket = match manager.take_unix_listener(index) {
                Ok(socket) => socket.map(BoundSocket::Unix),
                Err(_) => manager.take_tcp_listener(index)?.map(BoundSocket::Tcp),
            };
            inherited.sockets.extend(socket.map(|socket| (socket, Origin::Manager)));
        }
        if let Some(path) = path
            && let Err(error) = inherited.ask(path)
        {
            let path = path.display();
            tracing::warn!(%path, %error, "the process that answers there hands nothing over: starting without");
        }
        Ok(inherited)
    }

    /// Takes the sockets of the predecessor that answers at `path`, if one does.
    fn ask(&mut self, path: &Path) -> io::Result<()> {
        let predecessor = match socket_file::call(path)? {
            CallOutcome::Connected(predecessor) => predecessor,
            CallOutcome::Nobody => return Ok(()),
            CallOutcome::Busy => return Err(io::ErrorKind::ResourceBusy.into()),
        };
        predecessor.set_read_timeout(Some(FIRST_WORD))?;
        predecessor.set_write_timeout(Some(PATIENCE))?;
        let (Sockets { listeners, paths }, secrets) = parcel::receive(&predecessor)?;
        self.secrets = secrets;
        self.sockets.extend(listeners);
        self.paths = paths;
        self.predecessor = Some(predecessor);
        Ok(())
    }

    /// Takes the socket for an address of the file. If both the service manager and the predecessor passed one, it is that
    /// of the service manager.
    pub(in crate::net) fn take(&mut self, bind: &ListenAddress) -> Option<PassedSocket> {
        let fits = |(socket, _): &(BoundSocket, Origin)| match (socket, bind) {
            (BoundSocket::Tcp(socket), ListenAddress::Tcp(bind)) => {
                socket.local_addr().is_ok_and(|address| serves(address, *bind))
            }
            (BoundSocket::Unix(socket), ListenAddress::Unix(bind)) => unix::name_of(socket).as_ref() == Some(bind),
            (BoundSocket::Tcp(_), ListenAddress::Unix(_)) | (BoundSocket::Unix(_), ListenAddress::Tcp(_)) => false,
        };
        let place = self.sockets.iter().position(|socket| fits(socket) && socket.1 == Origin::Manager);
        if let Some(place) = place.or_else(|| self.sockets.iter().position(fits)) {
            let (socket, origin) = self.sockets.remove(place);
            return Some(PassedSocket { socket, file: None, origin });
        }
        let ListenAddress::Unix(UnixName::Path(path)) = bind else { return None };
        let (socket, id) = self.take_path(path)?;
        Some(PassedSocket { socket: BoundSocket::Unix(socket), file: Some(id), origin: Origin::Predecessor })
    }

    /// Takes the keys of the predecessor's TLS tickets.
    pub(in crate::net) const fn tickets(&mut self) -> Option<Tickets> {
        self.secrets.tickets.take()
    }

    /// Takes the predecessor's key of sticky cookies.
    pub(in crate::net) const fn sticky_secret(&mut self) -> Option<StickySecret> {
        self.secrets.sticky.take()
    }

    /// Takes the predecessor's socket whose file is at this path. Returns it with the identity of the file.
    pub(in crate::net) fn take_path(&mut self, path: &Path) -> Option<(UnixListener, FileId)> {
        let at = FileId::at(path).ok()?;
        Some(self.paths.swap_remove(self.paths.iter().position(|(_, id)| *id == at)?))
    }

    /// Addresses that were passed and that no listener of the file has.
    pub(in crate::net) fn left(&self) -> impl Iterator<Item = ListenAddress> {
        self.sockets.iter().filter_map(|(socket, _)| match socket {
            BoundSocket::Tcp(socket) => socket.local_addr().ok().map(ListenAddress::Tcp),
            BoundSocket::Unix(socket) => unix::name_of(socket).map(ListenAddress::Unix),
        })
    }

    /// Tells the predecessor that its listeners are served, and waits until it accepts no more. Clients that connect
    /// after that are ours. Returns whether there was a predecessor. Blocks for `FIRST_WORD` (5 s) at most.
    ///
    /// # Errors
    /// The predecessor has gone. Its sockets are ours all the same.
    pub fn ready(self) -> io::Result<bool> {
        let Some(mut predecessor) = self.predecessor else { return Ok(false) };
        predecessor.write_all(&[READY])?;
        // The predecessor sends nothing more. It closes once it accepts no more.
        match predecessor.read(&mut [0]) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                tracing::warn!("the process before still accepts some of the connections");
            }
            Ok(_) | Err(_) => {}
        }
        // Nobody answers there any more, and the predecessor leaves its files to us.
        for (listener, id) in self.paths {
            if let Some(UnixName::Path(path)) = unix::name_of(&listener) {
                SocketFile::of_another(&path, id).take_back();
            }
        }
        Ok(true)
    }
}

/// Whether a socket bound to `address` accepts what the file wants at `bind`. A service manager binds a bare port to
/// `[::]`, which takes IPv4 too.
fn serves(address: SocketAddr, bind: SocketAddr) -> bool {
    address == bind
        || (address.port() == bind.port()
            && address.ip().is_unspecified()
            && bind.ip().is_unspecified()
            && address.is_ipv6())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_serves_its_own_address_and_that_of_all_addresses_also_ipv4() {
        let serves = |address: &str, bind: &str| serves(address.parse().unwrap(), bind.parse().unwrap());
        assert!(serves("127.0.0.1:80", "127.0.0.1:80"));
        assert!(serves("[::]:80", "0.0.0.0:80") && serves("[::]:80", "[::]:80"));
        assert!(!serves("0.0.0.0:80", "[::]:80"));
        assert!(!serves("[::]:80", "127.0.0.1:80") && !serves("[::]:80", "0.0.0.0:81"));
    }

    #[test]
    fn of_two_sockets_for_an_address_that_of_the_service_manager_is_taken() {
        let listen = || std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("http.sock");
        let (tcp, unix) = ([listen(), listen()], UnixListener::bind(&path).unwrap());
        let mut inherited = Inherited::default();
        for origin in [Origin::Manager, Origin::Predecessor] {
            inherited.sockets.extend(tcp.iter().map(|socket| (BoundSocket::Tcp(socket.try_clone().unwrap()), origin)));
            inherited.sockets.push((BoundSocket::Unix(unix.try_clone().unwrap()), origin));
        }
        let addresses = tcp.iter().map(|socket| ListenAddress::Tcp(socket.local_addr().unwrap()));
        let addresses: Vec<_> = addresses.chain([ListenAddress::Unix(UnixName::Path(path))]).collect();
        for expected in [Origin::Manager, Origin::Predecessor] {
            for address in &addresses {
                assert_eq!(inherited.take(address).unwrap().origin, expected, "{address}");
            }
        }
        assert!(addresses.iter().all(|address| inherited.take(address).is_none()));
    }
}
