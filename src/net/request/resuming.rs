//! A client that speaks the protocol of docs/resume.md: what it is promised at the 101 of a new session, and how it comes back to
//! its session.
//!
//! The token of a client that comes back is verified first. Then its handshake passes everything that its route asks of one, and
//! must be like the first one of the session. Then the session is claimed. If any of that says no, the client gets a new session,
//! and its hello says so. Only a late attempt, and one of too many, are refused.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use hyper::{
    HeaderMap,
    header::{ORIGIN, SEC_WEBSOCKET_EXTENSIONS},
};
use ring::digest::{Context, SHA256};
use tokio::{sync::oneshot, time::timeout};

use super::{admitting::admit_move, auth::Permission, comeback::Reclaimed, connection::Connection};
use crate::{
    error::{Error, Kind},
    net::{
        session::{
            held::Arrival,
            reclaim::{Claim, Likeness, Lodging, Reclaimable, ResumeSecret},
        },
        thread::door::answering,
        worker::{plan::Plan, shared::Shared},
    },
    routing::{AuthRequest, Route},
    sender::Client,
    ws::{
        handshake::{ACCEPT_TEXT, Upgrade},
        resume_hello::{Hello, LONGEST_HELLO},
        resume_offer::ResumeOffer,
        resume_token::{ResumeId, TokenOrigin},
        session::Claimed,
    },
};

/// The longest wait for what a session says to a claim. Its worker answers within a round of its sessions.
const PATIENCE: Duration = Duration::from_secs(2);

/// What a client is promised at the 101 of a new session.
#[derive(Debug)]
pub(super) enum ResumePromise {
    /// Nothing: it did not ask, or the choice among its subprotocols is the backend's.
    Nothing,
    /// That its session cannot be resumed.
    Off,
    /// That it can come back with handshakes like this one.
    On(Box<Likeness>),
}

/// A hello on its way, and what keeps its session among those that can be resumed.
pub(super) struct Greeted {
    pub(super) frame: Vec<u8>,
    /// `None` = the hello says that the session cannot be resumed.
    pub(super) reclaimable: Option<Box<Reclaimable>>,
}

/// Takes out of a handshake what its backend may not see: an extension where the client speaks the protocol on a route that
/// resumes, because what both ends count are plain messages.
pub(super) fn withdraw_extensions(route: &Route, headers: &mut HeaderMap) {
    if route.resume.is_some() && ResumeOffer::read(headers).is_some() {
        headers.remove(SEC_WEBSOCKET_EXTENSIONS);
    }
}

impl ResumePromise {
    /// What follows from the offer of a handshake, from its route, and from what a service says of the client.
    pub(super) fn new(
        connection: &Connection,
        route: &Route,
        wants: &Upgrade,
        headers: &HeaderMap,
        permission: Option<&Permission>,
    ) -> Self {
        if wants.offer.resume().is_none() || route.resume.is_none() {
            return if wants.offer.is_resume_alone() { Self::Off } else { Self::Nothing };
        }
        let certificate = connection.entrance.certificate.as_ref().map(|shown| shown.facts().fingerprint);
        let granted = route.auth_request.as_deref().zip(permission);
        Self::On(Box::new(Likeness {
            route: route.name.clone(),
            certificate,
            origin: headers.get_all(ORIGIN).iter().cloned().collect(),
            granted: granted.map(|(auth, permission)| digest_of(auth, &permission.fields)),
        }))
    }

    /// What further handshakes must have in common with this one.
    pub(super) const fn likeness(&self) -> Option<&Likeness> {
        match self {
            Self::On(likeness) => Some(likeness),
            Self::Nothing | Self::Off => None,
        }
    }

    /// The hello of a new session. `protocol`: the subprotocol that the backend chose. `None` = the client reads no hello, and its
    /// session is an ordinary one.
    pub(super) fn greet(
        self,
        connection: &Connection,
        route: &Route,
        client: Client,
        protocol: Option<&str>,
    ) -> Option<Greeted> {
        let likeness = match self {
            Self::Nothing => return None,
            Self::Off => return Some(Greeted { frame: Hello::OFF.frame(), reclaimable: None }),
            Self::On(likeness) => likeness,
        };
        let (terms, shared) = (route.resume?, &connection.worker.shared);
        // A session whose secret could be guessed is worse than one that cannot be resumed.
        let (id, secret) = (random_id()?, ResumeSecret::random()?);
        let token = shared.resume_key.token(id);
        let hello = |received| Hello::on(&token, &secret.0, protocol, &terms, received).frame();
        // A subprotocol may be as long as a head. The hello of a client that comes back has more digits.
        if hello(Some(u64::MAX)).len() > LONGEST_HELLO {
            tracing::debug!(
                route = route.name,
                "a subprotocol has no room in a hello, and its session cannot be resumed"
            );
            return None;
        }
        let frame = hello(None);
        let (protocol, worker) = (protocol.map(Into::into), connection.worker.index);
        let lodging = Lodging::new(worker, *likeness, client.counted_as(), (terms, protocol), secret);
        Some(Greeted { frame, reclaimable: Some(shared.reclaims.add(id, lodging)) })
    }
}

