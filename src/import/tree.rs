//! A tree of YAML with comments, and its text.

use std::fmt::Write as _;

/// A value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Branch {
    /// A text, with quotes where YAML needs them.
    Text(String),
    /// A number, a duration, a word: written as it is.
    Bare(String),
    /// Texts in one line.
    Texts(Vec<String>),
    /// A map, in lines of its own.
    Map(Twig),
    /// Maps, one after another.
    Maps(Vec<Twig>),
}

/// Keys with their values, and the comments above them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Twig {
    pub(super) notes: Vec<String>,
    pub(super) pairs: Vec<(String, Branch)>,
}

impl Twig {
    pub(super) fn put(&mut self, key: &str, value: Branch) {
        self.pairs.push((key.to_owned(), value));
    }

    pub(super) fn text(&mut self, key: &str, value: impl Into<String>) {
        self.put(key, Branch::Text(value.into()));
    }

    pub(super) fn bare(&mut self, key: &str, value: impl ToString) {
        self.put(key, Branch::Bare(value.to_string()));
    }

    /// Adds a list of texts, unless it is empty.
    pub(super) fn texts(&mut self, key: &str, values: Vec<String>) {
        if !values.is_empty() {
            self.put(key, Branch::Texts(values));
        }
    }

    /// Adds a map, unless it is empty.
    pub(super) fn map(&mut self, key: &str, map: Self) {
        if !map.pairs.is_empty() {
            self.put(key, Branch::Map(map));
        }
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.pairs.iter().any(|(known, _)| known == key)
    }

    /// The lines of the map, each behind `indent` spaces.
    pub(super) fn write(&self, text: &mut String, indent: usize) {
        for note in &self.notes {
            write_note(text, indent, note);
        }
        for (key, value) in &self.pairs {
            let _ = write!(text, "{:indent$}{}:", "", scalar(key));
            value.write(text, indent);
        }
    }
}

impl Branch {
    fn write(&self, text: &mut String, indent: usize) {
        let _ = match self {
            Self::Text(value) => writeln!(text, " {}", scalar(value)),
            Self::Bare(value) => writeln!(text, " {value}"),
            Self::Texts(values) => {
                let values: Vec<_> = values.iter().map(|value| scalar(value)).collect();
                writeln!(text, " [{}]", values.join(", "))
            }
            Self::Map(map) => {
                text.push('\n');
                map.write(text, indent + 2);
                Ok(())
            }
            Self::Maps(maps) => {
                text.push('\n');
                for map in maps {
                    write_item(text, indent + 2, map);
                }
                Ok(())
            }
        };
    }
}

/// A map as an item of a list.
fn write_item(text: &mut String, indent: usize, map: &Twig) {
    for note in &map.notes {
        write_note(text, indent, note);
    }
    let mut item = String::new();
    Twig { notes: Vec::new(), pairs: map.pairs.clone() }.write(&mut item, indent + 2);
    let _ = writeln!(text, "{:indent$}- {}", "", item.trim());
}

pub(super) fn write_note(text: &mut String, indent: usize, note: &str) {
    let line: String = note.chars().map(|c| if may_stand(c) { c } else { ' ' }).collect();
    let line = format!("{:indent$}# {line}", "");
    let _ = writeln!(text, "{}", line.trim_end());
}

/// Whether a character may stand in a line of YAML as it is. A byte order mark may not, and two separators may end the line
/// (YAML 1.2.2, 5.1 and 5.4).
fn may_stand(c: char) -> bool {
    !c.is_control() && !matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}')
}

/// A text as a scalar of one line, plain where no reader can take it for anything else. A `$` before a brace or another `$`
/// would be read as a variable of the environment.
fn scalar(text: &str) -> String {
    let text = if text.contains("${") || text.contains("$$") { text.replace('$', "$$") } else { text.to_owned() };
    if is_plain(&text) {
        return text;
    }
    if text.chars().all(may_stand) {
        return format!("'{}'", text.replace('\'', "''"));
    }
    let mut quoted = String::from("\"");
    for c in text.chars() {
        let _ = match c {
            '"' | '\\' => write!(quoted, "\\{c}"),
            c if c.is_control() || !c.is_ascii() => write!(quoted, "\\U{:08x}", u32::from(c)),
            c => write!(quoted, "{c}"),
        };
    }
    quoted + "\""
}

fn is_plain(text: &str) -> bool {
    const WORDS: [&str; 9] = ["true", "false", "yes", "no", "on", "off", "null", "y", "n"];
    let begins = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/')
        || text.starts_with(|c: char| c.is_ascii_digit()) && text.matches('.').count() > 1;
    begins
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/._:-".contains(&byte))
        && !text.ends_with(':')
        && !WORDS.contains(&&*text.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_has_quotes_where_it_could_be_something_else() {
        for (text, written) in [
            ("chat.example.com", "chat.example.com"),
            ("127.0.0.1:3000", "127.0.0.1:3000"),
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("/ws/", "/ws/"),
            ("*.example.com", "'*.example.com'"),
            ("[::]:80", "'[::]:80'"),
            ("1", "'1'"),
            ("1.5", "'1.5'"),
            ("On", "'On'"),
            ("it's", "'it''s'"),
            ("^/ws/(.*)$", "'^/ws/(.*)$'"),
            ("/$1", "'/$1'"),
            ("${HOME}", "'$${HOME}'"),
            ("", "''"),
            ("a: b", "'a: b'"),
            ("a\nb", "\"a\\U0000000ab\""),
        ] {
            assert_eq!(scalar(text), written);
        }
    }

    #[test]
    fn a_comment_keeps_its_line_and_has_no_byte_order_mark() {
        let mut text = String::new();
        write_note(&mut text, 2, "a:1: one\ntwo\u{2028}three\u{feff}four");
        assert_eq!(text, "  # a:1: one two three four\n");
    }

    #[test]
    fn a_tree_is_written_with_its_comments_above() {
        let mut route = Twig { notes: vec!["a:1: why".into()], ..Twig::default() };
        route.text("path", "/");
        let mut inner = Twig::default();
        inner.bare("response", "5s");
        route.map("timeouts", inner);
        let mut all = Twig::default();
        all.put("routes", Branch::Maps(vec![route]));
        let mut text = String::new();
        all.write(&mut text, 0);
        assert_eq!(text, "routes:\n  # a:1: why\n  - path: /\n    timeouts:\n      response: 5s\n");
    }
}
