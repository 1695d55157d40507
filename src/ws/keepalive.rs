//! When to ping a side, which Pongs are ours, and when the side is dead.

use std::{hash::Hasher, mem, time::Duration};

use siphasher::sip::SipHasher13;

use super::{
    Side,
    frame::{ControlFrame, OpCode},
    tick::{Tick, nanos},
};

/// What the file says of keepalive, for one route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Silence toward a side after which it is pinged; `None` = never.
    pub ping_interval: Option<Duration>,
    /// No byte at all for this long after a ping: the side is dead; `None` = never judge.
    pub pong_timeout: Option<Duration>,
    /// Whether the client is pinged.
    pub client: bool,
    /// Whether the backend is pinged.
    pub backend: bool,
}

/// Sixteen random bytes that many sessions share. What a peer must not guess is derived from them and from a session's
/// nonce, so that no session has to keep them.
#[derive(Debug, Clone, Copy)]
pub struct Secret(pub [u8; 16]);

impl Secret {
    /// Another number for each nonce, side, purpose and count: who does not know the secret learns nothing from the others
    /// about one.
    #[must_use]
    pub fn derive(&self, nonce: u64, side: Side, purpose: u8, number: u32) -> u64 {
        let mut hasher = SipHasher13::new_with_key(&self.0);
        hasher.write_u64(nonce);
        hasher.write(&[side as u8, purpose]);
        hasher.write_u32(number);
        hasher.finish()
    }
}

/// Who is pinged and on what terms: what a session's [`Keepalive`]s need and do not keep.
#[derive(Debug, Clone, Copy)]
pub struct Terms<'a> {
    /// What the file says.
    pub settings: &'a Settings,
    /// Shared by many sessions.
    pub secret: &'a Secret,
    /// The session's own random number.
    pub nonce: u64,
    /// The side that is pinged.
    pub side: Side,
}

impl Terms<'_> {
    /// `None`: the side is not pinged.
    const fn interval(&self) -> Option<Duration> {
        let on = match self.side {
            Side::Client => self.settings.client,
            Side::Backend => self.settings.backend,
        };
        if on { self.settings.ping_interval } else { None }
    }

    /// What the payloads of all our Pings to the side begin with; it comes back in Pongs, and nobody else can know it.
    fn prefix(&self) -> [u8; PREFIX] {
        self.derive(b'p', 0).to_ne_bytes()
    }

    /// Which of the [`JITTERS`] lengths the wait after so many Pings has.
    fn jitter(&self, pings: u32) -> u16 {
        (self.derive(b'j', pings) % JITTERS) as u16
    }

    fn derive(&self, purpose: u8, number: u32) -> u64 {
        self.secret.derive(self.nonce, self.side, purpose, number)
    }
}

/// Whose Pong it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PongOwner {
    /// It answers a Ping of ours, this one or an earlier one: it goes no further.
    Proxy,
    /// It is for the other end: it passes.
    OtherEnd,
}

/// Round trips of our Pings to one side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RoundTrips {
    /// Pings sent.
    pub pings: u32,
    /// Pings whose Pong came before the next Ping.
    pub measured: u32,
    /// The last one measured, in whole microseconds, at most 71 minutes.
    pub last: Option<Duration>,
    /// All that were measured, added up.
    pub total: Duration,
}

impl RoundTrips {
    /// The mean of what was measured.
    #[must_use]
    pub fn mean(&self) -> Option<Duration> {
        (self.measured > 0).then(|| self.total / self.measured)
    }
}

/// Our Pings toward one side, and what they tell of it.
///
/// An idle session keeps two of these, so what many can share comes with each call ([`Terms`]), and what is rare is kept
/// out of line.
#[derive(Debug)]
pub struct Keepalive {
    /// When the next Ping falls due to a side that answers: put off by all that goes to it.
    ping_due: Option<Tick>,
    open: Option<Box<Open>>,
    /// All round trips that were measured, added up, in microseconds.
    total_micros: u64,
    /// The last one.
    last_micros: u32,
    measured: u32,
    /// Pings sent.
    pings: u32,
    /// Which length the wait for the next Ping has: see [`Terms::jitter`].
    jitter: u16,
    /// Pings since the last one that was answered, as far as they matter.
    unanswered: u8,
    /// A Ping waits for the next frame boundary.
    owed: bool,
}

/// What is open between a side and us. Mostly nothing is: it lasts a round trip, or as long as a side takes no bytes.
#[derive(Debug, Default, PartialEq, Eq)]
struct Open {
    /// Since when bytes wait for the side and it takes none.
    stalled_since: Option<Tick>,
    /// When the first Ping after the side's last byte was fully written: from here its silence counts.
    judged_from: Option<Tick>,
    ping: Ping,
    debt: Option<Debt>,
}

