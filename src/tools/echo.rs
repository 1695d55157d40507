//! An echo backend with the demo's page, for use behind longwire when there is no other backend.

mod answers;

use std::{
    cell::RefCell,
    convert::Infallible,
    future::poll_fn,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::Incoming,
    header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, HeaderValue, UPGRADE},
    server::conn::http1,
    service::service_fn,
    upgrade::{OnUpgrade, Upgraded},
};
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::SockRef;
use tokio::{
    io::{AsyncRead as _, AsyncReadExt as _, AsyncWrite as _, AsyncWriteExt as _, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_tungstenite::tungstenite::handshake::server::create_response_with_body;

use self::answers::Answers;

/// The most bytes of a message. A longer message ends the WebSocket with 1009.
pub const MAX_MESSAGE: usize = 16 * 1024 * 1024;
/// The header that names the backend that answered.
pub const BACKEND_HEADER: HeaderName = HeaderName::from_static("x-echo-backend");

/// How long to wait after an error of accept, for example when no descriptor is left.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(50);
/// How long a connection may take to send its next request head.
const HEAD_WITHIN: Duration = Duration::from_secs(75);
/// How long a client may take to accept an echo.
const SEND_WITHIN: Duration = Duration::from_secs(30);
/// How long a client may take to end the stream after both Closes.
const END_WITHIN: Duration = Duration::from_secs(5);

/// The most bytes of a read, together with the bytes that were kept of the read before.
const READ: usize = 64 * 1024;

thread_local! {
    static BUFFERS: RefCell<EchoBuffers> = RefCell::new(EchoBuffers { input: vec![0; READ].into(), output: Vec::new() });
}

/// The buffers of a thread. Its connections run one after the other and share them, so an idle connection holds none.
struct EchoBuffers {
    input: Box<[u8]>,
    output: Vec<u8>,
}

const PAGE: &str = include_str!("demo.html");
/// The client library of the page, as `clients/js` builds it. The tests there say when this copy is old.
const PAGE_LIBRARY: &str = include_str!("demo/longwire-client.js");
/// The page talks only to WebSockets and to `/demo.json`, and all its scripts are ours.
const PAGE_POLICY: &str = "default-src 'none'; script-src 'self' 'unsafe-inline'; style-src 'unsafe-inline'; \
                           img-src data:; connect-src 'self' ws: wss:; base-uri 'none'; form-action 'none'";

/// What a backend answers about itself.
#[derive(Debug, Clone)]
pub struct BackendIdentity {
    /// The name of the backend in [`BACKEND_HEADER`].
    pub name: &'static str,
    /// The JSON at `/demo.json`, from which the page learns the other path. `None` = `/demo.json` is a 404.
    pub stage: Option<String>,
}

/// Accepts from `listener` and serves each connection. When this future is dropped, its connections end too.
///
/// A WebSocket handshake on any path opens an echo of text and binary messages; `/` is the demo's page.
pub async fn serve(listener: TcpListener, backend: BackendIdentity) {
    // Each connection inherits this option (Linux). Without it, an answer waits until the one before is acknowledged.
    let _ = SockRef::from(&listener).set_tcp_nodelay(true);
    let backend = Arc::new(backend);
    let mut connections = JoinSet::new();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                connections.spawn(serve_connection(stream, Arc::clone(&backend)));
            }
            Err(_) => sleep(ACCEPT_BACKOFF).await,
        }
        while connections.try_join_next().is_some() {}
    }
}

