//! A log that a simulation makes: sessions whose people come, talk, fall silent and leave, our Pings between them, and a few
//! causes that end sessions otherwise. It is known which, so what is found can be held against it. The same seed makes the same
//! log.

mod life;

/// A generator of numbers that a seed repeats (SplitMix64).
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x2545_f491_4f6c_dd1d) ^ 0x9e37_79b9)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number in `[0, 1)`.
    fn share(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.share()
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    fn one_in(&mut self, odds: f64) -> bool {
        self.share() * odds < 1.0
    }

    fn exponential(&mut self, mean: f64) -> f64 {
        -mean * (1.0 - self.share()).ln()
    }

    fn normal(&mut self) -> f64 {
        (-2.0 * (1.0 - self.share()).ln()).sqrt() * (std::f64::consts::TAU * self.share()).cos()
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }
}

/// Where something happens: everywhere but for what is named.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Place {
    pub route: Option<usize>,
    pub backend: Option<usize>,
    pub network: Option<usize>,
}

impl Place {
    fn holds(&self, other: &Self) -> bool {
        let is_in = |mine: Option<usize>, its: Option<usize>| mine.is_none() || mine == its;
        is_in(self.route, other.route) && is_in(self.backend, other.backend) && is_in(self.network, other.network)
    }
}

/// The side on whose path something happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Client,
    Backend,
}

/// How a limit ends a session.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Manner {
    Fin,
    Reset,
    /// The path forgets the session, and nobody hears of it.
    Silent,
}

/// Why sessions end otherwise than their people want.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Evil {
    /// `counts_from`: bytes from this side reset the timer too, not only those toward it.
    Idle {
        end: End,
        seconds: f64,
        counts_from: bool,
        manner: Manner,
        jitter: f64,
    },
    Life {
        end: End,
        seconds: f64,
        manner: Manner,
        jitter: f64,
    },
    Crash {
        at: f64,
    },
    /// A network whose connections are reset all the time.
    BadNetwork {
        mean: f64,
    },
    Refusals {
        status: u16,
        cause: &'static str,
        odds: f64,
    },
    Slow {
        odds: f64,
    },
    Limit {
        cause: &'static str,
        odds: f64,
    },
    /// Everybody is told to leave, and comes back at once.
    Drain {
        at: f64,
    },
    /// Phones that sleep.
    Sleep {
        odds: f64,
    },
}

/// What should be found, with the number of records that show it.
#[derive(Debug, Clone)]
pub struct Truth {
    pub kind: &'static str,
    pub end: Option<End>,
    pub place: Place,
    pub seconds: Option<f64>,
    pub at: Option<f64>,
    pub status: Option<u16>,
    pub cases: usize,
    evil: Evil,
}

impl Truth {
    /// The limit of a path that forgets without a word. What it shows most is that nobody answers, but more may follow from the
    /// records.
    pub fn unheard_limit(&self) -> Option<f64> {
        match self.evil {
            Evil::Idle { seconds, manner: Manner::Silent, .. } => Some(seconds),
            _ => None,
        }
    }
}

/// A log, and what is behind it.
pub struct Mixture {
    pub lines: Vec<String>,
    pub truths: Vec<Truth>,
}

pub const ROUTES: [&str; 4] = ["*/ws/", "chat.example.com/", "*/feed/", "api.example.com/live/"];
/// When the log begins: 2026-03-01T00:00:00Z.
pub const BEGIN: f64 = 1_772_323_200.0;
struct World {
    dice: Dice,
    routes: usize,
    backends: usize,
    networks: usize,
    span: f64,
    /// The interval of Pings; 0 = none are sent.
    interval: f64,
    /// The part of the records that an older longwire wrote.
    old: f64,
    truths: Vec<Truth>,
    lines: Vec<(f64, String)>,
}

