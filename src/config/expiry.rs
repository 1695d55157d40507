//! When a certificate is no longer valid.

use std::path::Path;

use jiff::{Timestamp, tz::TimeZone};

use super::certificates::read_chain;

/// DER tags (X.690 §8) of the fields up to the validity of a certificate (RFC 5280 §4.1).
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
const INTEGER: u8 = 0x02;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// When the first certificate of a PEM file ends. `None` if it cannot be read. A listener would have refused such a file.
pub(crate) fn of_file(path: &Path) -> Option<Timestamp> {
    not_after(read_chain(path).ok()?.first()?)
}

/// `notAfter` of a certificate in DER.
fn not_after(certificate: &[u8]) -> Option<Timestamp> {
    let mut certificate = take(&mut { certificate }, SEQUENCE)?;
    let mut fields = take(&mut certificate, SEQUENCE)?;
    if fields.first() == Some(&VERSION) {
        take(&mut fields, VERSION)?;
    }
    take(&mut fields, INTEGER)?;
    let _signature = take(&mut fields, SEQUENCE)?;
    let _issuer = take(&mut fields, SEQUENCE)?;
    let mut validity = take(&mut fields, SEQUENCE)?;
    time(&mut validity)?;
    time(&mut validity)
}

/// The content of the next element. `None` if the element has another tag.
fn take<'a>(rest: &mut &'a [u8], tag: u8) -> Option<&'a [u8]> {
    let (found, after) = rest.split_first()?;
    let (&length, after) = after.split_first()?;
    let (length, after) = match length {
        0..=0x7f => (usize::from(length), after),
        // The long form, of four bytes at most.
        0x81..=0x84 => {
            let (bytes, after) = after.split_at_checked(usize::from(length - 0x80))?;
            (bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), after)
        }
        _ => return None,
    };
    let (content, after) = after.split_at_checked(length)?;
    *rest = after;
    (*found == tag).then_some(content)
}

/// Reads a time of RFC 5280 §4.1.2.5: in UTC, to the second. A year of two digits stands for 1950 to 2049.
fn time(rest: &mut &[u8]) -> Option<Timestamp> {
    let is_long = *rest.first()? == GENERALIZED_TIME;
    let text = str::from_utf8(take(rest, if is_long { GENERALIZED_TIME } else { UTC_TIME })?).ok()?;
    let text = match (is_long, text) {
        (true, text) => text.to_owned(),
        (false, text) if text < "50" => format!("20{text}"),
        (false, text) => format!("19{text}"),
    };
    let time = jiff::civil::DateTime::strptime("%Y%m%d%H%M%SZ", text).ok()?;
    TimeZone::UTC.to_timestamp(time).ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    #[test]
    fn the_end_of_a_certificate_is_found_in_both_forms_of_a_time() {
        for (year, expected) in [(2031, "2031-05-06T00:00:00Z"), (2072, "2072-05-06T00:00:00Z")] {
            let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
            params.not_before = date_time_ymd(2020, 1, 1);
            params.not_after = date_time_ymd(year, 5, 6);
            let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
            assert_eq!(not_after(certificate.der()).unwrap().to_string(), expected);
        }
    }

    #[test]
    fn what_is_no_certificate_has_no_end() {
        for bytes in [&[][..], &[0x30], &[0x30, 0x84, 0xff, 0xff, 0xff, 0xff], &[0x30, 0x80], &[0x30, 2, 0x30, 0]] {
            assert_eq!(not_after(bytes), None, "{bytes:?}");
        }
    }
}
