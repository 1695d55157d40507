//! What version 2 says beside the addresses: type, length and value, one after another.

use serde::{Deserialize, Serialize};

use super::{BadProxyHeader, checksum::crc32c};

pub(super) const ALPN: u8 = 0x01;
pub(super) const AUTHORITY: u8 = 0x02;
pub(super) const CRC32C: u8 = 0x03;
pub(super) const UNIQUE_ID: u8 = 0x05;
pub(super) const SSL: u8 = 0x20;
pub(super) const SSL_VERSION: u8 = 0x21;
const SSL_CLIENT_NAME: u8 = 0x22;
/// AWS: the kind of its value stands in the first byte.
const AWS: u8 = 0xea;
const AWS_VPC_ENDPOINT: u8 = 1;

/// In the first byte of [`SSL`]: the client speaks TLS.
pub(super) const CLIENT_SPEAKS_TLS: u8 = 1;
/// In the first byte of [`SSL`]: the client has shown a certificate, on this connection or earlier in its session.
pub(super) const CLIENT_HAS_CERTIFICATE: u8 = 2 | 4;

/// The most bytes of an id.
pub(super) const MAX_UNIQUE_ID: usize = 128;
/// The most bytes of text that are kept of any other value. A name of a host is shorter.
const LONGEST: usize = 256;

/// What a proxy said of a client's connection, as the record has it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProxyTlvs {
    /// The name that the client asked for (SNI).
    #[serde(rename = "proxy_authority", skip_serializing_if = "Option::is_none")]
    pub authority: Option<String>,
    /// The id of the connection. Bytes that are not visible ASCII make it hexadecimal.
    #[serde(rename = "proxy_unique_id", skip_serializing_if = "Option::is_none")]
    pub unique_id: Option<String>,
    /// The TLS version that the client speaks with the proxy.
    #[serde(rename = "proxy_tls", skip_serializing_if = "Option::is_none")]
    pub tls_version: Option<String>,
    /// The common name in the client's certificate.
    #[serde(rename = "proxy_client_cn", skip_serializing_if = "Option::is_none")]
    pub client_name: Option<String>,
    /// Whether the proxy verified the client's certificate. `None` = the client has shown none.
    #[serde(rename = "proxy_client_verified", skip_serializing_if = "Option::is_none")]
    pub is_client_verified: Option<bool>,
    /// The id of the VPC endpoint through which the client came (AWS).
    #[serde(rename = "vpc_endpoint", skip_serializing_if = "Option::is_none")]
    pub vpc_endpoint: Option<String>,
}

/// Reads the TLVs, which are the end of `header`.
pub(super) fn read(tlvs: &[u8], header: &[u8]) -> Result<ProxyTlvs, BadProxyHeader> {
    let (mut rest, mut told) = (tlvs, ProxyTlvs::default());
    while let Some((kind, value)) = take(&mut rest)? {
        match (kind, value) {
            (AUTHORITY, name) => told.authority = Some(text(name)),
            (CRC32C, sum) => check(sum, header, header.len() - rest.len() - sum.len())?,
            (UNIQUE_ID, id) => told.unique_id = Some(id_text(id)),
            (SSL, value) => read_ssl(value, &mut told)?,
            (AWS, [AWS_VPC_ENDPOINT, id @ ..]) => told.vpc_endpoint = Some(text(id)),
            _ => {}
        }
    }
    Ok(told)
}

/// Takes the next TLV. `None` = there is no more.
fn take<'a>(rest: &mut &'a [u8]) -> Result<Option<(u8, &'a [u8])>, BadProxyHeader> {
    if rest.is_empty() {
        return Ok(None);
    }
    let (&[kind, high, low], behind) = rest.split_first_chunk().ok_or(BadProxyHeader::Malformed)?;
    let length = usize::from(u16::from_be_bytes([high, low]));
    let (value, behind) = behind.split_at_checked(length).ok_or(BadProxyHeader::Malformed)?;
    *rest = behind;
    Ok(Some((kind, value)))
}

/// Whether `sum`, which stands at `place` of the header, is the checksum of the header with zeros in its place.
fn check(sum: &[u8], header: &[u8], place: usize) -> Result<(), BadProxyHeader> {
    let (Ok(sum), Some(before), Some(behind)) = (sum.try_into(), header.get(..place), header.get(place + 4..)) else {
        return Err(BadProxyHeader::Malformed);
    };
    if u32::from_be_bytes(sum) == crc32c(&[before, &[0; 4], behind]) { Ok(()) } else { Err(BadProxyHeader::Checksum) }
}

fn read_ssl(value: &[u8], told: &mut ProxyTlvs) -> Result<(), BadProxyHeader> {
    let (&[client, verify @ ..], mut rest) = value.split_first_chunk::<5>().ok_or(BadProxyHeader::Malformed)?;
    if client & CLIENT_HAS_CERTIFICATE != 0 {
        // 0 says that the certificate was verified. Any other number says why not.
        told.is_client_verified = Some(verify == [0; 4]);
    }
    while let Some((kind, value)) = take(&mut rest)? {
        match kind {
            SSL_VERSION => told.tls_version = Some(text(value)),
            SSL_CLIENT_NAME => told.client_name = Some(text(value)),
            _ => {}
        }
    }
    Ok(())
}

