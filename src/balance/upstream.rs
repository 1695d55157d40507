//! A named group of backends, and how one of them is picked.

use std::{
    collections::HashSet,
    fmt,
    num::NonZeroU32,
    sync::{Arc, Mutex},
    task::{Poll, Waker},
    time::Instant,
};

use hyper::{
    HeaderMap,
    header::{COOKIE, HeaderName},
};

use super::{
    Policy, UpstreamSettings,
    backend::{Backend, Duty, lock},
    candidate::Candidate,
    checks::{CheckResult, HealthCheck},
    destination::Destination,
    health::{OutageLimits, Transition},
    key::{HashOn, Key},
    line::{Line, PlaceInLine},
    members::{Changes, Member, Roster},
    pick::{Handshake, Pick},
    policy, slow_start,
};
use crate::{proxy_protocol::HeaderForm, sender::Client};

/// A named group of backends. There is one per process, and all workers share it.
#[derive(Debug)]
pub struct Upstream {
    settings: UpstreamSettings,
    limits: OutageLimits,
    line: Arc<Line>,
    /// A lock, held for a whole pick: turns, `max_conns` and the one trial are exact only if picks follow one another,
    /// and a pick sees either all old or all new members. Its holder waits for no peer.
    roster: Mutex<Roster>,
}

impl Upstream {
    /// `seed`: the seed of random choices.
    pub(super) fn new(settings: UpstreamSettings, members: Vec<Member>, line: Arc<Line>, seed: u64) -> Arc<Self> {
        Arc::new(Self {
            line,
            limits: OutageLimits::new(settings.max_fails, settings.fail_timeout),
            roster: Mutex::new(Roster::new(members, seed)),
            settings,
        })
    }

    /// Its name in the file, the metrics and the log.
    pub fn name(&self) -> &str {
        &self.settings.name
    }

    /// Whether it would be the same if the file said this of it, but for its members.
    pub fn has_settings(&self, settings: &UpstreamSettings) -> bool {
        self.settings == UpstreamSettings { backends: Vec::new(), ..settings.clone() }
    }

    /// Its members now, in the order of the file.
    pub fn members(&self) -> Arc<[Member]> {
        Arc::clone(&lock(&self.roster).members)
    }

    /// Whether a backend other than this one takes sessions: it is on duty, its checks do not fail, and it is not full. `spares`:
    /// whether there is another reason to send no session there.
    pub fn has_another(&self, backend: &Arc<Backend>, spares: impl Fn(&Arc<Backend>) -> bool) -> bool {
        self.members().iter().any(|member| {
            let other = &member.backend;
            let may_take = !Arc::ptr_eq(other, backend) && member.takes_new() && !member.is_full();
            may_take && !other.is_failing() && !spares(other)
        })
    }

    /// When a session that has lost its backend may ask for another one: not before `at`, `per_second` of them in a second.
    /// `None` = no turn is left before `deadline`.
    pub fn take_turn(&self, per_second: NonZeroU32, at: Instant, deadline: Instant) -> Option<Instant> {
        self.line.turns.take(per_second, at, deadline)
    }

    /// Gives a turn back that was taken and is not used.
    pub fn give_turn_back(&self, per_second: NonZeroU32) {
        self.line.turns.give_back(per_second);
    }

    /// The line of the handshakes that wait for a member.
    pub(super) const fn line(&self) -> &Arc<Line> {
        &self.line
    }

    /// Puts other members in the place of these. A backend that comes begins anew before a pick sees it. The handshakes in
    /// line look again at once.
    pub(super) fn replace_members(&self, members: Vec<Member>, now: Instant) -> Changes {
        let mut roster = lock(&self.roster);
        let before = Arc::clone(&roster.members);
        let changes = roster.replace(members);
        let added = changes.added.iter().map(Arc::as_ptr).collect();
        self.begin_anew(&roster.members, &added, now);
        let were_down = before.iter().filter(|member| member.settings.down).map(|member| Arc::as_ptr(&member.backend));
        let were_down: HashSet<_> = were_down.collect();
        for member in roster.members.iter().filter(|member| were_down.contains(&Arc::as_ptr(&member.backend))) {
            if self.needs_first_check(member) {
                member.backend.hold_for_first_check();
            }
        }
        drop(roster);
        self.line.wake_all();
        changes
    }

