//! Reads the PROXY header with which a connection begins, and nothing behind it.

use std::{
    future::poll_fn,
    io,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{sync::Semaphore, time::timeout};

use crate::{
    config::ProxyTrust,
    headers::is_trusted,
    metrics::Metrics,
    net::stream::sockets::Socket,
    proxy_protocol::{self, BadProxyHeader, MAX_HEADER, ProxyHeader},
    sender::Sender,
};

/// The most connections of a listener whose header has begun and is not complete. A header that comes in one piece, as it
/// should, is never one of them.
pub(super) const MOST_PENDING: usize = 1024;

/// How a listener takes PROXY headers.
#[derive(Debug, Clone)]
pub(in crate::net) struct HeaderReception {
    pub(in crate::net) trust: Arc<ProxyTrust>,
    /// The places for headers that are not complete: [`MOST_PENDING`].
    pub(in crate::net) pending: Arc<Semaphore>,
}

/// Why a connection is closed before anything but a header was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum HeaderRefusal {
    Bad(BadProxyHeader),
    /// The connection ended in the middle of the header.
    Cut,
    /// No byte came. Load balancers ask in this way whether somebody listens, so that it is no failure.
    Silent,
    /// The header took too long.
    Slow,
    /// Too many headers were under way.
    TooMany,
    /// The connection comes from somebody who may not send a header, and a header is required.
    Untrusted,
}

impl HeaderRefusal {
    /// The word of the metric. `None` = it is not counted.
    const fn reason(self) -> Option<&'static str> {
        Some(match self {
            Self::Bad(BadProxyHeader::Checksum) => "checksum",
            Self::Bad(BadProxyHeader::Malformed) => "malformed",
            Self::Bad(BadProxyHeader::Missing) => "missing",
            Self::Bad(BadProxyHeader::TooLong) => "too_long",
            Self::Cut => "cut",
            Self::Slow => "slow",
            Self::TooMany => "too_many",
            Self::Untrusted => "untrusted",
            Self::Silent => return None,
        })
    }
}

/// The header of a connection that has just begun. A header that says nothing stands for none: the sender need not send
/// one. `None` = the connection is to be closed without an answer. That is counted in `metrics` and told at the level
/// `debug` only, because anybody can cause it again and again.
///
/// `silence`: how long the first byte may take.
pub(super) async fn receive(
    socket: &Socket,
    sender: Sender,
    reception: &HeaderReception,
    silence: Duration,
    metrics: &Metrics,
) -> Option<ProxyHeader> {
    let refusal = match header_of(socket, sender, reception, silence).await {
        Ok(header) => return Some(header),
        Err(refusal) => refusal,
    };
    if let Some(reason) = refusal.reason() {
        metrics.proxy_header_refused(reason);
    }
    tracing::debug!(address = %sender, reason = refusal.reason(), "a connection was closed: no PROXY header");
    None
}

async fn header_of(
    socket: &Socket,
    sender: Sender,
    HeaderReception { trust, pending }: &HeaderReception,
    silence: Duration,
) -> Result<ProxyHeader, HeaderRefusal> {
    if !is_trusted(sender.client(), &trust.from) {
        return if trust.is_required { Err(HeaderRefusal::Untrusted) } else { Ok(ProxyHeader::default()) };
    }
    let mut read = Vec::new();
    let first = timeout(silence, poll_fn(|cx| poll_header(socket, cx, &mut read))).await;
    if let Some(header) = first.unwrap_or(Err(HeaderRefusal::Silent))? {
        return Ok(header);
    }
    let _place = pending.try_acquire().map_err(|_| HeaderRefusal::TooMany)?;
    let rest = async {
        loop {
            if let Some(header) = poll_fn(|cx| poll_header(socket, cx, &mut read)).await? {
                return Ok(header);
            }
        }
    };
    timeout(trust.timeout, rest).await.unwrap_or(Err(HeaderRefusal::Slow))
}

/// Takes the bytes that have come as far as they belong to the header. `read`: the bytes before them. Ready with `None` =
/// the header is not complete.
///
/// A look shows which bytes these are, before any is taken: whatever follows the header is for TLS or HTTP.
fn poll_header(
    socket: &Socket,
    cx: &Context<'_>,
    read: &mut Vec<u8>,
) -> Poll<Result<Option<ProxyHeader>, HeaderRefusal>> {
    let mut seen = [0; MAX_HEADER];
    let known = read.len();
    let came = ready!(socket.poll_peek(cx, &mut seen));
    let Some(came) = came.ok().filter(|came| *came > 0) else {
        return Poll::Ready(Err(if known == 0 { HeaderRefusal::Silent } else { HeaderRefusal::Cut }));
    };
    read.extend_from_slice(&seen[..came]);
    let (header, length) = match proxy_protocol::read(read) {
        Ok(Some((header, length))) => (Some(header), length.saturating_sub(known)),
        Ok(None) => (None, came),
        Err(bad) => return Poll::Ready(Err(HeaderRefusal::Bad(bad))),
    };
    let taken = take(socket, cx, &mut seen[..length.min(came)]);
    Poll::Ready(taken.map(|()| header).map_err(|_| HeaderRefusal::Cut))
}

/// Takes bytes that were seen, so that they are there.
fn take(socket: &Socket, cx: &Context<'_>, bytes: &mut [u8]) -> io::Result<()> {
    match socket.poll_recv(cx, bytes) {
        Poll::Ready(Ok(length)) if length == bytes.len() => Ok(()),
        Poll::Ready(Err(error)) => Err(error),
        Poll::Ready(Ok(_)) | Poll::Pending => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}
