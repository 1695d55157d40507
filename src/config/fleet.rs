//! Who shares the limits of this process, and by which server.

use std::{fmt, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::BackendTls;

/// How the instances of a fleet share their limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FleetSettings {
    /// The servers, tried in this order. Never empty. They are one: a primary and its replicas, or the parts of a cluster.
    pub servers: Vec<FleetServer>,
    /// TLS to those servers that want it.
    pub tls: BackendTls,
    /// The name of this instance; `None` = the name of the host.
    pub instance: Option<String>,
    /// What the keys at the server begin with. Instances with the same share their limits.
    pub prefix: String,
    /// How long the count of an instance stays if the instance does not renew it.
    pub lease: Duration,
    /// Who decides about a handshake if the server does not answer.
    pub on_loss: OnLoss,
    /// How long a handshake waits for an answer. At most a third of `lease`.
    pub timeout: Duration,
}

/// A server of Valkey or Redis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FleetServer {
    /// `host:port` or `unix:…`.
    pub address: String,
    /// Whether it speaks TLS.
    pub is_tls: bool,
    /// As whom longwire logs in; `None` = the default user.
    pub user: Option<String>,
    /// `None` = longwire does not log in.
    pub password: Option<FleetPassword>,
    /// The number of the database.
    pub database: u32,
}

/// A password. Neither a message nor the log shows it.
#[derive(Clone, PartialEq, Eq)]
pub struct FleetPassword(Zeroizing<String>);

/// Who decides about a handshake if the server of the fleet does not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnLoss {
    /// The share of this proxy: each limit, divided by the proxies that were known last.
    #[default]
    Share,
    /// Nobody: the handshake is let in.
    Open,
    /// Nobody: the handshake is refused with 503.
    Deny,
}

impl OnLoss {
    /// The word of the file.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Share => "share",
            Self::Open => "open",
            Self::Deny => "deny",
        }
    }
}

impl FleetPassword {
    /// Keeps a password.
    #[must_use]
    pub fn new(password: String) -> Self {
        Self(Zeroizing::new(password))
    }

    /// The password, for the server.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for FleetPassword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FleetPassword(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_not_shown() {
        let password = FleetPassword::new("swordfish".to_owned());
        assert_eq!((format!("{password:?}"), password.expose()), ("FleetPassword(…)".to_owned(), "swordfish"));
    }
}
