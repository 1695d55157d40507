//! Questions about living sessions. Each worker answers for its own sessions, a slice at a time between two of their
//! turns. So workers share nothing, a frame costs nothing more, and no session waits for long.

use std::{
    cmp::Reverse,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::oneshot;

use crate::{
    access_log::{Particulars, Traffic},
    sender::Network,
    ws::{close::CloseCode, session::HoldState},
};

/// Places of the table that one wake-up looks at.
const SLICE: usize = 256;

/// A search through the sessions of a worker, and perhaps an order to end those found.
#[derive(Debug)]
pub(in crate::net) struct Question {
    pub(in crate::net) search: Arc<Search>,
    /// The moment of all ages in the answer, because each worker looks at another moment.
    pub(in crate::net) asked: Instant,
    /// Sessions that are found are ended.
    pub(in crate::net) kill: Option<Arc<Kill>>,
    /// All sessions are counted in the fleet from now on, also those that are not found.
    pub(in crate::net) joins_fleet: bool,
    /// Dropped without an answer if the worker ends first.
    pub(in crate::net) answer: oneshot::Sender<Matches>,
}

/// Which sessions are searched for, and which of them come first.
#[derive(Debug, Clone, Default)]
pub(in crate::net) struct Search {
    pub(in crate::net) id: Option<String>,
    pub(in crate::net) client: Option<Network>,
    /// A piece of text, in lower case, that one of the session's words contains.
    pub(in crate::net) text: Option<String>,
    pub(in crate::net) route: Option<String>,
    pub(in crate::net) upstream: Option<String>,
    pub(in crate::net) backend: Option<String>,
    pub(in crate::net) sort: Sort,
    /// The smallest comes first.
    pub(in crate::net) ascends: bool,
    /// How many sessions are wanted. The others are only counted.
    pub(in crate::net) most: usize,
}

/// By what sessions are ordered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::net) enum Sort {
    #[default]
    Age,
    Idle,
    Bytes,
    Messages,
    Buffered,
    /// The client's latest round-trip time.
    Rtt,
}

/// An operator's order that sessions are to end.
#[derive(Debug)]
pub(in crate::net) struct Kill {
    pub(in crate::net) code: CloseCode,
    /// At most 123 bytes.
    pub(in crate::net) reason: String,
}

/// What a search has found.
#[derive(Debug, Default)]
pub(in crate::net) struct Matches {
    /// How many sessions match.
    pub(in crate::net) matched: usize,
    /// The first of the matches, in order.
    pub(in crate::net) sights: Vec<Sight>,
}

/// A session at one moment.
#[derive(Debug)]
pub(in crate::net) struct Sight {
    pub(in crate::net) particulars: Particulars,
    /// The time from the session's request to the question.
    pub(in crate::net) age: Duration,
    /// The time from the last byte of either side to the question. Pongs to our own Pings count.
    pub(in crate::net) idle: Duration,
    pub(in crate::net) traffic: Traffic,
    /// Bytes that are held: for a side that does not take them, of a frame that is not complete, or for a client that may come back.
    pub(in crate::net) buffered: usize,
    /// Its end has begun.
    pub(in crate::net) is_ending: bool,
    /// Where it stands between two backends.
    pub(in crate::net) hold: HoldState,
    /// It waits for its client to come back.
    pub(in crate::net) is_away: bool,
}

/// A question on its way through the table.
#[derive(Debug)]
pub(in crate::net) struct Inquiry {
    question: Question,
    found: Matches,
    /// The next place to look at.
    at: usize,
}

impl Inquiry {
    pub(in crate::net) fn new(question: Question) -> Self {
        Self { question, found: Matches::default(), at: 0 }
    }

    /// The places to look at now.
    pub(in crate::net) fn slice(&mut self) -> std::ops::Range<usize> {
        let from = self.at;
        self.at += SLICE;
        from..self.at
    }

    /// Whether all sessions are to be counted in the fleet.
    pub(in crate::net) const fn joins_fleet(&self) -> bool {
        self.question.joins_fleet
    }

    /// Whether every place of a table of this length has been looked at, or nobody waits for the answer any more. What concerns the
    /// fleet is done, whoever waits.
    pub(in crate::net) fn is_over(&self, length: usize) -> bool {
        self.at >= length || !self.joins_fleet() && self.question.answer.is_closed()
    }

    /// Looks at one session. `sight` shows the session at a moment, if the search wants it. Returns the order to end the
    /// session, if it was found and is to end.
    pub(in crate::net) fn look(&mut self, sight: impl FnOnce(&Search, Instant) -> Option<Sight>) -> Option<&Kill> {
        let Question { search, asked, kill, .. } = &self.question;
        let sight = sight(search, *asked)?;
        self.found.matched += 1;
        self.found.sights.push(sight);
        // The list never holds more than twice what is wanted, or a slice.
        if self.found.sights.len() > SLICE.max(2 * search.most) {
            search.sort_and_cut(&mut self.found.sights);
        }
        kill.as_deref()
    }

    /// Gives the answer.
    pub(in crate::net) fn finish(mut self) {
        self.question.search.sort_and_cut(&mut self.found.sights);
        // Whoever asked may have stopped waiting.
        let _ = self.question.answer.send(self.found);
    }
}

impl Search {
    /// Puts sights in order and keeps those that are wanted.
    pub(in crate::net) fn sort_and_cut(&self, sights: &mut Vec<Sight>) {
        match self.ascends {
            true => sights.sort_by_key(|sight| self.sort.key(sight)),
            false => sights.sort_by_key(|sight| Reverse(self.sort.key(sight))),
        }
        sights.truncate(self.most);
    }
}

impl Sort {
    fn key(self, sight: &Sight) -> u128 {
        match self {
            Self::Age => sight.age.as_nanos(),
            Self::Idle => sight.idle.as_nanos(),
            Self::Bytes => u128::from(sight.traffic.bytes_to_backend) + u128::from(sight.traffic.bytes_to_client),
            Self::Messages => {
                let both = [sight.traffic.messages_to_backend, sight.traffic.messages_to_client];
                both.into_iter().flatten().map(u128::from).sum()
            }
            Self::Buffered => sight.buffered as u128,
            Self::Rtt => sight.traffic.rtt_last.unwrap_or_default().as_nanos(),
        }
    }
}
