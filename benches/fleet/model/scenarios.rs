//! The runs that are shown: what happens to a fleet, and what one can choose.

use std::ops::Range;

use super::{
    Millis,
    backends::BackendRules,
    instance::Strength,
    limits::LimitRules,
    orders::{Act, Amount},
    world::{Key, Past, Rules},
};

const SECOND: Millis = 1_000;
const MINUTE: Millis = 60 * SECOND;
const HOUR: Millis = 60 * MINUTE;
/// When it happens.
pub const EVENT: Millis = 10 * SECOND;
/// How long the balancer takes to notice that an instance is not ready, or that one is: three checks, one every 2 s.
const LOOKS: Millis = 6 * SECOND;
/// From the last session of a process to its exit, and from there to the start of the next one.
const EXIT: Millis = 2 * SECOND;
const RESTART: Millis = 3 * SECOND;
/// `timeouts.drain` is so long that `drain.spread` holds: longer than `drain.wait` and twice the spread.
const SPREAD: Millis = 15 * SECOND;
const WAIT: Millis = 10 * SECOND;

/// How large the fleet is.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    pub instances: u16,
    pub sessions: u32,
}

/// What a chapter is about, and so what its table and its plots show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chapter {
    Up,
    Lifetime,
    Down,
    Roll,
    Zone,
    Backend,
    Valkey,
}

#[derive(Debug, Clone)]
pub struct Scenario {
    pub chapter: Chapter,
    pub name: &'static str,
    pub title: String,
    pub rules: Rules,
}

impl Size {
    /// What is the same for all.
    pub fn rules(self) -> Rules {
        Rules {
            seed: 1,
            seats: self.sessions,
            instances: self.instances,
            at_start: 0..self.instances,
            key: Key::Flow,
            addresses: Vec::new(),
            strength: Strength::TLS,
            past: Past::Steady,
            stay: None,
            max_lifetime: None,
            backends: None,
            limits: None,
            acts: Vec::new(),
            end: 2 * MINUTE,
        }
    }

    /// A quarter of the fleet, the last.
    fn quarter(self) -> Range<u16> {
        self.instances / 4 * 3..self.instances
    }
}

/// All runs, in the order in which they are told.
pub fn all(size: Size) -> Vec<Scenario> {
    [up(size), lifetime(size), down(size), roll(size), zone(size), backend(size), valkey(size)].concat()
}

fn up(size: Size) -> Vec<Scenario> {
    let quarter = size.quarter();
    let joins = vec![(EVENT, Act::Start(quarter.clone())), (EVENT + LOOKS, Act::LookBack(quarter.clone()))];
    let base = Rules { at_start: 0..quarter.start, acts: joins.clone(), ..size.rules() };
    let rounds = |over: Millis, pause: Millis| {
        let orders = (0..30).map(move |round| (MINUTE + round * (over + pause), Act::Rebalance(Amount::Surplus, over)));
        joins.iter().cloned().chain(orders).collect::<Vec<_>>()
    };
    let share = |share, over| {
        let mut acts = joins.clone();
        acts.push((MINUTE, Act::Rebalance(Amount::Share(share, base.at_start.clone()), over)));
        Rules { acts, end: HOUR, ..base.clone() }
    };
    let scenario = |name, title: &str, rules| Scenario { chapter: Chapter::Up, name, title: title.to_owned(), rules };
    vec![
        scenario("up", "nobody leaves, nothing is done", Rules { end: HOUR, ..base.clone() }),
        scenario(
            "up-stay",
            "users stay for 30 min in the mean",
            Rules { stay: Some(30 * MINUTE), end: 96 * MINUTE, ..base.clone() },
        ),
        scenario(
            "up-lifetime",
            "`max_lifetime: 1h` for long",
            Rules { max_lifetime: Some(HOUR), end: 75 * MINUTE, ..base.clone() },
        ),
        scenario("up-share", "`rebalance --share 25% --over 10m` at the old ones, once", share(0.25, 10 * MINUTE)),
        scenario("up-share-most", "`rebalance --share 90% --over 30m` at the old ones, once", share(0.9, 30 * MINUTE)),
        scenario(
            "up-rebalance",
            "`rebalance --surplus-over MEAN --over 5m`, every 6 min",
            Rules { acts: rounds(5 * MINUTE, MINUTE), end: HOUR, ..base.clone() },
        ),
        scenario(
            "up-rebalance-fast",
            "`rebalance --surplus-over MEAN --over 30s`, every minute",
            Rules { acts: rounds(30 * SECOND, 30 * SECOND), end: 30 * MINUTE, ..base },
        ),
    ]
}

