//! Every key of the file in words, made from the JSON Schema: the whole page, and the entry of one key. PURE.

use std::{collections::BTreeSet, fmt, fmt::Write as _};

use serde_json::Value as Json;

use super::{diagnostics::nearest, file::File, foreign};

/// A key that the file does not have.
#[derive(Debug, PartialEq, Eq)]
pub struct UnknownKey {
    key: String,
    help: String,
}

/// The most keys that an error suggests for an unknown key.
const SUGGESTED: usize = 3;

/// The text above the sections of the page.
const HEAD: &str = "# Configuration

<!-- `longwire schema --markdown` prints this page. Change the descriptions in src/config/file.rs, then print the page again. -->

longwire reads one YAML file. The `proxy.yaml` of the repository runs as it is and shows every key with its default.
`longwire check -c FILE` reads a file, the certificates included, and prints what would run. `longwire schema KEY` prints the
entry of one key, for example `longwire schema timeouts.close`. `longwire schema` prints a JSON Schema for editors.

- A key that is left out has its default. A key without a default (`–`) is then off; its meaning says so where it is not.
- Durations and sizes carry their unit: `500us`, `50ms`, `25s`, `1h 30m`; `0B`, `32KiB`, `16MiB`.
- longwire reads `${NAME}` and `${NAME:-default}` inside a value from the environment. `$$` is a dollar sign.
- longwire refuses unknown keys, duplicate keys, wrong units and impossible combinations. `check` reports all mistakes in one
  run, each with its line and a suggestion. It knows the words of nginx, HAProxy, Caddy and Traefik.
- `[]` after a name marks a list. `NAME` stands for a name of your choice.
- A reload applies every key but these, which need a restart: `workers`, `coalesce`, `handover`, `tracing`, `log.format`,
  `log.level`, `log.file`, `admin.bind`. See [operations](operations.md#reload).
";

/// The whole page: a section for each section of the file, a row for each key.
#[must_use]
pub fn markdown() -> String {
    let schema = File::schema();
    let entries = entries(&schema);
    let mut text = String::from(HEAD);
    for section in entries.iter().filter(|entry| entry.is_section()) {
        let title = if section.path.is_empty() { "The file".to_owned() } else { format!("`{}`", section.path) };
        let _ = write!(text, "\n## {title}\n\n{}\n", section.meaning);
        let keys: Vec<_> = section.keys(&entries).collect();
        if keys.iter().any(|key| !key.is_section()) {
            text.push_str("\n| key | takes | default | meaning |\n|---|---|---|---|\n");
        }
        for key in keys.iter().filter(|key| !key.is_section()) {
            let _ = writeln!(text, "{}", key.row());
        }
        let below: Vec<_> = keys.iter().filter(|key| key.is_section()).map(|key| key.link()).collect();
        if !below.is_empty() {
            let _ = write!(text, "\nSections: {}.\n", below.join(", "));
        }
    }
    text
}

/// The entry of one key, such as `timeouts.close` or `upstreams.NAME.balance`.
///
/// `key` may contain a place in a list (`listeners[0].bind`) and a name that the reader chose (`upstreams.chat.balance`).
///
/// # Errors
/// The file has no such key. The error names the key that the reader probably meant.
pub fn explain(key: &str) -> Result<String, UnknownKey> {
    let schema = File::schema();
    let entries = entries(&schema);
    match entries.iter().find(|entry| !entry.path.is_empty() && entry.is_called(key)) {
        Some(entry) => Ok(entry.text(&entries)),
        None => Err(UnknownKey { key: key.to_owned(), help: meant(key, &entries) }),
    }
}

/// A key or a section of the file.
struct ReferenceEntry<'s> {
    /// The path, such as `upstreams.NAME.backends[].weight`; empty for the file itself.
    path: String,
    kind: EntryKind<'s>,
    default: WhenAbsent,
    meaning: String,
}

/// What holds if the file leaves a key out.
enum WhenAbsent {
    /// Nothing: the file must have the key.
    Required,
    /// This value, as it would stand in the file.
    Value(String),
    /// The key is off, or its meaning says more.
    None,
}

