//! When to ping a side, which Pongs are ours, and when the side is dead.

use std::{hash::Hasher, mem, time::Duration};

use siphasher::sip::SipHasher13;

use super::{
    Side,
    frame::{ControlFrame, OpCode},
    progress::{Look, Progress},
    tick::{Tick, nanos},
};

/// What the file says of keepalive, for one route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Silence toward a side, or from it, after which it is pinged; `None` = never.
    pub ping_interval: Option<Duration>,
    /// No byte at all for this long after a ping: the side is dead.
    pub pong_timeout: PongTimeout,
    /// Whether the client is pinged.
    pub client: bool,
    /// Whether the backend is pinged.
    pub backend: bool,
}

/// How long the silence of each side may last; `None` = it is never judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PongTimeout {
    /// The client's.
    pub client: Option<Duration>,
    /// The backend's.
    pub backend: Option<Duration>,
}

impl PongTimeout {
    /// The same for both sides.
    #[must_use]
    pub const fn of_both(timeout: Option<Duration>) -> Self {
        Self { client: timeout, backend: timeout }
    }
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

    /// `None`: the side is never judged.
    const fn pong_timeout(&self) -> Option<Duration> {
        match self.side {
            Side::Client => self.settings.pong_timeout.client,
            Side::Backend => self.settings.pong_timeout.backend,
        }
    }

    /// What the payloads of all our Pings to the side begin with; it comes back in Pongs, and nobody else can know it.
    fn prefix(&self) -> [u8; PREFIX] {
        self.derive(b'p', 0).to_ne_bytes()
    }

    /// Nanoseconds of silence after which a side that answers is pinged: a tenth to a hundredth less than the interval, so
    /// that sessions that began together do not ping together, and a clock that is a hundredth late breaks no promise: to
    /// the middleboxes on the path the interval is one. After so many `pings` it has one of [`JITTERS`] lengths.
    fn wait(&self, pings: u32) -> Option<u64> {
        let interval = nanos(self.interval()?);
        let jitter = self.derive(b'j', pings) % JITTERS;
        Some(interval / 10 * 9 + interval / (100 * JITTERS) * 9 * jitter)
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
    /// The mean of all that were measured, to six digits.
    pub mean: Option<Duration>,
}

/// Our Pings toward one side, and what they tell of it.
///
/// An idle session keeps two of these, so what many can share comes with each call ([`Terms`]), and what is rare is kept
/// out of line.
#[derive(Debug)]
pub struct Keepalive {
    open: Option<Box<Open>>,
    /// When bytes last went to the side.
    sent: Tick,
    /// When bytes last came from it.
    received: Tick,
    /// The mean of all round trips that were measured, in microseconds.
    mean_micros: f32,
    /// The last one.
    last_micros: u32,
    measured: u32,
    /// Pings sent.
    pings: u32,
}

/// What is open between a side and us. Mostly nothing is: it lasts a round trip, or as long as a side takes no bytes.
#[derive(Debug, Default, PartialEq, Eq)]
struct Open {
    /// Since when bytes wait in our hands for the side and it takes none.
    stalled_since: Option<Tick>,
    /// From here the side's silence counts: the first Ping after its last byte, ours or the other end's, was fully written,
    /// or it has taken some of what waited for it since.
    judged_from: Option<Tick>,
    /// The last look at what it takes.
    look: Option<Look>,
    ping: Ping,
    debt: Option<Debt>,
    /// A Ping of either is among the bytes that are being written: once they are, silence counts.
    is_asked: bool,
    /// A Ping waits for the next frame boundary.
    owed: bool,
    /// Pings since the last one that was answered, as far as they matter.
    unanswered: u8,
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
/// How slowly, where `pong_timeout` is not shorter.
const PATIENCE: Duration = Duration::from_secs(30);
/// While bytes wait for a side, we look this many times in a `pong_timeout` whether it takes them. So the death of such a side is
/// found late by one of these parts at most, and never early.
const LOOKS: u64 = 16;

impl Keepalive {
    /// Of a side with which bytes were exchanged just now.
    #[must_use]
    pub const fn new(now: Tick) -> Self {
        Self { open: None, sent: now, received: now, mean_micros: 0.0, last_micros: 0, measured: 0, pings: 0 }
    }

