//! How a client comes back to its session: who knows where the session runs, what the session is asked, and how it gets the
//! client's new stream.
//!
//! 1. A session that can be resumed is in [`Reclaims`] as long as its [`Reclaimable`] lives.
//! 2. A resuming handshake finds it there by the number in its token, and sends a [`Claim`] to the loop of the session's worker.
//! 3. The loop lets go of the old client, and answers [`Claimed::Ready`]. From then on the session is away.
//! 4. The handshake's connection writes 101 and hello, and sends a [`Comeback`] with its stream to the same loop.
//!
//! Nothing happens to the session if the handshake ends between two of these steps: it stays away until its time is over.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use hyper::header::HeaderValue;
use tokio::sync::oneshot;

use super::dismissal::Dismissal;
use crate::{
    headers::Fingerprint,
    net::{
        counts::{admission::SessionPermit, unsent::Unsent},
        stream::plain_or_tls::Stream,
    },
    sender::{Client, Octets},
    ws::{
        close::{CloseCode, close_frame},
        rate::{Bucket, Rate},
        resume_token::ResumeId,
        session::{Claimed, ResumeTerms},
        termination::Cause,
        tick::Tick,
    },
};

/// The most attempts to come back to one session in a second. A library makes one, and waits before the next.
const MOST_ATTEMPTS: u64 = 100;

/// The sessions of the process that can be resumed, and what all of them together may have.
#[derive(Debug)]
pub(in crate::net) struct Reclaims {
    /// One entry for each [`Reclaimable`]. Behind one lock, which is taken when a session begins or ends and for each resuming
    /// handshake, for one look; never across an await.
    lodgings: Mutex<HashMap<ResumeId, Arc<Lodging>>>,
    /// Sessions that are away.
    away: AtomicUsize,
    /// The most that may be away; `usize::MAX` = no limit.
    most_away: AtomicUsize,
    /// The bytes that sessions keep for clients that have not acknowledged them.
    pub(in crate::net) kept: Arc<Unsent>,
}

/// Where a session runs, and what a handshake must know of it.
#[derive(Debug)]
pub(in crate::net) struct Lodging {
    /// The worker of the session.
    pub(in crate::net) worker: usize,
    /// What every further handshake has to have as the first one had it.
    pub(in crate::net) likeness: Likeness,
    /// What every hello says: the terms of the session, and the subprotocol that the backend chose.
    pub(in crate::net) promised: (ResumeTerms, Option<Box<str>>),
    pub(in crate::net) secret: ResumeSecret,
    /// The instant from which attempts are counted.
    epoch: Instant,
    /// Behind a lock, which only handshakes that show the token take, and the loop when its client is back.
    visits: Mutex<Visits>,
}

/// Who comes for a session.
#[derive(Debug)]
struct Visits {
    /// Where the client came from last.
    client: Octets,
    attempts: Bucket,
}

/// What every handshake of a session has in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::net) struct Likeness {
    /// The name of the route.
    pub(in crate::net) route: String,
    /// The certificate that the client has shown.
    pub(in crate::net) certificate: Option<Fingerprint>,
    /// Every line of `Origin`.
    pub(in crate::net) origin: Vec<HeaderValue>,
    /// A digest of what the service of the route says of the client; `None` = none is asked.
    pub(in crate::net) granted: Option<[u8; 32]>,
}

/// How the control texts of a session begin: 22 characters that nobody can guess, and a colon.
#[derive(Clone, PartialEq, Eq)]
pub(in crate::net) struct ResumeSecret(pub(in crate::net) Box<str>);

impl ResumeSecret {
    /// `None`: the kernel has no random bytes.
    pub(in crate::net) fn random() -> Option<Self> {
        let mut random = [0; 16];
        getrandom::fill(&mut random).ok()?;
        Some(Self(format!("{}:", URL_SAFE_NO_PAD.encode(random)).into()))
    }
}

/// Without the secret: who knows it can write control texts.
impl fmt::Debug for ResumeSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ResumeSecret")
    }
}

/// The first bytes for a client, which may hold a token and a secret.
pub(in crate::net) struct FirstWords(pub(in crate::net) Vec<u8>);

/// Without the words.
impl fmt::Debug for FirstWords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FirstWords({} bytes)", self.0.len())
    }
}

/// Keeps a session among those that can be resumed, until it is dropped with the session.
#[derive(Debug)]
pub(in crate::net) struct Reclaimable {
    reclaims: Arc<Reclaims>,
    id: ResumeId,
    lodging: Arc<Lodging>,
}

/// Counts a session that is away, until it is dropped.
#[derive(Debug)]
pub(in crate::net) struct AwayPermit(Arc<Reclaims>);

