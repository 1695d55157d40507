//! The addresses of one name. Each family is a list of its own, with its TTL, its failures and its emptiness.

use std::{collections::BTreeSet, net::IpAddr, time::Instant};

use super::{
    LookupSettings,
    records::{DnsAnswer, RecordList},
};

/// The addresses of one name, by family; `None` = this family is not wanted.
#[derive(Debug)]
pub(super) struct Families {
    ipv4: Option<RecordList<IpAddr>>,
    ipv6: Option<RecordList<IpAddr>>,
}

impl Families {
    /// Both are to be asked for at once, as far as they are wanted.
    pub(super) fn new(settings: &LookupSettings, now: Instant) -> Self {
        let family = settings.family;
        Self {
            ipv4: family.has_ipv4().then(|| RecordList::new(now)),
            ipv6: family.has_ipv6().then(|| RecordList::new(now)),
        }
    }

    /// Begins with what was known before: each family with its own addresses among these, and with the failure that lasts.
    pub(super) fn remember(&mut self, addresses: BTreeSet<IpAddr>, failure: Option<&(String, Instant)>) {
        let (ipv4, ipv6) = addresses.into_iter().partition(IpAddr::is_ipv4);
        for (list, addresses) in [(&mut self.ipv4, ipv4), (&mut self.ipv6, ipv6)] {
            if let Some(list) = list {
                list.remember(addresses, failure);
            }
        }
    }

    /// Whether IPv4 and IPv6 are to be asked for now. They are being asked for then.
    pub(super) fn begin_due(&mut self, now: Instant) -> [bool; 2] {
        [&mut self.ipv4, &mut self.ipv6].map(|list| list.as_mut().is_some_and(|list| list.begin_if_due(now)))
    }

    /// Notes what came of the question for a family.
    pub(super) fn note(
        &mut self,
        is_ipv6: bool,
        answer: DnsAnswer<IpAddr>,
        settings: &LookupSettings,
        (now, chance): (Instant, f64),
    ) {
        let (list, other) = match is_ipv6 {
            false => (&mut self.ipv4, &mut self.ipv6),
            true => (&mut self.ipv6, &mut self.ipv4),
        };
        let Some(list) = list else { return };
        list.note(answer, settings, now, chance);
        if let Some(other) = other {
            list.keep_pace(other, now);
        }
    }

    pub(super) fn lists(&self) -> impl Iterator<Item = &RecordList<IpAddr>> {
        self.ipv4.iter().chain(&self.ipv6)
    }

    /// Whether an answer has said which addresses there are. A family without an answer has none, so that the addresses of
    /// the other one serve.
    pub(super) fn is_known(&self) -> bool {
        self.lists().any(|list| list.records().is_some())
    }

    /// Whether answers have said of every family which addresses there are.
    pub(super) fn is_known_whole(&self) -> bool {
        self.lists().all(|list| list.records().is_some())
    }

    /// Whether its addresses may stand in the place of others: there are some, or it is certain that there are none.
    pub(super) fn is_certain(&self) -> bool {
        self.has_addresses() || self.is_known_whole()
    }

    pub(super) fn has_addresses(&self) -> bool {
        self.addresses().next().is_some()
    }

    /// Whether first answers are still to come, and none has said an address.
    pub(super) fn is_pending(&self) -> bool {
        !self.is_known() && !self.lists().all(RecordList::is_settled)
    }

    pub(super) fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.lists().filter_map(RecordList::records).flatten().copied()
    }
}
