//! `traceparent` (W3C Trace Context §3.2), read strictly: if the context is not valid, a new trace begins.
//!
//! longwire adds nothing to `tracestate`, so it does not read it. It passes it on unchanged if the client's trace goes on.

use hyper::{HeaderMap, header::HeaderName};
use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};

pub(super) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
pub(super) const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// The length in version 00. A later version may only be longer.
const LENGTH: usize = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".len();

/// The client's span, below which ours stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Parent {
    trace: u128,
    span: u64,
    is_sampled: bool,
}

impl Parent {
    /// Reads the context; `None` = there is none, it is not valid, or there are two.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let mut lines = headers.get_all(TRACEPARENT).iter();
        let line = lines.next()?;
        if lines.next().is_some() { None } else { Self::parse(line.to_str().ok()?) }
    }

    pub(super) const fn trace(self) -> u128 {
        self.trace
    }

    fn parse(text: &str) -> Option<Self> {
        let (known, more) = text.split_at_checked(LENGTH)?;
        let mut fields = known.split('-');
        let mut field = |length| fields.next().filter(|field| field.len() == length && is_hex(field));
        let (version, trace, span, flags) = (field(2)?, field(32)?, field(16)?, field(2)?);
        // Version ff is forbidden. Version 00 has no further characters. A later version may have more, behind a dash.
        if version == "ff" || (version == "00" && !more.is_empty()) || !(more.is_empty() || more.starts_with('-')) {
            return None;
        }
        let trace = u128::from_str_radix(trace, 16).ok().filter(|trace| *trace != 0)?;
        let span = u64::from_str_radix(span, 16).ok().filter(|span| *span != 0)?;
        let flags = u8::from_str_radix(flags, 16).ok()?;
        Some(Self { trace, span, is_sampled: flags & 1 == 1 })
    }
}

impl From<Parent> for SpanContext {
    fn from(parent: Parent) -> Self {
        let Parent { trace, span, is_sampled } = parent;
        let flags = TraceFlags::default().with_sampled(is_sampled);
        let (trace, span) = (TraceId::from_bytes(trace.to_be_bytes()), SpanId::from_bytes(span.to_be_bytes()));
        Self::new(trace, span, flags, true, TraceState::NONE)
    }
}

/// The header value that names this span as the parent.
pub(super) fn traceparent(span: &SpanContext) -> String {
    format!("00-{}-{}-{:02x}", span.trace_id(), span.span_id(), u8::from(span.is_sampled()))
}

/// Whether the digits are hexadecimal and in lower case, as the standard requires.
fn is_hex(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const SPAN: &str = "00f067aa0ba902b7";

    fn parse(parts: [&str; 4], more: &str) -> Option<Parent> {
        Parent::parse(&format!("{}{more}", parts.join("-")))
    }

    #[test]
    fn a_context_is_read_and_printed_alike() {
        for (flags, is_sampled) in [("00", false), ("01", true)] {
            let parent = parse(["00", TRACE, SPAN, flags], "").unwrap();
            assert_eq!(parent.is_sampled, is_sampled);
            assert_eq!(traceparent(&parent.into()), format!("00-{TRACE}-{SPAN}-{flags}"));
        }
    }

    #[test]
    fn of_the_flags_only_the_first_is_known() {
        assert!(parse(["00", TRACE, SPAN, "ff"], "").unwrap().is_sampled);
        assert!(!parse(["00", TRACE, SPAN, "fe"], "").unwrap().is_sampled);
    }

    #[test]
    fn a_later_version_may_say_more() {
        let parent = parse(["00", TRACE, SPAN, "01"], "");
        for (version, more) in [("01", ""), ("cc", "-"), ("fe", "-what-will-be"), ("01", "-é")] {
            assert_eq!(parse([version, TRACE, SPAN, "01"], more), parent, "{version}{more}");
        }
        assert_eq!(parse(["01", TRACE, SPAN, "01"], ".no-dash"), None);
    }

    #[test]
    fn what_the_standard_forbids_is_no_context() {
        let (zero_trace, zero_span) = ("0".repeat(32), "0".repeat(16));
        let upper = TRACE.to_uppercase();
        for parts in [
            ["ff", TRACE, SPAN, "01"],
            ["0", TRACE, SPAN, "01"],
            ["0x", TRACE, SPAN, "01"],
            ["+0", TRACE, SPAN, "01"],
            ["00", &zero_trace, SPAN, "01"],
            ["00", TRACE, &zero_span, "01"],
            ["00", &upper, SPAN, "01"],
            ["00", TRACE, "00F067AA0BA902B7", "01"],
            ["00", &TRACE[1..], SPAN, "01"],
            ["00", TRACE, &SPAN[1..], "01"],
            ["00", TRACE, SPAN, "1"],
            ["00", TRACE, SPAN, ".1"],
            ["00", TRACE, SPAN, "0A"],
        ] {
            assert_eq!(parse(parts, ""), None, "{parts:?}");
        }
        for more in ["-", "-00", "00"] {
            assert_eq!(parse(["00", TRACE, SPAN, "01"], more), None, "{more}");
        }
        for text in ["", "00", &format!("00_{TRACE}_{SPAN}_01"), &format!("00-{TRACE}-{SPAN}-0é"), &"é".repeat(28)] {
            assert_eq!(Parent::parse(text), None, "{text}");
        }
    }

    #[test]
    fn two_contexts_are_none() {
        let mut headers = HeaderMap::new();
        let value: hyper::header::HeaderValue = format!("00-{TRACE}-{SPAN}-01").parse().unwrap();
        headers.append(TRACEPARENT, value.clone());
        assert!(Parent::of(&headers).is_some());
        headers.append(TRACEPARENT, value);
        assert_eq!(Parent::of(&headers), None);
    }
}
