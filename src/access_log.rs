//! The record of a session or of a plain request: one line, written at its END, whatever ended it.
//!
//! A record is written when it is dropped, so no path through the code can forget the record or write it twice. A field is
//! absent if it is unknown or does not apply.

pub mod endings;
mod file;
mod json;
pub mod refusals;
mod sample;
mod session;
mod text;

use std::{
    borrow::Cow,
    fmt,
    io::{self, Write},
    mem,
    num::NonZeroU32,
    ops::{Deref, DerefMut, Not},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use jiff::Timestamp;
use serde::{Serialize, Serializer};

use crate::{
    balance::Backend,
    config::LogFormat,
    error::{Error, Kind},
    headers::CertificateFacts,
    lines::{Bounds, Lines},
    metrics::Metrics,
    outcome::Outcome,
    proxy_protocol::ProxyTlvs,
    sender::{Client, PeerProcess},
    traces::{Trace, span_end::SpanEnd},
    ws::{
        Side,
        session::{Counts, HoldTally, ResumeTally, Session},
        termination::{Cause, HowEnded, Initiator, Silence, Termination},
    },
};

use self::{
    endings::Endings,
    json::json,
    text::{cut, logfmt},
};
pub use self::{
    file::LogFile,
    sample::EndSampler,
    session::{Particulars, ParticularsView, RouteLog, SessionRecord},
};

/// The most bytes of a path in a record. A session keeps its path for its whole life.
pub const LONGEST_PATH: usize = 1536;
/// The most bytes of a host in a record. A name has at most 253 bytes, and a port may follow.
pub const LONGEST_HOST: usize = 512;
/// The most bytes of any other word that a peer may choose: a method, the text of a failure.
const LONGEST_WORD: usize = 256;

/// Where records go. Cheap to clone.
#[derive(Debug, Clone)]
pub struct AccessLog {
    format: LogFormat,
    lines: Lines,
    /// Of plain requests that went well, one in this many is written.
    sample: NonZeroU32,
    /// How many plain requests went well.
    requests: Arc<AtomicU32>,
}

impl AccessLog {
    /// The most lines that may wait for a slow disk. A further line is lost, because nothing waits for the disk.
    pub const QUEUE_LINES: usize = 65_536;
    /// The most bytes that the waiting lines may have. A line is some 600 bytes, unless its path is long.
    pub const QUEUE_BYTES: usize = 64 << 20;
    /// The longest that a line waits for others to be written with it. A crash loses the lines that wait.
    pub const PACE: Duration = Duration::from_millis(10);

    /// Writes lines to `writer` from a thread of its own, so that a slow disk never blocks a session.
    ///
    /// `writer` must have no buffer of its own.
    ///
    /// # Errors
    /// The thread cannot be made.
    pub fn new(format: LogFormat, writer: impl Write + Send + 'static) -> io::Result<Self> {
        let bounds = Bounds { lines: Self::QUEUE_LINES, bytes: Self::QUEUE_BYTES };
        let tell = |error: &io::Error| tracing::error!(%error, "records cannot be written");
        let lines = Lines::new("access-log", bounds, Self::PACE, writer, tell)?;
        Ok(Self { format, lines, sample: NonZeroU32::MIN, requests: Arc::default() })
    }

    /// The same log, but with one in `sample` plain requests that went well. Sessions, refusals and failures are all written.
    #[must_use]
    pub fn sampling(&self, sample: NonZeroU32) -> Self {
        Self { sample, ..self.clone() }
    }

    /// The queue through which its lines go to the writer.
    #[must_use]
    pub const fn lines(&self) -> &Lines {
        &self.lines
    }

    fn wants(&self, record: &Facts) -> bool {
        let is_routine =
            record.kind == RecordKind::Request && record.cause == Outcome::Answered && record.status < Some(400);
        !is_routine || self.requests.fetch_add(1, Relaxed).is_multiple_of(self.sample.get())
    }

    fn write(&self, facts: &Facts) -> serde_json::Result<()> {
        let mut line = json(facts);
        if self.format == LogFormat::Text {
            line = logfmt(&line)?;
        }
        line.push(b'\n');
        self.lines.push(line);
        Ok(())
    }
}

/// What a line of the log says of a request or a session. The code in `json` writes the line by hand; the `Serialize` here
/// says what that line must be.
#[derive(Debug, Serialize)]
pub struct Facts {
    /// When the request came, in UTC.
    pub time: Timestamp,
    /// Whether the request became a session.
    pub kind: RecordKind,
    /// Whether a request that became no session asked for one.
    #[serde(rename = "handshake", skip_serializing_if = "Not::not")]
    pub is_handshake: bool,
    /// The id that the client sent, or one made here.
    pub request_id: String,
    /// The trace to which the request belongs.
    #[serde(serialize_with = "trace_id", skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<u128>,
    /// The client, as `trusted_proxies` lets us believe it.
    pub client: Client,
    /// The process at the other end of the client's connection, if that is a Unix socket.
    #[serde(flatten)]
    pub peer: Option<PeerProcess>,
    /// The TLS version of the client's connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsVersion>,
    /// What a PROXY header told of the client's connection to the proxy before us.
    #[serde(flatten)]
    pub told: Option<Box<ProxyTlvs>>,
    /// The verified certificate of the client. Shared by all records of the connection.
    #[serde(flatten, serialize_with = "shown", skip_serializing_if = "Option::is_none")]
    pub client_cert: Option<Arc<CertificateFacts>>,
    /// The `Host` header as sent, cut after [`LONGEST_HOST`].
    #[serde(skip_serializing_if = "String::is_empty")]
    pub host: String,
    /// The method; empty if no head could be read.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub method: Cow<'static, str>,
    /// The path without its query, because a query may carry secrets.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub path: String,
    /// The name of the route that took the request.
    #[serde(serialize_with = "name", skip_serializing_if = "Option::is_none")]
    pub route: Option<Arc<str>>,
    /// The name of the route's upstream.
    #[serde(serialize_with = "name", skip_serializing_if = "Option::is_none")]
    pub upstream: Option<Arc<str>>,
    /// The address of the backend that was tried last.
    #[serde(serialize_with = "name", skip_serializing_if = "Option::is_none")]
    pub backend: Option<Arc<str>>,
    /// How many backends were tried.
    pub tries: u32,
    /// The status of the answer; 101 for a session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// How long it took to connect to the last backend tried.
    #[serde(rename = "connect_ms", serialize_with = "millis", skip_serializing_if = "Option::is_none")]
    pub connect: Option<Duration>,
    /// From the request to the head of the backend's answer, all tries included.
    #[serde(rename = "handshake_ms", serialize_with = "millis", skip_serializing_if = "Option::is_none")]
    pub handshake: Option<Duration>,
    /// From the request to the end.
    #[serde(rename = "duration_ms", serialize_with = "millis", skip_serializing_if = "Option::is_none")]
    pub duration: Option<Duration>,
    /// The bytes and messages that passed, and the round trips of our Pings.
    #[serde(flatten)]
    pub traffic: Traffic,
    /// For how long no byte had passed when the end of a session began.
    #[serde(flatten)]
    pub silence: Option<Silence>,
    /// What a session has been through, if one of its sides was replaced, or if bytes may be lost.
    #[serde(flatten)]
    pub holds: Option<Holds>,
    /// The code of the first Close.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub close_code: Option<u16>,
    /// The reason of the first Close.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub close_reason: String,
    /// Who ended the session first.
    #[serde(serialize_with = "initiator", skip_serializing_if = "Option::is_none")]
    pub initiator: Option<Initiator>,
    /// Why the session or request ended.
    pub cause: Outcome,
    /// How the end of a session came about.
    #[serde(serialize_with = "how", skip_serializing_if = "Option::is_none")]
    pub how: Option<HowEnded>,
    /// The source of a failure, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Whether both Closes were exchanged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clean: Option<bool>,
}

/// The record of a request, or of a session when the session ends: its [`Facts`], and everybody who takes them at the end.
/// Dropping the record ends it. While a session lives, its record is kept small ([`Record::into_session`]).
#[derive(Debug)]
pub struct Record {
    facts: Facts,
    started: Instant,
    log: Option<AccessLog>,
    /// Where the ending is kept as well, for an operator who asks.
    endings: Option<Arc<Endings>>,
    /// Where the request is counted if it becomes no session.
    metrics: Option<Arc<Metrics>>,
    /// The trace ends with the request, or at the 101 if the request becomes a session.
    pub(crate) trace: Trace,
}

impl Deref for Record {
    type Target = Facts;

    fn deref(&self) -> &Facts {
        &self.facts
    }
}

impl DerefMut for Record {
    fn deref_mut(&mut self) -> &mut Facts {
        &mut self.facts
    }
}

/// Whether a record is of a request or of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RecordKind {
    /// A plain request, or a handshake that became no session.
    Request,
    /// An upgraded session.
    Session,
    /// A probe that ended in this process.
    Probe,
}

