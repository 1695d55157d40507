//! All questions about one name or service, and the backends that follow from their answers.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    mem,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Instant,
};

use super::{
    Finding, NameKind, NamePlace,
    families::Families,
    records::{DnsAnswer, RecordList},
};
use crate::balance::{BackendSettings, FoundAt, FoundBy};

/// A question to the DNS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DnsQuestion {
    /// The IPv4 addresses of a name.
    Ipv4(String),
    /// The IPv6 addresses of a name.
    Ipv6(String),
    /// The targets of a service.
    Targets(String),
}

/// The answer to a [`DnsQuestion`] of its kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DnsReply {
    /// To a question for addresses.
    Addresses(DnsAnswer<IpAddr>),
    /// To a question for targets.
    Targets(DnsAnswer<ServiceTarget>),
}

/// An SRV record (RFC 2782), the lowest priority first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ServiceTarget {
    /// Targets with the lowest number serve, as long as one of them is up.
    pub priority: u16,
    /// The share of the target among those of its priority.
    pub weight: u16,
    /// The port of each of its addresses.
    pub port: u16,
    /// Its name.
    pub name: String,
}

/// The questions about one place, with what is known by their answers.
#[derive(Debug)]
pub struct Lookout {
    place: NamePlace,
    from: Arc<str>,
    /// `None` = the place is a name, which is its own target.
    targets: Option<RecordList<ServiceTarget>>,
    names: BTreeMap<String, Families>,
    /// The targets of the last answer.
    current: BTreeSet<ServiceTarget>,
    /// Targets that are none any more, but serve until those that have come in their place are known; each with the time since
    /// when it has been none.
    leaving: BTreeMap<ServiceTarget, Instant>,
    /// The names of those that have come in their place.
    newcomers: BTreeSet<String>,
    /// Whether enough has been known to serve.
    has_begun: bool,
}

impl Lookout {
    /// Everything is to be asked at once. `before`: what was found at the place before. It serves until the answers say
    /// otherwise, each target and each family of a name by itself.
    #[must_use]
    pub fn new(place: NamePlace, before: Option<&Finding>, now: Instant) -> Self {
        let mut names = BTreeMap::new();
        let targets = match &place.kind {
            NameKind::Host { host, .. } => {
                names.insert(host.clone(), Families::new(&place.settings, now));
                None
            }
            NameKind::Service(_) => Some(RecordList::new(now)),
        };
        let mut lookout = Self {
            from: place.kind.to_string().into(),
            place,
            targets,
            names,
            current: BTreeSet::new(),
            leaving: BTreeMap::new(),
            newcomers: BTreeSet::new(),
            has_begun: false,
        };
        if let Some(before) = before {
            lookout.remember(before, now);
        }
        lookout
    }

    /// Begins with the targets and addresses that have led to these backends.
    fn remember(&mut self, before: &Finding, now: Instant) {
        let failure = before.failure.clone().map(|failure| (failure, before.since));
        let mut names: BTreeMap<_, BTreeSet<_>> =
            self.names.keys().map(|name| (name.clone(), BTreeSet::new())).collect();
        let mut current = BTreeSet::new();
        for (target, address) in before.backends.iter().flatten().filter_map(target_of) {
            let name = match &self.place.kind {
                NameKind::Host { host, .. } => host.clone(),
                NameKind::Service(_) => target.name.clone(),
            };
            names.entry(name).or_default().insert(address);
            current.insert(target);
        }
        for (name, addresses) in names {
            let families = self.names.entry(name).or_insert_with(|| Families::new(&self.place.settings, now));
            families.remember(addresses, failure.as_ref());
        }
        if let Some(targets) = &mut self.targets {
            targets.remember(current.clone(), failure.as_ref());
            self.current = current;
        }
        self.has_begun = self.may_begin();
    }

    /// The questions that are to be asked now. Each is to be answered by [`Self::note`] before it comes again.
    pub fn due(&mut self, now: Instant) -> Vec<DnsQuestion> {
        let mut due = Vec::new();
        if let (Some(targets), NameKind::Service(service)) = (&mut self.targets, &self.place.kind)
            && targets.begin_if_due(now)
        {
            due.push(DnsQuestion::Targets(service.clone()));
        }
        // A target is a whole name. No search list applies to it.
        let dot = if self.targets.is_some() { "." } else { "" };
        for (name, families) in &mut self.names {
            let name = format!("{name}{dot}");
            let [ipv4, ipv6] = families.begin_due(now);
            due.extend(ipv4.then(|| DnsQuestion::Ipv4(name.clone())));
            due.extend(ipv6.then_some(DnsQuestion::Ipv6(name)));
        }
        due
    }

