//! The sockets of a worker, TCP and Unix, in an epoll of their own that the runtime watches as one descriptor.
//!
//! A socket of the runtime costs 256 B and wakes a task for each event. A socket here costs 28 B, and its events go
//! straight to its session ([`crate::net::session::sessions`]). A socket here wakes a task only while hyper still speaks
//! HTTP on it, or if it is a listener.
//!
//! A socket belongs to the thread that registered it: a worker's tasks never leave their thread. Only a client that comes back
//! may change its thread (`moving`). The background thread has sockets of its own for the checks of backends ([`Attendant`]).

use std::{
    cell::RefCell,
    future::poll_fn,
    io, mem,
    net::SocketAddr,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
        unix::net::UnixStream,
    },
    pin::Pin,
    sync::atomic::{AtomicU8, Ordering::Relaxed},
    task::{Context, Poll, Waker, ready},
};

use mio::{Events, Interest, Poll as Epoll, Registry, Token, event::Source, net::TcpStream, unix::SourceFd};
use rustix::{
    buffer::spare_capacity,
    io::{Errno, ioctl_fionread},
    net::{RecvFlags, SendAncillaryBuffer, SendFlags, Shutdown, recv, send, sendmsg, shutdown},
};
use slab::Slab;
use socket2::{Domain, SockAddr, SockRef, Type};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, unix::AsyncFd};

use super::{calls::SessionKey, options};
use crate::{
    config::Tcp,
    net::{libc_calls, thread::door},
    ws::{Side, progress::Progress},
};

mod apart;
mod listening;
mod moving;
mod tasks;

pub(in crate::net) use self::{
    apart::Apart,
    listening::{BoundSocket, ListeningSocket},
    tasks::Attendant,
};

thread_local! {
    static TABLE: RefCell<Option<Table>> = const { RefCell::new(None) };
    /// A small read, or a read for a buffer that nobody has initialised, goes here first and is then copied.
    static HEADS: RefCell<[u8; HEAD]> = const { RefCell::new([0; HEAD]) };
}

/// The sockets of this thread, by their tokens.
struct Table {
    registry: Registry,
    /// The epoll for the sockets of tasks, if it is apart from that of sessions.
    apart: Option<Registry>,
    slots: Slab<Slot>,
    /// How many times a task was woken in this wake-up of the worker.
    woken: usize,
}

impl Table {
    /// Returns the key of a new socket. `ready`: what may be tried before an event says so.
    fn register(&mut self, socket: &mut impl Source, interest: Interest, ready: u8) -> io::Result<u32> {
        let slot = self.slots.vacant_entry();
        let token = slot.key();
        let key = u32::try_from(token).map_err(io::Error::other)?;
        self.apart.as_ref().unwrap_or(&self.registry).register(socket, Token(token), interest)?;
        slot.insert(Slot::Task { ready: Ready(ready), waker: None });
        Ok(key)
    }

    /// Moves the socket of a task to the epoll of sessions. If the kernel refuses, the socket's events go on coming
    /// through the epoll of tasks.
    fn bring_in(&self, key: u32, socket: &OwnedFd) -> io::Result<()> {
        let Some(apart) = &self.apart else { return Ok(()) };
        let socket = &mut SourceFd(&socket.as_raw_fd());
        self.registry.register(socket, Token(key as usize), Interest::READABLE | Interest::WRITABLE)?;
        apart.deregister(socket)
    }

    /// Calls `leave` and frees a key. Does nothing at the end of the thread, when the table is gone.
    fn forget(key: u32, leave: impl FnOnce(&Registry)) {
        let _ = TABLE.try_with(|table| {
            let slot = table.borrow_mut().as_mut().and_then(|table| {
                leave(table.apart.as_ref().unwrap_or(&table.registry));
                table.slots.try_remove(key as usize)
            });
            // The slot is dropped after the borrow of the table: the last waker of a task may drop the task, which may
            // need the table.
            drop(slot);
        });
    }
}

/// Who gets the events of a socket.
enum Slot {
    /// One task at a time, which any event wakes. `ready` holds what events have said, because only the task has the
    /// socket itself.
    Task { ready: Ready, waker: Option<Box<Waker>> },
    /// A side of a session of this worker. What events have said goes to the socket itself.
    Session { session: SessionKey, side: Side },
}

