//! Conditions: what an `acl` tests, and what `if` and `unless` make of it.

use super::lines::{HaLine, HaSection};
use crate::{
    import::{nginx::patterns, origin::is_route_host},
    sender::Network,
};

/// The most alternatives that a condition may become.
const MOST_CASES: usize = 64;

/// What one test asks of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ask {
    /// One of these hosts, as routes write them.
    Hosts(Vec<String>),
    /// A path that begins with one of these.
    Paths(Vec<String>),
    /// One of these paths and no other.
    WholePaths(Vec<String>),
    /// A WebSocket handshake.
    Upgrade,
    /// TLS.
    Secure,
    /// A client of one of these networks.
    Sources(Vec<String>),
    /// What longwire cannot ask.
    Foreign(String),
}

/// A test, or its opposite.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Term {
    pub(super) is_opposite: bool,
    pub(super) ask: Ask,
}

/// Tests that must all hold.
pub(super) type Case = Vec<Term>;

/// The named tests of a section.
#[derive(Debug, Default)]
pub(super) struct Acls {
    named: Vec<(String, Ask)>,
}

impl Acls {
    pub(super) fn of(section: &HaSection) -> Self {
        let lines = section.defaults.iter().chain(&section.lines).filter(|line| line.word(0) == "acl");
        Self { named: lines.map(|line| (line.word(1).to_owned(), ask(line.rest(2)))).collect() }
    }

    /// The cases in which a rule counts: those of its `if` or `unless`, from `place` on. One case without terms is always.
    pub(super) fn cases(&self, line: &HaLine, place: usize) -> Vec<Case> {
        let words = line.rest(place);
        let Some(begin) = words.iter().position(|word| word == "if" || word == "unless") else {
            return vec![Case::new()];
        };
        let is_unless = words.get(begin).is_some_and(|word| word == "unless");
        let cases = self.read(words.get(begin + 1..).unwrap_or_default());
        if !is_unless {
            return cases;
        }
        // Neither of several cases: the opposite of each, if each is one test.
        let mut opposite = Case::new();
        for case in &cases {
            match case.as_slice() {
                [term] => opposite.push(Term { is_opposite: !term.is_opposite, ask: term.ask.clone() }),
                _ => return vec![vec![Term { is_opposite: false, ask: Ask::Foreign(words.join(" ")) }]],
            }
        }
        vec![opposite]
    }

    fn read(&self, words: &[String]) -> Vec<Case> {
        let foreign = || vec![vec![Term { is_opposite: false, ask: Ask::Foreign(words.join(" ")) }]];
        let (mut done, mut cases): (Vec<Case>, Vec<Case>) = (Vec::new(), vec![Case::new()]);
        let mut place = 0;
        while let Some(word) = words.get(place) {
            place += 1;
            if matches!(word.as_str(), "or" | "||") {
                done.append(&mut cases);
                cases = vec![Case::new()];
                continue;
            }
            let (is_opposite, bare) = word.strip_prefix('!').map_or((false, word.as_str()), |bare| (true, bare));
            let (is_opposite, bare) = match (bare, words.get(place)) {
                // The mark may stand alone before a brace or a name.
                ("", Some(next)) => {
                    place += 1;
                    (!matches!(next.as_str(), "!"), next.as_str())
                }
                _ => (is_opposite, bare),
            };
            let asks: Vec<Ask> = if bare == "{" {
                let Some(length) = words.get(place..).and_then(|rest| rest.iter().position(|word| word == "}")) else {
                    return foreign();
                };
                let inner = words.get(place..place + length).unwrap_or_default();
                place += length + 1;
                vec![ask(inner)]
            } else {
                match bare {
                    "TRUE" | "HTTP" => continue,
                    _ => self.named.iter().filter(|(name, _)| name == bare).map(|(_, ask)| ask.clone()).collect(),
                }
            };
            if asks.is_empty() {
                return foreign();
            }
            cases = multiplied(&cases, &asks, is_opposite);
            if cases.len() > MOST_CASES {
                return foreign();
            }
        }
        done.append(&mut cases);
        done
    }
}

/// Every case with one more test: one of several, or none of them.
fn multiplied(cases: &[Case], asks: &[Ask], is_opposite: bool) -> Vec<Case> {
    let term = |ask: &Ask| Term { is_opposite, ask: ask.clone() };
    if is_opposite {
        return cases.iter().map(|case| case.iter().cloned().chain(asks.iter().map(term)).collect()).collect();
    }
    cases
        .iter()
        .flat_map(|case| asks.iter().map(move |ask| case.iter().cloned().chain([term(ask)]).collect()))
        .collect()
}