    /// When the next question is due; `None` = all are being asked.
    #[must_use]
    pub fn next_due(&self) -> Option<Instant> {
        let targets = self.targets.as_ref().and_then(RecordList::ask_at);
        self.lists().filter_map(RecordList::ask_at).chain(targets).min()
    }

    /// Notes a reply. A reply to a question about a target that is none any more says nothing. `chance`: from 0 to 1.
    pub fn note(&mut self, question: &DnsQuestion, reply: DnsReply, now: Instant, chance: f64) {
        let settings = &self.place.settings;
        match (question, reply) {
            (DnsQuestion::Targets(_), DnsReply::Targets(answer)) => {
                if let Some(targets) = &mut self.targets {
                    targets.note(answer, settings, now, chance);
                    self.follow_targets(now);
                }
            }
            (DnsQuestion::Ipv4(name) | DnsQuestion::Ipv6(name), DnsReply::Addresses(answer)) => {
                let name = if self.targets.is_some() { name.trim_end_matches('.') } else { name };
                if let Some(families) = self.names.get_mut(name) {
                    families.note(matches!(question, DnsQuestion::Ipv6(_)), answer, settings, (now, chance));
                    if !self.newcomers.is_empty() {
                        self.let_go(now);
                    }
                }
            }
            // No question gets the reply of another kind.
            (_, DnsReply::Targets(_) | DnsReply::Addresses(_)) => {}
        }
        self.has_begun = self.has_begun || self.may_begin();
    }

    /// Whether enough is known to serve.
    fn may_begin(&self) -> bool {
        let mut names = self.names.values();
        match &self.targets {
            None => names.all(Families::is_known),
            Some(targets) => targets.records().is_some() && !names.any(Families::is_pending),
        }
    }

