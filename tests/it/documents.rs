//! Whether the documents are true: their links, their keys, their files, their commands.

pub(crate) mod blocks;
mod readme;

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use fs_err as fs;
use longwire::{config, paths::listing, ws::termination::Cause};
use serde_json::Value;

use self::blocks::outside_of_blocks;
use crate::{harness::Authority, reload_keys};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn text(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The Markdown files of a folder.
fn pages(folder: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(root().join(folder)).unwrap().map(|entry| entry.unwrap().file_name());
    let mut pages: Vec<_> = entries.map(|name| Path::new(folder).join(name)).collect();
    pages.retain(|page| page.extension().is_some_and(|extension| extension == "md"));
    pages.sort();
    pages
}

#[test]
fn every_test_that_the_page_of_conformance_names_exists() {
    let page = text("docs/conformance.md");
    let named: Vec<_> = page.split('`').skip(1).step_by(2).filter_map(|words| words.split_once("::")).collect();
    assert!(named.len() > 60, "the page names {} tests", named.len());
    for (place, test) in named {
        let file = if place.ends_with(".rs") { place.to_owned() } else { format!("tests/it/{place}.rs") };
        let source = text(&file);
        let is_there = ["    #[test]\n    fn", "#[test]\nfn", "#[tokio::test]\nasync fn"]
            .iter()
            .any(|begin| source.contains(&format!("{begin} {test}(")));
        assert!(is_there, "{file} has no test {test}");
    }
}

#[test]
fn the_page_of_the_configuration_is_what_the_command_prints() {
    assert!(
        text("docs/configuration.md") == config::markdown(),
        "docs/configuration.md is stale: longwire schema --markdown > docs/configuration.md"
    );
}

#[test]
fn the_page_of_the_paths_is_what_the_command_prints() {
    assert!(text("docs/paths.md") == listing::markdown(), "stale: longwire paths --markdown > docs/paths.md");
}

/// Before the limits in docs/why-did-it-drop.md, and behind them.
const LIMITS: [&str; 2] =
    ["<!-- limits: written by `DRAW=1 cargo test --test it documents` -->\n\n", "\n<!-- end of limits -->"];

#[test]
fn the_limits_by_which_a_drop_is_explained_are_those_of_the_presets() {
    let file = root().join("docs/why-did-it-drop.md");
    let page = text(&file);
    let (before, rest) = page.split_once(LIMITS[0]).unwrap();
    let (shown, after) = rest.split_once(LIMITS[1]).unwrap();
    let tables = listing::by_figure();
    if std::env::var_os("DRAW").is_some() {
        fs::write(&file, [before, LIMITS[0], &tables, LIMITS[1], after].concat()).unwrap();
    } else {
        assert!(shown == tables, "stale: DRAW=1 cargo test --test it documents. Today:\n{tables}");
    }
}

#[test]
fn every_key_of_the_file_has_its_entry_on_the_page_and_by_name() {
    let schema = config::schema();
    let mut keys = BTreeSet::new();
    reload_keys::keys(&schema, &schema, "", &mut keys);
    let page = config::markdown();
    for key in &keys {
        // The schema writes paths as `upstreams.*.backends.[].weight`.
        let key = key.replace(".[]", "[]").replace('*', "NAME");
        let (section, last) = key.rsplit_once('.').unwrap_or(("", &key));
        let entry = config::explain(&key).unwrap_or_else(|error| panic!("{error}"));
        assert!(entry.starts_with(&format!("{key}\n  takes    ")), "{entry}");
        // These keys stand in the row of the key above them.
        let (section, last) = match section.rsplit_once('.').unwrap_or(("", section)) {
            (section, last @ ("pong_timeout" | "redirect")) => (section, last),
            (section, "via[]") => (section, "via"),
            _ => (section, last),
        };
        let heading = if section.is_empty() { "## The file\n".to_owned() } else { format!("## `{section}`\n") };
        let (_, rest) = page.split_once(&heading).unwrap_or_else(|| panic!("no section for {key}"));
        let rows = rest.split("\n## ").next().unwrap();
        assert!(rows.contains(&format!("\n| `{last}` | ")), "no row for {key}");
    }
    assert!(keys.len() > 80, "{} keys", keys.len());
}

#[test]
fn every_cause_of_an_end_is_explained() {
    let page = text("docs/causes.md");
    let (sessions, _) = page.split_once("\n## Requests\n").unwrap();
    let explained: BTreeSet<_> =
        sessions.lines().filter_map(|line| line.strip_prefix("| `")?.split(" | ").next()).collect();
    let explained: BTreeSet<_> =
        explained.iter().flat_map(|cell| cell.split(", ")).map(|word| word.trim_matches('`')).collect();
    assert_eq!(explained, Cause::ALL.map(Cause::as_str).into());
}

/// `234 MB (27,323, 1)`: memory, sessions and handshakes.
#[test]
fn the_memory_of_an_instance_is_what_the_simulation_printed() {
    let (page, printed) = (text("docs/scale.md"), text("benches/FLEET.md"));
    let cells: Vec<_> = page.split('|').map(str::trim).filter(|cell| cell.contains(" MB (")).collect();
    assert!(cells.len() >= 10, "{cells:?}");
    for cell in cells {
        assert!(printed.contains(&format!("| {cell} |")), "benches/FLEET.md does not have {cell}");
    }
}

#[test]
fn every_link_of_a_document_leads_somewhere() {
    let mut wrong = Vec::new();
    let mut links = 0;
    for folder in ["", "docs", "benches", "clients/js"] {
        for page in pages(folder) {
            for target in targets(&text(&page)) {
                links += 1;
                let (path, anchor) = target.split_once('#').unwrap_or((&target, ""));
                let path = if path.is_empty() { page.clone() } else { page.parent().unwrap().join(path) };
                let is_there = root().join(&path).exists();
                if !is_there || !(anchor.is_empty() || anchors(&text(&path)).contains(anchor)) {
                    wrong.push(format!("{}: {target}", page.display()));
                }
                // The pages are also a book, and the book has only docs/.
                if folder == "docs" && target.starts_with("..") {
                    wrong.push(format!("{}: {target} is not in the book", page.display()));
                }
            }
        }
    }
    assert_eq!(wrong, [""; 0], "links that lead nowhere");
    assert!(links > 80, "{links} links");
}

/// The targets of the links and pictures of a page, except those on other hosts.
fn targets(page: &str) -> Vec<String> {
    let page = outside_of_blocks(page);
    let targets = page.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target.to_owned());
    targets.filter(|target| !target.contains("://") && !target.contains(' ')).collect()
}

