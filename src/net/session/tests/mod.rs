//! Sessions in the loop of a worker, whose sides are sockets and streams in memory, in every combination.
//!
//! Both far ends of a session are in tasks of the same thread. So a stream in memory calls its session from a task.

#![allow(clippy::unwrap_used)]

mod comebacks;
mod properties;
mod relays;
mod secure;

use std::{
    collections::VecDeque,
    io::{self, Write},
    net::{IpAddr, Ipv4Addr, TcpListener, TcpStream},
    os::unix::net::UnixStream,
    panic, str,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use socket2::SockRef;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    runtime::Builder,
    sync::{mpsc, watch},
    time::timeout,
};

use super::{
    held::{Arrival, Held, Holdings},
    reclaim::{Reclaimable, Reclaims},
    relay::{Leg, Relay},
    sessions::{ARRIVALS, Process, Sessions},
};
use crate::{
    access_log::{AccessLog, Record, RouteLog},
    balance::{BackendSettings, Policy, Registry, Seat, Tried, Upstream, UpstreamSettings},
    config::{LogFormat, Tcp},
    metrics::Metrics,
    net::{
        counts::{
            fleet::Fleet,
            live::{ConnectionGuard, Live},
            unsent::Unsent,
        },
        orders::book::Book,
        stream::{
            memory::{self, Breaker},
            plain_or_tls::Stream,
            socketless::Socketless,
            sockets::{self, Socket},
        },
        thread::{door, vital::Vitals},
    },
    sender,
    ws::{
        Side::{self, Backend, Client},
        keepalive::{Secret, Settings, SideTimes},
        meter::MessageLimits,
        round_trips::RoundTripTimes,
        session::{Common, HoldTerms, ResumeTerms, Session, SessionSettings},
    },
};

/// A test that takes longer than this has come to a stop.
const STOPPED: Duration = Duration::from_secs(60);
/// The room of a stream in memory, in bytes, where a test does not say another one.
const ROOM: usize = 1000;

pub(super) const TEXT: u8 = 0x81;
pub(super) const BINARY: u8 = 0x82;

/// What a side of a session is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Socket,
    Unix,
    /// TLS over TCP. Only a session of [`World::session`] has it.
    Tls,
    /// A stream in memory with room for so many bytes each way.
    Memory(usize),
}

/// The client and the backend: every combination with TCP, and those in which a Unix socket is in the place of one.
pub(super) const KINDS: [[Kind; 2]; 6] = [
    [Kind::Socket, Kind::Socket],
    [Kind::Memory(ROOM), Kind::Socket],
    [Kind::Socket, Kind::Memory(ROOM)],
    [Kind::Memory(ROOM), Kind::Memory(ROOM)],
    [Kind::Socket, Kind::Unix],
    [Kind::Unix, Kind::Unix],
];

/// Nobody is pinged, and an end has all the time it needs.
pub(super) const SETTINGS: SessionSettings = SessionSettings {
    keepalive: Settings { ping_interval: SideTimes::of_both(None), pong_timeout: SideTimes::of_both(None) },
    idle: None,
    max_lifetime: None,
    close_timeout: STOPPED,
    limits: MessageLimits::NONE,
    extensions: false,
};

/// What a session needs around it, and the way to the loop of the worker.
pub(super) struct World {
    arrive: mpsc::Sender<Arrival>,
    /// The loop takes orders as long as somebody may give some.
    _orders: watch::Sender<Arc<Book>>,
    pub(super) live: Arc<Live>,
    connection: ConnectionGuard,
    pub(super) upstream: Arc<Upstream>,
    reclaims: Arc<Reclaims>,
    unsent: Arc<Unsent>,
    log: Arc<RouteLog>,
    lines: mpsc::UnboundedReceiver<String>,
    records: VecDeque<String>,
}

