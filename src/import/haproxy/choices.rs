//! Which backend gets which request: `use_backend`, `default_backend`, and redirects.

use super::{
    backends,
    conditions::{Acls, Ask, Case},
    lines::HaSection,
    rules::SectionRules,
};
use crate::import::{
    blueprint::Blueprint,
    origin::FileLine,
    routes::{Goal, PlannedRoute, beside_longer_paths},
    tree::Twig,
};

/// A section that serves clients.
#[derive(Debug)]
pub(super) struct FrontSection<'a> {
    pub(super) section: &'a HaSection,
    pub(super) rules: SectionRules,
    acls: Acls,
}

/// A host and a path, and the backend that gets them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Choice {
    pub(super) at: FileLine,
    /// `None` = any host.
    pub(super) host: Option<String>,
    pub(super) path: String,
    pub(super) backend: String,
    /// Whether the rule is for the path alone, and not for those below it.
    is_whole: bool,
    pub(super) notes: Vec<String>,
}

/// What a case asks, in the words of routes.
#[derive(Debug, Default)]
struct Fitting {
    /// Empty = any host.
    hosts: Vec<String>,
    /// Empty = any path.
    paths: Vec<String>,
    is_whole: bool,
    is_upgrade: bool,
    /// Whether it asks for TLS, or for its absence.
    is_secure: Option<bool>,
    /// Paths of which the case says nothing.
    spared: Vec<String>,
    /// Whether a host is left out.
    leaves_out: bool,
}

impl Fitting {
    /// `None` = the case asks what longwire cannot ask.
    fn of(case: &Case) -> Option<Self> {
        let mut fitting = Self::default();
        for term in case {
            match (&term.ask, term.is_opposite) {
                (Ask::Hosts(hosts), false) if fitting.hosts.is_empty() => fitting.hosts.clone_from(hosts),
                (Ask::Hosts(_), true) => fitting.leaves_out = true,
                (Ask::Paths(paths), false) if fitting.paths.is_empty() => fitting.paths.clone_from(paths),
                (Ask::WholePaths(paths), false) if fitting.paths.is_empty() => {
                    fitting.paths.clone_from(paths);
                    fitting.is_whole = true;
                }
                (Ask::Paths(paths) | Ask::WholePaths(paths), true) => fitting.spared.extend(paths.iter().cloned()),
                (Ask::Upgrade, false) => fitting.is_upgrade = true,
                (Ask::Upgrade, true) => {}
                (Ask::Secure, is_opposite) => fitting.is_secure = Some(!is_opposite),
                (Ask::Hosts(_) | Ask::Paths(_) | Ask::WholePaths(_) | Ask::Sources(_) | Ask::Foreign(_), _) => {
                    return None;
                }
            }
        }
        Some(fitting)
    }

    fn hosts(&self) -> Vec<Option<String>> {
        if self.hosts.is_empty() { vec![None] } else { self.hosts.iter().cloned().map(Some).collect() }
    }

    fn paths(&self) -> Vec<String> {
        if self.paths.is_empty() { vec!["/".to_owned()] } else { self.paths.clone() }
    }
}

impl<'a> FrontSection<'a> {
    pub(super) fn of(section: &'a HaSection) -> Self {
        let acls = Acls::of(section);
        Self { section, rules: SectionRules::of(section, &acls), acls }
    }

    /// What the section chooses, and comments about what longwire cannot choose by.
    pub(super) fn choices(&self, sections: &[HaSection]) -> (Vec<Choice>, Vec<String>) {
        let (mut choices, mut notes): (Vec<Choice>, Vec<String>) = Default::default();
        let section = self.section;
        let own = section.lines.iter().any(|line| line.word(0).starts_with("server")).then(|| section.name.clone());
        let default = section.one(&["default_backend"]).map(|line| (line.at.clone(), line.word(1).to_owned()));
        let default = default.or_else(|| own.map(|name| (section.at.clone(), name)));
        let servers = |name: &str| {
            sections.iter().find(|section| section.is_back() && section.name == name).map(backends::addresses)
        };
        for line in section.lines.iter().filter(|line| line.word(0) == "use_backend") {
            let backend = line.word(1);
            if backend.contains("%[") {
                notes.push(line.at.note(format_args!("{}: longwire wants a name", line.text())));
                continue;
            }
            for case in self.acls.cases(line, 2) {
                let gap = |why: &str| line.at.note(format_args!("{}: {why}", line.text()));
                let Some(fitting) = Fitting::of(&case).filter(|fitting| fitting.is_secure.is_none()) else {
                    notes.push(gap("longwire chooses by host and path alone"));
                    continue;
                };
                if fitting.is_upgrade && fitting.paths.is_empty() {
                    let is_same = default.as_ref().is_some_and(|(_, name)| servers(name) == servers(backend));
                    if !is_same {
                        notes.push(gap("longwire does not choose by the Upgrade header: give WebSockets a path or a host of their own"));
                    }
                    continue;
                }
                let mut about = Vec::new();
                if fitting.is_upgrade && default.as_ref().is_none_or(|(_, name)| servers(name) != servers(backend)) {
                    about.push(gap("plain requests of this path go there too"));
                }
                if fitting.is_whole {
                    about.push(gap("here it takes longer paths too, as a path is a prefix"));
                }
                if fitting.leaves_out || !fitting.spared.is_empty() {
                    about.push(gap("a route says what it takes, not what it leaves out"));
                }
                for host in fitting.hosts() {
                    for path in fitting.paths() {
                        let notes = std::mem::take(&mut about);
                        choices.push(Choice {
                            at: line.at.clone(),
                            host: host.clone(),
                            path,
                            backend: backend.to_owned(),
                            is_whole: fitting.is_whole,
                            notes,
                        });
                    }
                }
            }
        }
        if let Some((at, backend)) = default {
            let (host, path, notes) = (None, "/".to_owned(), Vec::new());
            choices.push(Choice { at, host, path, backend, is_whole: false, notes });
        }
        (in_turn(choices, &mut notes), notes)
    }

