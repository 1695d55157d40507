//! What becomes a `proxy.yaml`, in the words of longwire.

use std::time::Duration;

use super::{
    origin::FileLine,
    routes::{Goal, PlannedRoute},
    tree::{Branch, Twig, write_note},
    units,
};

/// The parts of a `proxy.yaml`.
#[derive(Debug, Default)]
pub(super) struct Blueprint {
    /// What has no counterpart and concerns more than one route or upstream.
    pub(super) notes: Vec<String>,
    /// Keys of the file itself, such as `workers`.
    pub(super) top: Twig,
    pub(super) listeners: Vec<Twig>,
    pub(super) upstreams: Vec<(String, Twig)>,
    pub(super) routes: Vec<PlannedRoute>,
    pub(super) timeouts: Twig,
    pub(super) limits: Twig,
}

impl Blueprint {
    /// Adds a comment, once.
    pub(super) fn note(&mut self, note: String) {
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    /// Sets a key of `timeouts` to the longest of the times that the original has: longwire has one for the whole file. Zero
    /// is without end in the original, which `key` cannot be.
    pub(super) fn timeout(&mut self, key: &str, times: &[(FileLine, Duration)]) {
        let Some((at, longest)) = times.iter().max_by_key(|(_, time)| *time) else { return };
        if longest.is_zero() {
            return self.note(at.note(format_args!("timeouts.{key} cannot be without end: it has its default")));
        }
        if times.iter().any(|(_, time)| time != longest) {
            let note = format_args!("timeouts.{key} is one for the whole file: this is the longest of them");
            self.note(at.note(note));
        }
        self.timeouts.bare(key, units::duration(*longest));
    }

    /// Sets a key of `limits`.
    pub(super) fn limit(&mut self, key: &str, value: impl ToString) {
        if !self.limits.has(key) {
            self.limits.bare(key, value);
        }
    }

    /// Sets a number of `limits`, which is one for the whole file: the largest that the original has.
    pub(super) fn largest(&mut self, key: &str, value: u32) {
        match self.limits.pairs.iter_mut().find(|(known, _)| known == key) {
            Some((_, Branch::Bare(known))) => {
                if known.parse::<u32>().is_ok_and(|known| known < value) {
                    *known = value.to_string();
                }
            }
            Some(_) => {}
            None => self.limits.bare(key, value),
        }
    }

    /// The text of the file. `first`: the file that was imported.
    pub(super) fn text(self, first: &str, original: &str) -> String {
        let Self { notes, top, listeners, upstreams, routes, timeouts, limits } = self;
        let is_used = |name: &str| routes.iter().any(|route| route.goal == Goal::Upstream(name.to_owned()));
        let mut text = String::new();
        write_note(&mut text, 0, &format!("Made from {first} ({original}) by `longwire import`."));
        let lacking = "A comment that begins with a file and a line says what has no counterpart here.";
        write_note(&mut text, 0, lacking);
        write_note(&mut text, 0, "longwire pings quiet sessions: nothing has to stand for timeouts of WebSockets.");
        if !notes.is_empty() {
            write_note(&mut text, 0, "");
        }
        for note in &notes {
            write_note(&mut text, 0, note);
        }
        if routes.is_empty() {
            write_note(&mut text, 0, "");
            write_note(&mut text, 0, "Nothing in the original proxies HTTP: longwire needs a route before it can run.");
        }
        text.push('\n');
        let mut file = top;
        let mut named = Twig::default();
        for (name, upstream) in upstreams {
            if is_used(&name) {
                named.put(&name, Branch::Map(upstream));
            }
        }
        let routes: Vec<_> = routes.into_iter().map(PlannedRoute::into_twig).collect();
        if !listeners.is_empty() {
            file.put("listeners", Branch::Maps(listeners));
        }
        file.map("upstreams", named);
        if !routes.is_empty() {
            file.put("routes", Branch::Maps(routes));
        }
        file.map("timeouts", timeouts);
        file.map("limits", limits);
        file.write(&mut text, 0);
        text
    }
}