impl Slot {
    /// Notes that a call found the socket not ready.
    const fn clear(&mut self, flag: u8) {
        if let Self::Task { ready, .. } = self {
            ready.0 &= !flag;
        }
    }
}

/// What may be tried without waiting. This is a hint: only the call itself is sure.
#[derive(Debug, Clone, Copy)]
pub(in crate::net) struct Ready(u8);

const READABLE: u8 = 1;
const WRITABLE: u8 = 2;
/// An event has announced a FIN or an error. From then on, a short read does not mean that nothing is left to read.
const ENDED: u8 = 4;
/// The socket is a session's: the socket itself knows what may be tried.
const OF_SESSION: u8 = 8;
/// The socket has refused bytes before.
const HAS_REFUSED: u8 = 16;
/// Everything that came before the announced end has been read.
const EMPTIED: u8 = 32;

/// The size of [`HEADS`], in bytes. Most heads of requests and answers are shorter.
const HEAD: usize = 4096;

/// The most bytes that one call puts into a Unix socket that has refused some before. The kernel counts as unread what one
/// call has put there until all of it is read ([`Progress::of_queue`]). So a slow side is seen to read in steps of this
/// size.
const UNIX_PIECE: usize = 16 * 1024;

/// The epolls of a worker.
#[derive(Debug)]
pub(in crate::net) struct Epolls {
    /// The epoll of all sockets. It is to be polled whenever it is readable, and its events go to [`dispatch`].
    pub(in crate::net) all: Epoll,
    pub(in crate::net) apart: Option<Apart>,
}

/// Makes this thread's table. `tasks_apart`: the sockets of tasks get an epoll of their own within the other.
///
/// # Errors
/// Out of descriptors.
pub(in crate::net) fn open(tasks_apart: bool) -> io::Result<Epolls> {
    let all = Epoll::new()?;
    let apart = tasks_apart.then(|| Apart::new(all.registry())).transpose()?;
    let registry = all.registry().try_clone()?;
    let apart_registry = apart.as_ref().map(Apart::registry).transpose()?;
    TABLE.set(Some(Table { registry, apart: apart_registry, slots: Slab::new(), woken: 0 }));
    Ok(Epolls { all, apart })
}

/// Lets the runtime watch for what can be read of a descriptor, until it is dropped.
///
/// # Errors
/// The runtime takes no more.
pub(in crate::net) fn watch<T: AsRawFd>(owner: T) -> io::Result<AsyncFd<T>> {
    #[expect(deprecated, reason = "its successor is unsafe, for types that do not own what they name; mio's do")]
    AsyncFd::with_interest(owner, tokio::io::Interest::READABLE)
}

/// A wake-up of the worker begins.
pub(in crate::net) fn begin_wake_up() {
    TABLE.with_borrow_mut(|table| {
        if let Some(table) = table {
            table.woken = 0;
        }
    });
}

/// Whether events of this wake-up woke more than one task of this worker.
pub(in crate::net) fn wakes_several() -> bool {
    TABLE.with_borrow(|table| table.as_ref().is_some_and(|table| table.woken > 1))
}

/// Notes events, wakes their tasks, and calls `session_is_ready` for each event of a session, for [`Socket::note`].
/// Returns whether a task was woken here, or another thread has knocked and so has woken one.
///
/// # Errors
/// Those of epoll_wait(2) on the sockets of tasks.
pub(in crate::net) fn dispatch(
    events: &Events,
    apart: Option<&mut Apart>,
    mut session_is_ready: impl FnMut(SessionKey, Side, Ready),
) -> io::Result<bool> {
    let mut has_woken = note(events, &mut session_is_ready);
    if let Some(apart) = apart
        && events.iter().any(|event| event.token() == apart::TOKEN)
    {
        apart.take(|events| has_woken |= note(events, &mut session_is_ready))?;
    }
    Ok(has_woken)
}

