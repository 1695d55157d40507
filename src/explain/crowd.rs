//! Who is behind the address of a client: people, one program that connects again and again, an office, a proxy. What happens
//! to one address says little of all the others, so few of its cases stand for all of them.

use super::{
    Evidence,
    facts::{AddressKey, EndFacts, NetworkPrefix},
};

/// So many cases of one address stand for all of its cases.
const STANDING: usize = 2;
/// An address with so many sessions at a time has several people or programs behind it.
const AT_ONCE: f64 = 2.0;
/// An address with this part of all handshakes is that of a proxy in front of longwire.
const OF_A_PROXY: f64 = 0.25;
/// A network with this part of all handshakes is that of everybody.
const OF_EVERYBODY: f64 = 0.9;
/// What one address loses within so many milliseconds is one event: the tabs of a laptop that is closed.
const ONE_EVENT: i64 = 10_000;
/// So many milliseconds of one address are one moment on a line of moments.
const ONE_MOMENT: i64 = 60_000;

/// What is known of the addresses of all records.
#[derive(Debug, Default)]
pub(super) struct Crowd {
    /// The use of the address of each fact.
    uses: Vec<AddressUse>,
    /// How many handshakes each address has, for each fact.
    handshakes: Vec<u32>,
    /// The network from which nearly all come.
    everybody: Option<NetworkPrefix>,
}

/// How an address is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AddressUse {
    /// It is not known, or has so few records that all of them may stand; or it is that of a proxy in front of longwire, behind which
    /// are many clients.
    Free,
    /// One session after another: a monitor, a health checker, a script.
    Single,
    /// Several sessions at a time.
    Shared,
}

/// What cases of one address are one event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Alike {
    /// Those that begin at one moment.
    Begin,
    /// Those that end at one moment.
    End,
    /// All of a program that has one session at a time; otherwise those that ended together.
    Address,
}

impl Crowd {
    pub(super) fn of(evidence: &Evidence) -> Self {
        let mut crowd =
            Self { uses: vec![AddressUse::Free; evidence.len()], handshakes: vec![1; evidence.len()], everybody: None };
        let known = evidence.numbered().filter(|(_, facts)| facts.is_handshake());
        let mut known: Vec<_> = known.filter_map(|(fact, facts)| Some((facts.address()?, fact))).collect();
        known.sort_unstable();
        let all = evidence.facts.iter().filter(|facts| facts.is_handshake()).count() as f64;
        for same in known.chunk_by(|a, b| a.0.network == b.0.network) {
            if same.len() as f64 >= OF_EVERYBODY * all {
                crowd.everybody = same.first().map(|(address, _)| address.network);
            }
        }
        for same in known.chunk_by(|a, b| a.0 == b.0).filter(|same| same.len() > STANDING) {
            let facts = || same.iter().filter_map(|(_, fact)| evidence.facts.get(*fact as usize));
            let is_of_a_proxy = same.len() as f64 >= OF_A_PROXY * all;
            let use_of = match sessions_at_once(facts()) {
                _ if is_of_a_proxy => AddressUse::Free,
                at_once if at_once >= AT_ONCE => AddressUse::Shared,
                _ => AddressUse::Single,
            };
            for (_, fact) in same {
                if let (Some(of), Some(handshakes)) =
                    (crowd.uses.get_mut(*fact as usize), crowd.handshakes.get_mut(*fact as usize))
                {
                    *of = use_of;
                    // There are no more records than fit into this.
                    *handshakes = if is_of_a_proxy { 1 } else { same.len() as u32 };
                }
            }
        }
        crowd
    }

    /// Whether each of these facts stands for a client: of one address few do, those in the middle of the order in which they
    /// are given.
    pub(super) fn standing(&self, evidence: &Evidence, facts: &[u32], alike: Alike) -> Vec<bool> {
        let mut standing = vec![true; facts.len()];
        let mut heavy: Vec<(AddressKey, i64, usize)> = Vec::new();
        for (place, fact) in facts.iter().enumerate() {
            let Some(facts) = evidence.facts.get(*fact as usize) else { continue };
            let event = match (self.use_of(*fact), alike) {
                (AddressUse::Free, _) => continue,
                (_, Alike::Begin) => facts.began().div_euclid(ONE_MOMENT),
                (_, Alike::End) => facts.ended.div_euclid(ONE_MOMENT),
                (AddressUse::Shared, Alike::Address) => facts.ended.div_euclid(ONE_EVENT),
                (AddressUse::Single, Alike::Address) => 0,
            };
            heavy.extend(facts.address().map(|address| (address, event, place)));
        }
        heavy.sort_unstable();
        for same in heavy.chunk_by(|a, b| (a.0, a.1) == (b.0, b.1)) {
            let first = same.len().saturating_sub(STANDING) / 2;
            for (_, _, place) in same.iter().take(first).chain(same.iter().skip(first + STANDING)) {
                if let Some(is_standing) = standing.get_mut(*place) {
                    *is_standing = false;
                }
            }
        }
        standing
    }

    /// How many of these facts stand for a client.
    pub(super) fn count(&self, evidence: &Evidence, facts: &[u32], alike: Alike) -> usize {
        self.standing(evidence, facts, alike).into_iter().filter(|is| *is).count()
    }

    /// How much a handshake weighs, so that an address weighs as [`STANDING`] handshakes at most.
    pub(super) fn weight(&self, fact: u32) -> f64 {
        let handshakes = self.handshakes.get(fact as usize).copied().unwrap_or(1);
        (STANDING as f64 / f64::from(handshakes.max(1))).min(1.0)
    }

    /// The only network that these facts tell something of; `None`: they tell something of everybody.
    pub(super) fn only_network(&self, evidence: &Evidence, facts: &[u32], others: usize) -> Option<NetworkPrefix> {
        let network = |fact: &u32| evidence.facts.get(*fact as usize)?.network;
        let mut networks: Vec<_> = facts.iter().map(network).collect();
        networks.sort_unstable();
        let most = networks.chunk_by(|a, b| a == b).max_by_key(|same| same.len())?;
        let only = most.first().copied().flatten().filter(|only| Some(*only) != self.everybody)?;
        (facts.len() - most.len() < others).then_some(only)
    }

    fn use_of(&self, fact: u32) -> AddressUse {
        self.uses.get(fact as usize).copied().unwrap_or(AddressUse::Free)
    }
}

/// How many sessions of these live at a time, on average.
fn sessions_at_once<'f>(facts: impl Iterator<Item = &'f EndFacts>) -> f64 {
    let (mut lived, mut first, mut last) = (0.0, i64::MAX, i64::MIN);
    for facts in facts {
        lived += facts.age.get().map_or(0.0, f64::from);
        (first, last) = (first.min(facts.began()), last.max(facts.ended));
    }
    lived / (last.saturating_sub(first) as f64).max(1.0)
}
