//! The chart in `deploy/helm`: its version, the keys that it knows, and the values that the pages show.

use std::{collections::BTreeSet, path::Path};

use fs_err as fs;
use longwire::config;
use serde::Deserialize as _;
use serde_json::{Value, json};

use super::{Manifests, SECRETS, texts};
use crate::{documents::blocks, reload_keys};

#[test]
fn the_chart_knows_the_version_and_which_keys_need_a_restart() {
    let chart: Value = serde_yaml::from_str(include_str!("../../../deploy/helm/longwire/Chart.yaml")).unwrap();
    let advice = "write it into Chart.yaml, and run deploy/helm/render --write";
    assert_eq!(chart["appVersion"], env!("CARGO_PKG_VERSION"), "{advice}");
    let templates = include_str!("../../../deploy/helm/longwire/templates/_helpers.tpl");
    let (_, checksum) = templates.split_once("define \"longwire.checksum\"").unwrap();
    // The chart refuses `handover`, but a checksum costs nothing.
    for key in reload_keys::needing_a_restart() {
        let section = if key.starts_with("tracing.") { "tracing" } else { key };
        assert!(
            checksum.contains(&format!("\"{section}\"")),
            "{key} needs a restart, and the chart starts no pods for it"
        );
    }
}

/// The values of the chart that the pages show. `config` in them is a file of longwire.
#[test]
fn the_values_that_the_pages_show_have_a_file_that_check_accepts() {
    let mut shown = 0;
    for page in ["docs/kubernetes.md", "docs/from-ingress-nginx.md"] {
        let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(page)).unwrap();
        for block in blocks::of(&text).into_iter().filter(|block| block.language == "yml") {
            let place = format!("{page}:{}", block.line);
            for document in serde_yaml::Deserializer::from_str(&block.text) {
                let values = Value::deserialize(document).unwrap_or_else(|error| panic!("{place}: {error}"));
                let Some(file) = values.get("config") else { continue };
                shown += 1;
                let files = json!({ "proxy.yaml": file.to_string() });
                Manifests::load(&place, files.as_object().unwrap());
                let mounts: Vec<_> = values["mounts"].as_array().into_iter().flatten().collect();
                let mut named = Vec::new();
                texts(file, &mut named);
                for text in named.into_iter().filter(|text| text.starts_with(SECRETS)) {
                    let is_mounted = |mount: &&Value| Path::new(text).parent() == mount["path"].as_str().map(Path::new);
                    assert!(mounts.iter().any(is_mounted), "{place}: {text} is in no volume");
                }
            }
        }
    }
    assert_eq!(shown, 3);
}

/// A key that is written wrong is refused before it reaches a pod.
#[test]
fn the_values_know_the_keys_of_the_file() {
    let values: Value = serde_json::from_str(include_str!("../../../deploy/helm/longwire/values.schema.json")).unwrap();
    let schema = config::schema();
    let (mut known, mut ours) = (BTreeSet::new(), BTreeSet::new());
    keys_below(&values["definitions"]["file"], &values, "config", &mut known);
    keys_below(&schema, &schema, "config", &mut ours);
    assert!(ours.len() > 150, "{} keys", ours.len());
    let different: Vec<_> = known.symmetric_difference(&ours).collect();
    assert!(different.is_empty(), "build longwire, and run deploy/helm/render --write: {different:?}");
    assert_eq!(values["properties"]["config"]["allOf"], json!([{ "$ref": "#/definitions/file" }]));
}

/// Collects the keys of a schema by path, and where it takes no others.
fn keys_below(schema: &Value, root: &Value, at: &str, found: &mut BTreeSet<String>) {
    if let Some(place) = schema["$ref"].as_str() {
        return keys_below(root.pointer(place.trim_start_matches('#')).unwrap(), root, at, found);
    }
    for form in ["oneOf", "anyOf"].into_iter().filter_map(|form| schema[form].as_array()).flatten() {
        keys_below(form, root, at, found);
    }
    for (key, value) in schema["properties"].as_object().into_iter().flatten() {
        let at = format!("{at}.{key}");
        keys_below(value, root, &at, found);
        found.insert(at);
    }
    match &schema["additionalProperties"] {
        Value::Bool(false) => _ = found.insert(format!("{at} and no other")),
        others if others.is_object() => keys_below(others, root, &format!("{at}.NAME"), found),
        _ => {}
    }
    if schema["items"].is_object() {
        keys_below(&schema["items"], root, &format!("{at}[]"), found);
    }
}
