//! The text of `proxy.yaml` as a tree that remembers the position of each value.
//!
//! longwire reads a narrow YAML on purpose: one document, no tags, a bounded depth and size, and plain words as keys, each
//! once. It reads no aliases, because an alias bomb needs them. `${NAME}` inside a value is replaced here, before anything
//! looks at the value's type.

use std::{collections::HashMap, fmt, ops::Range};

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError, StrInput};
use serde_yaml::Value as Scalar;

use super::{
    diagnostics::Diagnostic,
    environment::{self, Env},
};

/// Bytes that a file may have. A longer file is refused before it is parsed.
pub(super) const MAX_BYTES: usize = 1 << 20;

/// Levels that a file may nest. The deepest legal file nests five.
const MAX_DEPTH: usize = 16;

/// A value and its position, in bytes of the text.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Node {
    pub(super) span: Range<usize>,
    pub(super) value: YamlValue,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum YamlValue {
    /// Null, a bool, a number or a string.
    Scalar(Scalar),
    List(Vec<Node>),
    Map(Vec<Entry>),
    /// A value that was refused. The problem is noted already.
    Refused,
}

/// A key of a mapping and its value.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) key_span: Range<usize>,
    pub(super) node: Node,
}

/// The path from the root to a value, e.g. `upstreams.chat.backends[0].address`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct At(Vec<PathStep>);

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum PathStep {
    Key(String),
    Index(usize),
}

/// Reads as much of `text` as can be read, and returns every problem in the second half.
pub(super) fn read(text: &str, env: Env<'_>) -> (Option<Node>, Vec<Diagnostic>) {
    if text.len() > MAX_BYTES {
        let message = format!("the file is longer than {} KiB", MAX_BYTES / 1024);
        return (None, vec![Diagnostic::of_file(message)]);
    }
    let mut reader = Reader {
        parser: Parser::new_from_str(text),
        text,
        offsets: text.char_indices().map(|(offset, _)| offset).collect(),
        newlines: text.match_indices('\n').map(|(offset, _)| offset).collect(),
        env,
        found: Vec::new(),
    };
    let root = reader.document().ok().flatten();
    (root, reader.found)
}

impl Node {
    /// The place to point at for the value at `at`.
    ///
    /// For a scalar this is the scalar, for a list or mapping its key. If nothing stands at `at`, it is the nearest value
    /// around `at`.
    pub(super) fn locate(&self, at: &At) -> Range<usize> {
        self.heads(at)
            .last()
            .map_or_else(|| self.head(), |(node, head)| if node.is_word() { node.span.clone() } else { head })
    }

    /// The place to point at for what the value at `at` means beside others: its key, or the first word of an item of a list.
    /// If nothing stands at `at`, it is that of the nearest value around `at`.
    pub(super) fn locate_key(&self, at: &At) -> Range<usize> {
        self.heads(at).last().map_or_else(|| self.head(), |(_, head)| head)
    }

    /// Whether something stands at `at`.
    pub(super) fn has(&self, at: &At) -> bool {
        self.heads(at).count() == at.0.len()
    }

    /// The values on the way to `at`, as far as they are there, each with its key, or with its first word if it has no key.
    fn heads<'n>(&'n self, at: &'n At) -> impl Iterator<Item = (&'n Self, Range<usize>)> {
        at.0.iter().scan(self, |node, step| {
            let (next, head) = match (&node.value, step) {
                (YamlValue::Map(entries), PathStep::Key(key)) => {
                    let entry = entries.iter().find(|entry| entry.key == *key)?;
                    (&entry.node, entry.key_span.clone())
                }
                (YamlValue::List(items), PathStep::Index(index)) => {
                    items.get(*index).map(|item| (item, item.head()))?
                }
                _ => return None,
            };
            *node = next;
            Some((next, head))
        })
    }

    /// Whether the value is one word.
    const fn is_word(&self) -> bool {
        matches!(self.value, YamlValue::Scalar(_) | YamlValue::Refused)
    }

    /// The first word of the value.
    pub(super) fn head(&self) -> Range<usize> {
        match &self.value {
            YamlValue::Scalar(_) | YamlValue::Refused => self.span.clone(),
            YamlValue::List(items) => items.first().map_or_else(|| self.span.clone(), Self::head),
            YamlValue::Map(entries) => {
                entries.first().map_or_else(|| self.span.clone(), |entry| entry.key_span.clone())
            }
        }
    }
}

