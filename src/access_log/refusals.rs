//! Requests that became no session and got no good answer, kept for an operator who asks why. Each pays for it once.

use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use super::{Record, millis, text::shorten};
use crate::{outcome::Outcome, sender::Client, ws::termination::Cause};

/// A request that was refused or failed. The fields have the names that the record has.
#[derive(Debug, Clone, Serialize)]
#[allow(missing_docs, reason = "the names are those of the record")]
pub struct RefusedRequest {
    /// When the record was written.
    pub ended: Timestamp,
    pub id: String,
    pub client: Client,
    /// Whether the request asked for a session.
    pub handshake: bool,
    pub host: String,
    pub path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backend: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    #[serde(rename = "duration_ms", serialize_with = "millis")]
    pub duration: Option<Duration>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub close_code: Option<u16>,
    #[serde(flatten)]
    pub cause: RefusalCause,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Why a request was refused or failed, as a word for programs and a few words for people.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct RefusalCause {
    /// The word that the log has for the cause.
    pub cause: &'static str,
    /// The cause in a few words.
    pub why: &'static str,
}

impl RefusedRequest {
    pub(super) fn of(record: &Record) -> Self {
        Self {
            ended: Timestamp::now(),
            id: shorten(&record.request_id),
            client: record.client,
            handshake: record.is_handshake,
            host: shorten(&record.host),
            path: shorten(&record.path),
            route: record.route.as_deref().map(str::to_owned),
            backend: record.backend.as_deref().map(str::to_owned),
            status: record.status,
            duration: record.duration,
            close_code: record.close_code,
            cause: RefusalCause::of(record.cause),
            error: record.error.as_deref().map(shorten),
        }
    }
}

impl RefusalCause {
    fn of(outcome: Outcome) -> Self {
        let why = match outcome {
            Outcome::Answered => "",
            Outcome::NotUpgraded => "the backend answered otherwise than with an upgrade",
            Outcome::Failed(kind) => kind.as_text(),
            Outcome::Ended(Cause::BackendLost) => "the backend's answer broke off",
            Outcome::Ended(cause) => cause.as_sentence(),
        };
        Self { cause: outcome.as_str(), why }
    }
}
