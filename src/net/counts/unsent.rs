//! Counts the bytes that wait in all sessions of the process for sides that do not take them.

use std::{
    mem,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

/// How many bytes wait, and how many may.
#[derive(Debug)]
pub(in crate::net) struct Unsent {
    bytes: AtomicUsize,
    /// `usize::MAX` = no limit.
    most: AtomicUsize,
}

/// What one side adds to [`Unsent`], until the share is dropped.
#[derive(Debug, Default)]
pub(in crate::net) struct Share {
    of: Option<Arc<Unsent>>,
    bytes: usize,
}

impl Unsent {
    /// Counts without a limit.
    pub(in crate::net) fn new() -> Arc<Self> {
        Arc::new(Self { bytes: AtomicUsize::new(0), most: AtomicUsize::new(usize::MAX) })
    }

    /// How many bytes wait.
    pub(in crate::net) fn bytes(&self) -> usize {
        self.bytes.load(Relaxed)
    }

    /// Sets the limit from now on. `None` = no limit.
    pub(in crate::net) fn set_limit(&self, most: Option<usize>) {
        self.most.store(most.unwrap_or(usize::MAX), Relaxed);
    }
}

impl Share {
    /// Notes how many bytes wait on this side now. Returns whether that is more than before while all sides together
    /// exceed the limit.
    #[must_use = "true = this side must not go on"]
    pub(in crate::net) fn set(&mut self, of: &Arc<Unsent>, bytes: usize) -> bool {
        let before = mem::replace(&mut self.bytes, bytes);
        if bytes <= before {
            of.bytes.fetch_sub(before - bytes, Relaxed);
            return false;
        }
        self.of.get_or_insert_with(|| Arc::clone(of));
        let more = bytes - before;
        of.bytes.fetch_add(more, Relaxed).saturating_add(more) > of.most.load(Relaxed)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        if let Some(of) = &self.of {
            of.bytes.fetch_sub(self.bytes, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    #[test]
    fn who_adds_to_too_much_is_told_and_who_takes_away_is_not() {
        let unsent = Unsent::new();
        let (mut one, mut other) = (Share::default(), Share::default());
        assert!(!one.set(&unsent, 1 << 40));
        unsent.set_limit(Some(100));
        assert!(!one.set(&unsent, 60));
        assert!(!other.set(&unsent, 40));
        assert!(other.set(&unsent, 41));
        assert!(!other.set(&unsent, 41) && !one.set(&unsent, 59));
        assert!(!other.set(&unsent, 0) && !one.set(&unsent, 100));
    }

    proptest! {
        #[test]
        fn all_shares_are_given_back(events in vec((0..4_usize, 0..1000_usize), 0..100)) {
            let unsent = Unsent::new();
            let mut shares: [Share; 4] = Default::default();
            for (share, bytes) in events {
                let _ = shares[share].set(&unsent, bytes);
                let all: usize = shares.iter().map(|share| share.bytes).sum();
                prop_assert_eq!(unsent.bytes.load(Relaxed), all);
            }
            drop(shares);
            prop_assert_eq!(unsent.bytes.load(Relaxed), 0);
        }
    }
}
