//! A record as its line says it. A line is JSON, or the text form of the log.

use std::{borrow::Cow, fmt, net::IpAddr, ops::Deref};

use jiff::Timestamp;
use serde::{
    Deserialize, Deserializer,
    de::{Error, Visitor},
};

/// A hundred years in milliseconds. A record that says more has no end that could be known.
const LONGEST_LIFE: f64 = 3.2e12;

/// What a finding can need of a record. The fields are those of docs/log.md; older records lack some.
#[derive(Debug, Deserialize)]
#[allow(missing_docs, reason = "the names are those of the record")]
pub struct RecordText<'a> {
    pub time: Timestamp,
    #[serde(borrow)]
    pub kind: WordText<'a>,
    #[serde(borrow)]
    pub cause: WordText<'a>,
    /// `None` = the client has no address.
    #[serde(default, deserialize_with = "address")]
    pub client: Option<IpAddr>,
    #[serde(borrow)]
    pub route: Option<WordText<'a>>,
    #[serde(borrow)]
    pub backend: Option<WordText<'a>>,
    #[serde(borrow)]
    pub how: Option<WordText<'a>>,
    /// Whether a request was a WebSocket handshake.
    pub handshake: Option<bool>,
    pub status: Option<u16>,
    pub duration_ms: Option<f64>,
    pub handshake_ms: Option<f64>,
    pub silence_from_client_ms: Option<f64>,
    pub silence_from_backend_ms: Option<f64>,
    pub silence_to_client_ms: Option<f64>,
    pub silence_to_backend_ms: Option<f64>,
    pub frames_to_client: Option<u64>,
    pub frames_to_backend: Option<u64>,
    pub pings_client: Option<u32>,
    pub pings_backend: Option<u32>,
    /// How many backends followed the first one, and how often the client came back.
    pub resumes: Option<u32>,
    pub rtt_last_ms: Option<f64>,
    pub rtt_backend_last_ms: Option<f64>,
}

/// A word of a record. It is copied only where its line has an escape in it.
#[derive(Debug)]
pub struct WordText<'a>(Cow<'a, str>);

impl RecordText<'_> {
    /// The kind of a session's record.
    pub(super) const SESSION: &'static str = "session";
    /// The kind of a request's record.
    pub(super) const REQUEST: &'static str = "request";
    /// The kind of the record of a probe, which is nobody's session.
    pub(super) const PROBE: &'static str = "probe";

    /// When the session or the request ended, in milliseconds since 1970.
    #[must_use]
    pub fn ended(&self) -> i64 {
        // A cast of a float stops at the bounds of the integer.
        self.time.as_millisecond().saturating_add(self.duration_ms.unwrap_or_default() as i64)
    }

    /// Whether so little passed that the session may have been silent from its begin on.
    pub(super) fn is_quiet(&self) -> bool {
        const FEW: u64 = 4;
        let few = |count: Option<u64>| count.is_some_and(|count| count < FEW);
        let pings = self.pings_client.max(self.pings_backend).map(u64::from);
        few(self.frames_to_client) && few(self.frames_to_backend) && few(pings)
    }

    /// Whether neither a frame nor a Ping of ours ever passed.
    pub(super) fn is_mute(&self) -> bool {
        let none = |count: Option<u64>| count == Some(0);
        let is_unpinged = self.pings_client == Some(0) && self.pings_backend == Some(0);
        is_unpinged && none(self.frames_to_client) && none(self.frames_to_backend)
    }
}

impl<'a> From<&'a str> for WordText<'a> {
    fn from(word: &'a str) -> Self {
        Self(Cow::Borrowed(word))
    }
}

impl Deref for WordText<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for WordText<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct WordVisitor;

        impl<'de> Visitor<'de> for WordVisitor {
            type Value = WordText<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a word")
            }

            fn visit_borrowed_str<E: Error>(self, word: &'de str) -> Result<Self::Value, E> {
                Ok(WordText(Cow::Borrowed(word)))
            }

            fn visit_str<E: Error>(self, word: &str) -> Result<Self::Value, E> {
                Ok(WordText(Cow::Owned(word.to_owned())))
            }
        }

        deserializer.deserialize_str(WordVisitor)
    }
}

fn address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<IpAddr>, D::Error> {
    let client = Option::<WordText<'de>>::deserialize(deserializer)?;
    Ok(client.and_then(|client| client.parse().ok()))
}