impl At {
    pub(super) fn key(&self, key: &str) -> Self {
        self.then(PathStep::Key(key.to_owned()))
    }

    pub(super) fn index(&self, index: usize) -> Self {
        self.then(PathStep::Index(index))
    }

    /// Whether the path is that of the whole file.
    pub(super) fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the path ends at an item of a list.
    pub(super) fn is_item(&self) -> bool {
        matches!(self.0.last(), Some(PathStep::Index(_)))
    }

    /// Whether one of the two paths lies within the other.
    pub(super) fn touches(&self, other: &Self) -> bool {
        self.0.iter().zip(&other.0).all(|(mine, others)| mine == others)
    }

    fn then(&self, step: PathStep) -> Self {
        Self(self.0.iter().cloned().chain([step]).collect())
    }
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, step) in self.0.iter().enumerate() {
            match step {
                PathStep::Key(key) if position == 0 => write!(f, "{key}")?,
                PathStep::Key(key) => write!(f, ".{key}")?,
                PathStep::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

struct Reader<'t, 'e> {
    parser: Parser<'t, StrInput<'t>>,
    text: &'t str,
    /// The byte at which each character starts. The parser counts characters.
    offsets: Vec<usize>,
    /// The byte at which each line ends.
    newlines: Vec<usize>,
    env: Env<'e>,
    found: Vec<Diagnostic>,
}

/// Reading cannot go on. The reason is noted already.
struct Stop;

type Located<'t> = (Event<'t>, Range<usize>);

impl<'t> Reader<'t, '_> {
    fn document(&mut self) -> Result<Option<Node>, Stop> {
        let mut root = None;
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::StreamEnd => break,
                Event::DocumentStart(_) if root.is_some() => {
                    let help = "longwire reads one; keep each configuration in a file of its own";
                    return self.stop(Diagnostic::error(span, "a second document starts here").help(help));
                }
                Event::StreamStart | Event::DocumentStart(_) | Event::DocumentEnd | Event::Nothing => {}
                value => root = Some(self.node(value, span, 0)?),
            }
        }
        match root {
            Some(Node { value: YamlValue::Scalar(Scalar::Null), .. }) | None => {
                self.stop(Diagnostic::of_file("the file is empty").help("`longwire schema` names every key"))
            }
            root => Ok(root),
        }
    }

    fn node(&mut self, event: Event<'t>, span: Range<usize>, depth: usize) -> Result<Node, Stop> {
        if depth > MAX_DEPTH {
            return self.stop(Diagnostic::error(span, "nested too deeply"));
        }
        let (tag, value) = match event {
            Event::Scalar(text, style, _, tag) => (tag, self.scalar(&text, style, &span)),
            Event::SequenceStart(_, tag) => (tag, self.list(depth)?),
            Event::MappingStart(_, tag) => (tag, self.map(depth)?),
            Event::Alias(_) => {
                let help = "write the value out; a route's `keepalive` names only what differs";
                self.report(Diagnostic::error(span.clone(), "YAML aliases (`*name`) are not read").help(help));
                (None, YamlValue::Refused)
            }
            // The parser sends no other event where a value must stand.
            _ => return self.stop(Diagnostic::error(span, "expected a value")),
        };
        if tag.is_some() {
            let at = span.start..span.start;
            self.report(Diagnostic::error(at, "YAML tags (`!name`) are not read").help("write the value without it"));
            return Ok(Node { span, value: YamlValue::Refused });
        }
        Ok(Node { span, value })
    }

    fn list(&mut self, depth: usize) -> Result<YamlValue, Stop> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(YamlValue::List(items)),
                (event, span) => items.push(self.node(event, span, depth + 1)?),
            }
        }
    }

    fn map(&mut self, depth: usize) -> Result<YamlValue, Stop> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut first: HashMap<String, usize> = HashMap::new();
        loop {
            let key = match self.next()? {
                (Event::MappingEnd, _) => return Ok(YamlValue::Map(entries)),
                (Event::Scalar(text, _, _, None), span) if !text.is_empty() => Some((text.into_owned(), span)),
                (event, span) => {
                    self.node(event, span.clone(), depth + 1)?;
                    self.report(Diagnostic::error(span, "a key must be a plain word"));
                    None
                }
            };
            let (event, span) = self.next()?;
            let mut node = self.node(event, span, depth + 1)?;
            let Some((key, key_span)) = key else { continue };
            if node.span.is_empty() {
                // The parser puts a missing value wherever it noticed that the value is missing. The key is the better place
                // to point at.
                node.span = key_span.clone();
            }
            if let Some(start) = first.get(&key) {
                let line = self.newlines.partition_point(|newline| newline < start) + 1;
                let help = format!("it is set on line {line} already; keep one of the two");
                self.report(Diagnostic::error(key_span, format!("duplicate key `{key}`")).help(help));
            } else {
                first.insert(key.clone(), key_span.start);
                entries.push(Entry { key, key_span, node });
            }
        }
    }

    fn scalar(&mut self, text: &str, style: ScalarStyle, span: &Range<usize>) -> YamlValue {
        match environment::expand(text, self.env) {
            Ok(text) if style == ScalarStyle::Plain => YamlValue::Scalar(plain(&text)),
            Ok(text) => YamlValue::Scalar(Scalar::String(text)),
            Err(refused) => {
                let within = &self.text[span.clone()];
                let span = match within.find(&refused.reference) {
                    Some(start) => span.start + start..span.start + start + refused.reference.len(),
                    None => span.clone(),
                };
                self.report(Diagnostic::error(span, refused.message).help(refused.help));
                YamlValue::Refused
            }
        }
    }

    fn next(&mut self) -> Result<Located<'t>, Stop> {
        match self.parser.next_event() {
            Some(Ok((event, span))) => Ok((event, self.offset(&span.start)..self.offset(&span.end))),
            Some(Err(error)) => self.refuse(&error),
            None => Ok((Event::StreamEnd, self.text.len()..self.text.len())),
        }
    }

    fn refuse<T>(&mut self, error: &ScanError) -> Result<T, Stop> {
        let at = self.offset(error.marker());
        let line_start = self.text[..at].rfind('\n').map_or(0, |newline| newline + 1);
        let line = self.text[line_start..].lines().next().unwrap_or_default();
        let diagnostic = Diagnostic::error(at..at, format!("not YAML: {}", error.info()));
        self.stop(if line.contains("${") {
            diagnostic.help("inside { } and [ ], a value with ${NAME} needs double quotes around it")
        } else if ["{client_ip}", "{request_id}", "{host}", "{route}"].iter().any(|word| line.contains(word)) {
            diagnostic.help("a value with a word in braces needs double quotes around it: \"{client_ip}\"")
        } else if line.trim_start_matches(' ').starts_with('\t') {
            diagnostic.help("YAML indents with spaces, not with tabs")
        } else if line.contains('*') && error.info().contains("anchor") {
            diagnostic.help("what begins with * needs double quotes around it: \"*.example.com\"")
        } else if line.contains("[::") {
            diagnostic.help("an IPv6 address needs double quotes around it: \"[::]:8080\"")
        } else {
            diagnostic
        })
    }

    fn offset(&self, marker: &Marker) -> usize {
        self.offsets.get(marker.index()).copied().unwrap_or(self.text.len())
    }

    fn report(&mut self, diagnostic: Diagnostic) {
        self.found.push(diagnostic);
    }

    fn stop<T>(&mut self, diagnostic: Diagnostic) -> Result<T, Stop> {
        self.report(diagnostic);
        Err(Stop)
    }
}

/// The value of a plain (unquoted) scalar, by the core schema of YAML 1.2 (§10.3.2). Numbers are decimal only.
fn plain(text: &str) -> Scalar {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Scalar::Null,
        "true" | "True" | "TRUE" => return Scalar::Bool(true),
        "false" | "False" | "FALSE" => return Scalar::Bool(false),
        _ => {}
    }
    if let Ok(number) = text.parse::<u64>() {
        return Scalar::Number(number.into());
    }
    if let Ok(number) = text.parse::<i64>() {
        return Scalar::Number(number.into());
    }
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() => Scalar::Number(number.into()),
        _ => Scalar::String(text.to_owned()),
    }
}
