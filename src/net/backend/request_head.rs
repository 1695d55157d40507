//! The head of a request on its way to a backend, written straight from the fields that its client sent, without a second map of
//! fields. Only hyper gets such a map, if the request has a body or hyper has to read the answer.

use bytes::BufMut;
use hyper::{
    HeaderMap, Method, Uri,
    header::{CONNECTION, CONTENT_LENGTH, HOST, HeaderName, HeaderValue, TRANSFER_ENCODING, UPGRADE, VIA},
};

use super::{
    request_body::RequestBody,
    way::{UNIX_HOST, Way},
};
use crate::{
    config::UnixName,
    headers::{
        self, BoundRules, FieldValue, GrantedFields, Hop, LONGWIRE_RESUME_CAUSE, LONGWIRE_RESUMED, LONGWIRE_SESSION,
        MAX_FORWARDS, X_FORWARDED_METHOD, X_FORWARDED_URI, X_ORIGINAL_URI, capitalize, is_for_service, onward, spell,
    },
    routing::HostHeader,
    ws::session::{HoldCause, HoldTriggers},
};

/// The room for a head, in bytes. Few heads are longer, and the allocator is slower for larger sizes.
pub(super) const HEAD: usize = 1024;

/// A client's request, as its backend gets it.
#[derive(Debug)]
pub(in crate::net) struct Request<'a> {
    pub(in crate::net) method: &'a Method,
    pub(in crate::net) uri: &'a Uri,
    /// The fields as the client sent them.
    pub(in crate::net) headers: &'a HeaderMap,
    pub(in crate::net) hop: Hop<'a>,
    pub(in crate::net) host_header: &'a HostHeader,
    /// How connections with the backend come about.
    pub(in crate::net) way: &'a Way,
    /// What a service has granted the request; `None` = none was asked.
    pub(in crate::net) granted: Option<GrantedFields<'a>>,
    /// What the route does with the fields; `None` = nothing.
    pub(in crate::net) rules: Option<BoundRules<'a>>,
    /// This hop in `Via`, if the file wants a `Via`.
    pub(in crate::net) via: Option<&'static str>,
    pub(in crate::net) purpose: Purpose<'a>,
}

/// A request without its body, so that it can be sent again.
#[derive(Debug, Clone)]
pub(in crate::net) struct Head {
    pub(in crate::net) method: Method,
    /// In origin form: path and query (RFC 9112 §3.2.1).
    pub(in crate::net) uri: Uri,
    pub(in crate::net) headers: HeaderMap,
}

/// What a request is for.
#[derive(Debug)]
pub(in crate::net) enum Purpose<'a> {
    /// To get an answer. `max_forwards`: the value that replaces the client's.
    Answer { max_forwards: Option<u64> },
    /// To ask a service about a client's request, which has this method, and this path and query.
    Question { method: &'a Method, target: &'a str },
    /// To get a session. `traced`: fields about the trace, in the place of the client's fields of these names. `None` =
    /// such a field is left out.
    ///
    /// `told`: what the backend is told of a session that may outlive it.
    Session { traced: Vec<(HeaderName, Option<HeaderValue>)>, told: Option<SessionFields> },
}

/// What a backend is told of a session that may have several backends, one after the other. Clients cannot send these fields.
#[derive(Debug, Clone, Copy)]
pub(in crate::net) struct SessionFields {
    /// The same for all backends of the session.
    pub(in crate::net) id: u128,
    /// How many backends the session had before, and what became of the last one; `None` = this is the first one.
    pub(in crate::net) resumed: Option<(u32, HoldCause)>,
}

