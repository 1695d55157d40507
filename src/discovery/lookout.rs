//! All questions about one name or service, and the backends that follow from their answers.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
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
    /// Targets that are none any more, but serve until those that have come in their place are known.
    leaving: BTreeSet<ServiceTarget>,
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
            leaving: BTreeSet::new(),
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
                        self.let_go();
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
        let mut found = self.all_backends()?;
        found.truncate(self.place.settings.most);
        Some(found)
    }

    /// The same, however many there are.
    fn all_backends(&self) -> Option<Vec<BackendSettings>> {
        self.has_begun.then_some(())?;
        let mut found: Vec<_> = match &self.place.kind {
            NameKind::Host { host, port } => {
                let families = self.names.get(host)?;
                let by = self.found_by(FoundBy::Dns, host, *port);
                families.addresses().map(|address| found_at(address, *port, 1, 0, &by)).collect()
            }
            NameKind::Service(_) => self.of_targets(),
        };
        found.sort_by_key(|(address, settings)| (settings.tier, *address));
        let mut seen = HashSet::new();
        found.retain(|(address, _)| seen.insert(*address));
        Some(found.into_iter().map(|(_, settings)| settings).collect())
    }

    /// How many backends, or targets that would have some, are left out, because there are more than `most`.
    #[must_use]
    pub fn left_out(&self) -> usize {
        let targets = self.targets.as_ref().and_then(RecordList::records).map_or(0, BTreeSet::len);
        let backends = self.all_backends().map_or(0, |all| all.len());
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

    fn of_targets(&self) -> Vec<(SocketAddr, BackendSettings)> {
        let addresses = |target: &ServiceTarget| self.names.get(&target.name).into_iter().flat_map(Families::addresses);
        let serving = || self.current.iter().chain(&self.leaving).filter(|target| addresses(target).next().is_some());
        let priorities: BTreeSet<_> = serving().map(|target| target.priority).collect();
        let mut found = Vec::new();
        for target in serving() {
            let ServiceTarget { priority, weight, port, name } = target;
            let by = self.found_by(FoundBy::Srv, name, *port);
            let tier = u16::try_from(priorities.range(..priority).count()).unwrap_or(u16::MAX);
            let weight = u32::from(*weight).max(1);
            found.extend(addresses(target).map(|address| found_at(address, *port, weight, tier, &by)));
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
            self.leaving.append(&mut self.current);
            let there: HashSet<_> = known.iter().map(|target| (&target.name, target.port)).collect();
            self.leaving.retain(|target| !there.contains(&(&target.name, target.port)));
            while self.leaving.len() > settings.most {
                self.leaving.pop_last();
            }
        }
        for target in &known {
            self.names.entry(target.name.clone()).or_insert_with(|| Families::new(settings, now));
        }
        self.current = known;
        self.let_go();
    }

    /// Lets the targets go whose place others have taken, and the names that nobody needs.
    fn let_go(&mut self) {
        let Self { names, current, leaving, newcomers, .. } = self;
        let wanted: HashSet<_> = current.iter().map(|target| &target.name).collect();
        newcomers.retain(|name| wanted.contains(name) && !names.get(name).is_some_and(Families::is_certain));
        if newcomers.is_empty() {
            leaving.clear();
        }
        let last: HashSet<_> = leaving.iter().map(|target| &target.name).collect();
        names.retain(|name, _| wanted.contains(name) || last.contains(name));
    }

    fn lists(&self) -> impl Iterator<Item = &RecordList<IpAddr>> {
        self.names.values().flat_map(Families::lists)
    }
}

