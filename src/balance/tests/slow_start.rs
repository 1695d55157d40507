//! A backend that comes back empty, and the herd of new sessions that waits for it.

use proptest::{collection::vec, prelude::*};

use super::*;

const SLOW_START: Duration = Duration::from_secs(60);

fn slow(policy: Policy, backends: impl Into<Vec<BackendSettings>>, slow_start: Duration) -> UpstreamSettings {
    UpstreamSettings { slow_start, ..settings(policy, backends) }
}

/// Starts `size` sessions, which all stay; returns how many are on `address`.
fn herd(upstream: &Arc<Upstream>, size: usize, address: &str, now: Instant) -> (Vec<Pick>, usize) {
    let picks: Vec<_> = (0..size).map(|_| pick(upstream, now)).collect();
    let there = picks.iter().filter(|pick| pick.address() == address).count();
    (picks, there)
}

/// `a` and `b` with 1000 sessions each, and `c`, which was out and has just come back with none.
fn returned(policy: Policy, slow_start: Duration) -> (Arc<Upstream>, Vec<Pick>, Instant) {
    let upstream = new(slow(policy, [backend("a"), backend("b"), backend("c")], slow_start));
    // All backends have been up for longer than their slow start.
    let start = Instant::now() + 2 * SLOW_START;
    take_out(&upstream, &["c"], start);
    let (sessions, on_c) = herd(&upstream, 2000, "c", start);
    assert_eq!(on_c, 0);
    let now = start + FAIL_TIMEOUT;
    let mut trial = pick(&upstream, now);
    assert_eq!(trial.address(), "c");
    assert_eq!(trial.succeeded(now), Some(Transition::Back));
    drop(trial);
    (upstream, sessions, now)
}

#[test]
fn without_slow_start_the_whole_herd_of_least_conn_falls_upon_the_one_that_returned() {
    let (upstream, _sessions, now) = returned(Policy::LeastConn, Duration::ZERO);
    assert_eq!(herd(&upstream, 300, "c", now).1, 300);
}

#[test]
fn with_slow_start_it_takes_a_twentieth_at_first_half_at_half_time_and_then_its_whole_share() {
    let (upstream, mut sessions, now) = returned(Policy::LeastConn, SLOW_START);
    let mut on_c = 0;
    // At 3200, 4400 and 5600 sessions in all, c has 0.05, 0.525 and 1 times as many as each of the others.
    for (seconds, expected) in [(0, 77..=79), (30, 913..=916), (60, 1865..=1868)] {
        let (more, there) = herd(&upstream, 1200, "c", now + Duration::from_secs(seconds));
        sessions.extend(more);
        on_c += there;
        assert!(expected.contains(&on_c), "{on_c} after {seconds} s");
    }
}

#[test]
fn turns_and_the_better_of_two_begin_small_too() {
    for policy in [Policy::RoundRobin, Policy::RandomTwo] {
        let (upstream, sessions, now) = returned(policy.clone(), SLOW_START);
        drop(sessions);
        // No session stays, so only the turns and the draws decide.
        let share = |now| (0..4100).filter(|_| pick(&upstream, now).address() == "c").count();
        // The turns give 100 of 4100. Among idle backends the second draw does not count.
        let first = share(now);
        assert!((60..=140).contains(&first), "{policy:?}: {first}");
        let whole = share(now + SLOW_START);
        assert!((1250..=1480).contains(&whole), "{policy:?}: {whole}");
    }
}

#[test]
fn a_backend_that_is_new_after_a_reload_starts_slowly_and_the_others_do_not() {
    let (registry, start) = (Registry::default(), Instant::now());
    let mut settings = slow(Policy::RoundRobin, [backend("a")], SLOW_START);
    let before = registry.upstream(settings.clone(), start);
    let now = start + SLOW_START;
    settings.backends.push(backend("b"));
    let after = registry.upstream(settings, now);
    drop(before);
    assert_eq!(herd(&after, 210, "b", now).1, 10);
    assert_eq!(herd(&after, 210, "b", now + SLOW_START).1, 105);
}

#[test]
fn at_the_start_of_the_process_all_are_equally_new() {
    let upstream = new(slow(Policy::RoundRobin, [backend("a"), backend("b")], SLOW_START));
    assert_eq!(herd(&upstream, 100, "b", Instant::now()).1, 50);
}

#[test]
fn put_back_to_duty_or_passed_by_its_checks_it_starts_slowly() {
    let start = Instant::now();
    let now = start + 2 * SLOW_START;
    let upstream = new(UpstreamSettings {
        health_check: Some(every_second(1, 1)),
        ..slow(Policy::RoundRobin, [backend("a"), backend("b")], SLOW_START)
    });
    let b = Arc::clone(&upstream.members()[1].backend);
    b.set_duty(Duty::Up, now);
    assert_eq!(herd(&upstream, 210, "b", now).1, 105, "it was up all the time");
    b.set_duty(Duty::Drain, now);
    b.set_duty(Duty::Up, now);
    assert_eq!(herd(&upstream, 210, "b", now).1, 10);

    let now = now + SLOW_START;
    assert_eq!(
        upstream.checked(&b, CheckResult { at: now, failure: Some("refused".to_owned()) }),
        Some(Transition::Out)
    );
    assert_eq!(upstream.checked(&b, CheckResult { at: now, failure: None }), Some(Transition::Back));
    assert_eq!(herd(&upstream, 210, "b", now).1, 10);
}

proptest! {
    /// Whatever the size of the herd and the time since its return: under `least_conn` a backend within its slow start
    /// gets its fair share of the herd, neither all of it nor none.
    #[test]
    fn a_returned_backend_is_neither_buried_nor_starved(
        loads in vec(0..40_usize, 2..5), seconds in 0..80_u64,
    ) {
        let backends: Vec<_> = (0..loads.len()).map(|n| backend(&n.to_string())).collect();
        let upstream = new(slow(Policy::LeastConn, backends, SLOW_START));
        let now = Instant::now() + 2 * SLOW_START;
        let back = now + Duration::from_secs(seconds);
        let returned = Arc::clone(&upstream.members()[0].backend);
        returned.set_duty(Duty::Drain, now);
        returned.set_duty(Duty::Up, now);
        let size = loads.iter().sum::<usize>() + 200;
        let (_picks, there) = herd(&upstream, size, "0", back);
        // All sessions are new, and each goes to the least loaded backend per weight. So each share follows the
        // weights, to within one session per backend.
        let weight = (0.05 + 0.95 * seconds as f64 / 60.0).min(1.0);
        let fair = size as f64 * weight / (weight + (loads.len() - 1) as f64);
        prop_assert!((there as f64 - fair).abs() <= loads.len() as f64, "{there}, fair is {fair}");
    }
}
