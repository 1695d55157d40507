//! A backend among which a policy chooses.

use super::slow_start::WeightShare;

/// A backend that may be picked, as it was when the pick began. A copy, because counts that change during a comparison
/// would make its result wrong.
#[derive(Debug, Clone, Copy)]
pub(super) struct Candidate<'a> {
    /// Its place among the members.
    pub(super) index: usize,
    pub(super) address: &'a str,
    pub(super) weight: u32,
    /// The share of its weight that counts now. The hash always uses the whole weight.
    pub(super) share: WeightShare,
    /// Sessions and requests in flight.
    pub(super) active: usize,
}

impl Candidate<'_> {
    /// Its weight now, in thousandths (see [`WeightShare`]); never 0.
    pub(super) fn effective_weight(&self) -> u64 {
        (u64::from(self.weight) * u64::from(self.share.0)).max(1)
    }

    /// Whether `self` has fewer sessions and requests in flight per weight than `other`. The result is exact: nothing is
    /// divided, and a product of two 64-bit numbers fits into 128 bits.
    pub(super) fn is_less_loaded_than(&self, other: &Self) -> bool {
        let mine = self.active as u128 * u128::from(other.effective_weight());
        let theirs = other.active as u128 * u128::from(self.effective_weight());
        mine < theirs
    }
}
