//! When to ping a side, which Pongs answer our Pings, and when a side is dead.

use std::{hash::Hasher, mem, time::Duration};

use siphasher::sip::SipHasher13;

use super::{
    Side,
    frame::{ControlFrame, OpCode},
    progress::{Look, Progress},
    tick::{Tick, nanos},
};

/// The settings of keepalive for one route, from the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// How long no byte may go to a side, or come from it, before the side is pinged; `None` = the side is never pinged.
    pub ping_interval: SideTimes,
    /// How long a side may send no byte after a ping, or take none of the bytes that wait for it, before it is dead;
    /// `None` = the side's silence is never judged.
    pub pong_timeout: SideTimes,
}

/// A time for each side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SideTimes {
    /// The client's.
    pub client: Option<Duration>,
    /// The backend's.
    pub backend: Option<Duration>,
}

impl SideTimes {
    /// The same for both sides.
    #[must_use]
    pub const fn of_both(time: Option<Duration>) -> Self {
        Self { client: time, backend: time }
    }

    /// The time of a side.
    #[must_use]
    pub const fn of(&self, side: Side) -> Option<Duration> {
        match side {
            Side::Client => self.client,
            Side::Backend => self.backend,
        }
    }
}

/// Sixteen random bytes that many sessions share. Values that a peer must not guess are derived from them and from a
/// session's nonce, so a session need not store these values.
#[derive(Debug, Clone, Copy)]
pub struct Secret(pub [u8; 16]);

impl Secret {
    /// A different number for each nonce, side, purpose and count. Nobody can derive one of these numbers from the
    /// others without the secret.
    #[must_use]
    pub fn derive(&self, nonce: u64, side: Side, purpose: u8, number: u32) -> u64 {
        let mut hasher = SipHasher13::new_with_key(&self.0);
        hasher.write_u64(nonce);
        hasher.write(&[side as u8, purpose]);
        hasher.write_u32(number);
        hasher.finish()
    }
}

/// The values that a session's [`Keepalive`]s need but do not store: whom we ping, and on what terms.
#[derive(Debug, Clone, Copy)]
pub struct PingTerms<'a> {
    /// The settings from the file.
    pub settings: &'a Settings,
    /// The secret that many sessions share.
    pub secret: &'a Secret,
    /// The session's own random number.
    pub nonce: u64,
    /// The side that is pinged.
    pub side: Side,
}

impl PingTerms<'_> {
    /// `None` = the side is not pinged.
    const fn interval(&self) -> Option<Duration> {
        self.settings.ping_interval.of(self.side)
    }

    /// `None` = the side is never judged.
    const fn pong_timeout(&self) -> Option<Duration> {
        self.settings.pong_timeout.of(self.side)
    }

    /// The start of the payload in all our Pings to the side. Its Pongs carry these bytes back, and nobody else can
    /// guess them.
    fn prefix(&self) -> [u8; PREFIX] {
        self.derive(b'p', 0).to_ne_bytes()
    }

    /// The nanoseconds of silence after which a side that answers is pinged.
    ///
    /// 1. The wait is 1 to 10 % shorter than the interval, so sessions that began together do not ping together.
    /// 2. The middleboxes on the path rely on the interval. With the shorter wait, even a clock that is 1 % late keeps
    ///    the interval.
    /// 3. The number of `pings` sent so far selects one of [`JITTERS`] lengths.
    fn wait(&self, pings: u32) -> Option<u64> {
        let interval = nanos(self.interval()?);
        let jitter = self.derive(b'j', pings) % JITTERS;
        Some(interval / 10 * 9 + interval / (100 * JITTERS) * 9 * jitter)
    }

    fn derive(&self, purpose: u8, number: u32) -> u64 {
        self.secret.derive(self.nonce, self.side, purpose, number)
    }
}

/// Whom a Pong is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PongOwner {
    /// The Pong answers a Ping of ours, the latest or an earlier one. The Pong does not pass.
    Proxy,
    /// The Pong is for the other end, and passes.
    OtherEnd,
}

