//! `request_headers` and `response_headers` of a route: `{ set: { X-Tenant: acme }, add: { }, remove: [X-Debug] }`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Changes of header fields. First fields are removed, then set, then added.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(in crate::config) struct HeaderChanges {
    /// Fields that take the place of all fields with their names. A value may hold `{client_ip}`, `{request_id}`, `{host}` and
    /// `{route}`, with quotes around the value; `{{` is a brace.
    pub(in crate::config) set: BTreeMap<String, String>,
    /// Fields that stand beside those with their names. Values as in `set`.
    pub(in crate::config) add: BTreeMap<String, String>,
    /// Names of fields that are removed.
    pub(in crate::config) remove: Vec<String>,
}
