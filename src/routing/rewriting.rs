//! What a route makes of the path of a request, before a backend gets it. PURE.
//!
//! Paths stay raw: nothing is decoded, and the query is kept. The danger is a path that climbs: a backend below
//! `/private/` that is only to be reached under `/public/`, and a client that asks for `/public/../private/`. So whatever
//! a rule takes from the client is judged before it goes anywhere.

use std::{borrow::Cow, fmt};

use hyper::Uri;
use regex::bytes::{Regex, RegexBuilder};

/// The most memory that the states of a compiled pattern may take, in bytes. A match takes steps in proportion to the
/// states and to the length of the path, so this bounds its time too.
const MOST_PATTERN: usize = 16 * 1024;

/// The longest path that a rule may make, in bytes. hyper takes no longer target.
const LONGEST_PATH: usize = 65_534;

/// How a route changes the path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum PathRule {
    /// Not at all.
    #[default]
    Keep,
    /// This prefix is taken off, where a segment ends with it. It begins with `/` and does not end with one.
    Strip(String),
    /// A path that matches a pattern is replaced.
    Replace(Replacement),
}

/// A pattern, and the path that takes the place of a path that matches.
#[derive(Debug, Clone)]
pub struct Replacement {
    from: Regex,
    to: Vec<PathPiece>,
}

/// A part of the new path.
#[derive(Debug, Clone, PartialEq, Eq)]
enum PathPiece {
    Text(String),
    /// What the group of this number captured.
    Group(usize),
}

/// Why a path cannot be rewritten. The answer is 400.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadPath {
    /// It would lead above the place to which the rule leads.
    Climbs,
    /// The new path does not begin with `/`.
    NoSlash,
    /// The new path is too long, or has a character that a target cannot have.
    NoTarget,
}

/// Why a pattern and its replacement make no rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BadReplacement {
    /// The pattern cannot be read, for this reason.
    Pattern(String),
    /// The states of the pattern take more than 16 KiB of memory.
    LargePattern,
    /// The new path begins with neither `/` nor a group.
    NoSlash,
    /// The new path has this character, which no path has.
    Character(char),
    /// A `$` without a number behind it.
    Dollar,
    /// The new path names a group that the pattern does not have.
    Group {
        /// The number behind the `$`.
        named: usize,
        /// How many groups the pattern has.
        groups: usize,
    },
}

impl PathRule {
    /// The target that the backend gets in the place of this one; `None` = it stays.
    ///
    /// # Errors
    /// The request cannot be served.
    pub fn apply(&self, target: &Uri) -> Result<Option<Uri>, BadPath> {
        // OPTIONS may ask for the whole server, which is no path (RFC 9110 §9.3.7).
        if *self == Self::Keep || target.path() == "*" {
            return Ok(None);
        }
        let Some(path) = self.path(target.path())? else { return Ok(None) };
        let text = match target.query() {
            Some(query) => format!("{path}?{query}"),
            None => path.into_owned(),
        };
        Uri::try_from(text).map(Some).map_err(|_| BadPath::NoTarget)
    }

    /// The path in the place of a raw path without its query; `None` = it stays.
    ///
    /// # Errors
    /// The request cannot be served.
    pub fn path<'a>(&self, path: &'a str) -> Result<Option<Cow<'a, str>>, BadPath> {
        match self {
            Self::Keep => Ok(None),
            Self::Strip(prefix) => {
                let rest = path.strip_prefix(&**prefix).filter(|rest| rest.is_empty() || rest.starts_with('/'));
                match rest {
                    Some(rest) if climbs(rest) => Err(BadPath::Climbs),
                    Some("") => Ok(Some("/".into())),
                    rest => Ok(rest.map(Into::into)),
                }
            }
            Self::Replace(replacement) => Ok(replacement.path(path)?.map(Into::into)),
        }
    }
}

