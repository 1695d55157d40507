//! One active check: a backend is asked whether it serves.

use std::{fmt, net::SocketAddr};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::{Buf as _, BytesMut};
use hyper::{
    HeaderMap, Method, StatusCode, Uri, Version,
    header::{CONNECTION, HOST, HeaderValue, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE, USER_AGENT},
    http::uri::PathAndQuery,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, copy, sink},
    time::{Instant as Deadline, timeout_at},
};

use super::{
    chance,
    connect::{Endpoint, connect},
    exchange::send,
    handshake::{HandshakeReply, MOST_FIELDS, send_and_read_head},
    own::Own,
    request_head::{self, Head},
    tls,
};
use crate::{
    balance::{CheckKind, HealthCheck, alternate},
    error::{Error, Kind},
    net::stream::plain_or_tls::Stream,
    ws::{
        frame::{Breach, ControlFrame, FrameHeader, OpCode},
        handshake::{self, FalseUpgrade, Upgrade},
    },
};

/// How many bytes a backend may send between its 101 and its Pong. A greeting fits, a flood does not.
const MAX_BEFORE_PONG: usize = 1024 * 1024;

/// The code of a Close after a session that has done its work (RFC 6455 §7.4.1).
const NORMAL_CLOSURE: u16 = 1000;

/// The most bytes that one read takes.
const READ: usize = 4096;

/// Why a check failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// No connection, or no answer that can be read.
    Exchange(Error),
    /// A status that does not pass.
    Status(StatusCode),
    /// An answer to the handshake that is no 101.
    NotUpgraded(StatusCode),
    /// A 101 that does not follow from the handshake.
    FalseUpgrade(FalseUpgrade),
    /// No Pong came in time.
    NoPong,
    /// The backend ended the session before it answered the Ping.
    Closed,
    /// The backend sent something that is no WebSocket.
    Breach(Breach),
    /// The backend sent [`MAX_BEFORE_PONG`] bytes, and no Pong among them.
    Flood,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exchange(error) => write!(f, "{}: {error}", error.reason()),
            Self::Status(status) => write!(f, "status {}", status.as_u16()),
            Self::NotUpgraded(status) => write!(f, "status {}, not a 101", status.as_u16()),
            Self::FalseUpgrade(error) => write!(f, "a 101 that cannot be believed: {error}"),
            Self::NoPong => f.write_str("no pong in time"),
            Self::Closed => f.write_str("closed before its pong"),
            Self::Breach(breach) => breach.fmt(f),
            Self::Flood => write!(f, "{MAX_BEFORE_PONG} bytes and no pong"),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Exchange(error)
    }
}

impl From<Kind> for Failure {
    fn from(kind: Kind) -> Self {
        Self::Exchange(kind.into())
    }
}

/// Runs one check, within `timeout` in all.
pub(super) async fn check(endpoint: Endpoint<'_>, settings: &HealthCheck, own: &Own) -> Result<(), Failure> {
    let authority = endpoint.authority;
    let deadline = Deadline::now() + settings.timeout;
    // The turns among the addresses of a name are those of requests.
    let arrange = |addresses: &[SocketAddr]| alternate(addresses, |_| {});
    let mut stream = connect(endpoint, own, settings.timeout, arrange).await?.stream;
    match &settings.kind {
        CheckKind::Tcp => part(stream, deadline).await,
        CheckKind::Http { path, statuses } => {
            let mut head = get_request(path, settings.host.as_deref());
            head.headers.insert(CONNECTION, HeaderValue::from_static("close"));
            let status = match ask(&mut stream, &head, authority, deadline).await? {
                HandshakeReply::Switched { .. } => StatusCode::SWITCHING_PROTOCOLS,
                HandshakeReply::Other { status, .. } => status,
            };
            stream.say_goodbye();
            let passes = statuses.iter().any(|range| range.contains(&status.as_u16()));
            passes.then_some(()).ok_or(Failure::Status(status))
        }
        CheckKind::WebSocket { path } => {
            let (head, asked_for) = into_handshake(get_request(path, settings.host.as_deref()))?;
            match ask(&mut stream, &head, authority, deadline).await? {
                HandshakeReply::Switched { headers, early, .. } => {
                    handshake::verify(&asked_for, &headers).map_err(Failure::FalseUpgrade)?;
                    let mut session = CheckSession { stream, read: early.into(), total: 0 };
                    timeout_at(deadline, session.ping()).await.unwrap_or(Err(Failure::NoPong))?;
                    // The backend has answered. How well it closes does not matter.
                    let _ = timeout_at(deadline, session.close()).await;
                    session.stream.say_goodbye();
                    Ok(())
                }
                HandshakeReply::Other { status, .. } => {
                    stream.say_goodbye();
                    Err(Failure::NotUpgraded(status))
                }
            }
        }
    }
}

