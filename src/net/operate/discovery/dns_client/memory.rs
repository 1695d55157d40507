//! What earlier questions have taught.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use hickory_resolver::proto::rr::{Name, RecordType};

/// How long a server that did not answer is asked after the others.
const ASKED_LAST: Duration = Duration::from_secs(30);

/// The servers that did not answer lately.
#[derive(Debug, Default)]
pub(super) struct Silent(Mutex<BTreeMap<SocketAddr, Instant>>);

impl Silent {
    pub(super) fn note(&self, server: SocketAddr, now: Instant) {
        let mut silent = self.lock();
        silent.retain(|_, since| is_fresh(*since, now));
        silent.insert(server, now);
    }

    pub(super) fn has(&self, server: SocketAddr, now: Instant) -> bool {
        self.lock().get(&server).is_some_and(|since| is_fresh(*since, now))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<SocketAddr, Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_fresh(since: Instant, now: Instant) -> bool {
    now.saturating_duration_since(since) < ASKED_LAST
}

/// The whole name for which a name stands: one for all its records, so that the addresses of different hosts never mix.
#[derive(Debug)]
pub(super) struct WholeName {
    name: Name,
    /// Types of which there were records at the last answer.
    kinds: Vec<RecordType>,
    /// Since when there have been none of any type.
    empty_since: Option<Instant>,
}

impl WholeName {
    /// A name that has records of this type.
    pub(super) fn new(name: Name, kind: RecordType) -> Self {
        Self { name, kinds: vec![kind], empty_since: None }
    }

    pub(super) const fn name(&self) -> &Name {
        &self.name
    }

    /// Notes whether there are records of this type.
    pub(super) fn note(&mut self, kind: RecordType, has_records: bool, now: Instant) {
        self.kinds.retain(|known| *known != kind);
        if has_records {
            self.kinds.push(kind);
        }
        match self.kinds.is_empty() {
            true => _ = self.empty_since.get_or_insert(now),
            false => self.empty_since = None,
        }
    }

    /// Whether there have been no records for so long that the name may stand for another one.
    pub(super) fn is_gone(&self, empty_after: Duration, now: Instant) -> bool {
        self.empty_since.is_some_and(|since| now.saturating_duration_since(since) >= empty_after)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_gone_once_no_family_has_had_addresses_for_a_while() {
        let (start, after) = (Instant::now(), Duration::from_secs(30));
        let at = |second| start + Duration::from_secs(second);
        let mut name = WholeName::new(Name::root(), RecordType::A);
        name.note(RecordType::AAAA, false, at(0));
        assert!(!name.is_gone(after, at(100)), "A has records");
        name.note(RecordType::A, false, at(100));
        name.note(RecordType::AAAA, false, at(120));
        assert!(!name.is_gone(after, at(129)) && name.is_gone(after, at(130)));
        name.note(RecordType::AAAA, true, at(131));
        assert!(!name.is_gone(after, at(1000)));
    }

    #[test]
    fn a_silent_server_is_asked_last_for_a_while() {
        let (silent, now) = (Silent::default(), Instant::now());
        let [one, other] = [([192, 0, 2, 1], 53), ([192, 0, 2, 2], 53)].map(SocketAddr::from);
        silent.note(one, now);
        assert!(silent.has(one, now) && !silent.has(other, now));
        assert!(!silent.has(one, now + ASKED_LAST));
        silent.note(other, now + ASKED_LAST);
        assert_eq!(silent.lock().len(), 1);
    }
}
