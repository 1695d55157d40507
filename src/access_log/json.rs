//! A record as a line of JSON, byte for byte what its `Serialize` makes of it, for half of the instructions.
//!
//! The instructions are saved because only the words of others are searched for characters that must be escaped.

use std::{fmt::Display, io::Write as _, num::NonZeroU32, time::Duration};

use super::{Facts, Holds, TlsVersion, TraceId, Traffic, micros};
use crate::{
    headers::CertificateFacts,
    proxy_protocol::ProxyTlvs,
    sender::Client,
    ws::termination::{HowEnded, Initiator, Silence},
};

/// Bytes that hold most lines.
const USUAL: usize = 768;

/// The line of a record, without its line feed.
pub(super) fn json(facts: &Facts) -> Vec<u8> {
    // There is no `..` here, so a field that is not written does not compile.
    let Facts {
        time,
        kind,
        is_handshake,
        request_id,
        trace_id,
        client,
        peer,
        tls,
        told,
        client_cert,
        host,
        method,
        path,
        route,
        upstream,
        backend,
        tries,
        status,
        connect,
        handshake,
        duration,
        traffic,
        silence,
        holds,
        close_code,
        close_reason,
        initiator,
        cause,
        how,
        error,
        clean,
    } = facts;
    let mut object = Object::new();
    object.shown("time", Some(time));
    object.word("kind", Some(kind.as_str()));
    object.boolean("handshake", Some(true).filter(|_| *is_handshake));
    object.text("request_id", Some(request_id));
    object.shown("trace_id", trace_id.map(TraceId));
    object.client(*client);
    object.number("peer_uid", peer.map(|peer| peer.uid));
    object.number("peer_pid", peer.and_then(|peer| peer.pid).map(NonZeroU32::get));
    object.word("tls", tls.map(TlsVersion::as_str));
    if let Some(told) = told {
        object.told(told);
    }
    if let Some(CertificateFacts { fingerprint, subject }) = client_cert.as_deref() {
        object.shown("client_cert_fingerprint", Some(fingerprint));
        object.text("client_cert_subject", filled(subject));
    }
    object.text("host", filled(host));
    object.text("method", filled(method));
    object.text("path", filled(path));
    object.text("route", route.as_deref());
    object.text("upstream", upstream.as_deref());
    object.text("backend", backend.as_deref());
    object.number("tries", Some(*tries));
    object.number("status", *status);
    object.millis("connect_ms", *connect);
    object.millis("handshake_ms", *handshake);
    object.millis("duration_ms", *duration);
    object.traffic(traffic);
    if let Some(silence) = silence {
        object.silence(*silence);
    }
    if let Some(Holds { resumes, gap, maybe_lost_bytes }) = holds {
        object.number("resumes", Some(*resumes));
        object.millis("gap_ms", Some(*gap));
        object.number("maybe_lost_bytes", *maybe_lost_bytes);
    }
    object.number("close_code", *close_code);
    object.text("close_reason", filled(close_reason));
    object.word("initiator", initiator.map(Initiator::as_str));
    object.word("cause", Some(cause.as_str()));
    object.word("how", how.map(HowEnded::as_str));
    object.text("error", error.as_deref());
    object.boolean("clean", *clean);
    object.end()
}

/// `text`, or `None` if it is empty, so that the field is left out.
fn filled(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}

/// A JSON object that is being written. A value of `None` is left out.
struct Object(Vec<u8>);

impl Object {
    fn new() -> Self {
        let mut line = Vec::with_capacity(USUAL);
        line.push(b'{');
        Self(line)
    }

    fn end(mut self) -> Vec<u8> {
        self.0.push(b'}');
        self.0
    }

    fn name(&mut self, name: &str) {
        if self.0.len() > 1 {
            self.0.push(b',');
        }
        self.quoted(name);
        self.0.push(b':');
    }

    fn quoted(&mut self, word: &str) {
        self.0.push(b'"');
        self.0.extend_from_slice(word.as_bytes());
        self.0.push(b'"');
    }

    /// A word of ours, in which nothing must be escaped.
    fn word(&mut self, name: &str, word: Option<&str>) {
        if let Some(word) = word {
            self.name(name);
            self.quoted(word);
        }
    }

    fn text(&mut self, name: &str, text: Option<&str>) {
        let Some(text) = text else { return };
        let must_be_escaped = |byte: u8| byte < b' ' || byte == b'"' || byte == b'\\';
        // The fold looks at every byte and does not stop early, so that the compiler can look at many bytes at once.
        if text.bytes().fold(false, |any, byte| any | must_be_escaped(byte)) {
            self.name(name);
            self.0.extend(serde_json::to_vec(text).unwrap_or_default());
        } else {
            self.word(name, Some(text));
        }
    }

