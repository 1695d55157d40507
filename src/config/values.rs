//! The scalars of `proxy.yaml`: durations and sizes with their units, networks, the worker count.
//!
//! One `parse` reads each scalar. The checker uses it for the message and its position, and serde uses it too.

use std::{fmt, num::NonZeroUsize, time::Duration as StdDuration};

use ipnet::{IpNet, Ipv4Net};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use super::{
    addresses::{AdminAddress, BackendAddress, Bind},
    bad_value::BadValue,
    hold_trigger::HoldTrigger,
    names::{DnsAddress, ResolverAddress, ServiceName},
    preset_name::PresetName,
    rights::{Account, Mode},
    server_name::CertificateName,
    service_url::ServiceUrl,
    statuses::Statuses,
    tracing::{Collector, TraceShare},
    valkey_url::ValkeyUrl,
};
use crate::sender::Network;

/// A length of time, at most a year: `50ms`, `25s`, `1h 30m`. Zero or at least 1 ms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Duration(pub(super) StdDuration);

/// A length of time, or the one that follows from the path: `auto`, `25s`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DurationOrAuto {
    Auto,
    Fixed(Duration),
}

/// A length of time that may be too short for a timer, at most 2 ms: `0us`, `500us`, `1ms`. Zero or at least 1 us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ShortDuration(pub(super) StdDuration);

/// A number of bytes: `0B`, `32KiB`, `16MiB`, `1.5GB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Size(pub(super) u64);

/// The number of worker threads; `None` = `auto`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Workers(pub(super) Option<NonZeroUsize>);

/// A network, a single address, or the clients of Unix sockets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cidr(pub(super) Network);

/// A network of clients, a single one, or those of Unix sockets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ClientNetwork(pub(super) Network);

/// The longest duration. With this bound, a duration added to the present time cannot overflow.
const LONGEST: StdDuration = StdDuration::from_secs(365 * 24 * 3600);
const SHORTEST: StdDuration = StdDuration::from_millis(1);
const LONGEST_SHORT_DURATION: StdDuration = StdDuration::from_millis(2);
const SHORTEST_SHORT_DURATION: StdDuration = StdDuration::from_micros(1);
const MOST_WORKERS: usize = 1024;

/// Checks `text` as the scalar that the schema calls `kind` (its `x-takes`).
pub(super) fn check(kind: &str, text: &str) -> Result<(), BadValue> {
    match kind {
        Duration::KIND => Duration::parse(text).map(drop),
        DurationOrAuto::KIND => DurationOrAuto::parse(text).map(drop),
        ShortDuration::KIND => ShortDuration::parse(text).map(drop),
        Size::KIND => Size::parse(text).map(drop),
        Workers::KIND => Workers::parse(text).map(drop),
        Bind::KIND => Bind::parse(text).map(drop),
        AdminAddress::KIND => AdminAddress::parse(text).map(drop),
        BackendAddress::KIND => BackendAddress::parse(text).map(drop),
        CertificateName::KIND => CertificateName::parse(text).map(drop),
        DnsAddress::KIND => DnsAddress::parse(text).map(drop),
        ServiceName::KIND => ServiceName::parse(text).map(drop),
        ResolverAddress::KIND => ResolverAddress::parse(text).map(drop),
        HoldTrigger::KIND => HoldTrigger::parse(text).map(drop),
        PresetName::KIND => PresetName::parse(text).map(drop),
        ServiceUrl::KIND => ServiceUrl::parse(text).map(drop),
        Cidr::KIND => Cidr::parse(text).map(drop),
        ClientNetwork::KIND => ClientNetwork::parse(text).map(drop),
        Mode::KIND => Mode::parse(text).map(drop),
        Account::KIND => Account::parse(text).map(drop),
        Statuses::KIND => Statuses::parse(text).map(drop),
        Collector::KIND => Collector::parse(text).map(drop),
        ValkeyUrl::KIND => ValkeyUrl::parse(text).map(drop),
        TraceShare::KIND => TraceShare::parse(text).map(drop),
        _ => Ok(()),
    }
}

