//! The lines of an HAProxy configuration in their sections.

use std::{collections::BTreeMap, sync::Arc};

use crate::import::origin::{FileLine, ImportError, IncludedFile, MOST_BYTES};

/// The variables of the environment that the file itself sets.
#[derive(Debug, Default)]
struct Variables {
    values: BTreeMap<String, String>,
    /// The bytes of all values that were put in the place of variables, [`MOST_BYTES`] at most.
    spent: usize,
}

/// A line in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HaLine {
    pub(super) at: FileLine,
    pub(super) words: Vec<String>,
}

/// A section with its lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HaSection {
    pub(super) at: FileLine,
    pub(super) kind: String,
    pub(super) name: String,
    /// The lines of its own.
    pub(super) lines: Vec<HaLine>,
    /// The lines of the `defaults` that count for it.
    pub(super) defaults: Vec<HaLine>,
}

const SECTIONS: [&str; 20] = [
    "global",
    "defaults",
    "frontend",
    "backend",
    "listen",
    "userlist",
    "peers",
    "resolvers",
    "mailers",
    "cache",
    "program",
    "ring",
    "http-errors",
    "log-forward",
    "fcgi-app",
    "crt-store",
    "log-profile",
    "traces",
    "acme",
    "healthcheck",
];

impl HaLine {
    /// The word at this place; empty if there is none.
    pub(super) fn word(&self, place: usize) -> &str {
        self.words.get(place).map_or("", String::as_str)
    }

    /// The words from this place on.
    pub(super) fn rest(&self, place: usize) -> &[String] {
        self.words.get(place..).unwrap_or_default()
    }

    pub(super) fn text(&self) -> String {
        self.words.join(" ")
    }

    /// Whether the line begins with these words.
    pub(super) fn says(&self, words: &[&str]) -> bool {
        words.iter().enumerate().all(|(place, word)| self.word(place) == *word)
    }
}

impl HaSection {
    /// The last line that begins with these words, of the section or else of its defaults.
    pub(super) fn one(&self, words: &[&str]) -> Option<&HaLine> {
        let of = |lines: &'_ [HaLine]| lines.iter().rposition(|line| line.says(words));
        match of(&self.lines) {
            Some(place) => self.lines.get(place),
            None => of(&self.defaults).and_then(|place| self.defaults.get(place)),
        }
    }

    /// Whether an option is on, with the line that says so.
    pub(super) fn option(&self, name: &str) -> Option<&HaLine> {
        let says = |line: &&HaLine| line.says(&["option", name]) || line.says(&["no", "option", name]);
        let own = self.lines.iter().rev().find(says);
        own.or_else(|| self.defaults.iter().rev().find(says)).filter(|line| line.word(0) == "option")
    }

    /// `http` or `tcp`.
    pub(super) fn mode(&self) -> &str {
        self.one(&["mode"]).map_or("tcp", |line| line.word(1))
    }

    /// Whether it serves clients.
    pub(super) fn is_front(&self) -> bool {
        matches!(self.kind.as_str(), "frontend" | "listen")
    }

    /// Whether it has servers.
    pub(super) fn is_back(&self) -> bool {
        matches!(self.kind.as_str(), "backend" | "listen")
    }
}

/// The sections of a file.
///
/// # Errors
/// Why it cannot be read.
pub(super) fn sections(file: &IncludedFile) -> Result<Vec<HaSection>, ImportError> {
    let name: Arc<str> = file.name.as_str().into();
    let mut sections: Vec<HaSection> = Vec::new();
    if file.text.len() > MOST_BYTES {
        let at = FileLine { file: name, line: 1 };
        return Err(at.error(format!("more than {} MiB", MOST_BYTES >> 20)));
    }
    let mut defaults: Vec<(String, Vec<HaLine>)> = Vec::new();
    let mut variables = Variables::default();
    for (number, line) in file.text.strip_prefix('\u{feff}').unwrap_or(&file.text).lines().enumerate() {
        let at = FileLine { file: Arc::clone(&name), line: number + 1 };
        let words = words(line, &mut variables).map_err(|message| at.error(message))?;
        if let [word, name, value] = words.as_slice()
            && matches!(word.as_str(), "setenv" | "presetenv")
        {
            variables.values.insert(name.clone(), value.clone());
        }
        let line = HaLine { at, words };
        match line.words.first() {
            None => {}
            // `.if` and its kin depend on the machine.
            Some(first) if first.starts_with('.') => {}
            Some(first) if SECTIONS.contains(&first.as_str()) => {
                if matches!(first.as_str(), "frontend" | "backend" | "listen") && line.word(1).is_empty() {
                    return Err(line.at.error(format!("`{first}` has no name")));
                }
                remember(&mut defaults, sections.last());
                sections.push(section(&line, &defaults));
            }
            Some(first) => match sections.last_mut() {
                Some(section) => section.lines.push(line),
                None => return Err(line.at.error(format!("`{first}` stands outside of a section"))),
            },
        }
    }
    Ok(sections)
}

