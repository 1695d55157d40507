//! The state of one instance: what it may ask now, what is under way, what comes of an answer.
//!
//! | phase | what is sent | a question |
//! |---|---|---|
//! | away | nothing: there is no connection | is turned away |
//! | rewriting | the counts, one chunk after another | is turned away |
//! | live | renewals, differences, questions; differences first | is sent |
//! | left | nothing: the end | is turned away |

use std::{
    collections::VecDeque,
    mem,
    time::{Duration, Instant},
};

use redis::cmd;

use super::{
    FleetInstance, FleetLimits,
    failure::FleetFailure,
    own_counts::{CHUNK, CountsChunk, OwnCounts},
    script::{ALL, FleetKeys, LEAVING, ScriptAnswer, name_of},
    wire::Reply,
};
use crate::sender::Octets;

/// The most questions that wait to be sent.
const MOST_QUESTIONS: usize = 1024;
/// The most calls that are not answered yet.
const MOST_CALLS: usize = 512;
/// The longest that a server may take for an answer.
const LONGEST_PATIENCE: Duration = Duration::from_secs(5);
/// The pause before a rewrite that follows another one without a renewal between them. A server that loses our counts again and again
/// has no room for them.
const REWRITE_PAUSE: Duration = Duration::from_secs(1);

/// How an instance shares the limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FleetTerms {
    /// How long a count stays at the server if nobody renews it.
    pub lease: Duration,
    /// How long a handshake waits for an answer.
    pub timeout: Duration,
}