/// A scalar of this kind that is always accepted. It takes the place of a refused one, so that the rest can be checked.
pub(super) fn stand_in(kind: &str) -> &'static str {
    match kind {
        Duration::KIND => "1s",
        ShortDuration::KIND => "500us",
        Size::KIND => "1MiB",
        Workers::KIND | DurationOrAuto::KIND => "auto",
        Bind::KIND => "0.0.0.0:0",
        AdminAddress::KIND => "127.0.0.1:0",
        BackendAddress::KIND => "refused:1",
        CertificateName::KIND => "refused",
        DnsAddress::KIND => "refused:1",
        ServiceName::KIND => "_refused._tcp",
        ResolverAddress::KIND => "system",
        HoldTrigger::KIND => "lost",
        PresetName::KIND => PresetName::EXAMPLE,
        ServiceUrl::KIND => "http://refused",
        Cidr::KIND | ClientNetwork::KIND => "0.0.0.0/0",
        Mode::KIND => "0660",
        Account::KIND => "0",
        Statuses::KIND => "200",
        Collector::KIND => "http://refused",
        ValkeyUrl::KIND => "redis://refused",
        TraceShare::KIND => "1",
        _ => "",
    }
}

/// An example of a scalar of this kind, for advice.
pub(super) fn example(kind: &str) -> &'static str {
    match kind {
        Bind::KIND => Bind::EXAMPLE,
        AdminAddress::KIND => AdminAddress::EXAMPLE,
        BackendAddress::KIND => BackendAddress::EXAMPLE,
        CertificateName::KIND => CertificateName::EXAMPLE,
        DnsAddress::KIND => DnsAddress::EXAMPLE,
        ServiceName::KIND => ServiceName::EXAMPLE,
        ResolverAddress::KIND => ResolverAddress::EXAMPLE,
        ServiceUrl::KIND => ServiceUrl::EXAMPLE,
        Collector::KIND => "http://127.0.0.1:4318",
        ValkeyUrl::KIND => ValkeyUrl::EXAMPLE,
        kind => stand_in(kind),
    }
}

/// Words with which other proxies say that something has no bound.
const NO_BOUND: [&str; 9] = ["off", "none", "never", "no", "false", "infinite", "infinity", "unlimited", "-1"];

impl Duration {
    pub(super) const KIND: &str = "a duration";
    const PATTERN: &str = r"[0-9].*[a-zA-Zµ]|\$\{";

    pub(super) const fn from_secs(seconds: u64) -> Self {
        Self(StdDuration::from_secs(seconds))
    }

    fn parse(text: &str) -> Result<Self, BadValue> {
        let text = text.trim();
        if NO_BOUND.contains(&&*text.to_ascii_lowercase()) {
            return Err(BadValue::new(format!("`{text}` is not a duration"), "0s is without end, where that can be"));
        }
        match text.parse::<f64>() {
            Ok(0.0) => return Err(BadValue::new(format!("`{text}` has no unit"), "write 0s, not 0")),
            // A bare number means milliseconds in HAProxy and seconds in nginx.
            Ok(_) => {
                return Err(BadValue::new(format!("`{text}` has no unit"), format!("write {text}s or {text}ms")));
            }
            Err(_) => {}
        }
        let length = length(text, "units are ms, s, m, h and d: 50ms, 25s, 1h 30m")?;
        if length > LONGEST {
            return Err(BadValue::new(format!("`{text}` is too long"), "at most 365d"));
        }
        if !length.is_zero() && length < SHORTEST {
            return Err(BadValue::new(format!("`{text}` is too short"), "0s or at least 1ms"));
        }
        Ok(Self(length))
    }
}

impl DurationOrAuto {
    pub(super) const KIND: &str = "`auto` or a duration";
    const PATTERN: &str = r"^auto$|[0-9].*[a-zA-Zµ]|\$\{";

    fn parse(text: &str) -> Result<Self, BadValue> {
        match text.trim() {
            "auto" => Ok(Self::Auto),
            text => Duration::parse(text).map(Self::Fixed),
        }
    }
}

impl fmt::Display for DurationOrAuto {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Fixed(time) => time.fmt(f),
        }
    }
}

