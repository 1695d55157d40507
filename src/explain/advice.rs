//! What a pattern means, in words, and what to do about it.

mod refusals;

use std::{collections::HashMap, fmt, time::Duration};

use self::refusals::{key_of_refusal, meaning};
use super::{
    Evidence,
    facts::{EndFacts, EndSort, SeenEnd},
    heartbeat::{Heartbeat, heartbeat},
    pattern::{IdleBound, PatternKind},
    scope::PatternScope,
    suspects::{Measure, Suspect},
};
use crate::{
    paths::{LONGEST_INTERVAL, Manner, SHORTEST_INTERVAL, holding, resembling},
    ws::Side,
};

/// A preset is named if its limit is as near as this part of the limit that was seen.
const NEAR: f64 = 0.03;
/// The most presets that are named.
const MOST_NAMES: usize = 3;
/// The shortest age, in seconds, that is worth a `max_lifetime`.
const SHORTEST_LIFE: f64 = 60.0;
/// The fewest Pings of a session from which the interval is inferred.
const FEWEST_PINGS: u16 = 4;
/// The key of the interval of Pings.
const INTERVAL: &str = "keepalive.ping_interval";
/// A wait for a Ping is on average so much of the interval (`ws/keepalive`).
const MEAN_WAIT: f64 = 0.945;

/// A drain tells at least so many sessions in a second (`net/orders/book`).
const SLOWEST_DRAIN: f64 = 20.0;
/// The default of `drain.spread`, in seconds.
const USUAL_SPREAD: f64 = 15.0;

/// A pattern in words, and what to change.
pub(super) struct Advice {
    pub(super) text: String,
    pub(super) key: Option<String>,
    pub(super) value: Option<String>,
    /// What it says of a limit of silence that more Pings would hold.
    pub(super) bound: Option<IdleBound>,
}

/// The advice for a suspect.
pub(super) fn advise(evidence: &Evidence, suspect: &Suspect) -> Advice {
    let view = View { evidence, suspect, side: suspect.side.unwrap_or(Side::Client) };
    match suspect.kind {
        PatternKind::IdleLimit => view.idle_limit(),
        PatternKind::LifeLimit => view.life_limit(),
        PatternKind::DeadUnanswered => view.dead_unanswered(),
        PatternKind::Burst => view.burst(),
        PatternKind::Storm => view.storm(),
        PatternKind::Network => view.network(),
        PatternKind::HandshakeFailures => view.handshake_failures(),
        PatternKind::SlowReaders => view.slow_readers(),
        PatternKind::OwnLimit => view.own_limit(),
    }
}

/// A suspect, and what it needs to be told.
struct View<'v> {
    evidence: &'v Evidence,
    suspect: &'v Suspect,
    side: Side,
}

