//! What a client offers in a handshake, and what the backend's answer makes of the offer (RFC 6455 §4). PURE.
//!
//! Nothing here depends on the version of HTTP that carried the handshake.

use std::fmt;

use hyper::{
    HeaderMap,
    header::{HeaderValue, SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_PROTOCOL},
};

use super::resume_offer::ResumeOffer;
use crate::headers::tokens;

/// The subprotocols and extensions of a client's handshake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// The subprotocols for the backend, as the client wrote them, because their letter case counts.
    subprotocols: Vec<String>,
    /// What the client offers to us alone.
    resume: Option<ResumeOffer>,
    /// The names of the extensions, without parameters.
    extensions: Vec<String>,
}

/// What the two ends agreed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agreed {
    /// Whether the ends negotiated an extension. Then RSV bits are legal (RFC 6455 §5.2).
    pub extensions: bool,
    /// The subprotocol that the backend chose.
    pub subprotocol: Option<String>,
}

/// Why an answer does not fit an offer. Texts from the backend are cut to [`MAX_QUOTED`] characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Misfit {
    /// More than one subprotocol.
    SubprotocolRepeated,
    /// A subprotocol that was not offered.
    Subprotocol(String),
    /// An extension that was not offered.
    Extension(String),
    /// `Sec-WebSocket-Extensions` has a quoted string that does not end.
    ExtensionsUnreadable,
}

/// The most characters of a backend's header that an error repeats.
pub const MAX_QUOTED: usize = 64;

impl Offer {
    /// The offer in the fields of a handshake.
    ///
    /// The backend judges a malformed offer. If we cannot read the extensions, we treat them as an offer of none.
    #[must_use]
    pub fn read(headers: &HeaderMap) -> Self {
        let (mut subprotocols, mut resume) = (Vec::new(), None);
        for item in tokens(headers, &SEC_WEBSOCKET_PROTOCOL) {
            resume = match (ResumeOffer::of_item(item), resume) {
                (Some(offer), Some(before)) => Some(ResumeOffer::or(before, offer)),
                (Some(offer), None) => Some(offer),
                (None, before) => {
                    subprotocols.push(text(item));
                    before
                }
            };
        }
        Self { subprotocols, resume, extensions: extension_names(headers).unwrap_or_default() }
    }

    /// What the client offers to us alone.
    #[must_use]
    pub const fn resume(&self) -> Option<&ResumeOffer> {
        self.resume.as_ref()
    }

    /// Whether the client offers to come back to its session, and nothing that a backend could choose.
    #[must_use]
    pub fn is_resume_alone(&self) -> bool {
        self.resume.is_some() && self.subprotocols.is_empty()
    }

    /// What the two ends agree on, by the fields of the backend's answer.
    ///
    /// # Errors
    /// The answer chooses what was not offered, or its choice cannot be read.
    pub fn answered_by(&self, headers: &HeaderMap) -> Result<Agreed, Misfit> {
        Ok(Agreed { extensions: self.extensions(headers)?, subprotocol: self.subprotocol(headers)? })
    }

    /// The chosen subprotocol: at most one, and one that was offered (RFC 6455 §4.1, number 6). An empty value counts
    /// as none.
    fn subprotocol(&self, headers: &HeaderMap) -> Result<Option<String>, Misfit> {
        let mut values = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter().filter(|value| !value.is_empty());
        match (values.next(), values.next()) {
            (None, _) => Ok(None),
            (Some(_), Some(_)) => Err(Misfit::SubprotocolRepeated),
            (Some(chosen), None) => {
                let chosen = text(chosen.as_bytes());
                if self.subprotocols.contains(&chosen) {
                    Ok(Some(chosen))
                } else {
                    Err(Misfit::Subprotocol(quoted(&chosen)))
                }
            }
        }
    }

    /// Whether the backend chose any extension. All chosen ones must have been offered (RFC 6455 §4.1, number 5).
    fn extensions(&self, headers: &HeaderMap) -> Result<bool, Misfit> {
        let chosen = extension_names(headers).ok_or(Misfit::ExtensionsUnreadable)?;
        for name in &chosen {
            if !self.extensions.iter().any(|offered| offered.eq_ignore_ascii_case(name)) {
                return Err(Misfit::Extension(quoted(name)));
            }
        }
        Ok(!chosen.is_empty())
    }
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SubprotocolRepeated => f.write_str("it chooses more than one subprotocol"),
            Self::Subprotocol(name) => write!(f, "its subprotocol {name:?} was not offered"),
            Self::Extension(name) => write!(f, "its extension {name:?} was not offered"),
            Self::ExtensionsUnreadable => f.write_str("its Sec-WebSocket-Extensions is unreadable"),
        }
    }
}

impl std::error::Error for Misfit {}

/// Takes every offer to compress messages out of the fields of a handshake. Other extensions stay, in their order. A list
/// that cannot be read is taken out as a whole, because a backend might read an offer in it.
///
/// The extensions that compress each message have names of one form (RFC 7692 §4). Old versions of WebKit offer another one.
pub fn withdraw_compression(headers: &mut HeaderMap) {
    if !headers.contains_key(SEC_WEBSOCKET_EXTENSIONS) {
        return;
    }
    let stay = |line: &HeaderValue| -> Option<HeaderValue> {
        let left = elements(line.as_bytes())?.into_iter().filter(|element| !compresses(extension_name(element)));
        let left = left.collect::<Vec<_>>().join(&b',');
        HeaderValue::from_bytes(left.trim_ascii()).ok().filter(|line| !line.is_empty())
    };
    let left: Vec<_> = headers.get_all(SEC_WEBSOCKET_EXTENSIONS).iter().filter_map(stay).collect();
    headers.remove(SEC_WEBSOCKET_EXTENSIONS);
    for line in left {
        headers.append(SEC_WEBSOCKET_EXTENSIONS, line);
    }
}

