//! A record as text, with long words of a peer cut.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};

/// At most `most` bytes of a peer's word. A word that is cut ends in a mark.
pub(super) fn cut(word: &str, most: usize) -> String {
    const MARK: char = '…';
    if word.len() <= most {
        return word.to_owned();
    }
    let end = (0..=most.saturating_sub(MARK.len_utf8())).rfind(|end| word.is_char_boundary(*end)).unwrap_or_default();
    word.get(..end).unwrap_or_default().chars().chain([MARK]).collect()
}

/// The first bytes of a word, as many as are worth keeping.
pub(super) fn shorten(word: &str) -> String {
    cut(word, super::LONGEST_WORD)
}

/// The pairs of a JSON object as `key=value`, in their order. A value with a space, a quote or a control character is quoted.
pub(super) fn logfmt(json: &[u8]) -> serde_json::Result<Vec<u8>> {
    struct LogfmtPairs(String);

    impl<'de> Deserialize<'de> for LogfmtPairs {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            deserializer.deserialize_map(Self(String::new()))
        }
    }

    impl<'de> Visitor<'de> for LogfmtPairs {
        type Value = Self;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a record")
        }

        fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Self, A::Error> {
            while let Some((key, value)) = map.next_entry::<&str, serde_json::Value>()? {
                push_pair(&mut self.0, key, &value);
            }
            Ok(self)
        }
    }

    serde_json::from_slice::<LogfmtPairs>(json).map(|LogfmtPairs(line)| line.into_bytes())
}

fn push_pair(line: &mut String, key: &str, value: &serde_json::Value) {
    if !line.is_empty() {
        line.push(' ');
    }
    line.push_str(key);
    line.push('=');
    match value.as_str() {
        Some(text) if !text.is_empty() && text.chars().all(|c| c.is_ascii_graphic() && c != '"' && c != '=') => {
            line.push_str(text);
        }
        _ => line.push_str(&value.to_string()),
    }
}