/// The duration that `text` says as a value of the file does; `None` = it says none.
pub(crate) fn duration(text: &str) -> Option<StdDuration> {
    Duration::parse(text).ok().map(|duration| duration.0)
}

/// The duration that `text` says. `units` is the advice when it says none.
fn length(text: &str, units: &str) -> Result<StdDuration, BadValue> {
    // Requires a unit, which is a letter. Otherwise the parser below would take clock notation (`00:30`).
    let span = text
        .contains(|c: char| c.is_ascii_alphabetic())
        .then(|| jiff::fmt::friendly::SpanParser::new().parse_span(text).ok())
        .flatten()
        .ok_or_else(|| BadValue::new(format!("`{text}` is not a duration"), units))?;
    let length = span
        .to_duration(jiff::SpanRelativeTo::days_are_24_hours())
        .map_err(|_| BadValue::new(format!("`{text}` is not a duration: months and years vary"), units))?;
    StdDuration::try_from(length)
        .map_err(|_| BadValue::new(format!("`{text}` is negative"), "a duration is 0s or more"))
}

impl ShortDuration {
    pub(super) const KIND: &str = "a duration of at most 2ms";
    const PATTERN: &str = Duration::PATTERN;

    fn parse(text: &str) -> Result<Self, BadValue> {
        let text = text.trim();
        if NO_BOUND.contains(&&*text.to_ascii_lowercase()) {
            return Err(BadValue::new(format!("`{text}` is not a duration"), "0us is none"));
        }
        if text.parse::<f64>().is_ok() {
            return Err(BadValue::new(format!("`{text}` has no unit"), format!("write {text}us")));
        }
        let length = length(text, "units are us and ms: 500us, 1ms")?;
        if length > LONGEST_SHORT_DURATION {
            return Err(BadValue::new(format!("`{text}` is too long"), "at most 2ms"));
        }
        if !length.is_zero() && length < SHORTEST_SHORT_DURATION {
            return Err(BadValue::new(format!("`{text}` is too short"), "0us or at least 1us"));
        }
        Ok(Self(length))
    }
}

impl fmt::Display for ShortDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}us", self.0.as_micros())
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0.as_secs(), self.0.subsec_nanos()) {
            (seconds, 0) => write!(f, "{seconds}s"),
            (_, nanos) if nanos % 1_000_000 == 0 => write!(f, "{}ms", self.0.as_millis()),
            _ => write!(f, "{}us", self.0.as_micros()),
        }
    }
}

impl Size {
    pub(super) const KIND: &str = "a size";
    const PATTERN: &str = r"[0-9] *[a-zA-Z]|\$\{";

    pub(super) const fn kib(n: u64) -> Self {
        Self(n * 1024)
    }

    fn parse(text: &str) -> Result<Self, BadValue> {
        let text = text.trim();
        if NO_BOUND.contains(&&*text.to_ascii_lowercase()) {
            return Err(BadValue::new(format!("`{text}` is not a size"), "0B is without a limit, where that can be"));
        }
        if text.parse::<f64>().is_ok() {
            return Err(BadValue::new(
                format!("`{text}` has no unit"),
                format!("write {text}B for bytes, or {text}KiB, {text}MiB"),
            ));
        }
        // A bare letter means a power of 1024 in nginx and HAProxy, and a power of 1000 elsewhere.
        let unit = text.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.' || c == ' ');
        if let Ok(unit @ ('K' | 'M' | 'G' | 'T' | 'P')) = unit.to_ascii_uppercase().parse() {
            let number = text[..text.len() - 1].trim_end();
            let help = format!("write {number}{unit}iB (powers of 1024, as in nginx) or {number}{unit}B (of 1000)");
            return Err(BadValue::new(format!("`{text}` can be read in two ways"), help));
        }
        match text.parse::<bytesize::ByteSize>() {
            Ok(size) => Ok(Self(size.as_u64())),
            Err(_) => Err(BadValue::new(
                format!("`{text}` is not a size"),
                "units are B, KiB, MiB, GiB (powers of 1024) and KB, MB, GB (powers of 1000)",
            )),
        }
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(u64, &str); 3] = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
        match UNITS.iter().find(|(unit, _)| self.0 >= *unit && self.0.is_multiple_of(*unit)) {
            Some((unit, name)) => write!(f, "{}{name}", self.0 / unit),
            None => write!(f, "{}B", self.0),
        }
    }
}