impl SessionFields {
    fn tell(self, mut tell: impl FnMut(&HeaderName, FieldValue<'_>)) {
        tell(&LONGWIRE_SESSION, FieldValue::Ours(headers::hex(self.id).as_bytes()));
        let Some((number, cause)) = self.resumed else { return };
        tell(&LONGWIRE_RESUMED, FieldValue::Ours(number.to_string().as_bytes()));
        let cause = match cause {
            HoldCause::Lost => "lost".to_owned(),
            HoldCause::Move => "move".to_owned(),
            HoldCause::Close(code) => code.unwrap_or(HoldTriggers::NO_CODE).0.to_string(),
        };
        tell(&LONGWIRE_RESUME_CAUSE, FieldValue::Ours(cause.as_bytes()));
    }
}

impl Head {
    /// The request for hyper, with its body.
    pub(super) fn into_request(self, body: RequestBody) -> hyper::Request<RequestBody> {
        let Self { method, uri, headers } = self;
        let mut request = hyper::Request::new(body);
        *request.method_mut() = method;
        *request.uri_mut() = uri;
        *request.headers_mut() = headers;
        // For a GET or HEAD, hyper's client sends a body only if a header announces one.
        if !request.body().is_empty() && !request.headers().contains_key(CONTENT_LENGTH) {
            request.headers_mut().insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
        request
    }
}

impl Request<'_> {
    /// Whether the request authenticates the connection that it is sent on.
    pub(super) fn authenticates_connection(&self) -> bool {
        let granted = self.granted.is_some_and(|granted| headers::authenticates_connection(granted.fields));
        granted || headers::authenticates_connection(self.headers)
    }

    /// The request on the wire, to the backend that is called by this `host:port`.
    pub(in crate::net) fn write(&self, authority: &str) -> Vec<u8> {
        let mut bytes = request_line(self.method.as_str(), self.uri);
        self.fields(authority, |name, value| {
            match self.purpose {
                // hyper writes the other requests for an answer with these capitals.
                Purpose::Answer { .. } | Purpose::Question { .. } => capitalize(name.as_str(), &mut bytes),
                Purpose::Session { .. } => spell(name, &mut bytes),
            }
            end_field(&mut bytes, value.as_bytes());
        });
        bytes.put_slice(b"\r\n");
        bytes
    }

    /// The request for hyper.
    pub(in crate::net) fn head(&self, authority: &str) -> Head {
        let mut headers = HeaderMap::new();
        self.fields(authority, |name, value| {
            if let Some(value) = value.to_header() {
                headers.append(name, value);
            }
        });
        Head { method: self.method.clone(), uri: origin_form(self.uri), headers }
    }