/// The state of one instance. `T`: who asked a question.
#[derive(Debug)]
pub struct Membership<T> {
    /// `None` = limits are not shared.
    keys: Option<FleetKeys>,
    terms: FleetTerms,
    counts: OwnCounts,
    phase: FleetPhase,
    /// The number of the last rewrite.
    generation: u64,
    /// When the server has last renewed our lease; `None` = we were no member yet.
    renewed: Option<Instant>,
    is_leaving: bool,
    is_ending: bool,
    /// What the connection begins with, and how many answers that has.
    greeting: (Vec<u8>, usize),
    questions: VecDeque<FleetQuestion<T>>,
    calls: VecDeque<FleetCall<T>>,
    renew_at: Instant,
    rewrite_at: Instant,
    /// Rewrites since the last renewal.
    rewrites: u32,
    /// The server has said that the counts of all were lost, and that not all are back.
    is_young: bool,
    living: usize,
    instances: Vec<FleetInstance>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FleetPhase {
    Away,
    Rewriting { is_first: bool },
    Live,
    Left,
}

#[derive(Debug)]
struct FleetQuestion<T> {
    asked: Instant,
    asker: T,
    network: Option<Octets>,
    limits: FleetLimits,
}

/// A call that is not answered yet.
#[derive(Debug)]
struct FleetCall<T> {
    sent: Instant,
    generation: u64,
    kind: FleetCallKind<T>,
}

#[derive(Debug)]
enum FleetCallKind<T> {
    Greeting,
    Take { asker: T, network: Option<Octets> },
    Change,
    Rewrite,
    Renew,
    Leave,
}

/// What the server says to a question. Without one, the asker is dropped.
#[derive(Debug, PartialEq, Eq)]
pub enum FleetAnswer<T> {
    /// The session is counted, here too. It is to be taken from the counts again if it does not begin.
    Granted(T, Option<Octets>),
    /// The client has as many sessions as it may have.
    FullOfClient(T),
    /// All have as many as they may have.
    FullOfAll(T),
}

impl FleetTerms {
    /// How long an answer may take before the connection is given up.
    #[must_use]
    pub fn patience(&self) -> Duration {
        (self.lease / 3).min(LONGEST_PATIENCE)
    }
}

impl<T> Membership<T> {
    /// An instance that does not share its limits.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self {
            keys: None,
            terms: FleetTerms { lease: Duration::ZERO, timeout: Duration::ZERO },
            counts: OwnCounts::default(),
            phase: FleetPhase::Away,
            generation: 0,
            renewed: None,
            is_leaving: false,
            is_ending: false,
            greeting: (Vec::new(), 0),
            questions: VecDeque::new(),
            calls: VecDeque::new(),
            renew_at: now,
            rewrite_at: now,
            rewrites: 0,
            is_young: false,
            living: 1,
            instances: Vec::new(),
        }
    }

    /// Shares the limits from now on. `member`: `NAME/RANDOM`.
    pub fn join(&mut self, prefix: &str, member: &str, terms: FleetTerms) {
        self.part();
        (self.keys, self.terms) = (Some(FleetKeys::new(prefix, member)), terms);
    }

    /// Keeps to other terms from now on.
    pub const fn set_terms(&mut self, terms: FleetTerms) {
        self.terms = terms;
    }

    /// Shares the limits no more. What is counted stays, because the sessions do.
    pub fn part(&mut self) {
        self.handle_lost();
        (self.keys, self.phase, self.renewed, self.is_ending) = (None, FleetPhase::Away, None, false);
        (self.living, self.instances) = (1, Vec::new());
    }

    /// Asks for a session. The answer comes as a [`FleetAnswer`], or the asker is dropped.
    ///
    /// # Errors
    /// Gives the asker back: there is no answer now, and waiting would not help.
    pub fn ask(&mut self, asker: T, network: Option<Octets>, limits: FleetLimits, now: Instant) -> Result<(), T> {
        let is_old =
            |since: Option<Instant>| since.is_some_and(|at| now.saturating_duration_since(at) >= self.terms.timeout);
        let is_slow = is_old(self.calls.front().map(|call| call.sent))
            || is_old(self.questions.front().map(|question| question.asked));
        if !self.is_live() || is_slow || self.questions.len() >= MOST_QUESTIONS {
            return Err(asker);
        }
        self.questions.push_back(FleetQuestion { asked: now, asker, network, limits });
        Ok(())
    }

    /// Counts a session that nobody was asked about.
    pub fn add(&mut self, network: Option<Octets>) {
        self.counts.add(network, false);
    }

    /// Takes a session from the counts.
    pub fn remove(&mut self, network: Option<Octets>) {
        self.counts.remove(network);
    }

    /// This instance takes no sessions any more. Others need not leave a share to it.
    pub fn begin_leaving(&mut self, now: Instant) {
        if !mem::replace(&mut self.is_leaving, true) {
            self.renew_at = now;
        }
    }

    /// The end of the process: what stands at the server is to go now, and not with its lease.
    pub fn end(&mut self) {
        self.is_ending = true;
        // Without a connection there is nobody to tell, and the count goes with its lease.
        if self.phase == FleetPhase::Away {
            self.phase = FleetPhase::Left;
        }
    }

    /// Whether [`Self::end`] has begun.
    #[must_use]
    pub const fn is_ending(&self) -> bool {
        self.is_ending
    }

    /// Whether [`Self::end`] has come to its end.
    #[must_use]
    pub fn has_left(&self) -> bool {
        self.phase == FleetPhase::Left
    }

    /// Whether questions are answered now.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.phase == FleetPhase::Live && !self.is_ending
    }

    /// Whether the counts of all were lost, and not all are back.
    #[must_use]
    pub const fn is_young(&self) -> bool {
        self.is_young
    }

    /// Instances that share the limits now, those that leave not; as last known. Never zero.
    #[must_use]
    pub const fn living(&self) -> usize {
        self.living
    }

    /// The instances at the last renewal, by name; this one with its count of now.
    #[must_use]
    pub fn instances(&self) -> Vec<FleetInstance> {
        let mut instances = self.instances.clone();
        if let Some(ours) = instances.iter_mut().find(|instance| instance.is_ours) {
            ours.sessions = self.counts.total();
        }
        instances
    }

    /// A connection has come about. What it begins with: who we are, and which database; see [`greeting`].
    pub fn handle_connected(&mut self, greeting: (Vec<u8>, usize), now: Instant) {
        self.handle_lost();
        if !self.is_ending {
            self.greeting = greeting;
            self.rewrites = 0;
            self.begin_rewrite(now);
        }
    }

    /// The connection is gone. What was asked is not answered any more.
    pub fn handle_lost(&mut self) {
        self.phase = if self.is_ending { FleetPhase::Left } else { FleetPhase::Away };
        self.counts.forget_differences();
        self.greeting = (Vec::new(), 0);
        // The askers are told by being dropped.
        self.questions = VecDeque::new();
        self.calls = VecDeque::new();
    }

    fn begin_rewrite(&mut self, now: Instant) {
        // The first one is at once. Questions that wait would wait for it.
        self.rewrite_at = if self.rewrites == 0 { now } else { now + REWRITE_PAUSE.min(self.terms.lease / 3) };
        self.rewrites = self.rewrites.saturating_add(1);
        self.generation += 1;
        self.phase = FleetPhase::Rewriting { is_first: true };
        self.questions.clear();
        self.counts.begin_rewrite();
    }

    /// When [`Self::poll_transmit`] or [`Self::is_hung`] is to be asked if nothing happens before.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let hung = self.calls.front().map(|call| call.sent + self.terms.patience());
        let next = match self.phase {
            FleetPhase::Live if self.calls.len() < MOST_CALLS => Some(self.renew_at),
            FleetPhase::Rewriting { .. } if self.calls.is_empty() => Some(self.rewrite_at),
            _ => None,
        };
        hung.into_iter().chain(next).min()
    }

    /// Whether the server takes too long for an answer. The connection is to be given up.
    #[must_use]
    pub fn is_hung(&self, now: Instant) -> bool {
        self.calls.front().is_some_and(|call| now.saturating_duration_since(call.sent) >= self.terms.patience())
    }

    /// Appends the next call, if there is one to send now.
    pub fn poll_transmit(&mut self, into: &mut Vec<u8>, now: Instant) -> bool {
        if self.calls.len() >= MOST_CALLS {
            return false;
        }
        if self.is_live() && self.counts.has_overflowed() {
            self.begin_rewrite(now);
        }
        let (generation, has_question) = (self.generation, self.drop_late_questions(now));
        let Some(keys) = &self.keys else { return false };
        let (greeting, answers) = mem::take(&mut self.greeting);
        if answers > 0 {
            into.extend_from_slice(&greeting);
            let call = |_| FleetCall { sent: now, generation, kind: FleetCallKind::Greeting };
            self.calls.extend((0..answers).map(call));
            return true;
        }
        let kind = match self.phase {
            // Behind a rewrite that is under way, because calls keep their order.
            FleetPhase::Live | FleetPhase::Rewriting { .. } if self.is_ending => {
                if self.calls.iter().any(|call| matches!(call.kind, FleetCallKind::Leave)) {
                    return false;
                }
                keys.write_call(into, false, ("leave", generation), None::<&str>);
                FleetCallKind::Leave
            }
            FleetPhase::Rewriting { is_first } if now >= self.rewrite_at && !self.is_rewriting() => {
                let chunk = self.counts.next_chunk(CHUNK);
                self.phase = FleetPhase::Rewriting { is_first: false };
                let past = match self.renewed {
                    None => "none",
                    Some(at) if now.saturating_duration_since(at) < self.terms.lease => "recent",
                    Some(_) => "old",
                };
                write_chunk(into, keys, (generation, is_first), &chunk, (self.terms.lease, past, self.is_leaving));
                FleetCallKind::Rewrite
            }
            FleetPhase::Live if now >= self.renew_at => {
                self.renew_at = now + self.terms.lease / 3;
                keys.write_call(into, false, ("renew", generation), (millis(self.terms.lease), self.is_leaving));
                FleetCallKind::Renew
            }
            // One at a time, so that many changes go together. But a question never overtakes them: a client that goes and comes back
            // would find its own place taken.
            FleetPhase::Live if self.counts.has_differences() && (has_question || !self.is_changing()) => {
                write_differences(into, keys, generation, self.counts.take_differences());
                FleetCallKind::Change
            }
            FleetPhase::Live if has_question => {
                let Some(FleetQuestion { asker, network, limits, .. }) = self.questions.pop_front() else {
                    return false;
                };
                write_question(into, keys, generation, network, limits);
                FleetCallKind::Take { asker, network }
            }
            _ => return false,
        };
        self.calls.push_back(FleetCall { sent: now, generation, kind });
        true
    }

    /// Drops the questions whose askers wait no more. Returns whether another one is to be sent.
    fn drop_late_questions(&mut self, now: Instant) -> bool {
        while self.questions.front().is_some_and(|one| now.saturating_duration_since(one.asked) >= self.terms.timeout) {
            self.questions.pop_front();
        }
        !self.questions.is_empty()
    }

    fn is_changing(&self) -> bool {
        self.calls.iter().any(|call| matches!(call.kind, FleetCallKind::Change))
    }

    fn is_rewriting(&self) -> bool {
        self.calls.iter().any(|call| matches!(call.kind, FleetCallKind::Rewrite) && call.generation == self.generation)
    }

    /// Takes the next reply, that to the oldest call.
    ///
    /// # Errors
    /// The connection is of no use any more.
    pub fn handle_reply(&mut self, reply: Reply, now: Instant) -> Result<Option<FleetAnswer<T>>, FleetFailure> {
        let unasked = || FleetFailure::Broken("a reply that nobody asked for".to_owned());
        let FleetCall { sent, generation, kind } = self.calls.pop_front().ok_or_else(unasked)?;
        let answer = match (&reply, &kind) {
            (Reply::ServerError(error), _) => match FleetFailure::of_refusal(error) {
                Some(failure) => return Err(failure),
                None => ScriptAnswer::Stale,
            },
            (_, FleetCallKind::Greeting) => return Ok(None),
            _ => ScriptAnswer::read(&reply, self.keys.as_ref().map_or("", |keys| &keys.member))?,
        };
        let is_of_now = generation == self.generation;
        if matches!(kind, FleetCallKind::Take { .. }) {
            self.is_young = answer == ScriptAnswer::Young;
        }
        match (kind, answer) {
            (FleetCallKind::Take { asker, network }, ScriptAnswer::Granted) => {
                // What an earlier generation has counted is gone from the server, or goes with the rewrite.
                self.counts.add(network, is_of_now);
                return Ok(Some(FleetAnswer::Granted(asker, network)));
            }
            (FleetCallKind::Take { asker, .. }, ScriptAnswer::FullOfClient) => {
                return Ok(Some(FleetAnswer::FullOfClient(asker)));
            }
            (FleetCallKind::Take { asker, .. }, ScriptAnswer::FullOfAll) => {
                return Ok(Some(FleetAnswer::FullOfAll(asker)));
            }
            (FleetCallKind::Leave, _) => self.phase = FleetPhase::Left,
            (_, ScriptAnswer::Stale) if is_of_now && !self.is_ending => self.begin_rewrite(now),
            (FleetCallKind::Rewrite, ScriptAnswer::Standing { is_young, instances, members }) if is_of_now => {
                self.phase = FleetPhase::Live;
                self.renew_at = if self.is_leaving { now } else { now + self.terms.lease / 3 };
                self.note_standing((is_young, instances, members), sent);
            }
            (FleetCallKind::Renew, ScriptAnswer::Standing { is_young, instances, members }) => {
                self.rewrites = 0;
                self.note_standing((is_young, instances, members), sent);
            }
            _ => {}
        }
        Ok(None)
    }

    fn note_standing(&mut self, (is_young, instances, members): (bool, Vec<FleetInstance>, usize), sent: Instant) {
        (self.renewed, self.is_young) = (Some(sent), is_young);
        let leaving = instances.iter().filter(|instance| instance.is_leaving).count();
        let living = members.saturating_sub(leaving).max(1);
        // Of a fleet whose counts were lost, not all are back.
        self.living = if is_young { living.max(self.living) } else { living };
        self.instances = instances;
    }
}

