//! The one way to a backend. Handshakes, plain requests and checks all go through [`connect`]. Spans go through
//! [`reach`], because their collector is no backend and their thread has no sockets of ours.

use std::{
    future::{Future, poll_fn},
    io,
    net::SocketAddr,
    pin::Pin,
    task::Poll,
    time::Duration,
};

use tokio::{
    io::AsyncWriteExt as _,
    time::{Instant, timeout, timeout_at},
};

use super::{own::Own, unix, way::Way};
use crate::{
    config::UnixName,
    error::{Error, Kind},
    net::stream::{lookup::look_up, plain_or_tls::Stream, sockets::Socket},
};

/// If an address of a name gives no outcome in this time, the next one is tried beside it (RFC 8305 §5).
const STAGGER: Duration = Duration::from_millis(250);

/// The most addresses of a name that are tried.
const MOST_ADDRESSES: usize = 32;

/// What to connect to, and how. The pool never uses a connection for another endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::net) struct Endpoint<'a> {
    /// `host:port` or `unix:…`, as the file has it, or as it was found.
    pub(in crate::net) address: &'a str,
    /// `host:port` as the backend is called. TLS verifies this name.
    pub(in crate::net) authority: &'a str,
    pub(in crate::net) way: &'a Way,
    /// The PROXY header with which the connection begins, before all else; empty if there is none.
    pub(in crate::net) announcement: &'a [u8],
}

/// A connection with a backend, and what was learned on the way.
#[derive(Debug)]
pub(in crate::net) struct Connected {
    pub(in crate::net) stream: Stream,
    /// The address that answered. `None` = a Unix socket.
    pub(in crate::net) peer: Option<SocketAddr>,
    /// All addresses of the name. Empty if the file has an address and no name.
    pub(in crate::net) addresses: Vec<SocketAddr>,
}

/// A socket that is connected to one of the addresses of a name.
#[derive(Debug)]
pub(in crate::net) struct Reached<S> {
    pub(in crate::net) socket: S,
    peer: SocketAddr,
    addresses: Vec<SocketAddr>,
}

/// Connects within `patience`, the look-up of a name and TLS included. The socket is one of this thread's
/// ([`crate::net::stream::sockets`]). `arrange` says in which order the addresses of a name are tried.
///
/// # Errors
/// - [`Kind::ConnectTimeout`], or the kind of the last address's failure.
/// - [`Kind::Loop`]: the backend is this process.
/// - [`Kind::BackendTls`]: TLS failed.
pub(in crate::net) async fn connect(
    endpoint: Endpoint<'_>,
    own: &Own,
    patience: Duration,
    arrange: impl FnOnce(&[SocketAddr]) -> Vec<SocketAddr>,
) -> Result<Connected, Error> {
    let Endpoint { address, authority, way, announcement } = endpoint;
    let is_more = way.tls.is_some() || !announcement.is_empty();
    let deadline = is_more.then(|| Instant::now() + patience);
    let (mut socket, peer, addresses) = match UnixName::of(address) {
        Some(name) => {
            let socket = within(patience, unix::dial(&name)).await?;
            own.check_unix(&socket)?;
            (socket, None, Vec::new())
        }
        None => {
            let reached = reach(address, patience, arrange, Socket::connect).await?;
            own.check(&reached.socket, reached.peer)?;
            (reached.socket, Some(reached.peer), reached.addresses)
        }
    };
    let Some(deadline) = deadline else { return Ok(Connected { stream: Stream::Plain(socket), peer, addresses }) };
    if !announcement.is_empty() {
        announce(&mut socket, announcement, deadline).await?;
    }
    let stream = match &way.tls {
        None => Stream::Plain(socket),
        // Boxed, because connections by plain TCP have no use for so large a future.
        Some(tls) => Box::pin(tls.secure((socket, peer), authority, deadline)).await?,
    };
    Ok(Connected { stream, peer, addresses })
}

/// Says whose connection it is. A new socket takes a header at once; the deadline is for one that does not.
async fn announce(socket: &mut Socket, announcement: &[u8], deadline: Instant) -> Result<(), Error> {
    match timeout_at(deadline, socket.write_all(announcement)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(Error::from_source(Kind::Unreachable, error)),
        Err(_) => Err(Kind::ConnectTimeout.into()),
    }
}

/// Reaches `host:port` within `patience`, the look-up included. `dial` connects to one address.
///
/// A name is looked up each time, so that a server that has moved is found. Its addresses are tried in the order that
/// `arrange` gives them. The next one is tried when the one before has failed, or after [`STAGGER`]. The first one to
/// answer is used.
///
/// # Errors
/// [`Kind::ConnectTimeout`], or the kind of the last address's failure.
pub(in crate::net) async fn reach<S, F: Future<Output = io::Result<S>>>(
    address: &str,
    patience: Duration,
    arrange: impl FnOnce(&[SocketAddr]) -> Vec<SocketAddr>,
    dial: impl Fn(SocketAddr) -> F,
) -> Result<Reached<S>, Error> {
    let attempt = async {
        if let Ok(peer) = address.parse() {
            return Ok(Reached { socket: dial(peer).await?, peer, addresses: Vec::new() });
        }
        let addresses = look_up(address).await?;
        let mut arranged = arrange(&addresses);
        arranged.truncate(MOST_ADDRESSES);
        let (peer, socket) = first_to_answer(arranged, dial).await?;
        Ok(Reached { socket, peer, addresses })
    };
    within(patience, attempt).await
}

