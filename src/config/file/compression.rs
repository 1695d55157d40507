//! What a route does with an offer to compress messages.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What becomes of a client's offer to compress messages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum CompressionOffer {
    /// The backend gets it, and decides.
    #[default]
    Pass,
    /// The backend does not get it, so that messages pass as their senders wrote them.
    Off,
}