    /// The keys of a route to a backend. `is_first`: whether nothing was said of the backend before.
    pub(super) fn keys(&self, back: &HaSection, keys: &mut Twig, is_first: bool, blueprint: &mut Blueprint) {
        let (cookie, note) = backends::cookie(back);
        let rules = if std::ptr::eq(back, self.section) {
            SectionRules::default()
        } else {
            SectionRules::of(back, &Acls::of(back))
        };
        SectionRules::put(&self.rules, &rules, keys);
        if let Some(cookie) = cookie {
            keys.map("sticky_cookie", cookie);
        }
        if is_first {
            for note in note.into_iter().chain(rules.notes) {
                blueprint.note(note);
            }
        }
    }
}

/// Whether every host of `inner` is one of `outer`.
fn covers(outer: Option<&str>, inner: Option<&str>) -> bool {
    match (outer, inner) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(outer), Some(inner)) => {
            outer == inner || outer.strip_prefix('*').is_some_and(|end| inner.trim_start_matches('*').ends_with(end))
        }
    }
}

/// HAProxy takes the first rule that fits, longwire the most exact one: a rule that comes first for more hosts is written for
/// each of the hosts behind it, and a rule that never comes to its turn is left out.
fn in_turn(choices: Vec<Choice>, notes: &mut Vec<String>) -> Vec<Choice> {
    let mut settled: Vec<Choice> = Vec::new();
    for choice in choices {
        let wider = |first: &&Choice| covers(first.host.as_deref(), choice.host.as_deref());
        let before: Vec<Choice> = settled.iter().filter(wider).cloned().collect();
        if let Some(first) = before
            .iter()
            .find(|first| if first.is_whole { choice.path == first.path } else { choice.path.starts_with(&first.path) })
        {
            if first.backend != choice.backend {
                let host = choice.host.as_deref().unwrap_or("any host");
                let note = format_args!("{host} and {}: {} takes them before", choice.path, first.at);
                notes.push(choice.at.note(note));
            }
            continue;
        }
        for first in before.iter().filter(|first| first.path.starts_with(&choice.path) && first.host != choice.host) {
            let copy = Choice { host: choice.host.clone(), notes: Vec::new(), ..first.clone() };
            if !settled.iter().any(|other| other.host == copy.host && other.path == copy.path) {
                settled.push(copy);
            }
        }
        settled.push(choice);
    }
    settled
}

/// The redirects to https, for each host that has routes.
pub(super) fn redirects(
    fronts: &[FrontSection<'_>],
    routes: &[PlannedRoute],
    blueprint: &mut Blueprint,
) -> Vec<PlannedRoute> {
    let mut hosts: Vec<Option<String>> = Vec::new();
    for host in routes.iter().map(|route| route.host.clone()).chain([None]) {
        if !hosts.contains(&host) {
            hosts.push(host);
        }
    }
    let (mut all, mut spared): (Vec<PlannedRoute>, Vec<String>) = Default::default();
    for rule in fronts.iter().flat_map(|front| &front.rules.redirects) {
        for case in &rule.cases {
            let Some(fitting) = Fitting::of(case).filter(|fitting| !fitting.leaves_out) else {
                blueprint.note(rule.at.note("redirect: longwire redirects by host and path alone"));
                continue;
            };
            if fitting.is_secure == Some(true) {
                continue;
            }
            spared.extend(fitting.spared.iter().cloned());
            let meant = if fitting.hosts.is_empty() { hosts.clone() } else { fitting.hosts() };
            for host in meant {
                for path in fitting.paths() {
                    let Goal::Redirect { code, port } = rule.goal else { continue };
                    let goal = Goal::Redirect { code, port };
                    all.push(PlannedRoute {
                        at: rule.at.clone(),
                        host: host.clone(),
                        path,
                        goal,
                        keys: Twig::default(),
                    });
                }
            }
        }
    }
    // What stays in the clear for any host stays so for each host.
    let stays: Vec<&PlannedRoute> =
        routes.iter().filter(|route| route.host.is_none() && spared.contains(&route.path)).collect();
    let kept: Vec<PlannedRoute> = all
        .iter()
        .filter(|redirect| redirect.host.is_some())
        .flat_map(|redirect| stays.iter().map(|route| PlannedRoute { host: redirect.host.clone(), ..(*route).clone() }))
        .collect();
    let both: Vec<_> = routes.iter().chain(&all).cloned().collect();
    all.extend(kept);
    all.extend(beside_longer_paths(&both, |route| spared.iter().any(|path| route.path.starts_with(path.as_str()))));
    all
}
