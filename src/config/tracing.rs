//! The scalars of `tracing`: the URL of a collector, and a share of all traces.

use std::fmt;

use hyper::Uri;

use super::bad_value::BadValue;

/// The URL, with a path, of a collector that takes OTLP over plain HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Collector(pub(super) String);

/// A share of the traces, from 0 (none) to 1 (all).
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct TraceShare(pub(super) f64);

/// The path at which a collector takes spans (OTLP §OTLP/HTTP Request).
const PATH: &str = "/v1/traces";

impl Collector {
    pub(super) const KIND: &str = "the URL of a collector";
    pub(super) const PATTERN: &str = r"^http://.|\$\{";

    pub(super) fn parse(text: &str) -> Result<Self, BadValue> {
        let refused = |message: String, help: String| BadValue { message, help: Some(help) };
        let unknown =
            || refused(format!("`{text}` is not the URL of a collector"), format!("write http://127.0.0.1:4318{PATH}"));
        if text.starts_with("https://") {
            let help = "run a collector beside longwire and let that speak TLS: http://127.0.0.1:4318".into();
            return Err(refused("spans are sent over plain HTTP, not over TLS".into(), help));
        }
        let url: Uri = text.parse().map_err(|_| unknown())?;
        let authority = url.authority().filter(|_| url.scheme_str() == Some("http")).ok_or_else(unknown)?;
        if authority.host().is_empty() || authority.as_str().ends_with(':') {
            return Err(unknown());
        }
        if authority.as_str().contains('@') || url.query().is_some() {
            let help = "what a collector wants to know goes into OTEL_EXPORTER_OTLP_HEADERS".into();
            return Err(refused("a collector's URL has neither a user nor a query".into(), help));
        }
        match url.path() {
            "/" => Ok(Self(format!("http://{authority}{PATH}"))),
            path => Ok(Self(format!("http://{authority}{path}"))),
        }
    }

    /// Whether the port is that of OTLP over gRPC, where no collector understands HTTP/1.1.
    pub(super) fn is_grpc(&self) -> bool {
        self.0.parse::<Uri>().is_ok_and(|url| url.port_u16() == Some(4317))
    }
}

impl fmt::Display for Collector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TraceShare {
    pub(super) const KIND: &str = "a share from 0 to 1";
    pub(super) const PATTERN: &str = r"^[01](\.[0-9]+)?$|\$\{";

    pub(super) fn parse(text: &str) -> Result<Self, BadValue> {
        match text.trim().parse::<f64>() {
            Ok(share) if (0.0..=1.0).contains(&share) => Ok(Self(share)),
            _ => Err(BadValue {
                message: format!("`{text}` is not a share"),
                help: Some("from 0 (none) to 1 (all), such as 0.05".into()),
            }),
        }
    }
}

impl fmt::Display for TraceShare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_collector_is_a_url_of_http_with_the_path_of_the_protocol() {
        let read = |text| Collector::parse(text).map(|Collector(url)| url).map_err(|bad| bad.message);
        for text in ["http://127.0.0.1:4318", "http://127.0.0.1:4318/", "http://127.0.0.1:4318/v1/traces"] {
            assert_eq!(read(text).unwrap(), "http://127.0.0.1:4318/v1/traces");
        }
        assert_eq!(read("http://[::1]:4318/else").unwrap(), "http://[::1]:4318/else");
        assert!(read("https://collector:4318").unwrap_err().contains("TLS"));
        assert!(read("http://me:word@collector/").unwrap_err().contains("neither a user"));
        for text in
            ["", "collector:4318", "http://", "http://:4318", "http://collector:", "grpc://a:4317", "http://a b"]
        {
            assert!(read(text).unwrap_err().contains("not the URL"), "{text}");
        }
        assert!(Collector::parse("http://collector:4317").unwrap().is_grpc());
    }

    #[test]
    fn a_share_is_between_none_and_all() {
        for (text, share) in [("0", 0.0), ("1", 1.0), ("1.0", 1.0), ("0.05", 0.05)] {
            assert_eq!(TraceShare::parse(text), Ok(TraceShare(share)));
        }
        for text in ["", "1.1", "-0.1", "5%", "NaN", "inf", "half"] {
            assert!(TraceShare::parse(text).is_err(), "{text}");
        }
    }
}
