//! The scalars of `proxy.yaml` that name what is looked up in the DNS, and whom to ask.

use std::{borrow::Cow, fmt, net::SocketAddr};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize, Serializer};

use super::{addresses::BackendAddress, bad_value::BadValue};

/// A name and a port, each of whose addresses is a backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DnsAddress {
    pub(super) host: String,
    pub(super) port: u16,
}

/// The name of a service (SRV).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ServiceName(pub(super) String);

/// Who is asked: `system`, or an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ResolverAddress {
    System,
    Server(SocketAddr),
}

/// `resolver`: one, or a list.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "WrittenResolvers")]
pub(super) struct Resolvers(pub(super) Vec<ResolverAddress>);

/// The two forms in the file. The checker has chosen between them before.
#[derive(Deserialize)]
#[serde(untagged)]
enum WrittenResolvers {
    One(ResolverAddress),
    Several(Vec<ResolverAddress>),
}

/// The longest name, and the longest part of one (RFC 1035 §2.3.4), in their form with dots.
const LONGEST_NAME: usize = 253;
const LONGEST_LABEL: usize = 63;

impl DnsAddress {
    pub(super) const KIND: &str = "a name and a port";
    pub(super) const PATTERN: &str = r":[0-9]+$|\$\{";
    pub(super) const EXAMPLE: &str = "chat.internal:9001";

    pub(super) fn parse(text: &str) -> Result<Self, BadValue> {
        let BackendAddress(address) = BackendAddress::parse(text)?;
        let (host, port) = address.rsplit_once(':').unwrap_or((&address, ""));
        let refused = |help: &str| BadValue::new(format!("`{text}` is not a name and a port"), help);
        if address.parse::<SocketAddr>().is_ok() {
            return Err(refused("an address needs no look-up: write address instead of dns"));
        }
        if !is_name(host) {
            return Err(refused("a name has letters, digits, hyphens and dots: chat.internal:9001"));
        }
        match port.parse() {
            Ok(port) => Ok(Self { host: host.to_owned(), port }),
            Err(_) => Err(refused("a port is a number from 1 to 65535")),
        }
    }
}

impl fmt::Display for DnsAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl ServiceName {
    pub(super) const KIND: &str = "the name of a service";
    pub(super) const PATTERN: &str = r"^_|\$\{";
    pub(super) const EXAMPLE: &str = "_ws._tcp.chat.example.com";

    pub(super) fn parse(text: &str) -> Result<Self, BadValue> {
        let refused = |help: &str| BadValue::new(format!("`{text}` is not the name of a service"), help);
        if text.contains(':') {
            return Err(refused("the records of a service say the port: leave it out"));
        }
        match text.starts_with('_') && text.contains("._") && is_name(text) {
            true => Ok(Self(text.to_owned())),
            false => Err(refused("write _ws._tcp.chat.example.com: service, protocol and name")),
        }
    }
}

impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl ResolverAddress {
    pub(super) const KIND: &str = "`system`, or the address of a DNS server";
    pub(super) const PATTERN: &str = r"^system$|:[0-9]+$|\$\{";
    pub(super) const EXAMPLE: &str = "10.0.0.53:53";

    pub(super) fn parse(text: &str) -> Result<Self, BadValue> {
        if text == "system" {
            return Ok(Self::System);
        }
        let refused = |help: String| BadValue::new(format!("`{text}` is not the address of a DNS server"), help);
        match text.parse::<SocketAddr>() {
            Ok(address) if address.port() > 0 => Ok(Self::Server(address)),
            Ok(_) => Err(refused("a port is a number from 1 to 65535".into())),
            Err(_) => Err(refused(match text.parse::<std::net::IpAddr>() {
                Ok(ip) => format!("write \"{}\"", SocketAddr::new(ip, 53)),
                Err(_) => "write system, or an IP address and a port: \"10.0.0.53:53\"".into(),
            })),
        }
    }
}

impl fmt::Display for ResolverAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System => f.write_str("system"),
            Self::Server(address) => address.fmt(f),
        }
    }
}

impl Default for Resolvers {
    fn default() -> Self {
        Self(vec![ResolverAddress::System])
    }
}

impl From<WrittenResolvers> for Resolvers {
    fn from(written: WrittenResolvers) -> Self {
        match written {
            WrittenResolvers::One(resolver) => Self(vec![resolver]),
            WrittenResolvers::Several(resolvers) => Self(resolvers),
        }
    }
}

impl Serialize for Resolvers {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.as_slice() {
            [one] => one.serialize(serializer),
            several => several.serialize(serializer),
        }
    }
}

impl JsonSchema for Resolvers {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Resolvers".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let one = generator.subschema_for::<ResolverAddress>();
        json_schema!({ "anyOf": [one, { "type": "array", "items": one }] })
    }
}

/// Whether this is a name of the DNS, with or without the dot at its end.
fn is_name(text: &str) -> bool {
    let text = text.strip_suffix('.').unwrap_or(text);
    let is_label = |label: &str| {
        let is_plain = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
        is_plain && (1..=LONGEST_LABEL).contains(&label.len())
    };
    text.len() <= LONGEST_NAME && text.split('.').all(is_label)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn advice<T: fmt::Debug>(parse: fn(&str) -> Result<T, BadValue>, text: &str) -> String {
        parse(text).unwrap_err().help.unwrap_or_default()
    }

    #[test]
    fn a_name_has_a_port_and_is_no_address() {
        let parsed = DnsAddress::parse("chat.internal:9001").unwrap();
        assert_eq!((&*parsed.host, parsed.port), ("chat.internal", 9001));
        assert!(DnsAddress::parse("chat.internal.:9001").is_ok());
        for (text, expected) in [
            ("10.0.0.1:80", "write address"),
            ("[::1]:80", "write address"),
            ("chat.internal", "port is missing"),
            ("a..b:80", "letters, digits"),
            (&format!("{}:80", "x".repeat(64)), "letters, digits"),
        ] {
            assert!(advice(DnsAddress::parse, text).contains(expected), "{text}: {}", advice(DnsAddress::parse, text));
        }
    }

    #[test]
    fn a_service_has_underscores_and_no_port() {
        assert!(ServiceName::parse("_ws._tcp.chat.example.com").is_ok());
        for (text, expected) in [
            ("_ws._tcp.chat.example.com:80", "the records of a service say the port"),
            ("chat.example.com", "_ws._tcp"),
            ("_ws.chat", "_ws._tcp"),
            ("", "_ws._tcp"),
        ] {
            assert!(advice(ServiceName::parse, text).contains(expected), "{text}");
        }
    }

    #[test]
    fn a_resolver_is_the_system_or_an_address() {
        assert_eq!(ResolverAddress::parse("system").unwrap(), ResolverAddress::System);
        assert_eq!(ResolverAddress::parse("127.0.0.1:5353").unwrap().to_string(), "127.0.0.1:5353");
        for (text, expected) in [
            ("10.0.0.53", "write \"10.0.0.53:53\""),
            ("::1", "write \"[::1]:53\""),
            ("dns.example.com:53", "an IP address and a port"),
            ("10.0.0.53:0", "from 1 to 65535"),
        ] {
            assert!(advice(ResolverAddress::parse, text).contains(expected), "{text}");
        }
    }
}