/// Round trips of our Pings to one side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RoundTrips {
    /// Pings sent.
    pub pings: u32,
    /// Pings whose Pong came before the next Ping.
    pub measured: u32,
    /// The last round trip that was measured, in whole microseconds, at most 71 minutes.
    pub last: Option<Duration>,
    /// The mean of all round trips that were measured, to six digits.
    pub mean: Option<Duration>,
}

/// Our Pings toward one side, and what they tell about it.
///
/// An idle session keeps two of these. So the values that many sessions share come with each call ([`PingTerms`]), and rare
/// state is in a box of its own.
#[derive(Debug)]
pub struct Keepalive {
    open: Option<Box<Open>>,
    /// When bytes last went to the side.
    sent: Tick,
    /// When bytes last came from the side.
    received: Tick,
    /// The mean of all round trips that were measured, in microseconds.
    mean_micros: f32,
    /// The last round trip that was measured, in microseconds.
    last_micros: u32,
    measured: u32,
    /// Pings sent.
    pings: u32,
}

/// What is open between a side and us. Usually nothing is open, and there is no such value. It lasts for a round trip,
/// or as long as a side takes no bytes.
#[derive(Debug, Default, PartialEq, Eq)]
struct Open {
    /// Since when the side has taken none of the bytes that wait for it in our memory.
    stalled_since: Option<Tick>,
    /// The instant from which the side's silence counts; `None` = it does not count. It is the latest of these
    /// instants:
    ///
    /// 1. The first Ping after the side's last byte was fully written, whether it was ours or the other end's.
    /// 2. The side took some of the bytes that waited for it.
    /// 3. We began to read the side again after a pause.
    judged_from: Option<Tick>,
    /// The last look at what the side takes.
    look: Option<Look>,
    ping: Ping,
    debt: Option<UnansweredPing>,
    /// Whether a Ping, ours or the other end's, is among the bytes that are being written. Once they are written,
    /// silence counts.
    is_asked: bool,
    /// Whether a Ping of ours waits for the next frame boundary.
    owed: bool,
    /// How many Pings we have sent since the last one that was answered; 255 also means more.
    unanswered: u8,
}

/// The state of our latest Ping.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Ping {
    #[default]
    Settled,
    Queued,
    Written(Tick),
}

/// The side has got a Ping of the other end and has not answered it yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct UnansweredPing {
    payload: u64,
    lapses: Tick,
}

/// The length of the prefix of our payloads, in bytes. A sequence number of four bytes follows the prefix.
const PREFIX: usize = 8;
/// How many different lengths the waits between two Pings have.
const JITTERS: u64 = 1024;
/// After this many Pings without a Pong we ping slowly. A stalled peer queues its Pongs, and may end the session when it
/// has too many (`ws` for Node.js does so at 60).
const MAX_UNANSWERED: u8 = 16;
/// The wait between slow Pings, unless `pong_timeout` is shorter or the usual wait is longer.
const PATIENCE: Duration = Duration::from_secs(30);
/// While bytes wait for a side, we look this many times per `pong_timeout` whether the side takes them. So we find a
/// dead side late by one of these parts at most, and never early.
const LOOKS: u64 = 16;

impl Keepalive {
    /// The keepalive of a side with which bytes were exchanged just now.
    #[must_use]
    pub const fn new(now: Tick) -> Self {
        Self { open: None, sent: now, received: now, mean_micros: 0.0, last_micros: 0, measured: 0, pings: 0 }
    }

    /// The keepalive of a new connection that is the side from now on. Bytes were exchanged with it just now, and
    /// nothing is open with it. The round trips stay counted, and the number of our Pings goes on, so that no mask and
    /// no payload comes twice.
    #[must_use]
    pub fn begun_anew(self, now: Tick) -> Self {
        Self { open: None, sent: now, received: now, ..self }
    }

    /// Bytes have gone to the side.
    pub const fn handle_sent(&mut self, now: Tick) {
        self.sent = now;
    }

    /// A byte has come from the side. So the side lives, whatever the byte says.
    pub fn handle_received(&mut self, now: Tick) {
        self.received = now;
        self.settle(|open| open.judged_from = None);
    }