/// Whether nothing that a 101 agrees to keeps state from one message to the next: no extension at all, or permessage-deflate
/// without context takeover in both directions (RFC 7692 §7.1.1).
#[must_use]
pub fn keeps_no_state(headers: &HeaderMap) -> bool {
    headers
        .get_all(SEC_WEBSOCKET_EXTENSIONS)
        .iter()
        .all(|line| elements(line.as_bytes()).is_some_and(|elements| elements.into_iter().all(is_stateless)))
}

fn is_stateless(element: &[u8]) -> bool {
    let has = |parameter: &[u8]| {
        element.split(|byte| *byte == b';').skip(1).any(|part| part.trim_ascii().eq_ignore_ascii_case(parameter))
    };
    let is_deflate = extension_name(element).eq_ignore_ascii_case(b"permessage-deflate");
    element.trim_ascii().is_empty()
        || (is_deflate && has(b"server_no_context_takeover") && has(b"client_no_context_takeover"))
}

fn compresses(extension: &[u8]) -> bool {
    let starts_with =
        |prefix: &[u8]| extension.get(..prefix.len()).is_some_and(|name| name.eq_ignore_ascii_case(prefix));
    starts_with(b"permessage-") || starts_with(b"x-webkit-deflate-frame")
}

/// The name of an extension in an element of the list, without its parameters.
fn extension_name(element: &[u8]) -> &[u8] {
    element.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii()
}

/// The names of the extensions, in order; `None` if a quoted string does not end.
fn extension_names(headers: &HeaderMap) -> Option<Vec<String>> {
    let mut names = Vec::new();
    for line in headers.get_all(SEC_WEBSOCKET_EXTENSIONS) {
        for element in elements(line.as_bytes())? {
            if !element.trim_ascii().is_empty() {
                names.push(text(extension_name(element)));
            }
        }
    }
    Some(names)
}

/// Splits a list at its commas, except those within quoted strings (RFC 9110 §5.6.4).
fn elements(line: &[u8]) -> Option<Vec<&[u8]>> {
    let mut elements = Vec::new();
    let mut start = 0;
    let mut in_quotes = false;
    let mut escaped = false;
    for (at, byte) in line.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_quotes => escaped = true,
            b'"' => in_quotes = !in_quotes,
            b',' if !in_quotes => {
                elements.push(&line[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    elements.push(&line[start..]);
    (!in_quotes).then_some(elements)
}

/// A text from bytes. Bytes that are not UTF-8 become U+FFFD on both sides of a comparison, so only an offer with such
/// bytes can match them.
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn quoted(text: &str) -> String {
    text.chars().take(MAX_QUOTED).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// What is left of these lines of `Sec-WebSocket-Extensions`.
    fn left(lines: &[&'static str]) -> Vec<String> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(SEC_WEBSOCKET_EXTENSIONS, HeaderValue::from_static(line));
        }
        withdraw_compression(&mut headers);
        let left = headers.get_all(SEC_WEBSOCKET_EXTENSIONS).iter();
        left.map(|line| line.to_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn each_offer_to_compress_is_withdrawn_and_other_extensions_stay() {
        for (lines, expected) in [
            (&["permessage-deflate; client_max_window_bits"][..], &[][..]),
            (&["Permessage-Deflate , x-other; a=1"], &["x-other; a=1"]),
            (&["x-other,permessage-bzip2;a=\"b, c\",x-more"], &["x-other,x-more"]),
            (
                &["x-webkit-deflate-frame", "x-quoted; a=\"permessage-deflate, \""],
                &["x-quoted; a=\"permessage-deflate, \""],
            ),
            (&["permessage-deflate, permessage-deflate; server_no_context_takeover"], &[]),
            (&["x-per, permessage"], &["x-per, permessage"]),
            (&["x-other", "x-open; a=\"b, permessage-deflate"], &["x-other"]),
            (&[], &[]),
        ] {
            assert_eq!(left(lines), expected, "{lines:?}");
        }
    }

    #[test]
    fn only_deflate_without_context_takeover_on_both_sides_keeps_no_state() {
        for (line, expected) in [
            ("", true),
            ("permessage-deflate", false),
            ("permessage-deflate; server_no_context_takeover", false),
            ("permessage-deflate; client_no_context_takeover; server_max_window_bits=10", false),
            ("permessage-deflate; server_no_context_takeover; client_no_context_takeover", true),
            (
                "Permessage-Deflate;client_no_context_takeover; server_no_context_takeover ;client_max_window_bits=9",
                true,
            ),
            ("x-other", false),
            ("x-other; a=\"b", false),
        ] {
            let mut headers = HeaderMap::new();
            assert!(keeps_no_state(&headers), "no extension");
            headers.append(SEC_WEBSOCKET_EXTENSIONS, HeaderValue::from_static(line));
            assert_eq!(keeps_no_state(&headers), expected, "{line}");
        }
    }
}