fn note(events: &Events, session_is_ready: &mut impl FnMut(SessionKey, Side, Ready)) -> bool {
    let mut has_woken = false;
    TABLE.with_borrow_mut(|table| {
        let Some(table) = table else { return };
        for event in events {
            let mut ready = 0;
            if event.is_readable() {
                ready |= READABLE;
            }
            if event.is_writable() {
                ready |= WRITABLE;
            }
            if event.is_read_closed() || event.is_write_closed() || event.is_error() {
                ready |= READABLE | WRITABLE | ENDED;
            }
            match table.slots.get_mut(event.token().0) {
                // A task waits only for what is not known yet.
                Some(Slot::Task { ready: known, waker }) if ready & !known.0 != 0 => {
                    known.0 |= ready;
                    if let Some(waker) = waker {
                        waker.wake_by_ref();
                        has_woken = true;
                        table.woken += 1;
                    }
                }
                Some(Slot::Session { session, side }) => session_is_ready(*session, *side, Ready(ready)),
                Some(Slot::Task { .. }) => {}
                None => has_woken |= event.token() == door::TOKEN,
            }
        }
    });
    has_woken
}

/// A connected socket that never blocks. To move bytes, TCP and Unix sockets take the same calls.
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
    /// The key in the table of the thread.
    key: u32,
    /// Whether it is a Unix socket. Such a socket has no options of TCP, and says in another way what was taken.
    is_unix: bool,
    /// What may be tried, once the socket is a session's. Atomic only because the compiler asks for `Sync`: one thread at a
    /// time has the socket.
    ready: AtomicU8,
}

impl Socket {
    /// Registers a connected TCP socket with this thread.
    ///
    /// # Errors
    /// The kernel does not take it, or this thread has no sockets.
    pub(in crate::net) fn new(stream: TcpStream) -> io::Result<Self> {
        Self::register(stream.into(), false, WRITABLE)
    }

    /// The same for a Unix socket, which must not block.
    ///
    /// # Errors
    /// Those of [`Self::new`].
    pub(in crate::net) fn new_unix(stream: UnixStream) -> io::Result<Self> {
        Self::register(stream.into(), true, WRITABLE)
    }