impl RecordKind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Session => "session",
            Self::Probe => "probe",
        }
    }
}

/// The TLS version of a client's connection, as the log writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[allow(missing_docs, reason = "the names say it")]
pub enum TlsVersion {
    #[serde(rename = "TLSv1.2")]
    V1_2,
    #[serde(rename = "TLSv1.3")]
    V1_3,
}

impl TlsVersion {
    /// As OpenSSL writes it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::V1_2 => "TLSv1.2",
            Self::V1_3 => "TLSv1.3",
        }
    }
}

/// The traffic of both directions. For a plain request: the bytes of its bodies.
#[derive(Debug, Default, Serialize)]
#[allow(missing_docs, reason = "the names say it, and they are those of the log")]
pub struct Traffic {
    pub bytes_to_backend: u64,
    pub bytes_to_client: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frames_to_backend: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frames_to_client: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub messages_to_backend: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub messages_to_client: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pings_client: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pings_backend: Option<u32>,
    /// Round trips of our Pings to the client.
    #[serde(rename = "rtt_last_ms", serialize_with = "millis", skip_serializing_if = "Option::is_none")]
    pub rtt_last: Option<Duration>,
    #[serde(rename = "rtt_mean_ms", serialize_with = "millis", skip_serializing_if = "Option::is_none")]
    pub rtt_mean: Option<Duration>,
    /// Round trips of our Pings to the backend.
    #[serde(rename = "rtt_backend_last_ms", serialize_with = "millis", skip_serializing_if = "Option::is_none")]
    pub rtt_backend_last: Option<Duration>,
    #[serde(rename = "rtt_backend_mean_ms", serialize_with = "millis", skip_serializing_if = "Option::is_none")]
    pub rtt_backend_mean: Option<Duration>,
}

