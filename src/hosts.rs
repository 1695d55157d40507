//! Patterns of host names, as routes and origins have them. PURE.

use std::{fmt, net::Ipv6Addr};

use crate::headers::split_port;

/// The hosts of a route, in lower case, without a port or a trailing dot.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum HostPattern {
    /// This name, or this address (an IPv6 address in brackets).
    Exact(String),
    /// Every name with this ending, which begins with a dot. `.example.com` stands for `*.example.com`: it matches
    /// `a.example.com` and `a.b.example.com`, but not `example.com`.
    Suffix(String),
}

impl HostPattern {
    /// Reads `chat.example.com`, `*.example.com`, `192.0.2.1`, `::1` or `[::1]`, in any letter case.
    ///
    /// # Errors
    /// A port, a wildcard that is not the first label, or a text that is no host; the error says what to write.
    pub fn parse(text: &str) -> Result<Self, String> {
        let unbracketed = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        if let Ok(address) = unbracketed.unwrap_or(text).parse::<Ipv6Addr>() {
            return Ok(Self::Exact(format!("[{address}]")));
        }
        if let Some((_, rest)) = text.split_once("://") {
            let name = split_port(rest.split('/').next().unwrap_or_default()).0;
            return Err(format!("a host only: write `{name}`"));
        }
        if text.contains('/') {
            return Err("a host only, without a path".to_owned());
        }
        if text.contains([',', ' ', '|']) {
            return Err("one host only: write a route for each, to the same upstream".to_owned());
        }
        if text.contains(['~', '^', '$', '(', '\\']) {
            return Err("a host is no pattern but `chat.example.com` or `*.example.com`".to_owned());
        }
        if let Some(domain) = text.strip_prefix('.') {
            return Err(format!("write `*.{domain}`, and a route of its own for `{domain}`"));
        }
        if let (name, Some(_)) = split_port(text) {
            return Err(format!("a host carries no port here: write `{name}`"));
        }
        let name = bare_name(text).to_ascii_lowercase();
        let is_wildcard = name.starts_with("*.");
        let labels = name.strip_prefix("*.").unwrap_or(&name);
        if labels.contains('*') {
            return Err("`*` stands for the whole front of a host only: `*.example.com`".to_owned());
        }
        if !labels.is_ascii() {
            return Err("a host is written as on the wire: `xn--…` for letters beyond ASCII".to_owned());
        }
        if labels.split('.').any(|label| !is_label(label)) {
            return Err(format!("`{text}` is no host name"));
        }
        Ok(if is_wildcard { Self::Suffix(format!(".{labels}")) } else { Self::Exact(name) })
    }

    /// Whether the pattern covers `name`, which has no port and no trailing dot.
    pub(crate) fn matches(&self, name: &str) -> bool {
        match self {
            Self::Exact(exact) => name.eq_ignore_ascii_case(exact),
            Self::Suffix(suffix) => name
                .len()
                .checked_sub(suffix.len())
                .filter(|start| *start > 0)
                .and_then(|start| name.get(start..))
                .is_some_and(|end| end.eq_ignore_ascii_case(suffix)),
        }
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => f.write_str(name),
            Self::Suffix(suffix) => write!(f, "*{suffix}"),
        }
    }
}

/// The name in a `Host`, without its port and a trailing dot.
pub(crate) fn bare_name(host: &str) -> &str {
    let (name, _) = split_port(host);
    name.strip_suffix('.').unwrap_or(name)
}

/// Whether a label has only letters, digits, `-`, and the `_` that container networks use in their names.
fn is_label(label: &str) -> bool {
    !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn pattern_is_printed_as_it_is_matched() {
        for (text, printed) in [
            ("Chat.Example.COM.", "chat.example.com"),
            ("*.Example.com", "*.example.com"),
            ("::1", "[::1]"),
            ("[0:0:0:0:0:0:0:1]", "[::1]"),
            ("localhost", "localhost"),
            ("my_service", "my_service"),
        ] {
            assert_eq!(HostPattern::parse(text).unwrap().to_string(), printed);
        }
    }

    #[test]
    fn pattern_that_no_host_can_match_is_refused() {
        for (text, part) in [
            ("example.com:80", "write `example.com`"),
            ("[::1]:80", "write `[::1]`"),
            ("*", "`*.example.com`"),
            ("a.*.example.com", "`*.example.com`"),
            ("*example.com", "`*.example.com`"),
            ("münchen.example", "xn--"),
            ("", "no host name"),
            ("*.", "`*.example.com`"),
            (".example.com", "write `*.example.com`"),
            ("a..b", "no host name"),
            ("a b", "one host only"),
            ("http://a", "a host only: write `a`"),
        ] {
            let error = HostPattern::parse(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
