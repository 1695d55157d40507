//! A reader of HTTP/1.1 that forgives nothing (RFC 9112): whatever it accepts, every other reader frames alike.

use super::{Head, Wire};

/// How the body of a message ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// `Content-Length`, or 0 where a request says nothing.
    Length(usize),
    Chunked,
    /// An answer that says nothing: its body ends with the connection.
    ToTheEnd,
}

/// The framing of a head; panics at anything that two readers could understand differently.
pub fn strict_framing(head: &Head) -> Framing {
    let text = head.as_str();
    let lines = text.strip_suffix("\r\n\r\n").expect("a head ends in an empty line");
    for line in lines.split("\r\n").skip(1) {
        let (name, value) = line.split_once(':').unwrap_or_else(|| panic!("no field: {line:?}"));
        assert!(!name.is_empty() && name.bytes().all(is_token), "a field's name: {line:?}");
        assert!(value.bytes().all(|byte| byte == b'\t' || (byte >= b' ' && byte != 0x7f)), "a field's value: {line:?}");
    }
    let lengths = head.headers("content-length");
    let codings = head.headers("transfer-encoding");
    match (lengths.as_slice(), codings.as_slice()) {
        ([], []) if text.starts_with("HTTP/") => Framing::ToTheEnd,
        ([], []) => Framing::Length(0),
        ([length], []) => {
            assert!(!length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit()), "a length: {length:?}");
            Framing::Length(length.parse().expect("a length that fits"))
        }
        ([], [coding]) => {
            assert!(coding.eq_ignore_ascii_case("chunked"), "a coding: {coding:?}");
            Framing::Chunked
        }
        _ => panic!("two framings: {text}"),
    }
}

/// Reads one body by its framing; panics at anything but plain chunks.
pub async fn strict_body(wire: &mut Wire, framing: Framing) -> Vec<u8> {
    match framing {
        Framing::Length(length) => wire.take(length).await,
        Framing::ToTheEnd => wire.rest().await,
        Framing::Chunked => {
            let mut body = Vec::new();
            loop {
                let chunk = wire.chunk().await;
                if chunk.is_empty() {
                    return body;
                }
                body.extend(chunk);
            }
        }
    }
}

/// A request that reached a backend: one `Host`, one framing, one meaning.
pub fn assert_strict_request(head: &Head) -> Framing {
    let mut words = head.first_line().split(' ');
    let (method, target, version) = (words.next(), words.next(), words.next());
    assert!(method.is_some_and(|method| method.bytes().all(is_token)), "{head:?}");
    assert!(target.is_some_and(|target| target.starts_with('/')), "{head:?}");
    assert_eq!((version, words.next()), (Some("HTTP/1.1"), None), "{head:?}");
    assert_eq!(head.headers("host").len(), 1, "{head:?}");
    strict_framing(head)
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