fn remember(defaults: &mut Vec<(String, Vec<HaLine>)>, section: Option<&HaSection>) {
    if let Some(section) = section.filter(|section| section.kind == "defaults") {
        defaults.push((section.name.clone(), [&section.defaults[..], &section.lines[..]].concat()));
    }
}

fn section(line: &HaLine, defaults: &[(String, Vec<HaLine>)]) -> HaSection {
    let from = line.words.iter().position(|word| word == "from").and_then(|place| line.words.get(place + 1));
    let counts = match from {
        Some(from) => defaults.iter().rev().find(|(name, _)| name == from),
        // A new `defaults` begins without those of the one before.
        None if line.word(0) == "defaults" => None,
        None => defaults.last(),
    };
    let proxies = ["frontend", "backend", "listen", "defaults"];
    let is_proxy = proxies.contains(&line.word(0));
    HaSection {
        at: line.at.clone(),
        kind: line.word(0).to_owned(),
        name: line.word(1).to_owned(),
        lines: Vec::new(),
        defaults: counts.filter(|_| is_proxy).map(|(_, lines)| lines.clone()).unwrap_or_default(),
    }
}

/// Why a text has no counterpart: a variable of the environment whose value the file does not say, or else `why`.
pub(super) fn unknown<'a>(text: &str, why: &'a str) -> &'a str {
    if text.contains("${") { "the file does not say the value of this variable of the environment" } else { why }
}

/// The variable of the environment with which a text begins behind its `$`: its value, if `variables` or its own default says
/// one, and how long it is there.
fn variable(after: &str, variables: &mut Variables) -> Option<(String, usize)> {
    let inner = after.strip_prefix('{').and_then(|rest| rest.split_once('}')).map(|(inner, _)| inner);
    let end = after.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(after.len());
    let (whole, length) = inner.map_or((after.get(..end)?, end), |inner| (inner, inner.len() + 2));
    let (name, default) = whole.split_once('-').map_or((whole, None), |(name, default)| (name, Some(default)));
    let value = variables.values.get(name).map_or(default, |value| Some(value))?.to_owned();
    variables.spent += value.len();
    (variables.spent <= MOST_BYTES).then_some((value, length))
}

/// The words of a line. Quotes may begin anywhere in a word. Within double quotes `variables` of the environment count.
fn words(line: &str, variables: &mut Variables) -> Result<Vec<String>, &'static str> {
    let (mut words, mut word): (Vec<String>, Option<String>) = Default::default();
    let mut rest = line.chars();
    while let Some(c) = rest.next() {
        match c {
            '#' => break,
            c if c.is_whitespace() => words.extend(word.take()),
            '\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match rest.next().ok_or("a quote is not closed")? {
                        '\'' => break,
                        c => word.push(c),
                    }
                }
            }
            '"' => {
                let word = word.get_or_insert_default();
                loop {
                    match rest.next().ok_or("a quote is not closed")? {
                        '"' => break,
                        '$' => match variable(rest.as_str(), variables) {
                            Some((value, length)) => {
                                word.push_str(&value);
                                rest = rest.as_str().get(length..).unwrap_or_default().chars();
                            }
                            None => word.push('$'),
                        },
                        '\\' => match rest.next().ok_or("a quote is not closed")? {
                            c @ ('"' | '\\' | '$' | '\'' | ' ' | '#') => word.push(c),
                            c => word.extend(['\\', c]),
                        },
                        c => word.push(c),
                    }
                }
            }
            '\\' => {
                let word = word.get_or_insert_default();
                match rest.next() {
                    Some(c @ (' ' | '#' | '\\' | '"' | '\'')) => word.push(c),
                    Some('n') => word.push('\n'),
                    Some('r') => word.push('\r'),
                    Some('t') => word.push('\t'),
                    Some(c) => word.extend(['\\', c]),
                    None => word.push('\\'),
                }
            }
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_cut_as_haproxy_cuts_them() {
        let values = BTreeMap::from([("HOST".to_owned(), "h".to_owned())]);
        let mut variables = Variables { values, spent: 0 };
        for (line, expected) in [
            ("  bind :80 # all", &["bind", ":80"][..]),
            ("a \"b c\"d 'e\\f' g\\ h \\# i", &["a", "b cd", "e\\f", "g h", "#", "i"]),
            ("acl x path_reg ^/a\\.b", &["acl", "x", "path_reg", "^/a\\.b"]),
            ("x \"\" ''", &["x", "", ""]),
            ("a \"${HOST}:1$HOST\" '${HOST}' ${HOST} \"\\$HOST\"", &["a", "h:1h", "${HOST}", "${HOST}", "$HOST"]),
            ("a \"${PORT-80}${X}$\"", &["a", "80${X}$"]),
            ("", &[]),
        ] {
            assert_eq!(
                words(line, &mut variables).as_deref(),
                Ok(expected.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>().as_slice()),
                "{line}"
            );
        }
        assert!(words("a \"b", &mut variables).is_err() && words("a 'b", &mut variables).is_err());
    }
}
