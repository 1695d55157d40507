//! From whom a pattern is known: from how many networks of clients, and since when.

use std::collections::HashMap;

use super::{
    Evidence,
    facts::{EndFacts, NetworkPrefix},
};

/// The networks of clients whose sessions are the cases of a pattern. A client can fake its losses, but hardly those of many
/// networks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Witnesses {
    /// How many networks: /24, or /48 of IPv6.
    pub networks: usize,
    /// The latest moment for which this holds: sessions that began then or later, from [`Self::ENOUGH`] networks, show the
    /// pattern. In milliseconds since 1970; `None` = there are fewer networks.
    pub enough_since: Option<i64>,
}

impl Witnesses {
    /// From so many networks on, a pattern is believed enough to change a setting.
    pub const ENOUGH: usize = 8;

    /// The witnesses of these cases, which are given by their place in the evidence.
    pub(super) fn of(evidence: &Evidence, cases: &[u32]) -> Self {
        let mut last_begun: HashMap<NetworkPrefix, i64> = HashMap::new();
        let cases = cases.iter().filter_map(|fact| evidence.facts.get(*fact as usize));
        for (network, began) in cases.filter_map(|facts| Some((facts.network?, EndFacts::began(facts)))) {
            last_begun.entry(network).and_modify(|last| *last = began.max(*last)).or_insert(began);
        }
        let mut last_begun: Vec<_> = last_begun.into_values().collect();
        last_begun.sort_unstable_by(|a, b| b.cmp(a));
        Self { networks: last_begun.len(), enough_since: last_begun.get(Self::ENOUGH - 1).copied() }
    }

    /// Whether enough networks show the pattern with sessions that began at this moment or later.
    #[must_use]
    pub fn are_enough_since(&self, millis: i64) -> bool {
        self.enough_since.is_some_and(|since| since >= millis)
    }
}