/// Ends TLS in order, because servers complain of an end without a word. How well the backend takes part does not matter, but
/// in TLS 1.3 only this tells whether it accepts our certificate.
async fn part(mut stream: Stream, deadline: Deadline) -> Result<(), Failure> {
    if !matches!(stream, Stream::Tls(_)) {
        return Ok(());
    }
    let ending = async {
        stream.shutdown().await?;
        copy(&mut stream.take(MAX_BEFORE_PONG as u64), &mut sink()).await
    };
    match timeout_at(deadline, ending).await {
        Ok(Err(error)) if tls::is_of_tls(&error) => Err(tls::after_handshake(&error).into()),
        _ => Ok(()),
    }
}

async fn ask(stream: &mut Stream, head: &Head, authority: &str, deadline: Deadline) -> Result<HandshakeReply, Error> {
    timeout_at(deadline, send_and_read_head(stream, request_head::write(head, authority), MOST_FIELDS))
        .await
        .map_err(|_| Kind::ResponseTimeout)?
}

/// A GET of this path. Path and host were checked with the file. A value that cannot be written is left out.
fn get_request(path: &str, host: Option<&str>) -> Head {
    let path = path.parse().unwrap_or_else(|_| PathAndQuery::from_static("/"));
    let mut headers = HeaderMap::new();
    if let Some(host) = host.and_then(|host| HeaderValue::from_str(host).ok()) {
        headers.insert(HOST, host);
    }
    headers.insert(USER_AGENT, HeaderValue::from_static("longwire-check"));
    Head { method: Method::GET, uri: Uri::from(path), headers }
}

/// Makes the request a WebSocket handshake, which the rules for clients then read.
fn into_handshake(mut head: Head) -> Result<(Head, Upgrade), Error> {
    let mut key = [0; 16];
    getrandom::fill(&mut key).map_err(|error| Error::from_source(Kind::Exhausted, error))?;
    let key =
        HeaderValue::from_str(&STANDARD.encode(key)).map_err(|error| Error::from_source(Kind::Exhausted, error))?;
    for (name, value) in [
        (UPGRADE, HeaderValue::from_static("websocket")),
        (CONNECTION, HeaderValue::from_static("upgrade")),
        (SEC_WEBSOCKET_VERSION, HeaderValue::from_static(handshake::VERSION)),
        (SEC_WEBSOCKET_KEY, key),
    ] {
        head.headers.insert(name, value);
    }
    match handshake::classify(&head.method, Version::HTTP_11, &head.headers) {
        handshake::RequestKind::WebSocket(asked_for) => Ok((head, asked_for)),
        handshake::RequestKind::Plain | handshake::RequestKind::Bad(_) => Err(Kind::BadHandshake.into()),
    }
}

/// A session of our own with a backend. Of what it reads, it keeps no more than one control frame and one read.
struct CheckSession {
    stream: Stream,
    read: BytesMut,
    /// Bytes read so far.
    total: usize,
}

impl CheckSession {
    /// Sends a Ping and waits for its Pong (RFC 6455 §5.5.2). Everything else that comes is dropped.
    async fn ping(&mut self) -> Result<(), Failure> {
        let payload = chance::number().to_be_bytes();
        self.send(OpCode::Ping, &payload).await?;
        loop {
            let frame = self.control_frame().await?;
            match frame.opcode {
                OpCode::Pong if frame.payload() == payload => return Ok(()),
                OpCode::Close => return Err(Failure::Closed),
                _ => {}
            }
        }
    }

    /// Closes the session (RFC 6455 §7.1.2). The backend is to end the connection.
    async fn close(&mut self) -> Result<(), Failure> {
        self.send(OpCode::Close, &NORMAL_CLOSURE.to_be_bytes()).await?;
        while self.control_frame().await?.opcode != OpCode::Close {}
        while self.fill().await.is_ok() {
            self.read.clear();
        }
        Ok(())
    }

    async fn send(&mut self, opcode: OpCode, payload: &[u8]) -> Result<(), Failure> {
        let [a, b, c, d, ..] = chance::number().to_be_bytes();
        let mut bytes = Vec::new();
        // The payload is not masked yet.
        ControlFrame::new(opcode, payload, None).encode(Some([a, b, c, d]), &mut bytes);
        send(&mut self.stream, &bytes).await.map_err(|_| Failure::Closed)
    }

