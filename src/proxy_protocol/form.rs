//! The header that a backend gets.

use super::{
    HeaderAddresses,
    checksum::crc32c,
    tlvs::{
        ALPN, AUTHORITY, CLIENT_HAS_CERTIFICATE, CLIENT_SPEAKS_TLS, CRC32C, MAX_UNIQUE_ID, SSL, SSL_VERSION, UNIQUE_ID,
    },
    v1, v2,
};

/// The form of the headers for an upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeaderForm {
    /// A line of text.
    V1,
    /// Binary, with these TLVs.
    V2(TlvChoice),
}

/// The TLVs that a backend is told, as far as they are known of a connection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TlvChoice {
    /// The name that the client asks for.
    pub authority: bool,
    /// The id of the request.
    pub unique_id: bool,
    /// That the client speaks TLS, and its version.
    pub ssl: bool,
    /// The protocol that TLS agreed on.
    pub alpn: bool,
    /// The checksum of the header.
    pub crc32c: bool,
}

/// What is known of a request and its connection. A word that is empty or too long is not told.
#[derive(Debug, Clone, Copy)]
pub struct HeaderFacts<'a> {
    /// The name that the client asks for, without a port.
    pub authority: &'a str,
    /// The id of the request.
    pub unique_id: &'a str,
    /// The TLS version, as OpenSSL writes it: `TLSv1.3`. `None` = the client speaks no TLS.
    pub tls: Option<&'a str>,
    /// Whether the client has shown a certificate, and the listener has verified the certificate.
    pub is_verified: bool,
    /// The protocol that TLS agreed on.
    pub alpn: Option<&'a [u8]>,
}

/// The most bytes of a name (RFC 1035 §2.3.4).
const MAX_NAME: usize = 255;

/// Room for a header with every TLV, in bytes.
const USUAL: usize = 256;

/// Of a verified certificate.
const VERIFIED: [u8; 4] = [0; 4];

/// The number of an error that stands for no verified certificate. Any number but 0 does.
const NOT_VERIFIED: [u8; 4] = [0, 0, 0, 1];

impl TlvChoice {
    /// The words in the file.
    pub fn words(self) -> impl Iterator<Item = &'static str> {
        let Self { authority, unique_id, ssl, alpn, crc32c } = self;
        let all =
            [(authority, "authority"), (unique_id, "unique_id"), (ssl, "ssl"), (alpn, "alpn"), (crc32c, "crc32c")];
        all.into_iter().filter_map(|(is_chosen, word)| is_chosen.then_some(word))
    }
}

impl HeaderForm {
    /// The word in the file.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V1 => "v1",
            Self::V2(_) => "v2",
        }
    }

    /// Whether a header stands for one request only.
    #[must_use]
    pub const fn is_unique(self) -> bool {
        matches!(self, Self::V2(TlvChoice { unique_id: true, .. }))
    }

    /// The header of a connection that is longwire's own, or whose client has no address.
    #[must_use]
    pub fn without_client(self) -> Vec<u8> {
        match self {
            Self::V1 => b"PROXY UNKNOWN\r\n".to_vec(),
            Self::V2(_) => v2::local(),
        }
    }

    /// The header of a client's connection. Addresses of two families become two IPv6 addresses.
    #[must_use]
    pub fn write(self, addresses: HeaderAddresses, facts: &HeaderFacts<'_>) -> Vec<u8> {
        let Self::V2(wanted) = self else { return v1::write(addresses) };
        let mut bytes = Vec::with_capacity(USUAL);
        v2::write(addresses, &mut bytes);
        if wanted.alpn {
            push(&mut bytes, ALPN, facts.alpn.unwrap_or_default(), MAX_NAME);
        }
        if wanted.authority {
            push(&mut bytes, AUTHORITY, facts.authority.as_bytes(), MAX_NAME);
        }
        if wanted.unique_id {
            push(&mut bytes, UNIQUE_ID, facts.unique_id.as_bytes(), MAX_UNIQUE_ID);
        }
        if let Some(version) = facts.tls.filter(|_| wanted.ssl) {
            let (client, verification) = match facts.is_verified {
                true => (CLIENT_SPEAKS_TLS | CLIENT_HAS_CERTIFICATE, VERIFIED),
                false => (CLIENT_SPEAKS_TLS, NOT_VERIFIED),
            };
            let mut ssl = [&[client][..], &verification].concat();
            push(&mut ssl, SSL_VERSION, version.as_bytes(), MAX_NAME);
            push(&mut bytes, SSL, &ssl, MAX_NAME);
        }
        if wanted.crc32c {
            push(&mut bytes, CRC32C, &[0; 4], 4);
        }
        let length = u16::try_from(bytes.len() - v2::FIXED).unwrap_or(u16::MAX);
        bytes[v2::FIXED - 2..v2::FIXED].copy_from_slice(&length.to_be_bytes());
        if wanted.crc32c {
            let sum = crc32c(&[&bytes]).to_be_bytes();
            let place = bytes.len() - sum.len();
            bytes[place..].copy_from_slice(&sum);
        }
        bytes
    }
}

/// Appends a TLV, unless its value is empty or longer than `most`, which fits into its length.
fn push(bytes: &mut Vec<u8>, kind: u8, value: &[u8], most: usize) {
    let Some(length) = u16::try_from(value.len()).ok().filter(|_| !value.is_empty() && value.len() <= most) else {
        return;
    };
    bytes.push(kind);
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(value);
}
