//! The record of a live session. There are many sessions, each for hours, so this record is small. It becomes a full
//! [`Record`] when the session ends.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use serde::Serialize;

use super::{AccessLog, Endings, Facts, Record, RecordKind, TlsVersion};
use crate::{
    balance::Backend,
    headers::{CertificateFacts, Fingerprint, hex},
    learning::TrialWatch,
    metrics::{RouteMetrics, SessionEnd},
    outcome::Outcome,
    proxy_protocol::ProxyTlvs,
    sender::{Client, PeerProcess},
    ws::{session::Session, termination::Termination},
};

/// What the records of a route's sessions have in common: log, names and metrics. One for each route.
#[derive(Debug, Clone)]
pub struct RouteLog {
    /// The log to which the records go; `None` = no record is written.
    log: Option<AccessLog>,
    /// Where the endings are kept; `None` = nobody can ask for them.
    endings: Option<Arc<Endings>>,
    route: Arc<str>,
    upstream: Arc<str>,
    metrics: Arc<RouteMetrics>,
    /// The instant from which the begin of each request is counted.
    epoch: Instant,
    /// Told of each end, where these sessions try another interval of Pings.
    trials: Vec<Arc<TrialWatch>>,
}

impl RouteLog {
    /// For requests that come from now on.
    #[must_use]
    pub fn new(
        log: Option<AccessLog>,
        endings: Option<Arc<Endings>>,
        route: &str,
        upstream: &str,
        metrics: Arc<RouteMetrics>,
    ) -> Arc<Self> {
        let (route, upstream) = (route.into(), upstream.into());
        Arc::new(Self { log, endings, route, upstream, metrics, epoch: Instant::now(), trials: Vec::new() })
    }

    /// The names of the route and of its upstream.
    #[must_use]
    pub const fn names(&self) -> (&Arc<str>, &Arc<str>) {
        (&self.route, &self.upstream)
    }

    /// The same for sessions of the route that are on trial.
    #[must_use]
    pub fn on_trial(&self, trials: Vec<Arc<TrialWatch>>) -> Arc<Self> {
        Arc::new(Self { trials, ..self.clone() })
    }
}

/// The record of a live session: 64 bytes, and one block for the request's words.
///
/// The record is written once, whatever happens: by the [`Record`] that [`Self::end`] or [`Self::fail`] makes of it, or when it is
/// dropped. The session is counted as begun when this record is made, and as ended when it becomes a [`Record`] or is
/// dropped, even if no line is written.
#[derive(Debug)]
pub struct SessionRecord {
    route: Arc<RouteLog>,
    /// Kept for its address. Holding the backend here adds nothing to its sessions and requests in flight.
    backend: Arc<Backend>,
    /// Nanoseconds since the Unix epoch, which an i64 holds until 2262.
    time: i64,
    /// Nanoseconds since [`RouteLog::epoch`].
    started: u64,
    words: Words,
    connect: Micros,
    handshake: Micros,
    tries: u16,
    tls: Option<TlsVersion>,
    /// Whether the session's end is noted: by a [`Record`], or by a count alone.
    is_over: bool,
}

impl SessionRecord {
    pub(super) fn new(record: &Record, route: Arc<RouteLog>, backend: Arc<Backend>) -> Self {
        let started = record.started.saturating_duration_since(route.epoch).as_nanos();
        route.metrics.begin(record.handshake);
        Self {
            route,
            backend,
            time: i64::try_from(record.time.as_nanosecond()).unwrap_or(i64::MAX),
            started: u64::try_from(started).unwrap_or(u64::MAX),
            words: Words::pack(
                (record.client, record.peer),
                record.trace_id,
                (record.told.as_deref(), record.client_cert.as_deref()),
                &record.request_id,
                &record.host,
                &record.path,
            ),
            connect: Micros::pack(record.connect),
            handshake: Micros::pack(record.handshake),
            tries: u16::try_from(record.tries).unwrap_or(u16::MAX),
            tls: record.tls,
            is_over: false,
        }
    }