fn lifetime(size: Size) -> Vec<Scenario> {
    let base = Rules { max_lifetime: Some(HOUR), ..size.rules() };
    let scenario =
        |name, title: &str, rules| Scenario { chapter: Chapter::Lifetime, name, title: title.to_owned(), rules };
    vec![
        scenario("lifetime", "sessions of all ages", Rules { end: HOUR, ..base.clone() }),
        scenario(
            "lifetime-echo",
            "all sessions began within 20 s",
            Rules { past: Past::Fresh(20 * SECOND), end: 130 * MINUTE, ..base },
        ),
    ]
}

/// These instances leave at this instant.
fn drain(range: &Range<u16>, at: Millis, wait: Millis, spread: Millis, looks: Millis) -> [(Millis, Act); 2] {
    [(at + looks, Act::LookAway(range.clone())), (at + wait, Act::Leave(range.clone(), spread))]
}

fn down(size: Size) -> Vec<Scenario> {
    let quarter = size.quarter();
    let scenario = |name, title: &str, wait, spread| Scenario {
        chapter: Chapter::Down,
        name,
        title: title.to_owned(),
        rules: Rules {
            acts: drain(&quarter, EVENT, wait, spread, LOOKS).into(),
            end: EVENT + wait + spread + 40 * SECOND,
            ..size.rules()
        },
    };
    vec![
        scenario("down-no-wait", "`wait: 0s`, `spread: 15s` (the defaults)", 0, SPREAD),
        scenario("down-told", "`wait: 10s`, `spread: 0s`", WAIT, 0),
        scenario("down-15s", "`wait: 10s`, `spread: 15s`", WAIT, SPREAD),
        scenario("down-60s", "`wait: 10s`, `spread: 60s`", WAIT, MINUTE),
        scenario("down-5m", "`wait: 10s`, `spread: 5m`", WAIT, 5 * MINUTE),
    ]
}

/// How one part of a fleet after another is updated.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    pub wait: Millis,
    pub spread: Millis,
    /// From the last moment of the spread to the start of the new processes.
    pub gone: Millis,
    /// How long the balancer takes to notice that an instance is not ready, or that it is.
    pub looks: Millis,
    /// From the moment when the balancer has noticed to the next part.
    pub pause: Millis,
}

/// One part of the fleet after another leaves and is started anew. Returns the end too.
pub fn rolling(parts: &[Range<u16>], pace: Pace) -> (Vec<(Millis, Act)>, Millis) {
    let Pace { wait, spread, gone, looks, pause } = pace;
    let mut acts = Vec::new();
    let mut at = EVENT;
    for part in parts {
        acts.extend(drain(part, at, wait, spread, looks));
        at += wait + spread + gone;
        acts.extend([(at, Act::Start(part.clone())), (at + looks, Act::LookBack(part.clone()))]);
        at += looks + pause;
    }
    (acts, at)
}