    /// A value whose text needs no escape.
    fn shown(&mut self, name: &str, value: Option<impl Display>) {
        if let Some(value) = value {
            self.name(name);
            // A write to memory cannot fail.
            let _ = write!(self.0, "\"{value}\"");
        }
    }

    fn told(&mut self, told: &ProxyTlvs) {
        let ProxyTlvs { authority, unique_id, tls_version, client_name, is_client_verified, vpc_endpoint } = told;
        self.text("proxy_authority", authority.as_deref());
        self.text("proxy_unique_id", unique_id.as_deref());
        self.text("proxy_tls", tls_version.as_deref());
        self.text("proxy_client_cn", client_name.as_deref());
        self.boolean("proxy_client_verified", *is_client_verified);
        self.text("vpc_endpoint", vpc_endpoint.as_deref());
    }

    fn client(&mut self, client: Client) {
        self.name("client");
        self.0.push(b'"');
        client.write(&mut self.0);
        self.0.push(b'"');
    }

    fn number(&mut self, name: &str, number: Option<impl Into<u64>>) {
        if let Some(number) = number {
            self.name(name);
            self.digits(number.into());
        }
    }

    fn boolean(&mut self, name: &str, value: Option<bool>) {
        if let Some(value) = value {
            self.name(name);
            self.0.extend_from_slice(if value { b"true" } else { b"false" });
        }
    }

    /// Milliseconds to the microsecond, with at least one digit behind the point.
    fn millis(&mut self, name: &str, duration: Option<Duration>) {
        let Some(duration) = duration else { return };
        self.name(name);
        let micros = micros(duration);
        self.digits(micros / 1000);
        self.0.push(b'.');
        let [hundreds, tens, ones] = [100, 10, 1].map(|unit| b'0' + (micros % 1000 / unit % 10) as u8);
        match (tens, ones) {
            (b'0', b'0') => self.0.push(hundreds),
            (_, b'0') => self.0.extend_from_slice(&[hundreds, tens]),
            _ => self.0.extend_from_slice(&[hundreds, tens, ones]),
        }
    }

    fn digits(&mut self, mut number: u64) {
        let start = self.0.len();
        loop {
            self.0.push(b'0' + (number % 10) as u8);
            number /= 10;
            if number == 0 {
                break;
            }
        }
        if let Some(digits) = self.0.get_mut(start..) {
            digits.reverse();
        }
    }

    fn traffic(&mut self, traffic: &Traffic) {
        let Traffic {
            bytes_to_backend,
            bytes_to_client,
            frames_to_backend,
            frames_to_client,
            messages_to_backend,
            messages_to_client,
            pings_client,
            pings_backend,
            rtt_last,
            rtt_mean,
            rtt_backend_last,
            rtt_backend_mean,
        } = traffic;
        self.number("bytes_to_backend", Some(*bytes_to_backend));
        self.number("bytes_to_client", Some(*bytes_to_client));
        self.number("frames_to_backend", *frames_to_backend);
        self.number("frames_to_client", *frames_to_client);
        self.number("messages_to_backend", *messages_to_backend);
        self.number("messages_to_client", *messages_to_client);
        self.number("pings_client", *pings_client);
        self.number("pings_backend", *pings_backend);
        self.millis("rtt_last_ms", *rtt_last);
        self.millis("rtt_mean_ms", *rtt_mean);
        self.millis("rtt_backend_last_ms", *rtt_backend_last);
        self.millis("rtt_backend_mean_ms", *rtt_backend_mean);
    }