/// What a resuming handshake asks the loop of the session's worker.
#[derive(Debug)]
pub(in crate::net) struct Claim {
    pub(in crate::net) id: ResumeId,
    /// Which attempt of the client this is.
    pub(in crate::net) attempt: u64,
    /// How many messages the client has.
    pub(in crate::net) count: u64,
    pub(in crate::net) answer: oneshot::Sender<Claimed>,
}

/// A client that has read its 101 and its hello. Dropping it closes its connection; the session stays away.
#[derive(Debug)]
pub(in crate::net) struct Comeback {
    pub(in crate::net) id: ResumeId,
    /// The attempt of the claim. If another one has claimed the session since, this client is dropped.
    pub(in crate::net) attempt: u64,
    /// Belongs to no thread until the loop takes it.
    pub(in crate::net) stream: Stream,
    /// What was read behind the request.
    pub(in crate::net) early: Bytes,
    pub(in crate::net) client: Client,
    /// What takes the place of the session's permit; `None` = the permit of the session counts on, because the client has the address
    /// of before.
    pub(in crate::net) permit: Option<Option<Box<SessionPermit>>>,
    /// When the session has to end, if a service that was asked about the handshake said so.
    pub(in crate::net) expires: Option<Instant>,
    /// How long the client may take to close, if the session is over.
    pub(in crate::net) patience: Duration,
}

impl Comeback {
    /// For a client whose session is gone. Its words are those of the end that most such sessions have. `None` = it cannot be told.
    pub(super) fn dismiss(self) -> Option<Dismissal> {
        let Self { mut stream, patience, .. } = self;
        if let Err(error) = stream.enter_thread() {
            tracing::debug!(%error, "the stream of a client that comes back too late cannot be watched");
            return None;
        }
        let close = close_frame(CloseCode::GOING_AWAY, Cause::ClientLost.as_reason());
        Some(Dismissal::of_late_client(stream, &close, patience))
    }
}

impl Reclaims {
    pub(in crate::net) fn new() -> Arc<Self> {
        Arc::new(Self {
            lodgings: Mutex::default(),
            away: AtomicUsize::new(0),
            most_away: AtomicUsize::new(usize::MAX),
            kept: Unsent::new(),
        })
    }

    /// Sets the limits from now on. `None` = no limit.
    pub(in crate::net) fn set_limits(&self, away: Option<usize>, memory: Option<usize>) {
        self.most_away.store(away.unwrap_or(usize::MAX), Relaxed);
        self.kept.set_limit(memory);
    }

    /// Adds a session. `id` is random, so that no other session has it.
    pub(in crate::net) fn add(self: &Arc<Self>, id: ResumeId, lodging: Lodging) -> Box<Reclaimable> {
        let lodging = Arc::new(lodging);
        self.lock().insert(id, Arc::clone(&lodging));
        Box::new(Reclaimable { reclaims: Arc::clone(self), id, lodging })
    }

    /// Where a session runs; `None` = it has ended, or never was.
    pub(in crate::net) fn find(&self, id: ResumeId) -> Option<Arc<Lodging>> {
        self.lock().get(&id).cloned()
    }

    /// Counts one more session that is away; `None` = there are as many as may be.
    pub(in crate::net) fn leave(self: &Arc<Self>) -> Option<AwayPermit> {
        let most = self.most_away.load(Relaxed);
        let counted = self.away.fetch_update(Relaxed, Relaxed, |away| (away < most).then_some(away + 1));
        counted.ok().map(|_| AwayPermit(Arc::clone(self)))
    }

    /// The same for a session whose client is on its way already. Otherwise clients that never come back would keep all others from
    /// changing their connections.
    pub(in crate::net) fn leave_for_a_moment(self: &Arc<Self>) -> AwayPermit {
        self.away.fetch_add(1, Relaxed);
        AwayPermit(Arc::clone(self))
    }

