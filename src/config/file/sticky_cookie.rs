//! `sticky_cookie` of a route: `{ name: longwire, secure: auto, same_site: lax, max_age: 0s }`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::values::Duration;

/// A cookie by which a client comes back to the backend that served it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(in crate::config) struct StickyCookieSetting {
    /// The name of the cookie. Two routes of one host that lead to different upstreams need two names.
    pub(in crate::config) name: String,
    /// Whether browsers send the cookie over TLS alone (`Secure`).
    pub(in crate::config) secure: SecureWord,
    /// Whether browsers send the cookie with requests that pages of other sites make (`SameSite`). `none` needs `Secure`.
    pub(in crate::config) same_site: SameSiteWord,
    /// How long browsers keep the cookie after the last answer, in whole seconds; every answer then carries the cookie. 0s = until
    /// they are closed; an answer then carries the cookie only if the client has another one or none.
    pub(in crate::config) max_age: Duration,
}

/// Whether a sticky cookie is `Secure`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum SecureWord {
    /// If the request came over TLS, to longwire or to one of `trusted_proxies` that says so.
    Auto,
    /// For every request.
    Always,
    /// For none.
    Never,
}

/// `SameSite` of a sticky cookie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum SameSiteWord {
    /// Not with requests that a page of another site makes, but when a link leads from there.
    Lax,
    /// Never with a request that begins at another site.
    Strict,
    /// With every request.
    None,
}

impl Default for StickyCookieSetting {
    fn default() -> Self {
        Self {
            name: "longwire".into(),
            secure: SecureWord::Auto,
            same_site: SameSiteWord::Lax,
            max_age: Duration::from_secs(0),
        }
    }
}
