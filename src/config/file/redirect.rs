//! `redirect` of a route: `https`, or `{ to: https, code: 308, port: 443 }`.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// Where a route redirects its requests, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(from = "WrittenRedirect")]
pub(in crate::config) struct RedirectSetting {
    pub(in crate::config) to: RedirectScheme,
    pub(in crate::config) code: u16,
    pub(in crate::config) port: u16,
}

/// What a redirect leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum RedirectScheme {
    Https,
}

/// The two forms in the file. The checker has chosen between them before.
#[derive(Deserialize)]
#[serde(untagged)]
enum WrittenRedirect {
    Short(RedirectScheme),
    Long(LongRedirect),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LongRedirect {
    to: RedirectScheme,
    #[serde(default = "default_code")]
    code: u16,
    #[serde(default = "default_port")]
    port: u16,
}

impl From<WrittenRedirect> for RedirectSetting {
    fn from(written: WrittenRedirect) -> Self {
        match written {
            WrittenRedirect::Short(to) => Self { to, code: default_code(), port: default_port() },
            WrittenRedirect::Long(LongRedirect { to, code, port }) => Self { to, code, port },
        }
    }
}

/// A client that follows this status sends the same method again, and may keep in mind where to.
const fn default_code() -> u16 {
    308
}

const fn default_port() -> u16 {
    443
}

impl JsonSchema for RedirectSetting {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "RedirectSetting".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [
                { "type": "string", "enum": ["https"] },
                {
                    "type": "object",
                    "properties": {
                        "to": { "type": "string", "enum": ["https"], "description": "The scheme of the new URL." },
                        "code": {
                            "type": "integer", "minimum": 301, "maximum": 308, "default": default_code(),
                            "description": "The status of the answer: 301, 302, 307 or 308.",
                        },
                        "port": {
                            "type": "integer", "minimum": 1, "maximum": 65535, "default": default_port(),
                            "description": "The port of the new URL.",
                        },
                    },
                    "required": ["to"],
                    "additionalProperties": false,
                },
            ],
        })
    }
}