    /// The full record, with the session's figures and how it ended; `None` if there is neither a log nor anybody who can
    /// ask.
    ///
    /// `cut` is how the session ended if it did not end by itself. Drop the returned record last, after everything that the
    /// session held.
    #[must_use = "dropped, it is written"]
    pub fn end(mut self, session: &Session, cut: Termination) -> Option<Record> {
        if !self.route.trials.is_empty() {
            let Termination { cause, how, .. } = session.termination().unwrap_or_else(|| cut.clone());
            let silence = session.silence(Instant::now());
            self.route.trials.iter().for_each(|trial| trial.note(session, (cause, how), silence));
        }
        if self.route.log.is_none() && self.route.endings.is_none() {
            self.is_over = true;
            let Termination { initiator, cause, code, .. } = session.termination().unwrap_or(cut);
            let (initiator, cause, code) = (Some(initiator), Outcome::Ended(cause), code.map(|code| code.0));
            let duration = self.started().elapsed();
            self.route.metrics.end(SessionEnd { initiator, cause, code, duration });
            return None;
        }
        let mut record = self.unpack();
        record.end_session(session, cut);
        self.count(&record);
        Some(record)
    }

    /// The full record of a session that ended after its 101, before anything could pass.
    #[must_use = "dropped, it is written"]
    pub fn fail(mut self, why: Termination) -> Record {
        let mut record = self.unpack();
        record.terminate(why);
        self.count(&record);
        record
    }

    /// The client is back, perhaps from another address. The record tells of the last one.
    pub fn move_to(&mut self, client: Client) {
        let (_, trace_id, id, host, path) = self.words.unpack();
        let (told, client_cert) = self.words.rare();
        let peer = self.words.peer().filter(|_| client.is_of_unix());
        let rare = (told.as_deref(), client_cert.map(facts));
        self.words = Words::pack((client, peer), trace_id, (rare.0, rare.1.as_ref()), &id, &host, &path);
    }

    /// Another backend has taken the session.
    pub fn change_backend(&mut self, backend: Arc<Backend>) {
        self.backend = backend;
    }

    /// The session's backend, or the last one that it had.
    #[must_use]
    pub const fn backend(&self) -> &Arc<Backend> {
        &self.backend
    }

    /// The name of the session's route.
    #[must_use]
    pub fn route(&self) -> &str {
        &self.route.route
    }

    /// The name of the session's upstream.
    #[must_use]
    pub fn upstream(&self) -> &str {
        &self.route.upstream
    }

    /// The counters of the route.
    #[must_use]
    pub fn metrics(&self) -> &Arc<RouteMetrics> {
        &self.route.metrics
    }

    /// The session's client.
    #[must_use]
    pub fn client(&self) -> Client {
        self.words.client()
    }

    /// Whether `id` is the id of the session's request.
    #[must_use]
    pub fn has_id(&self, id: &str) -> bool {
        self.words.has_id(id)
    }

    /// Whether a text of the record contains `text`, which must be in lower case.
    ///
    /// These texts are searched: the id, client, the subject of its certificate, host and path, the names of route and upstream, the backend's address.
    #[must_use]
    pub fn mentions(&self, text: &str) -> bool {
        let (client, _, id, host, path) = self.words.unpack();
        let subject = self.words.rare().1.map(|(_, subject)| subject).unwrap_or_default();
        let RouteLog { route, upstream, .. } = &*self.route;
        let names: [&str; 7] = [&id, &subject, &host, &path, route, upstream, self.backend.address()];
        client.to_string().contains(text) || names.iter().any(|name| name.to_lowercase().contains(text))
    }

    /// The facts of the record that do not change while the session lives.
    #[must_use]
    pub fn particulars(&self) -> Particulars {
        Particulars {
            route: Arc::clone(&self.route),
            backend: Arc::clone(&self.backend),
            time: self.time,
            started: self.started(),
            words: Words(self.words.0.clone()),
            tls: self.tls,
        }
    }

    /// When the session's request came.
    #[must_use]
    pub fn started(&self) -> Instant {
        self.route.epoch + Duration::from_nanos(self.started)
    }

    /// Counts the session as ended in the way that `record` says.
    fn count(&self, record: &Record) {
        let Facts { initiator, cause, close_code: code, .. } = **record;
        self.route.metrics.end(SessionEnd { initiator, cause, code, duration: record.started.elapsed() });
    }

