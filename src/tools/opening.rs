//! Opens a WebSocket from the beginning: TCP, TLS, handshake. For the tools that are clients.

mod error;
mod target;
mod trust;

use std::{fmt, io, net::SocketAddr, sync::Arc, time::Duration};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use hyper::{
    HeaderMap, Method, Version,
    header::{
        CONNECTION, CONTENT_TYPE, HOST, HeaderName, HeaderValue, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
        SEC_WEBSOCKET_VERSION, UPGRADE,
    },
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{self, pki_types::ServerName},
};

pub use self::{error::OpenerError, target::Target};
use crate::{
    net::stream::lookup::look_up,
    ws::{
        handshake::{self, FalseUpgrade, RequestKind, Upgrade},
        offer::Agreed,
    },
};

/// How long TCP, TLS and the handshake may take together.
const OPEN_WITHIN: Duration = Duration::from_secs(10);
/// The most bytes of the head of an answer.
const MAX_HEAD: usize = 64 * 1024;
/// The most fields of an answer.
const MAX_FIELDS: usize = 128;
/// How long the text of a refusal may come after its head.
const SAID_WITHIN: Duration = Duration::from_millis(500);
/// The most bytes that are kept of this text.
const MOST_SAID: usize = 100;

/// A byte stream, plain or TLS.
pub(super) trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin {
    /// The socket below it.
    fn tcp(&self) -> &TcpStream;
}

impl ByteStream for TcpStream {
    fn tcp(&self) -> &TcpStream {
        self
    }
}

impl ByteStream for TlsStream<TcpStream> {
    fn tcp(&self) -> &TcpStream {
        self.get_ref().0
    }
}

/// Which WebSocket to open, and how.
#[derive(Debug, Clone)]
pub(super) struct WebSocketWanted<'a> {
    pub(super) target: &'a Target,
    /// The subprotocols to offer, in this order.
    pub(super) subprotocols: &'a [String],
    /// Further headers of the handshake. They replace ours.
    pub(super) headers: &'a [(HeaderName, HeaderValue)],
    /// Whether any certificate is believed.
    pub(super) insecure: bool,
    /// Whether TLS sessions are resumed; otherwise each handshake is a full one.
    pub(super) resumption: bool,
}

/// Opens WebSockets. All of them send the same request with the same key; only a cache could mind that.
#[derive(Clone)]
pub(super) struct Opener {
    addresses: Vec<SocketAddr>,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    request: Arc<[u8]>,
    upgrade: Upgrade,
}

/// An open WebSocket.
pub(super) struct Opened {
    pub(super) socket: Box<dyn ByteStream>,
    /// The bytes that came behind the 101.
    pub(super) early: Vec<u8>,
    /// The fields of the 101.
    pub(super) fields: HeaderMap,
    pub(super) agreed: Agreed,
}

/// Why a WebSocket could not be opened. Equal causes have equal texts, so that they can be counted.
#[derive(Debug)]
pub(super) enum OpenError {
    Connect(io::Error),
    Tls(io::Error),
    /// The connection ended or broke before the answer was whole.
    Exchange(io::Error),
    /// The bytes that came are no HTTP.
    NotHttp,
    /// The answer was not a 101, but this status with these fields. `said`: the first line of a plain text.
    Refused {
        status: u16,
        fields: Box<HeaderMap>,
        said: String,
    },
    FalseUpgrade(FalseUpgrade),
    TimedOut,
}

impl Opener {
    /// Resolves the host and prepares the request.
    ///
    /// # Errors
    /// The host has no address; the headers make no valid handshake; the system's certificates cannot be read.
    pub(super) async fn new(wanted: &WebSocketWanted<'_>) -> Result<Self, OpenerError> {
        let target = wanted.target;
        let address = format!("{}:{}", target.host, target.port);
        let found = timeout(OPEN_WITHIN, look_up(&address)).await.map_err(io::Error::from).flatten();
        let addresses = found.map_err(OpenerError::Resolve)?;
        let tls = if target.tls {
            let name = ServerName::try_from(target.host.clone()).map_err(|_| OpenerError::Name(target.host.clone()))?;
            Some((trust::connector(wanted.insecure, wanted.resumption)?, name))
        } else {
            None
        };
        let (request, upgrade) = request(wanted)?;
        Ok(Self { addresses, tls, request: request.into(), upgrade })
    }

