//! Places in the original, the files that are handed in, and why an original cannot be read.

use std::{fmt, net::IpAddr, sync::Arc};

use crate::hosts::HostPattern;

/// The most files of one configuration.
pub(super) const MOST_FILES: usize = 1000;

/// The most bytes of all files together.
pub(super) const MOST_BYTES: usize = 16 << 20;

/// How deep includes may stand in one another.
pub(super) const DEEPEST_INCLUDE: usize = 16;

/// How deep blocks may stand in one another.
pub(super) const DEEPEST_BLOCK: usize = 32;

/// A line of a file, as it was given or included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileLine {
    /// The name of the file.
    pub file: Arc<str>,
    /// The line, from 1.
    pub line: usize,
}

/// A file that belongs to a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IncludedFile {
    /// The name as it was given or included.
    pub name: String,
    /// What tells the file from all others, however it is named.
    pub identity: String,
    /// The content.
    pub text: String,
}

/// Gives the files that an `include` names, sorted by name. A pattern that fits no file gives none.
///
/// # Errors
/// Why a file cannot be read.
pub type ReadFiles<'a> = &'a mut dyn FnMut(&str) -> Result<Vec<IncludedFile>, String>;

/// Why a configuration cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportError {
    /// Where.
    pub at: FileLine,
    /// What is wrong.
    pub message: String,
}

/// A path of the original as the new file has to write it. `folder`: what it is relative to; empty = it stays.
pub(super) fn joined(folder: &str, path: &str) -> String {
    match path {
        // Without a folder, this would be the word for the authorities that the machine trusts.
        "system" if folder.is_empty() => "./system".to_owned(),
        _ if path.starts_with('/') || folder.is_empty() => path.to_owned(),
        _ => format!("{folder}/{path}"),
    }
}

/// Whether a text can be the name of a cookie: a token (RFC 9110 §5.6.2).
pub(super) fn is_token(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

/// Whether routes can have this host: a name, an address or a wildcard, and not a word that only stands for any host.
pub(super) fn is_route_host(name: &str) -> bool {
    name != "_" && HostPattern::parse(name).is_ok()
}

/// Whether a certificate can have this name, and a resolver can be asked for it.
pub(super) fn is_certificate_name(name: &str) -> bool {
    let bare = name.strip_suffix('.').unwrap_or(name);
    let is_name = bare.len() <= 253
        && matches!(HostPattern::parse(bare), Ok(HostPattern::Exact(exact)) if exact.eq_ignore_ascii_case(bare));
    let is_label = |label: &str| label.len() <= 63 && !label.starts_with('-') && !label.ends_with('-');
    // A last label of digits would be part of an address.
    let is_number = |label: &str| label.bytes().all(|byte| byte.is_ascii_digit());
    name.parse::<IpAddr>().is_ok()
        || is_name && bare.split('.').all(is_label) && !bare.rsplit('.').next().is_some_and(is_number)
}

/// Whether a text can be a path with a query, as requests have it.
pub(super) fn is_target(path: &str) -> bool {
    path.starts_with('/')
        && path.bytes().all(|byte| byte.is_ascii_graphic())
        && !path.contains(['"', '<', '>', '\\', '^', '`', '{', '}', '#'])
}

impl FileLine {
    pub(super) fn error(&self, message: impl Into<String>) -> ImportError {
        ImportError { at: self.clone(), message: message.into() }
    }

    /// A comment about this line.
    pub(super) fn note(&self, text: impl fmt::Display) -> String {
        format!("{self}: {text}")
    }
}

impl fmt::Display for FileLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

impl fmt::Display for ImportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: error: {}", self.at, self.message)
    }
}

impl std::error::Error for ImportError {}