    fn unpack(&mut self) -> Record {
        self.is_over = true;
        let (client, trace_id, request_id, host, path) = self.words.unpack();
        // A handshake over HTTP/1.1 is a GET (RFC 6455 §4.1), and its session began with a 101.
        let mut record = Record::new(self.route.log.clone(), client, "GET", &path);
        record.endings = self.route.endings.clone();
        record.status = Some(101);
        record.kind = RecordKind::Session;
        record.clean = Some(false);
        record.time = Timestamp::from_nanosecond(self.time.into()).unwrap_or_default();
        record.started = self.started();
        record.request_id = request_id;
        record.trace_id = trace_id;
        let client_cert;
        (record.told, client_cert) = self.words.rare();
        record.client_cert = client_cert.map(facts).map(Arc::new);
        record.host = host;
        let (route, upstream) = self.route.names();
        (record.route, record.upstream) = (Some(Arc::clone(route)), Some(Arc::clone(upstream)));
        record.backend = Some(self.backend.shared_address());
        record.connect = self.connect.unpack();
        record.handshake = self.handshake.unpack();
        record.tries = self.tries.into();
        (record.peer, record.tls) = (self.words.peer(), self.tls);
        record
    }
}

impl Drop for SessionRecord {
    fn drop(&mut self) {
        if !self.is_over {
            let record = self.unpack();
            self.count(&record);
        }
    }
}

/// The facts of a live session that are known from its begin. A copy is cheap: the words are read only when they are shown.
#[derive(Debug)]
pub struct Particulars {
    route: Arc<RouteLog>,
    backend: Arc<Backend>,
    time: i64,
    started: Instant,
    words: Words,
    tls: Option<TlsVersion>,
}

/// [`Particulars`] for people and programs, mostly by the names of the record.
#[derive(Debug, Serialize)]
#[allow(missing_docs, reason = "the names are those of the record")]
pub struct ParticularsView {
    pub id: String,
    pub since: Timestamp,
    pub client: Client,
    #[serde(flatten)]
    pub peer: Option<PeerProcess>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsVersion>,
    #[serde(flatten)]
    pub client_cert: Option<CertificateFacts>,
    pub host: String,
    pub path: String,
    pub route: String,
    pub upstream: String,
    pub backend: String,
}

impl Particulars {
    /// When the session's request came.
    #[must_use]
    pub const fn started(&self) -> Instant {
        self.started
    }

    /// The facts as text, for people and programs.
    #[must_use]
    pub fn show(&self) -> ParticularsView {
        let (client, _, id, host, path) = self.words.unpack();
        ParticularsView {
            id,
            since: Timestamp::from_nanosecond(self.time.into()).unwrap_or_default(),
            client,
            peer: self.words.peer(),
            tls: self.tls,
            client_cert: self.words.rare().1.map(facts),
            host,
            path,
            route: self.route.route.to_string(),
            upstream: self.route.upstream.to_string(),
            backend: self.backend.address().to_owned(),
        }
    }
}

/// A duration to the microsecond, as a line has it, of at most 71 minutes: more than any timeout of a handshake.
#[derive(Debug, Clone, Copy)]
struct Micros(u32);

impl Micros {
    const UNKNOWN: Self = Self(u32::MAX);

    fn pack(duration: Option<Duration>) -> Self {
        duration.map_or(Self::UNKNOWN, |duration| {
            let rounded = duration.saturating_add(Duration::from_nanos(500)).as_micros();
            Self(u32::try_from(rounded).unwrap_or(u32::MAX).min(u32::MAX - 1))
        })
    }

    fn unpack(self) -> Option<Duration> {
        (self.0 != Self::UNKNOWN.0).then(|| Duration::from_micros(self.0.into()))
    }
}

/// The words of a handshake in one block of bytes, in this order:
///
/// 1. A byte: flags, which say what forms the parts 3 to 6 have, and between them the length of the part 2, which is 0, 4
///    or 16.
/// 2. The client ([`Client::octets`]).
/// 3. The process at the other end ([`PeerProcess::to_bytes`]), if that is known.
/// 4. The id of the trace, if there is one.
/// 5. What few clients have, if this one has any of it ([`RareWords`]): JSON, with its length before it.
/// 6. The request id. If it is text, a line feed ends it.
/// 7. The host, ended by a line feed.
/// 8. The path.
///
/// A line feed can end a part because the value of a field contains none (RFC 9110 §5.5).
#[derive(Debug)]
struct Words(Box<[u8]>);

