//! What is kept of a record: 64 bytes, so that a million of them fit into memory.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    num::NonZeroU64,
};

use super::record::RecordText;
use crate::{error::Kind, ws::Side};

/// The status of a handshake that was answered with an upgrade.
const SWITCHED: u16 = 101;

/// A record, made small. Words are numbers of [`super::words::Words`].
#[derive(Debug, Clone, Copy)]
pub(super) struct EndFacts {
    /// The lot that it has drawn, where it is of a sample.
    pub(super) lot: u32,
    /// When the session or the request ended, in milliseconds since 1970.
    pub(super) ended: i64,
    /// The network of the client.
    pub(super) network: Option<NetworkPrefix>,
    /// The client within its network: the last byte of an IPv4 address, or the rest of an IPv6 address, folded.
    pub(super) host: u16,
    /// From the request to the end.
    pub(super) age: Millis,
    /// The silence of the client and of the backend.
    pub(super) silences: [Silences; 2],
    /// Our Pings to the client and to the backend.
    pub(super) pings: [u16; 2],
    pub(super) route: u16,
    pub(super) backend: u16,
    /// The cause.
    pub(super) word: u16,
    pub(super) status: u16,
    pub(super) sort: EndSort,
    pub(super) seen: SeenEnd,
    /// Whether so little passed that the session may have been silent from its begin on.
    pub(super) is_quiet: bool,
    /// Whether the client and the backend have answered a Ping of ours.
    pub(super) has_answered: [bool; 2],
    /// Whether the session had other backends before, or its client other connections. Its age is then not that of a connection.
    pub(super) is_resumed: bool,
}

/// Milliseconds, for 49 days; `None` is a value of its own, to stay within four bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Millis(u32);

/// How long no byte came from a side, and how long none went to it, when the session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Silences {
    pub(super) from: Millis,
    pub(super) to: Millis,
}

/// What kind of end a cause is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EndSort {
    /// This side sent a Close.
    Closed(Side),
    /// The connection with this side ended without a Close.
    Lost(Side),
    /// This side answered no Ping.
    Dead(Side),
    /// A limit of ours ended it.
    Limited,
    /// A side took its bytes too slowly.
    Slow,
    /// We told the session to leave: a drain, a reload, an operator.
    Told,
    /// We ended it for another reason.
    Ours,
    /// A limit of ours refused a handshake.
    Barred,
    /// Another handshake that became no session.
    Refused,
    /// A request that was no handshake, as far as the record says.
    Plain,
}

/// A session, or a handshake that became none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndClass {
    /// A session.
    Session,
    /// A handshake that was refused.
    Refusal,
}

/// How a connection ended, as far as the record says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SeenEnd {
    Fin,
    Reset,
    /// Nothing was heard any more: we, or the kernel, gave it up.
    Silent,
    /// A Close, or we ended it.
    Other,
    /// An older record.
    Untold,
}

/// A network of clients: a /24 of IPv4 or a /48 of IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct NetworkPrefix(NonZeroU64);

/// The address of a client. Of an IPv6 address the bits behind the network are folded into sixteen: so two clients of a network may
/// be taken for one, but hardly ever are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct AddressKey {
    pub(super) network: NetworkPrefix,
    host: u16,
}

impl EndFacts {
    /// The facts of a record whose words have these numbers.
    pub(super) fn of(record: &RecordText<'_>, route: u16, backend: u16, word: u16) -> Self {
        let age = Millis::of(record.duration_ms);
        let address = record.client.and_then(AddressKey::of);
        let silences = |from, to| Silences { from: Millis::of(from), to: Millis::of(to) };
        let is_session = &*record.kind == RecordText::SESSION;
        let mut facts = Self {
            lot: 0,
            ended: record.ended(),
            network: address.map(|address| address.network),
            host: address.map(|address| address.host).unwrap_or_default(),
            age,
            silences: [
                silences(record.silence_from_client_ms, record.silence_to_client_ms),
                silences(record.silence_from_backend_ms, record.silence_to_backend_ms),
            ],
            pings: [record.pings_client, record.pings_backend].map(few),
            route,
            backend,
            word,
            status: status(record),
            sort: if is_session { EndSort::of_session(&record.cause) } else { EndSort::of_request(record) },
            seen: SeenEnd::of(record),
            is_quiet: record.is_quiet(),
            has_answered: [record.rtt_last_ms.is_some(), record.rtt_backend_last_ms.is_some()],
            is_resumed: record.resumes.is_some_and(|resumes| resumes > 0),
        };
        // A session in which nothing ever passed was silent for its whole life. So an older record says more than it seems.
        if is_session && record.is_mute() && record.silence_from_client_ms.is_none() {
            let whole = Millis::of(record.duration_ms.map(|ms| ms - record.handshake_ms.unwrap_or_default()));
            facts.silences = [Silences { from: whole, to: whole }; 2];
        }
        facts
    }

