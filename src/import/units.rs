//! Durations and sizes: read as nginx and HAProxy write them, written as longwire reads them.

use std::time::Duration;

/// The longest duration that longwire takes.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

/// A duration as nginx writes it: `60`, `60s`, `1h30m`. A bare number counts seconds.
pub(super) fn nginx_time(text: &str) -> Option<Duration> {
    const UNITS: [(&str, u64); 8] = [
        ("ms", 1),
        ("s", 1000),
        ("m", 60_000),
        ("h", 3_600_000),
        ("d", 86_400_000),
        ("w", 604_800_000),
        ("M", 2_592_000_000),
        ("y", 31_536_000_000),
    ];
    sum(text, &UNITS, 1000)
}

/// A duration as HAProxy writes it: `50000`, `50s`, `1h`. A bare number counts milliseconds.
pub(super) fn haproxy_time(text: &str) -> Option<Duration> {
    const UNITS: [(&str, u64); 5] = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
    if let Some(micros) = text.strip_suffix("us") {
        return micros.parse().ok().map(Duration::from_micros);
    }
    sum(text, &UNITS, 1)
}

/// The sum of numbers with their units, in milliseconds. A number without a unit counts `bare` milliseconds.
fn sum(text: &str, units: &[(&str, u64)], bare: u64) -> Option<Duration> {
    let mut total = 0_u64;
    let mut rest = text.trim();
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let number: u64 = rest.get(..end)?.parse().ok()?;
        rest = rest.get(end..)?;
        let word = rest.split(|c: char| !c.is_ascii_alphabetic()).next().unwrap_or_default();
        let scale = if word.is_empty() { bare } else { units.iter().find(|(unit, _)| *unit == word)?.1 };
        total = total.checked_add(number.checked_mul(scale)?)?;
        rest = rest.get(word.len()..)?.trim_start();
    }
    Some(Duration::from_millis(total))
}

/// A duration as longwire reads it.
pub(super) fn duration(time: Duration) -> String {
    let time = time.min(LONGEST);
    let (seconds, millis) = (time.as_secs(), time.subsec_millis());
    match seconds {
        _ if millis > 0 => format!("{}ms", time.as_millis()),
        0 if !time.is_zero() => "1ms".to_owned(),
        _ if seconds > 0 && seconds.is_multiple_of(86_400) => format!("{}d", seconds / 86_400),
        _ if seconds > 0 && seconds.is_multiple_of(3600) => format!("{}h", seconds / 3600),
        _ => format!("{seconds}s"),
    }
}

/// A number of bytes as nginx and HAProxy write it: `8k`, `10m`, `1g`.
pub(super) fn bytes(text: &str) -> Option<u64> {
    let (number, scale) = match text.trim().to_ascii_lowercase().split_at_checked(text.trim().len().saturating_sub(1)) {
        Some((number, "k")) => (number.to_owned(), 1 << 10),
        Some((number, "m")) => (number.to_owned(), 1 << 20),
        Some((number, "g")) => (number.to_owned(), 1 << 30),
        _ => (text.trim().to_owned(), 1),
    };
    number.parse::<u64>().ok()?.checked_mul(scale)
}

/// A number of bytes as longwire reads it.
pub(super) fn size(bytes: u64) -> String {
    const UNITS: [(u64, &str); 3] = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match UNITS.iter().find(|(unit, _)| bytes >= *unit && bytes.is_multiple_of(*unit)) {
        Some((unit, name)) => format!("{}{name}", bytes / unit),
        None => format!("{bytes}B"),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_number_counts_seconds_in_nginx_and_milliseconds_in_haproxy() {
        for (text, millis) in [("60", 60_000), ("60s", 60_000), ("1h30m", 5_400_000), ("1h 30m", 5_400_000), ("5ms", 5)]
        {
            assert_eq!(nginx_time(text), Some(Duration::from_millis(millis)), "{text}");
        }
        for (text, millis) in [("50000", 50_000), ("50s", 50_000), ("1h", 3_600_000), ("10ms", 10)] {
            assert_eq!(haproxy_time(text), Some(Duration::from_millis(millis)), "{text}");
        }
        for wrong in ["", "s", "1x", "-1", "$t", "99999999999999999999", "18446744073709551615d"] {
            assert_eq!((nginx_time(wrong), haproxy_time(wrong)), (None, None), "{wrong}");
        }
    }

    #[test]
    fn what_is_written_is_short() {
        for (seconds, text) in [(0, "0s"), (60, "60s"), (90, "90s"), (3600, "1h"), (86_400, "1d"), (u64::MAX, "365d")] {
            assert_eq!(duration(Duration::from_secs(seconds)), text);
        }
        assert_eq!(
            (duration(Duration::from_millis(1500)), duration(Duration::from_micros(5))),
            ("1500ms".into(), "1ms".into())
        );
        for (text, shown) in [("10m", "10MiB"), ("8K", "8KiB"), ("1500", "1500B"), ("0", "0B"), ("2g", "2GiB")] {
            assert_eq!(size(bytes(text).unwrap()), shown);
        }
        assert_eq!((bytes(""), bytes("m"), bytes("é"), bytes("99999999999999999g")), (None, None, None, None));
    }
}
