//! Active checks: each backend is asked at regular times whether it serves, and its upstream is told.

#![expect(
    clippy::disallowed_types,
    reason = "checks belong to no worker; the background thread waits for their sockets"
)]

use std::{
    fmt,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::{Buf as _, BytesMut};
use hyper::{
    HeaderMap, Method, StatusCode, Uri, Version,
    header::{CONNECTION, HOST, HeaderValue, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE, USER_AGENT},
    http::uri::PathAndQuery,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinSet,
    time::{Instant as Deadline, sleep, timeout_at},
};

use super::{
    connect::{Connected, connect},
    handshake::{MOST_FIELDS, Reply, exchange},
    own::Own,
    request_head::{self, Head},
};
use crate::{
    balance::{Backend, CheckKind, CheckResult, HealthCheck, Transition, Upstream, alternate},
    error::{Error, Kind},
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

/// The checks of one configuration. After this is dropped, none of them tells anything, not even one that has just
/// ended on another thread. What an old check found must not be told to a new configuration, which perhaps wants no
/// checks.
#[derive(Debug, Default)]
pub(in crate::net) struct Checks {
    /// The tasks are aborted with the set, each at its next wait.
    tasks: JoinSet<()>,
    voice: Voice,
}

/// Whether the checks are still listened to. The lock is held while a check tells what it found.
#[derive(Debug, Clone)]
struct Voice(Arc<Mutex<bool>>);

impl Default for Voice {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(true)))
    }
}

impl Voice {
    /// Calls `tell` if the checks are still listened to. `tell` must not wait.
    fn speak(&self, tell: impl FnOnce()) {
        let is_heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if *is_heard {
            tell();
        }
    }

    /// Once this has returned, no check tells anything.
    fn silence(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = false;
    }
}

impl Drop for Checks {
    fn drop(&mut self) {
        self.voice.silence();
    }
}

/// Checks the backends of these upstreams, if the file wants that, until the checks are dropped. To be called within a
/// runtime, on which the checks then run. Earlier checks are to be dropped first, so that no check is told to two
/// configurations.
///
/// `on_transition` is called each time the checks find that a backend goes out or comes back. It must not wait. It is the place to drain the sessions of a backend that goes out (`OnDown::Drain`
/// in [`Upstream::health_check`]), and to take that back when the backend comes back.
pub(in crate::net) fn watch<F>(upstreams: &[Arc<Upstream>], own: &Arc<Own>, on_transition: F) -> Checks
where
    F: Fn(&Upstream, &Arc<Backend>, Transition) + Clone + Send + 'static,
{
    let mut checks = Checks::default();
    for upstream in upstreams {
        let Some(settings) = upstream.health_check() else { continue };
        for member in upstream.members().iter().filter(|member| upstream.is_checked(member)) {
            let (own, voice) = (Arc::clone(own), checks.voice.clone());
            let one = (Arc::clone(upstream), Arc::clone(&member.backend));
            checks.tasks.spawn(watch_one(one, settings.clone(), (own, voice), on_transition.clone()));
        }
    }
    checks
}

/// Checks one backend again and again, for the first time within `jitter`.
async fn watch_one(
    (upstream, backend): (Arc<Upstream>, Arc<Backend>),
    settings: HealthCheck,
    (own, voice): (Arc<Own>, Voice),
    on_transition: impl Fn(&Upstream, &Arc<Backend>, Transition) + Clone + Send + 'static,
) {
    let mut pause = at_random(settings.jitter);
    loop {
        #[expect(clippy::disallowed_methods, reason = "checks come at intervals")]
        sleep(pause).await;
        pause = settings.interval + at_random(settings.jitter);
        let (settings, upstream, backend) = (settings.clone(), Arc::clone(&upstream), Arc::clone(&backend));
        let (own, voice, on_transition) = (Arc::clone(&own), voice.clone(), on_transition.clone());
        // Each check has a task of its own: no check should panic, and if one does, others follow it.
        let mut task = JoinSet::new();
        task.spawn(async move {
            let failure = match check(backend.address(), &settings, &own).await {
                Ok(()) => None,
                // We have run out of something. That says nothing about the backend.
                Err(Failure::Exchange(error)) if error.kind() == Kind::Exhausted => return,
                Err(failure) => Some(failure.to_string()),
            };
            voice.speak(|| tell(&upstream, &backend, failure, on_transition));
        });
        if let Some(Err(error)) = task.join_next().await {
            tracing::error!(%error, "a check of a backend panicked");
        }
    }
}