/// The outcome of an attempt that may take as long as `patience`.
async fn within<T>(patience: Duration, attempt: impl Future<Output = io::Result<T>>) -> Result<T, Error> {
    match timeout(patience, attempt).await {
        Ok(Ok(reached)) => Ok(reached),
        Ok(Err(error)) => Err(Error::from_source(failure(&error), error)),
        Err(_) => Err(Kind::ConnectTimeout.into()),
    }
}

async fn first_to_answer<S, F: Future<Output = io::Result<S>>>(
    addresses: Vec<SocketAddr>,
    dial: impl Fn(SocketAddr) -> F,
) -> io::Result<(SocketAddr, S)> {
    let mut waiting = addresses.into_iter().peekable();
    let mut running: Vec<(SocketAddr, Pin<Box<F>>)> = Vec::new();
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    loop {
        if let Some(address) = waiting.next() {
            running.push((address, Box::pin(dial(address))));
        }
        if running.is_empty() {
            return Err(failure);
        }
        let outcome = match waiting.peek() {
            Some(_) => timeout_at(Instant::now() + STAGGER, next_outcome(&mut running)).await.ok(),
            None => Some(next_outcome(&mut running).await),
        };
        match outcome {
            Some((address, Ok(stream))) => return Ok((address, stream)),
            Some((_, Err(error))) => failure = error,
            None => {}
        }
    }
}

/// Waits for the first attempt that ends, and takes it out of the list.
async fn next_outcome<S, F: Future<Output = io::Result<S>>>(
    running: &mut Vec<(SocketAddr, Pin<Box<F>>)>,
) -> (SocketAddr, io::Result<S>) {
    poll_fn(|cx| {
        for place in 0..running.len() {
            let (address, attempt) = &mut running[place];
            if let Poll::Ready(outcome) = attempt.as_mut().poll(cx) {
                let address = *address;
                drop(running.swap_remove(place));
                return Poll::Ready((address, outcome));
            }
        }
        Poll::Pending
    })
    .await
}

/// The [`Kind`] of a failure to connect.
fn failure(error: &io::Error) -> Kind {
    const EMFILE: i32 = 24;
    const ENFILE: i32 = 23;
    match (error.kind(), error.raw_os_error()) {
        (io::ErrorKind::ConnectionRefused, _) => Kind::Refused,
        (_, Some(EMFILE | ENFILE)) | (io::ErrorKind::AddrNotAvailable, _) => Kind::Exhausted,
        (io::ErrorKind::TimedOut, _) => Kind::ConnectTimeout,
        _ => Kind::Unreachable,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::{future::pending, sync::Mutex};

    use tokio::sync::Notify;

    use super::*;

    /// Connects to 192.0.2.1 and the addresses after it. `outcome`: what happens at an address, by its last part.
    /// Returns which one answered, and which were tried.
    async fn race<F: Future<Output = io::Result<u8>>>(
        count: u8,
        outcome: impl Fn(u8) -> F,
    ) -> (io::Result<u8>, Vec<u8>) {
        let addresses = (1..=count).map(|last| SocketAddr::from(([192, 0, 2, last], 80))).collect();
        let tried = Mutex::new(Vec::new());
        let won = first_to_answer(addresses, |address| {
            let SocketAddr::V4(address) = address else { unreachable!() };
            let last = address.ip().octets()[3];
            tried.lock().unwrap().push(last);
            outcome(last)
        });
        let won = timeout(Duration::from_secs(60), won).await.expect("an outcome");
        let won = won.map(|(address, last)| {
            assert_eq!(address, SocketAddr::from(([192, 0, 2, last], 80)));
            last
        });
        (won, tried.into_inner().unwrap())
    }

    #[tokio::test]
    async fn addresses_that_are_silent_do_not_hide_the_next() {
        let (won, tried) = race(4, async |last| match last {
            3 => Ok(last),
            _ => pending().await,
        })
        .await;
        assert_eq!((won.unwrap(), tried), (3, vec![1, 2, 3]));
    }

    #[tokio::test]
    async fn addresses_that_fail_make_room_for_the_next() {
        let (won, tried) = race(4, async |last| match last {
            3 => Ok(last),
            _ => Err(io::ErrorKind::ConnectionRefused.into()),
        })
        .await;
        assert_eq!((won.unwrap(), tried), (3, vec![1, 2, 3]));
    }

    #[tokio::test]
    async fn an_address_that_answers_after_the_next_was_tried_still_wins() {
        let next = Notify::new();
        let (won, tried) = race(2, async |last| {
            if last == 2 {
                next.notify_one();
                return pending().await;
            }
            next.notified().await;
            Ok(last)
        })
        .await;
        assert_eq!((won.unwrap(), tried), (1, vec![1, 2]));
    }

    #[tokio::test]
    async fn where_all_fail_the_last_failure_is_told() {
        let next = Notify::new();
        let (won, tried) = race(2, async |last| {
            if last == 2 {
                next.notify_one();
                return Err(io::ErrorKind::ConnectionRefused.into());
            }
            next.notified().await;
            Err(io::ErrorKind::NetworkUnreachable.into())
        })
        .await;
        assert_eq!((won.unwrap_err().kind(), tried), (io::ErrorKind::NetworkUnreachable, vec![1, 2]));
        let (none, _) = race(0, async |last| Ok(last)).await;
        assert_eq!(none.unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn descriptors_that_ran_out_are_not_the_backends_fault() {
        assert_eq!(failure(&io::Error::from_raw_os_error(24)), Kind::Exhausted);
        assert_eq!(failure(&io::ErrorKind::ConnectionRefused.into()), Kind::Refused);
        assert_eq!(failure(&io::ErrorKind::HostUnreachable.into()), Kind::Unreachable);
    }
}
