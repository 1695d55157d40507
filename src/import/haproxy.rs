//! HAProxy: its file, read and translated. `lines` cuts it into sections; `conditions` reads what `acl` and `if` ask, `fitting`
//! says it in the words of routes; `rules` is what a section does with requests, `refusals` which of them it refuses; `binds`,
//! `choices` and `backends` (with `server_options` and `checks`) make listeners, routes and upstreams; `words`, `server_words`
//! and `report` say what is wrong or missing.

mod backends;
mod binds;
mod checks;
mod choices;
mod conditions;
mod fitting;
mod lines;
mod refusals;
mod report;
mod rules;
mod server_options;
mod server_words;
mod words;

use std::time::Duration;

use self::{
    backends::ServerTerms,
    binds::CertificateBases,
    choices::{Choice, FrontSection},
    lines::{HaSection, sections},
    rules::SectionRules,
};
use super::{
    blueprint::Blueprint,
    origin::{FileLine, ImportError, IncludedFile, ReadFiles, joined},
    remark::Remark,
    routes::{Goal, PlannedRoute, closed, settle},
    tree::Twig,
    units,
};

/// Reads and translates a configuration.
///
/// # Errors
/// Why it cannot be read.
pub(super) fn translate(
    file: &IncludedFile,
    folder: &str,
    read: ReadFiles<'_>,
) -> Result<(Blueprint, Vec<Remark>), ImportError> {
    let sections = sections(file)?;
    let mut remarks = Vec::new();
    report::remarks(&sections, &mut remarks);
    let mut blueprint = Blueprint::default();
    let global = sections.iter().find(|section| section.kind == "global");
    let of_global = |words: &[&str]| global.and_then(|global| global.one(words));
    let base = |name: &str| joined(folder, of_global(&[name]).map_or("", |line| line.word(1)));
    let (crt, ca) = (base("crt-base"), base("ca-base"));
    let bases = CertificateBases { crt: crt.trim_end_matches('/'), ca: ca.trim_end_matches('/') };
    if let Some(global) = global {
        common(global, &mut blueprint);
    }
    let mut listed = |pattern: &str| -> Vec<(String, String)> {
        let found = read(pattern).unwrap_or_default();
        found.into_iter().map(|file| (file.name, file.text)).collect()
    };
    let mut fronts: Vec<FrontSection<'_>> = Vec::new();
    let mut bound = Vec::new();
    for section in sections.iter().filter(|section| section.is_front()) {
        if report::is_stats(section) {
            let note = "statistics: longwire has them at admin: { bind: 127.0.0.1:9900 }";
            blueprint.note(section.at.note(format_args!("{} {}: {note}", section.kind, section.name)));
        } else if section.mode() == "tcp" && section.one(&["mode"]).is_some() {
            let note = "longwire has no mode tcp: keep this section in HAProxy";
            blueprint.note(section.at.note(format_args!("{} {}: {note}", section.kind, section.name)));
        } else {
            let mut left_out = Vec::new();
            binds::collect(section, bases, &mut listed, &mut bound, &mut left_out);
            left_out.into_iter().for_each(|note| blueprint.note(note));
            fronts.push(FrontSection::of(section));
        }
    }
    for section in sections
        .iter()
        .filter(|section| matches!(section.kind.as_str(), "defaults" | "frontend" | "listen" | "backend"))
    {
        for note in words::notes(section) {
            blueprint.note(note);
        }
    }
    let terms = ServerTerms { sections: &sections, folder, port: binds::only_port(&bound) };
    let routes = routes(&fronts, terms, &mut blueprint);
    blueprint.listeners = bound.into_iter().map(binds::BoundAddress::into_twig).collect();
    timeouts(&fronts, &sections, &mut blueprint);
    let (routes, left_out) = settle(routes);
    let routes = closed(routes, &blueprint.upstreams);
    for note in left_out {
        blueprint.note(note);
    }
    blueprint.routes = routes;
    Ok((blueprint, remarks))
}

fn common(global: &HaSection, blueprint: &mut Blueprint) {
    if let Some(threads) =
        global.one(&["nbthread"]).filter(|line| line.word(1).parse::<u32>().is_ok_and(|n| (1..=1024).contains(&n)))
    {
        blueprint.top.bare("workers", threads.word(1));
    }
    let drain =
        global.one(&["hard-stop-after"]).and_then(|line| Some((line.at.clone(), units::haproxy_time(line.word(1))?)));
    blueprint.timeout("drain", &drain.into_iter().collect::<Vec<_>>());
    for line in global.lines.iter().filter(|line| line.word(0).starts_with("lua-load")) {
        blueprint.note(line.at.note(format_args!("{}: longwire runs no code", line.text())));
    }
}

