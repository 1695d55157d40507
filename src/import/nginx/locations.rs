//! The `location` blocks of a server, in the order in which nginx prefers them.

use super::{blocks::Directive, patterns, scope::Scope, servers::VirtualServer};
use crate::import::origin::FileLine;

/// How a location takes paths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PathKind {
    /// `= /path`
    Exact,
    /// `/path`
    Prefix,
    /// `^~ /path`: no regular expression is asked.
    FinalPrefix,
    /// `~ pattern`
    Pattern,
    /// `~* pattern`
    LoosePattern,
    /// `@name`
    Named,
}

/// A location.
#[derive(Debug, Clone)]
pub(super) struct Spot<'a> {
    pub(super) at: FileLine,
    pub(super) kind: PathKind,
    pub(super) path: String,
    /// Whether it stands inside a `^~`: no expression outside of that one is asked.
    pub(super) is_within_final: bool,
    pub(super) scope: Scope<'a>,
}

/// A location whose path longwire can have.
#[derive(Debug, Clone)]
pub(super) struct PathSpot<'a> {
    pub(super) spot: Spot<'a>,
    /// The prefix of the route.
    pub(super) prefix: String,
}

/// All locations of a server, those inside others too.
pub(super) fn spots<'a>(server: &VirtualServer<'a>) -> Vec<Spot<'a>> {
    let mut found = Vec::new();
    collect(&server.scope, false, &mut found);
    found
}

fn collect<'a>(scope: &Scope<'a>, is_within_final: bool, found: &mut Vec<Spot<'a>>) {
    for location in scope.own().iter().filter(|directive| directive.name == "location") {
        let (kind, path) = kind_of(location);
        let inner = scope.within(location.inner());
        found.push(Spot { at: location.at.clone(), kind, path, is_within_final, scope: inner.clone() });
        collect(&inner, is_within_final || kind == PathKind::FinalPrefix, found);
    }
}

fn kind_of(location: &Directive) -> (PathKind, String) {
    let (first, second) = (location.arg(0), location.arg(1));
    let modifiers = [
        ("=", PathKind::Exact),
        ("^~", PathKind::FinalPrefix),
        ("~*", PathKind::LoosePattern),
        ("~", PathKind::Pattern),
    ];
    for (word, kind) in modifiers {
        if location.args.len() > 1 && first == word {
            return (kind, second.to_owned());
        }
        // nginx takes the two without a space between too.
        if let Some(path) = first.strip_prefix(word).filter(|path| location.args.len() == 1 && !path.is_empty()) {
            return (kind, path.to_owned());
        }
    }
    match first.starts_with('@') {
        true => (PathKind::Named, first.to_owned()),
        false => (PathKind::Prefix, first.to_owned()),
    }
}