fn found_at(address: IpAddr, port: u16, weight: u32, tier: u16, by: &FoundAt) -> (SocketAddr, BackendSettings) {
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
    (address, settings)
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
mod tests {
    use std::time::Duration;

    use proptest::{collection::vec, prelude::*, sample::Index};

    use super::{
        super::{Family, LookupSettings},
        *,
    };

    fn place(kind: NameKind, settings: LookupSettings) -> NamePlace {
        NamePlace { kind, settings }
    }

    fn host(settings: LookupSettings) -> Lookout {
        let kind = NameKind::Host { host: "chat".into(), port: 80 };
        Lookout::new(place(kind, settings), None, Instant::now())
    }

    fn service() -> Lookout {
        Lookout::new(place(NameKind::Service("_ws._tcp.chat".into()), LookupSettings::default()), None, Instant::now())
    }

    fn addresses(addresses: &[&str]) -> DnsReply {
        let records = addresses.iter().filter_map(|address| address.parse().ok()).collect();
        DnsReply::Addresses(DnsAnswer::Records { records, ttl: Duration::from_secs(60) })
    }

    fn targets(targets: &[(u16, u16, u16, &str)]) -> DnsReply {
        let target = |(priority, weight, port, name): &(u16, u16, u16, &str)| ServiceTarget {
            priority: *priority,
            weight: *weight,
            port: *port,
            name: (*name).to_owned(),
        };
        let records = targets.iter().map(target).collect();
        DnsReply::Targets(DnsAnswer::Records { records, ttl: Duration::from_secs(60) })
    }

    /// Address, weight and tier of each backend.
    fn serves(lookout: &Lookout) -> Option<Vec<(String, u32, u16)>> {
        let backends = lookout.backends()?;
        Some(backends.into_iter().map(|backend| (backend.address, backend.weight, backend.tier)).collect())
    }

    fn plain(addresses: &[&str]) -> Option<Vec<(String, u32, u16)>> {
        Some(addresses.iter().map(|address| ((*address).to_owned(), 1, 0)).collect())
    }

    #[test]
    fn each_family_is_a_list_of_its_own() {
        let mut lookout = host(LookupSettings::default());
        let now = Instant::now();
        let questions = lookout.due(now);
        assert_eq!(questions, [DnsQuestion::Ipv4("chat".into()), DnsQuestion::Ipv6("chat".into())]);
        assert_eq!((lookout.due(now), lookout.next_due(), lookout.backends()), (vec![], None, None));
        lookout.note(&questions[0], addresses(&["10.0.0.2", "10.0.0.1"]), now, 0.0);
        assert!(!lookout.is_settled());
        assert_eq!(serves(&lookout), plain(&["10.0.0.1:80", "10.0.0.2:80"]));
        lookout.note(&questions[1], DnsReply::Addresses(DnsAnswer::Failed("REFUSED".into())), now, 0.0);
        assert!(lookout.is_settled());
        assert_eq!(serves(&lookout), plain(&["10.0.0.1:80", "10.0.0.2:80"]));
        assert_eq!(lookout.failure().map(|(failure, _)| failure).as_deref(), Some("REFUSED"));
        lookout.note(&questions[1], addresses(&["2001:db8::1"]), now, 0.0);
        assert_eq!(serves(&lookout), plain(&["10.0.0.1:80", "10.0.0.2:80", "[2001:db8::1]:80"]));
        assert_eq!(lookout.failure(), None);
    }

    #[test]
    fn a_name_is_empty_only_when_both_families_are() {
        let mut lookout = host(LookupSettings { empty_after: Duration::ZERO, ..LookupSettings::default() });
        let now = Instant::now();
        let [four, six] = &lookout.due(now)[..] else { panic!("two questions") };
        let empty = || DnsReply::Addresses(DnsAnswer::Empty);
        lookout.note(six, empty(), now, 0.0);
        lookout.note(four, addresses(&["10.0.0.1"]), now, 0.0);
        assert_eq!(serves(&lookout), plain(&["10.0.0.1:80"]));
        lookout.note(four, empty(), now, 0.0);
        assert_eq!(serves(&lookout), plain(&[]));
    }

    #[test]
    fn a_family_without_addresses_is_asked_for_as_seldom_as_the_other_one_until_that_has_none() {
        let mut lookout = host(LookupSettings::default());
        let now = Instant::now();
        let asked = lookout.due(now);
        let [four, six] = &asked[..] else { panic!("two questions") };
        let empty = || DnsReply::Addresses(DnsAnswer::Empty);
        lookout.note(four, addresses(&["10.0.0.1"]), now, 0.0);
        lookout.note(six, empty(), now, 0.0);
        let later = |seconds| now + Duration::from_secs(seconds);
        assert_eq!(lookout.due(later(59)), []);
        assert_eq!(lookout.due(later(60)), asked);
        lookout.note(six, empty(), later(60), 0.0);
        // Nobody has an address now, or both families will be asked soon.
        lookout.note(four, empty(), later(60), 0.0);
        assert_eq!(lookout.due(later(61)), asked);
        // The one that is on its way out is asked for each second, whatever the TTL of the other one.
        lookout.note(six, addresses(&["2001:db8::1"]), later(61), 0.0);
        lookout.note(four, empty(), later(61), 0.0);
        assert_eq!(lookout.due(later(62)).first(), Some(four));
    }

    #[test]
    fn a_family_that_fails_keeps_its_pace_while_the_other_one_has_no_addresses() {
        let mut lookout = host(LookupSettings::default());
        let start = Instant::now();
        let (mut now, mut seconds) = (start, [vec![], vec![]]);
        while now <= start + Duration::from_secs(18) {
            for question in lookout.due(now) {
                let (index, reply) = match &question {
                    DnsQuestion::Ipv4(_) => (0, failed()),
                    _ => (1, DnsReply::Addresses(DnsAnswer::Empty)),
                };
                seconds[index].push((now - start).as_secs());
                lookout.note(&question, reply, now, 0.0);
            }
            now = lookout.next_due().unwrap_or(now);
        }
        assert_eq!(seconds, [vec![0, 1, 3, 7, 12, 17], (0..=18).collect()]);
    }

    #[test]
    fn one_family_is_asked_for_alone() {
        for (family, expected) in
            [(Family::Ipv4, DnsQuestion::Ipv4("chat".into())), (Family::Ipv6, DnsQuestion::Ipv6("chat".into()))]
        {
            let mut lookout = host(LookupSettings { family, ..LookupSettings::default() });
            assert_eq!(lookout.due(Instant::now()), [expected]);
        }
    }

    #[test]
    fn the_lowest_addresses_are_kept() {
        let mut lookout = host(LookupSettings { most: 2, ..LookupSettings::default() });
        let now = Instant::now();
        let questions = lookout.due(now);
        lookout.note(&questions[0], addresses(&["10.0.0.10", "10.0.0.9", "9.255.0.1", "10.0.0.11"]), now, 0.0);
        assert_eq!((serves(&lookout), lookout.left_out()), (plain(&["9.255.0.1:80", "10.0.0.9:80"]), 2));
    }

    #[test]
    fn a_service_has_ports_weights_and_tiers() {
        let mut lookout = service();
        let now = Instant::now();
        let asked = lookout.due(now);
        assert_eq!(asked, [DnsQuestion::Targets("_ws._tcp.chat".into())]);
        let records = [(20, 5, 9002, "b.chat"), (10, 0, 9001, "a.chat"), (10, 60, 9003, "c.chat")];
        lookout.note(&asked[0], targets(&records), now, 0.0);
        assert!(!lookout.is_settled());
        for question in lookout.due(now) {
            let reply = match &question {
                DnsQuestion::Ipv4(name) if name == "a.chat." => addresses(&["10.0.0.1"]),
                DnsQuestion::Ipv4(name) if name == "b.chat." => addresses(&["10.0.0.2"]),
                DnsQuestion::Ipv4(_) => addresses(&["10.0.0.4", "10.0.0.3"]),
                _ => DnsReply::Addresses(DnsAnswer::Empty),
            };
            lookout.note(&question, reply, now, 0.0);
        }
        assert!(lookout.is_settled());
        let expected =
            [("10.0.0.1:9001", 1, 0), ("10.0.0.3:9003", 60, 0), ("10.0.0.4:9003", 60, 0), ("10.0.0.2:9002", 5, 1)];
        assert_eq!(
            serves(&lookout),
            Some(expected.map(|(address, weight, tier)| (address.to_owned(), weight, tier)).into())
        );
        // A target that is gone takes its addresses along. One that stays is not asked for again.
        lookout.note(&asked[0], targets(&records[..1]), now, 0.0);
        assert_eq!(serves(&lookout), Some(vec![("10.0.0.2:9002".to_owned(), 5, 0)]));
        assert_eq!(lookout.due(now), []);
    }

    #[test]
    fn targets_that_have_gone_serve_until_those_that_have_come_are_known() {
        let mut lookout = service();
        let now = Instant::now();
        let asked = lookout.due(now);
        let note = |lookout: &mut Lookout, targets_now: &[(u16, u16, u16, &str)], known: &[(&str, &str)]| {
            lookout.note(&asked[0], targets(targets_now), now, 0.0);
            for question in lookout.due(now) {
                let reply = match &question {
                    DnsQuestion::Ipv4(name) => match known.iter().find(|(target, _)| name == target) {
                        Some((_, address)) => addresses(&[address]),
                        None => failed(),
                    },
                    _ => failed(),
                };
                lookout.note(&question, reply, now, 0.0);
            }
            serves(lookout)
        };
        let (a, b, c, d) = ((1, 1, 80, "a"), (1, 1, 80, "b"), (1, 1, 80, "c"), (1, 1, 80, "d"));
        // At the start there is nobody to lose.
        assert_eq!(note(&mut lookout, &[a, b], &[("a.", "10.0.0.1")]), plain(&["10.0.0.1:80"]));
        // One that fails all the time keeps nobody.
        assert_eq!(note(&mut lookout, &[b, c], &[("c.", "10.0.0.3")]), plain(&["10.0.0.3:80"]));
        assert_eq!(note(&mut lookout, &[b, d], &[]), plain(&["10.0.0.3:80"]));
        assert_eq!(lookout.names.len(), 3);
        let known = addresses(&["10.0.0.4"]);
        lookout.note(&DnsQuestion::Ipv4("d.".into()), known, now, 0.0);
        assert_eq!((serves(&lookout), lookout.names.len()), (plain(&["10.0.0.4:80"]), 2));
    }

    /// The questions of one that begins with the backends of another, as after a reload with other settings.
    fn after(lookout: &Lookout, settings: LookupSettings) -> Lookout {
        let before = Finding { backends: lookout.backends(), failure: None, since: Instant::now() };
        Lookout::new(NamePlace { settings, ..lookout.place.clone() }, Some(&before), before.since)
    }

    fn failed() -> DnsReply {
        DnsReply::Addresses(DnsAnswer::Failed("SERVFAIL".into()))
    }

    #[test]
    fn after_a_reload_each_family_replaces_its_own_addresses() {
        let both = |four: &str, six: &str| plain(&[&format!("10.0.0.{four}:80"), &format!("[2001:db8::{six}]:80")]);
        let mut before = host(LookupSettings::default());
        let now = Instant::now();
        let asked = before.due(now);
        before.note(&asked[0], addresses(&["10.0.0.1"]), now, 0.0);
        before.note(&asked[1], addresses(&["2001:db8::1"]), now, 0.0);
        let mut lookout = after(&before, LookupSettings { most: 9, ..LookupSettings::default() });
        assert_eq!((serves(&lookout), lookout.failure()), (both("1", "1"), None));
        let now = Instant::now();
        assert_eq!(lookout.due(now), asked, "all is asked at once");
        // One family fails for ever.
        lookout.note(&asked[1], failed(), now, 0.0);
        assert!(!lookout.is_settled(), "the start of a reload waits for the other one");
        lookout.note(&asked[0], addresses(&["10.0.0.2"]), now, 0.0);
        assert_eq!((serves(&lookout), lookout.is_settled()), (both("2", "1"), true));
        // Emptiness counts after its time.
        let later = |seconds| now + Duration::from_secs(seconds);
        lookout.note(&asked[1], DnsReply::Addresses(DnsAnswer::Empty), later(1), 0.0);
        assert_eq!(serves(&lookout), both("2", "1"));
        lookout.note(&asked[1], DnsReply::Addresses(DnsAnswer::Empty), later(31), 0.0);
        assert_eq!(serves(&lookout), plain(&["10.0.0.2:80"]));
    }

    #[test]
    fn after_a_reload_a_family_that_never_had_addresses_holds_nothing_up() {
        for other in [failed(), DnsReply::Addresses(DnsAnswer::Empty)] {
            let mut before = host(LookupSettings::default());
            let now = Instant::now();
            let asked = before.due(now);
            before.note(&asked[0], addresses(&["10.0.0.1", "10.0.0.2"]), now, 0.0);
            let mut lookout = after(&before, LookupSettings { most: 9, ..LookupSettings::default() });
            lookout.note(&asked[1], other, now, 0.0);
            assert_eq!(serves(&lookout), plain(&["10.0.0.1:80", "10.0.0.2:80"]));
            lookout.note(&asked[0], addresses(&["10.0.0.3"]), now, 0.0);
            assert_eq!(serves(&lookout), plain(&["10.0.0.3:80"]));
        }
    }

    #[test]
    fn after_a_reload_a_name_that_had_no_address_serves_with_its_first_answer() {
        let mut before = host(LookupSettings { empty_after: Duration::ZERO, ..LookupSettings::default() });
        let now = Instant::now();
        let asked = before.due(now);
        before.note(&asked[0], DnsReply::Addresses(DnsAnswer::Empty), now, 0.0);
        assert_eq!(serves(&before), plain(&[]));
        let mut lookout = after(&before, LookupSettings::default());
        assert_eq!(serves(&lookout), None, "what is kept serves");
        lookout.note(&asked[1], failed(), now, 0.0);
        lookout.note(&asked[0], addresses(&["10.0.0.1"]), now, 0.0);
        assert_eq!(serves(&lookout), plain(&["10.0.0.1:80"]));
    }

    #[test]
    fn after_a_reload_each_target_of_a_service_is_itself_again() {
        let mut before = service();
        let now = Instant::now();
        let asked = before.due(now);
        before.note(&asked[0], targets(&[(10, 7, 80, "a"), (20, 0, 80, "b")]), now, 0.0);
        before.note(&DnsQuestion::Ipv4("a.".into()), addresses(&["10.0.0.1"]), now, 0.0);
        before.note(&DnsQuestion::Ipv4("b.".into()), addresses(&["10.0.0.2", "10.0.0.3"]), now, 0.0);
        before.note(&DnsQuestion::Ipv6("a.".into()), failed(), now, 0.0);
        before.note(&DnsQuestion::Ipv6("b.".into()), failed(), now, 0.0);
        let mut lookout = after(&before, LookupSettings { most: 9, ..LookupSettings::default() });
        assert_eq!(lookout.backends(), before.backends());
        let now = Instant::now();
        assert_eq!(lookout.due(now).len(), 5, "the service, and two families of two targets");
        // Of ten targets nine may fail: each keeps its own.
        lookout.note(&asked[0], targets(&[(10, 9, 80, "a"), (10, 1, 80, "b")]), now, 0.0);
        lookout.note(&DnsQuestion::Ipv4("a.".into()), failed(), now, 0.0);
        lookout.note(&DnsQuestion::Ipv4("b.".into()), addresses(&["10.0.0.4"]), now, 0.0);
        let expected = [("10.0.0.1:80", 9, 0), ("10.0.0.4:80", 1, 0)];
        assert_eq!(serves(&lookout), Some(expected.map(|(name, weight, tier)| (name.to_owned(), weight, tier)).into()));
        // One that is a target no more goes.
        lookout.note(&asked[0], targets(&[(10, 1, 80, "b")]), now, 0.0);
        assert_eq!(serves(&lookout), plain(&["10.0.0.4:80"]));
    }

    #[test]
    fn after_a_reload_a_failure_that_lasts_is_as_old_as_it_is() {
        let mut before = host(LookupSettings::default());
        let now = Instant::now();
        let since = now.checked_sub(Duration::from_secs(3)).unwrap_or(now);
        let asked = before.due(now);
        before.note(&asked[0], addresses(&["10.0.0.1"]), now, 0.0);
        let before = Finding { backends: before.backends(), failure: Some("REFUSED".into()), since };
        let place = place(NameKind::Host { host: "chat".into(), port: 80 }, LookupSettings::default());
        let mut lookout = Lookout::new(place, Some(&before), now);
        lookout.note(&asked[0], addresses(&["10.0.0.1"]), now, 0.0);
        assert_eq!(lookout.failure(), Some(("REFUSED".to_owned(), since)));
        lookout.note(&asked[1], failed(), now, 0.0);
        assert_eq!(lookout.failure(), Some(("SERVFAIL".to_owned(), since)));
        lookout.note(&asked[1], addresses(&["2001:db8::1"]), now, 0.0);
        assert_eq!(lookout.failure(), None);
    }

    proptest! {
        /// Two that hear the same in another order know the same, in the same order.
        #[test]
        fn the_order_of_answers_does_not_matter(
            lasts in vec(0..20_u8, 1..12), order in vec(any::<Index>(), 12), most in 1..8_usize
        ) {
            let settings = LookupSettings { most, ..LookupSettings::default() };
            let (mut one, mut other) = (host(settings.clone()), host(settings));
            let now = Instant::now();
            let all: Vec<_> = lasts.iter().map(|last| format!("10.0.0.{last}")).collect();
            let mut shuffled = all.clone();
            for (place, index) in order.iter().enumerate().take(shuffled.len()) {
                let other = index.index(shuffled.len());
                shuffled.swap(place, other);
            }
            let six = addresses(&["2001:db8::7", "2001:db8::1"]);
            let questions = one.due(now);
            other.due(now);
            let four = |all: &[String]| addresses(&all.iter().map(String::as_str).collect::<Vec<_>>());
            one.note(&questions[0], four(&all), now, 0.0);
            one.note(&questions[1], six.clone(), now, 0.0);
            other.note(&questions[1], six, now, 0.0);
            other.note(&questions[0], four(&shuffled), now, 0.0);
            prop_assert_eq!(one.backends(), other.backends());
            prop_assert!(one.backends().is_some_and(|backends| backends.len() <= most));
        }
    }
}