    /// Bytes wait for the side. Call this when they begin to wait, and each time the side has taken some of them.
    pub fn handle_stalled(&mut self, now: Tick) {
        self.open.get_or_insert_default().stalled_since = Some(now);
    }

    /// All bytes that waited for the side in our memory have been written, also a Ping among them.
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

    /// Whether it is time to look at what the side takes, because the side may be slow or dead. Then call
    /// [`Self::handle_progress`].
    #[must_use]
    pub fn wants_progress(&self, terms: PingTerms<'_>, now: Tick) -> bool {
        let Some(open) = &self.open else { return false };
        let Some(step) = terms.pong_timeout().map(|timeout| nanos(timeout) / LOOKS) else { return false };
        // Bytes may have begun to wait in the kernel since the last look. `poll_look` sets no alarm for that, because
        // an idle session needs none.
        let is_old = open.judged_from.is_some() && open.look.is_some_and(|look| look.at.after(step) <= now);
        is_old || open.poll_look(step).is_some_and(|at| at <= now)
    }

    /// Notes what the side's stream says of the bytes for the side. If the side has taken some of the bytes that
    /// waited, its silence and its stall count from now.
    pub fn handle_progress(&mut self, progress: Progress, now: Tick) {
        let Some(open) = &mut self.open else { return };
        let look = Look::new(progress, open.stalled_since.is_some(), now);
        // Without an earlier look, assume that the side has taken some.
        let has_taken = open.look.replace(look).is_none_or(|before| before.was_followed_by(progress));
        if has_taken {
            open.stalled_since = open.stalled_since.map(|_| now);
            open.judged_from = open.judged_from.map(|_| now);
        }
    }

    /// The side is gone, and with it everything that was open.
    pub fn handle_gone(&mut self) {
        self.open = None;
    }

    /// Nothing can be written to the side any more, so nothing waits for it.
    pub fn handle_broken(&mut self) {
        self.settle(|open| open.stalled_since = None);
    }

    /// We read the side again after a pause. Its silence counts from now at the earliest.
    pub fn handle_resumed(&mut self, now: Tick) {
        self.settle(|open| open.judged_from = open.judged_from.map(|_| now));
    }

    /// A Ping of the other end has passed to the side.
    ///
    /// 1. The side may answer only the latest Ping (RFC 6455 §5.5.3), so a Ping of ours could replace the answer to
    ///    this one. None of ours goes out until the side has answered, or until the wait for its answer lapses.
    /// 2. A Ping of ours that is owed already is dropped, because the other end's Ping ends the silence.
    pub fn handle_relayed_ping(&mut self, terms: PingTerms<'_>, frame: &ControlFrame, now: Tick) {
        // If we do not ping the side, the other end's Ping neither replaces nor delays a Ping of ours.
        let Some(interval) = terms.interval() else { return };
        let patience = terms.pong_timeout().unwrap_or(interval);
        let debt = UnansweredPing { payload: fingerprint(frame.payload()), lapses: now + patience };
        let open = self.open.get_or_insert_default();
        open.debt = Some(debt);
        open.owed = false;
        open.is_asked = true;
    }

