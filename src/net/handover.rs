//! Listening sockets that another process has: those that the service manager passes at the start (`LISTEN_FDS`), and those
//! that a predecessor hands over through a Unix socket (`handover` in the file).
//!
//! The sockets themselves go from process to process, so that no connection is refused and none that waits in the kernel
//! is lost. `SO_REUSEPORT` would lose some: each process has a queue of its own, which is reset when it closes.
//!
//! The successor connects, reads the sockets, starts, and writes one byte. Only then does the predecessor drain: a
//! successor that fails leaves everything as it was. The sockets of paths go over as well, with the ids of their files, so
//! that no file of the predecessor has to be replaced.
//!
//! A predecessor that is told to end hands over until its listeners close. Who comes later finds nobody, and free addresses.

mod parcel;

use std::{
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpListener},
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use listenfd::ListenFd;
use tokio::{io::Interest, time::timeout};

pub(super) use self::parcel::Sockets;
use super::{
    control::Control,
    socket_file::{self, Answer, FileId, SocketFile},
    tickets::Tickets,
};

/// How long each step may take. The successor reads certificates and starts its threads in one of them.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a predecessor may take for its first word, and to close once we serve: it has little to do for either.
const FIRST_WORD: Duration = Duration::from_secs(5);
/// After an accept that failed: out of descriptors, there is nothing to do but to wait for some.
const BACK_OFF: Duration = Duration::from_secs(1);
/// What the successor says when it accepts connections.
const READY: u8 = b'R';

/// Listening sockets that this process did not open.
#[derive(Debug, Default)]
pub struct Inherited {
    sockets: Vec<(TcpListener, Origin)>,
    /// The predecessor's, by their files.
    paths: Vec<(UnixListener, FileId)>,
    /// Who waits for our word.
    predecessor: Option<UnixStream>,
    tickets: Option<Tickets>,
}

/// Whose socket it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// The service manager's, who keeps it.
    Manager,
    /// The predecessor's, who is about to go.
    Predecessor,
}

impl Inherited {
    /// What the service manager passed (`LISTEN_FDS`), and what a predecessor hands over that answers at `path`. Nobody
    /// there is no error, nor is one who hands nothing over: it may be about to end, with its addresses free already.
    ///
    /// # Errors
    /// A descriptor of the service manager's that is no TCP listener.
    pub fn collect(path: Option<&Path>) -> io::Result<Self> {
        let mut manager = ListenFd::from_env();
        let mut inherited = Self::default();
        for index in 0..manager.len() {
            inherited.sockets.extend(manager.take_tcp_listener(index)?.map(|socket| (socket, Origin::Manager)));
        }
        if let Some(path) = path
            && let Err(error) = inherited.ask(path)
        {
            let path = path.display();
            tracing::warn!(%path, %error, "the process that answers there hands nothing over: starting without");
        }
        Ok(inherited)
    }

    /// Takes what a predecessor hands over that answers at `path`, if one does.
    fn ask(&mut self, path: &Path) -> io::Result<()> {
        let predecessor = match socket_file::call(path)? {
            Answer::Connected(predecessor) => predecessor,
            Answer::Nobody => return Ok(()),
            Answer::Busy => return Err(io::ErrorKind::ResourceBusy.into()),
        };
        predecessor.set_read_timeout(Some(FIRST_WORD))?;
        predecessor.set_write_timeout(Some(PATIENCE))?;
        let (Sockets { tcp, paths }, tickets) = parcel::receive(&predecessor)?;
        self.tickets = tickets;
        self.sockets.extend(tcp.into_iter().map(|socket| (socket, Origin::Predecessor)));
        self.paths = paths;
        self.predecessor = Some(predecessor);
        Ok(())
    }

    /// The socket for an address of the file, and whether another process keeps it.
    pub(super) fn take(&mut self, bind: SocketAddr) -> Option<(TcpListener, bool)> {
        let fits = |(socket, _): &(TcpListener, Origin)| socket.local_addr().is_ok_and(|address| serves(address, bind));
        let (socket, origin) = self.sockets.swap_remove(self.sockets.iter().position(fits)?);
        Some((socket, origin == Origin::Manager))
    }

    /// The keys of the predecessor's TLS tickets, once.
    pub(super) const fn tickets(&mut self) -> Option<Tickets> {
        self.tickets.take()
    }

    /// The predecessor's socket whose file is at this path, with the id of that.
    pub(super) fn take_path(&mut self, path: &Path) -> Option<(UnixListener, FileId)> {
        let at = FileId::at(path).ok()?;
        Some(self.paths.swap_remove(self.paths.iter().position(|(_, id)| *id == at)?))
    }