    /// Connects. The socket has default options, but for `TCP_NODELAY`.
    ///
    /// # Errors
    /// Those of connect(2).
    pub(in crate::net) async fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        let socket = Self::register(stream.into(), false, 0)?;
        poll_fn(|cx| socket.poll_ready(cx, WRITABLE)).await;
        let failed = socket.task_ready(|ready| ready.0 & ENDED != 0).unwrap_or(true);
        match failed.then(|| SockRef::from(&socket.fd).take_error()).transpose()?.flatten() {
            None => Ok(socket),
            Some(error) => Err(error),
        }
    }

    /// Connects to a Unix socket, at once or not at all.
    ///
    /// # Errors
    /// Those of connect(2). `WouldBlock`: the backlog is full. No event tells when it has room.
    pub(in crate::net) fn connect_unix(address: &SockAddr) -> io::Result<Self> {
        let socket = socket2::Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None)?;
        socket.connect(address)?;
        Self::new_unix(OwnedFd::from(socket).into())
    }

    /// Sets the file's `tcp` options. A Unix socket has none.
    ///
    /// # Errors
    /// Those of setsockopt(2).
    pub(in crate::net) fn set_options(&self, tcp: &Tcp) -> io::Result<()> {
        if self.is_unix { Ok(()) } else { options::set_options(&self.fd, tcp) }
    }

    /// Lets the kernel send nothing by itself while nothing is under way. A Unix socket never does.
    ///
    /// # Errors
    /// Those of setsockopt(2).
    pub(in crate::net) fn stop_keepalive(&self) -> io::Result<()> {
        if self.is_unix { Ok(()) } else { SockRef::from(&self.fd).set_keepalive(false) }
    }

    /// From now on, events of this socket are for this side of a session of this worker.
    pub(in crate::net) fn give_to(&self, session: SessionKey, side: Side) {
        let is_new = self.ready.load(Relaxed) & OF_SESSION == 0;
        if is_new && let Err(error) = with_table(|table| table.bring_in(self.key, &self.fd)) {
            tracing::debug!(%error, "the socket of a session is not among those of sessions");
        }
        self.with_slot(|slot| {
            if let Slot::Task { ready, .. } = slot {
                self.ready.store(ready.0 | OF_SESSION, Relaxed);
            }
            *slot = Slot::Session { session, side };
        });
    }

    /// From now on, events of this socket wake a task, if they do not already. It stays in the epoll where it is.
    pub(in crate::net) fn give_to_task(&self) {
        let ready = self.ready.swap(0, Relaxed);
        if ready & OF_SESSION == 0 {
            return;
        }
        let _earlier = self.with_slot(|slot| {
            let task = Slot::Task { ready: Ready(ready & (READABLE | WRITABLE | ENDED)), waker: None };
            mem::replace(slot, task)
        });
    }

    /// Notes what events have said of a session's socket.
    pub(in crate::net) fn note(&self, ready: Ready) {
        self.ready.store(self.ready.load(Relaxed) | ready.0, Relaxed);
    }

    /// Lets a read be tried, though no event has announced anything to read.
    pub(in crate::net) fn doubt_dryness(&self) {
        self.note(Ready(READABLE));
    }

    /// Whether a session's socket has nothing to read for now.
    pub(in crate::net) fn is_dry(&self) -> bool {
        self.ready.load(Relaxed) & READABLE == 0
    }

    /// Notes that a session's socket has refused bytes. From the first time on, the kernel keeps few unsent bytes for it.
    /// The queue of a Unix socket is short from the start (`net.core.wmem_default`).
    pub(in crate::net) fn note_refusal(&self) {
        let known = self.ready.load(Relaxed);
        if known & HAS_REFUSED != 0 {
            return;
        }
        self.ready.store(known | HAS_REFUSED, Relaxed);
        if !self.is_unix
            && let Err(error) = options::keep_unsent_short(&self.fd)
        {
            tracing::debug!(%error, "the kernel keeps as much unsent as it likes");
        }
    }

    /// How much of what was written the other end has taken.
    pub(in crate::net) fn progress(&self) -> Progress {
        if self.is_unix { libc_calls::unix_progress(&self.fd) } else { libc_calls::tcp_progress(&self.fd) }
    }

    /// How many of the written bytes the other end of a TCP connection has not acknowledged. Of a Unix socket, the kernel counts
    /// more than the bytes, so that nothing is said.
    pub(super) fn unacknowledged(&self) -> u64 {
        if self.is_unix { 0 } else { libc_calls::unacknowledged(&self.fd) }
    }

    /// The most bytes that one call may put into the socket.
    pub(super) fn most_at_once(&self) -> usize {
        if self.is_unix && self.ready.load(Relaxed) & HAS_REFUSED != 0 { UNIX_PIECE } else { usize::MAX }
    }

    /// Reads what is there, at most `buffer.len()` bytes. 0 = the other end's FIN, unless `buffer` is empty.
    pub(in crate::net) fn poll_recv(&self, cx: &Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        // recv(2) by rustix: the standard library goes through libc, which costs more than everything around the call.
        let read = ready!(
            self.poll_call(Direction::In, cx, |socket| { Ok(recv(socket, &mut *buffer, RecvFlags::empty())?.1) })
        )?;
        if 0 < read && read < buffer.len() {
            self.note_exhausted(READABLE);
        }
        Poll::Ready(Ok(read))
    }

    /// Reads what is there, at most `most` bytes, into a buffer that is not much longer than what was read. Empty = a FIN.
    pub(in crate::net) fn poll_take(&self, cx: &Context<'_>, most: usize) -> Poll<io::Result<Vec<u8>>> {
        if most <= HEAD {
            // To copy so few bytes costs less than to make a large buffer and cut it to their length.
            return HEADS.with_borrow_mut(|head| {
                let read = ready!(self.poll_recv(cx, &mut head[..most]))?;
                Poll::Ready(Ok(head[..read].to_vec()))
            });
        }
        let mut bytes = Vec::new();
        let read = ready!(self.poll_call(Direction::In, cx, |socket| {
            bytes.reserve_exact(most);
            Ok(recv(socket, spare_capacity(&mut bytes), RecvFlags::empty())?.0)
        }))?;
        if 0 < read && read < most {
            self.note_exhausted(READABLE);
        }
        bytes.shrink_to_fit();
        Poll::Ready(Ok(bytes))
    }

    /// Whether something has come that nobody has read: bytes, a FIN or an error.
    pub(in crate::net) fn has_news(&self) -> bool {
        // While no event has come since the last read, there is nothing to ask the kernel.
        if self.task_ready(|ready| ready.0 & READABLE == 0) == Some(true) {
            return false;
        }
        match recv(&self.fd, &mut [0; 1][..], RecvFlags::PEEK | RecvFlags::DONTWAIT) {
            Err(Errno::AGAIN) => {
                self.clear(READABLE);
                false
            }
            _ => true,
        }
    }

    /// From now on, events of this socket wake `watcher`, until a task waits for the socket itself.
    pub(in crate::net) fn watch_by(&self, watcher: &Waker) {
        let _earlier = self.with_slot(|slot| match slot {
            Slot::Task { waker, .. } => replace(waker, watcher),
            Slot::Session { .. } => None,
        });
    }

    /// Waits for the first byte, and leaves it unread. `None`: the other end has sent its FIN and no byte.
    pub(in crate::net) async fn peek(&self) -> io::Result<Option<u8>> {
        let mut byte = [0];
        let length = poll_fn(|cx| self.poll_peek(cx, &mut byte)).await?;
        Ok((length > 0).then_some(byte[0]))
    }

    /// Looks at what is there, at most `buffer.len()` bytes, and leaves it unread. 0 = the other end's FIN.
    pub(in crate::net) fn poll_peek(&self, cx: &Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        self.poll_call(Direction::In, cx, |socket| Ok(recv(socket, &mut *buffer, RecvFlags::PEEK)?.1))
    }

    /// The address of this end.
    ///
    /// # Errors
    /// Those of getsockname(2). A Unix socket has no such address.
    pub(in crate::net) fn local_address(&self) -> io::Result<SocketAddr> {
        SockRef::from(&self.fd).local_addr()?.as_socket().ok_or_else(|| io::ErrorKind::AddrNotAvailable.into())
    }

    /// Whether bytes of the other end are unread in a session's socket. To close the socket would then send a reset.
    pub(in crate::net) fn has_unread(&self) -> bool {
        let is_emptied = self.ready.load(Relaxed) & EMPTIED != 0;
        !is_emptied && ioctl_fionread(&self.fd).map_or(true, |unread| unread > 0)
    }

    /// Moves bytes by `call` as soon as the socket is ready for it. `Pending`: the socket is not ready in this direction.
    pub(super) fn poll_call(
        &self,
        direction: Direction,
        cx: &Context<'_>,
        mut call: impl FnMut(&OwnedFd) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        let flag = direction.flag();
        loop {
            ready!(self.poll_ready(cx, flag));
            match call(&self.fd) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.clear(flag),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return Poll::Ready(result),
            }
        }
    }

    fn register(fd: OwnedFd, is_unix: bool, ready: u8) -> io::Result<Self> {
        let socket = &mut SourceFd(&fd.as_raw_fd());
        let key = with_table(|table| table.register(socket, Interest::READABLE | Interest::WRITABLE, ready))?;
        Ok(Self { fd, key, is_unix, ready: AtomicU8::new(0) })
    }

    /// Whether something may be tried. If not, the task or the session is told when it may.
    fn poll_ready(&self, cx: &Context<'_>, flag: u8) -> Poll<()> {
        let ready = self.ready.load(Relaxed);
        if ready & flag != 0 {
            return Poll::Ready(());
        }
        if ready & OF_SESSION != 0 { Poll::Pending } else { poll_task_ready(self.key, cx, flag) }
    }

    fn clear(&self, flag: u8) {
        let ready = self.ready.load(Relaxed);
        if ready & OF_SESSION != 0 {
            return self.ready.store(ready & !flag, Relaxed);
        }
        self.with_slot(|slot| slot.clear(flag));
    }

    /// Notes that a call moved less than it could: nothing is left to move, and no second call has to find that out. If
    /// an end was announced, the socket stays ready, because the kernel does not announce the end again.
    ///
    /// A read of a Unix socket says nothing: it also ends behind bytes that came with descriptors, and before bytes that are
    /// out of band.
    fn note_exhausted(&self, flag: u8) {
        if self.is_unix && flag == READABLE {
            return;
        }
        let ready = self.ready.load(Relaxed);
        if ready & OF_SESSION != 0 {
            if ready & ENDED == 0 {
                self.ready.store(ready & !flag, Relaxed);
            } else if flag == READABLE {
                self.ready.store(ready | EMPTIED, Relaxed);
            }
            return;
        }
        self.task_ready(|ready| {
            if ready.0 & ENDED == 0 {
                ready.0 &= !flag;
            }
        });
    }

    /// Changes or reads what is known of a task's socket. `None`: the socket is a session's.
    fn task_ready<R>(&self, act: impl FnOnce(&mut Ready) -> R) -> Option<R> {
        self.with_slot(|slot| match slot {
            Slot::Task { ready, .. } => Some(act(ready)),
            Slot::Session { .. } => None,
        })?
    }

    fn with_slot<R>(&self, act: impl FnOnce(&mut Slot) -> R) -> Option<R> {
        with_slot(self.key, act)
    }
}