impl Replacement {
    /// Reads a pattern, and a path in which `$1` stands for what the first group captured and `$0` for the whole match.
    ///
    /// # Errors
    /// What is wrong with one of the two.
    pub fn new(from: &str, to: &str) -> Result<Self, BadReplacement> {
        // A path is ASCII, so classes such as `\w` need no table of all letters.
        let built = RegexBuilder::new(from).unicode(false).size_limit(MOST_PATTERN).build();
        let from = built.map_err(|error| match error {
            regex::Error::CompiledTooBig(_) => BadReplacement::LargePattern,
            // The lines before the last one repeat the pattern.
            error => {
                let text = error.to_string();
                let reason = text.lines().next_back().unwrap_or_default();
                BadReplacement::Pattern(reason.trim_start_matches("error: ").to_owned())
            }
        })?;
        let to = pieces(to)?;
        let groups = from.captures_len() - 1;
        for piece in &to {
            if let PathPiece::Group(number) = piece
                && *number > groups
            {
                return Err(BadReplacement::Group { named: *number, groups });
            }
        }
        Ok(Self { from, to })
    }

    /// The path in the place of one that matches; `None` = it does not match.
    fn path(&self, path: &str) -> Result<Option<String>, BadPath> {
        let Some(captures) = self.from.captures(path.as_bytes()) else { return Ok(None) };
        let captured = |number| captures.get(number).and_then(|group| path.get(group.range())).unwrap_or_default();
        // The whole match is no group of the pattern, and counts only where it is used.
        let is_used = |number: &usize| *number > 0 || self.to.contains(&PathPiece::Group(0));
        if (0..captures.len()).filter(is_used).any(|number| climbs(captured(number))) {
            return Err(BadPath::Climbs);
        }
        let mut made = String::with_capacity(path.len());
        let mut parts = Vec::with_capacity(self.to.len());
        for piece in &self.to {
            let (text, is_captured) = match piece {
                PathPiece::Text(text) => (text.as_str(), false),
                PathPiece::Group(number) => (captured(*number), true),
            };
            if made.len() + text.len() > LONGEST_PATH {
                return Err(BadPath::NoTarget);
            }
            made.push_str(text);
            parts.push(PathPart { end: made.len(), is_captured });
        }
        match made.starts_with('/') {
            true if leads_out(&made, &parts) => Err(BadPath::Climbs),
            true => Ok(Some(made)),
            false => Err(BadPath::NoSlash),
        }
    }
}

/// Two patterns with the same text are the same pattern.
impl PartialEq for Replacement {
    fn eq(&self, other: &Self) -> bool {
        self.from.as_str() == other.from.as_str() && self.to == other.to
    }
}

impl Eq for Replacement {}

/// The rule as the file has it: pattern and new path.
impl fmt::Display for Replacement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to ", self.from)?;
        self.to.iter().try_for_each(|piece| match piece {
            PathPiece::Text(text) => f.write_str(text),
            PathPiece::Group(number) => write!(f, "${number}"),
        })
    }
}

impl fmt::Display for BadPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Climbs => "the path leads above its own start",
            Self::NoSlash => "the rewritten path does not begin with a slash",
            Self::NoTarget => "the rewritten path is no path",
        })
    }
}

impl std::error::Error for BadPath {}

/// The parts of the new path.
fn pieces(to: &str) -> Result<Vec<PathPiece>, BadReplacement> {
    if !to.starts_with(['/', '$']) {
        return Err(BadReplacement::NoSlash);
    }
    let is_of_a_path = |c: &char| c.is_ascii_graphic() && !"?#<>`\"".contains(*c);
    if let Some(character) = to.chars().find(|c| !is_of_a_path(c)) {
        return Err(BadReplacement::Character(character));
    }
    let mut pieces = Vec::new();
    for (index, part) in to.split('$').enumerate() {
        let digits = part.len() - part.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, text) = if index == 0 { ("", part) } else { part.split_at(digits) };
        if index > 0 {
            if number.is_empty() {
                return Err(BadReplacement::Dollar);
            }
            // No pattern has so many groups that their number is too long for this.
            pieces.push(PathPiece::Group(number.parse().unwrap_or(usize::MAX)));
        }
        if !text.is_empty() {
            pieces.push(PathPiece::Text(text.to_owned()));
        }
    }
    Ok(pieces)
}