    /// Whether each question has had its first answer or failure.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        let targets = self.targets.as_ref().is_none_or(RecordList::is_settled);
        targets && self.lists().all(RecordList::is_settled)
    }

    /// The backends, by tier and address; `None` = not enough is known yet: what was found before then stays.
    #[must_use]
    pub fn backends(&self) -> Option<Vec<BackendSettings>> {
        let mut found = self.all_found()?;
        found.truncate(self.place.settings.most);
        found.sort_by_key(|found| (found.settings.tier, found.address));
        Some(found.into_iter().map(|found| found.settings).collect())
    }

    /// The same, however many there are. Those of targets that have gone are the last ones.
    fn all_found(&self) -> Option<Vec<FoundBackend>> {
        self.has_begun.then_some(())?;
        let mut found: Vec<_> = match &self.place.kind {
            NameKind::Host { host, port } => {
                let families = self.names.get(host)?;
                let by = self.found_by(FoundBy::Dns, host, *port);
                families.addresses().map(|address| found_at(address, *port, (1, 0), &by)).collect()
            }
            NameKind::Service(_) => self.of_targets(),
        };
        found.sort_by_key(|found| (found.is_leaving, found.settings.tier, found.address));
        let mut seen = HashSet::new();
        found.retain(|found| seen.insert(found.address));
        Some(found)
    }

    /// How many backends, or targets that would have some, are left out, because there are more than `most`.
    #[must_use]
    pub fn left_out(&self) -> usize {
        let targets = self.targets.as_ref().and_then(RecordList::records).map_or(0, BTreeSet::len);
        let backends = self.all_found().map_or(0, |all| all.iter().filter(|found| !found.is_leaving).count());
        targets.max(backends).saturating_sub(self.place.settings.most)
    }

    /// The first failure that lasts, and since when; `None` = every last answer said something.
    #[must_use]
    pub fn failure(&self) -> Option<(String, Instant)> {
        let of_targets = self.targets.iter().filter_map(|list| Some((list.failure()?, list.stale_since()?)));
        let of_names = self.lists().filter_map(|list| Some((list.failure()?, list.stale_since()?)));
        let (failure, since) = of_targets.chain(of_names).min_by_key(|(_, since)| *since)?;
        Some((failure.to_owned(), since))
    }

    /// A target that has gone is in no better tier than the best target that serves in its place.
    fn of_targets(&self) -> Vec<FoundBackend> {
        let addresses = |target: &ServiceTarget| self.names.get(&target.name).into_iter().flat_map(Families::addresses);
        let serves = |target: &&ServiceTarget| self.names.get(&target.name).is_some_and(Families::has_addresses);
        let current: Vec<_> =
            self.current.iter().filter(serves).map(|target| (target.priority, target, false)).collect();
        let best = current.iter().map(|(priority, ..)| *priority).min().unwrap_or_default();
        let leaving = self.leaving.keys().filter(serves).map(|target| (target.priority.max(best), target, true));
        let serving: Vec<_> = current.into_iter().chain(leaving).collect();
        let priorities: BTreeSet<_> = serving.iter().map(|(priority, ..)| *priority).collect();
        let mut found = Vec::new();
        for (priority, target, is_leaving) in serving {
            let by = self.found_by(FoundBy::Srv, &target.name, target.port);
            let tier = u16::try_from(priorities.range(..priority).count()).unwrap_or(u16::MAX);
            let weight = u32::from(target.weight).max(1);
            let each = addresses(target).map(|address| found_at(address, target.port, (weight, tier), &by));
            found.extend(each.map(|found| FoundBackend { is_leaving, ..found }));
        }
        found
    }

    /// A certificate has no dot at the end of a name.
    fn found_by(&self, by: FoundBy, name: &str, port: u16) -> FoundAt {
        let name = format!("{}:{port}", name.trim_end_matches('.'));
        FoundAt { by, from: Arc::clone(&self.from), name: Some(name.into()) }
    }

    /// Asks for the addresses of the targets of the last answer, of `most` at most. Those that have come take the place of those
    /// that have gone once their own addresses are known: a failure then loses nobody.
    fn follow_targets(&mut self, now: Instant) {
        let Some(known) = self.targets.as_ref().and_then(RecordList::records) else { return };
        let settings = &self.place.settings;
        let known: BTreeSet<_> = known.iter().take(settings.most).cloned().collect();
        if self.has_begun {
            let come = known.iter().map(|target| &target.name).filter(|name| !self.names.contains_key(*name));
            self.newcomers.extend(come.cloned());
            for target in mem::take(&mut self.current) {
                self.leaving.entry(target).or_insert(now);
            }
            let there: HashSet<_> = known.iter().map(|target| (&target.name, target.port)).collect();
            self.leaving.retain(|target, _| !there.contains(&(&target.name, target.port)));
            while self.leaving.len() > settings.most {
                self.leaving.pop_last();
            }
        }
        for target in &known {
            self.names.entry(target.name.clone()).or_insert_with(|| Families::new(settings, now));
        }
        self.current = known;
        self.let_go(now);
    }

    /// Lets the targets go whose place others have taken, and the names that nobody needs. `empty_after` is the longest that a
    /// target waits for all that have come, if there is an address beside its own.
    fn let_go(&mut self, now: Instant) {
        let Self { names, current, leaving, newcomers, place, .. } = self;
        let wanted: HashSet<_> = current.iter().map(|target| &target.name).collect();
        newcomers.retain(|name| wanted.contains(name) && !names.get(name).is_some_and(Families::is_certain));
        if newcomers.is_empty() {
            leaving.clear();
        }
        let has_addresses = |target: &ServiceTarget| names.get(&target.name).is_some_and(Families::has_addresses);
        if current.iter().any(has_addresses) {
            leaving.retain(|_, since| now.saturating_duration_since(*since) < place.settings.empty_after);
        }
        let last: HashSet<_> = leaving.keys().map(|target| &target.name).collect();
        names.retain(|name, _| wanted.contains(name) || last.contains(name));
    }

    fn lists(&self) -> impl Iterator<Item = &RecordList<IpAddr>> {
        self.names.values().flat_map(Families::lists)
    }
}

/// A backend, before it is known which ones are kept.
struct FoundBackend {
    address: SocketAddr,
    settings: BackendSettings,
    /// Its target is none any more.
    is_leaving: bool,
}

fn found_at(address: IpAddr, port: u16, (weight, tier): (u32, u16), by: &FoundAt) -> FoundBackend {
    let address = SocketAddr::new(address.to_canonical(), port);
    let settings = BackendSettings {
        address: address.to_string(),
        weight,
        max_conns: 0,
        backup: false,
        down: false,
        tier,
        found: Some(by.clone()),
    };
    FoundBackend { address, settings, is_leaving: false }
}

/// The target, and its address, that have led to a backend. Its tier stands for its priority.
fn target_of(backend: &BackendSettings) -> Option<(ServiceTarget, IpAddr)> {
    let address: SocketAddr = backend.address.parse().ok()?;
    let (name, _) = backend.found.as_ref()?.name.as_ref()?.rsplit_once(':')?;
    let weight = u16::try_from(backend.weight).unwrap_or(u16::MAX);
    let target = ServiceTarget { priority: backend.tier, weight, port: address.port(), name: name.to_owned() };
    Some((target, address.ip()))
}

#[cfg(test)]
mod tests;
