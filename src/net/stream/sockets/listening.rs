//! A listening socket among the worker's sockets, so that a worker that waits for these sees at once who connects.

use std::{
    future::poll_fn,
    io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::net::UnixListener,
    },
    task::{Poll, ready},
};

use mio::Interest;
use rustix::net::{Shutdown, shutdown};
use socket2::SockRef;

use super::{READABLE, Table, poll_task_ready, with_slot, with_table};
use crate::{
    config::Tcp,
    net::stream::{options, unix},
    sender::Sender,
};

/// A listening socket, wherever it comes from. No thread waits for its clients yet.
#[derive(Debug)]
pub(in crate::net) enum BoundSocket {
    Tcp(std::net::TcpListener),
    Unix(UnixListener),
}

/// A listening socket, registered with its thread.
#[derive(Debug)]
pub(in crate::net) struct ListeningSocket {
    listener: RegisteredSocket,
    /// The key in the table of the thread.
    key: u32,
}

#[derive(Debug)]
enum RegisteredSocket {
    Tcp(mio::net::TcpListener),
    Unix(mio::net::UnixListener),
}

impl BoundSocket {
    /// # Errors
    /// Out of descriptors.
    pub(in crate::net) fn try_clone(&self) -> io::Result<Self> {
        match self {
            Self::Tcp(listener) => listener.try_clone().map(Self::Tcp),
            Self::Unix(listener) => listener.try_clone().map(Self::Unix),
        }
    }

    /// Takes over a socket that another process opened.
    ///
    /// # Errors
    /// An option that cannot be set.
    pub(in crate::net) fn adopt(self, tcp: &Tcp) -> io::Result<Self> {
        match &self {
            Self::Tcp(listener) => options::adopt(listener, tcp)?,
            Self::Unix(listener) => {
                listener.set_nonblocking(true)?;
                unix::listen_again(listener)?;
            }
        }
        Ok(self)
    }

    /// Sets the file's `tcp` options, which the clients' sockets inherit. A Unix socket has none.
    ///
    /// # Errors
    /// Those of setsockopt(2).
    pub(in crate::net) fn set_options(&self, tcp: &Tcp) -> io::Result<()> {
        match self {
            Self::Tcp(listener) => options::set_options(listener, tcp),
            Self::Unix(_) => Ok(()),
        }
    }
}

/// A socket of either kind. One of another kind is taken for TCP, and has no address then.
impl From<OwnedFd> for BoundSocket {
    fn from(socket: OwnedFd) -> Self {
        match SockRef::from(&socket).local_addr() {
            Ok(address) if address.is_unix() => Self::Unix(socket.into()),
            Ok(_) | Err(_) => Self::Tcp(socket.into()),
        }
    }
}

impl AsFd for BoundSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(listener) => listener.as_fd(),
            Self::Unix(listener) => listener.as_fd(),
        }
    }
}

impl ListeningSocket {
    /// Registers `listener`. If clients wait in it already, an event says so. To call accept(2) without an event could
    /// fail for want of descriptors though nobody connects.
    ///
    /// # Errors
    /// The kernel does not take it, or this thread is no worker.
    pub(in crate::net) fn new(listener: BoundSocket) -> io::Result<Self> {
        let mut listener = match listener {
            BoundSocket::Tcp(listener) => RegisteredSocket::Tcp(mio::net::TcpListener::from_std(listener)),
            BoundSocket::Unix(listener) => RegisteredSocket::Unix(mio::net::UnixListener::from_std(listener)),
        };
        let key = with_table(|table| match &mut listener {
            RegisteredSocket::Tcp(listener) => table.register(listener, Interest::READABLE, 0),
            RegisteredSocket::Unix(listener) => table.register(listener, Interest::READABLE, 0),
        })?;
        Ok(Self { listener, key })
    }

    /// Accepts the next client, and waits until there is one.
    ///
    /// # Errors
    /// Those of accept(2).
    pub(in crate::net) async fn accept(&self) -> io::Result<(OwnedFd, Sender)> {
        poll_fn(|cx| {
            loop {
                ready!(poll_task_ready(self.key, cx, READABLE));
                match self.accept_now() {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    accepted => return Poll::Ready(accepted),
                }
            }
        })
        .await
    }

