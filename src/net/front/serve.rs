//! One client connection: a PROXY header if the listener wants one, TLS, then HTTP/1.1 by hyper, request after request.

use std::{
    convert::Infallible,
    future::poll_fn,
    io, mem,
    net::SocketAddr,
    os::{fd::OwnedFd, unix::net::UnixStream},
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
    time::Duration,
};

use hyper::{
    HeaderMap, StatusCode,
    server::conn::http1::{self, Parts},
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use mio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, TlsStream, rustls};

use super::{
    proxy_header::{self, HeaderReception},
    tls_failure,
};
use crate::{
    access_log::Record,
    error::{Error, Kind},
    headers::{self, ClientCertificate},
    net::{
        counts::live::ConnectionGuard,
        orders::book::Orders,
        request::{
            connection::{AfterHttp, Connection, Entrance, TlsHello},
            proxy,
        },
        stream::{client_io::ClientIo, plain_or_tls::Stream, sockets::Socket},
        worker::shared::Worker,
    },
    proxy_protocol::{HeaderAddresses, ProxyHeader},
    sender::Sender,
};

/// In a drain: how long connections that wait for a request stay open. Requests that are on their way already get a 503.
pub(in crate::net) const LAST_CALL: Duration = Duration::from_secs(1);

/// A client's connection, on its way to its worker.
#[derive(Debug)]
pub(in crate::net) struct Accepted {
    pub(in crate::net) stream: OwnedFd,
    pub(in crate::net) sender: Sender,
    /// The address of the listener. `None` = a Unix socket.
    pub(in crate::net) local: Option<SocketAddr>,
    pub(in crate::net) tls: Option<Arc<rustls::ServerConfig>>,
    /// `None` = the connection begins without a PROXY header.
    pub(in crate::net) reception: Option<HeaderReception>,
    pub(in crate::net) guard: ConnectionGuard,
}

/// Serves a connection to its end, or until a session takes it over.
pub(in crate::net) async fn serve(worker: Arc<Worker>, accepted: Accepted) {
    let Accepted { stream, sender, local, tls, reception, guard } = accepted;
    let shared = &worker.shared;
    let plan = shared.plan();
    let timeouts = plan.config.timeouts;
    let socket = match sender {
        Sender::Host(_) => Socket::new(TcpStream::from_std(stream.into())),
        Sender::Process(_) => Socket::new_unix(UnixStream::from(stream)),
    };
    let socket = match socket {
        Ok(socket) => socket,
        Err(error) => return tracing::warn!(client = %sender, %error, "a connection cannot be registered"),
    };
    let ProxyHeader { addresses, told } = match reception {
        None => ProxyHeader::default(),
        Some(reception) => {
            let silence = if tls.is_some() { timeouts.tls_handshake } else { timeouts.request_header };
            let received = proxy_header::receive(&socket, sender, &reception, silence, &shared.metrics);
            // Boxed, so that no other connection has room for it.
            let Some(Some(header)) = Box::pin(until_last_call(received, &shared.orders)).await else { return };
            header
        }
    };
    let process = sender.process();
    let (sender, local) = match addresses {
        Some(HeaderAddresses { source, destination }) => (source.into(), Some(destination)),
        None => (sender, local.map(|local| address_used(local, &socket))),
    };
    let wants_tls = tls.is_some();
    let stream = match tls {
        None => Stream::Plain(socket),
        // Boxed, as the futures at the end of this function are: connections that never come there need no room for it.
        Some(config) => match timeout(timeouts.tls_handshake, Box::pin(secure(socket, config))).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                shared.metrics.tls_failed(tls_failure::reason(&error));
                return tracing::debug!(client = %sender, %error, "TLS handshake failed");
            }
            Err(_) => {
                shared.metrics.tls_failed(tls_failure::TIMEOUT);
                return tracing::debug!(client = %sender, "TLS handshake took too long");
            }
        },
    };
    let (tls, is_misled) = (stream.tls_version(), wants_tls && matches!(stream, Stream::Plain(_)));
    let hello = if plan.announces { stream.server().map(hello) } else { None };
    let shown = stream.server().and_then(|tls| tls.peer_certificates()?.first());
    let certificate = shown.map(|der| Box::new(ClientCertificate::new(der)));
    let io = ClientIo::new(stream, timeouts);
    let entrance = Entrance { sender, process, local, tls, hello, certificate, is_misled, told };
    let connection = Arc::new(Connection::new(Arc::clone(&worker), entrance, io.debt(), guard));
    let asked = Arc::clone(&connection);
    let service = service_fn(move |request| {
        let connection = Arc::clone(&asked);
        // Boxed, because hyper keeps room for this future as long as the connection lives, and moves it.
        Box::pin(async move { Ok::<_, Infallible>(proxy::answer(&connection, request).await) })
    });
    let mut http = http1::Builder::new()
        // `ClientIo` times the head of a request.
        .header_read_timeout(None)
        .max_buf_size(plan.config.limits.header_size)
        .max_headers(plan.config.limits.headers)
        .title_case_headers(true)
        .serve_connection(TokioIo::new(io), service);
    drop(plan);
    let ended = match until_last_call(speak(&mut http, &connection), &shared.orders).await {
        Some(ended) => ended,
        None => {
            Pin::new(&mut http).graceful_shutdown();
            if connection.debt.owes_nothing() {
                speak(&mut http, &connection).await
            } else {
                timeout(LAST_CALL, speak(&mut http, &connection)).await.unwrap_or(Ok(None))
            }
        }
    };
    if let Ok(Some(leaving)) = ended {
        let Parts { io, read_buf, service, .. } = http.into_parts();
        // The session, or the refused client, is counted as a connection separately. So HTTP stops counting first.
        drop((service, connection));
        match leaving {
            AfterHttp::Session(opening) => opening.open(io.into_inner(), read_buf, &worker.sessions).await,
            AfterHttp::Refusal(refusal) => Box::pin(refusal.send(io.into_inner())).await,
            AfterHttp::Return(comeback) => Box::pin(comeback.send(io.into_inner(), read_buf)).await,
            AfterHttp::Probe(opening) => Box::pin(opening.serve(io.into_inner(), read_buf)).await,
        }
        return;
    }
    // HTTP ended while bytes of an earlier answer were still to be written, so no 101 can be sent any more.
    if let Some(leaving) = connection.give_up_leaving() {
        leaving.fail();
    }
    if let Err(error) = ended {
        tracing::debug!(client = %sender, %error, "connection ended");
        // Bytes that are no HTTP are told in the record of the request that is being answered, if there is one.
        if error.is_parse() && !connection.debt.owes_nothing() {
            record_unread(&connection, &error);
        }
    }
}