/// The anchors of the headings of a page, as hosting sites and mdBook make them.
fn anchors(page: &str) -> BTreeSet<String> {
    let headings = outside_of_blocks(page);
    let headings =
        headings.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim());
    let kept = |c: char| (c.is_alphanumeric() || "-_ ".contains(c)).then_some(if c == ' ' { '-' } else { c });
    headings.map(|heading| heading.to_lowercase().chars().filter_map(kept).collect()).collect()
}

#[test]
fn every_page_is_reached_from_the_index_and_stands_in_the_book() {
    for index in ["docs/README.md", "docs/SUMMARY.md"] {
        let named: BTreeSet<_> = targets(&text(index)).into_iter().collect();
        for page in pages("docs") {
            let name = page.file_name().unwrap().to_str().unwrap();
            let is_index = name == "README.md" || name == "SUMMARY.md";
            assert!(is_index || named.contains(name), "{index} does not name {name}");
        }
    }
    assert!(targets(&text("README.md")).contains(&"docs/README.md".to_owned()));
}

#[test]
fn every_key_that_a_document_names_is_a_key() {
    let schema = config::schema();
    let sections = schema["properties"].as_object().map(serde_json::Map::keys).unwrap().collect::<BTreeSet<_>>();
    let mut named = 0;
    for page in pages("").into_iter().chain(pages("docs")) {
        let page_text = outside_of_blocks(&text(&page));
        for word in page_text.split('`').skip(1).step_by(2) {
            let is_path = word.chars().all(|c| c.is_ascii_lowercase() || "_.46[]".contains(c)) && word.contains('.');
            // Names of files look like paths of keys.
            let is_file = [".md", ".yaml", ".yml", ".rs", ".json", ".sock"].iter().any(|end| word.ends_with(end));
            if is_path && !is_file && word.split('.').next().is_some_and(|first| sections.contains(&first.to_owned())) {
                named += 1;
                assert!(config::explain(word).is_ok(), "{}: `{word}`", page.display());
            }
        }
    }
    assert!(named > 80, "{named} keys");
}

