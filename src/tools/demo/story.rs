//! What the demo has seen, in words, and whether that proves the demo's claim. PURE: times are arguments.

use std::{fmt, time::Duration};

/// The code of a WebSocket that ended without a Close frame (RFC 6455 §7.1.5). It is never on the wire.
pub(super) const ABNORMAL: u16 = 1006;
/// The code of a Close frame that carries no code (RFC 6455 §7.1.5).
pub(super) const NO_CODE: u16 = 1005;

/// How much longer than the cut the demo must run, so that it sees the effect of the cut. A bare client that is still open
/// then has outlived the cut.
pub const MARGIN: Duration = Duration::from_secs(1);

/// The way of a client to its backend. On each way stands a load balancer that cuts idle connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DemoWay {
    /// Straight to the backend.
    Bare,
    /// Through the proxy.
    Longwire,
}

impl DemoWay {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Bare => "bare",
            Self::Longwire => "longwire",
        }
    }
}

/// What happened to a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Event {
    /// A Ping came, and its Pong is written.
    PingAnswered,
    /// The message that the client sent at the end came back.
    Echoed,
    /// The WebSocket ended, with this code.
    Ended(u16),
}

/// The result that the demo says at its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Verdict {
    /// Whether the claim holds.
    pub(super) outcome: DemoOutcome,
    /// A sentence with the figures.
    pub(super) words: String,
}

/// Whether the demo saw what it claims.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DemoOutcome {
    /// The bare client was lost to the cut. The other client outlived the cut and still works.
    Shown,
    /// The demo was stopped before the cut could show anything.
    TooEarly,
    /// Something else happened.
    Disproved,
}

/// The stories of both clients, from the moment when both are open.
#[derive(Debug, Clone)]
pub(super) struct Story {
    cut: Duration,
    bare: ClientStory,
    kept: ClientStory,
}

#[derive(Debug, Clone, Copy, Default)]
struct ClientStory {
    pings: u32,
    echoed: bool,
    ended: Option<ClientEnd>,
}

#[derive(Debug, Clone, Copy)]
struct ClientEnd {
    code: u16,
    after: Duration,
}

impl Story {
    /// Two open clients behind load balancers that cut after `cut` of silence.
    #[must_use]
    pub(super) fn new(cut: Duration) -> Self {
        Self { cut, bare: ClientStory::default(), kept: ClientStory::default() }
    }

    /// Notes an event of the client on `way`. `at` is the time since both clients were open. Returns a line about the event.
    pub(super) fn handle_event(&mut self, way: DemoWay, event: Event, at: Duration) -> String {
        let client = match way {
            DemoWay::Bare => &mut self.bare,
            DemoWay::Longwire => &mut self.kept,
        };
        let told = match event {
            Event::PingAnswered => {
                client.pings += 1;
                format!("ping {} answered", client.pings)
            }
            Event::Echoed => {
                client.echoed = true;
                "a message went out and came back".to_owned()
            }
            Event::Ended(code) => {
                let end = ClientEnd { code, after: at };
                client.ended = Some(end);
                end.to_string()
            }
        };
        format!("{:>7}  {:<8}  {told}", seconds(at), way.as_str())
    }

    /// Whether the client on `way` is still open.
    #[must_use]
    pub(super) const fn is_open(&self, way: DemoWay) -> bool {
        match way {
            DemoWay::Bare => self.bare.ended.is_none(),
            DemoWay::Longwire => self.kept.ended.is_none(),
        }
    }

    /// The live line: the state of the client on `way` at `now`.
    #[must_use]
    pub(super) fn status(&self, way: DemoWay, now: Duration) -> String {
        let client = match way {
            DemoWay::Bare => &self.bare,
            DemoWay::Longwire => &self.kept,
        };
        let state = match (client.ended, way) {
            (Some(end), _) => end.to_string(),
            (None, DemoWay::Bare) => {
                let left = self.cut.saturating_sub(now);
                format!("open, silent for {}, to be cut in {}", seconds(now), seconds(left))
            }
            (None, DemoWay::Longwire) => {
                format!("open after {}, {}", seconds(now), pings(client.pings))
            }
        };
        format!("{:<8}  {state}", way.as_str())
    }

    /// The verdict at `now`.
    #[must_use]
    pub(super) fn verdict(&self, now: Duration) -> Verdict {
        let bare = match self.bare.ended {
            Some(end) => end.to_string(),
            None => format!("still open after {}", seconds(now)),
        };
        let kept = match self.kept.ended {
            Some(end) => format!("{end}, {}", pings(self.kept.pings)),
            None => {
                let echo = if self.kept.echoed { "echo ok" } else { "no echo" };
                format!("alive after {}, {}, {echo}", seconds(now), pings(self.kept.pings))
            }
        };
        let outcome = self.outcome(now);
        let judged = match outcome {
            DemoOutcome::Shown => "shown",
            DemoOutcome::TooEarly => "stopped before the cut could tell",
            DemoOutcome::Disproved => "NOT shown",
        };
        Verdict { outcome, words: format!("bare: {bare}; through longwire: {kept}: {judged}") }
    }

    fn outcome(&self, now: Duration) -> DemoOutcome {
        if self.kept.ended.is_some() || !self.kept.echoed {
            return DemoOutcome::Disproved;
        }
        match self.bare.ended {
            Some(end) if !self.is_the_cut(end) => DemoOutcome::Disproved,
            Some(_) if self.kept.pings > 0 => DemoOutcome::Shown,
            Some(_) => DemoOutcome::Disproved,
            None if now < self.cut.saturating_add(MARGIN) => DemoOutcome::TooEarly,
            None => DemoOutcome::Disproved,
        }
    }