/// The address that a client used. A listener on all addresses does not say it.
fn address_used(listener: SocketAddr, socket: &Socket) -> SocketAddr {
    if listener.ip().is_unspecified() { socket.local_address().unwrap_or(listener) } else { listener }
}

/// Speaks TLS, unless the first byte is a letter, as in HTTP. A client that speaks HTTP is told in HTTP that it should
/// not, as nginx does. Any other client is told so by rustls.
async fn secure(socket: Socket, config: Arc<rustls::ServerConfig>) -> io::Result<Stream> {
    if socket.peek().await?.is_some_and(|byte| byte.is_ascii_alphabetic()) {
        return Ok(Stream::Plain(socket));
    }
    let stream = TlsAcceptor::from(config).accept(socket).await?;
    Ok(Stream::Tls(Box::new(TlsStream::Server(stream))))
}

/// What a client's TLS handshake said, for the upstreams that are told it.
fn hello(tls: &rustls::ServerConnection) -> Box<TlsHello> {
    let (server_name, protocol) = (tls.server_name().map(str::to_owned), tls.alpn_protocol().map(<[u8]>::to_vec));
    Box::new(TlsHello { server_name, protocol })
}

/// Lets hyper speak HTTP until the connection ends, or until its last request leaves HTTP.
///
/// hyper's own upgrade writes the 101 itself, in its own spelling, and needs a channel and a task. Here the request
/// that leaves HTTP is never answered, and the stream is taken from under hyper. Nothing is lost by that: hyper reads
/// the next head only when the stream has taken all of the last answer ([`Connection::take_leaving`]).
async fn speak(
    http: &mut (impl Future<Output = hyper::Result<()>> + Unpin),
    connection: &Connection,
) -> hyper::Result<Option<AfterHttp>> {
    poll_fn(|cx| match Pin::new(&mut *http).poll(cx) {
        Poll::Ready(ended) => Poll::Ready(ended.map(|()| None)),
        Poll::Pending => connection.take_leaving().map_or(Poll::Pending, |leaving| Poll::Ready(Ok(Some(leaving)))),
    })
    .await
}

/// The output of `speaking`. `None` if a drain's last call ends before.
async fn until_last_call<T>(speaking: impl Future<Output = T>, orders: &Orders) -> Option<T> {
    let mut speaking = pin!(speaking);
    let mut last_call = pin!(async {
        orders.closing().await;
        #[expect(clippy::disallowed_methods, reason = "a client has this long for a last request")]
        tokio::time::sleep(LAST_CALL).await;
    });
    let mut is_awaited = false;
    poll_fn(|cx| {
        if let Poll::Ready(spoken) = speaking.as_mut().poll(cx) {
            return Poll::Ready(Some(spoken));
        }
        // The look comes only once: from then on, the notice of the close wakes this task.
        if mem::replace(&mut is_awaited, true) && !orders.is_closing() {
            return Poll::Pending;
        }
        last_call.as_mut().poll(cx).map(|()| None)
    })
    .await
}

/// Records a head that hyper could not read, or that is too large, and that hyper has answered. No request came of it,
/// so that nobody else records it.
fn record_unread(connection: &Connection, error: &hyper::Error) {
    let (shared, entrance) = (&connection.worker.shared, &connection.entrance);
    let plan = shared.plan();
    let mut record = Record::new(plan.access_log.clone(), entrance.sender.client(), "", "");
    record.count_in(Arc::clone(&shared.metrics), plan.endings.clone(), false);
    record.request_id = headers::request_id(&HeaderMap::new(), shared.nonces.next());
    (record.peer, record.tls, record.told) = (entrance.process, entrance.tls, entrance.told.clone());
    record.client_cert = entrance.certificate.as_ref().map(|shown| Arc::clone(shown.facts()));
    // hyper closes the connection on HTTP/2, without an answer.
    let is_answered = !error.is_parse_version_h2();
    let kind = if error.is_parse_too_large() { Kind::HeadTooLarge } else { Kind::BadRequest };
    let error = Error::from_source(kind, error.to_string());
    // hyper answers 414 to a target that is too long. `is_parse_too_large` does not tell this from a large head, and
    // the text does.
    let status = if error.to_string().ends_with("URI too long") { StatusCode::URI_TOO_LONG } else { error.status() };
    record.status = is_answered.then(|| status.as_u16());
    record.fail(&error);
}