/// Tells the outcome of a check to the upstream, and a transition to `on_transition`.
fn tell(
    upstream: &Upstream,
    backend: &Arc<Backend>,
    failure: Option<String>,
    on_transition: impl Fn(&Upstream, &Arc<Backend>, Transition),
) {
    let check = CheckResult { at: Instant::now(), failure: failure.clone() };
    let Some(transition) = upstream.checked(backend, check) else { return };
    let (name, address) = (upstream.name(), backend.address());
    match failure {
        Some(reason) => tracing::warn!(upstream = name, backend = address, reason, "backend is out: its checks fail"),
        None => tracing::info!(upstream = name, backend = address, "backend is back: its checks pass"),
    }
    on_transition(upstream, backend, transition);
}

/// Why a check failed.
#[derive(Debug)]
enum Failure {
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
async fn check(address: &str, settings: &HealthCheck, own: &Own) -> Result<(), Failure> {
    let deadline = Deadline::now() + settings.timeout;
    let arrange = |addresses: &[SocketAddr]| alternate(addresses, |_| {});
    let Connected { stream: mut socket, peer, .. } =
        connect(address, settings.timeout, arrange, TcpStream::connect::<SocketAddr>).await?;
    own.check(&socket, peer)?;
    match &settings.kind {
        CheckKind::Tcp => Ok(()),
        CheckKind::Http { path, statuses } => {
            let mut head = head(path, settings.host.as_deref());
            head.headers.insert(CONNECTION, HeaderValue::from_static("close"));
            let status = match ask(&mut socket, &head, address, deadline).await? {
                Reply::Switched { .. } => StatusCode::SWITCHING_PROTOCOLS,
                Reply::Other { status, .. } => status,
            };
            let passes = statuses.iter().any(|range| range.contains(&status.as_u16()));
            passes.then_some(()).ok_or(Failure::Status(status))
        }
        CheckKind::WebSocket { path } => {
            let (head, asked_for) = upgrade(head(path, settings.host.as_deref()))?;
            match ask(&mut socket, &head, address, deadline).await? {
                Reply::Switched { headers, early, .. } => {
                    handshake::verify(&asked_for, &headers).map_err(Failure::FalseUpgrade)?;
                    let mut session = Session { socket, read: early.into(), total: 0 };
                    timeout_at(deadline, session.ping()).await.unwrap_or(Err(Failure::NoPong))?;
                    // The backend has answered. How well it closes does not matter.
                    let _ = timeout_at(deadline, session.close()).await;
                    Ok(())
                }
                Reply::Other { status, .. } => Err(Failure::NotUpgraded(status)),
            }
        }
    }
}

async fn ask(socket: &mut TcpStream, head: &Head, address: &str, deadline: Deadline) -> Result<Reply, Error> {
    timeout_at(deadline, exchange(socket, &request_head::write(head, address), MOST_FIELDS))
        .await
        .map_err(|_| Kind::ResponseTimeout)?
}

/// A GET of this path. Path and host were checked with the file. A value that cannot be written is left out.
fn head(path: &str, host: Option<&str>) -> Head {
    let path = path.parse().unwrap_or_else(|_| PathAndQuery::from_static("/"));
    let mut headers = HeaderMap::new();
    if let Some(host) = host.and_then(|host| HeaderValue::from_str(host).ok()) {
        headers.insert(HOST, host);
    }
    headers.insert(USER_AGENT, HeaderValue::from_static("longwire-check"));
    Head { method: Method::GET, uri: Uri::from(path), headers }
}

/// Makes the request a WebSocket handshake, which the rules for clients then read.
fn upgrade(mut head: Head) -> Result<(Head, Upgrade), Error> {
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
        handshake::Kind::WebSocket(asked_for) => Ok((head, asked_for)),
        handshake::Kind::Plain | handshake::Kind::Bad(_) => Err(Kind::BadHandshake.into()),
    }
}

/// A session of our own with a backend. Of what it reads, it keeps no more than one control frame and one read.
struct Session {
    socket: TcpStream,
    read: BytesMut,
    /// Bytes read so far.
    total: usize,
}

