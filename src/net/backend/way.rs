//! How connections with the backends of an upstream come about.

use std::sync::Arc;

use super::tls::ClientTls;
use crate::config::UnixName;

/// The `Host` of a server at a Unix socket, which has no name that can stand there (curl and nginx write the same).
pub(super) const UNIX_HOST: &str = "localhost";

/// How connections with the backends of an upstream come about, apart from their addresses. Whatever tells two connections
/// to one address apart stands here: the pool never uses a connection for a request that goes another way.
#[derive(Debug, Clone, Default)]
pub(in crate::net) struct Way {
    /// `None` = in the clear.
    pub(in crate::net) tls: Option<Arc<ClientTls>>,
}

impl Way {
    /// What the backend is called, as a `Host` has it: with its port, unless that is the port of the scheme (RFC 9110 §4.2.1
    /// and §4.2.2).
    pub(in crate::net) fn host_of<'a>(&self, authority: &'a str) -> &'a str {
        host_of(self.tls.is_some(), authority)
    }
}

fn host_of(tls: bool, authority: &str) -> &str {
    if authority.starts_with(UnixName::PREFIX) {
        return UNIX_HOST;
    }
    authority.strip_suffix(if tls { ":443" } else { ":80" }).unwrap_or(authority)
}

impl PartialEq for Way {
    fn eq(&self, other: &Self) -> bool {
        match (&self.tls, &other.tls) {
            (None, None) => true,
            // Two upstreams with the same settings have two ways.
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (None, Some(_)) | (Some(_), None) => false,
        }
    }
}

impl Eq for Way {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_of_a_backend_names_no_port_that_the_scheme_has_anyway() {
        for (address, plain, over_tls) in [
            ("chat.internal:80", "chat.internal", "chat.internal:80"),
            ("chat.internal:443", "chat.internal:443", "chat.internal"),
            ("[::1]:80", "[::1]", "[::1]:80"),
            ("chat.internal:8080", "chat.internal:8080", "chat.internal:8080"),
            ("10.0.0.1:1443", "10.0.0.1:1443", "10.0.0.1:1443"),
            ("unix:/run/app.sock:80", "localhost", "localhost"),
            ("unix:@app", "localhost", "localhost"),
        ] {
            assert_eq!((host_of(false, address), host_of(true, address)), (plain, over_tls));
        }
    }
}
