//! When to ping a side, which Pongs are ours, and when the side is dead.

use std::{
    hash::Hasher,
    mem,
    time::{Duration, Instant},
};

use siphasher::sip::SipHasher13;

use super::{
    Side,
    frame::{ControlFrame, OpCode},
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

/// Sixteen random bytes of a session; what a peer must not guess is derived from them.
#[derive(Debug, Clone, Copy)]
pub struct Secret(pub [u8; 16]);

impl Secret {
    fn derive(&self, side: Side, purpose: u8, number: u32) -> u64 {
        let mut hasher = SipHasher13::new_with_key(&self.0);
        hasher.write(&[side as u8, purpose]);
        hasher.write_u32(number);
        hasher.finish()
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
    /// The last one measured.
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

    fn measure(&mut self, round_trip: Duration) {
        self.measured = self.measured.saturating_add(1);
        self.last = Some(round_trip);
        self.total = self.total.saturating_add(round_trip);
    }
}

/// Our Pings toward one side, and what they tell of it.
#[derive(Debug)]
pub struct Keepalive {
    side: Side,
    secret: Secret,
    interval: Option<Duration>,
    timeout: Option<Duration>,
    /// The silence after which the next Ping falls due: `interval` with its jitter, or longer.
    wait: Option<Duration>,
    last_sent: Instant,
    /// A Ping waits for the next frame boundary.
    owed: bool,
    ping: Ping,
    /// When the first Ping after the side's last byte was fully written: from here its silence counts.
    judged_from: Option<Instant>,
    debt: Option<Debt>,
    /// The number of the last Ping that was answered.
    answered: u32,
    round_trips: RoundTrips,
}

/// Where our latest Ping is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ping {
    Settled,
    Queued,
    Written(Instant),
}

/// The side has been sent a Ping of the other end and has not answered it.
#[derive(Debug, Clone, Copy)]
struct Debt {
    payload: u64,
    lapses: Instant,
}

/// The prefix of our payloads; a sequence number of four bytes follows.
const PREFIX: usize = 8;
/// Pings without a Pong after which we go slowly: a stalled peer queues its Pongs, and may end the session when they are
/// too many (`ws` for Node.js does at 60).
const MAX_UNANSWERED: u32 = 16;
/// How slowly, where `pong_timeout` does not say.
const PATIENCE: Duration = Duration::from_secs(30);

impl Keepalive {
    /// Pings toward `side`, if the route pings it.
    #[must_use]
    pub fn new(side: Side, settings: &Settings, secret: Secret, now: Instant) -> Self {
        let on = match side {
            Side::Client => settings.client,
            Side::Backend => settings.backend,
        };
        let mut keepalive = Self {
            side,
            secret,
            interval: if on { settings.ping_interval } else { None },
            timeout: settings.pong_timeout,
            wait: None,
            last_sent: now,
            owed: false,
            ping: Ping::Settled,
            judged_from: None,
            debt: None,
            answered: 0,
            round_trips: RoundTrips::default(),
        };
        keepalive.wait = keepalive.next_wait();
        keepalive
    }

    /// Bytes have gone to the side.
    pub const fn handle_sent(&mut self, now: Instant) {
        self.last_sent = now;
    }

    /// A byte has come from the side: it lives, whatever it says.
    pub const fn handle_received(&mut self) {
        self.judged_from = None;
    }

    /// All that waited for the side has been written, a Ping of ours included.
    pub fn handle_flushed(&mut self, now: Instant) {
        if self.ping == Ping::Queued {
            self.ping = Ping::Written(now);
            self.judged_from.get_or_insert(now);
        }
    }

    /// The side was not read for a while: its silence counts from now at the earliest.
    pub fn handle_resumed(&mut self, now: Instant) {
        self.judged_from = self.judged_from.map(|_| now);
    }

    /// A Ping of the other end has passed to the side. The side may answer only the latest (RFC 6455 §5.5.3), so a Ping of
    /// ours could swallow that answer: none goes out until the debt is paid or has lapsed, nor one that is owed already,
    /// since theirs ends the silence.
    pub fn handle_relayed_ping(&mut self, frame: &ControlFrame, now: Instant) {
        self.owed = false;
        let patience = self.timeout.or(self.interval).unwrap_or_default();
        self.debt = Some(Debt { payload: fingerprint(frame.payload()), lapses: now + patience });
    }

    /// A Pong has come from the side.
    pub fn handle_pong(&mut self, frame: &ControlFrame, now: Instant) -> PongOwner {
        match frame.payload().split_first_chunk::<PREFIX>() {
            Some((prefix, number)) if *prefix == self.prefix() => {
                let latest = number == self.round_trips.pings.to_be_bytes();
                if latest {
                    // Settled also when we have not noticed yet that it was written: it is no Ping to wait for.
                    if let Ping::Written(written) = mem::replace(&mut self.ping, Ping::Settled) {
                        self.round_trips.measure(now.saturating_duration_since(written));
                    }
                }
                if let Ok(number) = number.try_into() {
                    self.answered = u32::from_be_bytes(number);
                    self.wait = self.next_wait();
                }
                PongOwner::Proxy
            }
            _ => {
                if self.debt.is_some_and(|debt| debt.payload == fingerprint(frame.payload())) {
                    self.debt = None;
                }
                PongOwner::OtherEnd
            }
        }
    }

    /// Owes the side a Ping when it is time.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.poll_ping().is_some_and(|at| at <= now) {
            self.owed = true;
        }
    }

    /// When the next Ping falls due; `None` = never, or it is owed already and waits for a boundary only.
    #[must_use]
    pub fn poll_ping(&self) -> Option<Instant> {
        let due = self.last_sent + self.wait.filter(|_| !self.owed)?;
        Some(self.debt.map_or(due, |debt| due.max(debt.lapses)))
    }

    /// When the side is dead if no byte comes from it.
    #[must_use]
    pub fn poll_death(&self) -> Option<Instant> {
        Some(self.judged_from? + self.timeout?)
    }

    /// How long a side may take none of the bytes that wait for it.
    #[must_use]
    pub const fn stall_limit(&self) -> Option<Duration> {
        self.timeout
    }

    /// Whether a Ping waits for a frame boundary.
    #[must_use]
    pub const fn owes_ping(&self) -> bool {
        self.owed
    }

    /// The Ping that is owed, for a frame boundary that is here now.
    pub fn ping(&mut self, now: Instant) -> ControlFrame {
        self.owed = false;
        self.last_sent = now;
        self.ping = Ping::Queued;
        self.round_trips.pings = self.round_trips.pings.wrapping_add(1);
        self.wait = self.next_wait();
        let mut payload = [0; PREFIX + 4];
        payload[..PREFIX].copy_from_slice(&self.prefix());
        payload[PREFIX..].copy_from_slice(&self.round_trips.pings.to_be_bytes());
        ControlFrame::new(OpCode::Ping, &payload, None)
    }

    /// The mask of a frame of ours (RFC 6455 §5.3): toward a client there is none.
    #[must_use]
    pub fn mask(&self, opcode: OpCode) -> Option<[u8; 4]> {
        let purpose = if opcode == OpCode::Close { b'c' } else { b'm' };
        let [a, b, c, d, ..] = self.secret.derive(self.side, purpose, self.round_trips.pings).to_ne_bytes();
        (self.side == Side::Backend).then_some([a, b, c, d])
    }

    /// What our Pings have shown so far.
    #[must_use]
    pub const fn round_trips(&self) -> RoundTrips {
        self.round_trips
    }

    fn prefix(&self) -> [u8; PREFIX] {
        self.secret.derive(self.side, b'p', 0).to_ne_bytes()
    }

    /// Up to a tenth earlier than the interval, so that sessions that began together do not ping together. Never later,
    /// since the interval is a promise to the middleboxes on the path, but to a side that answers none.
    fn next_wait(&self) -> Option<Duration> {
        let unanswered = self.round_trips.pings.wrapping_sub(self.answered);
        let slowest = if unanswered >= MAX_UNANSWERED { self.timeout.unwrap_or(PATIENCE) } else { Duration::ZERO };
        let random = self.secret.derive(self.side, b'j', self.round_trips.pings);
        let interval = self.interval?.mul_f64(1.0 - (random % 1024) as f64 / 10_240.0);
        Some(interval.max(slowest))
    }
}