/// What one byte of a path, or one percent-encoded byte, is to a reader that decodes once.
#[derive(Clone, Copy, PartialEq, Eq)]
enum PathMark {
    Separator,
    Dot,
    Semicolon,
    Other,
}

/// What a segment is, as far as it has been read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum SegmentSoFar {
    Empty,
    OneDot,
    TwoDots,
    Named,
}

/// The part of a path that comes from one piece of a rule.
struct PathPart {
    /// Where the part ends, in bytes of the path.
    end: usize,
    /// Whether the client wrote the part.
    is_captured: bool,
}

/// Whether a text leads above the place where it begins ([`leads_out`]).
fn climbs(text: &str) -> bool {
    leads_out(text, &[PathPart { end: text.len(), is_captured: false }])
}

/// Whether a path leads above its start, or a captured part of it leads above the place where this part begins. The
/// segment in which the part begins belongs to the text before.
///
/// The reader decodes `%2e`, `%2f` and `%5c` once and takes `\` for `/`.
///
/// - An empty segment leads nowhere, because some servers join slashes: so `//..` climbs.
/// - A `;` and what follows it in a segment are left out, as servlet containers do: so `..;x` climbs.
/// - Two dots of different parts climb, and so does a percent-encoded separator or dot.
fn leads_out(path: &str, parts: &[PathPart]) -> bool {
    let bytes = path.as_bytes();
    let (mut at, mut depth, mut segment) = (0, 0_usize, SegmentSoFar::Empty);
    // The part that is read, and how far down it may lead.
    let (mut part, mut floor) = (0, 0);
    // Of the segment: the part in which it begins, how far down it may lead, whether its dots are of several parts, and
    // whether a `;` has come.
    let (mut begun_in, mut bound, mut is_glued, mut is_over) = (0, 0, false, false);
    loop {
        while parts.get(part).is_some_and(|here| here.end <= at) {
            part += 1;
            floor = depth + usize::from(segment != SegmentSoFar::Empty);
        }
        let mark = mark_at(&bytes[at..]);
        if let None | Some((PathMark::Separator, _)) = mark {
            match segment {
                SegmentSoFar::TwoDots if is_glued || depth <= bound => return true,
                SegmentSoFar::TwoDots => depth -= 1,
                SegmentSoFar::Named => depth += 1,
                SegmentSoFar::Empty | SegmentSoFar::OneDot => {}
            }
            (segment, is_glued, is_over) = (SegmentSoFar::Empty, false, false);
        }
        let Some((mark, length)) = mark else { return false };
        let is_split = parts.get(part).is_some_and(|here| here.end < at + length);
        if is_split && mark != PathMark::Other {
            return true;
        }
        at += length;
        if mark == PathMark::Separator || is_over {
            continue;
        }
        if segment == SegmentSoFar::Empty {
            let is_captured = parts.get(part).is_some_and(|here| here.is_captured);
            (begun_in, bound) = (part, if is_captured { floor } else { 0 });
        }
        is_glued |= part != begun_in;
        is_over = mark == PathMark::Semicolon;
        segment = match (mark, segment) {
            (PathMark::Semicolon | PathMark::Separator, segment) => segment,
            (PathMark::Dot, SegmentSoFar::Empty) => SegmentSoFar::OneDot,
            (PathMark::Dot, SegmentSoFar::OneDot) => SegmentSoFar::TwoDots,
            (PathMark::Dot | PathMark::Other, _) => SegmentSoFar::Named,
        };
    }
}