impl Traffic {
    /// The traffic of a session so far.
    #[must_use]
    pub fn of(session: &Session) -> Self {
        let (from_client, from_backend) = (session.counts(Side::Client), session.counts(Side::Backend));
        let (client, backend) = (session.round_trips(Side::Client), session.round_trips(Side::Backend));
        let Counts { bytes: bytes_to_backend, frames: frames_to_backend, messages: messages_to_backend } = from_client;
        let Counts { bytes: bytes_to_client, frames: frames_to_client, messages: messages_to_client } = from_backend;
        Self {
            bytes_to_backend,
            bytes_to_client,
            frames_to_backend: Some(frames_to_backend),
            frames_to_client: Some(frames_to_client),
            messages_to_backend: Some(messages_to_backend),
            messages_to_client: Some(messages_to_client),
            pings_client: Some(client.pings),
            pings_backend: Some(backend.pings),
            rtt_last: client.last,
            rtt_mean: client.mean,
            rtt_backend_last: backend.last,
            rtt_backend_mean: backend.mean,
        }
    }
}

/// What a session has been through with its sides.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Holds {
    /// How many backends have followed the first one, and how often the client has come back.
    pub resumes: u32,
    /// The time in which a side was gone: no backend took the client's frames, or the client was away.
    #[serde(rename = "gap_ms", serialize_with = "whole_millis")]
    pub gap: Duration,
    /// The bytes for backends of which nobody knows whether they arrived: a lower bound. `None` = nothing is known of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub maybe_lost_bytes: Option<u64>,
}

impl Holds {
    /// `backend`: the last one. Of a Unix socket, the kernel tells no bytes.
    fn of(session: &Session, backend: Option<&str>) -> Option<Self> {
        let (held, away) = (session.hold_tally(), session.resume_tally());
        let HoldTally { resumes, gap, maybe_lost } = held;
        let is_told = maybe_lost > 0 || !backend.is_some_and(|backend| backend.starts_with("unix:"));
        let maybe_lost_bytes = is_told.then_some(maybe_lost);
        let (resumes, gap) = (resumes.saturating_add(away.resumes), gap.saturating_add(away.gap));
        let is_ordinary = held == HoldTally::default() && away == ResumeTally::default();
        (!is_ordinary).then_some(Self { resumes, gap, maybe_lost_bytes })
    }
}