/// Serves HTTP until the client is gone, then the WebSocket if the connection became one. The client sees every failure here.
async fn serve_connection(stream: TcpStream, backend: Arc<BackendIdentity>) {
    let (upgrades, mut upgraded) = mpsc::unbounded_channel();
    let answer = service_fn(move |mut request: Request<Incoming>| {
        let mut response = if asks_for_websocket(&request) {
            accept_websocket(&mut request, &upgrades)
        } else {
            answer_plain(&request, &backend)
        };
        response.headers_mut().insert(BACKEND_HEADER, HeaderValue::from_static(backend.name));
        async { Ok::<_, Infallible>(response) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .serve_connection(TokioIo::new(stream), answer)
        .with_upgrades()
        .await;
    if served.is_ok()
        && let Some(upgrade) = upgraded.recv().await
        && let Ok(stream) = upgrade.await
    {
        // An error ends the WebSocket of the client. Nobody is left who could be told.
        let _ = echo(stream).await;
    }
}

fn asks_for_websocket(request: &Request<Incoming>) -> bool {
    request.headers().get(UPGRADE).is_some_and(|protocol| protocol.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

fn answer_plain(request: &Request<Incoming>, backend: &BackendIdentity) -> Response<Full<Bytes>> {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return text(StatusCode::METHOD_NOT_ALLOWED, "only GET and WebSockets here\n");
    }
    match (request.uri().path(), &backend.stage) {
        ("/", _) => {
            let mut page = fresh(PAGE, "text/html; charset=utf-8");
            page.headers_mut().insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(PAGE_POLICY));
            page
        }
        ("/longwire-client.js", _) => fresh(PAGE_LIBRARY, "text/javascript; charset=utf-8"),
        ("/demo.json", Some(stage)) => fresh(stage.clone(), "application/json"),
        _ => text(StatusCode::NOT_FOUND, "nothing here\n"),
    }
}

/// An answer that no browser keeps.
fn fresh(body: impl Into<Bytes>, content_type: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Answers the handshake (RFC 6455 §4.2.2), and sends the connection that will follow it to `upgrades`.
fn accept_websocket(
    request: &mut Request<Incoming>,
    upgrades: &mpsc::UnboundedSender<OnUpgrade>,
) -> Response<Full<Bytes>> {
    match create_response_with_body(request, Full::default) {
        Ok(response) => {
            // The receiver lives as long as the connection that called this function.
            let _ = upgrades.send(hyper::upgrade::on(request));
            response
        }
        Err(_) => text(StatusCode::BAD_REQUEST, "not a WebSocket handshake\n"),
    }
}

/// Sends every message back until the client closes, then ends the stream.
async fn echo(upgraded: Upgraded) -> io::Result<()> {
    let Ok(parts) = upgraded.downcast::<TokioIo<TcpStream>>() else { return Ok(()) };
    let (mut stream, early) = (parts.io.into_inner(), parts.read_buf);
    let mut answers = Answers::new();
    let mut unsent = Vec::new();
    let consumed = answers.answer(&early, &mut unsent);
    let mut kept = early[consumed..].to_vec();
    drop(early);
    loop {
        if !unsent.is_empty() {
            timeout(SEND_WITHIN, stream.write_all(&unsent)).await??;
        }
        if answers.is_over() {
            stream.shutdown().await?;
            return timeout(END_WITHIN, discard(stream)).await?;
        }
        let turn = poll_fn(|cx| {
            BUFFERS.with_borrow_mut(|buffers| read_and_answer(cx, &mut stream, &mut answers, &mut kept, buffers))
        });
        match turn.await? {
            Some(left) => unsent = left,
            None => return Ok(()),
        }
    }
}

/// Reads once and answers. Returns the bytes that the client did not take at once; `None` = the client has ended the stream.
fn read_and_answer(
    cx: &mut Context<'_>,
    stream: &mut TcpStream,
    answers: &mut Answers,
    kept: &mut Vec<u8>,
    buffers: &mut EchoBuffers,
) -> Poll<io::Result<Option<Vec<u8>>>> {
    let EchoBuffers { input, output } = buffers;
    input[..kept.len()].copy_from_slice(kept);
    let mut buffer = ReadBuf::new(&mut input[kept.len()..]);
    ready!(Pin::new(&mut *stream).poll_read(cx, &mut buffer))?;
    let filled = buffer.filled().len();
    if filled == 0 {
        return Poll::Ready(Ok(None));
    }
    let input = &input[..kept.len() + filled];
    output.clear();
    let consumed = answers.answer(input, output);
    kept.clear();
    kept.extend_from_slice(&input[consumed..]);
    if output.is_empty() {
        return Poll::Ready(Ok(Some(Vec::new())));
    }
    let taken = match Pin::new(stream).poll_write(cx, output)? {
        Poll::Ready(taken) => taken,
        Poll::Pending => 0,
    };
    Poll::Ready(Ok(Some(output[taken..].to_vec())))
}

/// Reads to the end of the stream. Closing over unread bytes would be a reset, which may overtake our Close (RFC 6455
/// §7.1.1).
async fn discard(mut stream: TcpStream) -> io::Result<()> {
    let mut buffer = [0; 1024];
    while stream.read(&mut buffer).await? > 0 {}
    Ok(())
}

fn text(status: StatusCode, body: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::net::SocketAddr;

    use futures_util::{SinkExt, StreamExt};
    use tokio_tungstenite::{
        WebSocketStream, client_async,
        tungstenite::{
            Message,
            protocol::{CloseFrame, frame::coding::CloseCode},
        },
    };

    use super::*;

    #[tokio::test]
    async fn text_and_binary_come_back_unchanged() {
        let running = Running::start().await;
        let mut socket = running.open().await;
        for message in [Message::text("grüße"), Message::binary(vec![0, 255, 1]), Message::text("")] {
            socket.send(message.clone()).await.unwrap();
            assert_eq!(socket.next().await.unwrap().unwrap(), message);
        }
    }

    #[tokio::test]
    async fn a_ping_is_answered_and_nothing_is_sent_unasked() {
        let running = Running::start().await;
        let mut socket = running.open().await;
        socket.send(Message::Ping("are you there".into())).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), Message::Pong("are you there".into()));
    }

    #[tokio::test]
    async fn a_close_is_returned_with_its_code() {
        let running = Running::start().await;
        let mut socket = running.open().await;
        let bye = CloseFrame { code: CloseCode::Library(4001), reason: "bye".into() };
        socket.close(Some(bye.clone())).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), Message::Close(Some(bye)));
        assert!(socket.next().await.is_none());
    }

    #[tokio::test]
    async fn the_page_is_served_and_names_the_backend() {
        let running = Running::start().await;
        let answer = running.exchange("GET / HTTP/1.1\r\nHost: demo\r\nConnection: close\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        assert!(answer.contains("x-echo-backend: one\r\n"), "{answer}");
        assert!(answer.contains("content-type: text/html; charset=utf-8\r\n"), "{answer}");
        for id in ["open", "message", "send", "close", "log", "state", "elapsed"] {
            assert!(answer.contains(&format!("id=\"{id}\"")), "the page has no #{id}");
        }
    }

    #[tokio::test]
    async fn the_page_learns_of_the_other_path() {
        let running = Running::start().await;
        let answer = running.exchange("GET /demo.json HTTP/1.1\r\nHost: demo\r\nConnection: close\r\n\r\n").await;
        assert!(answer.ends_with("\r\n\r\n{\"bare\":\"127.0.0.1:1\"}"), "{answer}");
    }

    #[tokio::test]
    async fn the_page_may_load_its_library() {
        let running = Running::start().await;
        let page = running.exchange("GET / HTTP/1.1\r\nHost: demo\r\nConnection: close\r\n\r\n").await;
        assert!(page.contains("script-src 'self' ") && page.contains("\"./longwire-client.js\""), "{page}");
        let request = "GET /longwire-client.js HTTP/1.1\r\nHost: demo\r\nConnection: close\r\n\r\n";
        let library = running.exchange(request).await;
        assert!(
            library.contains("content-type: text/javascript") && library.contains(" as LongwireSocket}"),
            "{library}"
        );
    }

    #[tokio::test]
    async fn anything_else_is_404() {
        let running = Running::start().await;
        let answer = running.exchange("GET /other HTTP/1.1\r\nHost: demo\r\nConnection: close\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
    }

    #[tokio::test]
    async fn half_a_handshake_is_refused() {
        let running = Running::start().await;
        let head = "GET /ws HTTP/1.1\r\nHost: demo\r\nUpgrade: websocket\r\nConnection: upgrade, close\r\n\r\n";
        let answer = running.exchange(head).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    }

    #[tokio::test]
    async fn a_message_over_the_limit_ends_with_1009() {
        let running = Running::start().await;
        let mut socket = running.open().await;
        // A header is enough: binary, FIN, masked, with a 64-bit length of one byte too many.
        let mut header = vec![0x82, 0xff];
        header.extend(u64::try_from(MAX_MESSAGE + 1).unwrap().to_be_bytes());
        header.extend([0; 4]);
        socket.get_mut().write_all(&header).await.unwrap();
        let Message::Close(Some(close)) = socket.next().await.unwrap().unwrap() else {
            panic!("no Close came");
        };
        assert_eq!(close.code, CloseCode::Size);
    }

    struct Running {
        address: SocketAddr,
        _task: JoinSet<()>,
    }

    impl Running {
        async fn start() -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let mut task = JoinSet::new();
            task.spawn(serve(
                listener,
                BackendIdentity { name: "one", stage: Some(r#"{"bare":"127.0.0.1:1"}"#.to_owned()) },
            ));
            Self { address, _task: task }
        }

        async fn open(&self) -> WebSocketStream<TcpStream> {
            let stream = TcpStream::connect(self.address).await.unwrap();
            client_async(format!("ws://{}/ws", self.address), stream).await.unwrap().0
        }

        async fn exchange(&self, request: &str) -> String {
            let mut stream = TcpStream::connect(self.address).await.unwrap();
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            answer
        }
    }
}