    /// A Pong has come from the side.
    pub fn handle_pong(&mut self, terms: PingTerms<'_>, frame: &ControlFrame, now: Tick) -> PongOwner {
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

    /// The instant of [`Self::poll_ping`] has come: we owe the side a Ping.
    pub fn owe_ping(&mut self) {
        let open = self.open.get_or_insert_default();
        open.owed = true;
        // `poll_ping` waits for the end of the debt, so the debt has lapsed.
        open.debt = None;
    }

    /// When the next Ping falls due; `None` = never, or a Ping is owed already, or it would have to wait behind other
    /// bytes.
    ///
    /// 1. Only bytes in both directions postpone a Ping. Middleboxes time each direction separately, and bytes that go
    ///    to a side do not show that the side lives.
    /// 2. While the side is not `read`, no byte can come from it. Then only bytes that go to it count.
    #[must_use]
    pub fn poll_ping(&self, terms: PingTerms<'_>, read: bool) -> Option<Tick> {
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

    /// When to look at what the side takes if nothing else happens; an instant in the past means now.
    #[must_use]
    pub fn poll_look(&self, terms: PingTerms<'_>) -> Option<Tick> {
        self.open.as_ref()?.poll_look(nanos(terms.pong_timeout()?) / LOOKS)
    }

    /// When the side is dead, because it takes no byte, or because no byte comes from it while it is `read`.
    #[must_use]
    pub fn poll_death(&self, terms: PingTerms<'_>, read: bool) -> Option<Tick> {
        let open = self.open.as_ref()?;
        let silent_since = open.judged_from.filter(|_| read);
        let since = silent_since.into_iter().chain(open.stalled_since).min()?;
        Some(since + terms.pong_timeout()?)
    }

    /// Whether nothing is open: no bytes wait for the side, and no Ping is owed or unanswered.
    #[must_use]
    pub const fn is_calm(&self) -> bool {
        self.open.is_none()
    }

    /// Whether bytes wait for the side in our memory.
    #[must_use]
    pub fn is_stalled(&self) -> bool {
        self.open.as_ref().is_some_and(|open| open.stalled_since.is_some())
    }

    /// Whether a Ping of ours waits for a frame boundary.
    #[must_use]
    pub fn owes_ping(&self) -> bool {
        self.open.as_ref().is_some_and(|open| open.owed)
    }

    /// When bytes last came from the side.
    #[must_use]
    pub const fn last_received(&self) -> Tick {
        self.received
    }

    /// When bytes last went to the side.
    #[must_use]
    pub const fn last_sent(&self) -> Tick {
        self.sent
    }

    /// The Ping that is owed. Call this only at a frame boundary.
    pub fn ping(&mut self, terms: PingTerms<'_>, now: Tick) -> ControlFrame {
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

    /// The mask of a frame of ours (RFC 6455 §5.3); `None` toward a client.
    #[must_use]
    pub fn mask(&self, terms: PingTerms<'_>, opcode: OpCode) -> Option<[u8; 4]> {
        let purpose = if opcode == OpCode::Close { b'c' } else { b'm' };
        let [a, b, c, d, ..] = terms.derive(purpose, self.pings).to_ne_bytes();
        (terms.side == Side::Backend).then_some([a, b, c, d])
    }

    /// The round trips that our Pings have measured so far.
    #[must_use]
    pub fn round_trips(&self) -> RoundTrips {
        RoundTrips {
            pings: self.pings,
            measured: self.measured,
            last: (self.measured > 0).then(|| Duration::from_micros(self.last_micros.into())),
            mean: (self.measured > 0).then(|| Duration::from_secs_f64(f64::from(self.mean_micros) / 1e6)),
        }
    }

    /// The side has answered our latest Ping.
    fn settle_ping(&mut self, now: Tick) {
        let mut written = None;
        self.settle(|open| {
            // A Ping may be answered before we notice that it was written. Then its round trip is not measured, but it
            // is settled.
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

    /// Changes what is open, if anything is, and drops it once nothing is open any more.
    fn settle(&mut self, change: impl FnOnce(&mut Open)) {
        if let Some(open) = &mut self.open {
            change(open);
            // If nothing is judged any more, nobody needs the last look.
            open.look.take_if(|_| open.judged_from.is_none() && open.stalled_since.is_none());
            if **open == Open::default() {
                self.open = None;
            }
        }
    }
}

impl Open {
    /// When to look at what the side takes if nothing else happens.
    fn poll_look(&self, step: u64) -> Option<Tick> {
        match (self.look, self.stalled_since) {
            (Some(look), stalled) => (look.waits || stalled.is_some()).then(|| look.at.after(step)),
            (None, Some(stalled)) => Some(stalled.after(step)),
            // The side was just asked. The first look is now, and the next one is compared with it.
            (None, None) => self.judged_from,
        }
    }
}

/// A hash that stands for a payload. If two Pings in flight have the same hash, one Ping of ours goes out early.
pub(super) fn fingerprint(payload: &[u8]) -> u64 {
    let mut hasher = SipHasher13::new();
    hasher.write(payload);
    hasher.finish()
}

#[cfg(test)]
mod tests;