    /// Reads the next Ping, Pong or Close. Data before it is skipped.
    async fn control_frame(&mut self) -> Result<ControlFrame, Failure> {
        loop {
            let Some((header, size)) = FrameHeader::parse(&self.read).map_err(Failure::Breach)? else {
                self.fill().await?;
                continue;
            };
            if header.mask.is_some() {
                return Err(Failure::Breach(Breach::Masked));
            }
            if !header.opcode.is_control() {
                self.read.advance(size);
                self.skip(header.length).await?;
                continue;
            }
            // At most 125 bytes: the header would not be a control frame's otherwise.
            let end = size + usize::try_from(header.length).map_err(|_| Failure::Breach(Breach::LongControl))?;
            while self.read.len() < end {
                self.fill().await?;
            }
            let frame = ControlFrame::read(&header, &self.read[size..end]);
            self.read.advance(end);
            return Ok(frame);
        }
    }

    async fn skip(&mut self, mut left: u64) -> Result<(), Failure> {
        loop {
            let length = usize::try_from(left).unwrap_or(usize::MAX).min(self.read.len());
            self.read.advance(length);
            left = left.saturating_sub(u64::try_from(length).unwrap_or(u64::MAX));
            if left == 0 {
                return Ok(());
            }
            self.fill().await?;
        }
    }

    /// Reads at least one byte more.
    async fn fill(&mut self) -> Result<(), Failure> {
        self.read.reserve(READ);
        let read = (&mut self.stream).take(READ as u64).read_buf(&mut self.read).await;
        let length = read.map_err(|_| Failure::Closed)?;
        self.total += length;
        match length {
            0 => Err(Failure::Closed),
            _ if self.total > MAX_BEFORE_PONG => Err(Failure::Flood),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::{
        io::{Read as _, Write as _},
        net::{TcpListener, TcpStream},
        thread,
        time::Duration,
    };

    use socket2::{Domain, Socket, Type};
    use tokio::runtime::Builder;

    use super::*;
    use crate::{
        balance::OnDown,
        net::{
            backend::{own::Place, way::Way},
            stream::sockets::{Attendant, BoundSocket},
        },
    };

    /// A deadline that is kept.
    const LONG: Duration = Duration::from_secs(10);

    /// Why a check by HTTP fails within `timeout`.
    fn failure(address: &str, own: &Own, timeout: Duration) -> Kind {
        let settings = HealthCheck {
            kind: CheckKind::Http { path: "/".to_owned(), statuses: vec![200..=299] },
            host: None,
            interval: LONG,
            jitter: Duration::ZERO,
            timeout,
            rise: 1,
            fall: 1,
            on_down: OnDown::Keep,
        };
        let way = Way::default();
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let endpoint = Endpoint { address, authority: address, way: &way, announcement: &[] };
        let checked =
            runtime.block_on(async { Attendant::new().unwrap().attend(check(endpoint, &settings, own)).await });
        match checked {
            Err(Failure::Exchange(error)) => error.kind(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_check_that_cannot_connect_fails_in_the_words_of_a_request() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let own = Own::default();
        let listener = BoundSocket::Tcp(listener);
        own.set(vec![Place::of(&listener).unwrap()]);
        assert_eq!(failure(&address, &own, LONG), Kind::Loop);
        drop(listener);
        assert_eq!(failure(&address, &Own::default(), LONG), Kind::Refused);
        // The one place in the backlog is taken, so the kernel drops the packets of whoever else connects.
        let full = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        full.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        full.listen(0).unwrap();
        let address = full.local_addr().unwrap().as_socket().unwrap();
        let _waits = TcpStream::connect(address).unwrap();
        assert_eq!(failure(&address.to_string(), &Own::default(), Duration::from_millis(20)), Kind::ConnectTimeout);
    }

    #[test]
    fn a_check_without_a_good_answer_fails_in_the_words_of_a_request() {
        let answers: [(&[u8], _); 3] = [
            (b"", Kind::ClosedEarly),
            (b"\x15\x03\x01\0\x02\x02\x0a", Kind::SpeaksTls),
            (b"220 mail.example.com ESMTP\r\n", Kind::MalformedAnswer),
        ];
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let backend = thread::spawn(move || {
            for (answer, _) in answers {
                let mut check = listener.accept().unwrap().0;
                assert!(check.read(&mut [0; 1024]).unwrap() > 0);
                check.write_all(answer).unwrap();
            }
        });
        for (_, kind) in answers {
            assert_eq!(failure(&address, &Own::default(), LONG), kind);
        }
        backend.join().unwrap();
    }
}
