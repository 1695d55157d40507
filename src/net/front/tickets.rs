//! Tickets by which clients resume TLS sessions (RFC 8446 §2.2, RFC 5077), sealed with keys that the process makes.
//!
//! One set of keys serves all listeners and stays over a reload. It goes with the listening sockets to a successor, so
//! that clients that come back then need no full handshake. rustls' own ticketers do not give their keys out.
//!
//! A ticket opens only at the listener that gave it out, and only while that listener takes the same certificates of
//! clients: a session keeps the certificate with which it began, and must not carry it to where it was never verified.
//!
//! A key seals for `PERIOD` and then opens for one more. Whoever learns a key can read what was sealed with it. Keys
//! therefore never touch a disk, and are wiped when they are old.

use std::{
    fmt, io,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use jiff::Timestamp;
use ring::{
    aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    digest::{Context, SHA256},
};
use tokio_rustls::rustls::{pki_types::CertificateDer, server::ProducesTickets};
use zeroize::Zeroizing;

use crate::config::{certificates::clients::ClientVerifier, expiry};

/// How long a key seals tickets, and how long it then still opens them.
const PERIOD: Duration = Duration::from_secs(6 * 60 * 60);
/// The most bytes of a ticket. Ours hold a server name and secrets, a few hundred bytes, and the certificates that a client
/// has shown. If these are too long, the client gets no ticket.
const LONGEST: usize = 16 * 1024;

/// The length of a key's name, in bytes. Each ticket begins with the name of the key that sealed it.
const NAME: usize = 16;
const SECRET: usize = 32;
const AGE: usize = 4;

/// The keys that seal and open tickets.
pub struct Tickets(Mutex<TicketKeys>);

/// The tickets of one listener.
#[derive(Debug)]
pub(super) struct ListenerTickets {
    tickets: Arc<Tickets>,
    /// A hash of the listener's address and of what it takes from clients.
    listener: [u8; 32],
    /// Whether the listener asks clients for certificates.
    asks_clients: bool,
    /// When the first revocation list is out of date, and what was good may be good no more.
    due: Option<Timestamp>,
}

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

    /// Seals a ticket of a listener. `None`: it would be too long, or the kernel has no random bytes.
    fn seal(&self, plain: &[u8], listener: &[u8], now: Instant) -> Option<Vec<u8>> {
        self.keys(now)?.0.seal(plain, listener).filter(|ticket| ticket.len() <= LONGEST)
    }

    /// Opens a ticket. `None`: neither key sealed it for this listener, or the kernel has no random bytes.
    fn open(&self, ticket: &[u8], listener: &[u8], now: Instant) -> Option<Vec<u8>> {
        let (current, previous) = self.keys(now)?;
        if ticket.len() > LONGEST {
            return None;
        }
        current.open(ticket, listener).or_else(|| previous?.open(ticket, listener))
    }

    fn keys(&self, now: Instant) -> Option<(Arc<TicketKey>, Option<Arc<TicketKey>>)> {
        let mut keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        keys.roll(now).ok()?;
        Some((Arc::clone(&keys.current), keys.previous.clone()))
    }
}

impl ListenerTickets {
    /// `address`: where the listener is bound. No other listener of this process or of its successor is there.
    pub(super) fn new(tickets: Arc<Tickets>, address: impl fmt::Display, clients: Option<&ClientVerifier>) -> Self {
        let mut hash = Context::new(&SHA256);
        hash.update(clients.map_or(&[], |clients| &clients.digest[..]));
        hash.update(address.to_string().as_bytes());
        let listener = hash.finish().as_ref().try_into().unwrap_or_default();
        Self { tickets, listener, asks_clients: clients.is_some(), due: clients.and_then(|clients| clients.due) }
    }

    /// Whether a session may be resumed, by the certificates with which it began.
    ///
    /// rustls takes this certificate over, unseen, and seals it into the next ticket. So a client that came back in time,
    /// again and again, would be let in for ever: after its certificate has expired, and while the revocation list is out
    /// of date. Nothing else can have changed, or the ticket would not have opened. So no signature is verified again, and
    /// a client that sends many tickets costs little.
    fn is_still_good(&self, session: &[u8], now: Timestamp) -> bool {
        if !self.asks_clients {
            return true;
        }
        match certificates_in(session).as_deref() {
            Some([]) => true,
            Some(chain) => self.due.is_none_or(|due| now < due) && expiry::are_valid_at(chain, now),
            None => false,
        }
    }
}

impl ProducesTickets for ListenerTickets {
    fn enabled(&self) -> bool {
        true
    }

    /// In seconds, and a hint only: a ticket that is sealed at the end of a period lives for one more period.
    fn lifetime(&self) -> u32 {
        u32::try_from(2 * PERIOD.as_secs()).unwrap_or(u32::MAX)
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.tickets.seal(plain, &self.listener, Instant::now())
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let session = self.tickets.open(ticket, &self.listener, Instant::now())?;
        self.is_still_good(&session, Timestamp::now()).then_some(session)
    }
}