/// What a connection begins with, and how many answers that has. A server has a database 0 only, if it is one of a cluster.
#[must_use]
pub fn greeting(user: Option<&str>, password: Option<&str>, database: u32) -> (Vec<u8>, usize) {
    let sign_in = password.map(|password| cmd("AUTH").arg(user).arg(password).take());
    let select = (database != 0).then(|| cmd("SELECT").arg(database).take());
    let (mut bytes, mut answers) = (Vec::new(), 0);
    for command in sign_in.iter().chain(&select) {
        command.write_packed_command(&mut bytes);
        answers += 1;
    }
    (bytes, answers)
}

fn millis(time: Duration) -> String {
    time.as_millis().to_string()
}

fn write_question(into: &mut Vec<u8>, keys: &FleetKeys, generation: u64, network: Option<Octets>, limits: FleetLimits) {
    let FleetLimits { sessions, sessions_per_client } = limits;
    let name = network.as_ref().map(name_of).unwrap_or_default();
    let most = |limit: Option<usize>| limit.map(|limit| limit.to_string()).unwrap_or_default();
    keys.write_call(into, false, ("take", generation), (name, most(sessions_per_client), most(sessions)));
}

fn write_differences(
    into: &mut Vec<u8>,
    keys: &FleetKeys,
    generation: u64,
    (clients, total): (Vec<(Octets, i64)>, i64),
) {
    let all = (total != 0).then_some((ALL, total));
    let clients: Vec<_> = clients.iter().map(|(network, by)| (name_of(network), *by)).collect();
    keys.write_call(into, false, ("change", generation), (all, clients));
}

fn write_chunk(
    into: &mut Vec<u8>,
    keys: &FleetKeys,
    (generation, is_first): (u64, bool),
    chunk: &CountsChunk,
    (lease, past, is_leaving): (Duration, &str, bool),
) {
    let step = match (is_first, chunk.total) {
        (true, Some(_)) => "only",
        (true, None) => "first",
        (false, None) => "middle",
        (false, Some(_)) => "last",
    };
    let leaving = (is_leaving && chunk.total.is_some()).then_some((LEAVING, 1));
    let all = chunk.total.map(|total| (ALL, total));
    let clients: Vec<_> = chunk.clients.iter().map(|(network, count)| (name_of(network), *count)).collect();
    let arguments = (step, millis(lease), past, all, leaving, clients);
    keys.write_call(into, is_first, ("rewrite", generation), arguments);
}