    /// Whether it is of a session.
    pub(super) const fn is_session(&self) -> bool {
        !matches!(self.sort, EndSort::Barred | EndSort::Refused | EndSort::Plain)
    }

    pub(super) const fn class(&self) -> EndClass {
        if self.is_session() { EndClass::Session } else { EndClass::Refusal }
    }

    /// Whether it is of a session that was not dropped.
    pub(super) const fn was_kept(&self) -> bool {
        self.is_session() && self.dropped().is_none()
    }

    /// The address of the client; `None`: it has none.
    pub(super) fn address(&self) -> Option<AddressKey> {
        self.network.map(|network| AddressKey { network, host: self.host })
    }

    /// Whether a session began or was to begin.
    pub(super) const fn is_handshake(&self) -> bool {
        !matches!(self.sort, EndSort::Plain)
    }

    /// Whether nothing came from this side any more, not even an acknowledgement or the answer to a Ping.
    pub(super) fn is_unanswered(&self, side: Side) -> bool {
        self.sort == EndSort::Dead(side) || self.sort == EndSort::Lost(side) && self.seen == SeenEnd::Silent
    }

    /// How long one direction was silent at such an end, in seconds: the longer one, because a stalled side may still send.
    pub(super) fn unanswered(&self, side: Side) -> Option<f64> {
        let Silences { from, to } = self.silences(side);
        Some(from.seconds()?.max(to.seconds()?)).filter(|_| self.is_unanswered(side))
    }

    /// When the request came, in milliseconds since 1970.
    pub(super) fn began(&self) -> i64 {
        self.ended.saturating_sub(self.age.get().map_or(0, i64::from))
    }

    /// The side that was dropped.
    pub(super) const fn dropped(&self) -> Option<Side> {
        match self.sort {
            EndSort::Lost(side) | EndSort::Dead(side) => Some(side),
            _ => None,
        }
    }

    pub(super) const fn silences(&self, side: Side) -> Silences {
        let [client, backend] = self.silences;
        match side {
            Side::Client => client,
            Side::Backend => backend,
        }
    }

    pub(super) const fn pings(&self, side: Side) -> u16 {
        let [client, backend] = self.pings;
        match side {
            Side::Client => client,
            Side::Backend => backend,
        }
    }

    pub(super) const fn has_answered(&self, side: Side) -> bool {
        let [client, backend] = self.has_answered;
        match side {
            Side::Client => client,
            Side::Backend => backend,
        }
    }
}

impl EndClass {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Session, Self::Refusal];
}

/// The status of a record; 0 = none. A refusal by a Close has that of its cause.
fn status(record: &RecordText<'_>) -> u16 {
    let of_cause =
        || Kind::ALL.into_iter().find(|kind| kind.reason() == &*record.cause).map(|kind| kind.status().as_u16());
    let is_by_close = record.status == Some(SWITCHED) && &*record.kind == RecordText::REQUEST;
    of_cause().filter(|_| is_by_close).or(record.status).unwrap_or_default()
}

/// As many as two bytes hold.
fn few(count: Option<u32>) -> u16 {
    count.unwrap_or_default().try_into().unwrap_or(u16::MAX)
}

impl Millis {
    const NONE: u32 = u32::MAX;

    fn of(millis: Option<f64>) -> Self {
        // A cast of a float stops at the bounds of the integer.
        Self(millis.filter(|millis| *millis >= 0.0).map_or(Self::NONE, |millis| (millis as u32).min(Self::NONE - 1)))
    }

    pub(super) fn get(self) -> Option<u32> {
        (self.0 != Self::NONE).then_some(self.0)
    }

    /// In seconds.
    pub(super) fn seconds(self) -> Option<f64> {
        self.get().map(|millis| f64::from(millis) / 1000.0)
    }
}

impl EndSort {
    /// The words are those of docs/causes.md.
    pub(super) fn of_session(cause: &str) -> Self {
        match cause {
            "client_close" => Self::Closed(Side::Client),
            "backend_close" => Self::Closed(Side::Backend),
            "client_lost" => Self::Lost(Side::Client),
            "backend_lost" => Self::Lost(Side::Backend),
            "client_dead" => Self::Dead(Side::Client),
            "backend_dead" => Self::Dead(Side::Backend),
            "idle" | "rate_limited" | "message_too_big" => Self::Limited,
            "memory" => Self::Slow,
            "drain" | "removed" | "backend_down" | "killed" | "rebalanced" => Self::Told,
            _ => Self::Ours,
        }
    }

    fn of_request(record: &RecordText<'_>) -> Self {
        match &*record.cause {
            _ if &*record.kind == RecordText::PROBE => Self::Plain,
            "sessions_per_client" | "new_sessions_per_client" => Self::Barred,
            // Who goes away was not refused.
            "ok" | "client_gone" => Self::Plain,
            _ if record.handshake == Some(true) => Self::Refused,
            // An older record does not say what the request was. These causes are those of handshakes only.
            "bad_handshake" | "wrong_version" | "not_upgraded" | "false_upgrade" | "origin" => Self::Refused,
            _ => Self::Plain,
        }
    }
}

