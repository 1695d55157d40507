//! Counts attempts with forged tokens of sessions by the address of the client, so that nobody can try many.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Instant,
};

use crate::{
    sender::{Client, Octets},
    ws::{
        rate::{Bucket, Rate},
        tick::Tick,
    },
};

/// The most attempts of one address in a second. A client that was never lied to makes none.
const PER_SECOND: u64 = 10;

/// The most addresses that are remembered at once. Attempts from further ones are too many, until an address can be forgotten.
const MOST_ADDRESSES: usize = 4096;

/// The attempts of the last second.
#[derive(Debug)]
pub(in crate::net) struct WrongTokens {
    epoch: Instant,
    /// Behind a lock, which is taken only for forged tokens.
    buckets: Mutex<HashMap<Octets, Bucket>>,
}

impl WrongTokens {
    pub(in crate::net) fn new(now: Instant) -> Self {
        Self { epoch: now, buckets: Mutex::default() }
    }

    /// Notes an attempt. Returns whether the client may go on.
    pub(in crate::net) fn note(&self, client: Client, now: Instant) -> bool {
        let Some(rate) = Rate::per_second(PER_SECOND) else { return true };
        let now = Tick::new(self.epoch, now);
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let network = client.counted_as();
        if !buckets.contains_key(&network) && buckets.len() >= MOST_ADDRESSES {
            buckets.retain(|_, bucket| !bucket.is_full(now));
            if buckets.len() >= MOST_ADDRESSES {
                return false;
            }
        }
        buckets.entry(network).or_insert_with(|| Bucket::full(now)).take(1, rate, now)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        net::{IpAddr, Ipv4Addr},
        time::Duration,
    };

    use super::*;

    fn client(number: u32) -> Client {
        IpAddr::from(Ipv4Addr::from_bits(number)).into()
    }

    #[test]
    fn an_address_has_ten_attempts_in_a_second_and_another_one_its_own() {
        let now = Instant::now();
        let tokens = WrongTokens::new(now);
        assert!((0..PER_SECOND).all(|_| tokens.note(client(1), now)));
        assert!(!tokens.note(client(1), now) && tokens.note(client(2), now));
        let later = now + Duration::from_secs(1);
        assert!((0..PER_SECOND).all(|_| tokens.note(client(1), later)) && !tokens.note(client(1), later));
    }

    #[test]
    fn a_full_table_forgets_addresses_that_were_quiet_for_a_second() {
        let now = Instant::now();
        let tokens = WrongTokens::new(now);
        assert!((0..MOST_ADDRESSES as u32).all(|number| tokens.note(client(number), now)));
        assert!(!tokens.note(client(u32::MAX), now) && tokens.note(client(7), now));
        assert!(tokens.note(client(u32::MAX), now + Duration::from_secs(1)));
    }
}
