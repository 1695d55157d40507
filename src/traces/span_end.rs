//! What a span says of its handshake when it ends.

use crate::{outcome::Outcome, sender::Client};

/// What is known of a handshake at its end.
#[derive(Debug)]
#[allow(missing_docs, reason = "the names are those of the record")]
pub struct SpanEnd<'a> {
    pub client: Client,
    pub is_tls: bool,
    pub request_id: &'a str,
    pub host: &'a str,
    pub path: &'a str,
    pub route: Option<&'a str>,
    pub upstream: Option<&'a str>,
    pub backend: Option<&'a str>,
    pub tries: u32,
    pub status: Option<u16>,
    pub cause: Outcome,
}
