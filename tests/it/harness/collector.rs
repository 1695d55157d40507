//! A collector of spans. It takes OTLP over HTTP, and its code reads the protobuf itself (opentelemetry-proto,
//! trace/v1/trace.proto).

use std::{collections::BTreeMap, sync::Arc};

use tokio::sync::mpsc;

use super::{Backend, PATIENCE};

/// A collector that accepts everything.
pub struct Collector {
    backend: Backend,
    spans: mpsc::UnboundedReceiver<Span>,
}

/// A span as it came. Its ids are in hexadecimal digits.
#[derive(Debug, Clone, Default)]
pub struct Span {
    pub service: String,
    pub trace: String,
    pub id: String,
    /// The id of the parent; empty for a root.
    pub parent: String,
    pub name: String,
    pub kind: u64,
    /// Nanoseconds since the Unix epoch, as for `end`.
    pub start: u64,
    pub end: u64,
    pub attributes: BTreeMap<String, String>,
    /// 2 = an error.
    pub status: u64,
}

pub const SERVER: u64 = 2;
pub const CLIENT: u64 = 3;
pub const ERROR: u64 = 2;

impl Collector {
    pub fn start() -> Self {
        let (sender, spans) = mpsc::unbounded_channel();
        let sender = Arc::new(sender);
        let backend = Backend::script(move |mut wire, head| {
            let sender = Arc::clone(&sender);
            async move {
                assert_eq!(head.first_line(), "POST /v1/traces HTTP/1.1", "{head:?}");
                assert_eq!(head.header("content-type"), Some("application/x-protobuf"), "{head:?}");
                let body = wire.take(head.header("content-length").unwrap().parse().unwrap()).await;
                for span in spans_of(&body) {
                    let _ = sender.send(span);
                }
                wire.send("HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: 0\r\n\r\n").await;
            }
        });
        Self { backend, spans }
    }

    /// The `tracing` section for a file, with `more` of its keys.
    pub fn setting(&self, more: &str) -> String {
        format!("tracing: {{ endpoint: \"http://{}\"{more} }}", self.backend)
    }

    /// The next span.
    pub async fn next(&mut self) -> Span {
        tokio::time::timeout(PATIENCE, self.spans.recv()).await.expect("a span").expect("the collector runs")
    }

    /// All spans that came, sorted by their begin. The proxy must have ended.
    pub fn all(&mut self) -> Vec<Span> {
        let mut spans: Vec<_> = std::iter::from_fn(|| self.spans.try_recv().ok()).collect();
        spans.sort_by_key(|span| span.start);
        spans
    }
}

impl Span {
    /// An attribute as text; empty if there is none.
    pub fn get(&self, key: &str) -> &str {
        self.attributes.get(key).map_or("", String::as_str)
    }
}

/// The spans of an ExportTraceServiceRequest.
fn spans_of(request: &[u8]) -> Vec<Span> {
    let mut spans = Vec::new();
    for resource_spans in messages(request, 1) {
        let resource = messages(resource_spans, 1).into_iter().next().unwrap_or_default();
        let service = attributes(resource, 1).remove("service.name").unwrap_or_default();
        for span in messages(resource_spans, 2).into_iter().flat_map(|scope| messages(scope, 2)) {
            spans.push(Span { service: service.clone(), ..read(span) });
        }
    }
    spans
}

fn read(message: &[u8]) -> Span {
    let mut span = Span { attributes: attributes(message, 9), ..Span::default() };
    for (number, field) in fields(message) {
        match (number, field) {
            (1, Field::Bytes(id)) => span.trace = hex(id),
            (2, Field::Bytes(id)) => span.id = hex(id),
            (4, Field::Bytes(id)) => span.parent = hex(id),
            (5, Field::Bytes(name)) => span.name = String::from_utf8(name.to_vec()).unwrap(),
            (6, Field::Number(kind)) => span.kind = kind,
            (7, Field::Number(time)) => span.start = time,
            (8, Field::Number(time)) => span.end = time,
            (15, Field::Bytes(status)) => {
                span.status = fields(status)
                    .iter()
                    .find_map(|(number, field)| match field {
                        Field::Number(code) if *number == 3 => Some(*code),
                        _ => None,
                    })
                    .unwrap_or_default();
            }
            _ => {}
        }
    }
    span
}

/// The KeyValues with this field number. Their values are texts or whole numbers.
fn attributes(message: &[u8], number: u64) -> BTreeMap<String, String> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let of = |pair| {
        let value = match &fields(messages(pair, 2)[0])[..] {
            [(1, Field::Bytes(value))] => text(value),
            [(3, Field::Number(value))] => value.to_string(),
            other => panic!("{other:?}"),
        };
        (text(messages(pair, 1)[0]), value)
    };
    messages(message, number).into_iter().map(of).collect()
}

#[derive(Debug, Clone, Copy)]
enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// The fields with this number that have a length: messages, texts, bytes.
fn messages(message: &[u8], number: u64) -> Vec<&[u8]> {
    let of = |(found, field)| match field {
        Field::Bytes(bytes) if found == number => Some(bytes),
        _ => None,
    };
    fields(message).into_iter().filter_map(of).collect()
}

/// The fields of a message (Protocol Buffers, Encoding).
fn fields(mut rest: &[u8]) -> Vec<(u64, Field<'_>)> {
    let mut found = Vec::new();
    while !rest.is_empty() {
        let tag = varint(&mut rest);
        let field = match tag & 7 {
            0 => Field::Number(varint(&mut rest)),
            1 => Field::Number(u64::from_le_bytes(rest.split_off(..8).unwrap().try_into().unwrap())),
            2 => {
                let length = usize::try_from(varint(&mut rest)).unwrap();
                Field::Bytes(rest.split_off(..length).unwrap())
            }
            5 => Field::Number(u32::from_le_bytes(rest.split_off(..4).unwrap().try_into().unwrap()).into()),
            other => panic!("a wire type of {other}"),
        };
        found.push((tag >> 3, field));
    }
    found
}

fn varint(rest: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..).step_by(7) {
        let byte = *rest.split_off_first().unwrap();
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            break;
        }
    }
    value
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
