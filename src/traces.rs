//! Traces: a span for each WebSocket handshake, with a span below it for each backend that was tried.
//!
//! The span of a handshake goes from its request to its 101 or its refusal. The backend gets a `traceparent`, with which it
//! can continue the trace.
//!
//! This module is only in a build with the feature `otlp`; in any other build, `traces/off.rs` takes its place. A plain
//! request has no span, so its headers pass unchanged.

mod context;
pub mod span_end;

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

use self::{
    context::{Parent, TRACEPARENT, TRACESTATE},
    span_end::SpanEnd,
};
use crate::error::Error;

/// The most bytes that a span keeps of each word of a client.
const LONGEST: usize = 1024;

/// The source of the process's traces, and the way of their spans to the collector.
#[derive(Debug, Default)]
pub struct Traces(Option<SdkTracerProvider>);

/// The trace to which one request belongs.
#[derive(Debug, Default)]
pub struct Trace {
    id: Option<u128>,
    /// `None` = the request is no handshake, or nobody asked for spans.
    open: Option<Box<OpenSpans>>,
}

struct OpenSpans {
    tracer: SdkTracer,
    handshake: Span,
    /// The span of the backend that was tried last.
    attempt: Option<Span>,
    method: &'static str,
    /// Whether the client sent no valid context, so that the trace begins here.
    begins_here: bool,
    tries: u32,
}

impl Traces {
    /// Gives spans to `provider`; `None` = makes none.
    #[must_use]
    pub const fn new(provider: Option<SdkTracerProvider>) -> Self {
        Self(provider)
    }

    /// The trace of a request that has just come: the trace of its client, or a new one.
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
        let open = OpenSpans { tracer, handshake, attempt: None, method, begins_here: parent.is_none(), tries: 0 };
        Trace { id: Some(id), open: Some(Box::new(open)) }
    }

    /// Exports the spans that wait, within `wait`. Nothing is exported afterwards.
    pub async fn finish(&self, wait: Duration) {
        let Some(provider) = self.0.clone() else { return };
        // `shutdown_with_timeout` blocks. The exporter has logged its own failures.
        let _ = tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(wait)).await;
    }
}

impl Trace {
    /// The id of the trace, for the record.
    #[must_use]
    pub const fn id(&self) -> Option<u128> {
        self.id
    }

    /// Begins the span of an attempt at a backend.
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

    /// Header fields for the backend that is tried. `Some` replaces the client's field, `None` removes it.
    ///
    /// The client's `tracestate` passes unchanged if the client's trace goes on here; otherwise it is removed.
    #[must_use]
    pub fn context_headers(&self) -> Vec<(HeaderName, Option<HeaderValue>)> {
        let Some(open) = &self.open else { return Vec::new() };
        let span = open.attempt.as_ref().unwrap_or(&open.handshake);
        let parent = HeaderValue::try_from(context::traceparent(span.span_context())).ok();
        let parent = parent.map(|parent| (TRACEPARENT, Some(parent)));
        parent.into_iter().chain(open.begins_here.then_some((TRACESTATE, None))).collect()
    }

    /// Ends the span of the attempt: the backend answered.
    pub fn answered(&mut self, status: StatusCode) {
        let Some(mut span) = self.open.as_mut().and_then(|open| open.attempt.take()) else { return };
        span.set_attribute(KeyValue::new("http.response.status_code", i64::from(status.as_u16())));
        if status.as_u16() >= 400 {
            fail(&mut span, status.as_str());
        }
        span.end();
    }

    /// Ends the span of the attempt: the backend failed. A next attempt begins its own span.
    pub fn failed(&mut self, error: &Error) {
        let Some(mut span) = self.open.as_mut().and_then(|open| open.attempt.take()) else { return };
        fail(&mut span, error.reason());
        span.end();
    }

    /// Ends the span of the handshake.
    pub fn end(&mut self, over: &SpanEnd<'_>) {
        let Some(open) = mem::take(&mut self.open) else { return };
        let OpenSpans { mut handshake, attempt, method, .. } = *open;
        if let Some(mut attempt) = attempt {
            fail(&mut attempt, over.cause.as_str());
        }
        if !handshake.is_recording() {
            return;
        }
        describe(&mut handshake, over);
        if let Some(route) = over.route {
            handshake.update_name(format!("{} {route}", if method == OTHER { "HTTP" } else { method }));
        }
        let cause = match (over.cause.is_answer(), over.status) {
            (true, Some(status @ 500..)) => Some(status.to_string()),
            (true, _) => None,
            (false, _) => Some(over.cause.as_str().to_owned()),
        };
        match cause {
            // A mistake of the client is no error of the server (HTTP semantic conventions, Status).
            Some(cause) if matches!(over.status, Some(400..500)) => handshake.set_attribute(text("error.type", &cause)),
            Some(cause) => fail(&mut handshake, &cause),
            None => {}
        }
        handshake.end();
    }
}

/// Copies what is known into the span. The names are those of the HTTP semantic conventions, otherwise those of the
/// log.
fn describe(span: &mut Span, over: &SpanEnd<'_>) {
    span.set_attributes([
        text("url.scheme", if over.is_tls { "https" } else { "http" }),
        text("url.path", over.path),
        text("client.address", &over.client.to_string()),
        text("longwire.request_id", over.request_id),
        KeyValue::new("longwire.tries", i64::from(over.tries)),
    ]);
    set_address(span, over.host);
    let names =
        [("longwire.route", over.route), ("longwire.upstream", over.upstream), ("longwire.backend", over.backend)];
    span.set_attributes(names.into_iter().filter_map(|(key, name)| Some(text(key, name?))));
    if let Some(status) = over.status {
        span.set_attribute(KeyValue::new("http.response.status_code", i64::from(status)));
    }
}

/// Sets `server.address`, and `server.port` if `host` has a port. The address of a Unix socket is its name.
fn set_address(span: &mut Span, host: &str) {
    // A Host may be `unix:8080`.
    if let Some(socket) = host.strip_prefix("unix:").filter(|socket| socket.starts_with(['/', '@'])) {
        return span.set_attribute(text("server.address", socket));
    }
    let Ok(authority) = host.parse::<Uri>().map(Uri::into_parts) else { return };
    let Some(authority) = authority.authority else { return };
    span.set_attribute(text("server.address", authority.host().trim_matches(['[', ']'])));
    if let Some(port) = authority.port_u16() {
        span.set_attribute(KeyValue::new("server.port", i64::from(port)));
    }
}

/// Marks a span that ended otherwise than it should have. `why` is a word of a short list.
fn fail(span: &mut Span, why: &str) {
    span.set_attribute(text("error.type", why));
    span.set_status(Status::error(""));
}

fn text(key: &'static str, value: &str) -> KeyValue {
    let end = (0..=value.len().min(LONGEST)).rfind(|end| value.is_char_boundary(*end)).unwrap_or_default();
    KeyValue::new(key, value[..end].to_owned())
}

/// The word of the semantic conventions for a method that they do not know.
const OTHER: &str = "_OTHER";

/// The name of a method. A client may invent methods, and each would be one more name.
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

impl fmt::Debug for OpenSpans {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Open").field("span", self.handshake.span_context()).field("tries", &self.tries).finish()
    }
}