/// The routes of all frontends, and the upstreams that they need.
fn routes(fronts: &[FrontSection<'_>], terms: ServerTerms<'_>, blueprint: &mut Blueprint) -> Vec<PlannedRoute> {
    let of_fronts: Vec<(&FrontSection<'_>, Vec<PlannedRoute>)> =
        fronts.iter().map(|front| (front, routes_of(front, terms, blueprint))).collect();
    let redirects = choices::redirects(&of_fronts, blueprint);
    of_fronts.into_iter().flat_map(|(_, routes)| routes).chain(redirects).collect()
}

/// The routes of a frontend, and the upstreams that they need.
fn routes_of(front: &FrontSection<'_>, terms: ServerTerms<'_>, blueprint: &mut Blueprint) -> Vec<PlannedRoute> {
    let sections = terms.sections;
    let (choices, notes) = front.choices(sections);
    for note in notes.into_iter().chain(front.rules.notes.iter().cloned()) {
        blueprint.note(note);
    }
    let mut routes: Vec<PlannedRoute> = Vec::new();
    let mut backs: Vec<(String, SectionRules)> = Vec::new();
    for Choice { at, host, path, backend, mut notes, .. } in choices {
        let section = sections.iter().find(|section| section.is_back() && section.name == backend);
        let is_made = blueprint.upstreams.iter().any(|(name, _)| *name == backend);
        let made = match section {
            None => Err(at.note(format_args!("there is no backend {backend}"))),
            Some(_) if is_made => Ok(None),
            Some(section) => backends::upstream(section, terms).map(Some),
        };
        let section = match (made, section) {
            (Ok(made), Some(section)) => {
                blueprint.upstreams.extend(made.map(|upstream| (backend.clone(), upstream)));
                section
            }
            (made, _) => {
                notes.push(format!("{}: here everybody gets 403", made.err().unwrap_or_default()));
                let keys = Twig { notes, ..Twig::default() };
                routes.push(PlannedRoute { at, host, path, goal: Goal::Closed, keys });
                continue;
            }
        };
        let mut keys = Twig { notes, ..Twig::default() };
        let rules = front.keys(section, &mut keys, !is_made, blueprint);
        if !backs.iter().any(|(known, _)| *known == backend) {
            backs.push((backend.clone(), rules));
        }
        routes.push(PlannedRoute { at, host, path, goal: Goal::Upstream(backend), keys });
    }
    for refusal in &front.rules.refusals {
        refusal.apply(&mut routes, &|_| true);
    }
    for (backend, rules) in &backs {
        for refusal in &rules.refusals {
            refusal.apply(&mut routes, &|route| route.goal == Goal::Upstream(backend.clone()));
        }
    }
    routes
}

/// Timeouts of longwire are of the whole file, but for what a route can say.
fn timeouts(fronts: &[FrontSection<'_>], sections: &[HaSection], blueprint: &mut Blueprint) {
    let times = |of: &mut dyn Iterator<Item = &HaSection>, words: &[&str]| -> Vec<(FileLine, Duration)> {
        let found = of.filter_map(|section| section.one(words));
        found.filter_map(|line| Some((line.at.clone(), units::haproxy_time(line.word(2))?))).collect()
    };
    for (theirs, ours) in
        [("http-request", "request_header"), ("client", "request_body"), ("http-keep-alive", "keep_alive")]
    {
        let found = times(&mut fronts.iter().map(|front| front.section), &["timeout", theirs]);
        blueprint.timeout(ours, &found);
    }
    let used = || {
        let names: Vec<_> = blueprint.upstreams.iter().map(|(name, _)| name.clone()).collect();
        sections.iter().filter(move |section| section.is_back() && names.contains(&section.name)).collect::<Vec<_>>()
    };
    let backs = used();
    for (theirs, ours) in [("connect", "connect"), ("server-fin", "close")] {
        let found = times(&mut backs.iter().copied(), &["timeout", theirs]);
        blueprint.timeout(ours, &found);
    }
    let found = times(&mut backs.iter().copied(), &["timeout", "server"]);
    if found.iter().any(|(_, time)| !time.is_zero()) {
        blueprint.timeout("upgrade", &found);
        blueprint.timeout("response", &found);
    }
    for front in fronts {
        let most = front.section.lines.iter().find(|line| line.word(0) == "maxconn");
        if let Some(most) = most.filter(|line| line.word(1).parse::<u32>().is_ok_and(|most| most > 0)) {
            blueprint.limit("sessions", most.word(1));
        }
    }
}
