//! The result of a probe, for people and as JSON.

use std::{fmt, time::Duration};

use serde_json::{Value, json};

use super::{
    ProbeOptions,
    decide::{Death, Interval, Judged, ProbeVerdict, SilenceLimit, judge},
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
    /// The ages between which a busy socket died.
    pub(super) life: Option<(Duration, Duration, Death)>,
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
        let Checks { latency_ms, message_bytes, close_code } = self.checks;
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
        let Some(SilenceLimit { low, high, death, tries, agree }) = self.limit else {
            return json!({
                "between": null, "dies": null, "close_code": null, "tries": 0, "agree": 0, "looks_like": [],
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
            Some((low, high, death)) => {
                json!({ "between": [seconds(low), seconds(high)], "dies": death.manner.map(Manner::as_str) })
            }
            None if self.wants_life && self.error.is_none() => json!({ "between": null, "dies": null }),
            None => Value::Null,
        }
    }

    /// The limit of age, if there is one that was looked for or met.
    fn life(&self) -> Option<(Duration, Duration, Death)> {
        let (low, high, death) = self.life?;
        // A socket that is silent sees more of its end than one that asks at the moment.
        let death = self.limit.filter(|_| self.is_of_age).map_or(death, |limit| limit.death);
        (self.is_of_age || self.wants_life).then_some((low, high, death))
    }

    fn verdict(&self) -> ProbeVerdict {
        if self.error.is_some() {
            return ProbeVerdict::Unknown;
        }
        let [client_ping, server_ping, _] = self.kept;
        judge(Judged {
            interval: self.interval,
            limit: self.limit.as_ref(),
            is_of_age: self.is_of_age,
            lived: self.lived,
            kept: [client_ping, server_ping],
            lifetime: self.lifetime,
        })
    }

    /// The longest interval that surely holds; `None` = no limit of silence was found.
    fn ping_interval(&self) -> Option<Duration> {
        let limit = self.limit.filter(|_| !self.is_of_age)?;
        Some(holding(limit.middle())).filter(|interval| !interval.is_zero())
    }

    fn resembling(&self) -> impl Iterator<Item = &'static Preset> {
        let limit = self.limit.filter(|_| !self.is_of_age);
        limit.into_iter().flat_map(|limit| resembling(limit.low, limit.high, limit.death.manner))
    }

    /// What was found about silence, a sentence.
    fn silence_text(&self) -> String {
        let Some(limit) = self.limit.filter(|_| !self.is_of_age) else {
            return format!("lived {} of silence, the longest that was tested", span(self.lived));
        };
        let SilenceLimit { low, high, death, tries, agree } = limit;
        format!("ended between {} and {} of silence, {agree} of {tries}, {}", span(low), span(high), how(death))
    }

    fn life_text(&self) -> String {
        match self.life() {
            Some((low, high, death)) => {
                format!("ended at an age between {} and {}, however busy, {}", span(low), span(high), how(death))
            }
            None if self.wants_life => "no limit was met".to_owned(),
            None => "not tested".to_owned(),
        }
    }

    fn verdict_text(&self) -> String {
        let interval = match self.interval {
            Interval::Every(interval) => format!("`ping_interval: {}`", shown(interval)),
            Interval::Off => "a route without pings to its clients".to_owned(),
        };
        match self.verdict() {
            ProbeVerdict::Holds => format!("holds: {interval} outlives this path"),
            ProbeVerdict::Fails if self.is_of_age => {
                "fails: no interval outlives an age. Set `max_lifetime` below it, then clients are told to come back"
                    .to_owned()
            }
            ProbeVerdict::Fails => format!("fails: {interval} does not outlive this path"),
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
        } else {
            format!("`ping_interval: {interval}` or less holds it")
        })
    }

    /// The rows of the table, without those of which nothing is known.
    fn rows(&self) -> Vec<(&'static str, String)> {
        let HandshakeSeen { status, extensions, subprotocol, telling, .. } = &self.handshake;
        let telling: String = telling.iter().map(|(name, value)| format!(" · {name}: {value}")).collect();
        let or_none = |text: &String| if text.is_empty() { "none".to_owned() } else { text.clone() };
        let Checks { latency_ms, message_bytes, close_code } = self.checks;
        let mut rows = vec![
            ("handshake", status.map(|status| format!("{status}{telling}"))),
            (
                "extensions",
                extensions.as_ref().map(|text| format!("{} (permessage-deflate was offered)", or_none(text))),
            ),
            ("subprotocol", subprotocol.as_ref().map(or_none)),
            (
                "pings",
                self.look
                    .pongs
                    .map(|passes| (if passes { "are answered" } else { "are eaten, so messages ask" }).to_owned()),
            ),
            ("latency", latency_ms.map(|(p50, p99)| format!("half within {p50:.1} ms, 99 % within {p99:.1} ms"))),
            ("messages", message_bytes.map(|bytes| format!("up to {} come back", bytesize::ByteSize(bytes as u64)))),
            ("close code", close_code.map(|kept| (if kept { "kept" } else { "not kept" }).to_owned())),
        ];
        if self.error.is_none() {
            let names: Vec<_> = self.resembling().map(|preset| preset.title).take(MOST_NAMED).collect();
            rows.push(("silence", Some(self.silence_text())));
            rows.push(("looks like", (!names.is_empty()).then(|| names.join(", "))));
            rows.push(("kept by", (self.limit.is_some() && !self.is_of_age && !self.quick).then(|| self.kept_text())));
            rows.push(("life", Some(self.life_text())));
            rows.push(("advice", self.advice()));
        }
        let unopened = self.unopened.as_ref();
        rows.push(("not opened", unopened.map(|(why, count)| format!("{count} attempts, the last one: {why}"))));
        rows.push(("error", self.error.clone()));
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