/// What a test asks. `words`: its criterion, flags and values.
fn ask(words: &[String]) -> Ask {
    let foreign = || Ask::Foreign(words.join(" "));
    let Some(criterion) = words.first() else { return foreign() };
    let mut method = "";
    let mut values: Vec<&str> = Vec::new();
    let mut rest = words.iter().skip(1);
    while let Some(word) = rest.next() {
        match word.as_str() {
            "-m" => method = rest.next().map_or("", String::as_str),
            "-f" | "-M" => return foreign(),
            "-i" | "-n" | "-u" | "--" => {}
            value => values.push(value),
        }
    }
    let lower = criterion.to_ascii_lowercase();
    let (base, argument) = lower
        .split_once('(')
        .map_or((lower.as_str(), ""), |(base, rest)| (base, rest.split([')', ',']).next().unwrap_or_default()));
    let base = base.split(',').next().unwrap_or_default();
    let suffixes = [
        ("_beg", "beg"),
        ("_end", "end"),
        ("_dom", "dom"),
        ("_reg", "reg"),
        ("_sub", "sub"),
        ("_dir", "dir"),
        ("_cnt", "cnt"),
        ("_len", "len"),
    ];
    let suffix = suffixes.iter().find(|(suffix, _)| base.ends_with(suffix));
    let (base, own) = suffix.map_or((base, ""), |(suffix, own)| (base.strip_suffix(suffix).unwrap_or(base), *own));
    let method = match (method, own) {
        ("", "") => "str",
        ("", own) => own,
        (method, _) => method,
    };
    match base {
        "hdr" | "req.hdr" | "req.fhdr" | "fhdr" if argument == "host" => {
            hosts(method, &values).map_or_else(foreign, Ask::Hosts)
        }
        "ssl_fc_sni" | "req.ssl_sni" | "req_ssl_sni" => hosts(method, &values).map_or_else(foreign, Ask::Hosts),
        "hdr" | "req.hdr" | "req.fhdr" | "fhdr" if is_of_handshake(argument) => Ask::Upgrade,
        "path" | "url" | "capture.req.uri" | "pathq" => paths(method, &values).unwrap_or_else(foreign),
        "ssl_fc" => Ask::Secure,
        "dst_port" | "fc_dst_port" if values == ["443"] => Ask::Secure,
        "src" if values.iter().all(|value| value.parse::<Network>().is_ok()) && !values.is_empty() => {
            Ask::Sources(values.iter().map(|value| (*value).to_owned()).collect())
        }
        _ => foreign(),
    }
}

fn is_of_handshake(field: &str) -> bool {
    matches!(field, "upgrade" | "connection") || field.starts_with("sec-websocket")
}

/// Hosts as routes write them; `None` = longwire has no such test.
fn hosts(method: &str, values: &[&str]) -> Option<Vec<String>> {
    let mut found = Vec::new();
    for value in values {
        let name =
            value.rsplit_once(':').filter(|(_, port)| port.parse::<u16>().is_ok()).map_or(*value, |(name, _)| name);
        let bare = name.trim_start_matches('.');
        match method {
            "str" => found.push(name.to_owned()),
            "end" if name.starts_with('.') => found.push(format!("*.{bare}")),
            "end" | "dom" => found.extend([bare.to_owned(), format!("*.{bare}")]),
            _ => return None,
        }
    }
    let is_right = !found.is_empty() && found.iter().all(|host| is_route_host(host));
    is_right.then(|| found.into_iter().map(|host| host.to_ascii_lowercase()).collect())
}

fn paths(method: &str, values: &[&str]) -> Option<Ask> {
    let all = || values.iter().map(|value| (*value).to_owned()).collect::<Vec<_>>();
    let is_path =
        !values.is_empty() && values.iter().all(|value| value.starts_with('/') && !value.contains(['?', ' ']));
    match method {
        "beg" if is_path => Some(Ask::Paths(all())),
        "str" if is_path => Some(Ask::WholePaths(all())),
        "reg" => {
            let found: Option<Vec<Vec<String>>> = values.iter().map(|value| patterns::prefixes(value)).collect();
            let is_whole = values.iter().all(|value| patterns::is_whole(value));
            let found = found.filter(|_| !values.is_empty())?.concat();
            Some(if is_whole { Ask::WholePaths(found) } else { Ask::Paths(found) })
        }
        _ => None,
    }
}
