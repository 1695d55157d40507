//! Backends that requests ask for, and the tags by which cookies name them.

use std::{
    collections::BTreeSet,
    task::{Poll, Waker},
};

use super::*;

fn member(upstream: &Upstream, address: &str) -> Arc<Backend> {
    let members = upstream.members();
    Arc::clone(&members.iter().find(|member| member.backend.address() == address).unwrap().backend)
}

/// A request that asks for the backend with this address.
fn wanting(upstream: &Upstream, address: &str) -> Tried {
    Tried::wanting(Some(member(upstream, address)))
}

/// The addresses to which a request goes that asks for the backend `wanted`.
fn attempts_wanting(upstream: &Arc<Upstream>, wanted: &str, now: Instant) -> Vec<String> {
    let mut tried = wanting(upstream, wanted);
    let next = || upstream.pick(&client(), &mut tried, now).ok().map(|pick| pick.address().to_owned());
    std::iter::from_fn(next).collect()
}

#[test]
fn backend_that_is_asked_for_is_picked_whatever_the_policy_and_then_the_policy_decides() {
    let now = Instant::now();
    for policy in POLICIES {
        let upstream = upstream(policy.clone(), [backend("a"), backend("b"), backup("c")]);
        for wanted in ["a", "b", "c"] {
            for _ in 0..5 {
                let attempts = attempts_wanting(&upstream, wanted, now);
                assert_eq!((attempts[0].as_str(), attempts.len()), (wanted, 3), "{policy:?}");
            }
        }
    }
}

#[test]
fn turns_of_the_others_are_not_moved_by_a_backend_that_is_asked_for() {
    let (now, upstream) = (Instant::now(), upstream(Policy::RoundRobin, [backend("a"), backend("b"), backend("c")]));
    let mut picked = Vec::new();
    for _ in 0..6 {
        picked.push(pick(&upstream, now).address().to_owned());
        drop(upstream.pick(&client(), &mut wanting(&upstream, "a"), now).unwrap());
    }
    assert_eq!(picked, ["a", "b", "c", "a", "b", "c"]);
}

#[test]
fn weight_and_slow_start_do_not_matter_to_a_backend_that_is_asked_for() {
    let light = BackendSettings { weight: 1, ..backend("light") };
    let heavy = BackendSettings { weight: 1000, ..backend("heavy") };
    let slow = UpstreamSettings { slow_start: Duration::from_secs(60), ..settings(Policy::LeastConn, [light, heavy]) };
    let (now, upstream) = (Instant::now(), new(slow));
    let held: Vec<_> =
        (0..20).map(|_| upstream.pick(&client(), &mut wanting(&upstream, "light"), now).unwrap()).collect();
    assert!(held.iter().all(|pick| pick.address() == "light"));
}

#[test]
fn backend_that_is_down_drained_full_gone_or_out_is_not_asked_for_in_vain() {
    let now = Instant::now();
    for policy in POLICIES {
        let upstream =
            upstream(policy, [down("down"), backend("drained"), limited("full", 1), backend("out"), backend("up")]);
        let drained = member(&upstream, "drained");
        upstream.set_duty(&drained, Duty::Drain, now);
        let _held = upstream.pick(&client(), &mut wanting(&upstream, "full"), now).unwrap();
        let mut failed = upstream.pick(&client(), &mut wanting(&upstream, "out"), now).unwrap();
        assert_eq!(failed.failed(now), Some(Transition::Out));
        drop(failed);
        for wanted in ["down", "drained", "full", "out"] {
            assert_eq!(attempts_wanting(&upstream, wanted, now)[0], "up", "{wanted}");
        }
        upstream.set_duty(&drained, Duty::Up, now);
        assert_eq!(attempts_wanting(&upstream, "drained", now)[0], "drained");
    }
}

#[test]
fn of_backends_that_are_all_out_the_one_that_is_asked_for_is_tried_first() {
    let now = Instant::now();
    let upstream = upstream(Policy::LeastConn, [backend("a"), backend("b"), backup("c")]);
    take_out(&upstream, &["a", "b", "c"], now);
    for wanted in ["a", "b", "c"] {
        assert_eq!(attempts_wanting(&upstream, wanted, now)[0], wanted);
    }
}

#[test]
fn backend_that_is_no_member_any_more_is_not_picked() {
    let (registry, now) = (Registry::default(), Instant::now());
    let upstream = registry.upstream(settings(Policy::LeastConn, [backend("a"), backend("b")]), now);
    let mut tried = wanting(&upstream, "a");
    registry.change_members(&upstream, vec![backend("b")], now);
    assert_eq!(upstream.pick(&client(), &mut tried, now).unwrap().address(), "b");
}

