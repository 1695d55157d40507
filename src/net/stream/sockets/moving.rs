//! A socket that leaves its thread, and belongs to another one from then on.
//!
//! No event is lost by that: a socket that enters a thread may be tried at once in both directions, and the kernel announces what is
//! there already as if it had just come.

use std::{io, os::fd::AsRawFd as _, sync::atomic::Ordering::Relaxed};

use mio::{Interest, unix::SourceFd};

use super::{READABLE, Slot, Socket, WRITABLE, with_table};

impl Socket {
    /// The key of a socket that belongs to no thread. No table has it: a process does not have four billion sockets.
    const NOWHERE: u32 = u32::MAX;

    /// Takes the socket away from this thread. Until it enters a thread, nobody is told of its events, and nothing of it can be
    /// waited for.
    ///
    /// # Errors
    /// The kernel does not let go of it, or this thread does not have it. Then nothing has changed.
    pub(in crate::net) fn leave_thread(&mut self) -> io::Result<()> {
        let slot = with_table(|table| {
            let slot = table.slots.get(self.key as usize).ok_or(io::ErrorKind::NotFound)?;
            let registry = match (slot, &table.apart) {
                (Slot::Task { .. }, Some(apart)) => apart,
                _ => &table.registry,
            };
            registry.deregister(&mut SourceFd(&self.fd.as_raw_fd()))?;
            Ok(table.slots.remove(self.key as usize))
        })?;
        // Outside the borrow of the table: the last waker of a task may drop the task.
        drop(slot);
        self.key = Self::NOWHERE;
        self.ready.store(0, Relaxed);
        Ok(())
    }

    /// From now on, the socket is among those of this thread. It has left the one where it was.
    ///
    /// # Errors
    /// The kernel does not take it, or this thread has no sockets.
    pub(in crate::net) fn enter_thread(&mut self) -> io::Result<()> {
        let socket = &mut SourceFd(&self.fd.as_raw_fd());
        self.key =
            with_table(|table| table.register(socket, Interest::READABLE | Interest::WRITABLE, READABLE | WRITABLE))?;
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::{
        io::Write as _,
        net::{TcpListener, TcpStream},
        thread,
        time::Duration,
    };

    use tokio::{runtime::Builder, time::timeout};

    use super::*;
    use crate::net::stream::sockets::Attendant;

    /// Runs `work` on a thread that has sockets.
    fn on_a_thread<T: Send>(work: impl AsyncFnOnce() -> T + Send) -> T {
        let run = || {
            Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
                let work = timeout(Duration::from_secs(10), work());
                Attendant::new().unwrap().attend(work).await.expect("the test goes on")
            })
        };
        thread::scope(|scope| scope.spawn(run).join().unwrap())
    }

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let far = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let near = listener.accept().unwrap().0;
        near.set_nonblocking(true).unwrap();
        (near, far)
    }

    #[test]
    fn what_comes_before_between_and_after_is_read_by_the_other_thread() {
        let (near, mut far) = pair();
        let mut socket = on_a_thread(async || {
            let mut socket = Socket::new(mio::net::TcpStream::from_std(near)).unwrap();
            far.write_all(b"1").unwrap();
            assert_eq!(socket.peek().await.unwrap(), Some(b'1'));
            far.write_all(b"2").unwrap();
            socket.leave_thread().unwrap();
            socket
        });
        far.write_all(b"3").unwrap();
        on_a_thread(async || {
            socket.enter_thread().unwrap();
            let mut read = Vec::new();
            while read.len() < 4 {
                let mut bytes = [0; 8];
                let count = std::future::poll_fn(|cx| socket.poll_recv(cx, &mut bytes)).await.unwrap();
                read.extend_from_slice(&bytes[..count]);
                if read == b"123" {
                    far.write_all(b"4").unwrap();
                }
            }
            assert_eq!(read, b"1234");
            drop(far);
            assert_eq!(socket.peek().await.unwrap(), None);
        });
    }

    #[test]
    fn a_socket_between_two_threads_takes_no_place_of_another_one() {
        let ((near, _far), (other, mut far)) = (pair(), pair());
        on_a_thread(async || {
            let mut socket = Socket::new(mio::net::TcpStream::from_std(near)).unwrap();
            socket.leave_thread().unwrap();
            let other = Socket::new(mio::net::TcpStream::from_std(other)).unwrap();
            assert!(socket.leave_thread().is_err());
            drop(socket);
            far.write_all(b"1").unwrap();
            assert_eq!(other.peek().await.unwrap(), Some(b'1'));
        });
    }
}