/// The first mark, and its length in bytes; `None` at the end.
fn mark_at(bytes: &[u8]) -> Option<(PathMark, usize)> {
    Some(match bytes {
        [] => return None,
        [b'%', b'2', b'f' | b'F', ..] | [b'%', b'5', b'c' | b'C', ..] => (PathMark::Separator, 3),
        [b'%', b'2', b'e' | b'E', ..] => (PathMark::Dot, 3),
        [b'/' | b'\\', ..] => (PathMark::Separator, 1),
        [b'.', ..] => (PathMark::Dot, 1),
        [b';', ..] => (PathMark::Semicolon, 1),
        [_, ..] => (PathMark::Other, 1),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn strip(prefix: &str) -> PathRule {
        PathRule::Strip(prefix.to_owned())
    }

    fn replace(from: &str, to: &str) -> PathRule {
        PathRule::Replace(Replacement::new(from, to).unwrap())
    }

    /// The new target as text; the old one if it stays.
    fn applied(rule: &PathRule, target: &str) -> Result<String, BadPath> {
        let uri: Uri = target.parse().unwrap();
        Ok(rule.apply(&uri)?.map_or_else(|| target.to_owned(), |uri| uri.to_string()))
    }

    #[test]
    fn prefix_is_taken_off_at_the_end_of_a_segment_only() {
        for (target, expected) in [
            ("/ws", "/"),
            ("/ws?a=1", "/?a=1"),
            ("/ws/", "/"),
            ("/ws/a/b?x=/ws/%41&y=..", "/a/b?x=/ws/%41&y=.."),
            ("/ws/ws/a", "/ws/a"),
            ("/ws//a", "//a"),
            ("/ws/%2E%41%2fb", "/%2E%41%2fb"),
            ("/ws/a/../b", "/a/../b"),
            ("/ws/?", "/?"),
            ("/wsx", "/wsx"),
            ("/wsx/../ws", "/wsx/../ws"),
            ("/WS/a", "/WS/a"),
            ("/%77s/a", "/%77s/a"),
            ("/ws%2fa", "/ws%2fa"),
            ("/a/ws/b", "/a/ws/b"),
            ("/../x", "/../x"),
            ("*", "*"),
            ("http://a.example/ws/b?c", "/b?c"),
        ] {
            assert_eq!(applied(&strip("/ws"), target).as_deref(), Ok(expected), "{target}");
        }
    }

    #[test]
    fn what_is_left_may_not_climb_above_its_start_however_it_is_spelt() {
        for rest in [
            "/..",
            "/../",
            "/../x",
            "//..",
            "/./..",
            "/a/../..",
            "/a/../../b",
            "/%2e%2e",
            "/.%2E/x",
            "/%2e./x",
            "/..%2fx",
            "/..%2Fx",
            "/..\\x",
            "/..%5cx",
            "/a%2f..%2f..%2fx",
            "/a%5C..%5C../x",
            "/%2f..",
            "/a/b/../../../c",
            "/..;x",
            "/..;/x",
            "/a;x/..;y/%2e.;z/b",
            "/;x/..",
        ] {
            assert_eq!(applied(&strip("/ws"), &format!("/ws{rest}")), Err(BadPath::Climbs), "{rest}");
        }
        for rest in [
            "/a/..",
            "/a/b/../../c",
            "/...",
            "/..a",
            "/a..",
            "/a;/..;x",
            "/...;x",
            "/..%3bx",
            "/%252e%252e/x",
            "/%2e%2e%2e",
            "/a/%2e%2e/b",
            "/a%2f..",
            "/.",
            "/%2e",
            "/%2",
            "/%",
            "/..%",
            "/..%2",
            "/..%2g",
        ] {
            assert_eq!(applied(&strip("/ws"), &format!("/ws{rest}")).as_deref(), Ok(rest));
        }
    }

    #[test]
    fn path_that_matches_is_replaced_whole_and_keeps_its_query_and_its_encoding() {
        for (from, to, target, expected) in [
            ("^/ws/(.*)$", "/$1", "/ws/a%2Fb?c=%41&d=$1", "/a%2Fb?c=%41&d=$1"),
            ("^/ws/(.*)$", "/$1", "/ws/", "/"),
            ("^/ws/(.*)$", "/$1", "/wsx", "/wsx"),
            ("^/(a|b)/(.*)$", "/$2/$1", "/b/x/y", "/x/y/b"),
            ("^/(a)(b)?(.*)$", "/$1-$2-$3", "/acd", "/a--cd"),
            ("old", "/new", "/very/old/path?q", "/new?q"),
            ("^/x$", "/y$0", "/x", "/y/x"),
            ("(?i)^/WS$", "/a", "/ws", "/a"),
            ("^(.*)$", "$1", "/a//b", "/a//b"),
            ("^/a$", "/b.c/~d%20e:@!&'()*+,;=", "/a", "/b.c/~d%20e:@!&'()*+,;="),
            ("^(.*)$", "/x$1", "*", "*"),
        ] {
            assert_eq!(applied(&replace(from, to), target).as_deref(), Ok(expected), "{from} {to} {target}");
        }
    }

    #[test]
    fn each_captured_text_and_the_result_are_judged() {
        for (from, to, target, expected) in [
            ("^/ws/(.*)$", "/$1", "/ws/../a", BadPath::Climbs),
            ("^/ws/(.*)$", "/inner/$1", "/ws/a/%2e%2e%2f..", BadPath::Climbs),
            ("^/ws/(.*)/(.*)$", "/inner/$2", "/ws/../a", BadPath::Climbs),
            ("^/ws/(.*)$", "/.$1", "/ws/./a", BadPath::Climbs),
            ("^/(.)(.)$", "/$1$2", "/..", BadPath::Climbs),
            // The whole match, where it is used.
            ("^/.*$", "/inner$0", "/../admin", BadPath::Climbs),
            // A text that begins within a segment cannot take that segment back.
            ("^/ws(.*)$", "/inner$1", "/wsa/../admin", BadPath::Climbs),
            ("^/ws(.*)$", "/inner$1", "/ws./../admin", BadPath::Climbs),
            ("^/ws(.*)$", "/inner/a$1", "/wsb/../../admin", BadPath::Climbs),
            // Dots that come together only in the new path.
            ("^/f/([^/]*)/([^/]*)$", "/files/$1.$2", "/f//.", BadPath::Climbs),
            ("^/f/([^/]*)/(.*)$", "/a/$1$2", "/f/././x", BadPath::Climbs),
            ("^/f/(.*)$", "/inner/.$1", "/f/./a", BadPath::Climbs),
            ("^/f/(.*)$", "/inner/%2$1", "/f/e./a", BadPath::Climbs),
            ("^/f/(.*)$", "/inner/$1./a", "/f/%2e", BadPath::Climbs),
            ("^/ws(.*)$", "$1", "/wsa", BadPath::NoSlash),
            ("^/ws(.*)$", "$1", "/ws", BadPath::NoSlash),
        ] {
            assert_eq!(applied(&replace(from, to), target), Err(expected), "{from} {to} {target}");
        }
        for (from, to, target, expected) in [
            ("^/ws(/.*)?$", "/inner$1", "/ws/a/../b", "/inner/a/../b"),
            ("^/ws(.*)$", "/inner$1", "/wsa/b/../c", "/innera/b/../c"),
            ("^/ws/(.*)$", "/a/../b/$1", "/ws/c/..", "/a/../b/c/.."),
            ("^/(.*)/(.*)$", "/$1.$2", "/a/b", "/a.b"),
            ("^/(.*)$", "/v1.$1", "/5/x", "/v1.5/x"),
        ] {
            assert_eq!(applied(&replace(from, to), target).as_deref(), Ok(expected), "{from} {to} {target}");
        }
        // A path that climbs by itself, and that the rule leaves alone, is the business of the backend.
        assert_eq!(applied(&replace("^/ws/(.*)$", "/$1"), "/../ws/a").as_deref(), Ok("/../ws/a"));
    }

    #[test]
    fn path_that_grows_beyond_every_target_is_refused() {
        let twice = replace("^/(.*)$", "/$1$1");
        let long = format!("/{}", "a".repeat(40_000));
        assert_eq!(applied(&twice, &long), Err(BadPath::NoTarget));
        assert_eq!(applied(&twice, &format!("{}?{}", &long[..20_000], "q".repeat(30_000))), Err(BadPath::NoTarget));
    }

    #[test]
    fn pattern_or_path_that_cannot_be_is_refused() {
        use BadReplacement as Bad;
        for (from, to, expected) in [
            ("^/ws/(.*$", "/$1", Bad::Pattern("unclosed group".into())),
            (
                "^/(?=a)",
                "/",
                Bad::Pattern("look-around, including look-ahead and look-behind, is not supported".into()),
            ),
            ("[a-z]{1000}{100}", "/", Bad::LargePattern),
            ("^/ws", "ws", Bad::NoSlash),
            ("^/ws", "", Bad::NoSlash),
            ("^/ws", "/a?b=1", Bad::Character('?')),
            ("^/ws", "/a b", Bad::Character(' ')),
            ("^/ws", "/é", Bad::Character('é')),
            ("^/(?<a>.)", "/$a", Bad::Dollar),
            ("^/(.)", "/$", Bad::Dollar),
            ("^/v(\\d)", "/api$10", Bad::Group { named: 10, groups: 1 }),
            ("^/(.)", "/$2", Bad::Group { named: 2, groups: 1 }),
            ("^/(.)", "/$99999999999999999999", Bad::Group { named: usize::MAX, groups: 1 }),
        ] {
            assert_eq!(Replacement::new(from, to), Err(expected), "{from} {to}");
        }
    }

    /// What [`climbs`] says, by another way: decode once, then walk.
    fn climbs_by_decoding(text: &str) -> bool {
        walked(text).is_none()
    }

    /// The segments that are left after the walk; `None` = it leads above the start.
    fn walked(text: &str) -> Option<Vec<String>> {
        let mut decoded = text.to_owned();
        for (code, mark) in
            [("%2f", "/"), ("%2F", "/"), ("%5c", "/"), ("%5C", "/"), ("\\", "/"), ("%2e", "."), ("%2E", ".")]
        {
            decoded = decoded.replace(code, mark);
        }
        let mut left = Vec::new();
        for segment in decoded.split('/') {
            match segment.split(';').next().unwrap() {
                "" | "." => {}
                ".." => drop(left.pop()?),
                named => left.push(named.to_owned()),
            }
        }
        Some(left)
    }

    fn scraps() -> impl Strategy<Value = String> {
        let scrap = prop::sample::select(&[
            "/", "..", ".", "%2e", "%2E", "%2f", "%5C", "\\", "a", "%", "2", "ws", "%25", "e", ";",
        ]);
        prop::collection::vec(scrap, 0..12).prop_map(|scraps| scraps.concat())
    }

    proptest! {
        #[test]
        fn a_text_climbs_as_one_that_decodes_and_walks_finds(text in scraps()) {
            prop_assert_eq!(climbs(&text), climbs_by_decoding(&text), "{}", text);
        }

        #[test]
        fn what_is_left_of_a_path_is_its_end_and_never_climbs(rest in scraps(), query in "[a-z=&%./]{0,8}") {
            let target = format!("/ws{rest}?{query}");
            match applied(&strip("/ws"), &target) {
                Ok(new) if new != target => {
                    let (path, kept) = new.split_once('?').unwrap();
                    prop_assert_eq!(kept, query);
                    prop_assert!(rest.ends_with(path) || (rest.is_empty() && path == "/"), "{} of {}", path, rest);
                    prop_assert!(path.starts_with('/') && !climbs_by_decoding(path));
                }
                Ok(_) => prop_assert!(!rest.is_empty() && !rest.starts_with('/')),
                Err(bad) => prop_assert!(bad == BadPath::Climbs && climbs_by_decoding(&rest)),
            }
        }

        #[test]
        fn new_path_never_leaves_the_place_that_the_rule_gives_it(rest in scraps()) {
            for (from, to) in [
                ("^/(.*)$", "/k$1"),
                ("^.*$", "/k$0"),
                ("^/([^/]*)(.*)$", "/k/$1.$2"),
                ("^/(.?)(.*)$", "/k/$1$2"),
                ("^/(.*)$", "/k/.$1"),
                ("^/(.*)$", "/k/%$1"),
            ] {
                if let Ok(Some(new)) = replace(from, to).path(&format!("/{rest}")) {
                    let left = walked(&new).unwrap();
                    prop_assert!(left.first().is_some_and(|first| first.starts_with('k')), "{} of {} {}", new, to, rest);
                }
            }
        }

        #[test]
        fn both_ways_to_take_a_prefix_off_agree(rest in scraps()) {
            let target = format!("/ws/{rest}");
            let by_pattern = applied(&replace("^/ws/(.*)$", "/$1"), &target);
            prop_assert_eq!(by_pattern, applied(&strip("/ws"), &target));
        }
    }
}