/// Where our latest Ping is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Ping {
    #[default]
    Settled,
    Queued,
    Written(Tick),
}

/// The side has been sent a Ping of the other end and has not answered it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Debt {
    payload: u64,
    lapses: Tick,
}

/// The prefix of our payloads; a sequence number of four bytes follows.
const PREFIX: usize = 8;
/// The waits between two Pings have so many different lengths.
const JITTERS: u64 = 1024;
/// Pings without a Pong after which we go slowly: a stalled peer queues its Pongs, and may end the session when they are
/// too many (`ws` for Node.js does at 60).
const MAX_UNANSWERED: u8 = 16;
/// How slowly, where `pong_timeout` does not say.
const PATIENCE: Duration = Duration::from_secs(30);

impl Keepalive {
    /// Of a side that was sent its last byte just now.
    #[must_use]
    pub fn new(terms: Terms<'_>, now: Tick) -> Self {
        let mut keepalive = Self {
            ping_due: None,
            open: None,
            total_micros: 0,
            last_micros: 0,
            measured: 0,
            pings: 0,
            jitter: terms.jitter(0),
            unanswered: 0,
            owed: false,
        };
        keepalive.handle_sent(terms, now);
        keepalive
    }

    /// Bytes have gone to the side.
    pub fn handle_sent(&mut self, terms: Terms<'_>, now: Tick) {
        self.ping_due = self.wait(terms).map(|wait| now.after(wait));
    }

    /// A byte has come from the side: it lives, whatever it says.
    pub fn handle_received(&mut self) {
        self.settle(|open| open.judged_from = None);
    }

    /// Bytes wait for the side, which has just taken some, or they have just begun to wait.
    pub fn handle_stalled(&mut self, now: Tick) {
        self.open.get_or_insert_default().stalled_since = Some(now);
    }

    /// All that waited for the side has been written, a Ping of ours included.
    pub fn handle_flushed(&mut self, now: Tick) {
        self.settle(|open| {
            open.stalled_since = None;
            if open.ping == Ping::Queued {
                open.ping = Ping::Written(now);
                open.judged_from.get_or_insert(now);
            }
        });
    }

    /// Nothing can be written to the side any more: so nothing waits for it.
    pub fn handle_broken(&mut self) {
        self.settle(|open| open.stalled_since = None);
    }

    /// The side was not read for a while: its silence counts from now at the earliest.
    pub fn handle_resumed(&mut self, now: Tick) {
        self.settle(|open| open.judged_from = open.judged_from.map(|_| now));
    }

    /// A Ping of the other end has passed to the side. The side may answer only the latest (RFC 6455 §5.5.3), so a Ping of
    /// ours could swallow that answer: none goes out until the debt is paid or has lapsed, nor one that is owed already,
    /// since theirs ends the silence.
    pub fn handle_relayed_ping(&mut self, terms: Terms<'_>, frame: &ControlFrame, now: Tick) {
        self.owed = false;
        let patience = terms.settings.pong_timeout.or_else(|| terms.interval()).unwrap_or_default();
        let debt = Debt { payload: fingerprint(frame.payload()), lapses: now + patience };
        self.open.get_or_insert_default().debt = Some(debt);
    }

    /// A Pong has come from the side.
    pub fn handle_pong(&mut self, terms: Terms<'_>, frame: &ControlFrame, now: Tick) -> PongOwner {
        match frame.payload().split_first_chunk::<PREFIX>() {
            Some((prefix, number)) if *prefix == terms.prefix() => {
                if number == self.pings.to_be_bytes() {
                    self.settle_ping(now);
                }
                if let Ok(number) = number.try_into() {
                    let unanswered = self.pings.wrapping_sub(u32::from_be_bytes(number));
                    self.unanswered = u8::try_from(unanswered).unwrap_or(u8::MAX);
                }
                PongOwner::Proxy
            }
            _ => {
                self.settle(|open| {
                    open.debt = open.debt.filter(|debt| debt.payload != fingerprint(frame.payload()));
                });
                PongOwner::OtherEnd
            }
        }
    }

    /// Owes the side a Ping when it is time.
    pub fn handle_timeout(&mut self, terms: Terms<'_>, now: Tick) {
        if self.poll_ping(terms).is_some_and(|at| at <= now) {
            self.owed = true;
            // It has lapsed, or it would not be time.
            self.settle(|open| open.debt = None);
        }
    }