impl Record {
    /// The record of a request that has just come. Its cause is `client_gone` until another cause is known.
    #[must_use]
    pub fn new(log: Option<AccessLog>, client: Client, method: &str, path: &str) -> Self {
        let facts = Facts {
            time: Timestamp::now(),
            kind: RecordKind::Request,
            is_handshake: false,
            request_id: String::new(),
            trace_id: None,
            client,
            peer: None,
            tls: None,
            told: None,
            client_cert: None,
            host: String::new(),
            // Most requests are GETs, and need no copy of the word.
            method: if method == "GET" { "GET".into() } else { cut(method, LONGEST_WORD).into() },
            path: cut(path, LONGEST_PATH),
            route: None,
            upstream: None,
            backend: None,
            tries: 0,
            status: None,
            connect: None,
            handshake: None,
            duration: None,
            traffic: Traffic::default(),
            silence: None,
            holds: None,
            close_code: None,
            close_reason: String::new(),
            initiator: None,
            cause: Outcome::Failed(Kind::ClientGone),
            how: None,
            error: None,
            clean: None,
        };
        Self { facts, started: Instant::now(), log, endings: None, metrics: None, trace: Trace::default() }
    }

    /// Counts the request in `metrics` and keeps its ending in `endings`, if it becomes no session.
    ///
    /// Both take the cause that the line says, even if the line is not written.
    pub fn count_in(&mut self, metrics: Arc<Metrics>, endings: Option<Arc<Endings>>, is_handshake: bool) {
        self.metrics = Some(metrics);
        self.endings = endings;
        self.is_handshake = is_handshake;
    }

    /// Notes that the request was refused or failed.
    pub fn fail(&mut self, error: &Error) {
        self.cause = Outcome::Failed(error.kind());
        self.error = std::error::Error::source(error).map(|source| cut(&source.to_string(), LONGEST_WORD));
    }

    /// Notes the host that the client asks for.
    pub fn set_host(&mut self, host: &str) {
        self.host = cut(host, LONGEST_HOST);
    }

    /// Notes that a backend's answer, which was no upgrade, was passed on whole.
    pub const fn set_answered(&mut self) {
        self.facts.cause = if self.facts.is_handshake { Outcome::NotUpgraded } else { Outcome::Answered };
    }

    /// Lets this trace end with the record, and takes the trace's id.
    pub fn trace_in(&mut self, trace: Trace) {
        self.trace_id = trace.id();
        self.trace = trace;
    }

    /// When the request came.
    #[must_use]
    pub const fn started(&self) -> Instant {
        self.started
    }

    /// The record of the session that begins with a believed 101 of `backend`, over `route`. No line is written for the
    /// request.
    #[must_use = "dropped, it is written"]
    pub fn into_session(mut self, route: Arc<RouteLog>, backend: Arc<Backend>) -> SessionRecord {
        self.log = None;
        self.metrics = None;
        self.endings = None;
        (self.status, self.cause) = (Some(101), Outcome::Answered);
        SessionRecord::new(&self, route, backend)
    }

    /// No line is written for a handshake by which a client comes back to its session: the session has one.
    pub fn leave_to_session(mut self) {
        self.log = None;
        self.metrics = None;
        self.endings = None;
        (self.status, self.cause) = (Some(101), Outcome::Answered);
    }

    /// Turns the record of a handshake into that of a probe that ends here. Until [`Self::end_probe`], it says that the process
    /// cut the probe. It counts for no route, and is not kept among the endings of sessions.
    pub fn begin_probe(&mut self) {
        self.metrics = None;
        self.endings = None;
        (self.kind, self.status, self.cause) = (RecordKind::Probe, Some(101), Outcome::Answered);
        mem::take(&mut self.trace).end(&self.span_end());
        (self.cause, self.initiator) = (Outcome::Ended(Cause::Drain), Some(Initiator::Proxy));
        (self.how, self.clean) = (Some(HowEnded::Ours), Some(false));
    }

    /// Notes how the probe ended, and how many bytes its client got.
    pub fn end_probe(&mut self, termination: Termination, bytes_to_client: u64) {
        self.traffic.bytes_to_client = bytes_to_client;
        self.terminate(termination);
    }

    /// Notes the session's figures and how it ended. `cut` is how it ended if it did not end by itself.
    fn end_session(&mut self, session: &Session, cut: Termination) {
        self.traffic = Traffic::of(session);
        self.silence = Some(session.silence(Instant::now()));
        self.holds = Holds::of(session, self.backend.as_deref());
        self.terminate(session.termination().unwrap_or(cut));
    }