    /// Sessions that are away now.
    pub(in crate::net) fn away(&self) -> usize {
        self.away.load(Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ResumeId, Arc<Lodging>>> {
        self.lodgings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lodging {
    /// `client`: as [`Client::counted_as`] says it.
    pub(in crate::net) fn new(
        worker: usize,
        likeness: Likeness,
        client: Octets,
        promised: (ResumeTerms, Option<Box<str>>),
        secret: ResumeSecret,
    ) -> Self {
        let epoch = Instant::now();
        let visits = Mutex::new(Visits { client, attempts: Bucket::full(Tick::new(epoch, epoch)) });
        Self { worker, likeness, promised, secret, epoch, visits }
    }

    /// Notes an attempt to come back. Returns whether it may go on: each costs a look at all that the session keeps.
    pub(in crate::net) fn note_attempt(&self, now: Instant) -> bool {
        let now = Tick::new(self.epoch, now);
        Rate::per_second(MOST_ATTEMPTS).is_none_or(|rate| self.lock().attempts.take(1, rate, now))
    }

    /// Whether the session is counted for this address.
    pub(in crate::net) fn is_of(&self, client: Octets) -> bool {
        self.lock().client == client
    }

    /// The client has come back from this address.
    pub(in crate::net) fn move_to(&self, client: Octets) {
        self.lock().client = client;
    }

    fn lock(&self) -> MutexGuard<'_, Visits> {
        self.visits.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reclaimable {
    pub(in crate::net) const fn id(&self) -> ResumeId {
        self.id
    }

    pub(in crate::net) const fn lodging(&self) -> &Arc<Lodging> {
        &self.lodging
    }

    /// The session is away from now on, until the permit is dropped; `None` = it may not be, because too many are.
    pub(in crate::net) fn leave(&self) -> Option<AwayPermit> {
        self.reclaims.leave()
    }

    /// The same while the client changes its connection.
    pub(in crate::net) fn leave_for_a_moment(&self) -> AwayPermit {
        self.reclaims.leave_for_a_moment()
    }

    /// What counts the bytes that the session keeps.
    pub(in crate::net) fn kept(&self) -> &Arc<Unsent> {
        &self.reclaims.kept
    }
}

impl Drop for Reclaimable {
    fn drop(&mut self) {
        let lodging = self.reclaims.lock().remove(&self.id);
        // Dropped after the lock.
        drop(lodging);
    }
}

impl Drop for AwayPermit {
    fn drop(&mut self) {
        self.0.away.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn network(text: &str) -> Octets {
        Client::from(text.parse::<IpAddr>().unwrap()).counted_as()
    }

    fn lodging() -> Lodging {
        let likeness = Likeness { route: "chat".to_owned(), certificate: None, origin: Vec::new(), granted: None };
        let second = Duration::from_secs(1);
        let terms = ResumeTerms { longest: second, replay: 4096, beat: second };
        Lodging::new(1, likeness, network("192.0.2.1"), (terms, None), ResumeSecret("hush:".into()))
    }

    #[test]
    fn a_session_is_found_until_it_ends() {
        let reclaims = Reclaims::new();
        let (one, other) = (ResumeId([1; 16]), ResumeId([2; 16]));
        let held = reclaims.add(one, lodging());
        let _beside = reclaims.add(other, lodging());
        assert_eq!(reclaims.find(one).unwrap().worker, 1);
        drop(held);
        assert!(reclaims.find(one).is_none() && reclaims.find(other).is_some());
    }

    #[test]
    fn a_session_that_would_be_one_too_many_may_not_be_away() {
        let reclaims = Reclaims::new();
        let session = reclaims.add(ResumeId([1; 16]), lodging());
        let first = session.leave().unwrap();
        reclaims.set_limits(Some(1), None);
        assert!(session.leave().is_none());
        let _on_its_way = session.leave_for_a_moment();
        assert_eq!(reclaims.away(), 2);
        drop(first);
        assert!(session.leave().is_none());
    }

    #[test]
    fn a_session_has_a_hundred_attempts_in_a_second() {
        let (lodging, now) = (lodging(), Instant::now());
        assert!((0..MOST_ATTEMPTS).all(|_| lodging.note_attempt(now)) && !lodging.note_attempt(now));
        assert!(lodging.note_attempt(now + Duration::from_secs(1)));
    }

    #[test]
    fn a_client_is_counted_for_the_address_from_which_it_came_last() {
        let lodging = lodging();
        assert!(lodging.is_of(network("192.0.2.1")));
        lodging.move_to(network("192.0.2.2"));
        assert!(lodging.is_of(network("192.0.2.2")) && !lodging.is_of(network("192.0.2.1")));
    }

    #[test]
    fn a_secret_has_128_random_bits_and_ends_with_a_colon() {
        let (one, other) = (ResumeSecret::random().unwrap(), ResumeSecret::random().unwrap());
        assert_ne!(one, other);
        let (random, end) = one.0.split_at(22);
        assert_eq!((URL_SAFE_NO_PAD.decode(random).unwrap().len(), end), (16, ":"));
    }

    #[test]
    fn nobody_reads_a_number_or_a_secret_in_a_message() {
        let reclaims = Reclaims::new();
        let held = reclaims.add(ResumeId([0xab; 16]), lodging());
        let text = format!("{held:?} {reclaims:?}");
        assert!(!text.contains("hush") && !text.contains("171, 171") && !text.contains("ab, ab"), "{text}");
    }
}