    fn silence(&mut self, Silence { from_client, from_backend, to_client, to_backend }: Silence) {
        self.number("silence_from_client_ms", Some(from_client));
        self.number("silence_from_backend_ms", Some(from_backend));
        self.number("silence_to_client_ms", Some(to_client));
        self.number("silence_to_backend_ms", Some(to_backend));
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::{net::IpAddr, sync::Arc};

    use jiff::Timestamp;
    use proptest::{collection::vec, option, prelude::*};

    use super::{
        super::{Record, RecordKind},
        *,
    };
    use crate::{headers::Fingerprint, sender::PeerProcess, ws::termination::Loss};

    /// Text of characters that must be escaped and of any others.
    fn text() -> impl Strategy<Value = String> {
        let character = prop_oneof![
            2 => any::<char>(),
            2 => prop::char::range(' ', '~'),
            1 => prop::char::range('\0', '\x1f'),
            1 => prop::sample::select(&['"', '\\'][..]),
        ];
        prop_oneof!["[ -!#-Z^-~]{0,20}", vec(character, 0..20).prop_map(String::from_iter)]
    }

    /// A duration that is often short, and at most thirty years.
    fn duration() -> impl Strategy<Value = Option<Duration>> {
        option::of(prop_oneof![0..3_000_000_u64, 0..10_u64.pow(18)].prop_map(Duration::from_nanos))
    }

    fn record() -> impl Strategy<Value = Record> {
        let ends = (any::<bool>(), option::of(any::<u128>()), option::of(any::<u16>()), option::of(any::<bool>()));
        let peer = option::of(any::<[u8; PeerProcess::BYTES]>().prop_map(PeerProcess::from_bytes));
        let client = (any::<bool>(), any::<[u8; 4]>(), any::<[u8; 16]>(), peer);
        let numbers = vec(option::of(prop_oneof![0..2000_u32, any::<u32>()]), 8);
        let tls = option::of(prop_oneof![Just(TlsVersion::V1_2), Just(TlsVersion::V1_3)]);
        let time = prop_oneof![0..i64::MAX, (0..4_000_000_000_i64).prop_map(|second| second * 1_000_000_000)];
        let words = (vec(text(), 10), vec(any::<bool>(), 6));
        (time, client, words, numbers, (any::<u64>(), any::<u64>()), vec(duration(), 7), tls, ends).prop_map(
            |(time, (is_v4, v4, v6, peer), (words, are_there), numbers, bytes, durations, tls, ends)| {
                let (is_session, trace_id, close_code, clean) = ends;
                let client = if is_v4 { IpAddr::from(v4) } else { IpAddr::from(v6) };
                let mut record = Record::new(None, client.into(), &words[0], &words[1]);
                record.time = Timestamp::from_nanosecond(time.into()).unwrap_or_default();
                if peer.is_some() {
                    (record.client, record.peer) = (Client::of_unix(), peer);
                }
                record.kind = if is_session { RecordKind::Session } else { RecordKind::Request };
                record.is_handshake = !is_session && is_v4;
                (record.trace_id, record.close_code, record.clean, record.tls) = (trace_id, close_code, clean, tls);
                record.request_id.clone_from(&words[2]);
                record.set_host(&words[3]);
                record.close_reason.clone_from(&words[4]);
                let word = |index: usize| Some(words[5 + index].clone()).filter(|_| are_there[index]);
                let name = |index| word(index).map(Into::into);
                (record.route, record.upstream, record.backend) = (name(0), name(1), name(2));
                record.error = word(3);
                record.initiator = Some(Initiator::Proxy).filter(|_| are_there[4]);
                record.told = are_there[0].then(|| {
                    Box::new(ProxyTlvs {
                        authority: word(1),
                        unique_id: word(2),
                        tls_version: word(3),
                        client_name: word(0),
                        is_client_verified: clean,
                        vpc_endpoint: word(1),
                    })
                });
                let (fingerprint, subject) = (Fingerprint([v4[0]; 32]), words[9].clone());
                let certificate = Arc::new(CertificateFacts { fingerprint, subject });
                record.client_cert = Some(certificate).filter(|_| are_there[5]);
                let [from_client, from_backend, to_client, to_backend] =
                    [numbers[7], numbers[1], numbers[2], numbers[3]].map(Option::unwrap_or_default);
                let silence = Silence { from_client, from_backend, to_client, to_backend };
                record.silence = Some(silence).filter(|_| are_there[2]);
                let hows = [HowEnded::Close, HowEnded::Lost(Loss::TimedOut), HowEnded::Silent];
                record.how = numbers[5].and_then(|number| hows.get(number as usize % 4).copied());
                record.tries = numbers[0].unwrap_or_default();
                record.status = close_code.filter(|_| is_session);
                (record.connect, record.handshake, record.duration) = (durations[0], durations[1], durations[2]);
                record.traffic = Traffic {
                    bytes_to_backend: bytes.0,
                    bytes_to_client: bytes.1,
                    frames_to_backend: numbers[1].map(u64::from),
                    frames_to_client: numbers[2].map(|count| u64::from(count) << 32),
                    messages_to_backend: numbers[3].map(u64::from),
                    messages_to_client: numbers[4].map(u64::from),
                    pings_client: numbers[5],
                    pings_backend: numbers[6],
                    rtt_last: durations[3],
                    rtt_mean: durations[4],
                    rtt_backend_last: durations[5],
                    rtt_backend_mean: durations[6],
                };
                record
            },
        )
    }

    proptest! {
        #[test]
        fn a_line_is_byte_for_byte_what_serde_makes_of_the_record(record in record()) {
            let (ours, theirs) = (json(&record), serde_json::to_vec(&*record).unwrap());
            prop_assert_eq!(String::from_utf8_lossy(&ours), String::from_utf8_lossy(&theirs));
        }
    }
}
