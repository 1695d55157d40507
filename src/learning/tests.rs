//! What is learned from patterns that a test makes, and how it is tried again.

use std::slice;

use proptest::prelude::*;

use super::*;
use crate::{
    explain::PatternKind,
    ws::termination::{HowEnded, Loss},
};

const ROUTE: &str = "*/";
const DAY: i64 = 24 * 60 * 60 * 1000;
const FILE: SideTimes = SideTimes::of_both(Some(Duration::from_secs(25)));

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A learner that has known a route since the begin of time.
fn learner() -> Learner {
    let mut learner = Learner::default();
    assert_eq!(learner.follow([(ROUTE, FILE)], 0), []);
    learner
}

/// A pattern about all routes, which clients from `networks` networks show with sessions that began at `began`.
fn pattern(bound: IdleBound, networks: usize, began: i64) -> Pattern {
    Pattern {
        kind: PatternKind::IdleLimit,
        side: Some("client"),
        route: None,
        backend: None,
        network: None,
        status: None,
        seconds: None,
        at: None,
        for_seconds: None,
        cases: 50,
        share: 1.0,
        confidence: 1.0,
        key: None,
        value: None,
        text: String::new(),
        histogram: None,
        bound: Some(bound),
        witnesses: Witnesses { networks, enough_since: (networks >= Witnesses::ENOUGH).then_some(began) },
    }
}

fn limit(limit: u64) -> Pattern {
    pattern(IdleBound::At(seconds(limit)), 8, 0)
}

fn too_long(began: i64) -> Pattern {
    pattern(IdleBound::BelowInterval, 8, began)
}

/// The new interval in milliseconds, if the only route has one.
fn learn(learner: &mut Learner, pattern: Pattern, now: i64) -> Option<u128> {
    let changes = learner.learn(&[pattern], |_, _| true, now);
    assert!(changes.len() < 2, "{changes:?}");
    changes.first().map(|change| change.to.as_millis())
}

/// The client's interval for most sessions, and for those on trial.
fn times(learner: &Learner) -> (Option<Duration>, Option<Duration>) {
    let times = learner.times(ROUTE, FILE);
    (times.and_then(|times| times.usual.client), times.and_then(|times| times.on_trial?.client))
}

#[test]
fn two_fifths_of_a_limit_below_the_interval_are_learned_and_no_less_than_five_seconds() {
    for (seen, learned) in
        [(25, Some(10_000)), (20, Some(8_000)), (13, Some(5_000)), (12, Some(5_000)), (3, Some(5_000)), (26, None)]
    {
        let mut learner = learner();
        assert_eq!(learn(&mut learner, limit(seen), 7), learned, "{seen}");
        let known: Vec<_> = learner.learned().map(|(route, side, known)| (route, side, known.since)).collect();
        assert_eq!(known, Vec::from_iter(learned.map(|_| (ROUTE, Side::Client, 7))), "{seen}");
    }
}

#[test]
fn a_limit_that_is_held_already_changes_nothing_and_a_shorter_one_does() {
    let mut learner = learner();
    assert_eq!(learn(&mut learner, limit(20), 1), Some(8_000));
    assert_eq!(learn(&mut learner, limit(20), 2), None);
    assert_eq!(learn(&mut learner, limit(12), 3), None);
    assert_eq!(learn(&mut learner, limit(8), 4), Some(5_000));
    assert_eq!(learn(&mut learner, limit(4), 5), None);
}

#[test]
fn seven_networks_teach_nothing() {
    for bound in [IdleBound::At(seconds(12)), IdleBound::BelowInterval] {
        assert_eq!(learn(&mut learner(), pattern(bound, 7, 5), 9), None);
        assert!(learn(&mut learner(), pattern(bound, 8, 5), 9).is_some());
        let office = Pattern { network: Some("192.0.2.0/24".into()), ..pattern(bound, 8, 5) };
        assert_eq!(learn(&mut learner(), office, 9), None);
    }
}

