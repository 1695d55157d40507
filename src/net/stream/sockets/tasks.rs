//! The sockets of a thread that has tasks and no sessions.

use std::{future::pending, io, time::Duration};

use mio::{Events, Poll as Epoll};
use tokio::{io::unix::AsyncFd, task::coop::consume_budget};

use super::{Epolls, dispatch, open, watch};

/// The most events that one look at the epoll takes.
const EVENTS: usize = 64;

/// Wakes the tasks of this thread when something happens on their sockets.
#[derive(Debug)]
pub(in crate::net) struct Attendant {
    epoll: AsyncFd<Epoll>,
    events: Events,
}

impl Attendant {
    /// Makes this thread's table of sockets. To be called within the runtime of this thread.
    ///
    /// # Errors
    /// Out of descriptors.
    pub(in crate::net) fn new() -> io::Result<Self> {
        let Epolls { all, .. } = open(false)?;
        Ok(Self { epoll: watch(all)?, events: Events::with_capacity(EVENTS) })
    }

    /// Attends to the sockets until `work` is done.
    pub(in crate::net) async fn attend<T>(mut self, work: impl Future<Output = T>) -> T {
        tokio::select! {
            done = work => done,
            never = self.wake_tasks() => never,
        }
    }

    async fn wake_tasks<T>(&mut self) -> T {
        while let Ok(mut ready) = self.epoll.readable_mut().await {
            // Events may come without end. The tasks that they wake must have their turn too.
            consume_budget().await;
            let looked = ready.try_io(|epoll| {
                epoll.get_mut().poll(&mut self.events, Some(Duration::ZERO))?;
                // The runtime tells of an event once. So only a look that finds none may clear what it told.
                if self.events.is_empty() { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
            });
            let told = match looked {
                Ok(Ok(())) => dispatch(&self.events, None, |_, _, _| {}).map(drop),
                Ok(Err(error)) => Err(error),
                Err(_nothing_to_see) => Ok(()),
            };
            if let Err(error) = told {
                tracing::debug!(%error, "waiting for sockets failed");
            }
        }
        // The runtime is shutting down, and drops all tasks.
        pending().await
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::{
        io::Write as _,
        net::{TcpListener, TcpStream},
    };

    use tokio::{
        runtime::Builder,
        task::{JoinSet, yield_now},
        time::timeout,
    };

    use super::*;
    use crate::net::stream::sockets::Socket;

    #[test]
    fn every_task_is_woken_though_more_sockets_have_events_than_one_look_takes() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let all_read = async {
            let mut readers = JoinSet::new();
            let peers: Vec<_> = (0..2 * EVENTS)
                .map(|_| {
                    let peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
                    let ours = listener.accept().unwrap().0;
                    ours.set_nonblocking(true).unwrap();
                    let socket = Socket::new(mio::net::TcpStream::from_std(ours)).unwrap();
                    readers.spawn(async move { socket.peek().await });
                    peer
                })
                .collect();
            yield_now().await;
            for mut peer in &peers {
                peer.write_all(b"1").unwrap();
            }
            while let Some(byte) = readers.join_next().await {
                assert_eq!(byte.unwrap().unwrap(), Some(b'1'));
            }
        };
        Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
            let attended = Attendant::new().unwrap().attend(timeout(Duration::from_secs(10), all_read));
            attended.await.expect("every task is woken");
        });
    }
}