/// Equal payloads have equal fingerprints; a collision of two Pings in flight would cost one early Ping.
fn fingerprint(payload: &[u8]) -> u64 {
    let mut hasher = SipHasher13::new();
    hasher.write(payload);
    hasher.finish()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const SETTINGS: Settings = Settings {
        ping_interval: Some(Duration::from_secs(25)),
        pong_timeout: Some(Duration::from_secs(30)),
        client: true,
        backend: false,
    };

    fn keepalive(now: Instant) -> Keepalive {
        Keepalive::new(Side::Client, &SETTINGS, Secret([7; 16]), now)
    }

    fn pong(ping: &ControlFrame) -> ControlFrame {
        ControlFrame::new(OpCode::Pong, ping.payload(), None)
    }

    fn due(keepalive: &mut Keepalive) -> Instant {
        let at = keepalive.poll_ping().unwrap();
        keepalive.handle_timeout(at);
        assert!(keepalive.owes_ping());
        at
    }

    #[test]
    fn a_ping_falls_due_within_the_interval_and_not_before_nine_tenths_of_it() {
        let start = Instant::now();
        for byte in 0..=255 {
            let keepalive = Keepalive::new(Side::Client, &SETTINGS, Secret([byte; 16]), start);
            let wait = keepalive.poll_ping().unwrap() - start;
            assert!(wait <= Duration::from_secs(25) && wait >= Duration::from_millis(22_500), "{wait:?}");
        }
    }

    #[test]
    fn a_side_that_is_not_listed_is_never_pinged() {
        let now = Instant::now();
        assert_eq!(Keepalive::new(Side::Backend, &SETTINGS, Secret([7; 16]), now).poll_ping(), None);
    }

    #[test]
    fn bytes_to_the_side_put_its_ping_off() {
        let start = Instant::now();
        let mut keepalive = keepalive(start);
        let first = keepalive.poll_ping().unwrap();
        keepalive.handle_sent(start + Duration::from_secs(20));
        assert_eq!(keepalive.poll_ping().unwrap(), first + Duration::from_secs(20));
    }

    #[test]
    fn a_pong_of_ours_is_ours_also_when_late_or_repeated() {
        let mut keepalive = keepalive(Instant::now());
        let at = due(&mut keepalive);
        let first = keepalive.ping(at);
        keepalive.handle_flushed(at);
        let at = due(&mut keepalive);
        let second = keepalive.ping(at);
        keepalive.handle_flushed(at);
        assert_ne!(first.payload(), second.payload());
        for ping in [&second, &first, &second] {
            assert_eq!(keepalive.handle_pong(&pong(ping), at + Duration::from_millis(3)), PongOwner::Proxy);
        }
        let trips = keepalive.round_trips();
        assert_eq!((trips.pings, trips.measured, trips.last), (2, 1, Some(Duration::from_millis(3))));
    }

    #[test]
    fn a_pong_that_only_looks_like_ours_passes() {
        let mut keepalive = keepalive(Instant::now());
        let at = due(&mut keepalive);
        let ping = keepalive.ping(at);
        let mut guessed = ping.payload().to_vec();
        guessed[0] ^= 1;
        for payload in [&b""[..], &guessed, &ping.payload()[..7]] {
            let frame = ControlFrame::new(OpCode::Pong, payload, None);
            assert_eq!(keepalive.handle_pong(&frame, at), PongOwner::OtherEnd);
        }
    }

    #[test]
    fn no_ping_while_the_side_owes_the_other_end_a_pong() {
        let start = Instant::now();
        let mut keepalive = keepalive(start);
        let theirs = ControlFrame::new(OpCode::Ping, b"theirs", None);
        keepalive.handle_relayed_ping(&theirs, start);
        let lapse = start + Duration::from_secs(30);
        assert_eq!(keepalive.poll_ping(), Some(lapse));
        keepalive.handle_pong(&ControlFrame::new(OpCode::Pong, b"another", None), start);
        assert_eq!(keepalive.poll_ping(), Some(lapse));
        keepalive.handle_pong(&pong(&theirs), start);
        assert!(keepalive.poll_ping().unwrap() < lapse);
    }

    #[test]
    fn a_pong_that_is_read_before_its_ping_was_seen_written_settles_it() {
        let mut keepalive = keepalive(Instant::now());
        let at = due(&mut keepalive);
        let ping = keepalive.ping(at);
        keepalive.handle_received();
        assert_eq!(keepalive.handle_pong(&pong(&ping), at), PongOwner::Proxy);
        keepalive.handle_flushed(at);
        assert_eq!((keepalive.poll_death(), keepalive.round_trips().measured), (None, 0));
    }

    #[test]
    fn a_side_that_answers_nothing_is_pinged_slowly_until_it_does() {
        let mut keepalive = keepalive(Instant::now());
        let mut last = None;
        for _ in 0..MAX_UNANSWERED {
            let at = due(&mut keepalive);
            last = Some((at, keepalive.ping(at)));
        }
        let (at, ping) = last.unwrap();
        assert_eq!(keepalive.poll_ping(), Some(at + Duration::from_secs(30)));
        keepalive.handle_pong(&pong(&ping), at);
        assert!(keepalive.poll_ping().unwrap() <= at + Duration::from_secs(25));
    }

    #[test]
    fn silence_counts_from_the_first_ping_that_was_fully_written() {
        let mut keepalive = keepalive(Instant::now());
        let at = due(&mut keepalive);
        keepalive.ping(at);
        assert_eq!(keepalive.poll_death(), None);
        let written = at + Duration::from_secs(2);
        keepalive.handle_flushed(written);
        assert_eq!(keepalive.poll_death(), Some(written + Duration::from_secs(30)));
        let at = due(&mut keepalive);
        keepalive.ping(at);
        keepalive.handle_flushed(at);
        assert_eq!(keepalive.poll_death(), Some(written + Duration::from_secs(30)));
        keepalive.handle_resumed(at);
        assert_eq!(keepalive.poll_death(), Some(at + Duration::from_secs(30)));
        keepalive.handle_received();
        assert_eq!(keepalive.poll_death(), None);
    }
}
