//! The statuses that let an HTTP check pass, as one scalar: `200-399`, `200,204`.

use std::{fmt, ops::RangeInclusive};

use super::bad_value::BadValue;

/// Ranges of HTTP statuses, within 100 to 599; at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Statuses(pub(super) Vec<RangeInclusive<u16>>);

impl Statuses {
    pub(super) const KIND: &str = "statuses";
    pub(super) const PATTERN: &str = r"^[1-5][0-9 ,-]+$|\$\{";

    pub(super) fn parse(text: &str) -> Result<Self, BadValue> {
        let help = "write 200-399, or several with commas between: \"200,300-399\"";
        text.split(',')
            .map(range)
            .collect::<Option<_>>()
            .map(Self)
            .ok_or_else(|| BadValue { message: format!("`{text}` is not a list of statuses"), help: Some(help.into()) })
    }
}

impl Default for Statuses {
    fn default() -> Self {
        Self(vec![200..=399])
    }
}

impl fmt::Display for Statuses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, range) in self.0.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            write!(f, "{comma}{}", range.start())?;
            if range.start() != range.end() {
                write!(f, "-{}", range.end())?;
            }
        }
        Ok(())
    }
}

fn range(text: &str) -> Option<RangeInclusive<u16>> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
    (100 <= first && first <= last && last <= 599).then_some(first..=last)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_read_and_shown_alike() {
        for text in ["200", "200-399", "200,204,300-399", "100-599"] {
            assert_eq!(Statuses::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(Statuses::parse(" 200 , 300 - 399 ").unwrap().0, [200..=200, 300..=399]);
        for refused in ["", ",", "200,", "99", "200-600", "399-200", "2xx", "200-", "-200", "200..399"] {
            assert!(Statuses::parse(refused).is_err(), "{refused:?}");
        }
    }
}
