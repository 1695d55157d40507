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
    service_of(LookupSettings::default())
}

fn service_of(settings: LookupSettings) -> Lookout {
    Lookout::new(place(NameKind::Service("_ws._tcp.chat".into()), settings), None, Instant::now())
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
fn targets_that_have_gone_serve_behind_the_new_ones_and_not_for_ever() {
    let mut lookout = service_of(LookupSettings { most: 3, ..LookupSettings::default() });
    let now = Instant::now();
    let asked = lookout.due(now);
    let v4 = |name: &str| DnsQuestion::Ipv4(name.to_owned());
    lookout.note(&asked[0], targets(&[(10, 1, 80, "a"), (10, 1, 80, "b")]), now, 0.0);
    for (name, four) in [("a.", "10.0.0.1"), ("b.", "10.0.0.2")] {
        lookout.note(&v4(name), addresses(&[four]), now, 0.0);
        lookout.note(&DnsQuestion::Ipv6(name.to_owned()), failed(), now, 0.0);
    }
    let later = |seconds| now + Duration::from_secs(seconds);
    let only_old = plain(&["10.0.0.1:80", "10.0.0.2:80"]);
    lookout.note(&asked[0], targets(&[(20, 1, 80, "d"), (30, 1, 80, "e")]), later(60), 0.0);
    // Without any address of the new ones, those of before serve for ever.
    lookout.note(&v4("e."), failed(), later(600), 0.0);
    assert_eq!(serves(&lookout), only_old);
    lookout.note(&asked[0], targets(&[(10, 1, 80, "a"), (10, 1, 80, "b")]), later(660), 0.0);
    lookout.note(&asked[0], targets(&[(20, 1, 80, "d"), (30, 1, 80, "e")]), later(720), 0.0);
    // They share the first tier with the new ones, and `most` cuts them off first.
    lookout.note(&v4("d."), addresses(&["10.0.0.8", "10.0.0.9"]), later(721), 0.0);
    let expected = plain(&["10.0.0.1:80", "10.0.0.8:80", "10.0.0.9:80"]);
    assert_eq!((serves(&lookout), lookout.left_out()), (expected.clone(), 0));
    // One of the new ones fails all the time.
    lookout.note(&v4("e."), failed(), later(749), 0.0);
    assert_eq!(serves(&lookout), expected);
    lookout.note(&v4("e."), failed(), later(750), 0.0);
    assert_eq!(serves(&lookout), plain(&["10.0.0.8:80", "10.0.0.9:80"]));
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
