//! Certificates of clients: `listeners[].tls.client_auth`, and what a route does with them.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Certificates of clients at a listener.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(in crate::config) struct ClientAuth {
    /// Whether longwire asks clients for a certificate.
    pub(in crate::config) mode: ClientAuthMode,
    /// PEM file of the authorities that sign the certificates of clients; relative to this file's folder. Needed unless `mode`
    /// is off. longwire never takes the system's authorities for clients.
    pub(in crate::config) ca: Option<PathBuf>,
    /// PEM file of revocation lists (CRL) of these authorities; relative to this file's folder. Absent: nothing is revoked.
    pub(in crate::config) crl: Option<PathBuf>,
    /// What happens while a list of `crl` is older than its own next update.
    pub(in crate::config) crl_expired: CrlExpired,
    /// What happens to a certificate of an authority of which `crl` has no list.
    pub(in crate::config) unknown_revocation: UnknownRevocation,
    /// Which certificates are looked up in `crl`.
    pub(in crate::config) revocation_depth: RevocationDepth,
}

/// Whether clients are asked for a certificate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum ClientAuthMode {
    /// They are not.
    #[default]
    Off,
    /// They are. A client may show none, but a bad one ends the TLS handshake.
    Optional,
    /// They are. Without a good one, the TLS handshake fails.
    Required,
}

/// What happens while a revocation list is out of date.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum CrlExpired {
    /// Certificates of its authority are refused.
    #[default]
    Refuse,
    /// The list counts on.
    Ignore,
}

/// What happens to a certificate that no revocation list is about.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum UnknownRevocation {
    /// It is refused.
    #[default]
    Refuse,
    /// It is taken.
    Allow,
}

/// Which certificates must not be revoked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum RevocationDepth {
    /// The client's own, and those between it and the authority in `ca`.
    #[default]
    Chain,
    /// The client's own alone.
    Leaf,
}

/// Whether the requests of a route need a certificate of the client.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum ClientCert {
    /// They do not.
    #[default]
    Optional,
    /// They do: without a verified one the answer is 403.
    Required,
}

/// What a backend is told of the client's certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum ForwardedCert {
    /// X-Client-Cert-Fingerprint: SHA-256 in hexadecimal digits.
    Fingerprint,
    /// X-Client-Cert-Subject: the subject, as RFC 4514 writes it.
    Subject,
    /// X-Client-Cert-San: its DNS names and URIs, such as `DNS:a.example,URI:spiffe://example/a`.
    San,
    /// X-Client-Cert-Serial: the serial number in hexadecimal digits.
    Serial,
    /// X-Client-Cert-Pem: the certificate in PEM, percent-encoded.
    Pem,
}