    /// What the span of the handshake says of its end.
    fn span_end(&self) -> SpanEnd<'_> {
        SpanEnd {
            client: self.client,
            is_tls: self.tls.is_some(),
            request_id: &self.request_id,
            host: &self.host,
            path: &self.path,
            route: self.route.as_deref(),
            upstream: self.upstream.as_deref(),
            backend: self.backend.as_deref(),
            tries: self.tries,
            status: self.status,
            cause: self.cause,
        }
    }

    fn terminate(&mut self, Termination { initiator, cause, how, code, reason, clean }: Termination) {
        self.initiator = Some(initiator);
        self.cause = Outcome::Ended(cause);
        self.how = Some(how);
        self.close_code = code.map(|code| code.0);
        self.close_reason = reason;
        self.clean = Some(clean);
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        self.duration = Some(self.started.elapsed());
        mem::take(&mut self.trace).end(&self.span_end());
        if let Some(metrics) = self.metrics.take() {
            metrics.request_over(self.route.as_deref(), self.cause, self.is_handshake);
        }
        if let Some(log) = self.log.take().filter(|log| log.wants(self))
            && let Err(error) = log.write(self)
        {
            tracing::debug!(%error, "a record could not be put into words");
        }
        if let Some(endings) = self.endings.take() {
            endings.push(self);
        }
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde asks for")]
fn whole_millis<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    millis(&Some(*duration), serializer)
}

#[allow(clippy::ref_option, reason = "the signature that serde asks for")]
fn millis<S: Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    let whole = Duration::from_micros(micros(duration.unwrap_or_default()));
    serializer.serialize_f64((whole.as_secs_f64() * 1_000_000.0).round() / 1000.0)
}

/// The duration rounded to whole microseconds.
fn micros(duration: Duration) -> u64 {
    u64::try_from((duration.as_nanos() + 500) / 1000).unwrap_or(u64::MAX)
}

#[allow(clippy::ref_option, reason = "the signature that serde asks for")]
fn shown<S: Serializer>(certificate: &Option<Arc<CertificateFacts>>, serializer: S) -> Result<S::Ok, S::Error> {
    certificate.as_deref().serialize(serializer)
}

#[allow(clippy::ref_option, reason = "the signature that serde asks for")]
fn name<S: Serializer>(name: &Option<Arc<str>>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(name.as_deref().unwrap_or_default())
}

#[allow(clippy::ref_option, reason = "the signature that serde asks for")]
fn initiator<S: Serializer>(initiator: &Option<Initiator>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(initiator.map_or("", Initiator::as_str))
}

#[allow(clippy::ref_option, reason = "the signature that serde asks for")]
fn how<S: Serializer>(how: &Option<HowEnded>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(how.map_or("", HowEnded::as_str))
}

#[allow(clippy::ref_option, reason = "the signature that serde asks for")]
fn trace_id<S: Serializer>(id: &Option<u128>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&TraceId(id.unwrap_or_default()))
}

