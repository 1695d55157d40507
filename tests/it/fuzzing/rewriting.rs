//! The paths that rules make of other paths: they begin with a slash, keep their query, and lead above nothing.

use hyper::Uri;
use longwire::routing::{BadPath, PathRule, Replacement};

/// `bytes` are four lines: a prefix, a pattern, a new path, and a target.
pub fn check(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let mut lines = text.splitn(4, '\n');
    let mut line = || lines.next().unwrap_or_default();
    let (prefix, from, to, target) = (line(), line(), line(), line());
    // The framing of a request is checked before its path.
    let Some(target) = Some(target).filter(|target| target.is_ascii() && target.starts_with('/')) else { return };
    let Ok(target) = target.parse::<Uri>() else { return };
    if prefix.starts_with('/') && !prefix.ends_with('/') {
        let made = PathRule::Strip(prefix.to_owned()).apply(&target);
        let rest = target.path().strip_prefix(prefix).filter(|rest| rest.is_empty() || rest.starts_with('/'));
        match (rest, &made) {
            (None, made) => assert_eq!(*made, Ok(None)),
            (Some(rest), Err(bad)) => assert!(*bad == BadPath::Climbs && climbs(rest), "{rest} is refused"),
            (Some(rest), Ok(new)) => {
                let new = new.as_ref().expect("the prefix is taken off");
                assert_eq!(new.path(), if rest.is_empty() { "/" } else { rest });
                check_new(&target, new);
            }
        }
    }
    check_heads(&target);
    if let Ok(replacement) = Replacement::new(from, to)
        && let Ok(Some(new)) = PathRule::Replace(replacement).apply(&target)
    {
        check_new(&target, &new);
    }
}

/// Rules whose new path begins with `/k`: what the client writes never leads out of there.
fn check_heads(target: &Uri) {
    for (from, to) in [("^/(.*)$", "/k$1"), ("^.*$", "/k$0"), ("^/([^/]*)(.*)$", "/k/$1.$2"), ("^/(.*)$", "/k/.$1")] {
        let replacement = Replacement::new(from, to).expect("a rule");
        if let Ok(Some(new)) = PathRule::Replace(replacement).apply(target) {
            check_new(target, &new);
            let left = walked(new.path()).expect("a path within its start");
            assert!(left.first().is_some_and(|first| first.starts_with('k')), "{new} of {target}");
        }
    }
}

fn check_new(target: &Uri, new: &Uri) {
    assert!(new.path().starts_with('/') && new.authority().is_none() && new.scheme().is_none(), "{new}");
    assert_eq!(new.query(), target.query());
    assert!(!climbs(new.path()), "{new} of {target}");
}

/// Whether a path leads above its start.
fn climbs(path: &str) -> bool {
    walked(path).is_none()
}

/// The segments that are left of a path, for a reader that decodes once, then takes segment by segment without what follows
/// a `;`. `None` = the path leads above its start.
fn walked(path: &str) -> Option<Vec<String>> {
    let mut decoded = path.to_ascii_lowercase();
    for (code, mark) in [("%2f", "/"), ("%5c", "/"), ("\\", "/"), ("%2e", ".")] {
        decoded = decoded.replace(code, mark);
    }
    let mut left = Vec::new();
    for segment in decoded.split('/') {
        match segment.split(';').next().unwrap_or_default() {
            "" | "." => {}
            ".." => drop(left.pop()?),
            named => left.push(named.to_owned()),
        }
    }
    Some(left)
}
