//! `rewrite` of a route: `{ from: '^/ws/(.*)$', to: '/$1' }`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A pattern of paths, and the path that takes the place of one that matches.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct RewriteSetting {
    /// A regular expression for the raw path without its query. It may match anywhere in the path: write `^` and `$` for its
    /// ends. A path that does not match stays as it is.
    pub(in crate::config) from: String,
    /// The whole new path. `$1` is what the first group captured, `$0` the whole match; a `$` as such is `%24`.
    pub(in crate::config) to: String,
}
