//! One client connection: TLS, then HTTP/1.1 by hyper, request after request.

use std::{convert::Infallible, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use hyper::{HeaderMap, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use mio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, rustls};

use super::{Shared, Worker, client_io::ClientIo, live::ConnectionGuard, proxy, sockets::Socket, stream::Stream};
use crate::{
    access_log::{Record, TlsVersion},
    error::{Error, Kind},
    headers,
};

/// How long connections that wait for a request stay open in a drain, to answer 503 to what is on its way already.
pub(super) const LAST_CALL: Duration = Duration::from_secs(1);

/// A client's connection, on its way to its worker.
#[derive(Debug)]
pub(super) struct Accepted {
    pub(super) stream: TcpStream,
    pub(super) sender: SocketAddr,
    /// The port that was connected to.
    pub(super) port: u16,
    pub(super) tls: Option<Arc<rustls::ServerConfig>>,
    pub(super) guard: ConnectionGuard,
}

/// Serves a connection to its end, or until a session takes it over.
pub(super) async fn serve(worker: Arc<Worker>, accepted: Accepted) {
    let Accepted { stream, sender, port, tls, guard } = accepted;
    let shared = &worker.shared;
    let plan = shared.plan();
    let timeouts = plan.config.timeouts;
    let socket = match Socket::new(stream) {
        Ok(socket) => socket,
        Err(error) => return tracing::warn!(client = %sender, %error, "a connection cannot be registered"),
    };
    let stream = match tls {
        None => Stream::Plain(socket),
        Some(config) => match timeout(timeouts.tls_handshake, TlsAcceptor::from(config).accept(socket)).await {
            Ok(Ok(stream)) => Stream::Tls(Box::new(stream)),
            Ok(Err(error)) => return tracing::debug!(client = %sender, %error, "TLS handshake failed"),
            Err(_) => return tracing::debug!(client = %sender, "TLS handshake took too long"),
        },
    };
    let tls = stream.tls_version();
    let io = ClientIo::new(stream, timeouts);
    let connection =
        Arc::new(proxy::Connection { worker: Arc::clone(&worker), sender, port, tls, debt: io.debt(), guard });
    let service = service_fn(|request| {
        let connection = Arc::clone(&connection);
        // Boxed, because hyper keeps room for it for the life of the connection and moves it about.
        Box::pin(async move { Ok::<_, Infallible>(proxy::answer(&connection, request).await) })
    });
    let mut http = pin!(
        http1::Builder::new()
            // `ClientIo` times the head of a request.
            .header_read_timeout(None)
            .max_buf_size(plan.config.limits.header_size)
            .max_headers(plan.config.limits.headers)
            .serve_connection(TokioIo::new(io), service)
            .with_upgrades()
    );
    drop(plan);
    let last_call = async {
        shared.orders.closing().await;
        tokio::time::sleep(LAST_CALL).await;
    };
    let ended = tokio::select! {
        ended = http.as_mut() => ended,
        () = last_call => {
            http.as_mut().graceful_shutdown();
            if connection.debt.owes_nothing() {
                http.await
            } else {
                timeout(LAST_CALL, http).await.unwrap_or(Ok(()))
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(client = %sender, %error, "connection ended");
        // What is behind a request that is being answered is that one's affair.
        if error.is_parse() && !connection.debt.owes_nothing() {
            record_unread(shared, sender, tls, &error);
        }
    }
}

/// hyper has answered a head that it could not read, or that is too large: no request came of it, so nobody else records it.
fn record_unread(shared: &Shared, sender: SocketAddr, tls: Option<TlsVersion>, error: &hyper::Error) {
    let plan = shared.plan();
    let mut record = Record::new(plan.access_log.clone(), sender.ip(), "", "");
    record.count_in(Arc::clone(&shared.metrics), plan.endings.clone(), false);
    record.request_id = headers::request_id(&HeaderMap::new(), shared.nonces.next());
    record.tls = tls;
    // HTTP/2 is hung up on.
    let is_answered = !error.is_parse_version_h2();
    let kind = if error.is_parse_too_large() { Kind::HeadTooLarge } else { Kind::BadRequest };
    let error = Error::from_source(kind, error.to_string());
    record.status = is_answered.then(|| error.status().as_u16());
    record.fail(&error);
}
