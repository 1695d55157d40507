//! Traces: a span per WebSocket handshake, from its request to its 101 or its refusal, with one below it for each backend
//! that was tried, and the `traceparent` by which the backend goes on.
//!
//! Only in a build with the feature `otlp`; `traces/off.rs` stands here in any other. A plain request has no span: its
//! headers pass unchanged.

mod context;
mod export;

use std::{fmt, mem, time::Duration};

use hyper::{
    Method, Request, StatusCode, Uri, Version,
    header::{HeaderName, HeaderValue},
};
use opentelemetry::{
    Context, KeyValue,
    trace::{Span as _, SpanKind, Status, TraceContextExt as _, Tracer as _, TracerProvider as _},
};
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider, Span};

use self::context::{Parent, TRACEPARENT, TRACESTATE};
use crate::{
    access_log::{Record, refusals::NOT_UPGRADED},
    config::Tracing,
    error::Error,
    metrics::Metrics,
};

/// Bytes of what a client said that a span keeps, each.
const LONGEST: usize = 1024;

/// Where the traces of a process begin, and where their spans go.
#[derive(Debug, Default)]
pub struct Traces(Option<SdkTracerProvider>);

/// The trace that one request belongs to.
#[derive(Debug, Default)]
pub struct Trace {
    id: Option<u128>,
    /// `None` = the request is no handshake, or nobody asked for spans.
    open: Option<Box<Open>>,
}

struct Open {
    tracer: SdkTracer,
    handshake: Span,
    /// At the backend that was tried last.
    attempt: Option<Span>,
    method: &'static str,
    /// What the client sent was no context, or none of this trace.
    begins_here: bool,
    tries: u32,
}

impl Traces {
    /// Spans go where `config` says, from a thread of their own.
    #[must_use]
    pub fn new(config: Option<&Tracing>, metrics: &Metrics) -> Self {
        Self(config.and_then(|config| export::provider(config, metrics.spans())))
    }

    /// The trace of a request that has just come: its client's, or a new one.
    #[must_use]
    pub fn begin<B>(&self, request: &Request<B>, is_handshake: bool) -> Trace {
        let Some(provider) = &self.0 else { return Trace::default() };
        let parent = Parent::of(request.headers());
        if !is_handshake {
            return Trace { id: parent.map(Parent::trace), open: None };
        }
        let tracer = provider.tracer("longwire");
        let method = known_method(request.method());
        let first = [text("http.request.method", method), text("network.protocol.version", version(request.version()))];
        let builder = tracer.span_builder(method).with_kind(SpanKind::Server).with_attributes(first);
        let context = match parent {
            Some(parent) => Context::new().with_remote_span_context(parent.into()),
            None => Context::new(),
        };
        let handshake = tracer.build_with_context(builder, &context);
        let id = u128::from_be_bytes(handshake.span_context().trace_id().to_bytes());
        let open = Open { tracer, handshake, attempt: None, method, begins_here: parent.is_none(), tries: 0 };
        Trace { id: Some(id), open: Some(Box::new(open)) }
    }

    /// Exports what waits, within `wait`; nothing is exported afterwards.
    pub async fn finish(&self, wait: Duration) {
        let Some(provider) = self.0.clone() else { return };
        // It blocks, and what it failed at was said by the export itself.
        let _ = tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(wait)).await;
    }
}

impl Trace {
    /// Its id, for the record.
    #[must_use]
    pub const fn id(&self) -> Option<u128> {
        self.id
    }

    /// A backend is tried.
    pub fn attempt(&mut self, backend: &str) {
        let Some(open) = &mut self.open else { return };
        let context = Context::new().with_remote_span_context(open.handshake.span_context().clone());
        let builder = open.tracer.span_builder("GET").with_kind(SpanKind::Client);
        let mut span = open.tracer.build_with_context(builder, &context);
        span.set_attributes([text("http.request.method", "GET"), text("longwire.backend", backend)]);
        set_address(&mut span, backend);
        if open.tries > 0 {
            span.set_attribute(KeyValue::new("http.request.resend_count", i64::from(open.tries)));
        }
        open.tries += 1;
        open.attempt = Some(span);
    }

    /// What the backend that is tried is told of who asks: fields that stand in the place of the client's, or take it away. A
    /// `tracestate` goes on as it came, unless its trace does not.
    #[must_use]
    pub fn told(&self) -> Vec<(HeaderName, Option<HeaderValue>)> {
        let Some(open) = &self.open else { return Vec::new() };
        let span = open.attempt.as_ref().unwrap_or(&open.handshake);
        let parent = HeaderValue::try_from(context::traceparent(span.span_context())).ok();
        let parent = parent.map(|parent| (TRACEPARENT, Some(parent)));
        parent.into_iter().chain(open.begins_here.then_some((TRACESTATE, None))).collect()
    }