/// The log of a seed, of about so many sessions.
pub fn mixture(seed: u64, sessions: usize) -> Mixture {
    let mut dice = Dice::new(seed);
    let mut world = World {
        routes: 1 + dice.below(4),
        backends: 2 + dice.below(5),
        networks: 40 + dice.below(160),
        // So that a few hundred sessions live at once.
        span: sessions as f64 * dice.between(2.0, 5.0),
        interval: dice.pick(&[0.0, 0.0, 25.0, 25.0, 60.0]),
        old: dice.pick(&[0.0, 0.0, 0.0, 0.2, 0.4]),
        truths: Vec::new(),
        lines: Vec::new(),
        dice,
    };
    world.choose_evils();
    let mut begins: Vec<f64> = (0..sessions).map(|_| world.dice.between(0.0, world.span)).collect();
    begins.sort_by(f64::total_cmp);
    world.bystanders(sessions);
    while let Some(begin) = begins.pop() {
        if let Some(again) = world.session(begin) {
            begins.push(again);
        }
    }
    world.lines.sort_by(|a, b| a.0.total_cmp(&b.0));
    Mixture { lines: world.lines.into_iter().map(|(_, line)| line).collect(), truths: world.truths }
}

impl World {
    fn choose_evils(&mut self) {
        let mut kinds: Vec<usize> = (0..11).collect();
        for _ in 0..1 + self.dice.below(4) {
            let kind = kinds.swap_remove(self.dice.below(kinds.len()));
            let (evil, place) = self.evil(kind);
            let truth = self.truth(evil, place);
            // Two limits of silence on one path hide each other: the shorter one ends what the longer one would.
            let ends = |evil: &Evil| match *evil {
                Evil::Idle { end, .. } | Evil::Life { end, .. } => Some(end),
                _ => None,
            };
            let hides = self.truths.iter().any(|other| ends(&other.evil).is_some() && ends(&other.evil) == ends(&evil));
            if !hides {
                self.truths.push(truth);
            }
        }
    }

    /// A cause of this kind, and its place.
    fn evil(&mut self, kind: usize) -> (Evil, Place) {
        let end = self.dice.pick(&[End::Client, End::Backend]);
        let jitter = self.dice.pick(&[0.0, 0.002, 0.01, 0.03]);
        let manner = self.dice.pick(&[Manner::Fin, Manner::Fin, Manner::Reset]);
        let place = self.place(end);
        let limit = if self.interval > 0.0 {
            self.interval * self.dice.between(0.3, 0.85)
        } else {
            self.dice.between(20.0, 180.0)
        };
        match kind {
            0 | 1 => {
                let counts_from = !self.dice.one_in(4.0);
                (Evil::Idle { end, seconds: limit, counts_from, manner, jitter }, place)
            }
            2 if self.interval > 0.0 => (
                Evil::Idle { end: End::Client, seconds: limit, counts_from: true, manner: Manner::Silent, jitter },
                self.place(End::Client),
            ),
            2 | 3 => {
                let seconds = self.dice.between(300.0, 1500.0);
                (Evil::Life { end, seconds, manner, jitter }, place)
            }
            4 => {
                let backend = Some(self.dice.below(self.backends)).filter(|_| self.backends > 2);
                (Evil::Crash { at: self.span * self.dice.between(0.3, 0.8) }, Place { backend, ..Place::default() })
            }
            5 => {
                let network = Some(self.dice.below(self.networks));
                (Evil::BadNetwork { mean: self.dice.between(30.0, 120.0) }, Place { network, ..Place::default() })
            }
            6 => {
                let (status, cause) = self.dice.pick(&[
                    (403, "origin"),
                    (502, "refused"),
                    (401, "not_upgraded"),
                    (503, "unavailable"),
                    (404, "no_route"),
                ]);
                let route = Some(self.dice.below(self.routes)).filter(|_| self.routes > 1 && status != 404);
                (
                    Evil::Refusals { status, cause, odds: self.dice.between(8.0, 40.0) },
                    Place { route, ..Place::default() },
                )
            }
            7 => (Evil::Slow { odds: self.dice.between(15.0, 60.0) }, Place::default()),
            8 => {
                let cause = self.dice.pick(&["idle", "rate_limited", "message_too_big", "sessions_per_client"]);
                (Evil::Limit { cause, odds: self.dice.between(15.0, 60.0) }, Place::default())
            }
            9 => (Evil::Drain { at: self.span * self.dice.between(0.3, 0.8) }, Place::default()),
            _ => (Evil::Sleep { odds: self.dice.between(15.0, 60.0) }, Place::default()),
        }
    }

