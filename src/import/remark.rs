//! What is wrong with an original for WebSockets.

use std::fmt;

use serde::Serialize;

use super::origin::FileLine;

/// One thing that is wrong with an original, or that is worth knowing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Remark {
    /// The file, as it was given or included.
    pub file: String,
    /// The line, from 1. Something that is missing is told where it belongs.
    pub line: usize,
    /// How much it matters.
    pub severity: Gravity,
    /// What is wrong, and what to write.
    pub text: String,
    /// The directive that is wrong or missing.
    pub directive: String,
}

/// How much a remark matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Gravity {
    /// WebSockets do not work, or the program refuses the file.
    Error,
    /// Sessions are lost.
    Warning,
    /// Worth knowing.
    Note,
}

impl Remark {
    pub(super) fn new(at: &FileLine, severity: Gravity, directive: &str, text: impl Into<String>) -> Self {
        let (file, line) = (at.file.to_string(), at.line);
        Self { file, line, severity, text: text.into(), directive: directive.to_owned() }
    }
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self.severity {
            Gravity::Error => "error",
            Gravity::Warning => "warning",
            Gravity::Note => "note",
        };
        write!(f, "{}:{}: {word}: {}", self.file, self.line, self.text)
    }
}

/// Sorts remarks by line within their files, and leaves out those that say the same of the same line. The files keep the
/// order in which they were met first.
pub(super) fn in_order(remarks: &mut Vec<Remark>) {
    let mut files: Vec<String> = Vec::new();
    for remark in &*remarks {
        if !files.contains(&remark.file) {
            files.push(remark.file.clone());
        }
    }
    let place = |remark: &Remark| files.iter().position(|file| *file == remark.file);
    remarks.sort_by_key(|remark| (place(remark), remark.line, remark.severity));
    remarks.dedup();
}