    /// Those of its members that are new or have come back begin anew: of before, only their counts hold.
    pub fn begin_members_anew(&self, come: &HashSet<*const Backend>, now: Instant) {
        self.begin_anew(&self.members(), come, now);
    }

    fn begin_anew(&self, members: &[Member], come: &HashSet<*const Backend>, now: Instant) {
        for member in members.iter().filter(|member| come.contains(&Arc::as_ptr(&member.backend))) {
            member.backend.begin_anew(self.needs_first_check(member), now);
        }
    }

    /// Whether a member that comes, or is not down any more, gets requests only after its first check.
    fn needs_first_check(&self, member: &Member) -> bool {
        self.is_checked(member) && member.settings.wants_first_check()
    }

    /// Whether it has no backend at all, not even one that takes nothing.
    pub fn is_empty(&self) -> bool {
        self.members().is_empty()
    }

    /// Forgets what checks said of the members that are not checked. To be called when the last check of them has spoken.
    /// The handshakes in line look again at once.
    pub fn forget_needless_checks(&self) {
        for member in self.members().iter().filter(|member| !self.is_checked(member)) {
            member.backend.forget_checks();
        }
        self.line.wake_all();
    }

    /// How its backends are checked; `None` = they are not checked.
    pub fn health_check(&self) -> Option<&HealthCheck> {
        self.settings.health_check.as_ref()
    }

    /// Whether a connection with a backend may be used for the requests of several clients, one after another.
    pub fn reuses_connections(&self) -> bool {
        self.settings.reuses_connections && self.may_keep_connections()
    }

    /// Whether a connection with a backend may be used for a second request at all.
    pub fn may_keep_connections(&self) -> bool {
        !self.settings.proxy_protocol.is_some_and(HeaderForm::is_unique)
    }

    /// The header with which a connection with a backend begins; `None` = it begins with a request.
    pub fn proxy_protocol(&self) -> Option<HeaderForm> {
        self.settings.proxy_protocol
    }

    /// Whether any backend takes new requests, by the file and the operator alone; health and counts are not asked.
    pub fn takes_new(&self) -> bool {
        self.members().iter().any(Member::takes_new)
    }

    /// Whether a member is checked.
    pub fn is_checked(&self, member: &Member) -> bool {
        self.health_check().is_some() && !member.settings.down
    }

    /// A check of a backend ended. The check says nothing if the backend is no member any more.
    ///
    /// Returns a transition of the checks alone. If its requests keep the backend out, it stays out whatever its checks
    /// say.
    ///
    /// After a transition the handshakes in line look again at once.
    pub fn checked(&self, backend: &Arc<Backend>, check: CheckResult) -> Option<Transition> {
        lock(&self.roster).place(backend)?;
        let transition = backend.checked(check, self.health_check()?)?;
        self.line.wake_all();
        Some(transition)
    }

    /// Sets what the operator wants of a backend; it holds for every pick from now on. The handshakes in line look again
    /// at once.
    pub fn set_duty(&self, backend: &Backend, duty: Duty, now: Instant) {
        backend.set_duty(duty, now);
        self.line.wake_all();
    }

    /// Whether one more backend may be tried for a request.
    pub fn may_try_more(&self, tried: &Tried) -> bool {
        self.settings.tries == 0 || tried.len() < self.settings.tries as usize
    }

    /// The part of a request that decides on its backend.
    pub fn key(&self, client: Client, headers: &HeaderMap, query: Option<&str>) -> Key {
        match &self.settings.policy {
            Policy::Hash { on, .. } => on.key(client, headers, query),
            _ => client.into(),
        }
    }

    /// The field whose value decides, if a hash goes by a field.
    pub fn hashed_field(&self) -> Option<HeaderName> {
        match &self.settings.policy {
            Policy::Hash { on: HashOn::Header(name), .. } => Some(name.clone()),
            Policy::Hash { on: HashOn::Cookie(_), .. } => Some(COOKIE),
            _ => None,
        }
    }

    /// The place to connect to for a pick that was made with this key.
    pub fn destination<'a>(&self, pick: &'a Pick, key: &'a Key) -> Destination<'a> {
        let hash = match self.settings.policy {
            Policy::Hash { prefix_v4, .. } | Policy::IpHash { prefix_v4 } => Some((key, prefix_v4)),
            Policy::LeastConn | Policy::RandomTwo | Policy::RoundRobin => None,
        };
        Destination { backend: pick.backend(), name: pick.name().map(AsRef::as_ref), hash }
    }