impl View<'_> {
    fn idle_limit(&self) -> Advice {
        let heartbeat = heartbeat(self.evidence, self.suspect);
        match (heartbeat, self.suspect.measure) {
            _ if self.suspect.is_at_our_ping(self.evidence) => return self.forgotten(),
            (Some(Heartbeat::Unanswered { answered_us }), _) => return self.unanswered_heartbeat(answered_us),
            (_, Measure::SilenceBefore { .. }) => return self.unheard(),
            _ => {}
        }
        let seen = self.suspect.middle;
        let (direction, note) = match (self.suspect.measure, self.side) {
            (Measure::SilenceFrom, side) => (format!("from the {}", side.as_str()), ""),
            (Measure::SilenceTo, side) => {
                (format!("toward the {}", side.as_str()), " What comes from there does not count.")
            }
            _ => ("in both directions".to_owned(), ""),
        };
        let (remedy, key, value) = self.remedy(seconds(seen));
        let text = format!(
            "{} lost the {} after {} of silence {direction}, {}: something between {} ends what is silent for that long{}.\
             {note}{}{} {remedy}",
            self.sessions(),
            self.side.as_str(),
            Seconds(seen),
            self.manner_in_words(),
            self.path(),
            self.looks_like(seen),
            self.of_one_address(),
            heartbeat.map_or_else(String::new, |_| self.possible_heartbeat()),
        );
        let bound = (key == INTERVAL).then_some(IdleBound::At(seconds(seen)));
        Advice { text, key: Some(self.key_of_route(key)), value, bound }
    }

    /// That the silence may be that of a heartbeat, as a sentence.
    fn possible_heartbeat(&self) -> String {
        let (name, other) = (self.side.as_str(), self.side.other().as_str());
        format!(
            " Or it is the {name}'s own heartbeat: the {name} had spoken last each time, and may end sessions where the {other} does \
             not answer (`terminate` of ws, `pingTimeout` of socket.io). Pings of longwire do not change that.",
        )
    }

    /// The lost side ended the sessions itself, because the other side did not answer its heartbeat.
    fn unanswered_heartbeat(&self, answered_us: bool) -> Advice {
        let (name, other) = (self.side.as_str(), self.side.other().as_str());
        let reason = if answered_us {
            "it went on answering longwire's Pings, so its program was blocked or frozen (a tab in the background), while its host was not"
        } else {
            "it slept, was blocked, or its network was gone"
        };
        let text = format!(
            "{} were ended by the {name} {} after its last byte, to which the {other} did not answer, although it had answered the one \
             before: that is the heartbeat of the {name}'s program (`terminate` of ws after a Ping, `pingTimeout` of socket.io), and \
             no limit of the path. The {other} is the silent one: {reason}. A longer timeout of that program waits for it; no key of \
             longwire does.",
            self.sessions(),
            Seconds(self.suspect.middle),
        );
        Advice { text, key: None, value: None, bound: None }
    }

    /// The path had forgotten the session when bytes came before our Ping, and nobody acknowledged them.
    fn unheard(&self) -> Advice {
        let seen = self.suspect.middle;
        let (remedy, key, value) = self.remedy(seconds(seen));
        let name = self.side.as_str();
        let text = format!(
            "{} lost the {name} without a word: nobody acknowledged what went to it after a silence of {} or more, while those lived on \
             that had been silent for less. So something between {} forgets what is silent for that long{}. {remedy}",
            self.sessions(),
            Seconds(seen),
            self.path(),
            self.looks_like(seen),
        );
        let bound = (key == INTERVAL).then_some(IdleBound::At(seconds(seen)));
        Advice { text, key: Some(self.key_of_route(key)), value, bound }
    }

    /// What keeps sessions on a path with this limit, in words, with the key and its value.
    fn remedy(&self, limit: Duration) -> (String, &'static str, Option<String>) {
        if limit > LONGEST_INTERVAL && !self.is_pinged() {
            let remedy =
                format!("longwire sends no Pings to the {}, although it pings the other side.", self.side.as_str());
            return (remedy, "keepalive.sides", Some("[client, backend]".to_owned()));
        }
        let interval = interval(limit);
        let words = whole_seconds(interval);
        if interval < SHORTEST_INTERVAL {
            let remedy =
                format!("A Ping would have to go out after {words} of silence, which costs the batteries of phones.");
            return (remedy, INTERVAL, None);
        }
        (format!("A Ping after {words} of silence or less keeps them."), INTERVAL, Some(words))
    }

    /// Whether the side gets Pings, or nobody does.
    fn is_pinged(&self) -> bool {
        let here = self.evidence.facts.iter().filter(|facts| facts.is_session() && self.suspect.scope.holds(facts));
        let (to_side, to_other) = here.fold((0_u64, 0_u64), |(to_side, to_other), facts| {
            (to_side + u64::from(facts.pings(self.side)), to_other + u64::from(facts.pings(self.side.other())))
        });
        to_side > 0 || to_other == 0
    }

    /// The path had forgotten the session before our first Ping, which a reset answered.
    fn forgotten(&self) -> Advice {
        let value = whole_seconds(self.half_of_interval());
        let text = format!(
            "{} lost the {} when it got its first Ping, {} after its last byte: a reset answered the Ping. So something between {} \
             forgets what is silent for a time below the interval. Half of the interval tells whether that keeps them.",
            self.sessions(),
            self.side.as_str(),
            Seconds(self.suspect.middle),
            self.path(),
        );
        Advice {
            text,
            key: Some(self.key_of_route(INTERVAL)),
            value: Some(value),
            bound: Some(IdleBound::BelowInterval),
        }
    }

    /// Half of the interval, as far as the records show it. Busy sessions get few Pings, so what they show is the interval at
    /// most.
    fn half_of_interval(&self) -> Duration {
        let interval = self.usual_interval().map_or(LONGEST_INTERVAL, |interval| interval.min(LONGEST_INTERVAL));
        (interval / 2).max(SHORTEST_INTERVAL)
    }

    fn life_limit(&self) -> Advice {
        let seen = self.suspect.middle;
        // What lives for less than a minute is hardly meant to live, and would come back again and again.
        let value = (seen >= SHORTEST_LIFE).then(|| whole_seconds(seconds(seen * 0.95)));
        let text = format!(
            "{} lost the {} at an age of {}, however lively they were, {}: something between {} ends every connection at that \
             age.{} With a `max_lifetime` a little below, the clients read 1012 before, and come back.",
            self.sessions(),
            self.side.as_str(),
            Seconds(seen),
            self.manner_in_words(),
            self.path(),
            self.of_one_address(),
        );
        Advice { text, key: Some("routes[].max_lifetime".to_owned()), value, bound: None }
    }

    fn dead_unanswered(&self) -> Advice {
        let (name, cases) = (self.side.as_str(), self.cases());
        let answered = cases.iter().filter(|facts| facts.has_answered(self.side)).count();
        if 2 * answered < cases.len() {
            let value = Some(whole_seconds(self.half_of_interval()));
            let text = format!(
                "{} ended because the {name} answered no Ping, and most of these had never answered one: something between {} \
                 forgets what is silent for less than `ping_interval`, without a word to anybody. Half of the interval tells \
                 whether that is so.",
                self.sessions(),
                self.path(),
            );
            let bound = Some(IdleBound::BelowInterval);
            return Advice { text, key: Some(self.key_of_route(INTERVAL)), value, bound };
        }
        // The silence is longer than the timeout. So twice the silence is longer than what is set.
        let unanswered = (self.suspect.middle > 0.0).then(|| seconds(self.suspect.middle));
        let value = unanswered.map(|unanswered| format!("{{ {name}: {} }}", whole_seconds(rounded(2 * unanswered))));
        let reason = match self.side {
            Side::Client => {
                "they slept (a phone with its screen off, a closed laptop), or their network was gone. They come back by \
                 themselves if their program connects again when it wakes; a longer `pong_timeout` waits for them"
            }
            Side::Backend => {
                "its program was blocked for longer than `pong_timeout`, or its host was gone. A longer `pong_timeout` waits \
                 for it"
            }
        };
        let text = format!(
            "{} ended because the {name} answered no Ping, although it had answered earlier ones: {reason}.",
            self.sessions()
        );
        Advice { text, key: Some(self.key_of_route("keepalive.pong_timeout")), value, bound: None }
    }

    fn burst(&self) -> Advice {
        let reason = match (self.side, self.suspect.scope) {
            (Side::Backend, PatternScope { backend: Some(_), .. }) => {
                "that backend crashed, was killed or was restarted. `longwire drain --backend` before a restart tells its \
                 sessions to leave"
            }
            (Side::Backend, _) => {
                "the backends, or what stands in front of them, crashed or were restarted. `longwire drain` before a restart \
                 tells their sessions to leave"
            }
            (Side::Client, PatternScope { network: Some(_), .. }) => "the network of these clients broke",
            (Side::Client, _) => "what stands in front of longwire was restarted, or its network broke",
        };
        let text = format!(
            "{} lost the {} within {} from {}: {reason}.",
            self.sessions(),
            self.side.as_str(),
            Seconds(self.suspect.high - self.suspect.low),
            self.at(),
        );
        Advice { text, key: None, value: None, bound: None }
    }

    fn storm(&self) -> Advice {
        let Suspect { low, high, cases, .. } = *self.suspect;
        let came = format!(
            "{cases:.0} handshakes{} came within {} from {}, after sessions had been told to leave: their clients came back all at once.",
            self.place(),
            Seconds(high - low),
            self.at(),
        );
        // No drain tells fewer in a second (`net/orders/book`), so no longer spread would.
        let spread = (cases / SLOWEST_DRAIN).ceil();
        if spread <= high - low {
            let text = format!(
                "{came} A drain tells at least {SLOWEST_DRAIN:.0} sessions a second, so a longer `drain.spread` would not slow them down. Clients \
                 that wait for a random time before they come back do."
            );
            return Advice { text, key: None, value: None, bound: None };
        }
        let spread = spread.max(USUAL_SPREAD);
        let text = format!(
            "{came} With a longer `drain.spread` they come one after another. It is cut to half of `timeouts.drain`, so that must be \
             {} or more.",
            whole_seconds(seconds(2.0 * spread)),
        );
        Advice { text, key: Some("drain.spread".to_owned()), value: Some(whole_seconds(seconds(spread))), bound: None }
    }

    fn network(&self) -> Advice {
        let of_network = |facts: &&EndFacts| self.suspect.scope.holds(facts) && facts.is_session();
        let sessions = self.evidence.facts.iter().filter(of_network).count();
        let text = format!(
            "{:.0} of {sessions} sessions of clients from {} were dropped, several times as many as elsewhere: a firewall, a \
             carrier or a proxy there, or one program there that connects again and again. Silence is the likeliest reason \
             that a setting here can mend.",
            self.suspect.cases,
            self.suspect.scope.network.map(|network| network.to_string()).unwrap_or_default(),
        );
        Advice { text, key: Some(INTERVAL.to_owned()), value: Some("10s".to_owned()), bound: None }
    }

    fn handshake_failures(&self) -> Advice {
        let causes = self.causes();
        let first = causes.first().map_or("", |(cause, _)| *cause);
        let named: Vec<_> = causes.iter().take(MOST_NAMES).map(|(cause, count)| format!("`{cause}` {count}")).collect();
        let status = self.cases().first().map_or(0, |facts| facts.status);
        let text = format!(
            "{:.0} handshakes{} failed with status {status}: {}. {}.",
            self.suspect.cases,
            self.place(),
            named.join(", "),
            meaning(first),
        );
        Advice { text, key: key_of_refusal(first).map(str::to_owned), value: None, bound: None }
    }

    fn slow_readers(&self) -> Advice {
        let text = format!(
            "{} ended because a side took its bytes too slowly while `limits.unsent_memory` was used up. `longwire sessions \
             --sort buffered` shows the slow ones while they live.",
            self.sessions()
        );
        Advice { text, key: Some("limits.unsent_memory".to_owned()), value: None, bound: None }
    }

    fn own_limit(&self) -> Advice {
        let cause = self.causes().first().map_or("", |(cause, _)| *cause);
        let (words, key) = match cause {
            "idle" => ("no side sent a byte for `timeouts.idle`", "timeouts.idle"),
            "rate_limited" => ("a client sent more in a second than `limits` allow", "limits.messages_per_second"),
            "message_too_big" => ("a message was larger than `limits` allow", "limits.message_size"),
            "sessions_per_client" => ("their address had too many sessions", "limits.sessions_per_client"),
            _ => ("their address began too many sessions in a second", "limits.new_sessions_per_client"),
        };
        let what = match self.suspect.facts.first().and_then(|fact| self.evidence.facts.get(*fact as usize)) {
            Some(facts) if facts.sort == EndSort::Barred => {
                format!("{:.0} handshakes{} were refused", self.suspect.cases, self.place())
            }
            _ => format!("{} ended", self.sessions()),
        };
        let text = format!("{what} because {words} (`{cause}`). That is a limit of longwire's own file.");
        Advice { text, key: Some(key.to_owned()), value: None, bound: None }
    }

    fn cases(&self) -> Vec<&EndFacts> {
        self.suspect.facts.iter().filter_map(|fact| self.evidence.facts.get(*fact as usize)).collect()
    }

    /// The causes of the cases, the most frequent one first.
    fn causes(&self) -> Vec<(&str, usize)> {
        let mut counts: HashMap<u16, usize> = HashMap::new();
        for facts in self.cases() {
            *counts.entry(facts.word).or_default() += 1;
        }
        let named = counts.into_iter().filter_map(|(word, count)| Some((self.evidence.causes.word(word)?, count)));
        let mut causes: Vec<_> = named.collect();
        causes.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
        causes
    }

    /// How many sessions, and where.
    fn sessions(&self) -> String {
        format!("{:.0} sessions{}", self.suspect.cases, self.place())
    }

    /// The scope, as a part of a sentence.
    fn place(&self) -> String {
        let PatternScope { route, backend, network } = self.suspect.scope;
        let route = route.and_then(|route| self.evidence.routes.word(route)).map(|route| format!(" on route {route}"));
        let backend = backend
            .and_then(|backend| self.evidence.backends.word(backend))
            .map(|backend| format!(" of backend {backend}"));
        let network = network.map(|network| format!(" of clients from {network}"));
        [route, backend, network].into_iter().flatten().collect()
    }

    /// That the cases have one address, as a sentence.
    fn of_one_address(&self) -> &'static str {
        let cases = self.cases();
        let Some(first) = cases.first().and_then(|facts| facts.address()).filter(|_| self.side == Side::Client) else {
            return "";
        };
        if cases.iter().all(|facts| facts.address() == Some(first)) {
            " All of them came from one address: a proxy or an office, or one program that ends its sessions so by itself."
        } else {
            ""
        }
    }

    const fn path(&self) -> &'static str {
        match self.side {
            Side::Client => "the clients and longwire",
            Side::Backend => "longwire and the backend",
        }
    }

    fn at(&self) -> String {
        let at = jiff::Timestamp::from_second(self.suspect.low as i64).unwrap_or_default();
        at.to_string()
    }

    /// How most of the cases ended, if most of them ended alike.
    fn manner(&self) -> Option<SeenEnd> {
        let cases = self.cases();
        let count = |seen: SeenEnd| cases.iter().filter(|facts| facts.seen == seen).count();
        [SeenEnd::Fin, SeenEnd::Reset, SeenEnd::Silent].into_iter().find(|seen| 3 * count(*seen) > 2 * cases.len())
    }

    fn manner_in_words(&self) -> &'static str {
        match self.manner() {
            Some(SeenEnd::Fin) => "by FIN without a Close",
            Some(SeenEnd::Reset) => "by a reset",
            Some(SeenEnd::Silent) => "without a word",
            _ => "without a Close",
        }
    }

    /// The presets whose limit is near, as a part of a sentence.
    fn looks_like(&self, seen: f64) -> String {
        let manner = match self.manner() {
            Some(SeenEnd::Fin) => Some(Manner::Fin),
            Some(SeenEnd::Reset) => Some(Manner::Reset),
            Some(SeenEnd::Silent) => Some(Manner::Silent),
            _ => None,
        };
        let (low, high) = (seconds(seen * (1.0 - NEAR)), seconds(seen * (1.0 + NEAR)));
        let titles: Vec<_> = resembling(low, high, manner).map(|preset| preset.title).take(MOST_NAMES).collect();
        if titles.is_empty() { String::new() } else { format!(" (it looks like {})", titles.join(" or ")) }
    }

    /// The name of a key that a route can have for itself.
    fn key_of_route(&self, key: &str) -> String {
        if self.suspect.scope.route.is_some() { format!("routes[].{key}") } else { key.to_owned() }
    }

    /// The interval of our Pings to the side, as the quietest sessions show it.
    fn usual_interval(&self) -> Option<Duration> {
        let pinged = self.evidence.facts.iter().filter(|facts| {
            facts.is_session() && self.suspect.scope.holds(facts) && facts.pings(self.side) >= FEWEST_PINGS
        });
        let wait = |facts: &EndFacts| Some(facts.age.seconds()? / f64::from(facts.pings(self.side)));
        let mut waits: Vec<_> = pinged.filter_map(wait).collect();
        waits.sort_by(f64::total_cmp);
        let wait = waits.get(waits.len() / 20)?;
        Some(rounded(seconds(wait / MEAN_WAIT)))
    }
}

/// The interval of Pings that keeps what is silent for so long.
fn interval(limit: Duration) -> Duration {
    let interval = holding(limit).min(LONGEST_INTERVAL);
    if SHORTEST_INTERVAL * 2 < limit { interval.max(SHORTEST_INTERVAL) } else { interval }
}

/// A duration as the file has it.
fn whole_seconds(duration: Duration) -> String {
    match duration.as_secs() {
        0 => format!("{}ms", duration.as_millis()),
        seconds => format!("{seconds}s"),
    }
}

/// To whole seconds, if that is a small difference.
fn rounded(duration: Duration) -> Duration {
    if duration < Duration::from_secs(2) {
        duration
    } else {
        Duration::from_secs(duration.as_secs_f64().round() as u64)
    }
}

/// A number of seconds as a duration; nothing if it is none.
fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}

/// Seconds as people write them.
struct Seconds(f64);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            seconds if seconds >= 100.0 => write!(f, "{seconds:.0} s"),
            seconds => write!(f, "{seconds:.1} s"),
        }
    }
}
