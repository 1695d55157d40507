//! `pong_timeout`: one duration for both sides, or one for each side.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::values::Duration;

/// `30s`, or `{ client: 30s, backend: 5m }`. A side that is left out has the value that it would have without the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(from = "Written")]
pub(super) struct TimeoutPerSide {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) client: Option<Duration>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) backend: Option<Duration>,
}

impl TimeoutPerSide {
    /// A client answers a ping whatever its program does, because a browser and an app read all the time.
    pub(super) fn default_of_client() -> Duration {
        Duration::from_secs(30)
    }

    /// A backend that is busy often does not read meanwhile. TCP finds a backend whose host is gone sooner than this.
    pub(super) fn default_of_backend() -> Duration {
        Duration::from_secs(300)
    }
}

impl Default for TimeoutPerSide {
    fn default() -> Self {
        Self { client: Some(Self::default_of_client()), backend: Some(Self::default_of_backend()) }
    }
}

/// The two forms in the file. The checker has chosen between them before.
#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Both(Duration),
    Each(Each),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Each {
    client: Option<Duration>,
    backend: Option<Duration>,
}

impl From<Written> for TimeoutPerSide {
    fn from(written: Written) -> Self {
        match written {
            Written::Both(timeout) => Self { client: Some(timeout), backend: Some(timeout) },
            Written::Each(Each { client, backend }) => Self { client, backend },
        }
    }
}

impl JsonSchema for TimeoutPerSide {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "TimeoutPerSide".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut side = |description: &str| {
            let mut side = generator.subschema_for::<Duration>();
            side.insert("description".into(), description.into());
            side
        };
        let client = side("For the client. Absent: as if `pong_timeout` were absent.");
        let backend = side("For the backend. Absent: as if `pong_timeout` were absent.");
        let both = generator.subschema_for::<Duration>();
        json_schema!({
            "anyOf": [
                both,
                { "type": "object", "properties": { "client": client, "backend": backend }, "additionalProperties": false },
            ],
        })
    }
}
