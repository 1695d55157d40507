//! Stands for the traces in a build without the feature `otlp`. The trace headers of clients pass unchanged.

pub mod span_end;

use std::time::Duration;

use hyper::{
    Request, StatusCode,
    header::{HeaderName, HeaderValue},
};

use self::span_end::SpanEnd;
use crate::error::Error;

/// A source of traces that makes none.
#[derive(Debug, Default)]
pub struct Traces(());

/// A trace that does nothing.
#[derive(Debug, Default)]
pub struct Trace(());

#[allow(missing_docs, clippy::unused_async, clippy::needless_pass_by_ref_mut, reason = "see traces.rs")]
impl Traces {
    #[must_use]
    pub const fn begin<B>(&self, _: &Request<B>, _: bool) -> Trace {
        Trace(())
    }

    pub async fn finish(&self, _: Duration) {}
}

#[allow(missing_docs, clippy::needless_pass_by_ref_mut, reason = "see traces.rs")]
impl Trace {
    #[must_use]
    pub const fn id(&self) -> Option<u128> {
        None
    }

    pub const fn attempt(&mut self, _: &str) {}

    #[must_use]
    pub const fn context_headers(&self) -> Vec<(HeaderName, Option<HeaderValue>)> {
        Vec::new()
    }

    pub const fn answered(&mut self, _: StatusCode) {}

    pub const fn failed(&mut self, _: &Error) {}

    pub const fn end(&mut self, _: &SpanEnd<'_>) {}
}
