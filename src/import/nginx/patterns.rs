//! Regular expressions of nginx and HAProxy that are no more than prefixes.

/// The prefixes that a regular expression stands for; `None` = it is more than prefixes. The paths under each prefix are the
/// ones that the expression takes, but for the rest of a segment: `^/ws(/|$)` becomes `/ws`.
pub(crate) fn prefixes(pattern: &str) -> Option<Vec<String>> {
    let mut rest = pattern.strip_prefix('^')?;
    for end in ["(/|$)", "(/.*)?$", "(?:/|$)", "(.*)$", ".*$", "(.*)", ".*", "(.+)$", "/?$", "(/.*)$", "$"] {
        if let Some(front) = rest.strip_suffix(end).filter(|front| !front.ends_with('\\')) {
            rest = front;
            break;
        }
    }
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

/// Whether an expression ends the path, so that it takes less than everything below its prefix.
pub(crate) fn is_whole(pattern: &str) -> bool {
    pattern.ends_with('$')
        && !["(.*)$", ".*$", "(/|$)", "(/.*)?$", "(.+)$", "(/.*)$"].iter().any(|end| pattern.ends_with(end))
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
        assert!(is_whole("^/a$") && !is_whole("^/(.*)$") && !is_whole("^/a"));
    }
}