    /// The backend that is tried has answered.
    pub fn answered(&mut self, status: StatusCode) {
        let Some(mut span) = self.open.as_mut().and_then(|open| open.attempt.take()) else { return };
        span.set_attribute(KeyValue::new("http.response.status_code", i64::from(status.as_u16())));
        if status.as_u16() >= 400 {
            fail(&mut span, status.as_str());
        }
        span.end();
    }

    /// The backend that is tried has failed. What follows is for the next one.
    pub fn failed(&mut self, error: &Error) {
        let Some(mut span) = self.open.as_mut().and_then(|open| open.attempt.take()) else { return };
        fail(&mut span, error.reason());
        span.end();
    }

    /// The handshake is over as `record` says.
    pub fn end(&mut self, record: &Record) {
        let Some(open) = mem::take(&mut self.open) else { return };
        let Open { mut handshake, attempt, method, .. } = *open;
        if let Some(mut attempt) = attempt {
            fail(&mut attempt, record.cause);
        }
        if !handshake.is_recording() {
            return;
        }
        describe(&mut handshake, record);
        if let Some(route) = &record.route {
            handshake.update_name(format!("{} {route}", if method == OTHER { "HTTP" } else { method }));
        }
        let cause = match (record.cause, record.status) {
            ("ok" | NOT_UPGRADED, Some(status @ 500..)) => Some(status.to_string()),
            ("ok" | NOT_UPGRADED, _) => None,
            (cause, _) => Some(cause.to_owned()),
        };
        match cause {
            // To whoever serves, a mistake of the client's is no error (HTTP semantic conventions, Status).
            Some(cause) if matches!(record.status, Some(400..500)) => {
                handshake.set_attribute(text("error.type", &cause))
            }
            Some(cause) => fail(&mut handshake, &cause),
            None => {}
        }
        handshake.end();
    }
}

/// What a record knows, by the names of the HTTP semantic conventions, and by those of the log for the rest.
fn describe(span: &mut Span, record: &Record) {
    span.set_attributes([
        text("url.scheme", if record.tls.is_some() { "https" } else { "http" }),
        text("url.path", &record.path),
        text("client.address", &record.client.to_string()),
        text("longwire.request_id", &record.request_id),
        KeyValue::new("longwire.tries", i64::from(record.tries)),
    ]);
    set_address(span, &record.host);
    let names = [
        ("longwire.route", &record.route),
        ("longwire.upstream", &record.upstream),
        ("longwire.backend", &record.backend),
    ];
    span.set_attributes(names.into_iter().filter_map(|(key, name)| Some(text(key, name.as_ref()?))));
    if let Some(status) = record.status {
        span.set_attribute(KeyValue::new("http.response.status_code", i64::from(status)));
    }
}

/// `server.address` and, where it is said, `server.port`.
fn set_address(span: &mut Span, host: &str) {
    let Ok(authority) = host.parse::<Uri>().map(Uri::into_parts) else { return };
    let Some(authority) = authority.authority else { return };
    span.set_attribute(text("server.address", authority.host().trim_matches(['[', ']'])));
    if let Some(port) = authority.port_u16() {
        span.set_attribute(KeyValue::new("server.port", i64::from(port)));
    }
}

/// It ended otherwise than it should have; `why` is one of few words.
fn fail(span: &mut Span, why: &str) {
    span.set_attribute(text("error.type", why));
    span.set_status(Status::error(""));
}

fn text(key: &'static str, value: &str) -> KeyValue {
    let end = (0..=value.len().min(LONGEST)).rfind(|end| value.is_char_boundary(*end)).unwrap_or_default();
    KeyValue::new(key, value[..end].to_owned())
}

/// What the semantic conventions call a method that they do not know.
const OTHER: &str = "_OTHER";

/// A client may invent methods, and each would be another name.
fn known_method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::HEAD => "HEAD",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        Method::CONNECT => "CONNECT",
        Method::PATCH => "PATCH",
        _ => OTHER,
    }
}

const fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "1.0",
        _ => "1.1",
    }
}

impl fmt::Debug for Open {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Open").field("span", self.handshake.span_context()).field("tries", &self.tries).finish()
    }
}
