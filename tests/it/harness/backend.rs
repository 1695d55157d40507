//! Fake backends on raw sockets: one that echoes, some that follow a script, one that the test plays by hand, one that
//! refuses, and one that never answers a SYN.

use std::{
    fmt,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex},
};

use socket2::{Domain, SockAddr, Socket, Type};
use tokio::{
    net::{TcpListener, TcpStream, UnixListener},
    sync::{Mutex as AsyncMutex, mpsc},
    task::JoinHandle,
};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::{
    Head, Wire,
    frames::{CLOSE, PING, PONG, unmasked},
    strict::{assert_strict_request, strict_body},
    within,
};

/// A fake backend. Its `Display` is its address, in the form that the YAML wants.
#[derive(Clone)]
pub struct Backend(Arc<State>);

struct State {
    /// As the YAML wants it.
    name: String,
    /// `None` = a Unix socket.
    address: Option<SocketAddr>,
    heads: Mutex<Vec<Head>>,
    acceptor: Mutex<Option<JoinHandle<()>>>,
    connections: Mutex<Vec<JoinHandle<()>>>,
    /// The connections that [`Backend::asked`] returns.
    asked: AsyncMutex<mpsc::UnboundedReceiver<(Wire, Head)>>,
    ask: mpsc::UnboundedSender<(Wire, Head)>,
    /// Sockets that are kept only to fill the place of others.
    held: Mutex<Vec<Socket>>,
}

impl Backend {
    /// Echoes every message of a WebSocket, and answers a plain request with that request's own head as the body. Every
    /// answer names the backend in `X-Backend`, a 101 too.
    pub fn echo() -> Self {
        Self::echo_at((Ipv4Addr::LOCALHOST, 0).into())
    }

    /// The same backend on an address that was in use before: a backend that comes back.
    pub fn echo_at(address: SocketAddr) -> Self {
        let backend = Self::bound(address);
        backend.listen();
        backend
    }

    /// The same backend at a Unix socket: `unix:/path` or `unix:@name`.
    pub fn echo_at_unix(name: &str) -> Self {
        let backend = Self::refusing_at_unix(name);
        backend.listen();
        backend
    }

    /// [`Backend::by_hand`] at a Unix socket.
    pub fn by_hand_at_unix(name: &str) -> Self {
        let backend = Self::refusing_at_unix(name);
        backend.accept(Self::give);
        backend
    }

    /// [`Backend::refusing`] at a Unix socket.
    pub fn refusing_at_unix(name: &str) -> Self {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        let place = name.strip_prefix("unix:").expect("a Unix socket");
        // An abstract name begins with a zero byte.
        let place = place.strip_prefix('@').map_or_else(|| place.to_owned(), |name| format!("\0{name}"));
        socket.bind(&SockAddr::unix(place).unwrap()).unwrap();
        Self::at(name.to_owned(), None, vec![socket])
    }

    /// Answers one request with these bytes and panics on any byte that follows it.
    pub fn answering(bytes: impl Into<Vec<u8>>) -> Self {
        let bytes = bytes.into();
        Self::script(move |mut wire, _| {
            let bytes = bytes.clone();
            async move {
                wire.send(bytes).await;
                let rest = wire.whatever_comes().await;
                assert!(rest.is_empty(), "after its request came {:?}", rest.escape_ascii().to_string());
            }
        })
    }

    /// Answers `took N bytes`, and panics at a request whose framing is in any doubt.
    pub fn strict() -> Self {
        Self::raw(strict)
    }

