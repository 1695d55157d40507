//! A name that a certificate can have: a host name or an IP address.

use std::fmt;

use tokio_rustls::rustls::pki_types::ServerName;

use super::{bad_value::BadValue, unix_name::UnixName};

/// A name that the certificate of a backend must have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CertificateName(pub(super) ServerName<'static>);

impl CertificateName {
    pub(super) const KIND: &str = "a host name or an IP address";
    pub(super) const PATTERN: &str = r"^[0-9A-Za-z._:-]+$|\$\{";
    pub(super) const EXAMPLE: &str = "chat.example.com";

    pub(super) fn parse(text: &str) -> Result<Self, BadValue> {
        ServerName::try_from(text.to_owned()).map(Self).map_err(|_| {
            let help = "write one host name or IP address, without a port: chat.example.com";
            BadValue::new(format!("no certificate has the name `{text}`"), help)
        })
    }
}

impl fmt::Display for CertificateName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.to_str())
    }
}

/// The name of the backend at this address, that is, of its host. `None` = no certificate can have that name.
pub(crate) fn of_backend(address: &str) -> Option<ServerName<'static>> {
    if address.starts_with(UnixName::PREFIX) {
        return None;
    }
    let (host, _) = address.rsplit_once(':')?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    ServerName::try_from(host.to_owned()).ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_backend_is_called_as_its_address_says_without_the_port() {
        for (address, name) in [
            ("chat.internal:9001", "chat.internal"),
            ("app_1:80", "app_1"),
            ("127.0.0.1:443", "127.0.0.1"),
            ("[::1]:443", "::1"),
        ] {
            assert_eq!(of_backend(address).unwrap().to_str(), name);
        }
        for address in ["-chat-:80", "unix:/run/app.sock", "unix:@app:443"] {
            assert_eq!(of_backend(address), None, "{address}");
        }
    }

    #[test]
    fn a_pattern_or_an_address_with_a_port_is_no_name() {
        for text in ["*.example.com", "chat.example.com:443", "", "a b", "[::1]"] {
            assert!(CertificateName::parse(text).is_err(), "{text:?}");
        }
        assert_eq!(CertificateName::parse("2001:db8::1").unwrap().to_string(), "2001:db8::1");
    }
}