    /// Opens one WebSocket.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub(super) async fn open(&self) -> Result<Opened, OpenError> {
        timeout(OPEN_WITHIN, self.open_now()).await.map_err(|_| OpenError::TimedOut)?
    }

    async fn open_now(&self) -> Result<Opened, OpenError> {
        let stream = TcpStream::connect(self.addresses.as_slice()).await.map_err(OpenError::Connect)?;
        stream.set_nodelay(true).map_err(OpenError::Connect)?;
        let mut socket: Box<dyn ByteStream> = match &self.tls {
            None => Box::new(stream),
            Some((connector, name)) => Box::new(connector.connect(name.clone(), stream).await.map_err(OpenError::Tls)?),
        };
        socket.write_all(&self.request).await.map_err(OpenError::Exchange)?;
        socket.flush().await.map_err(OpenError::Exchange)?;
        let (early, fields, agreed) = self.answer(&mut socket).await?;
        Ok(Opened { socket, early, fields, agreed })
    }

    /// Reads the head of the answer. Returns the bytes behind a right 101, its fields, and what they agree on.
    async fn answer(&self, socket: &mut Box<dyn ByteStream>) -> Result<(Vec<u8>, HeaderMap, Agreed), OpenError> {
        let mut head = Vec::with_capacity(1024);
        loop {
            let read = socket.read_buf(&mut head).await.map_err(OpenError::Exchange)?;
            if read == 0 {
                return Err(OpenError::Exchange(io::ErrorKind::UnexpectedEof.into()));
            }
            let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
            let mut answer = httparse::Response::new(&mut fields);
            match answer.parse(&head) {
                Ok(httparse::Status::Complete(length)) => {
                    let judged = self.judge(&answer);
                    let mut behind = head.split_off(length);
                    return match judged {
                        Ok((fields, agreed)) => Ok((behind, fields, agreed)),
                        Err(OpenError::Refused { status, fields, .. }) => {
                            if behind.is_empty() {
                                // Why it refused is worth a little wait, and no error.
                                let _ = timeout(SAID_WITHIN, socket.read_buf(&mut behind)).await;
                            }
                            let said = said(&fields, &behind);
                            Err(OpenError::Refused { status, fields, said })
                        }
                        Err(error) => Err(error),
                    };
                }
                Ok(httparse::Status::Partial) if head.len() <= MAX_HEAD => {}
                _ => return Err(OpenError::NotHttp),
            }
        }
    }

    fn judge(&self, answer: &httparse::Response<'_, '_>) -> Result<(HeaderMap, Agreed), OpenError> {
        let mut fields = HeaderMap::with_capacity(answer.headers.len());
        for field in answer.headers.iter() {
            let (Ok(name), Ok(value)) = (HeaderName::try_from(field.name), HeaderValue::from_bytes(field.value)) else {
                return Err(OpenError::NotHttp);
            };
            fields.append(name, value);
        }
        match answer.code {
            Some(101) => {}
            Some(status) => {
                return Err(OpenError::Refused { status, fields: Box::new(fields), said: String::new() });
            }
            None => return Err(OpenError::NotHttp),
        }
        let agreed = handshake::verify(&self.upgrade, &fields).map_err(OpenError::FalseUpgrade)?;
        Ok((fields, agreed))
    }
}

/// The first line of a plain text that came with a refusal, without what a terminal could take for an order.
fn said(fields: &HeaderMap, body: &[u8]) -> String {
    let is_text = fields.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/plain"));
    let line = body.iter().take_while(|byte| !matches!(byte, b'\r' | b'\n')).take(MOST_SAID).filter(|_| is_text);
    line.filter(|byte| matches!(byte, b' '..=b'~')).map(|byte| char::from(*byte)).collect()
}

/// Whether the certificate of the other end was not believed.
fn is_of_certificate(error: &io::Error) -> bool {
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>());
    matches!(cause, Some(rustls::Error::InvalidCertificate(_)))
}

/// The bytes of the request, and the upgrade against which its answer is checked.
fn request(wanted: &WebSocketWanted<'_>) -> Result<(Vec<u8>, Upgrade), OpenerError> {
    let WebSocketWanted { target, subprotocols, headers: further, .. } = wanted;
    let mut key = [0; 16];
    getrandom::fill(&mut key).map_err(io::Error::from)?;
    let mut headers = HeaderMap::new();
    let value = |text: &str| HeaderValue::try_from(text).map_err(|_| OpenerError::Header(text.to_owned()));
    headers.insert(HOST, value(&target.authority)?);
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(SEC_WEBSOCKET_KEY, value(&BASE64_STANDARD.encode(key))?);
    headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static(handshake::VERSION));
    if !subprotocols.is_empty() {
        headers.insert(SEC_WEBSOCKET_PROTOCOL, value(&subprotocols.join(", "))?);
    }
    for (name, value) in *further {
        headers.insert(name, value.clone());
    }
    let RequestKind::WebSocket(upgrade) = handshake::classify(&Method::GET, Version::HTTP_11, &headers) else {
        return Err(OpenerError::Header("with them it is no WebSocket handshake".to_owned()));
    };
    let mut request = format!("GET {} HTTP/1.1\r\n", target.resource).into_bytes();
    for (name, value) in &headers {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            request.extend_from_slice(part);
        }
    }
    request.extend_from_slice(b"\r\n");
    Ok((request, upgrade))
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect(error) if error.kind() == io::ErrorKind::AddrNotAvailable => f.write_str(
                "connecting: no local port is left (about 28,000 connections per source address and target)",
            ),
            Self::Connect(error) => write!(f, "connecting: {error}"),
            Self::Tls(error) if is_of_certificate(error) => {
                write!(f, "TLS: {error}: --insecure believes any certificate")
            }
            Self::Tls(error) => write!(f, "TLS: {error}"),
            Self::Exchange(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                f.write_str("handshake: the connection was closed instead of an answer")
            }
            Self::Exchange(error) => write!(f, "handshake: {error}"),
            Self::NotHttp => f.write_str("handshake: the answer is no HTTP/1.1"),
            Self::Refused { status, .. } => write!(f, "handshake: answered with {status}"),
            Self::FalseUpgrade(error) => write!(f, "handshake: 101, but {error}"),
            Self::TimedOut => write!(f, "not open after {OPEN_WITHIN:?}"),
        }
    }
}