    /// Runs `script` for every connection after the head of its first request is read.
    pub fn script<S, F>(script: S) -> Self
    where
        S: Fn(Wire, Head) -> F + Send + Sync + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let script = Arc::new(script);
        Self::raw(move |backend, mut wire| {
            let script = Arc::clone(&script);
            async move {
                if let Some(head) = backend.next_head(&mut wire).await {
                    script(wire, head).await;
                }
            }
        })
    }

    /// Gives every connection to the test: see [`Backend::asked`] and [`Backend::accepted`].
    pub fn by_hand() -> Self {
        Self::raw(Self::give)
    }

    /// Runs `script` for every connection before any byte is read. The script notes heads with `next_head`.
    pub fn raw<S, F>(script: S) -> Self
    where
        S: Fn(Self, Wire) -> F + Send + Sync + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let backend = Self::bound((Ipv4Addr::LOCALHOST, 0).into());
        backend.accept(script);
        backend
    }

    /// Echoes on a connection of a raw script, as [`Backend::echo`] does.
    pub async fn echo_on(self, wire: Wire) {
        echo(self, wire).await;
    }

    /// Gives a connection of a raw script to the test, as [`Backend::by_hand`] does.
    pub async fn give(self, mut wire: Wire) {
        if let Some(head) = self.next_head(&mut wire).await {
            let _ = self.0.ask.send((wire, head));
        }
    }

    /// The same at a Unix socket.
    pub fn foreign_at_unix(name: &str) -> Self {
        Self::at(name.to_owned(), None, Vec::new())
    }

    /// A server at this address that is no backend of the harness.
    pub fn foreign(address: SocketAddr) -> Self {
        Self::at(address.to_string(), Some(address), Vec::new())
    }

    /// Holds its port, but refuses every connection until [`Backend::listen`].
    pub fn refusing() -> Self {
        Self::bound((Ipv4Addr::LOCALHOST, 0).into())
    }

    /// A backend with a full accept queue: the kernel drops every SYN, as for a dead machine.
    pub async fn black_hole() -> Self {
        let backend = Self::bound((Ipv4Addr::LOCALHOST, 0).into());
        let listener = backend.0.held.lock().unwrap()[0].try_clone().unwrap();
        listener.listen(0).unwrap();
        // A queue of length 0 holds one connection; the next SYN gets no answer.
        let filler = TcpStream::connect(backend.address()).await.unwrap();
        backend.0.held.lock().unwrap().push(Socket::from(filler.into_std().unwrap()));
        backend
    }

    /// Accepts from now on, as [`Backend::echo`] does.
    pub fn listen(&self) {
        self.accept(echo);
    }

    /// The address of the backend.
    pub fn address(&self) -> SocketAddr {
        self.0.address.expect("a backend on TCP")
    }

    /// Every request head that the backend has read, in order.
    pub fn heads(&self) -> Vec<Head> {
        self.0.heads.lock().unwrap().clone()
    }

    /// How many connections the backend has accepted.
    pub fn connections(&self) -> usize {
        self.0.connections.lock().unwrap().len()
    }

    /// The next connection, with its first request. Only for [`Backend::by_hand`].
    pub async fn asked(&self) -> (Wire, Head) {
        let mut asked = self.0.asked.lock().await;
        within("a request at the backend", asked.recv()).await.expect("the backend runs")
    }

    /// The same for a handshake. The handshake is accepted.
    pub async fn accepted(&self) -> Wire {
        let (mut wire, head) = self.asked().await;
        wire.accept(&head, "").await;
        wire
    }

    /// Ends the listener and every connection at once.
    pub async fn kill(&self) {
        let acceptor = self.0.acceptor.lock().unwrap().take();
        let connections = std::mem::take(&mut *self.0.connections.lock().unwrap());
        for task in acceptor.into_iter().chain(connections) {
            task.abort();
            let _ = task.await;
        }
        self.0.held.lock().unwrap().clear();
    }

    /// Waits until every script has ended, and raises their panics again.
    pub async fn finish(&self) {
        if let Some(acceptor) = self.0.acceptor.lock().unwrap().take() {
            acceptor.abort();
        }
        let connections = std::mem::take(&mut *self.0.connections.lock().unwrap());
        for connection in connections {
            match within("a backend's script to end", connection).await {
                Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                Err(_) | Ok(()) => {}
            }
        }
    }

    /// Reads the next request head of a connection, and notes it; `None` = the connection is at its end.
    pub async fn next_head(&self, wire: &mut Wire) -> Option<Head> {
        let head = wire.next_head().await?;
        self.0.heads.lock().unwrap().push(head.clone());
        Some(head)
    }

    fn bound(address: SocketAddr) -> Self {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap();
        socket.set_reuse_address(true).unwrap();
        socket.bind(&address.into()).unwrap();
        let address = socket.local_addr().unwrap().as_socket().unwrap();
        Self::at(address.to_string(), Some(address), vec![socket])
    }

    fn at(name: String, address: Option<SocketAddr>, held: Vec<Socket>) -> Self {
        let (ask, asked) = mpsc::unbounded_channel();
        Self(Arc::new(State {
            name,
            address,
            heads: Mutex::default(),
            acceptor: Mutex::default(),
            connections: Mutex::default(),
            asked: AsyncMutex::new(asked),
            ask,
            held: Mutex::new(held),
        }))
    }

    fn accept<S, F>(&self, script: S)
    where
        S: Fn(Self, Wire) -> F + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let socket = self.0.held.lock().unwrap().remove(0);
        socket.listen(128).unwrap();
        socket.set_nonblocking(true).unwrap();
        let listener = match self.0.address {
            Some(_) => Listener::Tcp(TcpListener::from_std(socket.into()).unwrap()),
            None => {
                let socket = std::os::unix::net::UnixListener::from(std::os::fd::OwnedFd::from(socket));
                Listener::Unix(UnixListener::from_std(socket).unwrap())
            }
        };
        let backend = self.clone();
        let acceptor = tokio::spawn(async move {
            while let Some(wire) = listener.accept().await {
                let connection = tokio::spawn(script(backend.clone(), wire));
                backend.0.connections.lock().unwrap().push(connection);
            }
        });
        *self.0.acceptor.lock().unwrap() = Some(acceptor);
    }
}

enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    async fn accept(&self) -> Option<Wire> {
        match self {
            Self::Tcp(listener) => listener.accept().await.ok().map(|(stream, _)| stream.into()),
            Self::Unix(listener) => listener.accept().await.ok().map(|(stream, _)| stream.into()),
        }
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.name)
    }
}

impl Wire {
    /// Answers a handshake with a 101. `more` holds further fields, each ended by CRLF.
    pub async fn accept(&mut self, handshake: &Head, more: &str) {
        let answer = accepting(handshake, more);
        self.send(answer).await;
    }
}

/// The 101 that answers this handshake.
pub fn accepting(handshake: &Head, more: &str) -> String {
    let accept = derive_accept_key(handshake.header("sec-websocket-key").expect("a key").as_bytes());
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n{more}\r\n"
    )
}

async fn echo(backend: Backend, mut wire: Wire) {
    let name = format!("X-Backend: {backend}\r\n");
    while let Some(head) = backend.next_head(&mut wire).await {
        if head.header("sec-websocket-key").is_some() {
            wire.accept(&head, &name).await;
            return echo_frames(wire).await;
        }
        let length = head.header("content-length").map_or(0, |length| length.parse().unwrap());
        wire.take(length).await;
        let body = head.as_str();
        wire.send(format!("HTTP/1.1 200 OK\r\n{name}Content-Length: {}\r\n\r\n{body}", body.len())).await;
    }
}

/// Echoes until a Close or the end of the stream. It is no failure if nobody is left to take an answer.
async fn echo_frames(mut wire: Wire) {
    while let Some(frame) = wire.next_frame().await {
        let answer = match frame.first {
            PONG => continue,
            PING => unmasked(PONG, &frame.payload),
            first => unmasked(first, &frame.payload),
        };
        if !wire.try_send(&answer).await {
            return;
        }
        if frame.first == CLOSE {
            wire.finish().await;
            // Closing over unread bytes would be a reset.
            wire.whatever_comes().await;
            return;
        }
    }
}

/// Answers every request that can be understood in only one way. Panics at any other request.
async fn strict(backend: Backend, mut wire: Wire) {
    while let Some(head) = backend.next_head(&mut wire).await {
        let framing = assert_strict_request(&head);
        let Some(body) = strict_body(&mut wire, framing).await else { return };
        let answer = format!("took {} bytes", body.len());
        wire.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{answer}", answer.len())).await;
    }
}
