//! Numbers that nobody outside can guess, made without a system call for each.

use std::{
    hash::Hasher,
    io,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use siphasher::sip128::{Hasher128, SipHasher13};

/// A counter that is hashed with a random key of the process.
#[derive(Debug)]
pub(in crate::net) struct Nonces {
    key: [u8; 16],
    count: AtomicU64,
}

impl Nonces {
    /// # Errors
    /// The kernel has no random bytes.
    pub(in crate::net) fn new() -> io::Result<Self> {
        let mut key = [0; 16];
        getrandom::fill(&mut key).map_err(io::Error::other)?;
        Ok(Self { key, count: AtomicU64::new(0) })
    }

    /// Returns a number that differs from all numbers before.
    pub(in crate::net) fn next(&self) -> u128 {
        let mut hasher = SipHasher13::new_with_key(&self.key);
        hasher.write_u64(self.count.fetch_add(1, Relaxed));
        hasher.finish128().as_u128()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_two_are_alike_nor_those_of_two_processes() {
        let (ours, theirs) = (Nonces::new().unwrap(), Nonces::new().unwrap());
        let numbers: HashSet<_> = (0..1000).flat_map(|_| [ours.next(), theirs.next()]).collect();
        assert_eq!(numbers.len(), 2000);
    }
}
