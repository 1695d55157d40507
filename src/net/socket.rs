//! Options of TCP sockets, listening and connecting.

use std::{io, net::SocketAddr, os::fd::AsFd};

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};

use crate::config::Tcp;

/// Connections that may wait to be accepted. The kernel takes fewer if `net.core.somaxconn` is lower.
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

/// How many unsent bytes the kernel may hold for a socket that has refused some. A Ping or a Close that we write next
/// waits behind them. With this limit, echoes of 1 MiB took as much time and CPU as with 256 KiB to 1 MiB, and as with
/// none.
const UNSENT: u32 = 128 * 1024;

/// Makes the kernel hold fewer unsent bytes (`TCP_NOTSENT_LOWAT`). What is written next, a Ping or a Close, then does
/// not wait behind megabytes, and the socket takes more as soon as some bytes were sent.
pub(super) fn keep_unsent_short(socket: &impl AsFd) -> io::Result<()> {
    SockRef::from(socket).set_tcp_notsent_lowat(UNSENT)
}

/// Takes over a listening socket that another process opened.
pub(super) fn adopt(socket: std::net::TcpListener, tcp: &Tcp) -> io::Result<std::net::TcpListener> {
    socket.set_nonblocking(true)?;
    set_options(&socket, tcp)?;
    Ok(socket)
}

/// Opens a listening socket. On Linux, accepted connections inherit its options, which saves five calls for each.
pub(super) fn listen(address: SocketAddr, tcp: &Tcp) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    set_options(&socket, tcp)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}
