//! Tickets by which clients resume TLS sessions (RFC 8446 §2.2, RFC 5077), sealed with keys that the process makes.
//!
//! One set of keys serves all listeners and stays over a reload. It goes with the listening sockets to a successor, so
//! that clients that come back then need no full handshake. rustls' own ticketers do not give their keys out.
//!
//! A key seals for `PERIOD` and then opens for one more. Whoever learns a key can read what was sealed with it. Keys
//! therefore never touch a disk, and are wiped when they are old.

use std::{
    fmt, io,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use tokio_rustls::rustls::server::ProducesTickets;
use zeroize::Zeroizing;

/// How long a key seals tickets, and how long it then still opens them.
const PERIOD: Duration = Duration::from_secs(6 * 60 * 60);
/// The most bytes of a ticket. Ours hold a server name and secrets, a few hundred bytes.
const LONGEST: usize = 4096;

/// The length of a key's name, in bytes. Each ticket begins with the name of the key that sealed it.
const NAME: usize = 16;
const SECRET: usize = 32;
const AGE: usize = 4;

/// Seals and opens tickets.
pub struct Tickets(Mutex<TicketKeys>);

/// Behind a lock, because every handshake asks for the keys. The lock is held for two counts of references.
struct TicketKeys {
    current: Arc<TicketKey>,
    previous: Option<Arc<TicketKey>>,
    /// When the current key becomes the previous one.
    rolls_at: Instant,
}

struct TicketKey {
    /// The name, then the secret.
    bytes: Zeroizing<[u8; NAME + SECRET]>,
    cipher: LessSafeKey,
}

impl Tickets {
    /// # Errors
    /// The kernel has no random bytes.
    pub fn new(now: Instant) -> io::Result<Self> {
        let keys = TicketKeys { current: Arc::new(TicketKey::random()?), previous: None, rolls_at: now + PERIOD };
        Ok(Self(Mutex::new(keys)))
    }

    /// The keys, and the age of the current one, for a successor.
    #[must_use]
    pub fn to_bytes(&self, now: Instant) -> Zeroizing<Vec<u8>> {
        let mut keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Without random bytes the old keys go along. The successor decides how long it uses them.
        let _ = keys.roll(now);
        let age = PERIOD.saturating_sub(keys.rolls_at.saturating_duration_since(now)).as_secs();
        // Of the full size from the start: a vector that grows leaves copies of the keys behind.
        let mut bytes = Zeroizing::new(Vec::with_capacity(AGE + 2 * (NAME + SECRET)));
        bytes.extend(u32::try_from(age).unwrap_or(u32::MAX).to_be_bytes());
        bytes.extend_from_slice(&*keys.current.bytes);
        bytes.extend(keys.previous.iter().flat_map(|key| key.bytes.iter()));
        bytes
    }

    /// Reads the [`Self::to_bytes`] of a predecessor. `None`: the bytes are something else.
    #[must_use]
    pub fn from_bytes(bytes: &[u8], now: Instant) -> Option<Self> {
        let (age, keys) = bytes.split_first_chunk()?;
        let age = Duration::from_secs(u32::from_be_bytes(*age).into());
        let (current, rest) = keys.split_first_chunk()?;
        let previous = match rest {
            [] => None,
            rest => Some(Arc::new(TicketKey::new(Zeroizing::new(rest.try_into().ok()?))?)),
        };
        let current = Arc::new(TicketKey::new(Zeroizing::new(*current))?);
        let rolls_at = now + PERIOD.checked_sub(age)?;
        Some(Self(Mutex::new(TicketKeys { current, previous, rolls_at })))
    }

    /// Seals a ticket. `None`: the kernel has no random bytes.
    fn seal(&self, plain: &[u8], now: Instant) -> Option<Vec<u8>> {
        self.keys(now)?.0.seal(plain)
    }

    /// Opens a ticket. `None`: neither key sealed it, or the kernel has no random bytes.
    fn open(&self, ticket: &[u8], now: Instant) -> Option<Vec<u8>> {
        let (current, previous) = self.keys(now)?;
        if ticket.len() > LONGEST {
            return None;
        }
        current.open(ticket).or_else(|| previous?.open(ticket))
    }

    fn keys(&self, now: Instant) -> Option<(Arc<TicketKey>, Option<Arc<TicketKey>>)> {
        let mut keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        keys.roll(now).ok()?;
        Some((Arc::clone(&keys.current), keys.previous.clone()))
    }
}

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        true
    }

    /// In seconds, and a hint only: a ticket that is sealed at the end of a period lives for one more period.
    fn lifetime(&self) -> u32 {
        u32::try_from(2 * PERIOD.as_secs()).unwrap_or(u32::MAX)
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.seal(plain, Instant::now())
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        self.open(ticket, Instant::now())
    }
}

impl fmt::Debug for Tickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tickets")
    }
}

impl TicketKeys {
    fn roll(&mut self, now: Instant) -> io::Result<()> {
        if now < self.rolls_at {
            return Ok(());
        }
        let fresh = Arc::new(TicketKey::random()?);
        let sealed_last = std::mem::replace(&mut self.current, fresh);
        // Periods follow each other without a gap. Otherwise a key would live longer if handshakes were rare.
        let ends_at = self.rolls_at + PERIOD;
        (self.previous, self.rolls_at) =
            if now < ends_at { (Some(sealed_last), ends_at) } else { (None, now + PERIOD) };
        Ok(())
    }
}

