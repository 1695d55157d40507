//! Who may open a session: the limits on all sessions, and on those of one client's address.
//!
//! The counts live as long as the process. The limits are those of the moment, so that a reload changes them and the
//! counts go on. A limit on addresses that is turned on counts only sessions that begin from then on.
//!
//! What several proxies count together, [`super::fleet`] knows. Here is only what a session holds of both.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{
    fleet::{Fleet, FleetPermit},
    unsent::Unsent,
};
use crate::{
    config::Limits,
    error::Kind,
    sender::{Client, Octets},
    ws::{rate::Bucket, tick::Tick},
};

/// The most client addresses that are remembered at once. Clients of further addresses are refused until an address can
/// be forgotten.
const MOST_ADDRESSES: usize = 1 << 20;
/// From so many addresses on, those that hold nothing are looked for whenever the number of addresses has doubled.
const FEW_ADDRESSES: usize = 1024;
/// The most refusals by a Close at a time. Further refusals are told by status, which needs no waiting.
const MOST_FAREWELLS: usize = 1024;
/// The most probes that the far end answers at once: two with as many sockets as a probe opens.
const MOST_PROBES: usize = 128;
/// After this time without a session, an address has its full rate again and may be forgotten. A full table is not
/// swept sooner again.
const FORGETS: Duration = Duration::from_secs(1);

/// What is open and what has begun, in the whole process.
#[derive(Debug)]
pub(in crate::net) struct Admission {
    epoch: Instant,
    /// Behind one lock, because a handshake takes from all counts or from none. The lock is taken twice for a
    /// handshake, twice more where a service is asked about it, and at the end of a session that is counted by its address;
    /// never across an await.
    state: Mutex<AdmissionState>,
    farewells: Arc<Semaphore>,
    probes: Arc<Semaphore>,
    /// The bytes that sessions hold for slow readers.
    pub(in crate::net) unsent: Arc<Unsent>,
    /// The part of them that clients have sent for the next backends of their sessions.
    pub(in crate::net) queued: Arc<Unsent>,
}

#[derive(Debug)]
struct AdmissionState {
    /// Handshakes that were admitted and have not become sessions yet.
    handshakes: usize,
    begun: Bucket,
    clients: HashMap<Octets, ClientCounts>,
    /// How many addresses there may be before the next look for those that hold nothing.
    sweep_at: usize,
    swept: Tick,
}

/// What is counted for one address.
#[derive(Debug, Clone, Copy)]
struct ClientCounts {
    /// Sessions, and handshakes that may become sessions.
    sessions: usize,
    begun: Bucket,
}

/// A handshake that may become a session. Dropping it gives back what it took from the counts, but not from the rates.
#[derive(Debug)]
pub(in crate::net) struct Admitted {
    /// `None` if nothing was limited.
    admission: Option<Arc<Admission>>,
    permit: Option<Box<SessionPermit>>,
}

/// What counts a session beside [`super::live`], until it is dropped.
#[derive(Debug, Default)]
pub(in crate::net) struct SessionPermit {
    /// `None` = no address is counted.
    client: Option<ClientPermit>,
    /// `None` = no other proxy counts the session.
    fleet: Option<FleetPermit>,
}

/// Counts a session for its client's address, until it is dropped.
#[derive(Debug)]
struct ClientPermit {
    admission: Arc<Admission>,
    network: Octets,
}

impl Admission {
    pub(in crate::net) fn new(now: Instant) -> Arc<Self> {
        let start = Tick::new(now, now);
        let state = AdmissionState {
            handshakes: 0,
            begun: Bucket::full(start),
            clients: HashMap::new(),
            sweep_at: FEW_ADDRESSES,
            swept: start,
        };
        Arc::new(Self {
            epoch: now,
            state: Mutex::new(state),
            farewells: Arc::new(Semaphore::new(MOST_FAREWELLS)),
            probes: Arc::new(Semaphore::new(MOST_PROBES)),
            unsent: Unsent::new(),
            queued: Unsent::new(),
        })
    }

