//! Options of TCP sockets, listening and connecting.

use std::{io, net::SocketAddr, os::fd::AsFd};

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};

use crate::config::Tcp;

/// Connections that may wait to be accepted; the kernel takes less where `net.core.somaxconn` is lower.
pub(super) const BACKLOG: i32 = 4096;

/// Sets `TCP_NODELAY` and the file's `tcp` options.
pub(super) fn set_options(socket: &impl AsFd, tcp: &Tcp) -> io::Result<()> {
    let socket = SockRef::from(socket);
    socket.set_tcp_nodelay(true)?;
    if let Some(idle) = tcp.keepalive_idle {
        let keepalive = TcpKeepalive::new()
            .with_time(idle)
            .with_interval(tcp.keepalive_interval)
            .with_retries(tcp.keepalive_probes);
        socket.set_tcp_keepalive(&keepalive)?;
    }
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(tcp.user_timeout)?;
    Ok(())
}

/// How many bytes the kernel may hold unsent for a socket that has refused some. A Ping or a Close that we write next waits behind
/// them. Echoes of 1 MiB took as much time and CPU with this limit as with 256 KiB to 1 MiB and with none.
const UNSENT: u32 = 128 * 1024;

/// Has the kernel take fewer bytes than it could, so that what is written next, a Ping or a Close, does not queue behind
/// megabytes, and that the socket takes more as soon as some were sent (`TCP_NOTSENT_LOWAT`).
pub(super) fn keep_unsent_short(socket: &impl AsFd) -> io::Result<()> {
    SockRef::from(socket).set_tcp_notsent_lowat(UNSENT)
}

/// A listening socket that another process opened.
pub(super) fn adopt(socket: std::net::TcpListener, tcp: &Tcp) -> io::Result<std::net::TcpListener> {
    socket.set_nonblocking(true)?;
    set_options(&socket, tcp)?;
    Ok(socket)
}

/// A listening socket. On Linux each accepted connection inherits its options, which saves five calls a connection.
pub(super) fn listen(address: SocketAddr, tcp: &Tcp) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    set_options(&socket, tcp)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}