/// The certificates of the client in a session, as rustls writes it into a ticket (its `ServerSessionValue`, of which it
/// shows nothing). `None` = it is written otherwise. Then the client needs a full handshake, and a test fails.
fn certificates_in(session: &[u8]) -> Option<Vec<CertificateDer<'_>>> {
    let mut rest = session;
    if take_number::<1>(&mut rest)? == 1 {
        let _server_name = take_counted::<1>(&mut rest)?;
    }
    let _version_and_suite = rest.split_off(..4)?;
    let _secret = take_counted::<1>(&mut rest)?;
    let _is_extended = take_number::<1>(&mut rest)?;
    let mut certificates = Vec::new();
    if take_number::<1>(&mut rest)? == 1 {
        let mut chain = take_counted::<3>(&mut rest)?;
        while !chain.is_empty() {
            certificates.push(CertificateDer::from(take_counted::<3>(&mut chain)?));
        }
    }
    Some(certificates)
}

/// Takes a number of `N` bytes.
fn take_number<const N: usize>(rest: &mut &[u8]) -> Option<usize> {
    Some(rest.split_off(..N)?.iter().fold(0, |number, byte| number << 8 | usize::from(*byte)))
}

/// Takes the bytes behind their own length, a number of `N` bytes.
fn take_counted<'a, const N: usize>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = take_number::<N>(rest)?;
    rest.split_off(..length)
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
    fn seal(&self, plain: &[u8], listener: &[u8]) -> Option<Vec<u8>> {
        let mut nonce = [0; NONCE_LEN];
        getrandom::fill(&mut nonce).ok()?;
        let mut sealed = plain.to_vec();
        self.cipher
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), self.context(listener), &mut sealed)
            .ok()?;
        Some([self.name(), &nonce, &sealed].concat())
    }

    fn open(&self, ticket: &[u8], listener: &[u8]) -> Option<Vec<u8>> {
        // A comparison may stop early: the name is no secret, as it stands in every ticket.
        let (nonce, sealed) = ticket.strip_prefix(self.name())?.split_first_chunk()?;
        let mut opened = sealed.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let length = self.cipher.open_in_place(nonce, self.context(listener), &mut opened).ok()?.len();
        opened.truncate(length);
        Some(opened)
    }

    /// What is no part of a ticket, but must be the same where it is opened.
    fn context(&self, listener: &[u8]) -> Aad<Vec<u8>> {
        Aad::from([self.name(), listener].concat())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    const HERE: &[u8] = b"here";

    fn opens(tickets: &Tickets, ticket: &[u8], now: Instant) -> bool {
        tickets.open(ticket, HERE, now).is_some_and(|plain| plain == b"session")
    }

    #[test]
    fn a_ticket_opens_only_for_its_own_listener() {
        let now = Instant::now();
        let tickets = Tickets::new(now).unwrap();
        let ticket = tickets.seal(b"session", HERE, now).unwrap();
        for other in [&b"there"[..], b"", b"her", b"here2"] {
            assert_eq!(tickets.open(&ticket, other, now), None);
        }
        assert!(opens(&tickets, &ticket, now));
    }

    #[test]
    fn a_session_that_is_no_session_has_no_certificates_to_trust() {
        let whole = [&[1, 1, b'a', 3, 4, 0x13, 1, 2, 9, 9, 1, 1, 0, 0, 5, 0, 0, 2, 7, 8][..], &[0]].concat();
        assert_eq!(certificates_in(&whole).unwrap(), [CertificateDer::from(&[7, 8][..])]);
        for length in 0..whole.len() - 1 {
            assert_eq!(certificates_in(&whole[..length]), None, "{length}");
        }
        assert!(certificates_in(&[0, 3, 4, 0x13, 1, 0, 0, 0]).unwrap().is_empty());
    }

    #[test]
    fn a_ticket_opens_until_both_keys_have_rolled() {
        let now = Instant::now();
        let tickets = Tickets::new(now).unwrap();
        let (first, last) = (
            tickets.seal(b"session", HERE, now).unwrap(),
            tickets.seal(b"session", HERE, now + PERIOD - SECOND).unwrap(),
        );
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
        let ticket = tickets.seal(b"session", HERE, now).unwrap();
        assert!(!opens(&tickets, &ticket, now + 2 * PERIOD), "nobody came in between");
        let late = Tickets::new(now).unwrap();
        let ticket = late.seal(b"session", HERE, now).unwrap();
        assert!(opens(&late, &ticket, now + PERIOD * 3 / 2), "somebody came late");
        assert!(!opens(&late, &ticket, now + 2 * PERIOD));
    }

    #[test]
    fn a_successor_opens_what_both_keys_sealed_and_rolls_when_the_predecessor_would() {
        let now = Instant::now();
        let old = Tickets::new(now).unwrap();
        let first = old.seal(b"session", HERE, now).unwrap();
        let now = now + PERIOD;
        let second = old.seal(b"session", HERE, now).unwrap();
        let now = now + PERIOD / 2;
        let new = Tickets::from_bytes(&old.to_bytes(now), now).unwrap();
        assert!(opens(&new, &first, now) && opens(&new, &second, now));
        assert!(opens(&old, &new.seal(b"session", HERE, now).unwrap(), now));
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
        let ticket = tickets.seal(b"session", HERE, now).unwrap();
        for place in 0..ticket.len() {
            let mut changed = ticket.clone();
            changed[place] ^= 1;
            assert!(!opens(&tickets, &changed, now), "{place}");
            assert!(!opens(&tickets, &ticket[..place], now), "{place}");
        }
        assert!(!opens(&Tickets::new(now).unwrap(), &ticket, now));
        assert!(tickets.seal(&[0; LONGEST], HERE, now).is_none());
    }
}