    /// Admits a client's handshake if every limit has room for it. `open`: how many sessions there are now.
    ///
    /// # Errors
    /// The limit that has no room. No count has changed.
    pub(in crate::net) fn admit(
        self: &Arc<Self>,
        client: Client,
        open: impl FnOnce() -> usize,
        limits: &Limits,
        now: Instant,
    ) -> Result<Admitted, Kind> {
        let &Limits { sessions, sessions_per_client, new_sessions, new_sessions_per_client, .. } = limits;
        let by_client = sessions_per_client.is_some() || new_sessions_per_client.is_some();
        if !by_client && sessions.is_none() && new_sessions.is_none() {
            return Ok(Admitted { admission: None, permit: None });
        }
        let network = client.counted_as();
        let now = Tick::new(self.epoch, now);
        let mut state = self.lock();
        let known = state.clients.get(&network).copied();
        let mut held = known.unwrap_or_else(|| ClientCounts { sessions: 0, begun: Bucket::full(now) });
        if sessions_per_client.is_some_and(|most| held.sessions >= most) {
            return Err(Kind::SessionsPerClient);
        }
        if new_sessions_per_client.is_some_and(|rate| !held.begun.take(1, rate, now)) {
            return Err(Kind::NewSessionsPerClient);
        }
        if sessions.is_some_and(|most| state.handshakes + open() >= most) {
            return Err(Kind::Sessions);
        }
        if by_client && known.is_none() && !state.make_room_for_an_address(now) {
            return Err(Kind::Sessions);
        }
        if new_sessions.is_some_and(|rate| !state.begun.take(1, rate, now)) {
            return Err(Kind::NewSessions);
        }
        state.handshakes += 1;
        let permit = sessions_per_client.map(|_| {
            held.sessions += 1;
            let client = Some(ClientPermit { admission: Arc::clone(self), network });
            Box::new(SessionPermit { client, fleet: None })
        });
        if by_client {
            state.clients.insert(network, held);
        }
        Ok(Admitted { admission: Some(Arc::clone(self)), permit })
    }

    /// Takes a client's handshake from the rates alone, before somebody is asked about it. The other limits come after
    /// that ([`Self::admit_from_rates`]).
    ///
    /// # Errors
    /// The rate that has no room.
    pub(in crate::net) fn take_from_rates(
        self: &Arc<Self>,
        client: Client,
        limits: &Limits,
        now: Instant,
    ) -> Result<(), Kind> {
        let rates = Limits { sessions: None, sessions_per_client: None, ..*limits };
        self.admit(client, || 0, &rates, now).map(drop)
    }

    /// Admits a handshake that [`Self::take_from_rates`] has taken from the rates.
    ///
    /// # Errors
    /// The limit that has no room.
    pub(in crate::net) fn admit_from_rates(
        self: &Arc<Self>,
        client: Client,
        open: impl FnOnce() -> usize,
        limits: &Limits,
        now: Instant,
    ) -> Result<Admitted, Kind> {
        self.admit(client, open, &Limits { new_sessions: None, new_sessions_per_client: None, ..*limits }, now)
    }

    /// Counts a session for an address from which its client has come back. `None`: sessions are not counted by address.
    ///
    /// # Errors
    /// The limit on the sessions of an address has no room.
    pub(in crate::net) fn move_session(
        self: &Arc<Self>,
        client: Client,
        limits: &Limits,
        now: Instant,
    ) -> Result<Option<Box<SessionPermit>>, Kind> {
        let by_client = Limits { sessions: None, new_sessions: None, new_sessions_per_client: None, ..*limits };
        Ok(self.admit(client, || 0, &by_client, now)?.into_session(|| ()).1)
    }

    /// A permit for a refusal by a Close. `None`: too many are under way.
    pub(in crate::net) fn farewell_permit(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.farewells).try_acquire_owned().ok()
    }

    /// A permit for a probe that ends here. `None`: there are too many.
    pub(in crate::net) fn probe_permit(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.probes).try_acquire_owned().ok()
    }

    /// Probes that end here now.
    pub(in crate::net) fn probes(&self) -> usize {
        MOST_PROBES - self.probes.available_permits().min(MOST_PROBES)
    }

    fn lock(&self) -> MutexGuard<'_, AdmissionState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Admitted {
    /// Other proxies count the handshake too.
    pub(in crate::net) fn counted_in_fleet(mut self, permit: FleetPermit) -> Self {
        SessionPermit::add(&mut self.permit, permit);
        self
    }

    /// Turns the handshake into a session, which `open` counts. Both counts change under one lock, so that nobody sees
    /// the session counted twice, or not at all. Returns what the session has to hold.
    pub(in crate::net) fn into_session<T>(mut self, open: impl FnOnce() -> T) -> (T, Option<Box<SessionPermit>>) {
        let permit = self.permit.take();
        let Some(admission) = self.admission.take() else { return (open(), permit) };
        let mut state = admission.lock();
        state.handshakes -= 1;
        (open(), permit)
    }
}

impl SessionPermit {
    /// Other proxies count the session too.
    pub(in crate::net) fn add(held: &mut Option<Box<Self>>, permit: FleetPermit) {
        held.get_or_insert_default().fleet = Some(permit);
    }