    /// Bytes have gone to the side.
    pub const fn handle_sent(&mut self, now: Tick) {
        self.sent = now;
    }

    /// A byte has come from the side: it lives, whatever it says.
    pub fn handle_received(&mut self, now: Tick) {
        self.received = now;
        self.settle(|open| open.judged_from = None);
    }

    /// Bytes wait for the side, which has just taken some, or they have just begun to wait.
    pub fn handle_stalled(&mut self, now: Tick) {
        self.open.get_or_insert_default().stalled_since = Some(now);
    }

    /// All that waited for the side in our hands has been written, a Ping included.
    pub fn handle_flushed(&mut self, now: Tick) {
        self.settle(|open| {
            open.stalled_since = None;
            if open.ping == Ping::Queued {
                open.ping = Ping::Written(now);
            }
            if mem::take(&mut open.is_asked) {
                open.judged_from.get_or_insert(now);
            }
        });
    }

    /// Whether it is time to look what the side takes, for [`Self::handle_progress`]: it may be slow, or dead.
    #[must_use]
    pub fn wants_progress(&self, terms: Terms<'_>, now: Tick) -> bool {
        let Some(open) = &self.open else { return false };
        let Some(step) = terms.pong_timeout().map(|timeout| nanos(timeout) / LOOKS) else { return false };
        // Traffic may have begun to wait since: who is idle needs no alarm for that.
        let is_old = open.judged_from.is_some() && open.look.is_some_and(|look| look.at.after(step) <= now);
        is_old || open.poll_look(step).is_some_and(|at| at <= now)
    }

    /// What the kernel says of the bytes for the side. Some of those that waited have gone: so nothing counts before now.
    pub fn handle_progress(&mut self, progress: Progress, now: Tick) {
        let Some(open) = &mut self.open else { return };
        let look = Look::new(progress, open.stalled_since.is_some(), now);
        // Where nobody has looked before, it may have.
        let has_taken = open.look.replace(look).is_none_or(|before| before.was_followed_by(progress));
        if has_taken {
            open.stalled_since = open.stalled_since.map(|_| now);
            open.judged_from = open.judged_from.map(|_| now);
        }
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
        // Where none of ours goes, theirs stands in for none and keeps none back.
        let Some(interval) = terms.interval() else { return };
        let patience = terms.pong_timeout().unwrap_or(interval);
        let debt = Debt { payload: fingerprint(frame.payload()), lapses: now + patience };
        let open = self.open.get_or_insert_default();
        open.debt = Some(debt);
        open.owed = false;
        open.is_asked = true;
    }

    /// A Pong has come from the side.
    pub fn handle_pong(&mut self, terms: Terms<'_>, frame: &ControlFrame, now: Tick) -> PongOwner {
        match frame.payload().split_first_chunk::<PREFIX>() {
            Some((prefix, number)) if *prefix == terms.prefix() => {
                if number == self.pings.to_be_bytes() {
                    self.settle_ping(now);
                }
                if let (Some(open), Ok(number)) = (&mut self.open, number.try_into())
                    && open.ping != Ping::Settled
                {
                    let unanswered = self.pings.wrapping_sub(u32::from_be_bytes(number));
                    open.unanswered = u8::try_from(unanswered).unwrap_or(u8::MAX);
                }
                PongOwner::Proxy
            }
            _ => {
                self.settle(|open| {
                    if open.debt.take_if(|debt| debt.payload == fingerprint(frame.payload())).is_some() {
                        open.is_asked &= open.ping == Ping::Queued;
                    }
                });
                PongOwner::OtherEnd
            }
        }
    }

    /// Owes the side a Ping when it is time.
    pub fn handle_timeout(&mut self, terms: Terms<'_>, read: bool, now: Tick) {
        if self.poll_ping(terms, read).is_some_and(|at| at <= now) {
            let open = self.open.get_or_insert_default();
            open.owed = true;
            // It has lapsed, or it would not be time.
            open.debt = None;
        }
    }