enum EntryKind<'s> {
    /// A section, with keys below it.
    Section,
    /// A choice of words, each with its meaning.
    Words(Vec<(&'s str, String)>),
    /// Any other value, described in words.
    Value(String),
}

impl WhenAbsent {
    fn text(&self) -> Option<&str> {
        match self {
            Self::Required => Some("required"),
            Self::Value(value) => Some(value),
            Self::None => None,
        }
    }
}

impl ReferenceEntry<'_> {
    fn is_section(&self) -> bool {
        matches!(self.kind, EntryKind::Section)
    }

    /// Whether `key` is the path of this entry. Names and places in lists are not compared.
    fn is_called(&self, key: &str) -> bool {
        let asked: Vec<_> = key.split('.').map(without_place).collect();
        let mine: Vec<_> = self.path.split('.').map(without_place).collect();
        let fits = |asked: &[&str], mine: &[&str]| {
            asked.len() == mine.len() && asked.iter().zip(mine).all(|(asked, mine)| asked == mine || *mine == "NAME")
        };
        fits(&asked, &mine) || mine.split_last().is_some_and(|(last, above)| *last == "NAME" && fits(&asked, above))
    }

    /// The entries that stand directly below this one.
    fn keys<'e>(&'e self, all: &'e [Self]) -> impl Iterator<Item = &'e Self> {
        all.iter().filter(|entry| {
            let above = entry.path.strip_suffix(".NAME").unwrap_or(&entry.path);
            let above = above.rsplit_once('.').map_or("", |(above, _)| above);
            !entry.path.is_empty() && above == self.path
        })
    }

    fn last_word(&self) -> &str {
        self.path.rsplit_once('.').map_or(&*self.path, |(_, last)| last)
    }

    fn accepted_values(&self) -> String {
        match &self.kind {
            EntryKind::Section => "keys with values".into(),
            EntryKind::Words(words) => in_a_row(words),
            EntryKind::Value(kind) => kind.clone(),
        }
    }

    /// The row of this entry in the table of its section.
    fn row(&self) -> String {
        let mut meaning = self.meaning.clone();
        if let EntryKind::Words(words) = &self.kind {
            for (word, what) in words {
                let _ = write!(meaning, "<br>`{word}`: {what}");
            }
        }
        let default = match &self.default {
            WhenAbsent::Required => "required".into(),
            WhenAbsent::Value(value) => format!("`{value}`"),
            WhenAbsent::None => "–".into(),
        };
        let cells = [format!("`{}`", self.last_word()), self.accepted_values(), default, meaning];
        format!("| {} |", cells.map(|cell| cell.replace('|', "\\|")).join(" | "))
    }

    fn link(&self) -> String {
        let kept = |c: &char| c.is_ascii_alphanumeric() || *c == '_';
        let anchor: String = self.path.to_lowercase().chars().filter(kept).collect();
        format!("[`{}`](#{anchor})", self.path)
    }

    /// The entry as text for a terminal.
    fn text(&self, all: &[Self]) -> String {
        let mut text = format!("{}\n", self.path);
        if !self.is_section() {
            let _ = writeln!(text, "  takes    {}", self.accepted_values().replace('`', ""));
            let _ = writeln!(text, "  default  {}", self.default.text().unwrap_or("none"));
        }
        let _ = write!(text, "\n{}", self.meaning);
        if let EntryKind::Words(words) = &self.kind {
            text.push('\n');
            let width = words.iter().map(|(word, _)| word.len()).max().unwrap_or_default().max(12);
            for (word, what) in words {
                let _ = write!(text, "\n  {word:<width$} {what}");
            }
        }
        if self.is_section() {
            text.push('\n');
            for key in self.keys(all) {
                let _ = write!(text, "\n  {:<40} {}", key.path, key.default.text().unwrap_or_default());
            }
        }
        text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
    }
}

/// Every entry: the file first, then each key, with a section before the keys below it.
fn entries(schema: &Json) -> Vec<ReferenceEntry<'_>> {
    let mut found = Vec::new();
    visit(schema, schema, String::new(), false, &mut found);
    found
}

fn visit<'s>(schema: &'s Json, node: &'s Json, path: String, is_required: bool, found: &mut Vec<ReferenceEntry<'s>>) {
    let mut target = resolve(schema, node);
    let mut path = path;
    let below_list = resolve(schema, &target["items"]);
    if below_list["properties"].is_object() {
        path.push_str("[]");
        target = below_list;
    }
    let named = resolve(schema, &target["additionalProperties"]);
    if named["properties"].is_object() {
        path.push_str(".NAME");
        target = named;
    }
    let has_keys = target["properties"].is_object();
    let default = match node.get("default") {
        _ if has_keys => WhenAbsent::None,
        _ if is_required => WhenAbsent::Required,
        default => default.map_or(WhenAbsent::None, |value| WhenAbsent::Value(written(value))),
    };
    found.push(ReferenceEntry {
        kind: if has_keys { EntryKind::Section } else { kind(schema, node) },
        default,
        meaning: one_line(node["description"].as_str().or_else(|| target["description"].as_str()).unwrap_or_default()),
        path: path.clone(),
    });
    let choices = |node: &'s Json| node["anyOf"].as_array().into_iter().flatten();
    let sections = choices(target).chain([target]).map(|section| (section, path.clone()));
    let of_items = choices(resolve(schema, &target["items"])).map(|section| (section, format!("{path}[]")));
    for (section, path) in sections.chain(of_items) {
        let required: BTreeSet<_> =
            section["required"].as_array().into_iter().flatten().filter_map(Json::as_str).collect();
        for (name, key) in section["properties"].as_object().into_iter().flatten() {
            let below = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            visit(schema, key, below, required.contains(name.as_str()), found);
        }
    }
}

