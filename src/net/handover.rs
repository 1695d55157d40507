//! Listening sockets that another process has: those that the service manager passes at the start (`LISTEN_FDS`), and those
//! that a predecessor hands over through a Unix socket (`handover` in the file).
//!
//! The sockets themselves go from process to process, so that no connection is refused and none that waits in the kernel
//! is lost. `SO_REUSEPORT` would lose some: each process has a queue of its own, which is reset when it closes.
//!
//! The successor connects, reads the sockets, starts, and writes one byte. Only then does the predecessor drain: a
//! successor that fails leaves everything as it was.
//!
//! The sockets come with one byte, [`SOCKETS`], and what else the successor gets stands behind it, each part with its kind and
//! its length. A version that knows no parts reads the one byte; a kind that it does not know it skips.

use std::{
    fs, io,
    io::{IoSlice, IoSliceMut, Write as _},
    mem::MaybeUninit,
    net::{SocketAddr, TcpListener},
    os::{
        fd::{AsFd as _, BorrowedFd},
        unix::{
            fs::PermissionsExt as _,
            net::{UnixListener, UnixStream},
        },
    },
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use listenfd::ListenFd;
use rustix::{
    cmsg_space,
    net::{
        RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
        recvmsg, sendmsg,
    },
};
use tokio::{io::Interest, time::timeout};
use zeroize::Zeroizing;

use super::{control::Control, tickets::Tickets};

/// Sockets handed over at once, at most: the kernel takes no more in one message (`SCM_MAX_FD`).
const MOST: usize = 253;
/// How long each step may take. The successor reads certificates and starts its threads in one of them.
const PATIENCE: Duration = Duration::from_secs(30);
/// What the successor says when it accepts connections.
const READY: u8 = b'R';
/// What the predecessor says with the sockets.
const SOCKETS: u8 = b'S';
/// The kind of the part that has the keys of TLS tickets.
const TICKETS: u8 = b'T';
/// All that the predecessor says: in one piece, as the kernel hands over what was sent at once.
const LONGEST: usize = 1024;

/// Listening sockets that this process did not open.
#[derive(Debug, Default)]
pub struct Inherited {
    sockets: Vec<(TcpListener, Origin)>,
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
    /// there is no error.
    ///
    /// # Errors
    /// A descriptor that is no TCP listener, or a predecessor that breaks off.
    pub fn collect(path: Option<&Path>) -> io::Result<Self> {
        let mut manager = ListenFd::from_env();
        let mut inherited = Self::default();
        for index in 0..manager.len() {
            inherited.sockets.extend(manager.take_tcp_listener(index)?.map(|socket| (socket, Origin::Manager)));
        }
        if let Some(predecessor) = path.and_then(|path| UnixStream::connect(path).ok()) {
            predecessor.set_read_timeout(Some(PATIENCE))?;
            predecessor.set_write_timeout(Some(PATIENCE))?;
            let (sockets, tickets) = receive(&predecessor)?;
            inherited.tickets = tickets;
            inherited.sockets.extend(sockets.into_iter().map(|socket| (socket, Origin::Predecessor)));
            inherited.predecessor = Some(predecessor);
        }
        Ok(inherited)
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

    /// Whether a process waits for this one to take over.
    pub(super) const fn has_predecessor(&self) -> bool {
        self.predecessor.is_some()
    }

    /// Addresses that were passed and that no listener of the file has.
    pub(super) fn left(&self) -> impl Iterator<Item = SocketAddr> {
        self.sockets.iter().filter_map(|(socket, _)| socket.local_addr().ok())
    }

    /// Tells the predecessor that its listeners are served. Whether there was one.
    ///
    /// # Errors
    /// It has gone: its sockets are ours all the same.
    pub fn ready(self) -> io::Result<bool> {
        let Some(mut predecessor) = self.predecessor else { return Ok(false) };
        predecessor.write_all(&[READY])?;
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

fn receive(predecessor: &UnixStream) -> io::Result<(Vec<TcpListener>, Option<Tickets>)> {
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(MOST))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut said = Zeroizing::new([0; LONGEST]);
    let received = recvmsg(predecessor, &mut [IoSliceMut::new(&mut *said)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    if received.bytes == 0 {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the predecessor handed nothing over"));
    }
    let mut sockets = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(descriptors) = message {
            sockets.extend(descriptors.map(TcpListener::from));
        }
    }
    let parts = said.get(1..received.bytes).unwrap_or_default();
    let tickets = part(parts, TICKETS).and_then(|keys| Tickets::from_bytes(keys, Instant::now()));
    Ok((sockets, tickets))
}

/// The part of this kind: it stands behind its kind, a byte, and its length, two.
fn part(mut parts: &[u8], wanted: u8) -> Option<&[u8]> {
    loop {
        let (&[kind, high, low], rest) = parts.split_first_chunk()?;
        let (part, rest) = rest.split_at_checked(u16::from_be_bytes([high, low]).into())?;
        if kind == wanted {
            return Some(part);
        }
        parts = rest;
    }
}

/// Where a successor finds this process.
#[derive(Debug)]
pub struct Handover {
    listener: tokio::net::UnixListener,
    path: PathBuf,
}

impl Handover {
    /// Waits at `path`, in the place of whoever waited there before. Only this user may connect.
    ///
    /// # Errors
    /// The path cannot be bound.
    pub fn bind(path: &Path) -> io::Result<Self> {
        // Bound beside it and moved there: at no time is there nobody.
        let beside = path.with_extension(format!("{}.new", std::process::id()));
        let _ = fs::remove_file(&beside);
        let listener = UnixListener::bind(&beside)?;
        fs::set_permissions(&beside, fs::Permissions::from_mode(0o600))?;
        fs::rename(&beside, path)?;
        listener.set_nonblocking(true)?;
        Ok(Self { listener: tokio::net::UnixListener::from_std(listener)?, path: path.to_owned() })
    }

    /// Ready once a successor serves our listeners. We accept no more then.
    pub async fn handed_over(&self, control: &Control) {
        loop {
            match self.hand_over(control).await {
                Ok(()) => return,
                Err(error) => tracing::warn!(%error, path = %self.path.display(), "a successor did not take over"),
            }
        }
    }

    async fn hand_over(&self, control: &Control) -> io::Result<()> {
        let (successor, _) = self.listener.accept().await?;
        let user = successor.peer_cred()?.uid();
        if user != 0 && user != rustix::process::geteuid().as_raw() {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, format!("it is of user {user}")));
        }
        let sockets = control.sockets()?;
        let tickets = control.tickets().to_bytes(Instant::now());
        let give = successor.async_io(Interest::WRITABLE, || send(&successor, &sockets, &tickets));
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
}

fn send(successor: &tokio::net::UnixStream, sockets: &[TcpListener], tickets: &[u8]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(MOST))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let descriptors: Vec<BorrowedFd<'_>> = sockets.iter().take(MOST).map(|socket| socket.as_fd()).collect();
    control.push(SendAncillaryMessage::ScmRights(&descriptors));
    let [high, low] = u16::try_from(tickets.len()).map_err(io::Error::other)?.to_be_bytes();
    // Descriptors travel with at least one byte.
    let head = [SOCKETS, TICKETS, high, low];
    let said = [&head[..], tickets].map(IoSlice::new);
    sendmsg(successor, &said, &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
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
