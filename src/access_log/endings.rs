//! The last endings, kept in the process for an operator who asks why sessions end or do not begin.
//!
//! The memory is bounded: rings of the last endings, and counts by cause. A session pays for it once, when it has ended.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use serde::Serialize;

use super::{
    EndSampler, Record, RecordKind, millis,
    refusals::{RefusalCause, RefusedRequest},
    text::shorten,
};
use crate::{
    outcome::Outcome,
    sender::Client,
    ws::termination::{HowEnded, Initiator, Silence},
};

/// The most endings that are kept of each kind.
pub const KEPT: usize = 200;

/// How a session ended. The fields have the names that the record has, where the record has them.
#[derive(Debug, Clone, Serialize)]
#[allow(missing_docs, reason = "the names are those of the record")]
pub struct EndedSession {
    /// When the record was written.
    pub ended: Timestamp,
    pub id: String,
    pub client: Client,
    pub host: String,
    pub path: String,
    pub route: String,
    pub upstream: String,
    pub backend: String,
    #[serde(rename = "duration_ms", serialize_with = "millis")]
    pub duration: Option<Duration>,
    pub bytes_to_backend: u64,
    pub bytes_to_client: u64,
    #[serde(flatten)]
    pub silence: Option<Silence>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub close_code: Option<u16>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub close_reason: String,
    pub initiator: &'static str,
    #[serde(flatten)]
    pub cause: EndingCause,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub how: Option<&'static str>,
    pub clean: bool,
}

/// Why a session ended, as a word for programs and a sentence for people.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct EndingCause {
    /// The word that the log has for the cause.
    pub cause: &'static str,
    /// The cause in one sentence.
    pub why: &'static str,
    /// Whether the end was a drop: neither an endpoint nor an operator wanted it.
    pub drop: bool,
}

/// The endings of sessions, and apart from them the refusals, so that a flood of refusals hides no ending.
#[derive(Debug, Default)]
pub struct Endings {
    /// Sessions that ended.
    pub sessions: Last<EndedSession, EndingCause>,
    /// Requests that became no session and got no good answer.
    pub refusals: Last<RefusedRequest, RefusalCause>,
    /// A fair sample of both, for who asks what they have in common.
    pub sampler: EndSampler,
}

/// The last [`KEPT`] endings of a kind, and how many there have been by cause.
#[derive(Debug)]
pub struct Last<T, C>(Mutex<Kept<T, C>>);

#[derive(Debug)]
struct Kept<T, C> {
    last: VecDeque<Arc<T>>,
    counts: CauseCounts<C>,
}

/// Counts since the process began, by the word of the cause. It has at most as many entries as there are causes.
pub type CauseCounts<C> = BTreeMap<&'static str, (C, u64)>;

impl Endings {
    /// Keeps the ending of a session or a request whose record is complete.
    pub(super) fn push(&self, record: &Record) {
        self.sampler.note(record);
        match record.kind {
            RecordKind::Session => {
                let ending = EndedSession::of(record);
                self.sessions.push(ending.cause.cause, ending.cause, ending);
            }
            RecordKind::Probe => {}
            RecordKind::Request if record.cause == Outcome::Answered => {}
            RecordKind::Request => {
                let refusal = RefusedRequest::of(record);
                self.refusals.push(refusal.cause.cause, refusal.cause, refusal);
            }
        }
    }
}

impl<T, C: Copy> Last<T, C> {
    /// At most `most` of the latest endings, the newest first.
    #[must_use]
    pub fn last(&self, most: usize) -> Vec<Arc<T>> {
        self.kept().last.iter().rev().take(most).cloned().collect()
    }

    /// How many endings there have been by cause.
    #[must_use]
    pub fn counts(&self) -> CauseCounts<C> {
        self.kept().counts.clone()
    }