    /// When the next Ping falls due; `None` = never, or it is owed already and waits for a boundary only.
    #[must_use]
    pub fn poll_ping(&self, terms: Terms<'_>) -> Option<Tick> {
        let mut due = self.ping_due.filter(|_| !self.owed)?;
        if self.unanswered >= MAX_UNANSWERED {
            let slow = nanos(terms.settings.pong_timeout.unwrap_or(PATIENCE));
            due = due.after(slow.saturating_sub(self.wait(terms)?));
        }
        let debt = self.open.as_ref().and_then(|open| open.debt);
        Some(debt.map_or(due, |debt| due.max(debt.lapses)))
    }

    /// When the side is dead: if it takes nothing, or, as long as it is `read`, if no byte comes from it.
    #[must_use]
    pub fn poll_death(&self, terms: Terms<'_>, read: bool) -> Option<Tick> {
        let open = self.open.as_ref()?;
        let silent_since = open.judged_from.filter(|_| read);
        let since = silent_since.into_iter().chain(open.stalled_since).min()?;
        Some(since + terms.settings.pong_timeout?)
    }

    /// Whether nothing is open: no bytes wait for the side, no Ping is unanswered.
    #[must_use]
    pub const fn is_settled(&self) -> bool {
        self.open.is_none()
    }

    /// Whether nothing is open and nothing is owed.
    #[must_use]
    pub const fn is_calm(&self) -> bool {
        self.open.is_none() && !self.owed
    }

    /// Whether bytes wait for the side.
    #[must_use]
    pub fn is_stalled(&self) -> bool {
        self.open.as_ref().is_some_and(|open| open.stalled_since.is_some())
    }

    /// Whether a Ping waits for a frame boundary.
    #[must_use]
    pub const fn owes_ping(&self) -> bool {
        self.owed
    }

    /// The Ping that is owed, for a frame boundary that is here now.
    pub fn ping(&mut self, terms: Terms<'_>, now: Tick) -> ControlFrame {
        self.owed = false;
        self.open.get_or_insert_default().ping = Ping::Queued;
        self.pings = self.pings.wrapping_add(1);
        self.unanswered = self.unanswered.saturating_add(1);
        self.jitter = terms.jitter(self.pings);
        self.handle_sent(terms, now);
        let mut payload = [0; PREFIX + 4];
        payload[..PREFIX].copy_from_slice(&terms.prefix());
        payload[PREFIX..].copy_from_slice(&self.pings.to_be_bytes());
        ControlFrame::new(OpCode::Ping, &payload, None)
    }

    /// The mask of a frame of ours (RFC 6455 §5.3): toward a client there is none.
    #[must_use]
    pub fn mask(&self, terms: Terms<'_>, opcode: OpCode) -> Option<[u8; 4]> {
        let purpose = if opcode == OpCode::Close { b'c' } else { b'm' };
        let [a, b, c, d, ..] = terms.derive(purpose, self.pings).to_ne_bytes();
        (terms.side == Side::Backend).then_some([a, b, c, d])
    }

    /// What our Pings have shown so far.
    #[must_use]
    pub fn round_trips(&self) -> RoundTrips {
        RoundTrips {
            pings: self.pings,
            measured: self.measured,
            last: (self.measured > 0).then(|| Duration::from_micros(self.last_micros.into())),
            total: Duration::from_micros(self.total_micros),
        }
    }

    /// The latest Ping is answered.
    fn settle_ping(&mut self, now: Tick) {
        let mut written = None;
        self.settle(|open| {
            // Settled also when we have not noticed yet that it was written: it is no Ping to wait for.
            if let Ping::Written(at) = mem::take(&mut open.ping) {
                written = Some(at);
            }
        });
        if let Some(written) = written {
            self.last_micros = u32::try_from(now.since(written).as_micros()).unwrap_or(u32::MAX);
            self.total_micros = self.total_micros.saturating_add(self.last_micros.into());
            self.measured = self.measured.saturating_add(1);
        }
    }

    /// Changes what is open, if anything is, and lets go of it once nothing is any more.
    fn settle(&mut self, change: impl FnOnce(&mut Open)) {
        if let Some(open) = &mut self.open {
            change(open);
            if **open == Open::default() {
                self.open = None;
            }
        }
    }

    /// Nanoseconds of silence after which a side that answers is pinged: a tenth to a hundredth less than the interval, so
    /// that sessions that began together do not ping together, and a clock that is a hundredth late breaks no promise: to
    /// the middleboxes on the path the interval is one.
    fn wait(&self, terms: Terms<'_>) -> Option<u64> {
        let interval = nanos(terms.interval()?);
        Some(interval / 10 * 9 + interval / (100 * JITTERS) * 9 * u64::from(self.jitter))
    }
}

/// Equal payloads have equal fingerprints; a collision of two Pings in flight would cost one early Ping.
fn fingerprint(payload: &[u8]) -> u64 {
    let mut hasher = SipHasher13::new();
    hasher.write(payload);
    hasher.finish()
}

#[cfg(test)]
mod tests;
