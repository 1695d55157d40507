//! A listening socket among the worker's sockets, so that a worker that waits for these sees at once who connects.

use std::{
    future::poll_fn,
    io,
    os::fd::{AsFd, BorrowedFd},
    task::{Poll, ready},
};

use mio::{
    Interest,
    net::{TcpListener, TcpStream},
};

use super::{READABLE, Table, poll_task_ready, with_slot, with_table};
use crate::sender::Sender;

/// A listening socket, registered with its thread.
#[derive(Debug)]
pub(in crate::net) struct ListeningSocket {
    listener: TcpListener,
    /// The key in the table of the thread.
    key: u32,
}

impl ListeningSocket {
    /// Registers `listener`. If clients wait in it already, an event says so. To call accept(2) without an event could
    /// fail for want of descriptors though nobody connects.
    ///
    /// # Errors
    /// The kernel does not take it, or this thread is no worker.
    pub(in crate::net) fn new(mut listener: TcpListener) -> io::Result<Self> {
        let key = with_table(|table| table.register(&mut listener, Interest::READABLE, 0))?;
        Ok(Self { listener, key })
    }

    /// Accepts the next client, and waits until there is one.
    ///
    /// # Errors
    /// Those of accept(2).
    pub(in crate::net) async fn accept(&self) -> io::Result<(TcpStream, Sender)> {
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
    pub(in crate::net) fn accept_now(&self) -> io::Result<(TcpStream, Sender)> {
        let accepted = self.listener.accept().map(|(stream, address)| (stream, Sender::from(address)));
        if accepted.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock) {
            with_slot(self.key, |slot| slot.clear(READABLE));
        }
        accepted
    }
}

impl AsFd for ListeningSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }
}

impl Drop for ListeningSocket {
    fn drop(&mut self) {
        // The control, and perhaps a successor, have this socket open too. Closing it here would therefore not take it
        // out of the epoll.
        Table::forget(self.key, |registry| {
            if let Err(error) = registry.deregister(&mut self.listener) {
                tracing::debug!(%error, "a listener could not be taken out of the epoll");
            }
        });
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::{
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
        let listener = ListeningSocket::new(TcpListener::from_std(listener)).unwrap();
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
}