#[test]
fn only_the_routes_and_sides_that_a_pattern_is_about_learn() {
    let both = [("*/a/", FILE), ("*/b/", FILE), ("*/off/", SideTimes { client: None, ..FILE })];
    let learned = |pattern: Pattern| {
        let mut learner = Learner::default();
        learner.follow(both, 0);
        learner.learn(&[pattern], |route, backend| (route, backend) == ("*/b/", "192.0.2.1:80"), 1);
        learner.learned().map(|(route, side, _)| (route.to_owned(), side)).collect::<Vec<_>>()
    };
    let (a, b, off) = ("*/a/".to_owned(), "*/b/".to_owned(), "*/off/".to_owned());
    assert_eq!(learned(limit(12)), [(a.clone(), Side::Client), (b.clone(), Side::Client)]);
    assert_eq!(learned(Pattern { route: Some(a.clone()), ..limit(12) }), [(a.clone(), Side::Client)]);
    assert_eq!(learned(Pattern { route: Some("*/other/".into()), ..limit(12) }), []);
    let of_backends = Pattern { side: Some("backend"), ..limit(12) };
    assert_eq!(learned(of_backends.clone()), [a, b.clone(), off].map(|route| (route, Side::Backend)));
    let of_one = Pattern { backend: Some("192.0.2.1:80".into()), ..of_backends };
    assert_eq!(learned(of_one), [(b, Side::Backend)]);
    assert_eq!(learned(Pattern { side: None, ..limit(12) }), []);
    assert_eq!(learned(Pattern { bound: None, ..limit(12) }), []);
}

#[test]
fn an_interval_is_halved_again_only_for_sessions_that_began_with_it() {
    let mut learner = learner();
    assert_eq!(learn(&mut learner, too_long(-1), 10), None);
    assert_eq!(learn(&mut learner, too_long(0), 10), Some(12_500));
    assert_eq!(learn(&mut learner, too_long(9), 20), None);
    assert_eq!(learn(&mut learner, too_long(10), 30), Some(6_250));
    assert_eq!(learn(&mut learner, too_long(30), 40), Some(5_000));
    assert_eq!(learn(&mut learner, too_long(40), 50), None);
}

#[test]
fn what_the_file_no_longer_says_is_forgotten() {
    let mut learner = learner();
    learn(&mut learner, limit(12), 1);
    assert_eq!(learner.follow([(ROUTE, FILE)], 2), []);
    assert_eq!(times(&learner).0, Some(seconds(5)));
    let other = SideTimes { client: Some(seconds(20)), ..FILE };
    // A plan with another interval does not use what was learned, even before the learner has heard of it.
    assert_eq!(learner.times(ROUTE, other), None);
    let changes = learner.follow([(ROUTE, other)], 3);
    let [LearningChange { from, to, reason: LearningReason::File, .. }] = &changes[..] else { panic!("{changes:?}") };
    assert_eq!((*from, *to), (seconds(5), seconds(25)));
    learn(&mut learner, limit(12), 4);
    assert_eq!(learner.follow([], 5).len(), 1);
    assert_eq!(learner.learned().count(), 0);
    assert_eq!(learner.follow([(ROUTE, FILE)], 6), []);
}

fn tried(learner: &mut Learner, lived: u32, cut: u32, now: i64) -> Option<LearningReason> {
    let changes = learner.try_again(|_, _| TrialCount { lived, cut }, now);
    changes.first().map(|change| change.reason)
}

#[test]
fn after_a_day_the_interval_of_the_file_is_tried_and_forgotten_only_if_enough_sessions_live_and_none_is_cut() {
    let mut learner = learner();
    learn(&mut learner, limit(12), 0);
    assert_eq!(tried(&mut learner, 99, 99, DAY - 1), None);
    assert_eq!(times(&learner), (Some(seconds(5)), None));
    assert_eq!(tried(&mut learner, 99, 99, DAY), Some(LearningReason::TrialBegins));
    assert_eq!(times(&learner), (Some(seconds(5)), Some(seconds(25))));
    assert_eq!(tried(&mut learner, 7, 0, DAY + 1), None);
    assert_eq!(tried(&mut learner, 20, 1, DAY + 2), Some(LearningReason::TrialCut(1)));
    assert_eq!(times(&learner), (Some(seconds(5)), None));
    assert_eq!(tried(&mut learner, 8, 0, 2 * DAY + 1), None);
    assert_eq!(tried(&mut learner, 0, 0, 2 * DAY + 2), Some(LearningReason::TrialBegins));
    assert_eq!(tried(&mut learner, 8, 0, 2 * DAY + 3), Some(LearningReason::TrialLived(8)));
    assert_eq!(learner.times(ROUTE, FILE), None);
    // Sessions of before teach the same limit no second time; those of now do.
    assert_eq!(learn(&mut learner, limit(12), 2 * DAY + 4), None);
    assert_eq!(learn(&mut learner, pattern(IdleBound::At(seconds(12)), 8, 2 * DAY + 3), 2 * DAY + 5), Some(5_000));
}

#[test]
fn sessions_on_trial_halve_no_interval() {
    let mut learner = learner();
    learn(&mut learner, too_long(0), 0);
    assert_eq!(tried(&mut learner, 0, 0, DAY), Some(LearningReason::TrialBegins));
    assert_eq!(learn(&mut learner, too_long(DAY + 1), DAY + 2), None);
    assert_eq!(tried(&mut learner, 0, 8, DAY + 3), Some(LearningReason::TrialCut(8)));
    assert_eq!(learn(&mut learner, too_long(DAY + 1), DAY + 4), None);
    assert_eq!(learn(&mut learner, too_long(DAY + 3), DAY + 5), Some(6_250));
}