/// Runs a test with a loop that nobody drives, in a thread that is a worker's.
pub(super) fn with_sessions(test: impl AsyncFnOnce(World, Sessions) + Send) {
    let run = || {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let entered = runtime.enter();
        let epolls = sockets::open(false).unwrap();
        let (arrive, arrivals) = mpsc::channel(ARRIVALS);
        let (_orders, orders) = watch::channel(Arc::default());
        let tcp = Tcp { keepalive_idle: None, keepalive_interval: STOPPED, keepalive_probes: 9, user_timeout: None };
        let (unsent, vitals) = (Unsent::new(), Arc::new(Vitals::new()));
        let (queued, waiting) = (Unsent::new(), Arc::clone(&unsent));
        let (metrics, tcp) = (Arc::default(), Box::new(move || tcp));
        let reclaims = Reclaims::new();
        let (fleet, shares_limits) = (Fleet::new(Instant::now()), Box::new(|| false));
        let shared = Arc::clone(&reclaims);
        let process =
            Process { worker: 0, orders, unsent, queued, metrics, fleet, shares_limits, reclaims: shared, vitals, tcp };
        let sessions = Sessions::new(process, epolls, Duration::ZERO, arrivals).unwrap();
        drop(entered);
        let (sender, lines) = mpsc::unbounded_channel();
        let log = AccessLog::new(LogFormat::Json, Lines(sender)).unwrap();
        let log = RouteLog::new(Some(log), None, "*/", "chat", Metrics::default().route("*/", "chat"));
        let live = Live::new(1);
        let (connection, upstream, records) = (live.place(), upstream(), VecDeque::new());
        let world =
            World { arrive, _orders, live, connection, upstream, reclaims, unsent: waiting, log, lines, records };
        let test = door::answering(async { timeout(STOPPED, test(world, sessions)).await.expect("nothing moves") });
        runtime.block_on(test);
    };
    thread::scope(|scope| scope.spawn(run).join()).unwrap_or_else(|panicked| panic::resume_unwind(panicked));
}

/// Runs a test beside the loop of a worker.
pub(super) fn with_worker(test: impl AsyncFnOnce(&mut World) + Send) {
    with_sessions(async |mut world, sessions| {
        let worker = tokio::spawn(door::answering(sessions.drive()));
        test(&mut world).await;
        worker.abort();
    });
}

/// Two backends in turns.
fn upstream() -> Arc<Upstream> {
    let backend = |address: &str| {
        let address = address.to_owned();
        BackendSettings { address, weight: 1, max_conns: 0, backup: false, down: false, tier: 0, found: None }
    };
    let settings = UpstreamSettings {
        name: "chat".to_owned(),
        policy: Policy::RoundRobin,
        max_fails: 1,
        fail_timeout: STOPPED,
        tries: 0,
        slow_start: Duration::ZERO,
        max_handshakes: 0,
        handshake_queue: 0,
        reuses_connections: true,
        proxy_protocol: None,
        health_check: None,
        backends: vec![backend("a:80"), backend("b:80")],
    };
    Registry::default().upstream(settings, Instant::now())
}

fn localhost() -> sender::Client {
    IpAddr::V4(Ipv4Addr::LOCALHOST).into()
}