fn roll(size: Size) -> Vec<Scenario> {
    let parts = |count: u16| -> Vec<_> {
        let bound = |part: u16| (u32::from(size.instances) * u32::from(part) / u32::from(count)) as u16;
        (0..count).map(|part| bound(part)..bound(part + 1)).collect()
    };
    let scenario = |name, title: &str, count: u16, change: fn(Rules, Millis) -> Rules| {
        let (acts, end) =
            rolling(&parts(count), Pace { wait: WAIT, spread: SPREAD, gone: EXIT + RESTART, looks: LOOKS, pause: 0 });
        let rules = change(Rules { acts, end: end + MINUTE, ..size.rules() }, end);
        Scenario { chapter: Chapter::Roll, name, title: title.to_owned(), rules }
    };
    let rebalanced = |mut rules: Rules, end: Millis| {
        rules.acts.extend((0..12).map(|round| (end + round * 3 * MINUTE, Act::Rebalance(Amount::Surplus, 2 * MINUTE))));
        Rules { end: end + 40 * MINUTE, ..rules }
    };
    let (old, new) = (0..size.instances, size.instances..2 * size.instances);
    let mut beside = vec![(EVENT, Act::Start(new.clone())), (EVENT + LOOKS, Act::LookBack(new))];
    beside.extend(drain(&old, EVENT + LOOKS, WAIT, 5 * MINUTE, LOOKS));
    vec![
        scenario("roll-1", "a hundredth at a time", 100, |rules, _| rules),
        scenario("roll-10", "a tenth at a time", 10, |rules, _| rules),
        scenario("roll-25", "a quarter at a time", 4, |rules, _| rules),
        scenario("roll-stay", "a hundredth at a time; users stay for 30 min", 100, |rules, end| Rules {
            stay: Some(30 * MINUTE),
            end: end + 10 * MINUTE,
            ..rules
        }),
        scenario(
            "roll-rebalance",
            "a tenth at a time, then `rebalance --surplus-over MEAN --over 2m`, every 3 min",
            10,
            rebalanced,
        ),
        Scenario {
            chapter: Chapter::Roll,
            name: "roll-beside",
            title: "a second fleet beside it, then all of the first at once with `spread: 5m`".to_owned(),
            rules: Rules {
                instances: 2 * size.instances,
                at_start: old,
                acts: beside,
                end: EVENT + LOOKS + WAIT + 6 * MINUTE,
                ..size.rules()
            },
        },
    ]
}

/// Backends that take together 5 handshakes a second of each thousand sessions: the whole fleet would come back in 200 s. Each has
/// ten instances' worth of sessions.
fn backends(size: Size) -> BackendRules {
    let count = usize::from(size.instances / 10).max(1);
    let rate = f64::from(size.sessions) / 200.0 / count as f64;
    BackendRules { count, rate, most_in_flight: None, queue: 0, slow_start: 0 }
}

/// What happens when a third of the instances is gone at once. The clients read 1006 (`tells`), or nothing.
fn zone(size: Size) -> Vec<Scenario> {
    let scenario = |name, title: &str, size: Size, tells, change: &dyn Fn(Rules) -> Rules| {
        let third = 0..size.instances / 3;
        let acts = vec![(EVENT, Act::Vanish(third.clone(), tells)), (EVENT + LOOKS, Act::LookAway(third))];
        let rules = change(Rules { acts, ..size.rules() });
        Scenario { chapter: Chapter::Zone, name, title: title.to_owned(), rules }
    };
    let plain = |rules| Rules { strength: Strength::PLAIN, ..rules };
    // Whoever finds no backend tries for minutes: a tenth of the fleet shows as much.
    let tenth = Size { instances: size.instances.div_ceil(10), sessions: size.sessions / 10 };
    let behind = |name, title: &str, most_in_flight: Option<u32>, queue| {
        let backends = BackendRules { most_in_flight, queue, ..backends(tenth) };
        scenario(name, title, tenth, true, &|rules| Rules { backends: Some(backends), end: 6 * MINUTE, ..rules })
    };
    vec![
        scenario("zone", "clients read 1006 at once", size, true, &|rules| rules),
        scenario("zone-plain", "the same without TLS", size, true, &plain),
        scenario("zone-silent", "silence: clients notice by their heartbeat", size, false, &|rules| rules),
        behind("zone-backends", "1006, slow backends, `max_handshakes: 0`", None, 0),
        behind("zone-wide", "1006, slow backends, `max_handshakes: 100`, `handshake_queue: 128`", Some(100), 128),
        behind("zone-queue", "1006, slow backends, `max_handshakes: 10`, `handshake_queue: 128`", Some(10), 128),
        behind("zone-short", "1006, slow backends, `max_handshakes: 10`, `handshake_queue: 0`", Some(10), 0),
    ]
}