impl Workers {
    pub(super) const KIND: &str = "`auto` or a number of threads";
    const PATTERN: &str = r"^(auto|[0-9]+)$|\$\{";

    fn parse(text: &str) -> Result<Self, BadValue> {
        if text == "auto" {
            return Ok(Self(None));
        }
        match text.parse::<NonZeroUsize>() {
            Ok(workers) if workers.get() <= MOST_WORKERS => Ok(Self(Some(workers))),
            _ => Err(BadValue::new(
                format!("`{text}` is not a number of worker threads"),
                format!("write auto (one per core) or a number from 1 to {MOST_WORKERS}"),
            )),
        }
    }
}

impl fmt::Display for Workers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => f.write_str("auto"),
            Some(workers) => workers.fmt(f),
        }
    }
}

impl Cidr {
    pub(super) const KIND: &str = "a network";
    const PATTERN: &str = r"^unix$|^[0-9a-fA-F.:]+(/[0-9]+)?$|\$\{";

    fn parse(text: &str) -> Result<Self, BadValue> {
        let network = text.parse::<Network>().map(|network| match network {
            Network::Ip(network) => Network::Ip(unmapped(network)),
            Network::Unix => Network::Unix,
        });
        network.map(Self).map_err(|_| {
            let help = match network_meant(text) {
                Some(network) => format!("write {network}"),
                None if text == "*" || text.eq_ignore_ascii_case("all") => {
                    "whoever is named here can claim any address: name your own proxies, such as 10.0.0.0/8".into()
                }
                None if text.starts_with("private") => {
                    "write 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16 and \"fd00::/8\", each as an item".into()
                }
                None => "write 10.0.0.0/8, \"fd00::/8\" or one address; names are not looked up".into(),
            };
            BadValue::new(format!("`{text}` is not a network"), help)
        })
    }
}

/// The network that `text` probably means if it has a netmask or a port.
fn network_meant(text: &str) -> Option<IpNet> {
    if let Ok(address) = text.parse::<std::net::SocketAddr>() {
        return Some(address.ip().into());
    }
    let (address, mask) = text.split_once('/')?;
    IpNet::with_netmask(address.parse().ok()?, mask.parse().ok()?).ok()
}

/// `::ffff:10.0.0.0/104` as `10.0.0.0/8`, because clients' addresses are compared as IPv4 too.
fn unmapped(network: IpNet) -> IpNet {
    let IpNet::V6(mapped) = network else { return network };
    let prefix = mapped.prefix_len().checked_sub(96);
    match (mapped.addr().to_ipv4_mapped(), prefix) {
        (Some(address), Some(prefix)) => Ipv4Net::new(address, prefix).map_or(network, Into::into),
        _ => network,
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl ClientNetwork {
    pub(super) const KIND: &str = "a network of clients";
    const PATTERN: &str = Cidr::PATTERN;

    fn parse(text: &str) -> Result<Self, BadValue> {
        if matches!(&*text.to_ascii_lowercase(), "all" | "any" | "*") {
            let help = "leave it out: where `allow` names somebody, everybody else is refused";
            return Err(BadValue::new(format!("`{text}` is not a network"), help));
        }
        Cidr::parse(text).map(|Cidr(network)| Self(network))
    }
}

impl fmt::Display for ClientNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Makes a type that can be parsed and displayed into a string for serde and schemars.
macro_rules! scalar {
    ($($name:ident: $json:tt),* $(,)?) => {$(
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Self::parse(&String::deserialize(deserializer)?).map_err(D::Error::custom)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl schemars::JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": $json, "pattern": Self::PATTERN, "x-takes": Self::KIND })
            }
        }
    )*};
}