    /// Addresses that were passed and that no listener of the file has.
    pub(super) fn left(&self) -> impl Iterator<Item = SocketAddr> {
        self.sockets.iter().filter_map(|(socket, _)| socket.local_addr().ok())
    }

    /// Tells the predecessor that its listeners are served, and waits until it accepts no more: whoever connects after that
    /// is ours. Whether there was a predecessor. Blocks for `FIRST_WORD` (5 s) at most.
    ///
    /// # Errors
    /// It has gone: its sockets are ours all the same.
    pub fn ready(self) -> io::Result<bool> {
        let Some(mut predecessor) = self.predecessor else { return Ok(false) };
        predecessor.write_all(&[READY])?;
        // The predecessor says nothing more. It closes once it accepts no more.
        match predecessor.read(&mut [0]) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                tracing::warn!("the process before still accepts some of the connections");
            }
            Ok(_) | Err(_) => {}
        }
        Ok(true)
    }
}

/// Whether a socket bound to `address` accepts what the file wants at `bind`. A service manager binds a bare port to `[::]`,
/// which takes IPv4 too.
fn serves(address: SocketAddr, bind: SocketAddr) -> bool {
    address == bind
        || (address.port() == bind.port()
            && address.ip().is_unspecified()
            && bind.ip().is_unspecified()
            && address.is_ipv6())
}

/// Where a successor finds this process.
#[derive(Debug)]
pub struct Handover {
    path: PathBuf,
    /// `None` = another process still answers there.
    place: Option<(UnixListener, SocketFile)>,
}

impl Handover {
    /// Waits at `path`: on the predecessor's own socket, where it passed that. A path where another process answers is no
    /// error: that one may be about to end, and is waited for. Only this user may connect.
    ///
    /// # Errors
    /// The path cannot be bound.
    pub fn bind(path: &Path, inherited: &mut Inherited) -> io::Result<Self> {
        let place = match socket_file::bind(path, inherited) {
            Ok(place) => Some(place),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                let path = path.display();
                tracing::warn!(%path, %error, "a successor can call when the path is free");
                None
            }
            Err(error) => return Err(error),
        };
        Ok(Self { path: path.to_owned(), place })
    }

    /// Ready once a successor serves our listeners. We accept no more then. Without a path, never.
    pub async fn handed_over(self, control: &Control) {
        let path = self.path;
        let place = match self.place {
            Some(place) => Ok(place),
            None => socket_file::when_free(|| socket_file::bind(&path, &mut Inherited::default()))
                .await
                .inspect(|_| tracing::info!(path = %path.display(), "a successor can call now")),
        };
        let place = place.and_then(|(listener, file)| Ok((tokio::net::UnixListener::from_std(listener)?, file)));
        let (listener, file) = match place {
            Ok(place) => place,
            Err(error) => {
                tracing::error!(%error, path = %path.display(), "no successor can call");
                return std::future::pending().await;
            }
        };
        file.own();
        loop {
            let handed_over = match listener.accept().await {
                Ok((successor, _)) => hand_over(successor, &listener, &file, control).await,
                Err(error) => {
                    tokio::time::sleep(BACK_OFF).await;
                    Err(error)
                }
            };
            match handed_over {
                Ok(()) => return,
                Err(error) => tracing::warn!(%error, path = %path.display(), "a successor did not take over"),
            }
            file.own();
            control.own_sockets();
        }
    }
}

async fn hand_over(
    successor: tokio::net::UnixStream,
    listener: &tokio::net::UnixListener,
    file: &SocketFile,
    control: &Control,
) -> io::Result<()> {
    let user = successor.peer_cred()?.uid();
    if user != 0 && user != rustix::process::geteuid().as_raw() {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, format!("it is of user {user}")));
    }
    let mut sockets = control.lend_sockets()?;
    sockets.add_path(listener, file)?;
    let tickets = control.tickets().to_bytes(Instant::now());
    let give = successor.async_io(Interest::WRITABLE, || parcel::send(&successor, &sockets, &tickets));
    timeout(PATIENCE, give).await??;
    let mut byte = [0];
    let answer = successor.async_io(Interest::READABLE, || successor.try_read(&mut byte));
    match timeout(PATIENCE, answer).await?? {
        1 if byte == [READY] => {
            control.leave_listeners().await;
            Ok(())
        }
        _ => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it gave up")),
    }
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
}
