//! `fleet: { valkey: "rediss://valkey:6379", lease: 15s, on_loss: share }`.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Authorities;
use crate::config::{OnLoss, valkey_url::ValkeyUrls, values::Duration};

/// Limits that hold for several proxies together, by counts that a Valkey or Redis server has.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct FleetSetting {
    /// Where the server is: `rediss://USER:PASSWORD@HOST:PORT/DATABASE` over TLS, `redis://` in the clear, or
    /// `redis+unix:///PATH`. A list names one server by several places, or the nodes of a cluster: the first that serves writes is
    /// used. Write the password as `${NAME}`; a percent sign in it is `%25`. longwire never shows it.
    pub(in crate::config) valkey: ValkeyUrls,
    /// With `rediss://`: who may have signed the certificate of the server, `system` for those whom this machine trusts, a PEM file,
    /// or a list of these. Relative to this file's folder.
    #[serde(default)]
    pub(in crate::config) ca: Authorities,
    /// PEM file of the certificate chain that longwire shows to a server that asks for one, leaf first; relative to this file's folder.
    #[serde(default)]
    pub(in crate::config) cert: Option<PathBuf>,
    /// PEM file of the private key of `cert`; relative to this file's folder.
    #[serde(default)]
    pub(in crate::config) key: Option<PathBuf>,
    /// The name of this proxy among the others, for people. Two with one name are still counted apart. `auto` = the name of the host.
    #[serde(default = "FleetSetting::default_instance")]
    pub(in crate::config) instance: String,
    /// How all keys in the server begin. Proxies share limits with those that have the same prefix.
    #[serde(default = "FleetSetting::default_prefix")]
    pub(in crate::config) prefix: String,
    /// How long the sessions of a proxy that has crashed still count, 1s to 1h. longwire renews its counts three times as often.
    #[serde(default = "FleetSetting::default_lease")]
    pub(in crate::config) lease: Duration,
    /// What decides about a new session while the server does not answer in time.
    #[serde(default = "FleetSetting::default_on_loss")]
    pub(in crate::config) on_loss: OnLoss,
    /// The longest time that a handshake waits for the server, 1ms to 5s, and at most a third of `lease`. None waits while the server is known to be away.
    #[serde(default = "FleetSetting::default_timeout")]
    pub(in crate::config) timeout: Duration,
}

impl FleetSetting {
    /// The word for the name of the host.
    pub(in crate::config) const AUTO: &str = "auto";

    fn default_instance() -> String {
        Self::AUTO.into()
    }

    fn default_prefix() -> String {
        "longwire".into()
    }

    const fn default_lease() -> Duration {
        Duration::from_secs(15)
    }

    const fn default_on_loss() -> OnLoss {
        OnLoss::Share
    }

    const fn default_timeout() -> Duration {
        Duration(std::time::Duration::from_millis(50))
    }
}