/// The locations that become routes, and comments about the others.
pub(super) fn reachable<'a>(spots: &[Spot<'a>]) -> (Vec<PathSpot<'a>>, Vec<String>) {
    let (mut found, mut notes): (Vec<PathSpot<'a>>, Vec<String>) = Default::default();
    let mut asked_first: Vec<(String, FileLine)> = Vec::new();
    for spot in spots.iter().filter(|spot| matches!(spot.kind, PathKind::Pattern | PathKind::LoosePattern)) {
        let Some(prefixes) = patterns::prefixes(&spot.path).filter(|prefixes| !is_root(spot, prefixes)) else {
            let open = if refuses(spot) { ", and refuses nobody there" } else { "" };
            let note = format_args!(
                "location {}: longwire has no regular expressions for paths; a shorter route takes its paths{open}",
                shown(spot)
            );
            notes.push(spot.at.note(note));
            continue;
        };
        // One that takes less than all below its prefix leaves longer prefixes to their locations.
        let ends = patterns::is_whole(&spot.path) || spot.path.ends_with("/|$)");
        for prefix in prefixes {
            if let Some(first) = final_prefix(spots, &prefix) {
                notes.push(spot.at.note(format_args!("location {}: {} takes its paths", shown(spot), first.at)));
                continue;
            }
            if ends && spots.iter().any(|other| matches!(other.kind, PathKind::Prefix) && other.path == prefix) {
                notes.push(spot.at.note(format_args!("location {}: longwire has prefixes alone", shown(spot))));
                continue;
            }
            if let Some((_, first)) = asked_first.iter().find(|(first, _)| prefix.starts_with(first.as_str())) {
                notes.push(spot.at.note(format_args!("location {}: {first} takes its paths", shown(spot))));
                continue;
            }
            if !ends {
                asked_first.push((prefix.clone(), spot.at.clone()));
            }
            found.push(PathSpot { spot: spot.clone(), prefix });
        }
    }
    for spot in spots {
        let is_prefix = matches!(spot.kind, PathKind::Prefix) && !spot.is_within_final;
        let first = asked_first.iter().find(|(first, _)| is_prefix && spot.path.starts_with(first.as_str()));
        match spot.kind {
            PathKind::Pattern | PathKind::LoosePattern | PathKind::Named => {}
            _ if first.is_some() => {
                let first = first.map(|(_, at)| at.to_string()).unwrap_or_default();
                notes.push(spot.at.note(format_args!("location {}: {first} takes its paths", shown(spot))));
            }
            PathKind::Exact if spots.iter().any(|other| is_same_prefix(other, spot)) => {
                let note =
                    format_args!("location {}: longwire has prefixes alone, and {} has one", shown(spot), spot.path);
                notes.push(spot.at.note(note));
            }
            _ => found.push(PathSpot { spot: spot.clone(), prefix: encoded(&spot.path) }),
        }
    }
    (found, notes)
}

/// Whether a location lets nobody in.
pub(super) fn refuses(spot: &Spot<'_>) -> bool {
    let own = spot.scope.own();
    let has = |name: &str| own.iter().any(|directive| directive.name == name);
    has("internal")
        || has("deny") && !has("allow")
        || own.iter().any(|directive| directive.name == "return" && directive.arg(0).starts_with('4'))
}

/// Whether an expression fits the path `/` alone.
fn is_root(spot: &Spot<'_>, prefixes: &[String]) -> bool {
    patterns::is_whole(&spot.path) && prefixes.iter().any(|prefix| prefix == "/")
}

/// The location that keeps expressions from being asked for a path: the longest prefix of it, if that says so.
fn final_prefix<'s, 'a>(spots: &'s [Spot<'a>], path: &str) -> Option<&'s Spot<'a>> {
    let covering = spots
        .iter()
        .filter(|spot| matches!(spot.kind, PathKind::Prefix | PathKind::FinalPrefix) && path.starts_with(&spot.path));
    covering.max_by_key(|spot| spot.path.len()).filter(|spot| spot.kind == PathKind::FinalPrefix)
}

fn is_same_prefix(other: &Spot<'_>, exact: &Spot<'_>) -> bool {
    matches!(other.kind, PathKind::Prefix | PathKind::FinalPrefix) && other.path == exact.path
}

/// A path as it is on the wire: nginx compares paths that it has decoded.
fn encoded(path: &str) -> String {
    let mut raw = String::with_capacity(path.len());
    for byte in path.bytes() {
        match byte {
            b'?' | b'#' => raw.push_str(if byte == b'?' { "%3F" } else { "%23" }),
            byte if byte.is_ascii_graphic() => raw.push(char::from(byte)),
            byte => raw.push_str(&format!("%{byte:02X}")),
        }
    }
    raw
}

/// What longwire cannot say of the paths of a location.
pub(super) fn path_notes(spot: &Spot<'_>) -> Vec<String> {
    let is_pattern = matches!(spot.kind, PathKind::Pattern | PathKind::LoosePattern);
    let is_exact = spot.kind == PathKind::Exact || is_pattern && patterns::is_whole(&spot.path);
    let mut whys: Vec<&str> = Vec::new();
    if is_exact {
        whys.push("here it takes longer paths too, as a path is a prefix");
    } else if is_pattern && patterns::ends_segment(&spot.path) {
        whys.push("here it takes paths too in which the last segment goes on");
    }
    if is_pattern && patterns::has_loose_dot(&spot.path) {
        whys.push("here a dot is a dot, and no other character");
    }
    if spot.kind == PathKind::LoosePattern && !is_exact {
        whys.push("here the letter case of the path matters, and longer paths go before it");
    }
    whys.into_iter().map(|why| spot.at.note(format_args!("location {}: {why}", shown(spot)))).collect()
}

/// A location as it is written.
pub(super) fn shown(spot: &Spot<'_>) -> String {
    let modifier = match spot.kind {
        PathKind::Exact => "= ",
        PathKind::FinalPrefix => "^~ ",
        PathKind::Pattern => "~ ",
        PathKind::LoosePattern => "~* ",
        PathKind::Prefix | PathKind::Named => "",
    };
    format!("{modifier}{}", spot.path)
}
