//! What continues when the file changes, and what the operator says between two reloads.

use super::*;

/// The upstream after a reload with `settings`.
fn reload(registry: &Registry, settings: &UpstreamSettings, now: Instant) -> Arc<Upstream> {
    registry.upstream(settings.clone(), now)
}

#[test]
fn counts_health_and_duty_of_a_known_backend_go_on() {
    let (registry, now) = (Registry::default(), Instant::now());
    let mut settings = settings(Policy::LeastConn, [backend("a"), backend("b")]);
    let before = reload(&registry, &settings, now);
    let session = pick(&before, now).into_seat();
    take_out(&before, &["b"], now);
    before.members()[1].backend.set_duty(Duty::Drain, now);
    settings.policy = Policy::RoundRobin;
    settings.backends.reverse();
    let after = reload(&registry, &settings, now);
    drop(before);

    let members = after.members();
    let [Member { backend: b, .. }, Member { backend: a, .. }] = &*members else { panic!("two backends") };
    assert_eq!((a.address(), a.active()), (session.backend().address(), 1));
    assert_eq!((b.health(now), b.duty()), (Health::Out { until: now + FAIL_TIMEOUT }, Duty::Drain));
    assert_eq!(b.failures(), 1);
    drop(session);
    assert_eq!(a.active(), 0);
}

#[test]
fn least_conn_counts_the_sessions_of_the_file_before() {
    let (registry, now) = (Registry::default(), Instant::now());
    let mut settings = settings(Policy::LeastConn, [backend("a")]);
    let before = reload(&registry, &settings, now);
    let _sessions: Vec<_> = (0..5).map(|_| pick(&before, now)).collect();
    settings.backends.push(backend("b"));
    let after = reload(&registry, &settings, now);
    let next: Vec<_> = (0..5).map(|_| pick(&after, now)).collect();
    assert!(next.iter().all(|pick| pick.address() == "b"));
}

#[test]
fn same_address_in_another_upstream_is_another_backend() {
    let (registry, now) = (Registry::default(), Instant::now());
    let settings = settings(Policy::RoundRobin, [backend("a")]);
    let chat = reload(&registry, &settings, now);
    let other = reload(&registry, &UpstreamSettings { name: "other".to_owned(), ..settings }, now);
    let _session = pick(&chat, now);
    assert_eq!((chat.members()[0].backend.active(), other.members()[0].backend.active()), (1, 0));
}

#[test]
fn backend_lives_while_a_session_has_it_though_the_file_does_not_name_it() {
    let (registry, now) = (Registry::default(), Instant::now());
    let with = settings(Policy::RoundRobin, [backend("a"), backend("b")]);
    let without = UpstreamSettings { backends: vec![backend("b")], ..with.clone() };
    let session = pick(&reload(&registry, &with, now), now).into_seat();
    assert_eq!(session.backend().address(), "a");
    drop(reload(&registry, &without, now));
    let again = reload(&registry, &with, now);
    assert_eq!(again.members()[0].backend.active(), 1);
}

#[test]
fn a_thousand_reloads_remember_only_what_lives() {
    let (registry, now) = (Registry::default(), Instant::now());
    for n in 0..1000 {
        let settings = UpstreamSettings {
            name: format!("chat-{n}"),
            ..settings(Policy::RoundRobin, [backend("a"), backend(&format!("b-{n}"))])
        };
        drop(reload(&registry, &settings, now));
        registry.forget_gone();
        assert_eq!(registry.known(), 0);
    }
}

#[test]
fn backend_off_duty_is_never_picked_even_when_the_others_are_out() {
    for policy in POLICIES {
        let upstream = upstream(policy, [backend("a"), backend("b")]);
        let now = Instant::now();
        let session = pick(&upstream, now);
        for duty in [Duty::Drain, Duty::Down] {
            upstream.members()[1].backend.set_duty(duty, now);
            assert_eq!(upstream.members()[1].backend.duty(), duty);
            assert_eq!(attempts(&upstream, now).0, ["a"]);
        }
        upstream.members()[0].backend.set_duty(Duty::Down, now);
        assert_eq!(attempts(&upstream, now), (vec![], Unavailable::DownOrFull));
        upstream.members()[0].backend.set_duty(Duty::Up, now);
        assert_eq!(pick(&upstream, now).address(), "a");
        drop(session);
    }
}

#[test]
fn picks_and_failures_are_counted_for_good() {
    let upstream = upstream(Policy::RoundRobin, [backend("a")]);
    let now = Instant::now();
    for _ in 0..3 {
        pick(&upstream, now).succeeded(now);
    }
    pick(&upstream, now).failed(now);
    let a = &upstream.members()[0].backend;
    assert_eq!((a.picks(), a.failures(), a.active()), (4, 1, 0));
}
