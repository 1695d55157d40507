//! `via`: what stands on a path, `aws_alb` or `{ name: office firewall, idle: 5m, counts: packets, dies: silent }`.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::{
    config::{preset_name::PresetName, values::Duration},
    paths::{Activity, Manner},
};

/// A part of a path: the preset of this name, or a part that no preset describes. A figure that is absent is that of the
/// preset.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "WrittenEntry", into = "WrittenEntry")]
pub(in crate::config) struct ViaEntry {
    pub(in crate::config) name: String,
    pub(in crate::config) idle: Option<Duration>,
    pub(in crate::config) counts: Option<Activity>,
    pub(in crate::config) dies: Option<Manner>,
    pub(in crate::config) max_life: Option<Duration>,
    pub(in crate::config) grace: Option<Duration>,
}

/// The two forms in the file. The checker has chosen between them before.
#[derive(Deserialize, Serialize)]
#[serde(untagged)]
enum WrittenEntry {
    Preset(PresetName),
    Described(DescribedEntry),
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct DescribedEntry {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    idle: Option<Duration>,
    #[serde(skip_serializing_if = "Option::is_none")]
    counts: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dies: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_life: Option<Duration>,
    #[serde(skip_serializing_if = "Option::is_none")]
    grace: Option<Duration>,
}

impl TryFrom<WrittenEntry> for ViaEntry {
    type Error = String;

    fn try_from(written: WrittenEntry) -> Result<Self, String> {
        let DescribedEntry { name, idle, counts, dies, max_life, grace } = match written {
            WrittenEntry::Preset(PresetName(name)) => {
                return Ok(Self { name, idle: None, counts: None, dies: None, max_life: None, grace: None });
            }
            WrittenEntry::Described(part) => part,
        };
        let unknown = |word: &str| format!("`{word}` is not known here");
        let counts = counts
            .map(|word| Activity::ALL.into_iter().find(|kind| kind.as_str() == word).ok_or_else(|| unknown(&word)));
        let dies =
            dies.map(|word| Manner::ALL.into_iter().find(|kind| kind.as_str() == word).ok_or_else(|| unknown(&word)));
        Ok(Self { name, idle, counts: counts.transpose()?, dies: dies.transpose()?, max_life, grace })
    }
}

impl From<ViaEntry> for WrittenEntry {
    fn from(part: ViaEntry) -> Self {
        let ViaEntry { name, idle, counts, dies, max_life, grace } = part;
        let counts = counts.map(|kind| kind.as_str().to_owned());
        let dies = dies.map(|kind| kind.as_str().to_owned());
        Self::Described(DescribedEntry { name, idle, counts, dies, max_life, grace })
    }
}

impl JsonSchema for ViaEntry {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "ViaEntry".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let preset = generator.subschema_for::<PresetName>();
        let mut time = |description: &str| {
            let mut time = generator.subschema_for::<Duration>();
            time.insert("description".into(), description.into());
            time
        };
        let word = |word: &str, meaning: &str| json_schema!({ "const": word, "description": meaning });
        json_schema!({
            "anyOf": [
                preset,
                {
                    "type": "object",
                    "properties": {
                        "name": { "type": "string", "description": "The name of a preset, or any other name." },
                        "idle": time(
                            "The silence after which it ends a connection. Absent: the figure of the preset; another part has no \
                             such limit."
                        ),
                        "counts": {
                            "oneOf": Activity::ALL.map(|kind| word(kind.as_str(), kind.meaning())),
                            "description": "What ends a silence. Absent: that of the preset; with another part, `bytes`.",
                        },
                        "dies": {
                            "oneOf": Manner::ALL.map(|kind| word(kind.as_str(), kind.meaning())),
                            "description": "How it ends a connection. Absent: that of the preset; with another part, `silent`.",
                        },
                        "max_life": time(
                            "The age at which it ends a connection, however busy. Absent: the figure of the preset; another \
                             part has no such limit."
                        ),
                        "grace": time(
                            "How long a process that runs there may take to end after SIGTERM, such as the \
                             terminationGracePeriodSeconds of Kubernetes. Absent: that of the preset."
                        ),
                    },
                    "required": ["name"],
                    "additionalProperties": false,
                },
            ],
        })
    }
}
