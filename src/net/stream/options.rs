//! Options of TCP sockets, listening and connecting.

use std::{io, net::SocketAddr, os::fd::AsFd};

use socket2::{Domain, Protocol, SockFilter, SockRef, Socket, TcpKeepalive, Type};

use crate::config::Tcp;

/// Connections that may wait to be accepted. The kernel takes fewer if `net.core.somaxconn` is lower.
pub(in crate::net) const BACKLOG: i32 = 4096;

/// Sets `TCP_NODELAY` and the file's `tcp` options.
pub(in crate::net) fn set_options(socket: &impl AsFd, tcp: &Tcp) -> io::Result<()> {
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

/// Makes the kernel drop the packet with which a client asks to connect (SYN), from now on. Clients whose handshake has
/// begun still arrive. After the socket is closed, the client's next SYN, a second later, is refused or reaches whoever
/// listens then. Without this, the kernel resets those who connect between the last accept(2) and the close.
///
/// The filter stays as long as any process has the socket, and connections that are accepted later inherit it. In a
/// connection it has nothing to drop, except a SYN of a client that reuses the port of a dead connection.
pub(in crate::net) fn ignore_new_clients(socket: &impl AsFd) -> io::Result<()> {
    /// Loads the byte of the packet with the TCP flags. The packet begins with the TCP header (RFC 9293 §3.1).
    const LOAD_FLAGS: SockFilter = SockFilter::new(0x30, 0, 0, 13);
    /// Keeps the flags SYN and ACK.
    const KEEP_SYN_AND_ACK: SockFilter = SockFilter::new(0x54, 0, 0, 0x12);
    /// Goes on if only SYN is set, and skips an instruction otherwise.
    const IF_SYN_ONLY: SockFilter = SockFilter::new(0x15, 0, 1, 0x02);
    const DROP: SockFilter = SockFilter::new(0x06, 0, 0, 0);
    const TAKE: SockFilter = SockFilter::new(0x06, 0, 0, u32::MAX);
    SockRef::from(socket).attach_filter(&[LOAD_FLAGS, KEEP_SYN_AND_ACK, IF_SYN_ONLY, DROP, TAKE])
}

/// Takes over a listening socket that another process opened.
pub(in crate::net) fn adopt(socket: &std::net::TcpListener, tcp: &Tcp) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    set_options(socket, tcp)
}

/// Opens a listening socket. On Linux, accepted connections inherit its options, which saves five calls for each.
pub(in crate::net) fn listen(address: SocketAddr, tcp: &Tcp) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    set_options(&socket, tcp)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::{net::TcpStream, time::Duration};

    use super::*;

    #[test]
    fn a_listener_that_ignores_new_clients_still_has_those_who_wait_and_resets_nobody() {
        let tcp = Tcp {
            keepalive_idle: None,
            keepalive_interval: Duration::from_secs(1),
            keepalive_probes: 3,
            user_timeout: None,
        };
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let listener = listen(address.parse().unwrap(), &tcp).unwrap();
            let address = listener.local_addr().unwrap();
            let waits = TcpStream::connect(address).unwrap();
            ignore_new_clients(&listener).unwrap();
            let late = TcpStream::connect_timeout(&address, Duration::from_millis(50)).unwrap_err();
            assert_eq!(late.kind(), io::ErrorKind::TimedOut);
            assert_eq!(listener.accept().unwrap().1, waits.local_addr().unwrap());
            assert_eq!(listener.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock);
            drop(listener);
            assert_eq!(TcpStream::connect(address).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        }
    }
}
