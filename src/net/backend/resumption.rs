//! The TLS sessions that a backend lets us resume (RFC 8446 §2.2, RFC 5077).
//!
//! A TLS 1.3 ticket is for one connection, and rustls' own store keeps eight of a name. But the clients of a proxy come back
//! by hundreds at once. And a ticket opens at the server that sealed it, which is seldom the next one of the same name.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio_rustls::rustls::{
    NamedGroup,
    client::{ClientSessionStore, Tls12ClientSessionValue, Tls13ClientSessionValue},
    pki_types::ServerName,
};

/// The most tickets. Older ones make room for newer ones.
const TICKETS: usize = 64;

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
