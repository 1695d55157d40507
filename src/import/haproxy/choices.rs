//! Which backend gets which request: `use_backend`, `default_backend`, and redirects.

use super::{
    backends,
    conditions::Acls,
    fitting::{Fitting, covers},
    lines::HaSection,
    refusals,
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
                if !fitting.spared_hosts.is_empty() || !fitting.spared.is_empty() {
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

    /// Adds the keys of a route to a backend, and returns the backend's own rules. `is_first`: whether nothing was said of the
    /// backend before.
    pub(super) fn keys(
        &self,
        back: &HaSection,
        keys: &mut Twig,
        is_first: bool,
        blueprint: &mut Blueprint,
    ) -> SectionRules {
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
            for note in note.into_iter().chain(rules.notes.iter().cloned()) {
                blueprint.note(note);
            }
        }
        rules
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

/// The redirects to https, for each host that has routes, and the routes of what they spare. `of_fronts`: the sections with
/// the routes of each.
pub(super) fn redirects(
    of_fronts: &[(&FrontSection<'_>, Vec<PlannedRoute>)],
    blueprint: &mut Blueprint,
) -> Vec<PlannedRoute> {
    let mut both: Vec<PlannedRoute> = of_fronts.iter().flat_map(|(_, routes)| routes).cloned().collect();
    let mut hosts: Vec<Option<String>> = Vec::new();
    for host in both.iter().map(|route| route.host.clone()).chain([None]) {
        if !hosts.contains(&host) {
            hosts.push(host);
        }
    }
    let (mut all, mut spared): (Vec<PlannedRoute>, Vec<(Option<String>, String)>) = Default::default();
    let rules = of_fronts.iter().flat_map(|(front, own)| front.rules.redirects.iter().map(move |rule| (own, rule)));
    for (own, rule) in rules {
        for case in &rule.cases {
            let fitting = Fitting::of(case).filter(|fitting| fitting.spared_hosts.is_empty() && !fitting.is_upgrade);
            let Some(fitting) = fitting else {
                blueprint.note(rule.at.note("redirect: longwire redirects by host and path alone"));
                continue;
            };
            if fitting.is_secure == Some(true) {
                continue;
            }
            for host in if fitting.hosts.is_empty() { hosts.clone() } else { fitting.hosts() } {
                for path in &fitting.spared {
                    // What stays in the clear has a route of its own, which is longer than the redirect.
                    let placed = refusals::placed(own, host.as_deref(), path);
                    let is_there = |placed: &PlannedRoute| {
                        both.iter().any(|route| route.host == placed.host && route.path == placed.path)
                    };
                    if let Some(placed) = placed.filter(|placed| !is_there(placed)) {
                        both.push(placed.clone());
                        all.push(placed);
                    }
                    spared.push((host.clone(), path.clone()));
                }
                for path in fitting.paths() {
                    let (at, goal, host) = (rule.at.clone(), rule.goal.clone(), host.clone());
                    all.push(PlannedRoute { at, host, path, goal, keys: Twig::default() });
                }
            }
        }
    }
    both.extend(all.iter().filter(|route| matches!(route.goal, Goal::Redirect { .. })).cloned());
    let stays = |route: &PlannedRoute| {
        spared.iter().any(|(host, path)| *host == route.host && route.path.starts_with(path.as_str()))
    };
    all.extend(beside_longer_paths(&both, stays));
    all
}
