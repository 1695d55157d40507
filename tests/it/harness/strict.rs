//! A reader of HTTP/1.1 that forgives nothing (RFC 9112). Every other reader frames what it accepts in the same way.

use super::{Head, Wire};

/// How the body of a message ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// The length of `Content-Length`, or 0 if a request says nothing.
    Length(usize),
    Chunked,
    /// The answer says nothing, so its body ends with the connection.
    ToTheEnd,
}

/// The framing of a head. Panics at anything that two readers could understand differently.
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

/// Reads one body by its framing; `None` = the stream ends before the body does, because a cut is not ambiguous.
///
/// Panics at anything but plain chunks.
pub async fn strict_body(wire: &mut Wire, framing: Framing) -> Option<Vec<u8>> {
    match framing {
        Framing::Length(length) => wire.try_take(length).await,
        Framing::ToTheEnd => Some(wire.whatever_comes().await),
        Framing::Chunked => {
            let mut body = Vec::new();
            loop {
                let size = strict_chunk_size(wire).await?;
                let mut chunk = wire.try_take(size + 2).await?;
                assert_eq!(chunk.split_off(size), b"\r\n", "the end of a chunk of {size}");
                if size == 0 {
                    return Some(body);
                }
                body.extend(chunk);
            }
        }
    }
}

async fn strict_chunk_size(wire: &mut Wire) -> Option<usize> {
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") {
        line.extend(wire.try_take(1).await?);
    }
    let digits = String::from_utf8_lossy(&line[..line.len() - 2]).into_owned();
    assert!(digits.bytes().all(|byte| byte.is_ascii_hexdigit()), "a chunk size: {digits:?}");
    Some(usize::from_str_radix(&digits, 16).unwrap_or_else(|error| panic!("{error}: {digits:?}")))
}

/// Asserts that a request which reached a backend has one `Host`, one framing and one meaning.
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