impl TicketKey {
    fn random() -> io::Result<Self> {
        let mut bytes = Zeroizing::new([0; NAME + SECRET]);
        getrandom::fill(&mut *bytes).map_err(io::Error::other)?;
        Self::new(bytes).ok_or_else(|| io::Error::other("a key of another length than its cipher's"))
    }

    /// `None`: the cipher has keys of another length, which never happens.
    fn new(bytes: Zeroizing<[u8; NAME + SECRET]>) -> Option<Self> {
        let secret = UnboundKey::new(&CHACHA20_POLY1305, bytes.get(NAME..)?).ok()?;
        Some(Self { bytes, cipher: LessSafeKey::new(secret) })
    }

    fn name(&self) -> &[u8] {
        self.bytes.get(..NAME).unwrap_or_default()
    }

    /// Returns the key's name, a nonce, the sealed bytes and their tag. The nonce is random, because two processes may
    /// seal with one key.
    fn seal(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let mut nonce = [0; NONCE_LEN];
        getrandom::fill(&mut nonce).ok()?;
        let mut sealed = plain.to_vec();
        self.cipher
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(self.name()), &mut sealed)
            .ok()?;
        Some([self.name(), &nonce, &sealed].concat())
    }

    fn open(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        // A comparison may stop early: the name is no secret, as it stands in every ticket.
        let (nonce, sealed) = ticket.strip_prefix(self.name())?.split_first_chunk()?;
        let mut opened = sealed.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let length = self.cipher.open_in_place(nonce, Aad::from(self.name()), &mut opened).ok()?.len();
        opened.truncate(length);
        Some(opened)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn opens(tickets: &Tickets, ticket: &[u8], now: Instant) -> bool {
        tickets.open(ticket, now).is_some_and(|plain| plain == b"session")
    }

    #[test]
    fn a_ticket_opens_until_both_keys_have_rolled() {
        let now = Instant::now();
        let tickets = Tickets::new(now).unwrap();
        let (first, last) =
            (tickets.seal(b"session", now).unwrap(), tickets.seal(b"session", now + PERIOD - SECOND).unwrap());
        for (after, is_good) in
            [(Duration::ZERO, true), (PERIOD, true), (2 * PERIOD - SECOND, true), (2 * PERIOD, false)]
        {
            for ticket in [&first, &last] {
                assert_eq!(opens(&tickets, ticket, now + after), is_good, "{after:?}");
            }
        }
    }

    #[test]
    fn a_key_lives_no_longer_where_handshakes_are_rare() {
        let now = Instant::now();
        let tickets = Tickets::new(now).unwrap();
        let ticket = tickets.seal(b"session", now).unwrap();
        assert!(!opens(&tickets, &ticket, now + 2 * PERIOD), "nobody came in between");
        let late = Tickets::new(now).unwrap();
        let ticket = late.seal(b"session", now).unwrap();
        assert!(opens(&late, &ticket, now + PERIOD * 3 / 2), "somebody came late");
        assert!(!opens(&late, &ticket, now + 2 * PERIOD));
    }

    #[test]
    fn a_successor_opens_what_both_keys_sealed_and_rolls_when_the_predecessor_would() {
        let now = Instant::now();
        let old = Tickets::new(now).unwrap();
        let first = old.seal(b"session", now).unwrap();
        let now = now + PERIOD;
        let second = old.seal(b"session", now).unwrap();
        let now = now + PERIOD / 2;
        let new = Tickets::from_bytes(&old.to_bytes(now), now).unwrap();
        assert!(opens(&new, &first, now) && opens(&new, &second, now));
        assert!(opens(&old, &new.seal(b"session", now).unwrap(), now));
        let now = now + PERIOD / 2;
        assert!(!opens(&new, &first, now) && opens(&new, &second, now));
        assert!(!opens(&new, &second, now + PERIOD));
    }

    #[test]
    fn what_is_no_pair_of_keys_is_none() {
        let now = Instant::now();
        let good = Tickets::new(now).unwrap().to_bytes(now);
        assert!(Tickets::from_bytes(&good, now).is_some());
        for bad in [&[][..], &good[..good.len() - 1], &[&good[..], b"x"].concat(), &[&[0xff; 4], &good[4..]].concat()] {
            assert!(Tickets::from_bytes(bad, now).is_none(), "{} bytes", bad.len());
        }
    }

    #[test]
    fn what_was_changed_or_never_sealed_does_not_open() {
        let now = Instant::now();
        let tickets = Tickets::new(now).unwrap();
        let ticket = tickets.seal(b"session", now).unwrap();
        for place in 0..ticket.len() {
            let mut changed = ticket.clone();
            changed[place] ^= 1;
            assert!(!opens(&tickets, &changed, now), "{place}");
            assert!(!opens(&tickets, &ticket[..place], now), "{place}");
        }
        assert!(!opens(&Tickets::new(now).unwrap(), &ticket, now));
        assert!(tickets.open(&tickets.seal(&[0; LONGEST], now).unwrap(), now).is_none());
    }
}
