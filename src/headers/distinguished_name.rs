//! Names in certificates as RFC 4514 writes them, for the value of a field. PURE.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use x509_parser::{
    asn1_rs::{Class, ToDer as _},
    x509::{AttributeTypeAndValue, X509Name},
};

/// The short names of RFC 4514 §3, and two more that OpenSSL writes and certificates of clients often have, by the DER of
/// their numbers.
const SHORT_NAMES: [(&[u8], &str); 11] = [
    (&[0x55, 4, 3], "CN"),
    (&[0x55, 4, 5], "serialNumber"),
    (&[0x55, 4, 6], "C"),
    (&[0x55, 4, 7], "L"),
    (&[0x55, 4, 8], "ST"),
    (&[0x55, 4, 9], "STREET"),
    (&[0x55, 4, 10], "O"),
    (&[0x55, 4, 11], "OU"),
    // 0.9.2342.19200300.100.1.1 and .25, 1.2.840.113549.1.9.1
    (&[9, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 1], "UID"),
    (&[9, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 25], "DC"),
    (&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 1], "emailAddress"),
];

/// A name with its last part first.
pub(crate) fn distinguished_name(name: &X509Name<'_>) -> String {
    let mut text = String::new();
    let parts: Vec<_> = name.iter_rdn().collect();
    for (place, part) in parts.into_iter().rev().enumerate() {
        if place > 0 {
            text.push(',');
        }
        for (place, attribute) in part.iter().enumerate() {
            if place > 0 {
                text.push('+');
            }
            push_attribute(attribute, &mut text);
        }
    }
    text
}

/// Digits of bytes, in lower case.
pub(super) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |value: u8| char::from(DIGITS[usize::from(value)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 0xf)]).collect()
}

/// Appends `CN=value`, or `1.2.3=#` and the value's DER in hexadecimal digits, if there is no short name or the value is
/// no text.
fn push_attribute(attribute: &AttributeTypeAndValue<'_>, text: &mut String) {
    let number = attribute.attr_type().as_bytes();
    let name = SHORT_NAMES.iter().find(|(known, _)| *known == number).map(|(_, name)| *name);
    match name {
        Some(name) => text.push_str(name),
        None => text.push_str(&dotted(number)),
    }
    text.push('=');
    match (name, text_of(attribute)) {
        (Some(_), Some(value)) => push_value(&value, text),
        _ => {
            text.push('#');
            text.push_str(&hex(&attribute.attr_value().to_der_vec().unwrap_or_default()));
        }
    }
}

/// The number of an attribute's type, as X.690 §8.19 encodes it. Bytes that are no such number are written as they are,
/// in hexadecimal digits without a dot.
fn dotted(bytes: &[u8]) -> String {
    let mut arcs: Vec<u128> = Vec::new();
    let mut arc = 0_u128;
    for byte in bytes {
        let Some(higher) = arc.checked_mul(128) else { return hex(bytes) };
        arc = higher | u128::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            arcs.push(arc);
            arc = 0;
        }
    }
    let Some((first, rest)) = arcs.split_first().filter(|_| bytes.last().is_some_and(|last| last & 0x80 == 0)) else {
        return hex(bytes);
    };
    // The first two numbers are one: the first is 0, 1 or 2, and only under 2 may the second be 40 or more.
    let root = (*first / 40).min(2);
    let numbers = [root, first - root * 40].into_iter().chain(rest.iter().copied());
    numbers.map(|number| number.to_string()).collect::<Vec<_>>().join(".")
}

/// The value of an attribute in whichever of the string types of X.520 it is; `None` = it is in none of them.
fn text_of(attribute: &AttributeTypeAndValue<'_>) -> Option<String> {
    let (value, bytes) = (attribute.attr_value(), attribute.as_slice());
    if value.class() != Class::Universal || value.header.constructed() {
        return None;
    }
    match value.tag().0 {
        // UTF8String, NumericString, PrintableString, IA5String, VisibleString.
        12 | 18 | 19 | 22 | 26 => String::from_utf8(bytes.to_vec()).ok(),
        // TeletexString: who still writes it means Latin-1.
        20 => Some(bytes.iter().copied().map(char::from).collect()),
        // UniversalString: UTF-32.
        28 => {
            let (units, []) = bytes.as_chunks::<4>() else { return None };
            units.iter().map(|unit| char::from_u32(u32::from_be_bytes(*unit))).collect()
        }
        // BMPString: UTF-16.
        30 => {
            let (units, []) = bytes.as_chunks::<2>() else { return None };
            char::decode_utf16(units.iter().map(|unit| u16::from_be_bytes(*unit))).collect::<Result<_, _>>().ok()
        }
        _ => None,
    }
}