    /// Has other proxies count a session that began before this one shared limits. By its address, if it is counted by that here.
    pub(in crate::net) fn join(held: &mut Option<Box<Self>>, fleet: &Arc<Fleet>) {
        let known = held.as_deref();
        if known.is_none_or(|permit| permit.fleet.is_none()) {
            let network = known.and_then(|permit| permit.client.as_ref()).map(|client| client.network);
            Self::add(held, fleet.admitted_locally(network));
        }
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        if let Some(admission) = &self.admission {
            admission.lock().handshakes -= 1;
        }
    }
}

impl Drop for ClientPermit {
    fn drop(&mut self) {
        let now = Tick::new(self.admission.epoch, Instant::now());
        let mut state = self.admission.lock();
        if let Some(client) = state.clients.get_mut(&self.network) {
            client.sessions = client.sessions.saturating_sub(1);
            if client.holds_nothing(now) {
                state.clients.remove(&self.network);
            }
        }
    }
}

impl AdmissionState {
    /// Forgets addresses that hold nothing, if that may be worth it. Returns whether another address may be remembered.
    fn make_room_for_an_address(&mut self, now: Tick) -> bool {
        let is_full = self.clients.len() >= MOST_ADDRESSES && now.since(self.swept) >= FORGETS;
        if is_full || (self.sweep_at..MOST_ADDRESSES).contains(&self.clients.len()) {
            self.clients.retain(|_, client| !client.holds_nothing(now));
            self.clients.shrink_to(FEW_ADDRESSES);
            self.sweep_at = (self.clients.len() * 2).max(FEW_ADDRESSES);
            self.swept = now;
        }
        self.clients.len() < MOST_ADDRESSES
    }
}

