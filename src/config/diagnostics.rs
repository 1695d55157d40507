//! The problems of a configuration: where each is, what is wrong and what to write instead.

use std::{fmt, ops::Range};

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet, renderer::DecorStyle};

/// Every problem found in one configuration, in the order of the file.
#[derive(Debug, Clone, Default)]
pub struct Diagnostics {
    /// The name of the file in the messages.
    name: String,
    source: String,
    items: Vec<Diagnostic>,
    /// How many problems there are beyond the first [`SHOWN`], which are not kept: nobody would read them.
    more: usize,
}

/// One problem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    pub(super) severity: Severity,
    /// The bytes of the source that the problem is about; `None` = the file as a whole.
    pub(super) span: Option<Range<usize>>,
    pub(super) message: String,
    /// What to write instead.
    pub(super) help: Option<String>,
}

/// One problem with its place.
#[derive(Debug, Clone, Copy)]
pub struct Item<'d> {
    /// Whether the problem keeps the file from being used.
    pub severity: Severity,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// What is wrong.
    pub message: &'d str,
    /// What to write instead.
    pub help: Option<&'d str>,
}

/// Whether a problem keeps the configuration from being used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// The configuration cannot be used.
    Error,
    /// The configuration can be used, but probably does not do what was meant.
    Warning,
}

/// The most problems that are kept.
const SHOWN: usize = 100;

impl Diagnostics {
    pub(super) fn new(name: &str, source: &str, mut items: Vec<Diagnostic>) -> Self {
        items.sort_by_key(|item| item.span.as_ref().map(|span| span.start));
        let more = items.len().saturating_sub(SHOWN);
        items.truncate(SHOWN);
        Self { name: name.to_owned(), source: without_secrets(source), items, more }
    }

    /// The same problems, each of which keeps the configuration from being used.
    #[must_use]
    pub fn into_errors(mut self) -> Self {
        for item in &mut self.items {
            item.severity = Severity::Error;
        }
        self
    }