    /// Whether an end is the work of the cut: it has no Close frame, and comes at the cut and not long before.
    fn is_the_cut(&self, end: ClientEnd) -> bool {
        end.code == ABNORMAL && end.after >= self.cut - self.cut / 10
    }
}

impl fmt::Display for ClientEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let after = seconds(self.after);
        match self.code {
            ABNORMAL => write!(f, "lost after {after} with 1006 (no Close frame)"),
            code => write!(f, "closed after {after} with {code}"),
        }
    }
}

/// A duration in tenths of a second, as the demo shows every time.
#[must_use]
pub(super) fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

fn pings(count: u32) -> String {
    match count {
        1 => "1 ping answered".to_owned(),
        _ => format!("{count} pings answered"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CUT: Duration = Duration::from_secs(10);

    #[test]
    fn a_lost_bare_client_and_an_answering_kept_one_are_the_proof() {
        let mut story = lost_to_the_cut();
        story.handle_event(DemoWay::Longwire, Event::Echoed, at(30.0));
        let verdict = story.verdict(at(30.0));
        assert_eq!(verdict.outcome, DemoOutcome::Shown);
        assert_eq!(
            verdict.words,
            "bare: lost after 10.0 s with 1006 (no Close frame); through longwire: alive after 30.0 s, \
             2 pings answered, echo ok: shown"
        );
    }

    #[test]
    fn without_an_echo_at_the_end_nothing_is_proved() {
        let verdict = lost_to_the_cut().verdict(at(30.0));
        assert_eq!(verdict.outcome, DemoOutcome::Disproved);
        assert!(verdict.words.contains("no echo: NOT shown"), "{}", verdict.words);
    }

    #[test]
    fn a_kept_client_that_ends_disproves() {
        let mut story = lost_to_the_cut();
        story.handle_event(DemoWay::Longwire, Event::Ended(1011), at(12.0));
        let verdict = story.verdict(at(30.0));
        assert_eq!(verdict.outcome, DemoOutcome::Disproved);
        assert!(verdict.words.contains("longwire: closed after 12.0 s with 1011, 2 pings"), "{}", verdict.words);
    }

    #[test]
    fn a_bare_client_lost_for_another_reason_disproves() {
        for (code, when) in [(1000, 10.0), (ABNORMAL, 3.0)] {
            let mut story = Story::new(CUT);
            story.handle_event(DemoWay::Bare, Event::Ended(code), at(when));
            story.handle_event(DemoWay::Longwire, Event::PingAnswered, at(12.0));
            story.handle_event(DemoWay::Longwire, Event::Echoed, at(30.0));
            assert_eq!(story.verdict(at(30.0)).outcome, DemoOutcome::Disproved, "{code} after {when} s");
        }
    }

    #[test]
    fn a_bare_client_that_outlives_the_cut_disproves() {
        let mut story = Story::new(CUT);
        story.handle_event(DemoWay::Longwire, Event::PingAnswered, at(4.0));
        story.handle_event(DemoWay::Longwire, Event::Echoed, at(30.0));
        assert_eq!(story.verdict(at(30.0)).outcome, DemoOutcome::Disproved);
    }

    #[test]
    fn a_kept_client_without_a_ping_disproves() {
        let mut story = Story::new(CUT);
        story.handle_event(DemoWay::Bare, Event::Ended(ABNORMAL), at(10.0));
        story.handle_event(DemoWay::Longwire, Event::Echoed, at(30.0));
        assert_eq!(story.verdict(at(30.0)).outcome, DemoOutcome::Disproved);
    }

    #[test]
    fn stopped_before_the_cut_is_too_early_to_tell() {
        let mut story = Story::new(CUT);
        story.handle_event(DemoWay::Longwire, Event::Echoed, at(3.0));
        assert_eq!(story.verdict(at(3.0)).outcome, DemoOutcome::TooEarly);
    }

    #[test]
    fn the_live_lines_tell_both_states() {
        let mut story = Story::new(CUT);
        assert_eq!(story.status(DemoWay::Bare, at(4.2)), "bare      open, silent for 4.2 s, to be cut in 5.8 s");
        assert_eq!(story.status(DemoWay::Longwire, at(4.2)), "longwire  open after 4.2 s, 0 pings answered");
        let line = story.handle_event(DemoWay::Longwire, Event::PingAnswered, at(4.3));
        assert_eq!(line, "  4.3 s  longwire  ping 1 answered");
        let line = story.handle_event(DemoWay::Bare, Event::Ended(ABNORMAL), at(10.0));
        assert_eq!(line, " 10.0 s  bare      lost after 10.0 s with 1006 (no Close frame)");
        assert_eq!(story.status(DemoWay::Bare, at(20.0)), "bare      lost after 10.0 s with 1006 (no Close frame)");
        assert_eq!(story.status(DemoWay::Longwire, at(20.0)), "longwire  open after 20.0 s, 1 ping answered");
        assert!(!story.is_open(DemoWay::Bare));
        assert!(story.is_open(DemoWay::Longwire));
    }

    fn lost_to_the_cut() -> Story {
        let mut story = Story::new(CUT);
        story.handle_event(DemoWay::Longwire, Event::PingAnswered, at(4.0));
        story.handle_event(DemoWay::Longwire, Event::PingAnswered, at(8.0));
        story.handle_event(DemoWay::Bare, Event::Ended(ABNORMAL), at(10.0));
        story
    }

    fn at(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }
}