    fn fields(&self, authority: &str, mut tell: impl FnMut(&HeaderName, FieldValue<'_>)) {
        let Some(rules) = self.rules else { return self.fields_without_rules(authority, tell) };
        self.fields_without_rules(authority, |name, value| {
            if !rules.drops_of_client(name) {
                tell(name, value);
            }
        });
        for (name, value) in rules.fields() {
            tell(name, FieldValue::Passed(&value));
        }
    }

    fn fields_without_rules(&self, authority: &str, mut tell: impl FnMut(&HeaderName, FieldValue<'_>)) {
        let Some(granted) = self.granted else { return self.fields_of_client(authority, tell) };
        self.fields_of_client(authority, |name, value| {
            if !granted.replaces(name) {
                tell(name, value);
            }
        });
        for (name, value) in granted.iter() {
            tell(name, FieldValue::Passed(value));
        }
    }

    fn fields_of_client(&self, authority: &str, mut tell: impl FnMut(&HeaderName, FieldValue<'_>)) {
        let own_host = match self.host_header {
            HostHeader::Keep => None,
            HostHeader::Upstream => Some(self.way.host_of(authority)),
            HostHeader::Fixed(host) => Some(host.as_str()),
        };
        let mut names_host = false;
        onward(self.headers, &self.hop, |name, value| {
            names_host |= *name == HOST;
            match own_host {
                Some(host) if *name == HOST => tell(name, FieldValue::Ours(host.as_bytes())),
                _ if self.purpose.passes(name) => tell(name, value),
                _ => {}
            }
        });
        if !names_host {
            // HTTP/1.0 may name the host only in its target, which is forwarded as a path (RFC 9112 §3.2.2), or not at
            // all. HTTP/1.1 needs a `Host` (nginx: `$proxy_host`).
            let named = if self.hop.host.is_empty() { host_without_name(authority) } else { self.hop.host };
            let host = own_host.unwrap_or(named);
            tell(&HOST, FieldValue::Ours(host.as_bytes()));
        }
        if let Some(via) = self.via {
            tell(&VIA, FieldValue::Ours(via.as_bytes()));
        }
        match &self.purpose {
            Purpose::Answer { max_forwards: None } => {}
            Purpose::Answer { max_forwards: Some(left) } => {
                tell(&MAX_FORWARDS, FieldValue::Ours(left.to_string().as_bytes()))
            }
            Purpose::Question { method, target } => {
                tell(&X_FORWARDED_METHOD, FieldValue::Ours(method.as_str().as_bytes()));
                for name in [&X_FORWARDED_URI, &X_ORIGINAL_URI] {
                    tell(name, FieldValue::Ours(target.as_bytes()));
                }
            }
            Purpose::Session { traced, told } => {
                for (name, value) in traced {
                    if let Some(value) = value {
                        tell(name, FieldValue::Passed(value));
                    }
                }
                if let Some(told) = told {
                    told.tell(&mut tell);
                }
                tell(&CONNECTION, FieldValue::Ours(b"Upgrade"));
                tell(&UPGRADE, FieldValue::Ours(b"websocket"));
            }
        }
    }
}

impl Purpose<'_> {
    /// Whether a field is forwarded that does not belong to one hop.
    fn passes(&self, name: &HeaderName) -> bool {
        match self {
            Self::Answer { max_forwards } => max_forwards.is_none() || *name != MAX_FORWARDS,
            Self::Question { .. } => is_for_service(name),
            // The length of a handshake can only be 0, and frames follow it.
            Self::Session { traced, .. } => *name != CONTENT_LENGTH && !traced.iter().any(|(traced, _)| traced == name),
        }
    }
}

/// A request of our own, on the wire.
pub(in crate::net) fn write(head: &Head, authority: &str) -> Vec<u8> {
    let mut bytes = request_line(head.method.as_str(), &head.uri);
    if !head.headers.contains_key(HOST) {
        field(&mut bytes, &HOST, host_without_name(authority).as_bytes());
    }
    for (name, value) in &head.headers {
        field(&mut bytes, name, value.as_bytes());
    }
    bytes.put_slice(b"\r\n");
    bytes
}

/// The `Host` of a backend at this address, if nothing else names one.
fn host_without_name(address: &str) -> &str {
    if address.starts_with(UnixName::PREFIX) { UNIX_HOST } else { address }
}

/// Appends a field, its name in the spelling of the RFCs.
pub(super) fn field(bytes: &mut Vec<u8>, name: &HeaderName, value: &[u8]) {
    spell(name, bytes);
    end_field(bytes, value);
}

/// The target in the form that a backend gets: path and query.
fn origin_form(uri: &Uri) -> Uri {
    uri.path_and_query().cloned().map_or_else(|| Uri::from_static("/"), Uri::from)
}

/// The first line of a request, in a buffer with room for the fields.
fn request_line(method: &str, uri: &Uri) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEAD);
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    // A whole URL may have a query and no path (RFC 9112 §3.2.1).
    let slash = if path.starts_with('?') { "/" } else { "" };
    for part in [method, " ", slash, path, " HTTP/1.1\r\n"] {
        bytes.put_slice(part.as_bytes());
    }
    bytes
}

/// Appends what follows the name of a field.
fn end_field(bytes: &mut Vec<u8>, value: &[u8]) {
    for part in [b": ", value, b"\r\n"] {
        bytes.put_slice(part);
    }
}
