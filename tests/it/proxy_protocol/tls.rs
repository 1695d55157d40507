//! TLS behind a header.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream, rustls::pki_types::ServerName};

use super::{V1, expect_refused, v2_with};
use crate::harness::{Backend, Proxy, trusting, within};

const TLS: &str = "tls: { cert: dev.crt, key: dev.key, self_signed: true }";

/// A TCP stream that writes some bytes before the first others, in the same segment if they fit.
pub(super) struct Prefixed {
    stream: TcpStream,
    prefix: Vec<u8>,
}

/// A proxy with TLS behind a header, and a client that trusts its certificate. `upstream`: further keys of the upstream.
pub(super) fn secured(backend: &Backend, upstream: &str) -> (Proxy, TlsConnector, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let listener = format!("bind: \"127.0.0.1:0\", proxy_protocol: {{ from: [127.0.0.1] }}, {TLS}");
    let setup = Proxy::before(&[backend]).tls("{}", folder.path()).listener(&listener).upstream(upstream);
    let proxy = setup.with("admin: { bind: \"127.0.0.1:0\" }").start();
    (proxy, trusting(&folder.path().join("dev.crt"), &[], &["http/1.1"]), folder)
}

/// A TLS connection behind these bytes, which stand in one segment with the ClientHello.
pub(super) async fn connect(proxy: &Proxy, connector: &TlsConnector, prefix: &[u8]) -> io::Result<TlsStream<Prefixed>> {
    let stream = TcpStream::connect(proxy.address()).await?;
    stream.set_nodelay(true)?;
    let stream = Prefixed { stream, prefix: prefix.to_vec() };
    within("a TLS handshake", connector.connect(ServerName::try_from("localhost").unwrap(), stream)).await
}

/// Sends a GET and reads everything up to the end.
pub(super) async fn get(mut client: TlsStream<Prefixed>) -> String {
    client.write_all(b"GET / HTTP/1.1\r\nHost: chat.example.com\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    within("the answer", client.read_to_string(&mut answer)).await.unwrap();
    answer
}

#[tokio::test]
async fn the_client_hello_in_the_segment_of_the_header_is_left_to_tls() {
    let backend = Backend::echo();
    let (mut proxy, connector, _folder) = secured(&backend, "balance: round_robin");
    for header in [V1.as_bytes().to_vec(), v2_with(b"")] {
        let answer = get(connect(&proxy, &connector, &header).await.unwrap()).await;
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("X-Forwarded-For: 192.0.2.7\r\n"), "{answer}");
        assert!(answer.contains("X-Forwarded-Proto: https\r\nX-Forwarded-Host"), "{answer}");
        let record = proxy.next_record().await;
        assert_eq!((&record["client"], &record["tls"]), (&"192.0.2.7".into(), &"TLSv1.3".into()), "{record}");
    }
    proxy.stop().await;
}

#[tokio::test]
async fn without_its_header_a_client_hello_is_not_answered() {
    let backend = Backend::echo();
    let (proxy, connector, _folder) = secured(&backend, "balance: round_robin");
    assert!(connect(&proxy, &connector, b"").await.is_err());
    let mut client = proxy.client().await;
    client.send("\x16\x03\x01").await;
    expect_refused(&proxy, &mut client, "missing", 2).await;
    proxy.stop().await;
}

#[tokio::test]
async fn a_second_header_is_an_error_of_tls_or_of_http() {
    let backend = Backend::echo();
    let (proxy, connector, _folder) = secured(&backend, "balance: round_robin");
    assert!(connect(&proxy, &connector, &[v2_with(b""), v2_with(b"")].concat()).await.is_err());
    // A line of text is taken for HTTP on a port for TLS, and is not HTTP either.
    let mut client = proxy.client().await;
    client.send([V1, V1].concat()).await;
    assert_eq!(client.response().await.status(), 400);
    assert_eq!(backend.heads(), []);
    proxy.stop().await;
}

#[tokio::test]
async fn a_connection_that_is_silent_where_tls_is_due_ends_by_its_deadline() {
    let backend = Backend::echo();
    let folder = tempfile::tempdir().unwrap();
    let listener = format!("bind: \"127.0.0.1:0\", proxy_protocol: {{ from: [127.0.0.1], timeout: 1h }}, {TLS}");
    let setup = Proxy::before(&[&backend]).tls("{}", folder.path()).listener(&listener);
    let proxy = setup.timeout("tls_handshake", "100ms").timeout("request_header", "1h").start();
    proxy.client().await.expect_gone().await;
    let mut client = proxy.client().await;
    client.send(V1).await;
    client.expect_gone().await;
    proxy.stop().await;
}

impl AsyncRead for Prefixed {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Prefixed {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let all = [&this.prefix[..], bytes].concat();
        let written = ready!(Pin::new(&mut this.stream).poll_write(cx, &all))?;
        assert!(written >= this.prefix.len(), "a new socket takes so few bytes at once");
        Poll::Ready(Ok(written - std::mem::take(&mut this.prefix).len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
