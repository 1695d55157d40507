//! `hold` of a route: `{ for: 10s, queue: 64KiB, on: [lost, 1001, 1012, 1013] }`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    config::{
        hold_trigger::HoldTrigger,
        values::{Duration, Size},
    },
    ws::close::CloseCode,
};

/// How the sessions of a route outlive their backends.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(in crate::config) struct HoldSetting {
    /// The longest time that a client waits for another backend; 1s or more.
    #[serde(rename = "for")]
    pub(in crate::config) longest: Duration,
    /// The most bytes of a client that wait for the backend, 4KiB to 16MiB. Then the client is not read.
    pub(in crate::config) queue: Size,
    /// Which ends of a backend a session outlives: `lost` (its connection ends without a Close, or it is dead), and codes of its
    /// Close: 1001, 1005 (a Close without a code), 1011 to 1014, 3000 to 4999.
    pub(in crate::config) on: Vec<HoldTrigger>,
    /// How often a session may get another backend; 0 = as often as it takes.
    #[schemars(range(min = 0, max = 1_000_000))]
    pub(in crate::config) times: u32,
    /// The most handshakes per second with which held sessions come to the backends of the upstream.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub(in crate::config) per_second: u32,
    /// A text message for the client before the first frame of another backend, 4 KiB at most, so that its program can fetch what
    /// it missed. Absent: none.
    pub(in crate::config) notify: Option<String>,
}

impl Default for HoldSetting {
    fn default() -> Self {
        let code = |code| HoldTrigger::Code(CloseCode(code));
        Self {
            longest: Duration::from_secs(10),
            queue: Size(64 * 1024),
            on: vec![HoldTrigger::Lost, code(1001), code(1012), code(1013)],
            times: 0,
            per_second: 200,
            notify: None,
        }
    }
}
