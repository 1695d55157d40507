//! The result of a probe, for people and as JSON.

use std::{fmt, time::Duration};

use serde_json::{Value, json};

use super::{
    ProbeOptions,
    decide::{AgeLimit, Death, Interval, Judged, OddDeaths, ProbeVerdict, SilenceLimit, judge},
    look::{FirstLook, HandshakeSeen},
    news::Checks,
};
use crate::paths::{Manner, Preset, holding, resembling};

/// The most presets that a sentence names.
const MOST_NAMED: usize = 6;

/// What was found.
#[derive(Debug)]
pub struct ProbeReport {
    url: String,
    interval: Interval,
    interval_from: String,
    lifetime: Option<Duration>,
    quick: bool,
    wants_life: bool,
    pub(super) handshake: HandshakeSeen,
    pub(super) look: FirstLook,
    pub(super) checks: Checks,
    /// The limit of silence, or of age.
    pub(super) limit: Option<SilenceLimit>,
    pub(super) is_of_age: bool,
    /// The longest silence that lived.
    pub(super) lived: Duration,
    /// Whether a client's Pings, the other end's Pings and TCP's keepalive keep a connection beyond the limit.
    pub(super) kept: [Option<bool>; 3],
    /// The ages between which sockets died that were not silent, if that is sure or was asked about.
    pub(super) life: Option<AgeLimit>,
    /// The deaths that are no part of the limit.
    pub(super) odd: Option<OddDeaths>,
    /// Whether the other end sent something to sockets that were to be silent.
    pub(super) was_disturbed: bool,
    /// Why sockets could not be opened, and how many attempts that took.
    pub(super) unopened: Option<(String, usize)>,
    /// Why nothing could be tested.
    pub(super) error: Option<String>,
    pub(super) took: Duration,
}

impl ProbeReport {
    /// An empty report. `interval`: what longwire has where none was asked about.
    pub(super) fn new(options: &ProbeOptions, interval: Duration) -> Self {
        Self {
            url: options.target.to_string(),
            interval: options.interval.unwrap_or(Interval::Every(interval)),
            interval_from: options.interval_from.clone(),
            lifetime: options.lifetime,
            quick: options.quick,
            wants_life: options.life,
            handshake: HandshakeSeen::default(),
            look: FirstLook::default(),
            checks: Checks::default(),
            limit: None,
            is_of_age: false,
            lived: Duration::ZERO,
            kept: [None; 3],
            life: None,
            odd: None,
            was_disturbed: false,
            unopened: None,
            error: None,
            took: Duration::ZERO,
        }
    }

