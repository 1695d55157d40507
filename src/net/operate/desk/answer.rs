//! Answers of the admin interface: JSON, and one shape for every refusal.

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Response, StatusCode,
    header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS},
};
use serde::Serialize;
use serde_json::{Value, json};

/// The answer to a request.
pub(in crate::net::operate) type AdminAnswer = Response<Full<Bytes>>;

/// Why something was not done: `{"error": {"code", "message", …}}`.
#[derive(Debug)]
pub(in crate::net::operate) struct AdminRefusal {
    status: StatusCode,
    code: &'static str,
    message: String,
    allow: Option<HeaderValue>,
    /// More keys of `error`.
    more: Vec<(&'static str, Value)>,
}

impl AdminRefusal {
    pub(in crate::net::operate) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), allow: None, more: Vec::new() }
    }

    pub(in crate::net::operate) fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", message)
    }

    pub(in crate::net::operate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request", message)
    }

    /// The refusal of a method. `allow`: the methods that the path has.
    pub(in crate::net::operate) fn wrong_method(allow: &'static str) -> Self {
        let refusal = Self::new(StatusCode::METHOD_NOT_ALLOWED, "wrong_method", format!("allowed here: {allow}"));
        Self { allow: Some(HeaderValue::from_static(allow)), ..refusal }
    }

    pub(in crate::net::operate) fn with(mut self, key: &'static str, value: Value) -> Self {
        self.more.push((key, value));
        self
    }

    #[cfg(test)]
    pub(in crate::net::operate) const fn code(&self) -> &'static str {
        self.code
    }
}

/// A length of time as answers tell it.
pub(in crate::net::operate) fn millis(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

impl From<AdminRefusal> for AdminAnswer {
    fn from(refusal: AdminRefusal) -> Self {
        let AdminRefusal { status, code, message, allow, more } = refusal;
        let mut error = json!({ "code": code, "message": message });
        for (key, value) in more {
            error[key] = value;
        }
        let mut answer = json(status, &json!({ "error": error }));
        if let Some(allow) = allow {
            answer.headers_mut().insert(ALLOW, allow);
        }
        if status == StatusCode::UNAUTHORIZED {
            answer.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        answer
    }
}

/// A JSON answer.
pub(in crate::net::operate) fn json(status: StatusCode, value: &impl Serialize) -> AdminAnswer {
    // This cannot fail: no type of ours has a key that is no text.
    let body = serde_json::to_vec(value).unwrap_or_default();
    with_type(status, "application/json", body)
}

/// One line for people and load balancers.
pub(in crate::net::operate) fn text(status: StatusCode, line: &'static str) -> AdminAnswer {
    with_type(status, "text/plain; charset=utf-8", line)
}

/// An answer of this type.
pub(in crate::net::operate) fn with_type(
    status: StatusCode,
    kind: &'static str,
    body: impl Into<Bytes>,
) -> AdminAnswer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    let headers: [(HeaderName, &'static str); 3] =
        [(CONTENT_TYPE, kind), (CACHE_CONTROL, "no-store"), (X_CONTENT_TYPE_OPTIONS, "nosniff")];
    for (name, value) in headers {
        answer.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    answer
}