fn with_table<R>(act: impl FnOnce(&mut Table) -> io::Result<R>) -> io::Result<R> {
    TABLE.with_borrow_mut(|table| act(table.as_mut().ok_or_else(|| io::Error::other("this thread has no sockets"))?))
}

fn with_slot<R>(key: u32, act: impl FnOnce(&mut Slot) -> R) -> Option<R> {
    TABLE.with_borrow_mut(|table| table.as_mut()?.slots.get_mut(key as usize).map(act))
}

/// Whether a task may try something. If not, the task is woken when it may.
#[inline(never)]
fn poll_task_ready(key: u32, cx: &Context<'_>, flag: u8) -> Poll<()> {
    let polled = with_slot(key, |slot| match slot {
        Slot::Task { ready, .. } if ready.0 & flag != 0 => (Poll::Ready(()), None),
        Slot::Task { waker, .. } => (Poll::Pending, replace(waker, cx.waker())),
        Slot::Session { .. } => (Poll::Pending, None),
    });
    polled.map_or(Poll::Pending, |(polled, _earlier)| polled)
}

/// Puts `waker` in `place`, unless it wakes the same task. Returns the earlier waker, to be dropped after the borrow of
/// the table: the last waker of a task may drop the task.
fn replace(place: &mut Option<Box<Waker>>, waker: &Waker) -> Option<Waker> {
    match place {
        Some(earlier) if earlier.will_wake(waker) => None,
        Some(earlier) => Some(mem::replace(&mut **earlier, waker.clone())),
        None => {
            *place = Some(Box::new(waker.clone()));
            None
        }
    }
}

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    /// Out of the socket.
    In,
    /// Into the socket.
    Out,
}