scalar! {
    Duration: "string",
    DurationOrAuto: "string",
    ShortDuration: "string",
    Size: "string",
    Workers: ["string", "integer"],
    Bind: "string",
    AdminAddress: "string",
    BackendAddress: "string",
    CertificateName: "string",
    DnsAddress: "string",
    ServiceName: "string",
    ResolverAddress: "string",
    HoldTrigger: ["string", "integer"],
    PresetName: "string",
    ServiceUrl: "string",
    Cidr: "string",
    ClientNetwork: "string",
    Mode: "string",
    Account: ["string", "integer"],
    Statuses: ["string", "integer"],
    Collector: "string",
    TraceShare: ["string", "number"],
    ValkeyUrl: "string",
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn duration(text: &str) -> Result<StdDuration, String> {
        Duration::parse(text).map(|d| d.0).map_err(|bad| bad.to_string())
    }

    #[test]
    fn a_network_of_mapped_addresses_is_one_of_ipv4() {
        let network = |text| Cidr::parse(text).map(|cidr| cidr.0.to_string()).map_err(|bad| bad.to_string());
        assert_eq!(network("::ffff:10.0.0.0/104"), Ok("10.0.0.0/8".into()));
        assert_eq!(network("::ffff:192.0.2.1"), Ok("192.0.2.1/32".into()));
        assert_eq!(network("fd00::/8"), Ok("fd00::/8".into()));
        assert_eq!(network("::/0"), Ok("::/0".into()));
        assert_eq!(network("unix"), Ok("unix".into()));
        assert!(network("10.0.0.0/33").is_err());
    }

    #[test]
    fn durations_carry_units() {
        assert_eq!(duration("50ms"), Ok(StdDuration::from_millis(50)));
        assert_eq!(duration("25s"), Ok(StdDuration::from_secs(25)));
        assert_eq!(duration("1h 30m"), Ok(StdDuration::from_secs(5400)));
        assert_eq!(duration("2d"), Ok(StdDuration::from_secs(172_800)));
        assert_eq!(duration("0s"), Ok(StdDuration::ZERO));
        assert_eq!(duration("25").unwrap_err(), "`25` has no unit (write 25s or 25ms)");
        for refused in ["", "s", "00:30", "1mo", "-5s", "5s ago", "400d", "1us", "25x", "PT5S"] {
            assert!(duration(refused).is_err(), "{refused:?}");
        }
    }

    #[test]
    fn short_durations_are_at_most_two_milliseconds() {
        let short = |text| ShortDuration::parse(text).map(|short| short.0).map_err(|bad| bad.to_string());
        assert_eq!(short("0us"), Ok(StdDuration::ZERO));
        assert_eq!(short("500us"), Ok(StdDuration::from_micros(500)));
        assert_eq!(short("1.5ms"), Ok(StdDuration::from_micros(1500)));
        assert_eq!(short("2ms"), Ok(StdDuration::from_millis(2)));
        assert_eq!(short("500").unwrap_err(), "`500` has no unit (write 500us)");
        assert_eq!(short("2001us").unwrap_err(), "`2001us` is too long (at most 2ms)");
        assert_eq!(short("500x").unwrap_err(), "`500x` is not a duration (units are us and ms: 500us, 1ms)");
        for refused in ["", "us", "-5us", "10ns", "off", "00:30"] {
            assert!(short(refused).is_err(), "{refused:?}");
        }
    }

    #[test]
    fn sizes_carry_units() {
        let size = |text| Size::parse(text).map(|size| size.0);
        assert_eq!(size("0B"), Ok(0));
        assert_eq!(size("32KiB"), Ok(32_768));
        assert_eq!(size("16 MiB"), Ok(16 << 20));
        assert_eq!(size("1.5KB"), Ok(1500));
        for refused in ["", "32", "-1B", "KiB", "1XiB"] {
            assert!(size(refused).is_err(), "{refused:?}");
        }
    }

    #[test]
    fn what_is_displayed_is_read_back() {
        for text in ["0s", "50ms", "25s", "1500ms", "300s"] {
            assert_eq!(Duration::parse(text).unwrap().to_string(), text);
        }
        for text in ["0us", "500us", "2000us"] {
            assert_eq!(ShortDuration::parse(text).unwrap().to_string(), text);
        }
        for text in ["0B", "100B", "32KiB", "16MiB", "3GiB"] {
            assert_eq!(Size::parse(text).unwrap().to_string(), text);
        }
    }
}
