//! `upstreams.NAME.tls`: TLS to backends.

use std::{borrow::Cow, path::PathBuf};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::config::server_name::CertificateName;

/// TLS to the backends of an upstream.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(in crate::config) struct UpstreamTls {
    /// Who may have signed the certificates of the backends: `system` for those whom this machine trusts, a PEM file, or a list
    /// of these. Relative to this file's folder.
    pub(in crate::config) ca: Authorities,
    /// The name that longwire asks a backend for (SNI), and that the certificate of the backend must have. An IP address is
    /// never asked for. Absent: the host in the backend's `address`; a Unix socket has none and needs this key.
    pub(in crate::config) server_name: Option<CertificateName>,
    /// The name that the certificate must have, if longwire asks for another one.
    pub(in crate::config) verify_name: Option<CertificateName>,
    /// Ask for a name (SNI). With false, the backend does not learn which name longwire wants; the name is verified all the
    /// same.
    pub(in crate::config) sni: bool,
    /// PEM file of the certificate chain that longwire shows to a backend that asks for one, leaf first; relative to this file's
    /// folder.
    pub(in crate::config) cert: Option<PathBuf>,
    /// PEM file of the private key of `cert`; relative to this file's folder.
    pub(in crate::config) key: Option<PathBuf>,
    /// PEM file of revocation lists (CRL), one for each authority of a backend's chain; relative to this file's folder. A
    /// certificate whose list is missing or too old is refused.
    pub(in crate::config) crl: Option<PathBuf>,
    /// Verify nothing: any server can pose as a backend. For tests only.
    pub(in crate::config) insecure: bool,
}

/// `system`, a file, or a list of these.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(from = "WrittenAuthorities")]
pub(in crate::config) struct Authorities(pub(in crate::config) Vec<String>);

impl Authorities {
    /// The word for the authorities that this machine trusts.
    pub(in crate::config) const SYSTEM: &str = "system";
}

impl Default for Authorities {
    fn default() -> Self {
        Self(vec![Self::SYSTEM.to_owned()])
    }
}

/// The two forms in the file. The checker has chosen between them before.
#[derive(Deserialize)]
#[serde(untagged)]
enum WrittenAuthorities {
    One(String),
    Several(Vec<String>),
}

impl From<WrittenAuthorities> for Authorities {
    fn from(written: WrittenAuthorities) -> Self {
        match written {
            WrittenAuthorities::One(authority) => Self(vec![authority]),
            WrittenAuthorities::Several(authorities) => Self(authorities),
        }
    }
}

impl JsonSchema for Authorities {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Authorities".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" } }] })
    }
}

impl Default for UpstreamTls {
    fn default() -> Self {
        Self {
            ca: Authorities::default(),
            server_name: None,
            verify_name: None,
            sni: true,
            cert: None,
            key: None,
            crl: None,
            insecure: false,
        }
    }
}