    /// Accepts a client that waits already. `WouldBlock`: none waits.
    ///
    /// # Errors
    /// Those of accept(2).
    pub(in crate::net) fn accept_now(&self) -> io::Result<(OwnedFd, Sender)> {
        let accepted = match &self.listener {
            RegisteredSocket::Tcp(listener) => {
                listener.accept().map(|(stream, address)| (OwnedFd::from(stream), Sender::from(address)))
            }
            RegisteredSocket::Unix(listener) => listener.accept().and_then(|(stream, _)| {
                let process = unix::peer_of(&stream)?;
                Ok((OwnedFd::from(stream), Sender::Process(process)))
            }),
        };
        if accepted.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock) {
            with_slot(self.key, |slot| slot.clear(READABLE));
        }
        accepted
    }

    /// Refuses those who connect from now on, or makes them ask again. Those who wait already still arrive. Without this,
    /// who connects between the last accept(2) and the close is reset. No other process may have the socket.
    ///
    /// # Errors
    /// Those of setsockopt(2) and shutdown(2).
    pub(in crate::net) fn ignore_new_clients(&self) -> io::Result<()> {
        match &self.listener {
            RegisteredSocket::Tcp(listener) => options::ignore_new_clients(listener),
            // The kernel refuses who connects to a socket that is shut down, and still hands out those who wait.
            RegisteredSocket::Unix(listener) => Ok(shutdown(listener, Shutdown::Read)?),
        }
    }
}

impl Drop for ListeningSocket {
    fn drop(&mut self) {
        // The control, and perhaps a successor, have this socket open too. Closing it here would therefore not take it
        // out of the epoll.
        Table::forget(self.key, |registry| {
            let left = match &mut self.listener {
                RegisteredSocket::Tcp(listener) => registry.deregister(listener),
                RegisteredSocket::Unix(listener) => registry.deregister(listener),
            };
            if let Err(error) = left {
                tracing::debug!(%error, "a listener could not be taken out of the epoll");
            }
        });
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::{
        os::unix::net::UnixStream,
        pin::pin,
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering::Relaxed},
        },
        task::{Context, Wake, Waker},
    };

    use mio::{Events, Poll as Epoll};

    use super::*;
    use crate::net::stream::sockets::{dispatch, open};

    /// Counts how often its task is woken.
    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Relaxed);
        }
    }

    /// Waits for the next events. Returns whether they woke a task.
    fn wait(epoll: &mut Epoll) -> bool {
        let mut events = Events::with_capacity(8);
        epoll.poll(&mut events, None).unwrap();
        dispatch(&events, None, |_, _, _| panic!("no session is here")).unwrap()
    }

    #[test]
    fn who_connects_ends_a_wait_for_sockets_and_wakes_the_accept_loop() {
        let mut epoll = open(false).unwrap().all;
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        // The control keeps a copy like this one.
        let kept = listener.try_clone().unwrap();
        let _waits = std::net::TcpStream::connect(address).unwrap();
        let listener = ListeningSocket::new(BoundSocket::Tcp(listener)).unwrap();
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(Arc::clone(&woken));
        let mut cx = Context::from_waker(&waker);
        {
            let mut accept = pin!(listener.accept());
            assert!(accept.as_mut().poll(&mut cx).is_pending(), "no event has told of anybody");
            assert!(wait(&mut epoll) && accept.poll(&mut cx).is_ready());
        }
        for clients in 2..=3 {
            let mut accept = pin!(listener.accept());
            assert!(accept.as_mut().poll(&mut cx).is_pending());
            let client = std::net::TcpStream::connect(address).unwrap();
            assert!(wait(&mut epoll));
            assert_eq!(woken.0.load(Relaxed), clients);
            let Poll::Ready(Ok((_, sender))) = accept.poll(&mut cx) else { panic!("nobody was accepted") };
            assert_eq!(sender, client.local_addr().unwrap().into());
        }
        drop(listener);
        // The kept copy still takes clients, and this thread hears of none of them.
        std::net::TcpStream::connect(kept.local_addr().unwrap()).unwrap();
        let mut events = Events::with_capacity(8);
        epoll.poll(&mut events, Some(std::time::Duration::ZERO)).unwrap();
        assert!(events.is_empty());
    }

    #[test]
    fn a_unix_socket_that_takes_no_new_clients_still_has_those_who_wait() {
        let mut epoll = open(false).unwrap().all;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("http.sock");
        let listener = UnixListener::bind(&path).unwrap();
        listener.set_nonblocking(true).unwrap();
        let _waits = UnixStream::connect(&path).unwrap();
        let listener = ListeningSocket::new(BoundSocket::Unix(listener)).unwrap();
        wait(&mut epoll);
        listener.ignore_new_clients().unwrap();
        assert_eq!(UnixStream::connect(&path).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        let (_, sender) = listener.accept_now().unwrap();
        let ours = rustix::process::getuid().as_raw();
        assert_eq!(sender.process().map(|process| process.uid), Some(ours));
        assert_eq!(sender.process().unwrap().pid.unwrap().get(), std::process::id());
        assert_eq!(listener.accept_now().unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }
}