    /// A place where a limit of a path may be.
    fn place(&mut self, end: End) -> Place {
        let mut place = Place::default();
        match (self.dice.below(4), end) {
            (0, _) => place.route = Some(self.dice.below(self.routes)).filter(|_| self.routes > 1),
            (1, End::Client) => place.network = Some(self.dice.below(self.networks.min(6))),
            (1, End::Backend) => place.backend = Some(self.dice.below(self.backends)),
            _ => {}
        }
        place
    }

    fn truth(&self, evil: Evil, place: Place) -> Truth {
        let none = Truth { kind: "", end: None, place, seconds: None, at: None, status: None, cases: 0, evil };
        match evil {
            Evil::Idle { end, manner: Manner::Silent, .. } => Truth { kind: "dead_unanswered", end: Some(end), ..none },
            Evil::Idle { end, seconds, .. } => {
                Truth { kind: "idle_limit", end: Some(end), seconds: Some(seconds), ..none }
            }
            Evil::Life { end, seconds, .. } => {
                Truth { kind: "life_limit", end: Some(end), seconds: Some(seconds), ..none }
            }
            Evil::Crash { at } => Truth { kind: "burst", end: Some(End::Backend), at: Some(at), ..none },
            Evil::BadNetwork { .. } => Truth { kind: "network", end: Some(End::Client), ..none },
            Evil::Refusals { status, .. } => Truth { kind: "handshake_failures", status: Some(status), ..none },
            Evil::Slow { .. } => Truth { kind: "slow_readers", ..none },
            Evil::Limit { .. } => Truth { kind: "own_limit", ..none },
            Evil::Drain { at } => Truth { kind: "storm", at: Some(at), ..none },
            Evil::Sleep { .. } => Truth { kind: "dead_unanswered", end: Some(End::Client), ..none },
        }
    }

    /// The truths that hold at a place.
    fn evils(&self, place: &Place) -> Vec<(usize, Evil)> {
        let here = self.truths.iter().enumerate().filter(|(_, truth)| truth.place.holds(place));
        here.map(|(number, truth)| (number, truth.evil)).collect()
    }

