//! What Unix sockets have and TCP sockets do not.

use std::{io, num::NonZeroU32, os::fd::AsFd, path::Path};

use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use socket2::{Domain, SockAddr, SockRef, Socket, Type};

use super::options::BACKLOG;
use crate::{config::UnixName, sender::PeerProcess};

/// The address of a Unix socket, as the kernel wants it. An abstract one begins with a zero byte.
///
/// # Errors
/// The name is too long.
pub(in crate::net) fn address(name: &UnixName) -> io::Result<SockAddr> {
    match name {
        UnixName::Path(path) => SockAddr::unix(path),
        UnixName::Abstract(name) => SockAddr::unix(format!("\0{name}")),
    }
}

/// The name that a socket is bound to. `None` = it is no Unix socket, or has no name that can be written.
pub(in crate::net) fn name_of(socket: &impl AsFd) -> Option<UnixName> {
    let address = SockRef::from(socket).local_addr().ok()?;
    match address.as_abstract_namespace() {
        Some(name) => Some(UnixName::Abstract(str::from_utf8(name).ok()?.to_owned())),
        None => address.as_pathname().map(Path::to_owned).map(UnixName::Path),
    }
}

/// The process at the other end of a connected Unix socket. For who connected, that is the process that listens.
///
/// # Errors
/// Those of getsockopt(2).
pub(in crate::net) fn peer_of(socket: &impl AsFd) -> io::Result<PeerProcess> {
    let credentials = getsockopt(socket, PeerCredentials)?;
    // 0: it has no id in our namespace.
    let pid = u32::try_from(credentials.pid()).ok().and_then(NonZeroU32::new);
    Ok(PeerProcess { uid: credentials.uid(), pid })
}

/// Listens at an abstract name. Everybody in the network namespace may connect, and no file tells of it.
///
/// # Errors
/// `AddrInUse`: another socket has the name.
pub(in crate::net) fn listen_abstract(name: &UnixName) -> io::Result<std::os::unix::net::UnixListener> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None)?;
    socket.bind(&address(name)?)?;
    socket.listen(BACKLOG)?;
    Ok(std::os::fd::OwnedFd::from(socket).into())
}

/// Makes this process the one that listens on a socket which another process opened, for those who ask who is at the
/// other end (`SO_PEERCRED`).
///
/// # Errors
/// Those of listen(2).
pub(in crate::net) fn listen_again(socket: &impl AsFd) -> io::Result<()> {
    SockRef::from(socket).listen(BACKLOG)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::{
        io::Read as _,
        os::unix::net::UnixStream,
        pin::Pin,
        task::{Context, Waker},
    };

    use tokio::io::AsyncWrite as _;

    use crate::net::stream::sockets::{self, Socket};

    #[test]
    fn each_step_of_a_slow_reader_shows_once_its_queue_was_full() {
        let _epolls = sockets::open(false).unwrap();
        let (ours, mut peer) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let mut socket = Socket::new_unix(ours).unwrap();
        socket.note_refusal();
        let mut cx = Context::from_waker(Waker::noop());
        while Pin::new(&mut socket).poll_write(&mut cx, &[7; 100_000]).is_ready() {}
        let mut before = socket.progress().acknowledged;
        for step in 0..8 {
            peer.read_exact(&mut [0; 17_000]).unwrap();
            let now = socket.progress().acknowledged;
            assert!(now > before, "step {step}");
            before = now;
        }
    }
}
