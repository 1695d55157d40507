//! Regular expressions of nginx and HAProxy that are no more than prefixes.

/// Ends of an expression behind which a path may go on, the end of a segment first.
const OPEN_ENDS: [&str; 14] = [
    "(/|$)",
    "($|/)",
    "(?:/|$)",
    "(?:$|/)",
    "(/.*)?$",
    "(?:/.*)?$",
    "(/.*)?",
    "(/.*)$",
    "(.*)$",
    ".*$",
    "(.*)",
    ".*",
    "(.+)$",
    "(.+)",
];

/// How many of [`OPEN_ENDS`] also end the segment: `^/ws(/|$)` takes no `/wsx`.
const ENDS_OF_SEGMENT: usize = 8;

/// The prefixes that a regular expression stands for; `None` = it is more than prefixes. The paths under each prefix are the
/// ones that the expression takes, but for the rest of a segment: `^/ws(/|$)` becomes `/ws`.
pub(crate) fn prefixes(pattern: &str) -> Option<Vec<String>> {
    let rest = without_ends(pattern.strip_prefix('^')?);
    let (front, choices, back) = match rest.split_once('(') {
        None => (rest, vec![""], ""),
        Some((front, after)) => {
            let (inner, back) = after.split_once(')')?;
            let inner = inner.strip_prefix("?:").unwrap_or(inner);
            (front, inner.split('|').collect(), back)
        }
    };
    let mut found = Vec::new();
    for choice in choices {
        let prefix = format!("{}{}{}", literal(front)?, literal(choice)?, literal(back)?);
        if !prefix.starts_with('/') {
            return None;
        }
        found.push(prefix);
    }
    Some(found)
}

/// An expression without its ends: `^/ws(/|$)(.*)` has two of them.
fn without_ends(pattern: &str) -> &str {
    let mut rest = pattern;
    let ends = || OPEN_ENDS.into_iter().chain(["/?$", "/?", "$"]);
    while let Some(front) = ends().find_map(|end| rest.strip_suffix(end)).filter(|front| !front.ends_with('\\')) {
        rest = front;
    }
    rest
}

/// Whether an expression ends the path, so that it takes less than everything below its prefix.
pub(crate) fn is_whole(pattern: &str) -> bool {
    pattern.ends_with('$') && !OPEN_ENDS.iter().any(|end| pattern.ends_with(end))
}

/// Whether an expression takes no path in which the segment of its prefix goes on.
pub(crate) fn ends_segment(pattern: &str) -> bool {
    let bare = ["(.*)$", ".*$", "(.*)", ".*"].iter().find_map(|end| pattern.strip_suffix(end)).unwrap_or(pattern);
    let ends = OPEN_ENDS.get(..ENDS_OF_SEGMENT).unwrap_or_default();
    [pattern, bare].iter().any(|pattern| ends.iter().any(|end| pattern.ends_with(end)))
}

/// Whether an expression has a dot that fits any character, where a prefix has a dot alone.
pub(crate) fn has_loose_dot(pattern: &str) -> bool {
    let mut rest = without_ends(pattern).chars();
    while let Some(c) = rest.next() {
        match c {
            '\\' => drop(rest.next()),
            '.' => return true,
            _ => {}
        }
    }
    false
}

/// A piece of an expression that stands for itself.
fn literal(piece: &str) -> Option<String> {
    let mut text = String::new();
    let mut rest = piece.chars();
    while let Some(c) = rest.next() {
        match c {
            '\\' => text.push(rest.next().filter(|c| !c.is_ascii_alphanumeric())?),
            // A dot that was not escaped is meant as a dot, unless something counts it.
            '.' if !rest.as_str().starts_with(['*', '+', '?', '{']) => text.push('.'),
            '.' | '*' | '+' | '?' | '[' | ']' | '{' | '}' | '(' | ')' | '|' | '^' | '$' => return None,
            c => text.push(c),
        }
    }
    Some(text)
}

/// A text as a regular expression for itself.
pub(crate) fn escaped(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len());
    for c in text.chars() {
        if "\\.+*?()|[]{}^$#&-~".contains(c) && !"&-~#".contains(c) {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_in_disguise_is_found_and_nothing_else() {
        for (pattern, expected) in [
            ("^/ws/", Some(&["/ws/"][..])),
            ("^/ws", Some(&["/ws"])),
            ("^/socket\\.io/", Some(&["/socket.io/"])),
            ("^/(.*)$", Some(&["/"])),
            ("^/ws/.*$", Some(&["/ws/"])),
            ("^/api(/|$)", Some(&["/api"])),
            ("^/(ws|wss)/", Some(&["/ws/", "/wss/"])),
            ("^/api/(kernels|terminals)/.*", Some(&["/api/kernels/", "/api/terminals/"])),
            ("^/exact$", Some(&["/exact"])),
            ("^/chat(/|$)(.*)", Some(&["/chat"])),
            ("^/chat(?:/|$)(.*)$", Some(&["/chat"])),
            ("^/(?:build|lib)(?:$|/)", Some(&["/build", "/lib"])),
            ("^/chat/?(.*)$", Some(&["/chat"])),
            ("^/a\\.*", None),
            ("/ws", None),
            ("\\.php$", None),
            ("^/user/[^/]+/ws", None),
            ("^/v\\d/", None),
            ("^ws", None),
            ("^/(a|b)(c|d)/", None),
            ("^/socket.io/", Some(&["/socket.io/"])),
            ("^/a.+/", None),
            ("^/(a", None),
            ("^\\", None),
        ] {
            let found = prefixes(pattern);
            assert_eq!(
                found.as_deref().map(|all| all.iter().map(String::as_str).collect()),
                expected.map(<[_]>::to_vec),
                "{pattern}"
            );
        }
        assert!(
            ends_segment("^/a(/|$)")
                && ends_segment("^/a(/|$)(.*)")
                && !ends_segment("^/a/")
                && !ends_segment("^/a(.*)$")
        );
        assert!(has_loose_dot("^/socket.io/") && !has_loose_dot("^/socket\\.io/.*$"));
        assert!(is_whole("^/a$") && !is_whole("^/(.*)$") && !is_whole("^/a"));
    }
}