/// A session of which a handshake shows the token.
#[derive(Debug)]
pub(super) struct Recognized {
    id: ResumeId,
    lodging: Arc<Lodging>,
    /// The attempt of the client, and how many messages it has.
    attempt: u64,
    count: u64,
    accept: [u8; ACCEPT_TEXT],
}

/// The session whose token a handshake shows. `None` = the client gets a new session.
///
/// # Errors
/// [`Kind::ResumeAttempts`].
pub(super) fn recognize(shared: &Shared, client: Client, wants: &Upgrade) -> Result<Option<Box<Recognized>>, Error> {
    let Some(ResumeOffer::Now(Some(attempt))) = wants.offer.resume() else { return Ok(None) };
    let (fresh, now) = (|why| new_session(shared, why), Instant::now());
    let id = match shared.resume_key.origin(&attempt.token) {
        TokenOrigin::Ours(id) => id,
        TokenOrigin::Elsewhere => return fresh("elsewhere"),
        TokenOrigin::Forged if shared.wrong_tokens.note(client, now) => return fresh("forged"),
        TokenOrigin::Forged => return Err(Kind::ResumeAttempts.into()),
    };
    let Some(lodging) = shared.reclaims.find(id) else { return fresh("gone") };
    if !lodging.note_attempt(now) {
        return Err(Kind::ResumeAttempts.into());
    }
    let (attempt, count, accept) = (attempt.number, attempt.count, wants.accept());
    Ok(Some(Box::new(Recognized { id, lodging, attempt, count, accept })))
}

/// Asks for a session whose handshake has passed the rules of its route. `None` = the client gets a new session.
///
/// # Errors
/// [`Kind::ResumeStale`], [`Kind::SessionsPerClient`], [`Kind::FleetUnavailable`].
pub(super) async fn reclaim(
    connection: &Connection,
    plan: &Plan,
    known: Box<Recognized>,
    (client, likeness): (Client, &Likeness),
    expires: Option<Instant>,
) -> Result<Option<Reclaimed>, Error> {
    let Recognized { id, lodging, attempt, count, accept } = *known;
    let shared = &connection.worker.shared;
    if lodging.likeness != *likeness {
        return new_session(shared, "changed");
    }
    let has_moved = !lodging.is_of(client.counted_as());
    let permit = if has_moved { Some(admit_move(connection, plan, client).await?) } else { None };
    let (answer, answered) = oneshot::channel();
    let claim = Claim { id, attempt, count, answer };
    // The loop of another worker answers.
    let claimed = answering(async {
        shared.loops.get(lodging.worker)?.send(Arrival::Claim(Box::new(claim))).await.ok()?;
        answered.await.ok()
    });
    match timeout(PATIENCE, claimed).await.ok().flatten() {
        Some(Claimed::Ready { received }) => {
            Ok(Some(Reclaimed { lodging, id, attempt, received, client, permit, expires, accept }))
        }
        Some(Claimed::Stale) => Err(Kind::ResumeStale.into()),
        Some(Claimed::Gone) | None => new_session(shared, "gone"),
    }
}

fn new_session<T>(shared: &Shared, why: &'static str) -> Result<Option<T>, Error> {
    shared.metrics.not_resumed(why);
    Ok(None)
}

/// A digest of the fields that a service has granted.
fn digest_of(auth: &AuthRequest, fields: &HeaderMap) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    for name in &auth.pass {
        for value in fields.get_all(name) {
            // The lengths keep apart what is one text.
            for part in [name.as_str().as_bytes(), value.as_bytes()] {
                context.update(&(part.len() as u64).to_be_bytes());
                context.update(part);
            }
        }
    }
    let mut digest = [0; 32];
    digest.iter_mut().zip(context.finish().as_ref()).for_each(|(to, from)| *to = *from);
    digest
}

/// A number that no other session has. `None`: the kernel has no random bytes.
fn random_id() -> Option<ResumeId> {
    let mut id = [0; ResumeId::BYTES];
    getrandom::fill(&mut id).ok()?;
    Some(ResumeId(id))
}