struct TraceId(u128);

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::{net::IpAddr, sync::mpsc};

    use super::*;
    use crate::headers::Fingerprint;

    struct Sent(mpsc::Sender<Vec<u8>>);

    impl Write for Sent {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.send(bytes.to_vec()).unwrap();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn written(format: LogFormat, edit: impl FnOnce(&mut Record)) -> String {
        let (sender, lines) = mpsc::channel();
        let log = AccessLog::new(format, Sent(sender)).unwrap();
        let mut record = Record::new(Some(log), Client::from(IpAddr::from([192, 0, 2, 1])), "GET", "/ws/");
        edit(&mut record);
        drop(record);
        String::from_utf8(lines.iter().flatten().collect()).unwrap()
    }

    #[test]
    fn a_dropped_record_is_one_line() {
        let line = written(LogFormat::Json, |record| record.connect = Some(Duration::from_micros(1500)));
        assert!(line.ends_with('\n') && line.lines().count() == 1, "{line}");
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(
            (&value["client"], &value["cause"], &value["connect_ms"]),
            (&"192.0.2.1".into(), &"client_gone".into(), &1.5.into())
        );
        assert!(value.get("close_code").is_none());
    }

    #[test]
    fn every_field_stands_in_the_documentation() {
        let words = include_str!("../docs/log.md");
        let full = |record: &mut Record| {
            let some = Some(Duration::from_millis(1));
            (record.tls, record.route, record.upstream) = (Some(TlsVersion::V1_3), Some("".into()), Some("".into()));
            (record.connect, record.handshake, record.status) = (some, some, Some(101));
            (record.backend, record.host, record.error) = (Some("".into()), "a".into(), Some(String::new()));
            (record.close_code, record.initiator, record.clean) = (Some(1000), Some(Initiator::Client), Some(true));
            record.close_reason = "bye".into();
            let word = Some(String::new());
            record.told = Some(Box::new(ProxyTlvs {
                authority: word.clone(),
                unique_id: word.clone(),
                tls_version: word.clone(),
                client_name: word.clone(),
                is_client_verified: Some(true),
                vpc_endpoint: word,
            }));
            let (fingerprint, subject) = (Fingerprint([1; 32]), "CN=a".to_owned());
            record.client_cert = Some(Arc::new(CertificateFacts { fingerprint, subject }));
            (record.trace_id, record.is_handshake) = (Some(1), true);
            let counts = Some(1);
            record.traffic = Traffic {
                frames_to_backend: counts,
                frames_to_client: counts,
                messages_to_backend: counts,
                messages_to_client: counts,
                pings_client: Some(1),
                pings_backend: Some(1),
                rtt_last: some,
                rtt_mean: some,
                rtt_backend_last: some,
                rtt_backend_mean: some,
                ..Traffic::default()
            };
            (record.silence, record.how) = (Some(Silence::default()), Some(HowEnded::Close));
        };
        let line: serde_json::Value = serde_json::from_str(&written(LogFormat::Json, full)).unwrap();
        let fields = line.as_object().unwrap();
        assert!(fields.len() > 30, "{line}");
        for field in fields.keys() {
            assert!(words.contains(&format!("`{field}`")), "{field} is not in docs/log.md");
        }
    }

    #[test]
    fn of_what_went_well_one_in_so_many_is_written_and_of_the_rest_all() {
        let (sender, lines) = mpsc::channel();
        let log = AccessLog::new(LogFormat::Json, Sent(sender)).unwrap().sampling(NonZeroU32::new(4).unwrap());
        for (cause, status, count) in
            [(Outcome::Answered, 200, 8), (Outcome::Answered, 500, 3), (Outcome::Failed(Kind::Refused), 502, 2)]
        {
            for _ in 0..count {
                let mut record = Record::new(Some(log.clone()), Client::from(IpAddr::from([192, 0, 2, 1])), "GET", "/");
                (record.cause, record.status) = (cause, Some(status));
            }
        }
        drop(log);
        let all = String::from_utf8(lines.iter().flatten().collect()).unwrap();
        let of = |word: &str| all.lines().filter(|line| line.contains(word)).count();
        assert_eq!((of("\"status\":200"), of("\"status\":500"), of("refused")), (2, 3, 2));
    }

    #[test]
    fn a_line_of_text_begins_with_the_time_and_has_the_order_of_the_json() {
        let edit = |record: &mut Record| {
            record.time = "2026-01-02T03:04:05.000000006Z".parse().unwrap();
            record.request_id = "id".into();
            record.set_host("a b");
            (record.status, record.clean, record.trace_id) = (Some(101), Some(true), Some(1));
            (record.silence, record.how) =
                (Some(Silence { to_client: 47, ..Silence::default() }), Some(HowEnded::Ours));
        };
        let text = written(LogFormat::Text, edit);
        let start = "time=2026-01-02T03:04:05.000000006Z kind=request request_id=id \
                     trace_id=00000000000000000000000000000001 client=192.0.2.1 host=\"a b\" method=GET path=/ws/ tries=0 \
                     status=101 duration_ms=";
        assert!(text.starts_with(start), "{text}");
        let end = "bytes_to_backend=0 bytes_to_client=0 silence_from_client_ms=0 silence_from_backend_ms=0 \
                   silence_to_client_ms=47 silence_to_backend_ms=0 cause=client_gone how=ours clean=true\n";
        assert!(text.ends_with(end), "{text}");
        let keys = |line: &str, end: char| {
            let words = line.split([' ', ',', '{']).filter_map(|word| word.split_once(end));
            words.map(|(key, _)| key.trim_matches('"').to_owned()).collect::<Vec<_>>()
        };
        let json = written(LogFormat::Json, |record| (edit(record), record.set_host("ab")).0);
        let text = written(LogFormat::Text, |record| (edit(record), record.set_host("ab")).0);
        assert_eq!(keys(&text, '='), keys(&json, ':'), "{text}{json}");
    }

    #[test]
    fn a_peers_words_cannot_break_the_line() {
        let line = written(LogFormat::Text, |record| record.close_reason = "bye\nkind=session \"x\"".into());
        assert_eq!(line.lines().count(), 1);
        assert!(line.contains(r#"close_reason="bye\nkind=session \"x\"""#), "{line}");
    }
}