/// What a PROXY header told, and fingerprint and subject of the client's certificate.
type RareWords = (Option<Box<ProxyTlvs>>, Option<([u8; 32], String)>);

fn facts((fingerprint, subject): ([u8; 32], String)) -> CertificateFacts {
    CertificateFacts { fingerprint: Fingerprint(fingerprint), subject }
}

impl Words {
    /// The request id is stored as 16 bytes, for which 32 hexadecimal digits stand. Every id of ours has this form.
    const IS_HEX: u8 = 1;
    const IS_TRACED: u8 = 2;
    const HAS_PEER: u8 = 0x20;
    const IS_RARE: u8 = 0x80;
    /// The bits of the length in the first byte, as they are.
    const LENGTH: u8 = 0x1C;

    fn pack(
        (client, peer): (Client, Option<PeerProcess>),
        trace_id: Option<u128>,
        (told, client_cert): (Option<&ProxyTlvs>, Option<&CertificateFacts>),
        request_id: &str,
        host: &str,
        path: &str,
    ) -> Self {
        let client = client.octets();
        let mut forms = client.len() as u8 & Self::LENGTH;
        let (process, trace, hex, rare_length);
        let peer: &[u8] = match peer {
            None => b"",
            Some(peer) => {
                forms |= Self::HAS_PEER;
                process = peer.to_bytes();
                &process
            }
        };
        let rare = match (told, client_cert.map(|facts| (facts.fingerprint.0, &facts.subject))) {
            (None, None) => Vec::new(),
            rare => serde_json::to_vec(&rare).unwrap_or_default(),
        };
        let rare: [&[u8]; 2] = match u16::try_from(rare.len()) {
            Ok(length @ 1..) => {
                forms |= Self::IS_RARE;
                rare_length = length.to_be_bytes();
                [&rare_length, &rare]
            }
            _ => [b"", b""],
        };
        let trace: &[u8] = match trace_id {
            None => b"",
            Some(id) => {
                forms |= Self::IS_TRACED;
                trace = id.to_be_bytes();
                &trace
            }
        };
        let id: [&[u8]; 2] = match parse_hex(request_id) {
            None => [request_id.as_bytes(), b"\n"],
            Some(id) => {
                forms |= Self::IS_HEX;
                hex = id;
                [&hex, b""]
            }
        };
        // `concat` knows the length of the whole, so it makes one block and moves nothing.
        let parts: [&[u8]; 11] =
            [&[forms], &client, peer, trace, rare[0], rare[1], id[0], id[1], host.as_bytes(), b"\n", path.as_bytes()];
        Self(parts.concat().into())
    }

    fn client(&self) -> Client {
        self.take_client().0
    }

    fn rare(&self) -> RareWords {
        let (.., rare, _) = self.take_client();
        if rare.is_empty() { RareWords::default() } else { serde_json::from_slice(rare).unwrap_or_default() }
    }

    fn peer(&self) -> Option<PeerProcess> {
        let mut rest = self.0.get(1 + usize::from(self.forms() & Self::LENGTH)..).unwrap_or_default();
        (self.forms() & Self::HAS_PEER != 0).then(|| PeerProcess::from_bytes(take(&mut rest)))
    }

    fn has_id(&self, id: &str) -> bool {
        let (.., rest) = self.take_client();
        match self.forms() & Self::IS_HEX {
            0 => rest.strip_prefix(id.as_bytes()).is_some_and(|rest| rest.starts_with(b"\n")),
            _ => parse_hex(id).is_some_and(|id| rest.starts_with(&id)),
        }
    }

    fn forms(&self) -> u8 {
        self.0.first().copied().unwrap_or_default()
    }