impl SeenEnd {
    fn of(record: &RecordText<'_>) -> Self {
        match record.how.as_deref() {
            Some("fin") => Self::Fin,
            Some("reset") => Self::Reset,
            Some("timed_out" | "unreachable" | "silent") => Self::Silent,
            Some(_) => Self::Other,
            None => match &*record.cause {
                "client_dead" | "backend_dead" => Self::Silent,
                "client_lost" | "backend_lost" => Self::Untold,
                _ => Self::Other,
            },
        }
    }
}

impl AddressKey {
    /// The address of a client. `None`: it is none that a client has.
    fn of(client: IpAddr) -> Option<Self> {
        let (network, host) = match client {
            IpAddr::V4(address) => {
                let [.., host] = address.octets();
                (NetworkPrefix::V4 | u64::from(address.to_bits() >> 8), host.into())
            }
            IpAddr::V6(address) => {
                let [_, _, _, rest @ ..] = address.segments();
                (u64::try_from(address.to_bits() >> 80).ok()?, rest.iter().fold(0, |folded, part| folded ^ part))
            }
        };
        Some(Self { network: NetworkPrefix(NonZeroU64::new(network)?), host })
    }
}

impl NetworkPrefix {
    /// The network as a number that no other one has.
    pub(super) const fn bits(self) -> u64 {
        self.0.get()
    }

    /// Set where the network is one of IPv4. A /48 has no such bit.
    const V4: u64 = 1 << 63;
}

impl fmt::Display for NetworkPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bits = self.0.get();
        if bits & Self::V4 == 0 {
            return write!(f, "{}/48", Ipv6Addr::from_bits(u128::from(bits) << 80));
        }
        let address = u32::try_from(bits & !Self::V4).unwrap_or_default() << 8;
        write!(f, "{}/24", Ipv4Addr::from_bits(address))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::explain::record::read;

    fn facts(line: &str) -> EndFacts {
        let mut scratch = String::new();
        EndFacts::of(&read(line.as_bytes(), &mut scratch).unwrap(), 0, 0, 0)
    }

    #[test]
    fn a_million_facts_fit_into_memory() {
        assert!(size_of::<EndFacts>() <= 64, "{}", size_of::<EndFacts>());
    }

    #[test]
    fn a_network_is_a_24_or_a_48_and_a_client_of_it_has_a_number() {
        for (client, address) in [
            ("192.0.2.77", Some(("192.0.2.0/24", 77))),
            ("0.0.0.1", Some(("0.0.0.0/24", 1))),
            ("2001:db8:1:2::4", Some(("2001:db8:1::/48", 6))),
            ("::", None),
        ] {
            let found =
                AddressKey::of(client.parse().unwrap()).map(|address| (address.network.to_string(), address.host));
            assert_eq!(found.as_ref().map(|(network, host)| (network.as_str(), *host)), address, "{client}");
        }
    }

    #[test]
    fn a_record_without_silences_says_them_where_nothing_ever_passed() {
        let mute = r#"{"time":"2026-01-02T03:04:05Z","kind":"session","duration_ms":60010.0,"handshake_ms":10.0,"frames_to_backend":0,
            "frames_to_client":0,"pings_client":0,"pings_backend":0,"cause":"client_lost"}"#;
        let old = facts(mute);
        assert_eq!(old.silences(Side::Client).from.get(), Some(60_000));
        assert_eq!((old.seen, old.sort), (SeenEnd::Untold, EndSort::Lost(Side::Client)));
        let pinged = mute.replace(r#""pings_client":0"#, r#""pings_client":2"#);
        assert_eq!(facts(&pinged).silences(Side::Client).from.get(), None);
    }

    #[test]
    fn a_refusal_is_of_a_handshake_where_the_record_or_its_cause_says_so() {
        let request = |rest: &str| {
            facts(&format!(r#"{{"time":"2026-01-02T03:04:05Z","kind":"request","client":"::1",{rest}}}"#)).sort
        };
        assert_eq!(request(r#""handshake":true,"status":502,"cause":"refused""#), EndSort::Refused);
        assert_eq!(request(r#""status":502,"cause":"refused""#), EndSort::Plain);
        let probe =
            r#"{"time":"2026-01-02T03:04:05Z","kind":"probe","client":"::1","status":101,"cause":"client_lost"}"#;
        assert_eq!(facts(probe).sort, EndSort::Plain);
        assert_eq!(request(r#""status":403,"cause":"origin""#), EndSort::Refused);
        assert_eq!(request(r#""status":101,"cause":"sessions_per_client""#), EndSort::Barred);
        assert_eq!(request(r#""handshake":true,"status":429,"cause":"not_upgraded""#), EndSort::Refused);
    }
}
