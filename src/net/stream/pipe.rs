//! Payloads that pass from socket to socket without a copy: splice(2) through a pipe.
//!
//! A worker keeps a few empty pipes. A pipe with bytes in it belongs to its session until the last byte is out.

use std::{
    cell::{Cell, RefCell},
    io,
    os::fd::OwnedFd,
    task::{Context, Poll, ready},
};

use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};

use super::sockets::{Direction, Socket};

/// The size of a pipe, in bytes. It bounds what one splice moves, and what a session holds in a pipe for a slow side.
pub(super) const PIPE: usize = 256 * 1024;
/// The most empty pipes that a worker keeps.
const KEPT: usize = 16;
/// The most pipes of a worker, empty or not, two descriptors each. While there are so many, further payloads are copied.
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
pub(in crate::net) struct Piped {
    /// `None` once the pipe has gone back to the empty ones.
    pipe: Option<Pipe>,
    length: usize,
}

impl Piped {
    /// Takes an empty pipe. `None`: there are [`MOST`] already, or no descriptors are left.
    pub(in crate::net) fn new() -> Option<Self> {
        let pipe = EMPTY.with_borrow_mut(Vec::pop).or_else(Pipe::open)?;
        Some(Self { pipe: Some(pipe), length: 0 })
    }

    /// Bytes in the pipe.
    pub(in crate::net) const fn length(&self) -> usize {
        self.length
    }

    /// Moves at most `most` bytes from a socket into the pipe, which is empty. 0 = the socket's FIN.
    pub(in crate::net) fn poll_fill(&mut self, from: &Socket, most: u64, cx: &Context<'_>) -> Poll<io::Result<usize>> {
        let Some(pipe) = &self.pipe else { return Poll::Ready(Ok(0)) };
        let most = usize::try_from(most).map_or(PIPE, |most| most.min(PIPE));
        let taken = ready!(from.poll_call(Direction::In, cx, |from| {
            Ok(splice(from, None, &pipe.write, None, most, SpliceFlags::NONBLOCK | SpliceFlags::MOVE)?)
        }))?;
        self.length += taken;
        Poll::Ready(Ok(taken))
    }

    /// Moves the bytes of the pipe into a socket, as far as the socket takes them. Ready when the pipe is empty.
    pub(in crate::net) fn poll_empty(&mut self, to: &Socket, cx: &Context<'_>) -> Poll<io::Result<()>> {
        while self.length > 0 {
            let Some(pipe) = &self.pipe else { return Poll::Ready(Ok(())) };
            let most = self.length.min(to.most_at_once());
            let put = ready!(to.poll_call(Direction::Out, cx, |to| {
                Ok(splice(&pipe.read, None, to, None, most, SpliceFlags::NONBLOCK | SpliceFlags::MOVE)?)
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
        // A pipe with bytes in it is closed: it would give these bytes to another session.
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
        // If the user's pipes have used up the pages that the kernel allows, this pipe stays small and works all the same.
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