    /// When the next Ping falls due; `None` = never, or one is owed already, or it would have to wait behind other bytes.
    ///
    /// It is put off only by bytes both ways: middleboxes count each direction for itself, and what goes to a side tells
    /// nothing of whether it lives. While it is not `read`, nothing can come of it: then only what goes to it counts.
    #[must_use]
    pub fn poll_ping(&self, terms: Terms<'_>, read: bool) -> Option<Tick> {
        let silent_since = if read { self.sent.min(self.received) } else { self.sent };
        let wait = terms.wait(self.pings)?;
        let Some(open) = &self.open else { return Some(silent_since.after(wait)) };
        let since = match open.ping {
            _ if open.owed || open.stalled_since.is_some() => return None,
            Ping::Queued => return None,
            Ping::Written(at) => silent_since.max(at),
            Ping::Settled => silent_since,
        };
        let slow = nanos(terms.pong_timeout().map_or(PATIENCE, |timeout| timeout.min(PATIENCE)));
        let due = since.after(if open.unanswered >= MAX_UNANSWERED { slow.max(wait) } else { wait });
        Some(open.debt.map_or(due, |debt| due.max(debt.lapses)))
    }

    /// When to look what the side takes, if nothing happens; what has passed means at once.
    #[must_use]
    pub fn poll_look(&self, terms: Terms<'_>) -> Option<Tick> {
        self.open.as_ref()?.poll_look(nanos(terms.pong_timeout()?) / LOOKS)
    }

    /// When the side is dead: if it takes nothing, or, as long as it is `read`, if no byte comes from it.
    #[must_use]
    pub fn poll_death(&self, terms: Terms<'_>, read: bool) -> Option<Tick> {
        let open = self.open.as_ref()?;
        let silent_since = open.judged_from.filter(|_| read);
        let since = silent_since.into_iter().chain(open.stalled_since).min()?;
        Some(since + terms.pong_timeout()?)
    }

    /// Whether nothing is open: no bytes wait for the side, no Ping is owed or unanswered.
    #[must_use]
    pub const fn is_calm(&self) -> bool {
        self.open.is_none()
    }

    /// Whether bytes wait in our hands for the side.
    #[must_use]
    pub fn is_stalled(&self) -> bool {
        self.open.as_ref().is_some_and(|open| open.stalled_since.is_some())
    }

    /// Whether a Ping waits for a frame boundary.
    #[must_use]
    pub fn owes_ping(&self) -> bool {
        self.open.as_ref().is_some_and(|open| open.owed)
    }

    /// When bytes last came from the side.
    #[must_use]
    pub const fn last_received(&self) -> Tick {
        self.received
    }

    /// The Ping that is owed, for a frame boundary that is here now.
    pub fn ping(&mut self, terms: Terms<'_>, now: Tick) -> ControlFrame {
        let open = self.open.get_or_insert_default();
        open.owed = false;
        open.ping = Ping::Queued;
        open.is_asked = true;
        open.unanswered = open.unanswered.saturating_add(1);
        self.pings = self.pings.wrapping_add(1);
        self.sent = now;
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
            mean: (self.measured > 0).then(|| Duration::from_secs_f64(f64::from(self.mean_micros) / 1e6)),
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
            open.unanswered = 0;
            open.is_asked = false;
        });
        if let Some(written) = written {
            self.last_micros = u32::try_from(now.since(written).as_micros()).unwrap_or(u32::MAX);
            self.measured = self.measured.saturating_add(1);
            self.mean_micros += (self.last_micros as f32 - self.mean_micros) / self.measured as f32;
        }
    }

    /// Changes what is open, if anything is, and lets go of it once nothing is any more.
    fn settle(&mut self, change: impl FnOnce(&mut Open)) {
        if let Some(open) = &mut self.open {
            change(open);
            // What it once took matters no more.
            open.look.take_if(|_| open.judged_from.is_none() && open.stalled_since.is_none());
            if **open == Open::default() {
                self.open = None;
            }
        }
    }
}

impl Open {
    /// When to look what the side takes, if nothing happens.
    fn poll_look(&self, step: u64) -> Option<Tick> {
        match (self.look, self.stalled_since) {
            (Some(look), stalled) => (look.waits || stalled.is_some()).then(|| look.at.after(step)),
            (None, Some(stalled)) => Some(stalled.after(step)),
            // It has just been asked: what it takes from now on is measured against this.
            (None, None) => self.judged_from,
        }
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
