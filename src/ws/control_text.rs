//! Control texts: messages between longwire and the library of a client that can come back to its session. They begin with a
//! secret that only these two know. docs/resume.md has the protocol.

use std::fmt;

use super::frame::{FrameHeader, MAX_CONTROL_PAYLOAD, OpCode, encode_header};

/// What a control text says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ControlText {
    /// So many messages have arrived, of all that were sent in this session.
    Count(u64),
    /// A backend was replaced: what was under way then may be lost.
    Resync,
    /// Something that has no meaning yet.
    Unknown,
}

/// How the control texts of a session begin.
#[derive(Clone, PartialEq, Eq)]
pub struct ControlSecret(Box<str>);

/// The body of [`ControlText::Resync`].
const RESYNC: &str = "resync";
/// The most digits of a count.
const MOST_DIGITS: usize = 20;
/// FIN, and the opcode of a text.
const WHOLE_TEXT: u8 = 0x81;

/// Without the secret: who knows it can write control texts.
impl fmt::Debug for ControlSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ControlSecret")
    }
}

impl ControlSecret {
    /// `None` = this cannot be a secret, because too many messages begin like that.
    #[must_use]
    pub fn new(secret: &str) -> Option<Self> {
        (8..=64).contains(&secret.len()).then(|| Self(secret.into()))
    }

    /// What a whole message from a client says, header included; `None` = it is no control text.
    #[must_use]
    pub fn read(&self, message: &[u8]) -> Option<ControlText> {
        let (header, size) = FrameHeader::parse(message).ok()??;
        let payload = message.get(size..)?;
        if !header.fin || header.opcode != OpCode::Text || payload.len() as u64 != header.length {
            return None;
        }
        let key = header.mask.unwrap_or_default();
        let mut text = payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key);
        let begins = self.0.bytes().all(|ours| text.next() == Some(ours));
        // Longer ones are messages: an end that has to tell one from the other reads no more than a short frame.
        (begins && payload.len() <= MAX_CONTROL_PAYLOAD).then(|| ControlText::read(&text.collect::<Vec<_>>()))
    }

    /// Appends a control text for a client. Returns its header.
    pub fn write(&self, text: ControlText, out: &mut Vec<u8>) -> FrameHeader {
        let body = match text {
            ControlText::Count(count) => count.to_string(),
            ControlText::Resync | ControlText::Unknown => RESYNC.to_owned(),
        };
        let length = (self.0.len() + body.len()) as u64;
        encode_header(WHOLE_TEXT, length, None, out);
        out.extend_from_slice(self.0.as_bytes());
        out.extend_from_slice(body.as_bytes());
        FrameHeader { fin: true, rsv: 0, opcode: OpCode::Text, mask: None, length }
    }
}

impl ControlText {
    fn read(body: &[u8]) -> Self {
        let is_count = (1..=MOST_DIGITS).contains(&body.len()) && body.iter().all(u8::is_ascii_digit);
        match str::from_utf8(body) {
            Ok(RESYNC) => Self::Resync,
            Ok(digits) if is_count => digits.parse().map_or(Self::Unknown, Self::Count),
            _ => Self::Unknown,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const SECRET: &str = "0123456789abcdefghijkl:";

    fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
        let (mut frame, key) = (Vec::new(), [9, 8, 7, 6]);
        encode_header(first, payload.len() as u64, Some(key), &mut frame);
        frame.extend(payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
        frame
    }

    fn read(first: u8, payload: &str) -> Option<ControlText> {
        ControlSecret::new(SECRET).unwrap().read(&masked(first, payload.as_bytes()))
    }

    #[test]
    fn a_short_whole_text_that_begins_with_the_secret_is_a_control_text() {
        for (body, text) in [
            ("0", ControlText::Count(0)),
            ("1042", ControlText::Count(1042)),
            ("00000000000000000007", ControlText::Count(7)),
            ("18446744073709551615", ControlText::Count(u64::MAX)),
            ("18446744073709551616", ControlText::Unknown),
            ("000000000000000000007", ControlText::Unknown),
            ("resync", ControlText::Resync),
            ("Resync", ControlText::Unknown),
            ("-1", ControlText::Unknown),
            ("+1", ControlText::Unknown),
            ("1 ", ControlText::Unknown),
            ("", ControlText::Unknown),
        ] {
            assert_eq!(read(0x81, &format!("{SECRET}{body}")), Some(text), "{body:?}");
        }
    }

    #[test]
    fn everything_else_is_a_message_of_the_page() {
        let text = format!("{SECRET}1");
        for (first, payload) in [
            (0x82, text.clone()),
            (0x01, text.clone()),
            (0x80, text.clone()),
            (0x81, text[1..].to_owned()),
            (0x81, text[..22].to_owned()),
            (0x81, text.to_uppercase()),
            (0x81, format!("{SECRET}{}", "1".repeat(103))),
            (0x81, String::new()),
        ] {
            assert_eq!(read(first, &payload), None, "{first:x} {payload:?}");
        }
    }

    #[test]
    fn what_is_written_is_what_a_client_reads() {
        let secret = ControlSecret::new(SECRET).unwrap();
        for text in [ControlText::Count(0), ControlText::Count(u64::MAX), ControlText::Resync] {
            let mut out = Vec::new();
            let header = secret.write(text, &mut out);
            assert!(header.length <= MAX_CONTROL_PAYLOAD as u64 && header.mask.is_none());
            assert_eq!(secret.read(&out), Some(text));
        }
        let mut out = Vec::new();
        secret.write(ControlText::Count(12), &mut out);
        assert_eq!(out, format!("\u{81}\u{19}{SECRET}12").chars().map(|c| c as u8).collect::<Vec<_>>());
    }

    #[test]
    fn no_message_of_ours_shows_a_secret() {
        assert_eq!(format!("{:?}", ControlSecret::new(SECRET).unwrap()), "ControlSecret");
        assert!(ControlSecret::new("short:").is_none() && ControlSecret::new(&"a".repeat(65)).is_none());
    }
}
