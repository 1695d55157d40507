//! Payloads that pass from socket to socket without being copied: splice(2) through a pipe.
//!
//! A worker keeps a few empty pipes. One with bytes in it belongs to its session until the last byte is out.

use std::{
    cell::{Cell, RefCell},
    io,
    os::fd::OwnedFd,
    task::{Context, Poll, ready},
};

use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};

use super::sockets::{Direction, Socket};

/// What a pipe takes; bounds what one splice moves, and what a session holds for a side that does not take it.
pub(super) const PIPE: usize = 256 * 1024;
/// Empty pipes that a worker keeps.
const KEPT: usize = 16;
/// Pipes of a worker, empty or not, two descriptors each; further payloads are copied.
const MOST: usize = 256;

thread_local! {
    static EMPTY: RefCell<Vec<Pipe>> = const { RefCell::new(Vec::new()) };
    static COUNT: Cell<usize> = const { Cell::new(0) };
}

#[derive(Debug)]
struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
}

/// A pipe with bytes on their way between two sockets.
#[derive(Debug)]
pub(super) struct Piped {
    /// Taken out when empty, to be kept for others.
    pipe: Option<Pipe>,
    length: usize,
}

impl Piped {
    /// An empty pipe; `None` where there is none to be had.
    pub(super) fn new() -> Option<Self> {
        let pipe = EMPTY.with_borrow_mut(Vec::pop).or_else(Pipe::open)?;
        Some(Self { pipe: Some(pipe), length: 0 })
    }

    /// Bytes in it.
    pub(super) const fn length(&self) -> usize {
        self.length
    }

    /// Takes at most `most` bytes out of a socket, into an empty pipe. 0 = its FIN.
    pub(super) fn poll_fill(&mut self, from: &Socket, most: u64, cx: &Context<'_>) -> Poll<io::Result<usize>> {
        let Some(pipe) = &self.pipe else { return Poll::Ready(Ok(0)) };
        let most = usize::try_from(most).map_or(PIPE, |most| most.min(PIPE));
        let taken = ready!(from.poll_call(Direction::In, cx, |from| {
            Ok(splice(from, None, &pipe.write, None, most, SpliceFlags::NONBLOCK | SpliceFlags::MOVE)?)
        }))?;
        self.length += taken;
        Poll::Ready(Ok(taken))
    }

    /// Puts what is in it into a socket, as far as that takes it; ready when all is out.
    pub(super) fn poll_empty(&mut self, to: &Socket, cx: &Context<'_>) -> Poll<io::Result<()>> {
        while self.length > 0 {
            let Some(pipe) = &self.pipe else { return Poll::Ready(Ok(())) };
            let put = ready!(to.poll_call(Direction::Out, cx, |to| {
                Ok(splice(&pipe.read, None, to, None, self.length, SpliceFlags::NONBLOCK | SpliceFlags::MOVE)?)
            }))?;
            if put == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.length -= put;
        }
        Poll::Ready(Ok(()))
    }
}

impl Drop for Piped {
    fn drop(&mut self) {
        // One with bytes in it would give them to another session.
        let Some(pipe) = self.pipe.take_if(|_| self.length == 0) else { return };
        let _ = EMPTY.try_with(|empty| {
            let mut empty = empty.borrow_mut();
            if empty.len() < KEPT {
                empty.push(pipe);
            }
        });
    }
}

impl Pipe {
    fn open() -> Option<Self> {
        if COUNT.get() >= MOST {
            return None;
        }
        let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).ok()?;
        // Where the user's pipes have used up their pages, a pipe stays small, and works.
        let _ = fcntl_setpipe_size(&write, PIPE);
        COUNT.set(COUNT.get() + 1);
        Some(Self { read, write })
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        let _ = COUNT.try_with(|count| count.set(count.get() - 1));
    }
}