impl Session {
    /// Sends a Ping and waits for its Pong (RFC 6455 §5.5.2). Everything else that comes is dropped.
    async fn ping(&mut self) -> Result<(), Failure> {
        let payload = random().to_be_bytes();
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
        let [a, b, c, d, ..] = random().to_be_bytes();
        let mut bytes = Vec::new();
        // The payload is not masked yet.
        ControlFrame::new(opcode, payload, None).encode(Some([a, b, c, d]), &mut bytes);
        self.socket.write_all(&bytes).await.map_err(|_| Failure::Closed)
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
        let read = (&mut self.socket).take(READ as u64).read_buf(&mut self.read).await;
        let length = read.map_err(|_| Failure::Closed)?;
        self.total += length;
        match length {
            0 => Err(Failure::Closed),
            _ if self.total > MAX_BEFORE_PONG => Err(Failure::Flood),
            _ => Ok(()),
        }
    }
}

/// A random time from zero to `most`.
fn at_random(most: Duration) -> Duration {
    most.mul_f64(random() as f64 / u64::MAX as f64)
}

/// A random number. If the kernel has none, a constant is good enough: nothing here is secret.
fn random() -> u64 {
    getrandom::u64().unwrap_or(0x5eed)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::{
        path::Path,
        sync::{
            atomic::{AtomicBool, Ordering::SeqCst},
            mpsc,
        },
        thread,
    };

    use tokio::sync::oneshot;

    use super::*;
    use crate::{balance::Registry, config};

    /// An upstream with one backend that is checked all the time.
    fn upstream(address: &str) -> Arc<Upstream> {
        let file = "listeners: [ { bind: \"127.0.0.1:0\" } ]\nroutes: [ { upstream: chat } ]\n\
                    upstreams: { chat: { backends: [ { address: \"ADDRESS\" } ], \
                    health_check: { kind: tcp, interval: 20ms, jitter: 0s, timeout: 20ms, rise: 1, fall: 1 } } }\n";
        let settings = config::parse(&file.replace("ADDRESS", address), "proxy.yaml", Path::new("."))
            .unwrap()
            .config
            .upstreams
            .remove(0);
        Registry::new(0).upstream(settings, Instant::now())
    }

    #[test]
    fn no_check_speaks_any_more_once_the_checks_are_dropped() {
        let upstream = upstream("127.0.0.1:1");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let ((speaks, heard), (go_on, may_go_on)) = (mpsc::channel(), mpsc::channel::<()>());
        let (is_speaking, may_go_on) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(may_go_on)));
        let speaking = Arc::clone(&is_speaking);
        let entered = runtime.enter();
        let checks = watch(&[upstream], &Arc::default(), move |_, _, _| {
            speaking.store(true, SeqCst);
            speaks.send(()).unwrap();
            may_go_on.lock().unwrap().recv().unwrap();
            speaking.store(false, SeqCst);
        });
        drop(entered);
        let (stop, stopped) = oneshot::channel::<()>();
        let checking = thread::spawn(move || runtime.block_on(stopped).is_err());
        heard.recv().unwrap();
        let (begins, begun) = mpsc::channel();
        let dropping = thread::spawn(move || {
            begins.send(()).unwrap();
            drop(checks);
            is_speaking.load(SeqCst)
        });
        begun.recv().unwrap();
        (0..1000).for_each(|_| thread::yield_now());
        go_on.send(()).unwrap();
        assert!(!dropping.join().unwrap(), "a check was still speaking");
        drop(stop);
        assert!(checking.join().unwrap());
    }

    #[test]
    fn a_check_that_panics_is_not_the_last_one() {
        let reserved = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = reserved.local_addr().unwrap();
        drop(reserved);
        let upstream = upstream(&address.to_string());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let back = runtime.block_on(async {
            let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
            let _checks = watch(&[upstream], &Arc::default(), move |_, _, transition| {
                tell.send(transition).unwrap();
                assert!(transition == Transition::Back, "what none should do");
            });
            assert_eq!(told.recv().await, Some(Transition::Out));
            let _backend = std::net::TcpListener::bind(address).unwrap();
            tokio::time::timeout(Duration::from_secs(10), told.recv()).await
        });
        assert_eq!(back, Ok(Some(Transition::Back)));
    }
}