fn backend(size: Size) -> Vec<Scenario> {
    let scenario = |name, title: &str, slow_start, most_in_flight| Scenario {
        chapter: Chapter::Backend,
        name,
        title: title.to_owned(),
        rules: Rules {
            stay: Some(HOUR),
            backends: Some(BackendRules { slow_start, most_in_flight, queue: 128, ..backends(size) }),
            acts: vec![(EVENT, Act::DrainBackend(0, SPREAD)), (MINUTE, Act::BackendBack(0))],
            end: 15 * MINUTE,
            ..size.rules()
        },
    };
    vec![
        scenario("backend", "`slow_start: 0s`", 0, None),
        scenario("backend-1m", "`slow_start: 1m`", MINUTE, None),
        scenario("backend-5m", "`slow_start: 5m`", 5 * MINUTE, None),
        scenario("backend-bound", "`slow_start: 0s`, `max_handshakes: 1`", 0, Some(1)),
        scenario("backend-both", "`slow_start: 5m`, `max_handshakes: 1`", 5 * MINUTE, Some(1)),
    ]
}

/// When Valkey goes away and comes back.
pub const AWAY: Range<Millis> = 5 * MINUTE..15 * MINUTE;

/// Addresses that want 40 sessions each and may have 10, of users who stay for 2 min. These fleets have sizes of their own.
fn valkey(size: Size) -> Vec<Scenario> {
    let seats = (size.sessions / 125).max(400);
    let base = |instances: u16, key| Rules {
        strength: Strength::PLAIN,
        key,
        past: Past::Empty(30 * SECOND),
        stay: Some(2 * MINUTE),
        limits: Some(LimitRules { per_client: 10, sessions: 0, wanted: 40 }),
        acts: vec![(AWAY.start, Act::Valkey(false)), (AWAY.end, Act::Valkey(true))],
        end: 25 * MINUTE,
        ..Size { instances, sessions: seats }.rules()
    };
    let scenario =
        |name, title: &str, rules| Scenario { chapter: Chapter::Valkey, name, title: title.to_owned(), rules };
    let third = 0..34;
    let mut loses = base(100, Key::Flow);
    loses.acts.extend([(6 * MINUTE, Act::Die(third.clone())), (6 * MINUTE + LOOKS, Act::LookAway(third.clone()))]);
    let mut grows = Rules { at_start: 34..100, ..base(100, Key::Flow) };
    grows.acts.extend([(6 * MINUTE, Act::Start(third.clone())), (6 * MINUTE + LOOKS, Act::LookBack(third))]);
    // As many may be in all as two of three want.
    let whole = LimitRules { per_client: 0, sessions: seats / 3 * 2, wanted: 40 };
    let in_all = |rules: Rules| Rules { limits: Some(whole), ..rules };
    vec![
        scenario("valkey-3", "3 instances, by flow", base(3, Key::Flow)),
        scenario("valkey-10", "10 instances, by flow", base(10, Key::Flow)),
        scenario("valkey-100", "100 instances, by flow", base(100, Key::Flow)),
        scenario("valkey-3-address", "3 instances, by address", base(3, Key::Address)),
        scenario("valkey-10-address", "10 instances, by address", base(10, Key::Address)),
        scenario("valkey-100-address", "100 instances, by address", base(100, Key::Address)),
        scenario("valkey-loses", "100 instances, by flow; a third dies meanwhile", loses.clone()),
        scenario("valkey-grows", "66 instances, by flow; 34 come meanwhile", grows.clone()),
        scenario("valkey-sessions", "100 instances, `sessions` alone, by flow", in_all(base(100, Key::Flow))),
        scenario(
            "valkey-sessions-address",
            "100 instances, `sessions` alone, by address",
            in_all(base(100, Key::Address)),
        ),
        scenario(
            "valkey-sessions-loses",
            "100 instances, `sessions` alone, by flow; a third dies meanwhile",
            in_all(loses),
        ),
        scenario("valkey-sessions-grows", "66 instances, `sessions` alone, by flow; 34 come meanwhile", in_all(grows)),
    ]
}
