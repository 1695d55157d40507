//! `auth_request` of a route: `{ url: "http://127.0.0.1:4180/check", timeout: 2s, pass: [X-User, X-Groups] }`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Authorities;
use crate::config::{server_name::CertificateName, service_url::ServiceUrl, values::Duration};

/// A service that is asked about each request.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct AuthRequestSetting {
    /// Where longwire asks, by a GET: `http://` or `https://`, a host, a path. The query may stand there too.
    pub(in crate::config) url: ServiceUrl,
    /// From the question to the end of the answer, connecting included. A service that takes longer counts as unavailable.
    #[serde(default = "AuthRequestSetting::default_timeout")]
    pub(in crate::config) timeout: Duration,
    /// Names of fields: the backend gets those of an answer that lets a request in. longwire always removes what clients send
    /// under these names.
    #[serde(default)]
    pub(in crate::config) pass: Vec<String>,
    /// TLS to the service, with an `https://` URL. Absent: the authorities that this machine trusts, and the host of the URL.
    #[serde(default)]
    pub(in crate::config) tls: Option<ServiceTls>,
}

/// TLS to a service.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(in crate::config) struct ServiceTls {
    /// Who may have signed the certificate of the service: `system` for those whom this machine trusts, a PEM file, or a list of
    /// these. Relative to this file's folder.
    pub(in crate::config) ca: Authorities,
    /// The name that longwire asks the service for (SNI), and that its certificate must have. Absent: the host of the URL.
    pub(in crate::config) server_name: Option<CertificateName>,
}

impl AuthRequestSetting {
    const fn default_timeout() -> Duration {
        Duration::from_secs(2)
    }
}