    /// Picks the backend for the next attempt of a request, counts it as in flight, and adds it to `tried`.
    ///
    /// # Errors
    ///
    /// [`Unavailable`] when there is no backend, or every backend is down, off duty, full or tried; never
    /// [`Unavailable::Busy`]. The caller asks first whether it [may try more](Self::may_try_more).
    pub fn pick(&self, key: &Key, tried: &mut Tried, now: Instant) -> Result<Pick, Unavailable> {
        let Roster { members, turns } = &mut *lock(&self.roster);
        let candidates = self.candidates(members, tried, now)?;
        let index = self.choose(key, &candidates, turns).ok_or(Unavailable::DownOrFull)?;
        Ok(self.picked(&members[index], None, tried, now))
    }

    /// Picks a backend for a WebSocket handshake, as [`pick`](Self::pick) does, or waits for a place.
    ///
    /// A backend takes `max_handshakes` handshakes at a time. If all backends have as many, the handshake waits in
    /// line. `place` is the caller's place in the line: the caller gives it again after `waker` was called, and drops
    /// it to give up. The caller decides how long to wait.
    ///
    /// A handshake waits only for backends to which it would go anyway. It does not go to a backup or to a backend that
    /// is out instead, nor, with a hash or a backend that it asks for, to a backend other than its own.
    ///
    /// # Errors
    ///
    /// The errors of [`pick`](Self::pick), and [`Unavailable::Busy`] when `handshake_queue` handshakes wait already.
    pub fn poll_handshake(
        &self,
        key: &Key,
        tried: &mut Tried,
        place: &mut Option<PlaceInLine>,
        waker: &Waker,
        now: Instant,
    ) -> Poll<Result<Pick, Unavailable>> {
        let most = self.settings.max_handshakes;
        if most == 0 {
            return Poll::Ready(self.pick(key, tried, now));
        }
        let Roster { members, turns } = &mut *lock(&self.roster);
        loop {
            let mut candidates = self.candidates(members, tried, now)?;
            let is_wanted = |candidate: &Candidate<'_>| tried.wants(&members[candidate.index].backend);
            let own = match self.settings.policy {
                Policy::Hash { .. } | Policy::IpHash { .. } => self.choose(key, &candidates, turns),
                // A backend that is asked for is the only candidate.
                Policy::LeastConn | Policy::RandomTwo | Policy::RoundRobin => {
                    candidates.first().filter(|candidate| is_wanted(candidate)).map(|candidate| candidate.index)
                }
            };
            let wish = own.map(|index| Arc::clone(&members[index].backend));
            // Store the waker before the look at the places (rule 1 of the line): a place that came free in between
            // would wake nobody.
            let is_next = match place {
                Some(place) => place.is_first(&wish, waker),
                None => self.line.is_free(&wish),
            };
            match own {
                Some(index) => candidates.retain(|candidate| candidate.index == index),
                None => candidates.retain(|candidate| members[candidate.index].backend.handshakes() < most),
            }
            if is_next
                && let Some(index) = self.choose(key, &candidates, turns)
                && let Some(handshake) = Handshake::begin(&members[index].backend, &self.line, most)
            {
                *place = None;
                return Poll::Ready(Ok(self.picked(&members[index], Some(handshake), tried, now)));
            }
            if place.is_some() {
                return Poll::Pending;
            }
            if self.line.len() >= self.settings.handshake_queue {
                return Poll::Ready(Err(Unavailable::Busy));
            }
            *place = Some(self.line.join(wish, waker));
        }
    }

    /// Picks the same backend as before, for a client with its own connection to that backend.
    ///
    /// The policy and the health of the backend are not asked. `None` if the backend takes no more: it is gone from the
    /// file, `down`, off duty, full, or (for a handshake) at its `max_handshakes`.
    pub fn pick_again(
        &self,
        backend: &Arc<Backend>,
        is_handshake: bool,
        tried: &mut Tried,
        now: Instant,
    ) -> Option<Pick> {
        let roster = lock(&self.roster);
        let member = &roster.members[roster.place(backend)?];
        if !member.takes_new() || member.is_full() {
            return None;
        }
        let handshake = match self.settings.max_handshakes {
            most if is_handshake && most != 0 => Some(Handshake::begin(backend, &self.line, most)?),
            _ => None,
        };
        Some(self.picked(member, handshake, tried, now))
    }