#[test]
fn a_session_on_trial_lives_if_only_our_ping_ended_a_silence() {
    let terms = TrialTerms { interval: seconds(25), limit: Some(seconds(12)) };
    let end = TrialEnd { dropped: None, silence: seconds(30), frames: 3, answered: 4 };
    let count = |lived, cut| TrialCount { lived, cut };
    let fin = Some(HowEnded::Lost(Loss::Fin));
    assert_eq!(terms.judge(end), count(1, 0));
    assert_eq!(terms.judge(TrialEnd { frames: 4, ..end }), count(0, 0));
    assert_eq!(terms.judge(TrialEnd { dropped: fin, ..end }), count(0, 1));
    assert_eq!(terms.judge(TrialEnd { dropped: fin, silence: seconds(10), ..end }), count(1, 0));
    assert_eq!(terms.judge(TrialEnd { dropped: fin, silence: seconds(12), answered: 0, ..end }), count(0, 1));
    // Who slept had lived through a silence before.
    assert_eq!(terms.judge(TrialEnd { dropped: Some(HowEnded::Silent), ..end }), count(1, 0));
    assert_eq!(terms.judge(TrialEnd { dropped: Some(HowEnded::Silent), answered: 0, ..end }), count(0, 1));
    let unseen = TrialTerms { limit: None, ..terms };
    assert_eq!(unseen.judge(TrialEnd { dropped: fin, silence: seconds(12), answered: 0, ..end }), count(0, 0));
    assert_eq!(unseen.judge(TrialEnd { dropped: fin, silence: seconds(23), answered: 0, ..end }), count(0, 1));
}

/// Something that happens to a learner.
#[derive(Debug, Clone)]
enum Event {
    Limit(u64, usize),
    TooLong(usize),
    Trial(u32, u32),
    Hours(i64),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        (1..60_000_u64, 0..20_usize).prop_map(|(limit, networks)| Event::Limit(limit, networks)),
        (0..20_usize).prop_map(Event::TooLong),
        (0..20_u32, 0..3_u32).prop_map(|(lived, cut)| Event::Trial(lived, cut)),
        (1..30_i64).prop_map(Event::Hours),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_an_interval_stays_between_the_floor_and_that_of_the_file(
        file in 1..60_000_u64,
        events in proptest::collection::vec(event(), 1..40),
    ) {
        let file = Duration::from_millis(file);
        let interval = SideTimes::of_both(Some(file));
        let mut learner = Learner::default();
        learner.follow([(ROUTE, interval)], 0);
        let (mut now, mut current) = (0, file);
        for event in events {
            now += 1;
            let changes = match event {
                Event::Limit(limit, networks) => {
                    let seen = pattern(IdleBound::At(Duration::from_millis(limit)), networks, now);
                    let changes = learner.learn(slice::from_ref(&seen), |_, _| true, now);
                    prop_assert!(changes.is_empty() || networks >= 8);
                    prop_assert!(learner.learn(slice::from_ref(&seen), |_, _| true, now).is_empty(), "twice the same");
                    changes
                }
                Event::TooLong(networks) => {
                    let changes = learner.learn(&[pattern(IdleBound::BelowInterval, networks, now)], |_, _| true, now + 1);
                    prop_assert!(changes.is_empty() || networks >= 8);
                    changes
                }
                Event::Trial(lived, cut) => learner.try_again(|_, _| TrialCount { lived, cut }, now),
                Event::Hours(hours) => {
                    now += hours * 3_600_000;
                    Vec::new()
                }
            };
            for change in changes {
                prop_assert_eq!(change.from, current);
                current = change.to;
                match change.reason {
                    LearningReason::Limit { .. } | LearningReason::TooLong { .. } => prop_assert!(change.to < change.from),
                    LearningReason::TrialBegins | LearningReason::TrialCut(_) => prop_assert_eq!(change.to, change.from),
                    LearningReason::TrialLived(lived) => prop_assert!(lived >= TRIAL_ENOUGH && change.to == file),
                    LearningReason::File => prop_assert!(false, "the file is the same"),
                }
            }
            prop_assert!(current <= file && current >= seconds(5).min(file));
            let times = learner.times(ROUTE, interval).unwrap_or(LearnedTimes { usual: interval, on_trial: None });
            prop_assert_eq!(times.usual.client, Some(current));
            prop_assert_eq!(times.usual.backend, Some(file));
            prop_assert!(times.on_trial.is_none_or(|trial| trial == interval));
        }
    }
}