impl ClientCounts {
    fn holds_nothing(&self, now: Tick) -> bool {
        self.sessions == 0 && self.begun.is_full(now)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::{cell::Cell, net::IpAddr};

    use proptest::{collection::vec, prelude::*};

    use super::*;
    use crate::{
        config::Refuse,
        ws::{meter::MessageLimits, rate::Rate},
    };

    const OFF: Limits = Limits {
        header_size: 8192,
        headers: 100,
        answer_headers: 256,
        body_size: None,
        sessions: None,
        sessions_per_client: None,
        new_sessions: None,
        new_sessions_per_client: None,
        messages: MessageLimits::NONE,
        unsent_memory: None,
        resume_memory: None,
        away: None,
        refuse: Refuse::Http,
    };

    fn ip(text: &str) -> Client {
        text.parse::<IpAddr>().unwrap().into()
    }

    fn refusal(result: Result<Admitted, Kind>) -> Option<Kind> {
        result.err()
    }

    #[test]
    fn handshakes_and_sessions_together_stay_under_the_limit() {
        let now = Instant::now();
        let admission = Admission::new(now);
        let limits = Limits { sessions: Some(2), ..OFF };
        let open = Cell::new(0);
        let admit = || admission.admit(ip("192.0.2.1"), || open.get(), &limits, now);
        let first = admit().unwrap();
        first.into_session(|| open.set(1));
        let second = admit().unwrap();
        assert_eq!(refusal(admit()), Some(Kind::Sessions));
        drop(second);
        assert!(admit().is_ok());
        open.set(2);
        assert_eq!(refusal(admit()), Some(Kind::Sessions));
    }

    #[test]
    fn an_address_has_its_own_limit_and_an_ipv6_client_one_for_its_64() {
        let now = Instant::now();
        let admission = Admission::new(now);
        let limits = Limits { sessions_per_client: Some(1), ..OFF };
        let admit = |client| admission.admit(ip(client), || 0, &limits, now);
        let (_, held) = admit("2001:db8:1:2::1").unwrap().into_session(|| ());
        assert_eq!(refusal(admit("2001:db8:1:2:ffff::9")), Some(Kind::SessionsPerClient));
        let _other = admit("2001:db8:1:3::1").unwrap();
        let _v4 = admit("192.0.2.1").unwrap();
        let _next_v4 = admit("192.0.2.2").unwrap();
        assert_eq!(refusal(admit("::ffff:192.0.2.1")), Some(Kind::SessionsPerClient));
        drop(held);
        assert!(admit("2001:db8:1:2:ffff::9").is_ok());
    }

    #[test]
    fn a_session_that_moves_counts_where_it_goes_and_takes_nothing_from_rates() {
        let now = Instant::now();
        let admission = Admission::new(now);
        let new_sessions = Rate::per_second(1);
        let limits = Limits { sessions: Some(1), sessions_per_client: Some(1), new_sessions, ..OFF };
        let (_, old) = admission.admit(ip("192.0.2.1"), || 0, &limits, now).unwrap().into_session(|| ());
        let new = admission.move_session(ip("192.0.2.2"), &limits, now).unwrap();
        drop(old);
        assert_eq!(admission.move_session(ip("192.0.2.2"), &limits, now).err(), Some(Kind::SessionsPerClient));
        assert!(new.is_some() && admission.move_session(ip("192.0.2.1"), &limits, now).unwrap().is_some());
        assert!(admission.move_session(ip("192.0.2.2"), &OFF, now).unwrap().is_none());
    }

    #[test]
    fn rates_let_a_seconds_worth_begin_at_once() {
        let now = Instant::now();
        let admission = Admission::new(now);
        let limits = Limits { new_sessions: Rate::per_second(3), new_sessions_per_client: Rate::per_second(2), ..OFF };
        let admit = |client, now| refusal(admission.admit(ip(client), || 0, &limits, now));
        let (one, other) = ("192.0.2.1", "192.0.2.2");
        assert_eq!([admit(one, now), admit(one, now)], [None, None]);
        assert_eq!(admit(one, now), Some(Kind::NewSessionsPerClient));
        assert_eq!([admit(other, now), admit(other, now)], [None, Some(Kind::NewSessions)]);
        // What the global limit refused was not taken from the address.
        let later = now + Duration::from_millis(334);
        assert_eq!([admit(other, later), admit(other, later)], [None, Some(Kind::NewSessionsPerClient)]);
    }

    #[test]
    fn limits_of_the_moment_meet_counts_that_went_on() {
        let now = Instant::now();
        let admission = Admission::new(now);
        let limits = |most| Limits { sessions_per_client: Some(most), ..OFF };
        let held: Vec<_> = (0..3).map(|_| admission.admit(ip("::1"), || 0, &limits(3), now).unwrap()).collect();
        assert_eq!(refusal(admission.admit(ip("::1"), || 0, &limits(2), now)), Some(Kind::SessionsPerClient));
        assert!(admission.admit(ip("::1"), || 0, &limits(4), now).is_ok());
        assert!(admission.admit(ip("::1"), || 0, &OFF, now).is_ok());
        drop(held);
        assert!(admission.lock().clients.is_empty());
    }

    #[test]
    fn addresses_that_hold_nothing_are_forgotten() {
        let now = Instant::now();
        let admission = Admission::new(now);
        let limits = Limits { new_sessions_per_client: Rate::per_second(1), ..OFF };
        for client in 0..10_000_u32 {
            let now = now + Duration::from_millis(u64::from(client) * 10);
            admission.admit(IpAddr::from(client.to_be_bytes()).into(), || 0, &limits, now).unwrap();
            assert!(admission.lock().clients.len() <= FEW_ADDRESSES);
        }
    }

    #[test]
    fn a_session_without_limits_holds_a_word_and_nothing_else() {
        let now = Instant::now();
        let admission = Admission::new(now);
        let ((), held) = admission.admit(ip("::1"), || 0, &OFF, now).unwrap().into_session(|| ());
        assert!(held.is_none() && size_of_val(&held) == size_of::<usize>());
        assert_eq!(Arc::strong_count(&admission), 1);
    }

    proptest! {
        #[test]
        fn permits_always_return(
            events in vec((0..4_u8, any::<prop::sample::Index>(), 0..5_u8), 0..200),
            (most, most_per_client) in (1..20_usize, 1..8_usize),
        ) {
            let now = Instant::now();
            let admission = Admission::new(now);
            let limits = Limits { sessions: Some(most), sessions_per_client: Some(most_per_client), ..OFF };
            let open = Cell::new(0);
            let (mut handshakes, mut sessions) = (Vec::new(), Vec::new());
            for (event, index, client) in events {
                match event {
                    0 | 1 => handshakes.extend(admission.admit(IpAddr::from([10, 0, 0, client]).into(), || open.get(), &limits, now)),
                    2 if !handshakes.is_empty() => {
                        let handshake: Admitted = handshakes.swap_remove(index.index(handshakes.len()));
                        sessions.push(handshake.into_session(|| open.set(open.get() + 1)).1);
                    }
                    3 if !sessions.is_empty() => {
                        open.set(open.get() - 1);
                        drop(sessions.swap_remove(index.index(sessions.len())));
                    }
                    3 => drop(handshakes.pop()),
                    _ => {}
                }
                let state = admission.lock();
                prop_assert_eq!((state.handshakes, open.get()), (handshakes.len(), sessions.len()));
                prop_assert!(handshakes.len() + sessions.len() <= most);
                prop_assert!(state.clients.values().all(|client| (1..=most_per_client).contains(&client.sessions)));
                prop_assert_eq!(state.clients.values().map(|client| client.sessions).sum::<usize>(), handshakes.len() + sessions.len());
            }
            drop((handshakes, sessions));
            let state = admission.lock();
            prop_assert!(state.handshakes == 0 && state.clients.is_empty());
        }
    }
}
