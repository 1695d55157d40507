//! The mirror of `upstreams.NAME.discovery`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::{names::Resolvers, values::Duration};

/// How the names of `dns` and `srv` are looked up.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(in crate::config) struct Discovery {
    /// Whom to ask: `system` (the servers, the search list and the hosts file of this machine), the address of a DNS server, or a
    /// list of such addresses.
    pub(in crate::config) resolver: Resolvers,
    /// Which addresses of a name are backends.
    pub(in crate::config) family: AddressFamily,
    /// The shortest time from an answer to the next question, whatever its TTL.
    pub(in crate::config) min_ttl: Duration,
    /// The longest time from an answer to the next question, whatever its TTL.
    pub(in crate::config) max_ttl: Duration,
    /// How long answers must say that a name has no address, or does not exist, until its backends are gone. 0s = at once.
    /// The longest, too, that targets which a service names no more serve beside those that it names now.
    pub(in crate::config) empty_after: Duration,
    /// Backends of one name or service. The lowest addresses are kept, and the log warns.
    #[schemars(range(min = 1, max = 4096))]
    pub(in crate::config) most: usize,
}

/// A family of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum AddressFamily {
    /// IPv4 and IPv6.
    Any,
    /// IPv4 only.
    Ipv4,
    /// IPv6 only.
    Ipv6,
}

impl Default for Discovery {
    fn default() -> Self {
        Self {
            resolver: Resolvers::default(),
            family: AddressFamily::Any,
            min_ttl: Duration::from_secs(1),
            max_ttl: Duration::from_secs(300),
            empty_after: Duration::from_secs(30),
            most: 256,
        }
    }
}