    /// 0 = the interval outlives the path, 1 = it does not, 3 = it could not be tested.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self.verdict() {
            ProbeVerdict::Holds => 0,
            ProbeVerdict::Fails => 1,
            ProbeVerdict::Unknown => 3,
        }
    }

    /// The whole result as JSON, in seconds, milliseconds and bytes. `null` = not tested.
    #[must_use]
    pub fn json(&self) -> Value {
        let HandshakeSeen { status, extensions, subprotocol, telling, .. } = &self.handshake;
        let telling: serde_json::Map<_, _> = telling.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
        let Checks { latency_ms, message_bytes, close_code, was_cut: _ } = self.checks;
        let mut json = json!({
            "url": self.url,
            "idle": self.idle_json(),
            "life": self.life_json(),
            "handshake": {
                "status": status, "extensions": extensions, "subprotocol": subprotocol, "headers": telling,
            },
            "passes": { "ping": self.look.pongs, "close_code": close_code, "message_bytes": message_bytes },
            "latency_ms": latency_ms.map(|(p50, p99)| json!({ "p50": p50, "p99": p99 })),
            "verdict": self.verdict().as_str(),
            "judged": { "ping_interval": self.judged(), "from": self.interval_from },
        });
        if let Some(interval) = self.ping_interval() {
            json["ping_interval"] = shown(interval).into();
        }
        if let Some(error) = &self.error {
            json["error"] = error.as_str().into();
        }
        json
    }

    fn idle_json(&self) -> Value {
        let is_tested = self.limit.is_some() || !self.lived.is_zero();
        if self.is_of_age || !is_tested {
            return Value::Null;
        }
        let Some(SilenceLimit { low, high, death, tries, agree, .. }) = self.limit else {
            let (tries, agree) = self.odd.map_or((0, 0), |odd| (odd.died + odd.lived, odd.died));
            return json!({
                "between": null, "dies": null, "close_code": null, "tries": tries, "agree": agree, "looks_like": [],
                "kept_by": null,
            });
        };
        let [client_ping, server_ping, tcp_keepalive] = self.kept;
        let kept = json!({ "client_ping": client_ping, "server_ping": server_ping, "tcp_keepalive": tcp_keepalive });
        json!({
            "between": [seconds(low), seconds(high)],
            "dies": death.manner.map(Manner::as_str),
            "close_code": death.code,
            "tries": tries,
            "agree": agree,
            "looks_like": self.resembling().map(|preset| preset.name).collect::<Vec<_>>(),
            "kept_by": if self.quick { Value::Null } else { kept },
        })
    }

    fn life_json(&self) -> Value {
        match self.life() {
            Some(AgeLimit { low, high, death }) => {
                json!({ "between": [seconds(low), seconds(high)], "dies": death.manner.map(Manner::as_str) })
            }
            None if self.wants_life && self.error.is_none() => json!({ "between": null, "dies": null }),
            None => Value::Null,
        }
    }

    /// The limit of age, if there is one that was looked for or met.
    fn life(&self) -> Option<AgeLimit> {
        let life = self.life?;
        // A socket that is silent sees more of its end than one that asks at the moment.
        let death = self.limit.filter(|_| self.is_of_age).map_or(life.death, |limit| limit.death);
        Some(AgeLimit { death, ..life })
    }

    fn verdict(&self) -> ProbeVerdict {
        if self.error.is_some() {
            return ProbeVerdict::Unknown;
        }
        let [client_ping, server_ping, _] = self.kept;
        judge(Judged {
            interval: self.interval,
            limit: self.silence().as_ref(),
            life: self.life.map(|life| life.low),
            lived: self.lived,
            kept: [client_ping, server_ping],
            was_answered: self.look.pongs == Some(true) && !self.look.obeys,
            lifetime: self.lifetime,
        })
    }

    /// The limit of silence.
    fn silence(&self) -> Option<SilenceLimit> {
        self.limit.filter(|_| !self.is_of_age)
    }

    /// The longest interval that surely holds; `None` = no limit of silence was found.
    fn ping_interval(&self) -> Option<Duration> {
        let limit = self.silence()?;
        let shortest = if limit.is_narrow() { limit.middle() } else { limit.low };
        Some(holding(shortest)).filter(|interval| !interval.is_zero())
    }

    /// The interval that is judged; `None` = no pings are sent to clients.
    fn judged(&self) -> Option<String> {
        match self.interval {
            Interval::Every(interval) => Some(shown(interval)),
            Interval::Off => None,
        }
    }

    fn resembling(&self) -> impl Iterator<Item = &'static Preset> {
        let limit = self.silence();
        limit.into_iter().flat_map(|limit| resembling(limit.low, limit.high, limit.death.manner))
    }

    /// What was found about silence, a sentence.
    fn silence_text(&self) -> String {
        let Some(limit) = self.silence() else {
            let why = if self.was_disturbed { ": the other end sends by itself" } else { "" };
            return format!("lived {} of silence, the longest that was tested{why}", span(self.lived));
        };
        let SilenceLimit { low, high, death, tries, agree, .. } = limit;
        let between = format!("ended between {} and {} of silence", span(low), span(high));
        if agree < tries || !limit.is_narrow() && agree > 3 {
            format!("{between}, not all at one limit: {agree} of {tries} that were silent so long, {}", how(death))
        } else {
            format!("{between}, {agree} of {tries}, {}", how(death))
        }
    }

    /// What died once and is no limit.
    fn odd_text(&self) -> Option<String> {
        let OddDeaths { silence, death, died, lived } = self.odd?;
        Some(format!(
            "{died} ended after {} of silence or more, {}, and {lived} others lived as long",
            span(silence),
            how(death)
        ))
    }

    fn life_text(&self) -> String {
        match self.life() {
            Some(AgeLimit { low, high, death }) => {
                let busy = if self.look.echoes { "however busy" } else { "however often pinged" };
                format!("ended at an age between {} and {}, {busy}, {}", span(low), span(high), how(death))
            }
            None if self.wants_life => "no limit was met".to_owned(),
            None => "not tested".to_owned(),
        }
    }

    fn verdict_text(&self) -> String {
        let interval = self.judged().map_or_else(
            || "a route without pings to its clients".to_owned(),
            |interval| format!("`ping_interval: {interval}`"),
        );
        let far_away = "clients are told to come back";
        match self.verdict() {
            ProbeVerdict::Holds if self.limit.is_some() && self.kept == [None; 3] && !self.is_of_age => {
                format!("holds: {interval} outlives this path, if it counts pings, which was not tested")
            }
            ProbeVerdict::Holds => format!("holds: {interval} outlives this path"),
            ProbeVerdict::Fails if self.life.is_some() && self.look.echoes => {
                format!("fails: no interval outlives an age. Set `max_lifetime` below it, then {far_away}")
            }
            ProbeVerdict::Fails if self.life.is_some() => format!(
                "fails: no interval outlives an age, or a path that counts messages and no pings; no message was answered. \
                 With `max_lifetime` below it, {far_away}"
            ),
            ProbeVerdict::Fails => format!("fails: {interval} does not outlive this path"),
            ProbeVerdict::Unknown if self.unopened.is_some() => {
                format!(
                    "unknown: whether {interval} outlives this path was not tested, for connections could not be opened"
                )
            }
            ProbeVerdict::Unknown => format!("unknown: whether {interval} outlives this path was not tested"),
        }
    }

    fn kept_text(&self) -> String {
        let word = |kept: Option<bool>| match kept {
            Some(true) => "yes",
            Some(false) => "no",
            None => "not tested",
        };
        let [client, server, tcp] = self.kept.map(word);
        format!("a client's Pings: {client} · the server's Pings: {server} · TCP keepalive: {tcp}")
    }

    /// What to set, or why that would not help.
    fn advice(&self) -> Option<String> {
        let interval = shown(self.ping_interval()?);
        let [client_ping, server_ping, _] = self.kept;
        Some(if client_ping == Some(false) && server_ping != Some(true) {
            format!("pings do not hold it: the application has to send a message each {interval} or more often")
        } else if self.kept == [None; 3] {
            format!("`ping_interval: {interval}` or less holds it, if it counts pings")
        } else {
            format!("`ping_interval: {interval}` or less holds it")
        })
    }

    /// The rows of the table, without those of which nothing is known.
    fn rows(&self) -> Vec<(&'static str, String)> {
        let HandshakeSeen { status, extensions, subprotocol, telling, .. } = &self.handshake;
        let telling: String = telling.iter().map(|(name, value)| format!(" · {name}: {value}")).collect();
        let or_none = |text: &String| if text.is_empty() { "none".to_owned() } else { text.clone() };
        let Checks { latency_ms, message_bytes, close_code, was_cut } = self.checks;
        let cut = if was_cut { ", and there was no time for larger ones" } else { "" };
        let unanswered = if self.look.ask().is_some() { "are eaten, so messages ask" } else { "are not answered" };
        let mut rows = vec![
            ("handshake", status.map(|status| format!("{status}{telling}"))),
            (
                "extensions",
                extensions.as_ref().map(|text| format!("{} (permessage-deflate was offered)", or_none(text))),
            ),
            ("subprotocol", subprotocol.as_ref().map(or_none)),
            ("pings", self.look.pongs.map(|passes| (if passes { "are answered" } else { unanswered }).to_owned())),
            ("latency", latency_ms.map(|(p50, p99)| format!("half within {p50:.1} ms, 99 % within {p99:.1} ms"))),
            (
                "messages",
                message_bytes.map(|bytes| format!("up to {} come back{cut}", bytesize::ByteSize(bytes as u64))),
            ),
            ("close code", close_code.map(|kept| (if kept { "kept" } else { "not kept" }).to_owned())),
        ];
        if self.error.is_none() {
            let names: Vec<_> = self.resembling().map(|preset| preset.title).take(MOST_NAMED).collect();
            rows.push(("silence", Some(self.silence_text())));
            rows.push(("odd", self.odd_text()));
            rows.push(("looks like", (!names.is_empty()).then(|| names.join(", "))));
            rows.push(("kept by", (self.limit.is_some() && !self.is_of_age && !self.quick).then(|| self.kept_text())));
            rows.push(("life", Some(self.life_text())));
            rows.push(("advice", self.advice()));
        }
        let unopened = self.unopened.as_ref();
        rows.push(("not opened", unopened.map(|(why, count)| format!("{count} attempts, the last one: {why}"))));
        rows.push(("error", self.error.clone()));
        rows.push((
            "judged",
            self.judged().map(|interval| format!("`ping_interval: {interval}`, {}", self.interval_from)),
        ));
        rows.push(("verdict", Some(self.verdict_text())));
        rows.into_iter().filter_map(|(name, text)| Some((name, text?))).collect()
    }
}

