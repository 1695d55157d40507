//! The keys of the PROXY protocol, toward clients and toward backends.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::values::{Cidr, Duration};

/// The PROXY protocol on a listener: proxies in front of longwire say in a header, version 1 or 2, whose connection they pass
/// on.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct ProxyProtocol {
    /// Networks (CIDR) of these proxies, or `unix` for those that come by a Unix socket. Each of their connections must begin
    /// with a header, and longwire believes it. At least one.
    pub(in crate::config) from: Vec<Cidr>,
    /// Close each connection that comes from elsewhere. With false, longwire serves it as it is and looks for no header.
    #[serde(default = "ProxyProtocol::default_required")]
    pub(in crate::config) required: bool,
    /// From the first byte of the header to its last. A connection that sends nothing ends by `timeouts.tls_handshake` or
    /// `timeouts.request_header`.
    #[serde(default = "ProxyProtocol::default_timeout")]
    pub(in crate::config) timeout: Duration,
}

/// The version of the PROXY protocol that a backend gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum SentVersion {
    /// One line of text.
    V1,
    /// Binary, with `tlvs`.
    V2,
}

/// What a backend is told beside the addresses, by version 2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum SentTlv {
    /// The name that the client asks for: of its TLS (SNI), else its `Host`, without a port.
    Authority,
    /// The id of the request. No connection is then used for a second request.
    UniqueId,
    /// The TLS version of the client's connection.
    Ssl,
    /// The protocol on which TLS with the client agreed.
    Alpn,
    /// A checksum of the header.
    Crc32c,
}

impl ProxyProtocol {
    const fn default_required() -> bool {
        true
    }

    const fn default_timeout() -> Duration {
        Duration::from_secs(5)
    }
}