    fn push(&self, word: &'static str, cause: C, ending: T) {
        let ending = Arc::new(ending);
        let mut kept = self.kept();
        kept.counts.entry(word).or_insert((cause, 0)).1 += 1;
        // The oldest ending is freed after the lock is given back.
        let _fallen = if kept.last.len() < KEPT { None } else { kept.last.pop_front() };
        kept.last.push_back(ending);
        drop(kept);
    }

    /// A lock, because the sessions of every worker end here. It is held while one pointer moves or a short list is copied.
    fn kept(&self) -> MutexGuard<'_, Kept<T, C>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T, C> Default for Last<T, C> {
    fn default() -> Self {
        Self(Mutex::new(Kept { last: VecDeque::new(), counts: CauseCounts::new() }))
    }
}

impl EndedSession {
    fn of(record: &Record) -> Self {
        let name = |name: &Option<Arc<str>>| name.as_deref().unwrap_or_default().to_owned();
        Self {
            ended: Timestamp::now(),
            id: shorten(&record.request_id),
            client: record.client,
            host: shorten(&record.host),
            path: shorten(&record.path),
            route: name(&record.route),
            upstream: name(&record.upstream),
            backend: name(&record.backend),
            duration: record.duration,
            bytes_to_backend: record.traffic.bytes_to_backend,
            bytes_to_client: record.traffic.bytes_to_client,
            silence: record.silence,
            close_code: record.close_code,
            close_reason: record.close_reason.clone(),
            initiator: record.initiator.unwrap_or(Initiator::Client).as_str(),
            cause: EndingCause::of(record.cause),
            how: record.how.map(HowEnded::as_str),
            clean: record.clean.unwrap_or(false),
        }
    }
}

impl EndingCause {
    /// longwire accepted the backend's 101, but the client went away before the session began.
    const UNBEGUN: Self =
        Self { cause: "client_gone", why: "the client went away before its session could begin", drop: true };

    const fn of(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Ended(cause) => Self { cause: cause.as_str(), why: cause.as_sentence(), drop: cause.is_drop() },
            Outcome::Answered | Outcome::NotUpgraded | Outcome::Failed(_) => Self::UNBEGUN,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::{super::LONGEST_WORD, *};
    use crate::{error::Kind, ws::termination::Cause};

    fn record(path: &str, cause: Option<Cause>) -> Record {
        let mut record = Record::new(None, Client::from(IpAddr::from([192, 0, 2, 1])), "GET", path);
        record.kind = RecordKind::Session;
        record.cause = cause.map_or(record.cause, Outcome::Ended);
        record
    }

    #[test]
    fn only_the_last_are_kept_and_all_are_counted() {
        let endings = Endings::default();
        for number in 0..KEPT + 50 {
            endings.push(&record(&format!("/{number}"), Some(Cause::BackendLost)));
        }
        endings.push(&record("/last", None));
        for cause in [Outcome::Failed(Kind::Refused), Outcome::Answered] {
            let mut refused = record("/refused", None);
            (refused.kind, refused.cause) = (RecordKind::Request, cause);
            endings.push(&refused);
        }
        let [refusal] = &endings.refusals.last(usize::MAX)[..] else { panic!("{endings:?}") };
        assert_eq!((refusal.path.as_str(), refusal.cause.why), ("/refused", "the backend refused the connection"));
        let endings = endings.sessions;
        let last = endings.last(usize::MAX);
        assert_eq!((last.len(), last[0].path.as_str(), last[1].path.as_str()), (KEPT, "/last", "/249"));
        assert_eq!(endings.last(2).len(), 2);
        let counts: Vec<_> = endings.counts().iter().map(|(cause, (_, count))| (*cause, *count)).collect();
        assert_eq!(counts, [("backend_lost", KEPT as u64 + 50), ("client_gone", 1)]);
    }

    #[test]
    fn a_word_of_a_client_takes_little_room() {
        for path in ["é".repeat(5000), "x".repeat(5000)] {
            let ending = EndedSession::of(&record(&path, None));
            assert!(ending.path.len() <= LONGEST_WORD && ending.path.ends_with('…'), "{}", ending.path);
        }
        assert_eq!(shorten("/ws"), "/ws");
    }
}
