//! The head of a handshake that is kept to be sent once more.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use hyper::{
    Request, Version,
    header::{HeaderName, HeaderValue, SEC_WEBSOCKET_KEY},
    http::request::Parts,
};

/// The longest head that is kept for the life of its session, in bytes. A session with a longer one ends with its backend.
const LONGEST_KEPT: usize = 8 * 1024;

/// The head of a handshake as it came: request line and fields, as on the wire. It may hold secrets, so it is neither logged
/// nor handed over.
pub(super) struct KeptHead(Box<[u8]>);

impl std::fmt::Debug for KeptHead {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "KeptHead({} bytes)", self.0.len())
    }
}

impl KeptHead {
    /// `None` = it is too long.
    pub(super) fn keep(parts: &Parts) -> Option<Self> {
        let mut bytes = format!("{} {} HTTP/1.1\r\n", parts.method, parts.uri).into_bytes();
        for (name, value) in &parts.headers {
            for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
                bytes.extend_from_slice(part);
            }
            if bytes.len() > LONGEST_KEPT {
                return None;
            }
        }
        bytes.extend_from_slice(b"\r\n");
        Some(Self(bytes.into()))
    }

    /// The head with another key, because a key is for one handshake (RFC 6455 §4.1).
    pub(super) fn parts(&self) -> Option<Parts> {
        let lines = self.0.iter().filter(|byte| **byte == b'\n').count();
        let mut fields = vec![httparse::EMPTY_HEADER; lines];
        let mut head = httparse::Request::new(&mut fields);
        head.parse(&self.0).ok().filter(httparse::Status::is_complete)?;
        let mut request = Request::builder().method(head.method?).uri(head.path?).version(Version::HTTP_11);
        let headers = request.headers_mut()?;
        for field in head.headers.iter() {
            let value = HeaderValue::from_bytes(field.value).ok()?;
            headers.append(HeaderName::from_bytes(field.name.as_bytes()).ok()?, value);
        }
        let mut key = [0; 16];
        getrandom::fill(&mut key).ok()?;
        headers.insert(SEC_WEBSOCKET_KEY, HeaderValue::try_from(BASE64.encode(key)).ok()?);
        Some(request.body(()).ok()?.into_parts().0)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn head(more: usize) -> Parts {
        let request = Request::get("/ws/%20?token=1")
            .header("host", "chat.example")
            .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
            .header("cookie", "a=b")
            .header("cookie", "c=d")
            .header("x-bytes", HeaderValue::from_bytes(b"caf\xc3\xa9\tx").unwrap())
            .header("x-empty", "")
            .header("x-long", "x".repeat(more));
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn a_head_that_was_kept_is_as_it_came_but_for_its_key() {
        let mut came = head(10);
        let kept = KeptHead::keep(&came).unwrap();
        let (mut once, again) = (kept.parts().unwrap(), kept.parts().unwrap());
        assert_eq!((&once.method, &once.uri, once.version), (&came.method, &came.uri, Version::HTTP_11));
        let keys = [&came, &once, &again].map(|parts| parts.headers[SEC_WEBSOCKET_KEY].clone());
        assert!(keys[0] != keys[1] && keys[1] != keys[2] && keys.iter().all(|key| key.len() == 24), "{keys:?}");
        for parts in [&mut came, &mut once] {
            parts.headers.remove(SEC_WEBSOCKET_KEY);
        }
        assert_eq!(once.headers, came.headers);
        assert!(format!("{kept:?}").len() < 30, "no secret in it");
    }

    #[test]
    fn a_head_that_is_too_long_is_not_kept() {
        assert!(KeptHead::keep(&head(LONGEST_KEPT - 300)).is_some());
        assert!(KeptHead::keep(&head(LONGEST_KEPT)).is_none());
    }
}
