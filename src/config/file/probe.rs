//! `probe: { path: /.well-known/longwire-probe, token_file: probe.token }`.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The far end of `longwire probe`: a WebSocket that ends in longwire, for who shows a token.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct ProbeSetting {
    /// The exact path, on every listener and every host. It goes before all routes; no backend gets such a request.
    #[serde(default = "ProbeSetting::default_path")]
    pub(in crate::config) path: String,
    /// File of the token that a probe must show (`longwire probe --token-file`): one word of 16 visible characters or more. Without
    /// it the answer is 401. Relative to the folder of this file; read again on reload.
    pub(in crate::config) token_file: PathBuf,
}

impl ProbeSetting {
    fn default_path() -> String {
        "/.well-known/longwire-probe".into()
    }
}
