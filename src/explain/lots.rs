//! A bounded and fair sample of ends: each end has drawn a lot, and a sample has the ends with the lowest lots.
//!
//! So whatever an end is, and whenever it came, its chance to be in the sample is that of the others, and shares in the sample
//! are those of all. Sessions and refused handshakes have a sample each, so that a flood of refusals hides no session.

use std::{cmp::Ordering, collections::BinaryHeap};

use super::{
    facts::{EndClass, EndFacts},
    record::RecordText,
};

/// An end that has drawn a lot.
#[derive(Debug)]
pub struct SampledEnd {
    pub(super) facts: EndFacts,
    pub(super) route: Option<Box<str>>,
    pub(super) backend: Option<Box<str>>,
    pub(super) cause: &'static str,
}

/// The lots that are in a sample: those of sessions below the first number, those of refusals below the second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LotBounds(pub(super) [u32; 2]);

/// The ends since somebody took them.
#[derive(Debug)]
pub struct RecentEnds {
    pub(super) sessions: LowestLots,
    pub(super) refusals: LowestLots,
}

/// Ends of one class, those with the lowest lots.
#[derive(Debug)]
pub(super) struct LowestLots {
    pub(super) ends: BinaryHeap<SampledEnd>,
    most: usize,
    /// Every end whose lot is below this is there.
    pub(super) below: u32,
}

impl SampledEnd {
    /// The end of a record with this cause, if a finding can need it.
    ///
    /// `wants` says whether an end of this class, with this lot, has a place. Only then are words of the record copied.
    #[must_use]
    pub fn of(
        record: &RecordText<'_>,
        cause: &'static str,
        lot: u32,
        wants: impl FnOnce(EndClass) -> bool,
    ) -> Option<Self> {
        let facts = EndFacts { lot, ..EndFacts::of(record, 0, 0, 0) };
        if !facts.is_handshake() || !wants(facts.class()) {
            return None;
        }
        let kept = |word: Option<&str>| word.map(Box::from);
        Some(Self { facts, route: kept(record.route.as_deref()), backend: kept(record.backend.as_deref()), cause })
    }

    /// What it is.
    #[must_use]
    pub const fn class(&self) -> EndClass {
        self.facts.class()
    }
}

impl LotBounds {
    /// Every lot is in the sample.
    pub(super) const ALL: Self = Self([u32::MAX; 2]);

    /// The bound for a class.
    pub(super) const fn of(self, class: EndClass) -> u32 {
        let [sessions, refusals] = self.0;
        match class {
            EndClass::Session => sessions,
            EndClass::Refusal => refusals,
        }
    }

    /// The lots that are in both samples.
    pub(super) fn both(self, other: Self) -> Self {
        let ([sessions, refusals], [others, other_refusals]) = (self.0, other.0);
        Self([sessions.min(others), refusals.min(other_refusals)])
    }
}

impl RecentEnds {
    /// The most sessions: as many as are kept of an hour, so that a moment at which many end thins the hour no more than it must.
    pub const MOST_SESSIONS: usize = 49_152;
    /// The most refused handshakes, for the same reason.
    pub const MOST_REFUSALS: usize = 16_384;

    /// None yet, with room for so many sessions and refusals.
    #[must_use]
    pub fn with_room(sessions: usize, refusals: usize) -> Self {
        let mut none = Self::default();
        none.sessions.ends.reserve(sessions);
        none.refusals.ends.reserve(refusals);
        none
    }

    /// Adds an end, if it has a place. Returns the bound for its class from now on.
    pub fn push(&mut self, end: SampledEnd) -> u32 {
        match end.class() {
            EndClass::Session => self.sessions.push(end),
            EndClass::Refusal => self.refusals.push(end),
        }
    }

    /// The lots that are all there.
    pub(super) const fn bounds(&self) -> LotBounds {
        LotBounds([self.sessions.below, self.refusals.below])
    }

    /// How many of a class there are.
    #[must_use]
    pub fn count(&self, class: EndClass) -> usize {
        match class {
            EndClass::Session => self.sessions.ends.len(),
            EndClass::Refusal => self.refusals.ends.len(),
        }
    }

    /// Whether nothing is there.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sessions.ends.is_empty() && self.refusals.ends.is_empty()
    }
}

impl Default for RecentEnds {
    fn default() -> Self {
        let none = |most| LowestLots { ends: BinaryHeap::new(), most, below: u32::MAX };
        Self { sessions: none(Self::MOST_SESSIONS), refusals: none(Self::MOST_REFUSALS) }
    }
}

impl LowestLots {
    fn push(&mut self, end: SampledEnd) -> u32 {
        if end.facts.lot < self.below {
            self.ends.push(end);
            if self.ends.len() > self.most
                && let Some(highest) = self.ends.pop()
            {
                self.below = highest.facts.lot;
            }
        }
        self.below
    }
}

impl PartialEq for SampledEnd {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for SampledEnd {}

impl PartialOrd for SampledEnd {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// By their lots.
impl Ord for SampledEnd {
    fn cmp(&self, other: &Self) -> Ordering {
        self.facts.lot.cmp(&other.facts.lot)
    }
}
