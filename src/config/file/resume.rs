//! `resume` of a route: `{ for: 30s, replay: 64KiB, beat: 10s }`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::values::{Duration, Size};

/// How the sessions of a route outlive the connections of their clients.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(in crate::config) struct ResumeSetting {
    /// The longest time that a backend waits for a client to come back, 1s or more.
    #[serde(rename = "for")]
    pub(in crate::config) longest: Duration,
    /// The most bytes of messages that are kept for the client until it acknowledges them, and that a client keeps for longwire,
    /// 4KiB to 16MiB. A session with a longer message on its way cannot be resumed.
    pub(in crate::config) replay: Size,
    /// The longest time in which a client gets nothing, 1s or more. After two and a half times that it takes its connection for dead, and
    /// then it needs time to come back: `beat` is a third of `for` at most.
    pub(in crate::config) beat: Duration,
}

impl Default for ResumeSetting {
    fn default() -> Self {
        Self { longest: Duration::from_secs(30), replay: Size(64 * 1024), beat: Duration::from_secs(10) }
    }
}