/// The record of a line. `scratch` holds a line of the text form, put into JSON.
///
/// # Errors
/// The line is no record.
pub fn read<'a>(line: &'a [u8], scratch: &'a mut String) -> serde_json::Result<RecordText<'a>> {
    let record: RecordText<'a> = match std::str::from_utf8(line) {
        Ok(line) if line.starts_with("time=") => {
            rewrite(line, scratch);
            serde_json::from_str(scratch)?
        }
        _ => serde_json::from_slice(line)?,
    };
    if record.duration_ms.is_some_and(|millis| !(0.0..LONGEST_LIFE).contains(&millis)) {
        return Err(Error::custom("nothing lives so long"));
    }
    match &*record.kind {
        RecordText::SESSION | RecordText::REQUEST | RecordText::PROBE => Ok(record),
        kind => Err(Error::custom(format_args!("{kind} is no kind of record"))),
    }
}

/// Puts a line of `key=value` into JSON. A quoted value is JSON already.
fn rewrite(line: &str, json: &mut String) {
    json.clear();
    json.push('{');
    let mut rest = line.trim();
    while let Some((key, value)) = rest.split_once('=') {
        let (value, behind) = value.split_at_checked(length(value)).unwrap_or((value, ""));
        if json.len() > 1 {
            json.push(',');
        }
        json.extend(["\"", key.trim_start(), "\":"]);
        if value.starts_with('"') || matches!(value, "true" | "false") || is_number(key.trim_start()) {
            json.push_str(value);
        } else {
            // The text form leaves a backslash as it is.
            json.extend(["\"", &value.replace('\\', "\\\\"), "\""]);
        }
        rest = behind;
    }
    json.push('}');
}

/// Whether the value of this key is a number that is read here. An id may look like a number, and is none.
fn is_number(key: &str) -> bool {
    matches!(key, "status" | "resumes")
        || key.ends_with("_ms")
        || key.starts_with("frames_")
        || key.starts_with("pings_")
}

/// The bytes of the value at the start of `text`.
fn length(text: &str) -> usize {
    let Some(quoted) = text.strip_prefix('"') else { return text.find(' ').unwrap_or(text.len()) };
    let mut is_escaped = false;
    let end = quoted.bytes().position(|byte| {
        let is_end = byte == b'"' && !is_escaped;
        is_escaped = byte == b'\\' && !is_escaped;
        is_end
    });
    end.map_or(text.len(), |end| end + 2)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_json_is_read_and_its_words_are_borrowed() {
        let line = br#"{"time":"2026-01-02T03:04:05Z","kind":"session","client":"192.0.2.1","route":"*/a\u0062/","status":101,"duration_ms":1.5,"more":{"a":[1]},"silence_to_client_ms":7,"how":"fin","cause":"client_lost","clean":false}"#;
        let mut scratch = String::new();
        let record = read(line, &mut scratch).unwrap();
        assert_eq!((&*record.kind, record.route.as_deref(), record.status), ("session", Some("*/ab/"), Some(101)));
        assert_eq!((record.duration_ms, record.silence_to_client_ms), (Some(1.5), Some(7.0)));
        assert!(matches!(record.cause.0, Cow::Borrowed("client_lost")));
    }

    #[test]
    fn a_line_of_text_says_the_same() {
        let line = br#"time=2026-01-02T03:04:05.000000006Z kind=request request_id=0012 path=/a\x host="a b=\"c\" d" path=/x?=1 route=*/ws/ status=403 duration_ms=2.5 handshake=true cause=origin error="the page's \\ origin""#;
        let mut scratch = String::new();
        let record = read(line, &mut scratch).unwrap();
        assert_eq!((&*record.kind, &*record.cause, record.route.as_deref()), ("request", "origin", Some("*/ws/")));
        assert_eq!((record.status, record.duration_ms, record.handshake), (Some(403), Some(2.5), Some(true)));
    }

    #[test]
    fn what_is_no_record_is_an_error() {
        let mut scratch = String::new();
        for line in [
            "",
            "{}",
            "time=",
            "time=x kind=session cause=\"",
            r#"{"time":"2026-01-02T03:04:05Z","kind":"session"}"#,
            r#"{"time":"2026-01-02T03:04:05Z","kind":"message","cause":"ok"}"#,
            r#"{"time":"2026-01-02T03:04:05Z","kind":"session","duration_ms":1e300,"cause":"client_lost"}"#,
            r#"{"time":"yesterday","kind":"session","cause":"client_lost"}"#,
            r#"{"timestamp":"2026-01-02T03:04:05Z","level":"INFO","message":"ready"}"#,
        ] {
            assert!(read(line.as_bytes(), &mut scratch).is_err(), "{line}");
        }
        assert!(read(&[0xff, 0xfe], &mut scratch).is_err());
    }
}