    /// Whether there is no problem.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// How many problems there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.items.len() + self.more
    }

    /// Each problem, for programs.
    pub fn items(&self) -> impl Iterator<Item = Item<'_>> {
        self.items.iter().map(|item| {
            let (line, column) = self.position(item);
            Item { severity: item.severity, line, column, message: &item.message, help: item.help.as_deref() }
        })
    }

    /// The first problems in one line, each with the file's name, line and column.
    #[must_use]
    pub fn in_one_line(&self) -> String {
        const TOLD: usize = 3;
        let told: Vec<_> = self.lines().take(TOLD).map(|line| format!("{}:{line}", self.name)).collect();
        let more = match self.len().saturating_sub(TOLD) {
            0 => String::new(),
            more => format!("; and {more} more"),
        };
        told.join("; ") + &more
    }

    /// Each problem as one line, `14:9: message (help)`, without the file's name and without an excerpt.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        self.items.iter().map(|item| {
            let (line, column) = self.position(item);
            let help = item.help.as_ref().map(|help| format!(" ({help})")).unwrap_or_default();
            format!("{line}:{column}: {}{help}", item.message)
        })
    }

    /// Each problem with its position, an excerpt of the file and a suggestion; in colour for a terminal.
    #[must_use]
    pub fn render(&self, color: bool) -> String {
        let renderer = if color { Renderer::styled() } else { Renderer::plain() };
        let renderer = renderer.decor_style(DecorStyle::Ascii);
        let mut text = String::new();
        for item in &self.items {
            text.push_str(&renderer.render(&[self.group(item)]));
            text.push('\n');
        }
        if self.more > 0 {
            text.push_str(&format!("and {} more\n", self.more));
        }
        text
    }

    fn group<'a>(&'a self, item: &'a Diagnostic) -> Group<'a> {
        let (level, word) = match item.severity {
            Severity::Error => (Level::ERROR, "error"),
            Severity::Warning => (Level::WARNING, "warning"),
        };
        let (line, column) = self.position(item);
        // `file:line:column` comes first, because editors and terminals recognise that form.
        let head = match item.span {
            Some(_) => format!("{}:{line}:{column}: {word}", self.name),
            None => format!("{}: {word}", self.name),
        };
        let mut group = Group::with_title(level.with_name(head).primary_title(item.message.as_str()));
        if let Some(span) = &item.span {
            let (excerpt, first_line, span) = self.excerpt(span);
            let snippet = Snippet::source(excerpt).line_start(first_line).fold(false);
            group = group.element(snippet.annotation(AnnotationKind::Primary.span(span)));
        }
        match &item.help {
            Some(help) => group.element(Level::HELP.message(help.as_str())),
            None => group,
        }
    }

    /// The line of `span` and the line before it, the number of the first of them, and `span` within them.
    fn excerpt(&self, span: &Range<usize>) -> (&str, usize, Range<usize>) {
        let line_start = |at: usize| self.source[..at].rfind('\n').map_or(0, |newline| newline + 1);
        let own = line_start(span.start);
        let start = if own == 0 { 0 } else { line_start(own - 1) };
        let end = self.source[own..].find('\n').map_or(self.source.len(), |newline| own + newline);
        let first_line = 1 + self.source[..start].matches('\n').count();
        let end_of_span = span.end.clamp(span.start, end.max(span.start));
        (&self.source[start..end], first_line, span.start - start..end_of_span - start)
    }

    /// Line and column from 1, in characters; 1:1 for the file as a whole.
    fn position(&self, item: &Diagnostic) -> (usize, usize) {
        let before = &self.source[..item.span.as_ref().map_or(0, |span| span.start)];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        (1 + before.matches('\n').count(), 1 + before[line_start..].chars().count())
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for Diagnostics {}

impl Diagnostic {
    pub(super) fn error(span: Range<usize>, message: impl Into<String>) -> Self {
        Self { severity: Severity::Error, span: Some(span), message: message.into(), help: None }
    }

    pub(super) fn of_file(message: impl Into<String>) -> Self {
        Self { severity: Severity::Error, span: None, message: message.into(), help: None }
    }

    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// The text, of the same length, without what signs in within a URL. Messages end up in logs.
fn without_secrets(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        match secret_of(line) {
            Some(secret) => {
                shown.push_str(&line[..secret.start]);
                shown.push_str(&"*".repeat(secret.len()));
                shown.push_str(&line[secret.end..]);
            }
            None => shown.push_str(line),
        }
    }
    shown
}

/// Where a line may have a name and a password, with or without a scheme before them. Rather too much than too little: a password
/// may have every sign.
fn secret_of(line: &str) -> Option<Range<usize>> {
    let end = line.rfind('@')?;
    let start = match line.find("://") {
        Some(scheme) => scheme + "://".len(),
        None => {
            let is_outside = |c: char| c.is_whitespace() || "\"'[{,".contains(c);
            let word = line[..end].char_indices().rfind(|(_, c)| is_outside(*c)).map_or(0, |(at, c)| at + c.len_utf8());
            // `unix:@name` is no name with a password.
            line[word..end].split_once(':').filter(|(_, password)| !password.is_empty())?;
            word
        }
    };
    (start < end).then_some(start..end)
}

/// The word of `known` that `word` was probably meant to be, if one is near enough.
pub(super) fn nearest<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let distance = |other: &str| strsim::damerau_levenshtein(&word.to_lowercase(), &other.to_lowercase());
    // A third of the letters may be wrong, as in most compilers.
    let allowed = word.chars().count().max(3) / 3;
    known.into_iter().map(|other| (distance(other), other)).filter(|(d, _)| *d <= allowed).min().map(|(_, other)| other)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_excerpt_hides_what_signs_in() {
        for (line, shown) in [
            ("valkey: rediss://me:hush@valkey:1", "valkey: rediss://*******@valkey:1"),
            ("valkey: \"redis://:pa ss@w@valkey\" # x", "valkey: \"redis://********@valkey\" # x"),
            ("valkey: me:hush@valkey", "valkey: *******@valkey"),
            ("[redis://a:b@x, redis://c:d@y]", "[redis://******************@y]"),
            ("- { address: \"unix:@app\" }", "- { address: \"unix:@app\" }"),
            ("origins: [https://a.example]", "origins: [https://a.example]"),
            ("\u{a0}a:b@", "\u{a0}***@"),
            ("\u{a0}@", "\u{a0}@"),
        ] {
            assert_eq!(without_secrets(line), shown);
            assert_eq!(shown.len(), line.len());
        }
        let text = "a: 1\nb: redis://:h\u{fc}sh@v\n";
        let problem = Diagnostic::error(text.find("redis").unwrap()..text.len() - 1, "wrong");
        let shown = Diagnostics::new("f", text, vec![problem]).to_string();
        assert!(shown.contains("f:2:4: error") && !shown.contains("sh@"), "{shown}");
    }
}
