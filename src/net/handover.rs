//! Listening sockets that another process has: those that the service manager passes at the start (`LISTEN_FDS`), and those
//! that a predecessor hands over through a Unix socket (`handover` in the file).
//!
//! The sockets themselves go from process to process, so that no connection is refused and none that waits in the kernel
//! is lost. `SO_REUSEPORT` would lose some: each process has a queue of its own, which is reset when it closes.
//!
//! The successor connects, reads the sockets, starts, and writes one byte. Only then does the predecessor drain: a
//! successor that fails leaves everything as it was.

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
    time::Duration,
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

use super::control::Control;

/// Sockets handed over at once, at most: the kernel takes no more in one message (`SCM_MAX_FD`).
const MOST: usize = 253;
/// How long each step may take. The successor reads certificates and starts its threads in one of them.
const PATIENCE: Duration = Duration::from_secs(30);
/// What the successor says when it accepts connections.
const READY: u8 = b'R';

/// Listening sockets that this process did not open.
#[derive(Debug, Default)]
pub struct Inherited {
    sockets: Vec<(TcpListener, Origin)>,
    /// Who waits for our word.
    predecessor: Option<UnixStream>,
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
            let sockets = receive(&predecessor)?;
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

fn receive(predecessor: &UnixStream) -> io::Result<Vec<TcpListener>> {
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(MOST))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let received = recvmsg(predecessor, &mut [IoSliceMut::new(&mut byte)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    if received.bytes == 0 {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the predecessor handed nothing over"));
    }
    let mut sockets = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(descriptors) = message {
            sockets.extend(descriptors.map(TcpListener::from));
        }
    }
    Ok(sockets)
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
        let give = successor.async_io(Interest::WRITABLE, || send(&successor, &sockets));
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

fn send(successor: &tokio::net::UnixStream, sockets: &[TcpListener]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(MOST))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let descriptors: Vec<BorrowedFd<'_>> = sockets.iter().take(MOST).map(|socket| socket.as_fd()).collect();
    control.push(SendAncillaryMessage::ScmRights(&descriptors));
    // Descriptors travel with at least one byte.
    sendmsg(successor, &[IoSlice::new(b"S")], &mut control, SendFlags::NOSIGNAL)?;
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
