//! A stream in memory, for tests: two ends, and between them each way a buffer with little room.
//!
//! An end that finds no bytes or no room keeps the waker of the poll. The other end wakes it, from its own task or thread.

use std::{
    collections::VecDeque,
    io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::socketless::Duplex;
use crate::ws::progress::Progress;

/// One end of a stream in memory. To drop it ends what it sends, and nothing can be sent to it any more.
#[derive(Debug)]
pub(in crate::net) struct MemoryEnd {
    from: Arc<Mutex<OneWay>>,
    to: Arc<Mutex<OneWay>>,
}

/// The bytes on their way from one end to the other.
#[derive(Debug)]
struct OneWay {
    bytes: VecDeque<u8>,
    /// The most bytes that wait to be taken.
    room: usize,
    /// How many bytes were taken.
    taken: u64,
    /// No more bytes come.
    is_finished: bool,
    /// What is sent would reach nobody, and what was sent ends without an end.
    is_broken: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

/// Both ends of a stream with room for so many bytes each way.
pub(in crate::net) fn stream(room: usize) -> (MemoryEnd, MemoryEnd) {
    let way = || {
        let (is_finished, is_broken) = (false, false);
        let bytes = VecDeque::new();
        Arc::new(Mutex::new(OneWay { bytes, room, taken: 0, is_finished, is_broken, reader: None, writer: None }))
    };
    let (there, back) = (way(), way());
    (MemoryEnd { from: Arc::clone(&back), to: Arc::clone(&there) }, MemoryEnd { from: there, to: back })
}

/// Breaks what an end sends: behind the bytes that are there, the other end reads an error.
#[derive(Debug)]
pub(in crate::net) struct Breaker(Arc<Mutex<OneWay>>);

impl MemoryEnd {
    pub(in crate::net) fn breaker(&self) -> Breaker {
        Breaker(Arc::clone(&self.to))
    }
}

impl Breaker {
    pub(in crate::net) fn break_off(self) {
        let mut way = lock(&self.0);
        way.is_broken = true;
        way.wake();
    }
}

impl OneWay {
    fn wake(&mut self) {
        [self.reader.take(), self.writer.take()].into_iter().flatten().for_each(Waker::wake);
    }
}

impl Duplex for MemoryEnd {
    fn progress(&self) -> Progress {
        let way = lock(&self.to);
        Progress { acknowledged: way.taken, unsent: way.bytes.len() as u64 }
    }
}

impl AsyncRead for MemoryEnd {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut way = lock(&self.from);
        if way.bytes.is_empty() {
            if way.is_broken {
                return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
            }
            if way.is_finished {
                return Poll::Ready(Ok(()));
            }
            way.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let (front, _) = way.bytes.as_slices();
        let length = front.len().min(buffer.remaining());
        buffer.put_slice(&front[..length]);
        way.bytes.drain(..length);
        way.taken += length as u64;
        way.wake();
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for MemoryEnd {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut way = lock(&self.to);
        if way.is_finished || way.is_broken {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let length = bytes.len().min(way.room - way.bytes.len());
        if length == 0 && !bytes.is_empty() {
            way.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        way.bytes.extend(&bytes[..length]);
        way.wake();
        Poll::Ready(Ok(length))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut way = lock(&self.to);
        way.is_finished = true;
        way.wake();
        Poll::Ready(Ok(()))
    }
}

impl Drop for MemoryEnd {
    fn drop(&mut self) {
        let mut to = lock(&self.to);
        to.is_finished = true;
        to.wake();
        drop(to);
        let mut from = lock(&self.from);
        from.is_broken = true;
        from.wake();
    }
}

fn lock(way: &Mutex<OneWay>) -> MutexGuard<'_, OneWay> {
    way.lock().unwrap_or_else(PoisonError::into_inner)
}
