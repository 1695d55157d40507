//! What Unix sockets have and TCP sockets do not.

use std::io;

use socket2::SockAddr;

use crate::config::UnixName;

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