#[test]
fn every_file_in_a_document_is_accepted_by_check() {
    let mut files = 0;
    for page in pages("").into_iter().chain(pages("docs")) {
        for block in blocks::of(&text(&page)) {
            let needs_traces = block.language == "yaml otlp";
            if block.language != "yaml" && !(needs_traces && cfg!(feature = "otlp")) {
                continue;
            }
            files += 1;
            let place = format!("{}:{}", page.display(), block.line);
            let folder = tempfile::tempdir().unwrap();
            let written = completed(&block.text);
            make_named_files(folder.path(), &written, &place);
            let path = folder.path().join("proxy.yaml");
            fs::write(&path, &written).unwrap();
            let loaded = config::load(&path).unwrap_or_else(|errors| panic!("{place}: {errors}\n{written}"));
            assert!(loaded.warnings.is_empty(), "{place}: {}", loaded.warnings);
        }
    }
    assert!(files > 20, "{files} files");
}

/// A piece of a file, completed with the sections that every file needs.
fn completed(piece: &str) -> String {
    let needed = [
        ("listeners:", "listeners: [{ bind: 127.0.0.1:0 }]\n"),
        ("upstreams:", "upstreams: { app: { backends: [{ address: \"127.0.0.1:3000\" }] } }\n"),
        ("routes:", "routes: [{ upstream: app }]\n"),
    ];
    let missing = needed.iter().filter(|(key, _)| !piece.lines().any(|line| line.starts_with(key)));
    missing.fold(piece.to_owned(), |text, (_, section)| text + section)
}

/// Makes the certificates, tokens and lists of backends that a file names, in the folder of the file.
pub(crate) fn make_named_files(folder: &Path, file: &str, place: &str) {
    let file: Value = serde_yaml::from_str(file).unwrap_or_else(|error| panic!("{place}: {error}"));
    for tls in file["listeners"].as_array().into_iter().flatten().map(|listener| &listener["tls"]) {
        if let Some(ca) = tls["client_auth"]["ca"].as_str() {
            write(&folder.join(ca), &Authority::new("clients").pem(), place);
        }
        for pair in tls["certificates"].as_array().into_iter().flatten().chain([tls]) {
            if let (Some(cert), Some(key)) = (pair["cert"].as_str(), pair["key"].as_str()) {
                let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
                write(&folder.join(cert), &made.cert.pem(), place);
                write(&folder.join(key), &made.signing_key.serialize_pem(), place);
            }
        }
    }
    for upstream in file["upstreams"].as_object().into_iter().flatten().map(|(_, upstream)| upstream) {
        for entry in upstream["backends"].as_array().into_iter().flatten() {
            if let Some(list) = entry["file"].as_str() {
                write(&folder.join(list), "[{ address: \"127.0.0.1:3000\" }]\n", place);
            }
        }
    }
    for section in ["admin", "probe"] {
        if let Some(token) = file[section]["token_file"].as_str() {
            write(&folder.join(token), "a-token-of-some-length\n", place);
        }
    }
    if let Some(key) = file["sticky_key_file"].as_str() {
        write(&folder.join(key), "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n", place);
    }
}

fn write(path: &Path, text: &str, place: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap_or_else(|error| panic!("{place}: {}: {error}", path.display()));
}