/// The part of the schema that `node` refers to, or `node` itself.
fn resolve<'s>(schema: &'s Json, node: &'s Json) -> &'s Json {
    let name = node["$ref"].as_str().and_then(|name| name.strip_prefix('#'));
    name.and_then(|pointer| schema.pointer(pointer)).unwrap_or(node)
}

fn kind<'s>(schema: &'s Json, node: &'s Json) -> EntryKind<'s> {
    let node = resolve(schema, node);
    if let Some(choices) = node["oneOf"].as_array() {
        let word = |choice: &'s Json| {
            Some((choice["const"].as_str()?, one_line(choice["description"].as_str().unwrap_or_default())))
        };
        return EntryKind::Words(choices.iter().filter_map(word).collect());
    }
    EntryKind::Value(in_words(schema, node))
}

/// The kind of value that `node` takes, in words.
fn in_words(schema: &Json, node: &Json) -> String {
    if let Some(kind) = node["x-takes"].as_str() {
        return kind.to_owned();
    }
    if let Some(choices) = node["anyOf"].as_array() {
        return choices.iter().map(|choice| in_words(schema, choice)).collect::<Vec<_>>().join(", or ");
    }
    if let Some(words) = node["enum"].as_array() {
        return words.iter().filter_map(Json::as_str).map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ");
    }
    if let Some(words) = node["oneOf"].as_array() {
        let words = words.iter().filter_map(|choice| choice["const"].as_str());
        return words.map(|word| format!("`{word}`")).collect::<Vec<_>>().join(" or ");
    }
    match node["type"].as_str() {
        Some("boolean") => "true or false".into(),
        Some("integer") => format!("a whole number, {} to {}", node["minimum"], node["maximum"]),
        Some("array") => format!("a list of: {}", item_in_words(schema, &node["items"])),
        Some("object") if node["properties"].is_null() => {
            format!("names, each with {}", in_words(schema, &node["additionalProperties"]))
        }
        Some("object") => {
            let keys = node["properties"].as_object().into_iter().flatten();
            let keys: Vec<_> = keys.map(|(name, key)| format!("{name}: {}", in_words(schema, key))).collect();
            format!("{{ {} }}", keys.join(", "))
        }
        _ => "text".into(),
    }
}

fn item_in_words(schema: &Json, item: &Json) -> String {
    match kind(schema, item) {
        EntryKind::Words(words) => in_a_row(&words),
        EntryKind::Value(kind) => kind,
        EntryKind::Section => String::new(),
    }
}

fn in_a_row(words: &[(&str, String)]) -> String {
    words.iter().map(|(word, _)| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}

/// A value as it would stand in the file.
fn written(value: &Json) -> String {
    match value {
        Json::String(text) => text.clone(),
        Json::Array(items) => format!("[{}]", items.iter().map(written).collect::<Vec<_>>().join(", ")),
        Json::Object(keys) if keys.is_empty() => "{}".into(),
        Json::Object(keys) => {
            let keys: Vec<_> = keys.iter().map(|(key, value)| format!("{key}: {}", written(value))).collect();
            format!("{{ {} }}", keys.join(", "))
        }
        value => value.to_string(),
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A segment such as `backends[0]` without its place.
fn without_place(segment: &str) -> &str {
    segment.split_once('[').map_or(segment, |(name, _)| name)
}

/// Advice for an unknown `key`: what to ask for instead.
fn meant(key: &str, entries: &[ReferenceEntry<'_>]) -> String {
    let last = key.rsplit_once('.').map_or(key, |(_, last)| last);
    let paths: Vec<_> = entries.iter().map(|entry| entry.path.as_str()).filter(|path| !path.is_empty()).collect();
    let last_words: BTreeSet<_> = entries.iter().map(|entry| without_place(entry.last_word())).collect();
    if let Some(path) = nearest(key, paths.iter().copied()) {
        return format!("did you mean `{path}`?");
    }
    if let Some((_, help)) = foreign::key(last, |_| true) {
        return help.to_owned();
    }
    let Some(last) = nearest(last, last_words.iter().copied().filter(|word| !word.is_empty())) else {
        return "`longwire schema --markdown` lists every key".into();
    };
    let named = entries.iter().filter(|entry| without_place(entry.last_word()) == last);
    let named: Vec<_> = named.take(SUGGESTED).map(|entry| format!("`{}`", entry.path)).collect();
    format!("did you mean {}?", named.join(" or "))
}

impl fmt::Display for UnknownKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the file has no key `{}`; {}", self.key, self.help)
    }
}

impl std::error::Error for UnknownKey {}
