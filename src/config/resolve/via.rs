//! What stands on the paths of sessions.

use std::collections::BTreeMap;

use super::Resolver;
use crate::{
    config::{
        document::At,
        file::{Upstream, ViaEntry},
        preset_name, values,
    },
    paths::{self, Activity, Figures, Limit},
};

impl Resolver {
    /// The limits of the path whose list stands at `list`.
    pub(super) fn path_limits(&mut self, parts: &[ViaEntry], list: &At) -> Vec<Limit> {
        parts.iter().enumerate().map(|(index, part)| self.path_limit(part, &list.index(index))).collect()
    }

    /// The limits between here and the backends of each upstream, in the order of the upstreams.
    pub(super) fn backend_limits(&mut self, upstreams: &BTreeMap<String, Upstream>) -> Vec<Vec<Limit>> {
        let all = self.root.key("upstreams");
        upstreams.iter().map(|(name, upstream)| self.path_limits(&upstream.via, &all.key(name).key("via"))).collect()
    }

    fn path_limit(&mut self, part: &ViaEntry, at: &At) -> Limit {
        let ViaEntry { ref name, idle, counts, dies, max_life, grace } = *part;
        let mut time = |key, time: Option<values::Duration>| time.map(|time| self.positive(at.key(key), time));
        let figures = Figures {
            idle: time("idle", idle),
            counts,
            dies,
            max_life: time("max_life", max_life),
            grace: time("grace", grace),
        };
        if let Some(preset) = paths::preset(name) {
            return Limit::of(preset, figures);
        }
        if name.trim().is_empty() {
            self.error(at.key("name"), "a part of a path needs a name", "any words that tell it apart in messages");
        } else if figures == Figures::default() {
            let message = format!("`{name}` is not a preset, and no figure says what it does");
            self.error(at.key("name"), message, preset_name::advice(name));
        } else if figures.idle.or(figures.max_life).or(figures.grace).is_none() {
            let message = format!("`{name}` has no limit: neither `idle` nor `max_life` nor `grace`");
            self.warn(at.clone(), message, "`counts` and `dies` say nothing without one");
        } else if figures.idle.is_some() && figures.counts == Some(Activity::Nothing) {
            self.warn(
                at.key("counts"),
                format!("`counts: nothing` beside the `idle` of `{name}`"),
                "nothing would hold a session there: leave one of the two out",
            );
        }
        Limit::by_hand(name, figures)
    }
}