/// Sends the lines of the log to the test.
struct Lines(mpsc::UnboundedSender<String>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // At the end of the test, nobody reads any more.
        let _ = self.0.send(str::from_utf8(bytes).unwrap().to_owned());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl World {
    /// A place at the next backend.
    pub(super) fn seat(&self) -> Seat {
        self.upstream.pick(&localhost().into(), &mut Tried::default(), Instant::now()).unwrap().into_seat()
    }

    /// A session over these streams of the client and the backend, each with what was read before the session.
    pub(super) fn held(&self, sides: [(Stream, Bytes); 2], settings: SessionSettings) -> Box<Held> {
        self.held_on(sides, settings, (None, None))
    }

    /// The same for a session that may outlive its backend, or its client's connection.
    pub(super) fn held_on(
        &self,
        sides: [(Stream, Bytes); 2],
        settings: SessionSettings,
        (hold, resume): (Option<HoldTerms>, Option<(ResumeTerms, Box<Reclaimable>)>),
    ) -> Box<Held> {
        let now = Instant::now();
        let (secret, round_trips) = (Secret([5; 16]), RoundTripTimes::default());
        let (resume, reclaimable) = resume.unzip();
        let common = Arc::new(Common { settings, hold, resume, secret, epoch: now, round_trips });
        let [client, backend] = sides.map(|(stream, early)| Leg::new(stream, early));
        let seat = self.seat();
        let record = Record::new(None, localhost(), "GET", "/");
        let record = record.into_session(Arc::clone(&self.log), Arc::clone(seat.backend()));
        let holdings = Holdings { guards: (Some(seat), self.connection.open_session(), None), record };
        Box::new(Held::new(Relay::new(client, backend, Session::new(common, 5, now)), reclaimable, holdings))
    }

    /// A session between two new connections, in the loop. Returns the far ends.
    pub(super) async fn session(&self, kinds: [Kind; 2]) -> [Far; 2] {
        self.session_with(kinds, [b"", b""]).await
    }

    /// A session of whose client and backend these bytes were read before it began.
    pub(super) async fn session_with(&self, kinds: [Kind; 2], early: [&[u8]; 2]) -> [Far; 2] {
        let ((client, far_client), (backend, far_backend)) =
            (connected(Client, kinds[0]).await, connected(Backend, kinds[1]).await);
        let early = early.map(Bytes::copy_from_slice);
        let [first, second] = early;
        let held = self.held([(client, first), (backend, second)], SETTINGS);
        self.arrive.send(Arrival::Session(held)).await.unwrap();
        [far_client, far_backend]
    }

    /// The cause in the next record, and whether the end was clean. The session has then given back what it held.
    pub(super) async fn ended(&mut self) -> (String, bool) {
        while self.records.is_empty() {
            let lines = self.lines.recv().await.unwrap();
            self.records.extend(lines.lines().map(str::to_owned));
        }
        let record: serde_json::Value = serde_json::from_str(&self.records.pop_front().unwrap()).unwrap();
        (record["cause"].as_str().unwrap().to_owned(), record["clean"].as_bool().unwrap())
    }

    /// Sessions that hold a place: in the process, and at a backend.
    pub(super) fn counts(&self) -> (usize, usize) {
        let at_backends = self.upstream.members().iter().map(|member| member.backend.sessions()).sum();
        (self.live.sessions(), at_backends)
    }
}

/// The far end of a side: what the client or the backend has.
pub(super) struct Far {
    pub(super) stream: Stream,
    breaker: Option<Breaker>,
}

/// A connection of a side. TLS needs a loop that is driven.
async fn connected(side: Side, kind: Kind) -> (Stream, Far) {
    let connection = connection(kind);
    if kind == Kind::Tls { secure::secured(side, connection).await } else { connection }
}

/// A connection: the end for a session, and the far end.
pub(super) fn connection(kind: Kind) -> (Stream, Far) {
    match kind {
        Kind::Socket | Kind::Tls => {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let far = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let near = listener.accept().unwrap().0;
            let [near, far] = [near, far].map(|socket| {
                socket.set_nonblocking(true).unwrap();
                socket.set_nodelay(true).unwrap();
                Stream::Plain(Socket::new(mio::net::TcpStream::from_std(socket)).unwrap())
            });
            (near, Far { stream: far, breaker: None })
        }
        Kind::Unix => {
            let (near, far) = UnixStream::pair().unwrap();
            let [near, far] = [near, far].map(|socket| {
                socket.set_nonblocking(true).unwrap();
                Stream::Plain(Socket::new_unix(socket).unwrap())
            });
            (near, Far { stream: far, breaker: None })
        }
        Kind::Memory(room) => {
            let (near, far) = memory::stream(room);
            let breaker = Some(far.breaker());
            let [near, far] = [near, far].map(|end| Stream::Socketless(Box::new(Socketless::new(Box::new(end)))));
            (near, Far { stream: far, breaker })
        }
    }
}

impl Far {
    pub(super) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    pub(super) async fn send_and_finish(&mut self, bytes: impl AsRef<[u8]>) {
        self.send(bytes).await;
        self.stream.shutdown().await.unwrap();
    }

    pub(super) async fn expect(&mut self, bytes: impl AsRef<[u8]>) {
        let expected = bytes.as_ref();
        let mut read = vec![0; expected.len()];
        self.stream.read_exact(&mut read).await.unwrap();
        assert!(read == expected, "{:?} and not {:?}", &read[..read.len().min(50)], &expected[..read.len().min(50)]);
    }

    /// Reads a Close to this side. Its mask may be any.
    pub(super) async fn expect_close(&mut self, side: Side, code: u16, reason: &str) {
        let mut header = [0; 2];
        self.stream.read_exact(&mut header).await.unwrap();
        let mut key = [0; 4];
        if side == Backend {
            self.stream.read_exact(&mut key).await.unwrap();
        }
        let mut payload = vec![0; usize::from(header[1] & 0x7f)];
        self.stream.read_exact(&mut payload).await.unwrap();
        payload.iter_mut().zip(key.iter().cycle()).for_each(|(byte, key)| *byte ^= key);
        assert_eq!((header[0], &payload[..]), (0x88, &[&code.to_be_bytes(), reason.as_bytes()].concat()[..]));
    }

    pub(super) async fn expect_eof(&mut self) {
        assert_eq!(self.stream.read(&mut [0; 100]).await.unwrap(), 0);
    }

    /// Nothing more comes: an end, or an error.
    pub(super) async fn expect_gone(&mut self) {
        assert!(matches!(self.stream.read(&mut [0; 100]).await, Ok(0) | Err(_)));
    }

    /// Ends the connection in such a way that the session reads an error.
    pub(super) fn reset(self) {
        if let Some(socket) = self.stream.socket() {
            SockRef::from(socket).set_linger(Some(Duration::ZERO)).unwrap();
        }
        if let Some(breaker) = self.breaker {
            breaker.break_off();
        }
    }

    /// Makes the kernel hold little, so that a test need not send much until a write waits.
    pub(super) fn hold_little(&self) {
        if let Some(socket) = self.stream.socket() {
            SockRef::from(socket).set_recv_buffer_size(16 * 1024).unwrap();
            SockRef::from(socket).set_send_buffer_size(16 * 1024).unwrap();
        }
    }
}

/// A frame as a side sends it, a client's with a mask that changes nothing. `first` is the frame's first byte.
pub(super) fn frame(from: Side, first: u8, payload: impl AsRef<[u8]>) -> Vec<u8> {
    let payload = payload.as_ref();
    let mask = if from == Client { 0x80 } else { 0 };
    let mut bytes = vec![first];
    match payload.len() {
        length @ 0..126 => bytes.push(mask | length as u8),
        length @ 126..65536 => {
            bytes.push(mask | 126);
            bytes.extend((length as u16).to_be_bytes());
        }
        length => {
            bytes.push(mask | 127);
            bytes.extend((length as u64).to_be_bytes());
        }
    }
    if from == Client {
        bytes.extend([0; 4]);
    }
    bytes.extend(payload);
    bytes
}

pub(super) fn close(from: Side, code: u16, reason: &str) -> Vec<u8> {
    frame(from, 0x88, [&code.to_be_bytes(), reason.as_bytes()].concat())
}

/// What the other end is told when a side is lost.
pub(super) const fn words_of_loss(lost: Side) -> (u16, &'static str, &'static str) {
    match lost {
        Client => (1001, "client lost", "client_lost"),
        Backend => (1011, "backend lost", "backend_lost"),
    }
}