/// Appends a value with the escapes of RFC 4514 §2.4, percent-encoded over them. An escaped comma is `\%2C`, so that
/// whoever decodes first finds the escape, and whoever splits first finds no comma.
fn push_value(value: &str, text: &mut String) {
    for (place, character) in value.char_indices() {
        let is_first = place == 0;
        let is_last = place + character.len_utf8() == value.len();
        match character {
            '\0' => {
                text.push_str("\\00");
                continue;
            }
            '"' | '+' | ',' | ';' | '<' | '>' | '\\' => text.push('\\'),
            '#' if is_first => text.push('\\'),
            ' ' if is_first || is_last => text.push('\\'),
            _ => {}
        }
        let is_plain = (' '..='~').contains(&character) && !matches!(character, '%' | ',');
        // Programs cut a space off the end of a field.
        if is_plain && !(character == ' ' && is_last) {
            text.push(character);
        } else {
            text.extend(utf8_percent_encode(character.encode_utf8(&mut [0; 4]), NON_ALPHANUMERIC));
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use percent_encoding::percent_decode_str;
    use proptest::prelude::*;
    use rcgen::{
        CertificateParams, DistinguishedName, DnType, DnValue, KeyPair,
        string::{BmpString, TeletexString, UniversalString},
    };
    use x509_parser::{certificate::X509Certificate, prelude::FromDer as _};

    use super::*;

    fn subject(parts: Vec<(DnType, DnValue)>) -> String {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        for (kind, value) in parts {
            params.distinguished_name.push(kind, value);
        }
        let made = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let (_, certificate) = X509Certificate::from_der(made.der()).unwrap();
        distinguished_name(certificate.subject())
    }

    fn common_name(value: &str) -> String {
        subject(vec![(DnType::CommonName, value.into())])
    }

    #[test]
    fn a_subject_is_written_from_its_last_part_to_its_first() {
        let parts = vec![
            (DnType::CountryName, "DE".into()),
            (DnType::OrganizationName, "Example".into()),
            (DnType::OrganizationalUnitName, "Ops".into()),
            (DnType::CommonName, "device-1".into()),
        ];
        assert_eq!(subject(parts), "CN=device-1,OU=Ops,O=Example,C=DE");
        assert_eq!(subject(Vec::new()), "");
    }

    #[test]
    fn no_character_of_a_name_can_be_taken_for_a_part_of_the_subject_or_of_the_field() {
        for (name, expected) in [
            ("Doe, John", r"CN=Doe\%2C John"),
            ("a%2Cb", "CN=a%252Cb"),
            ("a=b,CN=root", r"CN=a=b\%2CCN=root"),
            (r#"a"b+c;d<e>f\g"#, r#"CN=a\"b\+c\;d\<e\>f\\g"#),
            ("#1", r"CN=\#1"),
            ("1#", "CN=1#"),
            (" a b ", r"CN=\ a b\%20"),
            (" ", r"CN=\%20"),
            ("Jörg", "CN=J%C3%B6rg"),
            ("世界", "CN=%E4%B8%96%E7%95%8C"),
            ("a\r\nX-Admin: 1", "CN=a%0D%0AX-Admin: 1"),
            ("a\tb\u{7f}", "CN=a%09b%7F"),
            ("a\0b", r"CN=a\00b"),
        ] {
            let told = common_name(name);
            assert_eq!(told, expected, "{name:?}");
            assert!(told.bytes().all(|byte| (b' '..=b'~').contains(&byte)) && !told.ends_with(' '), "{told}");
        }
    }

    #[test]
    fn every_type_of_string_is_read() {
        let names = [
            DnValue::Utf8String("ö".into()),
            DnValue::BmpString(BmpString::try_from("ö").unwrap()),
            DnValue::UniversalString(UniversalString::try_from("ö").unwrap()),
        ];
        for name in names {
            assert_eq!(subject(vec![(DnType::CommonName, name)]), "CN=%C3%B6");
        }
        let teletex = DnValue::TeletexString(TeletexString::try_from("abc").unwrap());
        assert_eq!(subject(vec![(DnType::CommonName, teletex)]), "CN=abc");
    }

    #[test]
    fn an_attribute_without_a_short_name_is_its_number_and_its_der() {
        let title = DnType::CustomDnType(vec![2, 5, 4, 12]);
        assert_eq!(subject(vec![(title, "Dr".into())]), "2.5.4.12=#0c024472");
        let mail = DnType::CustomDnType(vec![1, 2, 840, 113_549, 1, 9, 1]);
        assert_eq!(subject(vec![(mail, "a@example".into())]), "emailAddress=a@example");
    }

    #[test]
    fn a_number_is_written_as_it_is_encoded_and_no_number_is_taken_for_another() {
        for (bytes, expected) in [
            (&[0x55, 4, 3][..], "2.5.4.3"),
            (&[0x88, 0x37, 1], "2.999.1"),
            (&[0x2a, 0x86, 0x48], "1.2.840"),
            (&[0x55, 4, 0x80, 3], "2.5.4.3"),
            (&[0x55, 4, 0x83], "550483"),
            (&[], ""),
        ] {
            assert_eq!(dotted(bytes), expected, "{bytes:?}");
        }
        assert_eq!(dotted(&[0xff; 40]), "ff".repeat(40));
        // This looks like the common name only after a needless byte, so it has no short name.
        assert!(SHORT_NAMES.iter().all(|(known, _)| *known != [0x55, 4, 0x80, 3]));
    }

    proptest! {
        #[test]
        fn whoever_decodes_and_unescapes_has_the_value_back_and_whoever_splits_finds_no_comma(value in any::<String>()) {
            let mut told = String::new();
            push_value(&value, &mut told);
            prop_assert!(told.bytes().all(|byte| (b' '..=b'~').contains(&byte) && byte != b','));
            prop_assert_eq!(told.trim(), &told);
            let decoded = percent_decode_str(&told).decode_utf8().unwrap();
            let mut unescaped = String::new();
            let mut characters = decoded.chars();
            while let Some(character) = characters.next() {
                match character {
                    '\\' => match characters.next().unwrap() {
                        '0' => {
                            prop_assert_eq!(characters.next(), Some('0'));
                            unescaped.push('\0');
                        }
                        escaped => unescaped.push(escaped),
                    },
                    other => unescaped.push(other),
                }
            }
            prop_assert_eq!(unescaped, value);
        }
    }
}
