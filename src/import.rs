//! Reads a configuration of nginx or HAProxy, writes a `proxy.yaml` that does the same, and says what is wrong with the
//! original for WebSockets. PURE: whoever calls hands in the files.
//!
//! Read the parts in this order:
//!
//! 1. `origin`: places in the original, the files that are handed in, and why an original cannot be read.
//! 2. `nginx` and `haproxy`: each reads its language, fills a `Blueprint`, and makes the remarks.
//! 3. `blueprint`: what becomes a `proxy.yaml`, in the words of longwire; `routes`: what both languages do with routes.
//! 4. `tree` writes YAML with comments.
//!
//! What has no counterpart in longwire becomes a comment with its file and line. It never gets lost.

mod blueprint;
mod haproxy;
mod nginx;
mod origin;
mod remark;
mod routes;
mod tree;
mod units;

use self::{blueprint::Blueprint, remark::in_order};
pub use self::{
    origin::{FileLine, ImportError, IncludedFile, ReadFiles},
    remark::{Gravity, Remark},
};

/// The language of a configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// `nginx.conf` and its parts.
    Nginx,
    /// `haproxy.cfg`.
    Haproxy,
}

/// What came of a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    /// The text of the `proxy.yaml`.
    pub yaml: String,
    /// What is wrong with the original for WebSockets, in the order of its files and lines.
    pub remarks: Vec<Remark>,
}

/// Where the original stands and how it is read.
#[derive(Debug, Clone, Copy)]
pub struct ImportTerms<'a> {
    /// The language; `None` = the content says it.
    pub dialect: Option<Dialect>,
    /// What relative paths of the original are relative to, as the new file has to write it; empty = they stay.
    pub folder: &'a str,
}

/// Translates the configuration in `file`. `read` gives the files that it includes.
///
/// # Errors
/// A syntax error, a loop of includes, a file that is missing, or more than the bounds allow.
pub fn import(file: IncludedFile, terms: ImportTerms<'_>, read: ReadFiles<'_>) -> Result<Imported, ImportError> {
    let first = file.name.clone();
    let dialect = terms.dialect.unwrap_or_else(|| dialect_of(&file.text));
    let (blueprint, mut remarks): (Blueprint, _) = match dialect {
        Dialect::Nginx => nginx::translate(file, terms.folder, read)?,
        Dialect::Haproxy => haproxy::translate(&file, terms.folder, read)?,
    };
    in_order(&mut remarks);
    let original = match dialect {
        Dialect::Nginx => "nginx",
        Dialect::Haproxy => "HAProxy",
    };
    Ok(Imported { yaml: blueprint.text(&first, original), remarks })
}

/// The language of a text. A section of HAProxy is a line of its own without the `;` or `{` that nginx needs; the first line
/// that is the one or the other decides.
fn dialect_of(text: &str) -> Dialect {
    const SECTIONS: [&str; 5] = ["global", "defaults", "frontend", "backend", "listen"];
    let decide = |line: &str| {
        let line = line.split('#').next().unwrap_or_default().trim();
        let is_section = line.split_whitespace().next().is_some_and(|word| SECTIONS.contains(&word));
        match line.ends_with([';', '{']) {
            true => Some(Dialect::Nginx),
            false => is_section.then_some(Dialect::Haproxy),
        }
    };
    text.lines().find_map(decide).unwrap_or(Dialect::Nginx)
}