impl Direction {
    const fn flag(self) -> u8 {
        match self {
            Self::In => READABLE,
            Self::Out => WRITABLE,
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // Closing takes the socket out of the epoll.
        Table::forget(self.key, |_| ());
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_ready(cx, READABLE));
        if buffer.initialized().len() > buffer.filled().len() {
            let read = ready!(self.poll_recv(cx, buffer.initialize_unfilled()))?;
            buffer.advance(read);
            return Poll::Ready(Ok(()));
        }
        // hyper's buffer is new and not initialised: to copy a head into it costs a tenth of filling the buffer with zeros.
        HEADS.with_borrow_mut(|head| {
            let room = buffer.remaining().min(HEAD);
            let read = ready!(self.poll_recv(cx, &mut head[..room]))?;
            buffer.put_slice(&head[..read]);
            Poll::Ready(Ok(()))
        })
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let bytes = &bytes[..bytes.len().min(self.most_at_once())];
        let written =
            ready!(self.poll_call(Direction::Out, cx, |socket| Ok(send(socket, bytes, SendFlags::NOSIGNAL)?)))?;
        if written < bytes.len() {
            self.note_exhausted(WRITABLE);
        }
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match slices {
            // TLS mostly writes one slice.
            [all] => self.poll_write(cx, all),
            _ => self.poll_call(Direction::Out, cx, |socket| {
                Ok(sendmsg(socket, slices, &mut SendAncillaryBuffer::default(), SendFlags::NOSIGNAL)?)
            }),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(shutdown(&self.fd, Shutdown::Write)?))
    }
}
