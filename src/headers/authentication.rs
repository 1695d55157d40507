//! Authentication that holds for a connection and not for one request. PURE.
//!
//! HTTP has no state, but these schemes do: after NTLM or Negotiate, the server takes every request on that connection
//! for a request of the same user (RFC 4559 §6; MS-NTHT §1.6).

use hyper::{
    HeaderMap,
    header::{AUTHORIZATION, HeaderName, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, WWW_AUTHENTICATE},
};

/// The schemes that authenticate a connection. `Nego2` and `Kerberos` are older names of Negotiate.
const SCHEMES: [&[u8]; 4] = [b"ntlm", b"negotiate", b"nego2", b"kerberos"];

/// The field in which IIS says whether the connection stays authenticated.
const PERSISTENT_AUTH: HeaderName = HeaderName::from_static("persistent-auth");

/// Whether a request with these fields authenticates the connection that it is sent on.
#[must_use]
pub fn authenticates_connection(request: &HeaderMap) -> bool {
    [AUTHORIZATION, PROXY_AUTHORIZATION].iter().any(|name| names_scheme(request, name))
}

/// Whether an answer with these fields asks the client to authenticate the connection.
#[must_use]
pub fn asks_to_authenticate_connection(answer: &HeaderMap) -> bool {
    [WWW_AUTHENTICATE, PROXY_AUTHENTICATE].iter().any(|name| names_scheme(answer, name))
}

/// Whether an answer with these fields says that the connection belongs to one user, or will.
#[must_use]
pub fn belongs_to_one_client(answer: &HeaderMap) -> bool {
    let is_persistent =
        |value: &hyper::header::HeaderValue| value.as_bytes().trim_ascii().eq_ignore_ascii_case(b"true");
    asks_to_authenticate_connection(answer) || answer.get_all(PERSISTENT_AUTH).iter().any(is_persistent)
}

/// Whether a field names one of the schemes.
///
/// A field may carry several challenges, separated by commas (RFC 9110 §11.6.1). This code also splits at a comma
/// within quotes. At worst it then finds a scheme that is not there, and a connection is not shared although it could
/// be.
fn names_scheme(headers: &HeaderMap, name: &HeaderName) -> bool {
    let fields = headers.get_all(name).into_iter();
    let mut parts = fields.flat_map(|field| field.as_bytes().split(|byte| *byte == b','));
    parts.any(|part| {
        let word = part.trim_ascii().split(u8::is_ascii_whitespace).next().unwrap_or_default();
        SCHEMES.iter().any(|scheme| word.eq_ignore_ascii_case(scheme))
    })
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    fn answer(challenges: &[&'static str]) -> HeaderMap {
        let field = |value: &&'static str| (WWW_AUTHENTICATE, HeaderValue::from_static(value));
        challenges.iter().map(field).collect()
    }

    #[test]
    fn a_challenge_is_found_wherever_it_stands_and_however_it_is_spelt() {
        for challenges in [
            &["NTLM"][..],
            &["Negotiate"],
            &["ntlm TlRMTVNTUAACAAAA"],
            &["Basic realm=\"a\"", "NTLM"],
            &["Digest realm=\"a, b\", nonce=\"c\",Negotiate"],
            &["Negotiate oYG2MIGzoAMKAQE="],
        ] {
            assert!(asks_to_authenticate_connection(&answer(challenges)), "{challenges:?}");
        }
        for challenges in [&[][..], &["Basic realm=\"NTLM\""], &["Bearer"], &["Digest realm=\"x\""], &["NTLMv3"]] {
            assert!(!asks_to_authenticate_connection(&answer(challenges)), "{challenges:?}");
        }
    }

    #[test]
    fn a_request_authenticates_its_connection_by_either_field() {
        for name in [AUTHORIZATION, PROXY_AUTHORIZATION] {
            let with = |value| HeaderMap::from_iter([(name.clone(), HeaderValue::from_static(value))]);
            assert!(authenticates_connection(&with("NTLM TlRMTVNTUAADAAAA")), "{name}");
            assert!(authenticates_connection(&with("negotiate YII")), "{name}");
            assert!(!authenticates_connection(&with("Basic TlRMOm50bG0=")), "{name}");
            assert!(!authenticates_connection(&with("Bearer negotiate")), "{name}");
        }
    }

    #[test]
    fn a_server_that_says_that_the_connection_stays_authenticated_is_believed() {
        let with = |value| HeaderMap::from_iter([(PERSISTENT_AUTH, HeaderValue::from_static(value))]);
        assert!(belongs_to_one_client(&with("true")));
        assert!(!belongs_to_one_client(&with("false")));
    }
}
