//! On what terms a session outlives its client's connection, and what becomes of that.

use std::time::Duration;

/// On what terms the sessions of a route outlive the connections of their clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResumeTerms {
    /// The longest time without a client.
    pub longest: Duration,
    /// The most bytes of messages that are kept for the client, and as many that are kept back from it until their message is
    /// whole.
    pub replay: usize,
    /// The longest time in which the client gets nothing.
    pub beat: Duration,
}

/// What a session answers to a client that wants to come back to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claimed {
    /// The session has let go of its old client, and waits for the new one.
    Ready {
        /// How many messages of the client have passed on.
        received: u64,
    },
    /// An attempt as high as this one, or higher, has come before. Nothing has changed.
    Stale,
    /// No client can come back to the session. It ends, if it has not ended yet.
    Gone,
}

/// What a session has been through with its clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ResumeTally {
    /// How often the client has come back.
    pub resumes: u32,
    /// The time without a client. An absence that goes on does not count yet.
    pub gap: Duration,
    /// How many messages went to a client that came back, although they had gone to it before.
    pub replayed: u64,
}
