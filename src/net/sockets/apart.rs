//! The sockets of tasks, apart from those of sessions, for a worker that lets sessions wait (`coalesce`): clients that connect, HTTP and
//! what other threads send do not wait with them.

use std::{
    io,
    os::fd::{AsFd, AsRawFd},
    time::Duration,
};

use mio::{Events, Interest, Poll as Epoll, Registry, Token, unix::SourceFd};
use rustix::event::{PollFd, PollFlags, poll};

/// In the epoll of all sockets: there are events in this one. No socket has this number.
pub(super) const TOKEN: Token = Token(usize::MAX - 2);
/// What the kernel tells at once, at most.
const EVENTS: usize = 64;

/// The epoll of these sockets, itself among all sockets of the worker.
#[derive(Debug)]
pub(in crate::net) struct Apart {
    epoll: Epoll,
    events: Events,
}

impl Apart {
    /// `all`: the worker's other sockets.
    pub(super) fn new(all: &Registry) -> io::Result<Self> {
        let epoll = Epoll::new()?;
        all.register(&mut SourceFd(&epoll.as_raw_fd()), TOKEN, Interest::READABLE)?;
        Ok(Self { epoll, events: Events::with_capacity(EVENTS) })
    }

    /// To register with it.
    pub(in crate::net) fn registry(&self) -> io::Result<Registry> {
        self.epoll.registry().try_clone()
    }

    /// Waits so long, or until there is an event.
    ///
    /// # Errors
    /// As poll(2).
    pub(in crate::net) fn wait(&self, time: Duration) -> io::Result<()> {
        // Not by the epoll's own timeout, which counts in milliseconds.
        let time = time.try_into().map_err(io::Error::other)?;
        let mut ready = [PollFd::from_borrowed_fd(self.epoll.registry().as_fd(), PollFlags::IN)];
        poll(&mut ready, Some(&time))?;
        Ok(())
    }

    /// Calls `each` with the events there are, in parts.
    ///
    /// # Errors
    /// As epoll_wait(2).
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