#[test]
fn handshake_waits_for_the_backend_that_it_asks_for_and_others_pass_by() {
    let settings = UpstreamSettings {
        max_handshakes: 1,
        handshake_queue: 8,
        ..settings(Policy::LeastConn, [backend("a"), backend("b")])
    };
    let (now, upstream) = (Instant::now(), new(settings));
    let poll = |tried: &mut Tried, place: &mut Option<PlaceInLine>| {
        upstream.poll_handshake(&client(), tried, place, Waker::noop(), now)
    };
    let ready = |polled: Poll<Result<Pick, Unavailable>>| match polled {
        Poll::Ready(pick) => pick.unwrap(),
        Poll::Pending => panic!("has to wait"),
    };
    let held = ready(poll(&mut wanting(&upstream, "a"), &mut None));
    let (mut tried, mut place) = (wanting(&upstream, "a"), None);
    assert!(poll(&mut tried, &mut place).is_pending(), "though b has a place");
    let other = ready(poll(&mut Tried::default(), &mut None));
    assert_eq!(other.address(), "b", "nobody waits for it");
    drop(held);
    assert_eq!(ready(poll(&mut tried, &mut place)).address(), "a");
    // Without the wish, a client takes what the policy finds, in its place in the line.
    let held_a = ready(poll(&mut Tried::default(), &mut None));
    let (mut patient, mut patient_place) = (wanting(&upstream, "b"), None);
    assert!(patient.wants_untried() && poll(&mut patient, &mut patient_place).is_pending());
    drop(held_a);
    patient.forget_wanted();
    assert!(!patient.wants_untried());
    assert_eq!(ready(poll(&mut patient, &mut patient_place)).address(), "a");
}

fn tags(secret: &[u8]) -> StickyTags {
    StickyTags::new(StickyKey::new(secret))
}

fn tag(tags: &StickyTags, upstream: &Upstream, place: usize) -> String {
    tags.tag(upstream, &upstream.members()[place].backend)
}

#[test]
fn tag_means_its_backend_at_every_proxy_with_the_key_and_nothing_elsewhere() {
    let one = upstream(Policy::LeastConn, [backend("a:1"), backend("b:1")]);
    let other = upstream(Policy::IpHash { prefix_v4: 32 }, [backend("c:1"), backend("b:1"), backend("a:1")]);
    let renamed = new(UpstreamSettings { name: "cha".to_owned(), ..settings(Policy::LeastConn, [backend("a:1")]) });
    let (here, there, stranger) = (tags(&[1; 32]), tags(&[1; 32]), tags(&[2; 32]));
    let found = |tags: &StickyTags, upstream: &Upstream, tag: &str| {
        tags.find(upstream, tag.as_bytes()).map(|backend| backend.address().to_owned())
    };
    for (place, address) in [(0, "a:1"), (1, "b:1")] {
        let tag = tag(&here, &one, place);
        assert_eq!(found(&here, &one, &tag).as_deref(), Some(address));
        assert_eq!(found(&there, &other, &tag).as_deref(), Some(address), "of a fleet");
        assert_eq!(found(&stranger, &one, &tag), None, "another key");
        assert_eq!(found(&here, &renamed, &tag), None, "another upstream");
        assert!(!tag.contains(address) && tag.len() == 22, "{tag}");
        let (cut, longer, cased) = (&tag[..21], format!("{tag}A"), tag.to_ascii_lowercase());
        for forged in ["", cut, &longer, &cased, address, "AAAAAAAAAAAAAAAAAAAAAA"] {
            assert_eq!(found(&here, &one, forged), None, "{forged}");
        }
    }
    assert!(here.find(&one, b"\xff\xfe").is_none());
    let all: BTreeSet<_> = (0..3).map(|place| tag(&here, &other, place)).collect();
    assert_eq!(all.len(), 3);
}

/// Python has computed this value: `hmac.new(bytes(range(32)), parts, 'sha256')`, each part behind its length in 8 bytes. If it
/// changes, an upgrade of longwire moves clients, and a fleet of two versions does not agree.
#[test]
fn tags_are_those_of_every_version_and_machine() {
    let upstream = upstream(Policy::LeastConn, [backend("127.0.0.1:9001")]);
    let secret: Vec<u8> = (0..32).collect();
    assert_eq!(tag(&tags(&secret), &upstream, 0), "8-1QJEcdblDuIqSqbs6tPw");
}

#[test]
fn tags_follow_the_members_and_keep_no_backend() {
    let (registry, now) = (Registry::default(), Instant::now());
    let upstream = registry.upstream(settings(Policy::LeastConn, [backend("a"), backend("b")]), now);
    let tags = tags(&[1; 32]);
    let of = [0, 1].map(|place| tag(&tags, &upstream, place));
    let found = |tag: &str| tags.find(&upstream, tag.as_bytes()).map(|backend| backend.address().to_owned());
    assert_eq!(found(&of[0]).as_deref(), Some("a"));
    let gone = Arc::downgrade(&upstream.members()[0].backend);
    registry.change_members(&upstream, vec![backend("b"), backend("c")], now);
    assert_eq!(gone.strong_count(), 0);
    assert_eq!((found(&of[0]), found(&of[1]).as_deref()), (None, Some("b")));
    registry.change_members(&upstream, vec![backend("a"), backend("b")], now);
    assert_eq!(found(&of[0]).as_deref(), Some("a"));
}