impl fmt::Display for ProbeReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} ({})", self.url, span(self.took))?;
        self.rows().iter().try_for_each(|(name, text)| writeln!(f, "  {name:<11}  {text}"))
    }
}

/// How a connection ended, after a comma.
fn how(death: Death) -> String {
    match (death.manner, death.code) {
        (Some(Manner::Close), Some(code)) => format!("by a Close with code {code}"),
        (Some(Manner::Close), None) => "by a Close without a code".to_owned(),
        (Some(Manner::Fin), _) => "by FIN without a Close".to_owned(),
        (Some(Manner::Reset), _) => "by RST".to_owned(),
        (Some(Manner::Forgotten), _) => "forgotten: a RST answers the next packet".to_owned(),
        (Some(_), _) if death.taken => "in silence: packets are acknowledged, and nothing comes back".to_owned(),
        (Some(_), _) => "in silence: packets vanish, and TCP sends them again in vain".to_owned(),
        (None, _) => "and nobody said how: nothing answers".to_owned(),
    }
}

/// A time in seconds, to the millisecond.
fn seconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e3).round() / 1e3
}

/// A time for people.
fn span(time: Duration) -> String {
    if time < Duration::from_secs(10) {
        format!("{:.2} s", time.as_secs_f64())
    } else {
        format!("{:.1} s", time.as_secs_f64())
    }
}

/// An interval as the file writes it.
fn shown(interval: Duration) -> String {
    match interval.subsec_millis() {
        0 => format!("{}s", interval.as_secs()),
        _ => format!("{}ms", interval.as_millis()),
    }
}
