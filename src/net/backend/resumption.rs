//! The TLS sessions that a backend lets us resume (RFC 8446 §2.2, RFC 5077).
//!
//! A TLS 1.3 ticket is for one connection, and rustls' own store keeps eight of a name. But the clients of a proxy come back
//! by hundreds at once. And a ticket opens at the server that sealed it, which is seldom the next one of the same name.

use std::{
    collections::{HashMap, VecDeque},
    hash::Hash,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio_rustls::rustls::{
    NamedGroup,
    client::{ClientSessionStore, Tls12ClientSessionValue, Tls13ClientSessionValue},
    pki_types::ServerName,
};

/// The most tickets. Older ones make room for newer ones.
const TICKETS: usize = 64;

/// The most places whose TLS sessions are kept: as many as a list of backends, or a name, may have addresses.
const PLACES: usize = 4096;

/// Something for each place. The place that was in use the longest ago makes room for another one.
#[derive(Debug)]
pub(super) struct RecentPlaces<P, T> {
    /// With the turn of the last use.
    places: HashMap<P, (u64, T)>,
    turn: u64,
}

/// What can be resumed at one address under one name. So there is no need to look at the name.
#[derive(Debug, Default)]
pub(super) struct Resumable(Mutex<ResumableSessions>);

#[derive(Debug, Default)]
struct ResumableSessions {
    /// The group of the last key exchange: the next one is offered this first.
    group: Option<NamedGroup>,
    tls12: Option<Tls12ClientSessionValue>,
    /// The newest is the last.
    tickets: VecDeque<Tls13ClientSessionValue>,
}

impl<P, T> Default for RecentPlaces<P, T> {
    fn default() -> Self {
        Self { places: HashMap::new(), turn: 0 }
    }
}

impl<P: Clone + Eq + Hash, T: Clone> RecentPlaces<P, T> {
    /// What is kept for a place; `new` if nothing is.
    pub(super) fn of(&mut self, place: P, new: impl FnOnce() -> T) -> T {
        if self.places.len() >= PLACES
            && !self.places.contains_key(&place)
            && let Some(oldest) = self.places.iter().min_by_key(|(_, (turn, _))| *turn).map(|(place, _)| place.clone())
        {
            self.places.remove(&oldest);
        }
        self.turn += 1;
        let (turn, kept) = self.places.entry(place).or_insert_with(|| (0, new()));
        *turn = self.turn;
        kept.clone()
    }
}

impl Resumable {
    /// Locked for a look-up in a handshake.
    fn sessions(&self) -> MutexGuard<'_, ResumableSessions> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientSessionStore for Resumable {
    fn set_kx_hint(&self, _: ServerName<'static>, group: NamedGroup) {
        self.sessions().group = Some(group);
    }

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        self.sessions().group
    }

    fn set_tls12_session(&self, _: ServerName<'static>, session: Tls12ClientSessionValue) {
        self.sessions().tls12 = Some(session);
    }

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.sessions().tls12.clone()
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {
        self.sessions().tls12 = None;
    }

    fn insert_tls13_ticket(&self, _: ServerName<'static>, ticket: Tls13ClientSessionValue) {
        let tickets = &mut self.sessions().tickets;
        if tickets.len() >= TICKETS {
            tickets.pop_front();
        }
        tickets.push_back(ticket);
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.sessions().tickets.pop_back()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_too_many_takes_the_room_of_the_one_that_was_in_use_the_longest_ago() {
        let mut places = RecentPlaces::default();
        for place in 0..PLACES {
            assert_eq!(places.of(place, || place), place);
        }
        // All are known, and the first one is in use again.
        assert_eq!(places.of(0, || 1), 0);
        assert_eq!(places.of(PLACES, || PLACES), PLACES);
        let is_kept = |place| places.places.contains_key(&place);
        assert_eq!((is_kept(0), is_kept(1), is_kept(2), is_kept(PLACES)), (true, false, true, true));
        assert_eq!(places.places.len(), PLACES);
    }
}
