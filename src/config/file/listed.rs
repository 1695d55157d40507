//! The mirror of a file that lists backends (`upstreams.NAME.backends[].file`).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Backend, schema_for};
use crate::config::addresses::BackendAddress;

/// One server of a list.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct ListedBackend {
    /// host:port, e.g. 127.0.0.1:9001, or a Unix socket, unix:/path or unix:@name.
    pub(in crate::config) address: BackendAddress,
    /// The share of this backend beside the others.
    #[serde(default = "Backend::default_weight")]
    #[schemars(range(min = 1, max = 65535))]
    pub(in crate::config) weight: u32,
    /// Sessions and requests in flight that this backend takes; 0 = no limit.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1_000_000_000))]
    pub(in crate::config) max_conns: usize,
    /// Use this backend only when no other backend can be used.
    #[serde(default)]
    pub(in crate::config) backup: bool,
    /// Never use this backend.
    #[serde(default)]
    pub(in crate::config) down: bool,
}

impl ListedBackend {
    /// The JSON Schema of a whole list.
    pub(in crate::config) fn schema() -> serde_json::Value {
        schema_for::<Vec<Self>>()
    }
}