/// At most [`LONGEST`] bytes of text, without control characters, which would be six times as long in JSON.
fn text(value: &[u8]) -> String {
    let mut text = String::new();
    for character in String::from_utf8_lossy(value.get(..LONGEST).unwrap_or(value)).chars() {
        let character = if character.is_control() { char::REPLACEMENT_CHARACTER } else { character };
        if text.len() + character.len_utf8() > LONGEST {
            break;
        }
        text.push(character);
    }
    text
}

fn id_text(id: &[u8]) -> String {
    let id = id.get(..MAX_UNIQUE_ID).unwrap_or(id);
    match str::from_utf8(id) {
        Ok(id) if id.bytes().all(|byte| byte.is_ascii_graphic()) => id.to_owned(),
        _ => id.iter().map(|byte| format!("{byte:02x}")).collect(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn tlv(kind: u8, value: &[u8]) -> Vec<u8> {
        [&[kind], &u16::try_from(value.len()).unwrap().to_be_bytes()[..], value].concat()
    }

    fn ssl(client: u8, verify: u32, more: &[u8]) -> Vec<u8> {
        tlv(SSL, &[&[client], &verify.to_be_bytes()[..], more].concat())
    }

    #[test]
    fn the_known_ones_are_told_and_the_others_passed_over() {
        let bytes = [
            tlv(ALPN, b"http/1.1"),
            tlv(0x04, &[0; 9]),
            tlv(AUTHORITY, b"chat.example.com"),
            tlv(UNIQUE_ID, b"id-1"),
            ssl(1 | 2, 0, &[tlv(SSL_VERSION, b"TLSv1.3"), tlv(SSL_CLIENT_NAME, b"alice"), tlv(0x23, b"x")].concat()),
            tlv(0x30, b"netns"),
            tlv(AWS, b"\x01vpce-08d2bf15fac5001c9"),
            tlv(0xe0, b""),
        ]
        .concat();
        let told = read(&bytes, &bytes).unwrap();
        let wanted = ProxyTlvs {
            authority: Some("chat.example.com".into()),
            unique_id: Some("id-1".into()),
            tls_version: Some("TLSv1.3".into()),
            client_name: Some("alice".into()),
            is_client_verified: Some(true),
            vpc_endpoint: Some("vpce-08d2bf15fac5001c9".into()),
        };
        assert_eq!(told, wanted);
        assert_eq!(read(&tlv(AWS, b"\x02other"), &[]), Ok(ProxyTlvs::default()));
    }

    #[test]
    fn a_certificate_is_verified_only_if_there_is_one_and_nothing_is_wrong_with_it() {
        for (client, verify, wanted) in
            [(1, 0, None), (1, 1, None), (1 | 2, 0, Some(true)), (1 | 4, 0, Some(true)), (1 | 2, 1 << 24, Some(false))]
        {
            let bytes = ssl(client, verify, b"");
            assert_eq!(read(&bytes, &bytes).unwrap().is_client_verified, wanted, "{client} {verify}");
        }
    }

    #[test]
    fn long_and_binary_values_are_kept_in_few_characters() {
        let bytes = [tlv(AUTHORITY, &[b'a'; 4000]), tlv(UNIQUE_ID, &[0xab; 200]), tlv(AWS, b"\x01\xff")].concat();
        let told = read(&bytes, &bytes).unwrap();
        assert_eq!(told.authority.unwrap(), "a".repeat(LONGEST));
        assert_eq!(told.unique_id.unwrap(), "ab".repeat(MAX_UNIQUE_ID));
        assert_eq!(told.vpc_endpoint.unwrap(), "\u{fffd}");
        for bytes in [&[0xff; 300][..], &[1; 300]] {
            let bytes = tlv(AUTHORITY, bytes);
            assert_eq!(read(&bytes, &bytes).unwrap().authority.unwrap(), "\u{fffd}".repeat(LONGEST / 3));
        }
    }

    #[test]
    fn lengths_that_run_beyond_the_end_are_refused() {
        for bytes in [b"\x02".to_vec(), b"\x02\0\x02a".to_vec(), tlv(SSL, b"\x01\0\0\0"), ssl(1, 0, b"\x21\0\x09TLS")] {
            assert_eq!(read(&bytes, &bytes), Err(BadProxyHeader::Malformed), "{bytes:?}");
        }
        for sum in [&b""[..], b"\0\0\0", b"\0\0\0\0\0"] {
            let bytes = tlv(CRC32C, sum);
            assert_eq!(read(&bytes, &bytes), Err(BadProxyHeader::Malformed), "{sum:?}");
        }
    }
}
