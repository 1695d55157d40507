//! What is asked of the sessions while they live. Each worker answers for its own, a slice at a time between two of their
//! turns, so that nothing is shared, nothing is paid per frame and none of them waits for long.

use std::{
    cmp::Reverse,
    sync::Arc,
    time::{Duration, Instant},
};

use ipnet::IpNet;
use tokio::sync::oneshot;

use super::session::Held;
use crate::{
    access_log::{Particulars, Traffic},
    ws::close::CloseCode,
};

/// Places of the table that are looked at in one go.
const SLICE: usize = 256;

/// Something to find out of the sessions of a worker, and perhaps to do with those found.
#[derive(Debug)]
pub(super) struct Question {
    pub(super) search: Arc<Search>,
    /// Ages are of this moment, for the workers look at different ones.
    pub(super) asked: Instant,
    /// Those found are ended.
    pub(super) kill: Option<Arc<Kill>>,
    /// Dropped without an answer where the worker ends first.
    pub(super) answer: oneshot::Sender<Found>,
}

/// Which sessions, and which of them first.
#[derive(Debug, Clone, Default)]
pub(super) struct Search {
    pub(super) id: Option<String>,
    pub(super) client: Option<IpNet>,
    /// What one of its words contains, in lower case.
    pub(super) text: Option<String>,
    pub(super) route: Option<String>,
    pub(super) upstream: Option<String>,
    pub(super) backend: Option<String>,
    pub(super) sort: Sort,
    /// The smallest first.
    pub(super) ascends: bool,
    /// So many of them are wanted; the others are only counted.
    pub(super) most: usize,
}

/// By what sessions are ordered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Sort {
    #[default]
    Age,
    Idle,
    Bytes,
    Messages,
    Buffered,
    /// The client's last.
    Rtt,
}

/// An operator's word that sessions are to end.
#[derive(Debug)]
pub(super) struct Kill {
    pub(super) code: CloseCode,
    /// At most 123 bytes.
    pub(super) reason: String,
}

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// How many there are.
    pub(super) matched: usize,
    /// The first of them, in order.
    pub(super) sights: Vec<Sight>,
}

/// A session at one moment.
#[derive(Debug)]
pub(super) struct Sight {
    pub(super) particulars: Particulars,
    /// From the coming of its request until the question.
    pub(super) age: Duration,
    /// From the last byte of either side, Pongs to our own Pings included, until the question.
    pub(super) idle: Duration,
    pub(super) traffic: Traffic,
    /// Bytes that wait for a side that does not take them.
    pub(super) buffered: usize,
    /// Its end has begun.
    pub(super) is_ending: bool,
}

/// A question on its way through the table.
#[derive(Debug)]
pub(super) struct Inquiry {
    question: Question,
    found: Found,
    /// The place that is looked at next.
    at: usize,
}

impl Inquiry {
    pub(super) fn new(question: Question) -> Self {
        Self { question, found: Found::default(), at: 0 }
    }

    /// The places to look at now.
    pub(super) fn slice(&mut self) -> std::ops::Range<usize> {
        let from = self.at;
        self.at += SLICE;
        from..self.at
    }

    /// Whether every place of a table of this length has been looked at, or nobody waits for the answer any more.
    pub(super) fn is_over(&self, length: usize) -> bool {
        self.at >= length || self.question.answer.is_closed()
    }

    /// Looks at one session. Whether something was done to it: it wants a turn then.
    pub(super) fn look(&mut self, session: &mut Held, now: Instant) -> bool {
        let Question { search, asked, kill, .. } = &self.question;
        let Some(sight) = session.sight(search, *asked) else { return false };
        self.found.matched += 1;
        self.found.sights.push(sight);
        // Never more than twice of what is wanted, or a slice.
        if self.found.sights.len() > SLICE.max(2 * search.most) {
            search.settle(&mut self.found.sights);
        }
        if let Some(kill) = kill {
            session.kill(kill, now);
        }
        kill.is_some()
    }

    /// Gives the answer.
    pub(super) fn finish(mut self) {
        self.question.search.settle(&mut self.found.sights);
        // Whoever asked may have lost patience.
        let _ = self.question.answer.send(self.found);
    }
}

impl Search {
    /// Puts sights in order and keeps those that are wanted.
    pub(super) fn settle(&self, sights: &mut Vec<Sight>) {
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