    /// The client, the trace, the rare words, and the bytes behind them.
    fn take_client(&self) -> (Client, Option<u128>, &[u8], &[u8]) {
        let mut rest = self.0.get(1..).unwrap_or_default();
        let length = usize::from(self.forms() & Self::LENGTH);
        let client = Client::from_octets(rest.split_off(..length).unwrap_or_default());
        if self.forms() & Self::HAS_PEER != 0 {
            let _peer = take::<{ PeerProcess::BYTES }>(&mut rest);
        }
        let is_traced = self.forms() & Self::IS_TRACED != 0;
        let trace_id = is_traced.then(|| u128::from_be_bytes(take(&mut rest)));
        let rare_length = if self.forms() & Self::IS_RARE == 0 { 0 } else { u16::from_be_bytes(take(&mut rest)) };
        let rare = rest.split_off(..usize::from(rare_length)).unwrap_or_default();
        (client, trace_id, rare, rest)
    }

    /// Client, trace, request id, host, path.
    fn unpack(&self) -> (Client, Option<u128>, String, String, String) {
        let (client, trace_id, _, mut rest) = self.take_client();
        let request_id = match self.forms() & Self::IS_HEX {
            0 => take_line(&mut rest),
            _ => hex(u128::from_be_bytes(take(&mut rest))),
        };
        let host = take_line(&mut rest);
        (client, trace_id, request_id, host, text(rest))
    }
}

/// The bytes for which 32 hexadecimal digits stand.
fn parse_hex(id: &str) -> Option<[u8; 16]> {
    let digits: &[u8; 32] = id.as_bytes().try_into().ok()?;
    let value = |digit| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; 16];
    for (byte, [high, low]) in bytes.iter_mut().zip(digits.as_chunks().0) {
        *byte = value(*high)? << 4 | value(*low)?;
    }
    Some(bytes)
}

/// Takes the first `N` bytes, which are there because `pack` put them there.
fn take<const N: usize>(rest: &mut &[u8]) -> [u8; N] {
    rest.split_off(..N).and_then(|bytes| bytes.try_into().ok()).unwrap_or([0; N])
}