    /// What single clients do, of which nothing should be told: a monitor that ends each session after one silence, a scanner, the tabs
    /// of a laptop that is closed.
    fn bystanders(&mut self, sessions: usize) {
        let place = Place { route: Some(0), backend: Some(0), network: Some(9000) };
        let (silence, gap) = (self.dice.between(20.0, 120.0), self.dice.between(5.0, 60.0));
        let visits = if self.dice.one_in(2.0) { sessions / 25 } else { 0 };
        let first = self.dice.between(0.0, self.span / 2.0);
        for visit in 0..visits {
            let begin = first + visit as f64 * (silence + gap);
            if begin + silence < self.span {
                self.lines.push((begin + silence, life::left(begin, silence, &place, "10.35.40.9")));
            }
        }
        if self.dice.one_in(2.0) {
            let (count, first) = (self.dice.below(sessions / 20), self.dice.between(0.0, self.span / 2.0));
            for request in 0..count {
                let line = self.refusal(first + request as f64, &place, 404, "no_route");
                let client =
                    line.split("\"client\":\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap_or_default();
                let line = line.replace(client, "10.35.41.9");
                self.lines.push((first + request as f64, line));
            }
        }
        if self.dice.one_in(2.0) {
            let closed = self.dice.between(self.span / 2.0, self.span);
            for _ in 0..12 {
                let age = self.dice.between(60.0, self.span / 3.0);
                self.lines.push((closed, life::left(closed - age, age, &place, "10.35.42.9")));
            }
        }
    }

    /// A session that begins then, or a handshake that fails. Returns when its client comes back at once.
    fn session(&mut self, begin: f64) -> Option<f64> {
        // Some networks have many clients, most have few.
        let skew = self.dice.share();
        let place = Place {
            route: Some(self.dice.below(self.routes)),
            backend: Some(self.dice.below(self.backends)),
            network: Some((skew * skew * self.networks as f64) as usize),
        };
        let evils = self.evils(&place);
        if let Some((status, cause, truth)) = self.refused(&evils) {
            let line = self.refusal(begin, &place, status, cause);
            // An older record says only by its cause that it was a handshake.
            let is_told =
                line.contains("handshake\":true") || matches!(cause, "origin" | "not_upgraded" | "sessions_per_client");
            self.count(truth.filter(|_| is_told));
            self.lines.push((begin, line));
            return None;
        }
        let life = self.live(begin, &evils);
        if life.ending.at > self.span {
            // It still lives when the log ends.
            return None;
        }
        let drain = |evil: Evil| matches!(evil, Evil::Drain { .. });
        let evil = life.ending.truth.and_then(|truth| self.truths.get(truth)).map(|truth| truth.evil);
        let again = match evil {
            Some(Evil::Drain { .. }) => Some(life.ending.at + self.dice.between(0.2, 3.0)),
            Some(Evil::Crash { .. }) => Some(life.ending.at + self.dice.between(1.0, 40.0)),
            _ => None,
        };
        let again = again.filter(|again| *again < self.span);
        let (line, is_new) = self.record(begin, &place, &life);
        // The cases of a storm are those that come back.
        let is_case = evil.is_none_or(|evil| !drain(evil) || again.is_some()) && life.shows(evil, is_new);
        self.count(life.ending.truth.filter(|_| is_case));
        self.lines.push((life.ending.at, line));
        again
    }

    fn count(&mut self, truth: Option<usize>) {
        if let Some(truth) = truth.and_then(|truth| self.truths.get_mut(truth)) {
            truth.cases += 1;
        }
    }

    /// Whether a handshake fails here: the status, the cause, and what it shows.
    fn refused(&mut self, evils: &[(usize, Evil)]) -> Option<(u16, &'static str, Option<usize>)> {
        for (number, evil) in evils {
            match *evil {
                Evil::Refusals { status, cause, odds } if self.dice.one_in(odds) => {
                    return Some((status, cause, Some(*number)));
                }
                Evil::Limit { cause: cause @ "sessions_per_client", odds } if self.dice.one_in(odds) => {
                    return Some((429, cause, Some(*number)));
                }
                _ => {}
            }
        }
        let usual = [(404, "no_route"), (502, "refused"), (426, "wrong_version"), (403, "denied")];
        self.dice.one_in(2000.0).then(|| self.dice.pick(&usual)).map(|(status, cause)| (status, cause, None))
    }

    fn refusal(&mut self, at: f64, place: &Place, status: u16, cause: &str) -> String {
        let handshake = if self.is_old() { "" } else { "\"handshake\":true," };
        let (client, time) = (self.client(place), time(at));
        let route = ROUTES[place.route.unwrap_or_default()];
        format!(
            "{{\"time\":\"{time}\",\"kind\":\"request\",\"request_id\":\"{:032x}\",\"client\":\"{client}\",\
             \"host\":\"chat.example.com\",\"method\":\"GET\",\"path\":\"/ws/\",{handshake}\"route\":\"{route}\",\"tries\":1,\
             \"status\":{status},\"duration_ms\":4.2,\"bytes_to_backend\":0,\"bytes_to_client\":0,\"cause\":\"{cause}\"}}",
            self.dice.next(),
        )
    }

    fn is_old(&mut self) -> bool {
        self.dice.share() < self.old
    }

    fn client(&mut self, place: &Place) -> String {
        let (network, host) = (place.network.unwrap_or_default(), 1 + self.dice.below(250));
        if network % 7 == 3 {
            format!("2001:db8:{network:x}::{host:x}")
        } else {
            format!("10.{}.{}.{host}", network / 256, network % 256)
        }
    }
}

impl Place {
    /// The names in the log of what this place names.
    pub fn names(&self) -> [Option<String>; 3] {
        let network = |network: usize| {
            if network % 7 == 3 {
                format!("2001:db8:{network:x}::/48")
            } else {
                format!("10.{}.{}.0/24", network / 256, network % 256)
            }
        };
        let route = self.route.map(|route| ROUTES[route].to_owned());
        [route, self.backend.map(address), self.network.map(network)]
    }
}

/// The address of a backend.
fn address(backend: usize) -> String {
    format!("192.0.2.{}:3000", backend + 1)
}

/// A moment after the begin of the log, as the log has it.
pub fn time(at: f64) -> jiff::Timestamp {
    jiff::Timestamp::from_microsecond(((BEGIN + at) * 1e6) as i64).unwrap()
}
