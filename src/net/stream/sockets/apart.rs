//! The sockets of tasks, apart from those of sessions, for a worker whose sessions wait to be read together
//! (`coalesce`). Clients that connect, HTTP and what other threads send do not wait with the sessions.

use std::{
    io,
    os::fd::{AsFd, AsRawFd},
    time::Duration,
};

use mio::{Events, Interest, Poll as Epoll, Registry, Token, unix::SourceFd};
use rustix::event::{PollFd, PollFlags, poll};

/// In the epoll of all sockets, this token says that the epoll here has events. No socket has this number.
pub(super) const TOKEN: Token = Token(usize::MAX - 2);
/// The most events that one look at the epoll takes.
const EVENTS: usize = 64;

/// The epoll of tasks' sockets. It is itself in the epoll of all sockets of the worker.
#[derive(Debug)]
pub(in crate::net) struct Apart {
    epoll: Epoll,
    events: Events,
}

impl Apart {
    /// `all`: the epoll of all sockets of the worker.
    pub(super) fn new(all: &Registry) -> io::Result<Self> {
        let epoll = Epoll::new()?;
        all.register(&mut SourceFd(&epoll.as_raw_fd()), TOKEN, Interest::READABLE)?;
        Ok(Self { epoll, events: Events::with_capacity(EVENTS) })
    }

    /// Where to register a socket with this epoll.
    pub(in crate::net) fn registry(&self) -> io::Result<Registry> {
        self.epoll.registry().try_clone()
    }

    /// Waits for `time`, or until there is an event.
    ///
    /// # Errors
    /// Those of poll(2).
    pub(in crate::net) fn wait(&self, time: Duration) -> io::Result<()> {
        // The timeout of epoll_wait(2) counts in milliseconds, which is too coarse.
        let time = time.try_into().map_err(io::Error::other)?;
        let mut ready = [PollFd::from_borrowed_fd(self.epoll.registry().as_fd(), PollFlags::IN)];
        poll(&mut ready, Some(&time))?;
        Ok(())
    }

    /// Takes all events that are there, and calls `each` with up to [`EVENTS`] of them at a time.
    ///
    /// # Errors
    /// Those of epoll_wait(2).
    pub(super) fn take(&mut self, mut each: impl FnMut(&Events)) -> io::Result<()> {
        loop {
            self.epoll.poll(&mut self.events, Some(Duration::ZERO))?;
            each(&self.events);
            if self.events.iter().count() < EVENTS {
                return Ok(());
            }
        }
    }
}