fn take_line(rest: &mut &[u8]) -> String {
    let mut parts = rest.splitn(2, |byte| *byte == b'\n');
    let line = parts.next().unwrap_or_default();
    *rest = parts.next().unwrap_or_default();
    text(line)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::{collections::HashMap, io, io::Write, net::IpAddr, sync::mpsc};

    use super::{
        super::{LONGEST_HOST, LONGEST_PATH},
        *,
    };
    use crate::{
        balance::{BackendSettings, Policy, Registry, UpstreamSettings},
        config::LogFormat,
        metrics::{ProxyState, text::Format},
        ws::{
            Side, keepalive,
            keepalive::Secret,
            meter::MessageLimits,
            opcodes::OpCodeCounts,
            session::{Common, SessionSettings},
            termination::{Cause, HowEnded, Initiator, Loss},
        },
    };

    const HEX_ID: &str = "00f067aa0ba902b700f067aa0ba902b7";

    struct Lines(mpsc::Sender<String>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.send(String::from_utf8(bytes.to_vec()).unwrap()).unwrap();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// The lines that `write` wrote. It waits until the log and everything that may still write to it are gone.
    fn written(write: impl FnOnce(AccessLog)) -> Vec<String> {
        let (sender, lines) = mpsc::channel();
        write(AccessLog::new(LogFormat::Json, Lines(sender)).unwrap());
        let all: String = lines.iter().collect();
        all.split_inclusive('\n').map(str::to_owned).collect()
    }

    fn backend() -> Arc<Backend> {
        let address = "b:8080".into();
        let backend =
            BackendSettings { address, weight: 1, max_conns: 0, backup: false, down: false, tier: 0, found: None };
        let settings = UpstreamSettings {
            name: "chat".into(),
            policy: Policy::RoundRobin,
            max_fails: 1,
            fail_timeout: Duration::from_secs(30),
            tries: 0,
            slow_start: Duration::ZERO,
            max_handshakes: 0,
            handshake_queue: 0,
            reuses_connections: true,
            proxy_protocol: None,
            health_check: None,
            backends: vec![backend],
        };
        let upstream = Registry::default().upstream(settings, Instant::now());
        Arc::clone(&upstream.members()[0].backend)
    }

    fn counted() -> Arc<RouteMetrics> {
        crate::metrics::Metrics::default().route("chat.example.com/ws/", "chat")
    }

    fn route(log: &AccessLog) -> Arc<RouteLog> {
        RouteLog::new(Some(log.clone()), None, "chat.example.com/ws/", "chat", counted())
    }

    /// A request whose 101 was believed, in the state in which `net::request::proxy` leaves it.
    fn request(log: &AccessLog) -> Record {
        let mut record = Record::new(Some(log.clone()), Client::from(IpAddr::from([192, 0, 2, 1])), "GET", "/ws/room");
        record.time = "2026-01-02T03:04:05.123456789Z".parse().unwrap();
        record.request_id = HEX_ID.into();
        record.host = "chat.example.com:8443".into();
        record.tls = Some(TlsVersion::V1_3);
        let told = ProxyTlvs { unique_id: Some("id-1".into()), is_client_verified: Some(true), ..ProxyTlvs::default() };
        record.told = Some(Box::new(told));
        let (fingerprint, subject) = (Fingerprint([7; 32]), "CN=device,O=Example".to_owned());
        record.client_cert = Some(Arc::new(CertificateFacts { fingerprint, subject }));
        record.tries = 3;
        record.connect = Some(Duration::from_nanos(1_234_567));
        record.handshake = Some(Duration::from_nanos(61_000_499));
        record
    }

    /// A session in which a Close has passed.
    fn session() -> Session {
        let now = Instant::now();
        let mut session = live_session(now);
        let mut close = [0x88, 5, 0x0f, 0xa1, b'b', b'y', b'e'];
        session.handle_input(Side::Backend, &mut close, &mut OpCodeCounts::default(), now);
        session
    }

    fn live_session(now: Instant) -> Session {
        let keepalive = keepalive::Settings {
            ping_interval: keepalive::SideTimes::of_both(None),
            pong_timeout: keepalive::SideTimes::of_both(None),
        };
        let close_timeout = Duration::from_secs(1);
        let settings = SessionSettings {
            keepalive,
            idle: None,
            max_lifetime: None,
            close_timeout,
            limits: MessageLimits::NONE,
            extensions: false,
        };
        let common = Common {
            settings,
            hold: None,
            resume: None,
            secret: Secret([0; 16]),
            epoch: now,
            round_trips: crate::ws::round_trips::RoundTripTimes::default(),
        };
        Session::new(Arc::new(common), 0, now)
    }

    fn cut() -> Termination {
        let (initiator, cause, how) = (Initiator::Proxy, Cause::Drain, HowEnded::Ours);
        Termination { initiator, cause, how, code: None, reason: String::new(), clean: false }
    }

    /// A line without its duration, which goes on while the test runs.
    fn without_duration(line: &str) -> String {
        let (before, rest) = line.split_once("\"duration_ms\":").unwrap();
        let (_, after) = rest.split_once(',').unwrap();
        format!("{before}{after}")
    }

    #[test]
    fn a_live_session_is_a_cache_line_of_record() {
        assert_eq!(size_of::<SessionRecord>(), 64);
        assert_eq!(size_of::<Option<SessionRecord>>(), 64);
    }

    #[test]
    fn the_line_of_a_session_is_that_of_a_record_that_was_never_made_small() {
        let lines = written(|log| {
            let mut rich = request(&log);
            rich.kind = RecordKind::Session;
            rich.status = Some(101);
            rich.route = Some("chat.example.com/ws/".into());
            rich.upstream = Some("chat".into());
            rich.backend = Some("b:8080".into());
            rich.end_session(&session(), cut());
            drop(rich);
            drop(request(&log).into_session(route(&log), backend()).end(&session(), cut()));
        });
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert_eq!(without_duration(&lines[0]), without_duration(&lines[1]));
        for part in [
            "\"cause\":\"backend_close\",\"how\":\"close\"",
            "\"close_reason\":\"bye\"",
            "\"connect_ms\":1.235",
            "56789Z\"",
        ] {
            assert!(lines[1].contains(part), "{part} in {}", lines[1]);
        }
    }

    #[test]
    fn a_session_that_is_cut_was_ended_by_us_and_its_silence_lasts_to_the_cut() {
        let lines = written(|log| {
            let session = live_session(Instant::now());
            drop(request(&log).into_session(route(&log), backend()).end(&session, cut()));
        });
        let line: serde_json::Value = serde_json::from_str(&lines[0]).unwrap();
        assert_eq!((&line["cause"], &line["how"]), (&"drain".into(), &"ours".into()), "{line}");
        for direction in ["from_client", "from_backend", "to_client", "to_backend"] {
            assert!(line[format!("silence_{direction}_ms")].is_u64(), "{direction} in {line}");
        }
    }

    #[test]
    fn a_client_that_comes_back_changes_its_address_and_nothing_else() {
        let lines = written(|log| {
            for address in ["2001:db8::7", "198.51.100.7"] {
                let mut moved = request(&log).into_session(route(&log), backend());
                let client = Client::from(address.parse::<IpAddr>().unwrap());
                moved.move_to(client);
                assert_eq!(moved.client(), client);
                drop(moved.end(&session(), cut()));
            }
            drop(request(&log).into_session(route(&log), backend()).end(&session(), cut()));
        });
        let [v6, v4, before] = [0, 1, 2].map(|line| without_duration(&lines[line]));
        assert_eq!(v6, before.replace("192.0.2.1", "2001:db8::7"));
        assert_eq!(v4, before.replace("192.0.2.1", "198.51.100.7"));
    }

    #[test]
    fn duration_is_counted_from_the_request() {
        let lines = written(|log| {
            let route = route(&log);
            let record = request(&log);
            let started = record.started;
            let record = record.into_session(route, backend()).end(&session(), cut());
            assert_eq!(record.unwrap().started, started);
        });
        assert!(lines[0].contains("\"duration_ms\":"), "{}", lines[0]);
    }

    #[test]
    fn a_session_dropped_without_an_end_is_recorded_once() {
        let lines = written(|log| drop(request(&log).into_session(route(&log), backend())));
        assert_eq!(lines.len(), 1, "{lines:?}");
        for part in ["\"kind\":\"session\"", "\"backend\":\"b:8080\"", "\"cause\":\"client_gone\",\"clean\":false"] {
            assert!(lines[0].contains(part), "{part} in {}", lines[0]);
        }
    }

    #[test]
    fn a_session_that_never_began_says_why() {
        let (initiator, cause, how) = (Initiator::Client, Cause::ClientLost, HowEnded::Lost(Loss::Reset));
        let why = Termination { initiator, cause, how, ..cut() };
        let lines = written(|log| drop(request(&log).into_session(route(&log), backend()).fail(why)));
        assert_eq!(lines.len(), 1, "{lines:?}");
        let end = "\"initiator\":\"client\",\"cause\":\"client_lost\",\"how\":\"reset\",\"clean\":false}\n";
        assert!(lines[0].ends_with(end) && !lines[0].contains("bytes_to_backend\":1"), "{}", lines[0]);
    }

    #[test]
    fn a_log_that_is_off_writes_nothing_of_a_session_and_its_end_is_counted() {
        let metrics = crate::metrics::Metrics::default();
        let lines = written(|log| {
            let route = RouteLog::new(None, None, "*/", "chat", metrics.route("*/", "chat"));
            drop(request(&log).into_session(Arc::clone(&route), backend()));
            assert!(request(&log).into_session(Arc::clone(&route), backend()).end(&session(), cut()).is_none());
            drop(route);
        });
        assert_eq!(lines, Vec::<String>::new());
        let state = ProxyState {
            connections: 0,
            probes_active: 0,
            is_ready: true,
            is_draining: false,
            lines_dropped: 0,
            routes: Vec::new(),
            backends: Vec::new(),
            places: Vec::new(),
            suspected: Vec::new(),
            worker_sessions: None,
            queued_bytes: 0,
            away_sessions: 0,
            kept_bytes: 0,
            fleet: None,
            opcodes: OpCodeCounts::default(),
        };
        let shown = metrics.show(Format::Classic, &state, &HashMap::new(), None);
        for count in [
            "initiator=\"backend\",cause=\"backend_close\",code=\"4xxx\"} 1",
            "websocket_connections_active{route=\"*/\",upstream=\"chat\"} 0",
            "websocket_connection_duration_seconds_count{route=\"*/\",upstream=\"chat\"} 2",
        ] {
            assert!(shown.contains(count), "{count} in {shown}");
        }
    }

    #[test]
    fn words_come_back_as_they_were() {
        let long = "x".repeat(70_000);
        for client in ["192.0.2.1", "0.0.0.0", "2001:db8::1", "::ffff:192.0.2.1", "::"] {
            // In order: ids of ours; ids as long as ours that do not look like ours; other ids.
            let upper = HEX_ID.to_uppercase();
            let signed = format!("+{}", &HEX_ID[1..]);
            for id in [HEX_ID, &"0".repeat(32), &"f".repeat(32), &upper, &signed, &HEX_ID[1..], "a/b", "", &long] {
                for (trace, host, path) in [
                    (None, "chat.example.com:80", "/ws/é"),
                    (Some(0x0a0a), "", ""),
                    (Some(u128::MAX), "", "/"),
                    (None, &*long, &*long),
                ] {
                    let (client, words): (Client, _) = (client.parse::<IpAddr>().unwrap().into(), (id, host, path));
                    let told = trace.map(|_| ProxyTlvs { authority: Some("\n\u{1}é".into()), ..ProxyTlvs::default() });
                    let shown = host.is_empty().then(|| facts(([b'\n'; 32], format!("{path}\"\n"))));
                    let process = PeerProcess { uid: 1000, pid: std::num::NonZeroU32::new(4711) };
                    // A process may come for a client with an address, as its proxy.
                    for (client, peer) in [(client, None), (client, Some(process)), (Client::of_unix(), Some(process))]
                    {
                        let packed =
                            Words::pack((client, peer), trace, (told.as_ref(), shown.as_ref()), id, host, path);
                        let (same_told, same_shown) = packed.rare();
                        assert_eq!((same_told.as_deref(), same_shown.map(facts)), (told.as_ref(), shown.clone()));
                        let (same_client, same_trace, request_id, same_host, same_path) = packed.unpack();
                        assert_eq!((client, peer, trace), (same_client, packed.peer(), same_trace));
                        assert!(packed.client() == client && packed.has_id(id) && !packed.has_id(&format!("{id}x")));
                        assert!(words == (&*request_id, &*same_host, &*same_path), "{id:.40}, {host:.40}, {path:.40}");
                    }
                }
            }
        }
    }

    #[test]
    fn an_id_of_ours_takes_half_its_length() {
        let words = Words::pack(
            (IpAddr::from([192, 0, 2, 1]).into(), None),
            None,
            (None, None),
            HEX_ID,
            "chat.example.com",
            "/ws/room",
        );
        assert_eq!(words.0.len(), 1 + 4 + 16 + "chat.example.com\n/ws/room".len());
    }

    #[test]
    fn however_long_the_words_of_a_client_a_session_keeps_few_of_them() {
        let lines = written(|log| {
            let mut record =
                Record::new(Some(log.clone()), Client::from(IpAddr::from([1; 16])), "GET", &"é".repeat(20_000));
            record.set_host(&"é".repeat(20_000));
            record.trace_id = Some(1);
            record.request_id = "x".repeat(crate::headers::MAX_REQUEST_ID);
            let session = record.into_session(route(&log), backend());
            let most = LONGEST_HOST + LONGEST_PATH + 1 + 16 + 16 + crate::headers::MAX_REQUEST_ID + 2;
            assert!(LONGEST_HOST + LONGEST_PATH == 2048 && session.words.0.len() <= most, "{}", session.words.0.len());
        });
        assert!(lines[0].contains("é…\",\"method\"") && lines[0].contains("é…\",\"route\""), "{lines:?}");
    }

    #[test]
    fn a_duration_is_kept_to_the_microsecond_and_bounded() {
        let kept = |duration| Micros::pack(duration).unpack();
        assert_eq!(kept(None), None);
        for (nanos, micros) in [(0, 0), (499, 0), (500, 1), (1_999_499, 1999), (u64::MAX, u64::from(u32::MAX) - 1)] {
            assert_eq!(kept(Some(Duration::from_nanos(nanos))), Some(Duration::from_micros(micros)));
        }
    }
}
