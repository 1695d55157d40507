//! Silences of a program's own heartbeat, and limits of a path that forgets without a word.

use super::*;

/// Sessions that a backend ends 30 s after its Ping, to which no answer came; the answer before came up to 30 s earlier.
fn terminated(count: u32) -> Vec<RecordLine> {
    let line = |number| {
        let line = RecordLine::new(number).age(spread(number, 70.0, 900.0)).lost("backend", "fin");
        let silence = spread(number, 59.5, 60.0);
        line.silent("backend", 30.0, silence).silent("client", silence, 30.0)
    };
    (3000..3000 + count).map(line).collect()
}

#[test]
fn a_heartbeat_of_the_backend_is_no_limit_of_the_path() {
    let pattern = only(with(well(400), terminated(60)));
    assert_eq!((pattern.kind, pattern.side, pattern.seconds), (PatternKind::DeadUnanswered, Some("client"), None));
    assert_eq!((pattern.key, pattern.value), (None, None));
    assert!(
        pattern.text.contains("60 sessions were ended by the backend 30.0 s after its last byte"),
        "{}",
        pattern.text
    );
    assert!(pattern.text.contains("it slept"), "{}", pattern.text);
    // They answer our Pings, but not what the backend's program asks of theirs.
    let frozen = terminated(60).into_iter().map(|line| line.silent("client", 12.0, 12.0).pings(4, 0));
    let pattern = only(with(well(400), frozen.collect()));
    assert_eq!((pattern.kind, pattern.side), (PatternKind::DeadUnanswered, Some("client")));
    assert!(pattern.text.contains("went on answering longwire's Pings"), "{}", pattern.text);
}

#[test]
fn a_feed_that_is_cut_may_be_cut_by_a_heartbeat_and_the_text_says_so() {
    let feed = (0..60).map(|number| {
        let age = spread(number, 400.0, 900.0);
        let line = RecordLine::new(number).age(age).lost("backend", "fin");
        line.silent("backend", 47.0, age).silent("client", age, 47.0)
    });
    let pattern = only(with(well(400), feed.collect()));
    assert_eq!(
        (pattern.kind, pattern.side, pattern.key.as_deref()),
        (PatternKind::IdleLimit, Some("backend"), Some("keepalive.ping_interval"))
    );
    assert!(pattern.text.contains("the backend's own heartbeat"), "{}", pattern.text);
    let chat = (0..60).map(|number| {
        let line = RecordLine::new(number).age(spread(number, 400.0, 900.0)).lost("backend", "fin");
        let more = 47.0 + spread(number, 0.0, 60.0);
        if number % 2 == 0 { line.silent("backend", 47.0, more) } else { line.silent("backend", more, 47.0) }
    });
    let pattern = only(with(well(400), chat.collect()));
    assert_eq!(pattern.kind, PatternKind::IdleLimit);
    assert!(!pattern.text.contains("heartbeat"), "{}", pattern.text);
}

/// Clients for whom the kernel gave up after 30 s what came after such silences. A Ping of ours followed after 24 s of silence.
fn unheard(count: u32, low: f64, high: f64) -> Vec<RecordLine> {
    let line = |number| {
        let (silence, waited) = (spread(number, low, high), 30.05 + spread(number, 0.0, 0.3));
        let line = RecordLine::new(number).age(spread(number, 100.0, 900.0)).lost("client", "timed_out");
        line.silent("client", silence + waited, waited - (24.0 - silence).max(0.0))
    };
    (4000..4000 + count).map(line).collect()
}

#[test]
fn a_path_that_forgets_without_a_word_is_told_by_what_was_sent_into_the_silence() {
    let lived = || {
        (0..400).map(|number| {
            RecordLine::new(number).silent("client", spread(number, 0.0, 11.5), spread(number + 9, 0.0, 24.0))
        })
    };
    let pattern = only(lived().chain(unheard(60, 12.0, 24.0)));
    assert_eq!((pattern.kind, pattern.side), (PatternKind::IdleLimit, Some("client")));
    assert!(pattern.seconds.is_some_and(|seconds| (11.4..12.6).contains(&seconds)), "{pattern:?}");
    assert!(pattern.text.contains("without a word"), "{}", pattern.text);
    assert!(pattern.histogram.is_some_and(|histogram| histogram.counts.iter().sum::<u32>() > 40));
    // What always dies at the same silence may have met our Ping: the limit is somewhere below.
    assert_eq!(only(lived().chain(unheard(60, 22.5, 24.7))).kind, PatternKind::DeadUnanswered);
    // Who sleeps dies at short silences too, and others live through long ones.
    let all = || (0..400).map(|number| RecordLine::new(number).silent("client", spread(number, 0.0, 24.0), 30.0));
    assert_eq!(only(all().chain(unheard(60, 0.0, 24.0))).kind, PatternKind::DeadUnanswered);
    assert_eq!(only(all().chain(unheard(60, 12.0, 24.0))).kind, PatternKind::DeadUnanswered);
}

#[test]
fn a_network_that_forgets_without_a_word_is_told_where_others_live_on() {
    let others = (0..400).map(|number| RecordLine::new(number).silent("client", spread(number, 0.0, 24.0), 30.0));
    let office = (0..40)
        .map(|number| RecordLine::new(number).client("198.51.100.9").silent("client", spread(number, 0.0, 11.5), 30.0));
    let unheard = unheard(60, 12.0, 24.0)
        .into_iter()
        .enumerate()
        .map(|(number, line)| line.client(&format!("198.51.100.{number}")));
    let pattern = only(others.chain(office).chain(unheard));
    assert_eq!((pattern.kind, pattern.network.as_deref()), (PatternKind::IdleLimit, Some("198.51.100.0/24")));
}