    fn choose(&self, key: &Key, candidates: &[Candidate<'_>], turns: &mut policy::Turns) -> Option<usize> {
        policy::choose(&self.settings.policy, key, candidates, turns)
    }

    fn picked(&self, member: &Member, handshake: Option<Handshake>, tried: &mut Tried, now: Instant) -> Pick {
        tried.backends.push(Arc::clone(&member.backend));
        Pick::new(member, self.limits, handshake, now)
    }

    /// The members that may be picked and have the best rank; at least one.
    fn candidates<'m>(
        &self,
        members: &'m [Member],
        tried: &Tried,
        now: Instant,
    ) -> Result<Vec<Candidate<'m>>, Unavailable> {
        let mut best = None;
        let mut candidates = Vec::with_capacity(members.len());
        for (index, member) in members.iter().enumerate() {
            let Member { backend, settings } = member;
            if !member.takes_new() || member.is_full() || tried.contains(backend) {
                continue;
            }
            let (is_out, is_unasked) = (!backend.is_ready(now), !tried.wants(backend));
            let rank = Rank { is_out, is_unasked, is_backup: settings.backup, tier: settings.tier };
            if best.is_some_and(|best| rank > best) {
                continue;
            }
            if best.is_some_and(|best| rank < best) {
                candidates.clear();
            }
            best = Some(rank);
            let active = backend.active();
            let share = slow_start::share(backend.age(now), self.settings.slow_start);
            candidates.push(Candidate { index, address: backend.address(), weight: settings.weight, share, active });
        }
        match (candidates.is_empty(), tried.is_empty()) {
            (false, _) => Ok(candidates),
            (true, true) if members.is_empty() => Err(Unavailable::Empty),
            (true, true) => Err(Unavailable::DownOrFull),
            (true, false) => Err(Unavailable::AllTried),
        }
    }
}

/// The backends tried for one request, and the one that it asks for.
#[derive(Debug, Default)]
pub struct Tried {
    backends: Vec<Arc<Backend>>,
    /// How many of them got no request.
    passed_over: usize,
    wanted: Option<Arc<Backend>>,
}

impl Tried {
    /// Nothing was tried yet. `wanted`: the backend that the request asks for; `None` = the policy decides alone.
    #[must_use]
    pub const fn wanting(wanted: Option<Arc<Backend>>) -> Self {
        Self { backends: Vec::new(), passed_over: 0, wanted }
    }

    /// Whether the request asks for a backend that was not tried yet.
    pub fn wants_untried(&self) -> bool {
        self.wanted.as_ref().is_some_and(|wanted| !self.contains(wanted))
    }

    /// From now on the policy decides alone.
    pub fn forget_wanted(&mut self) {
        self.wanted = None;
    }

    /// The backend that was picked last gets no request. It is picked no more, and is no try.
    pub const fn pass_over(&mut self) {
        self.passed_over += 1;
    }

    /// How many backends were tried.
    pub fn len(&self) -> usize {
        self.backends.len().saturating_sub(self.passed_over)
    }

    /// Whether no backend was tried yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn contains(&self, backend: &Arc<Backend>) -> bool {
        self.backends.iter().any(|tried| Arc::ptr_eq(tried, backend))
    }

    fn wants(&self, backend: &Arc<Backend>) -> bool {
        self.wanted.as_ref().is_some_and(|wanted| Arc::ptr_eq(wanted, backend))
    }
}

/// Why no backend can be picked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unavailable {
    /// This request has tried every backend that could be picked.
    AllTried,
    /// Every backend that could be picked has `max_handshakes` in flight, and `handshake_queue` handshakes wait
    /// already.
    Busy,
    /// No backend was tried: each is `down`, off duty or at its `max_conns`.
    DownOrFull,
    /// There is no backend: none was found yet, or all are gone.
    Empty,
}

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AllTried => "every available backend was tried",
            Self::Busy => "every backend is busy with handshakes",
            Self::DownOrFull => "every backend is down or full",
            Self::Empty => "there is no backend",
        })
    }
}

impl std::error::Error for Unavailable {}

/// The rank of a backend, best first. A backend is picked only if none has a better rank.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    is_out: bool,
    /// Whether the request asks for another backend, or for none.
    is_unasked: bool,
    is_backup: bool,
    tier: u16,
}
