//! The fields between a client, the service that is asked about its request (`auth_request` of a route), and the backend.
//! PURE.

use hyper::{
    HeaderMap,
    header::{EXPECT, HeaderName, HeaderValue, VIA},
};

use super::{
    MAX_FORWARDS,
    client_certificate::tells_of_a_certificate,
    onward::{dashed, reads_alike},
};

/// The client's method, for the service.
pub const X_FORWARDED_METHOD: HeaderName = HeaderName::from_static("x-forwarded-method");
/// The client's path and query, for a service that expects Traefik or Caddy.
pub const X_FORWARDED_URI: HeaderName = HeaderName::from_static("x-forwarded-uri");
/// The same, for a service that expects nginx.
pub const X_ORIGINAL_URI: HeaderName = HeaderName::from_static("x-original-uri");

/// Whether the service gets a field that goes to backends. The question has no body, is no handshake, and says itself
/// which request it is about.
///
/// A client may not say this in the place of the proxy: services also read `X-Original-URL` and `X-Original-Method`, which
/// the proxy does not send. Nor may a client do so under a name that a CGI-like service cannot tell from these.
#[must_use]
pub fn is_for_service(name: &HeaderName) -> bool {
    let belongs_elsewhere = |name: &HeaderName| {
        let text = name.as_str();
        ["content-", "sec-websocket-", "x-original-"].iter().any(|start| text.starts_with(start))
            || *name == X_FORWARDED_METHOD
            || *name == X_FORWARDED_URI
    };
    !belongs_elsewhere(name) && !dashed(name).is_some_and(|name| belongs_elsewhere(&name))
}

/// The fields that the proxy itself writes toward backends, and those that are its own matter.
const OURS: [HeaderName; 12] = [
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("x-forwarded-proto"),
    HeaderName::from_static("x-forwarded-host"),
    HeaderName::from_static("x-forwarded-port"),
    HeaderName::from_static("x-forwarded-prefix"),
    HeaderName::from_static("x-real-ip"),
    HeaderName::from_static("x-request-id"),
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("tracestate"),
    VIA,
    EXPECT,
    MAX_FORWARDS,
];

/// Whether a service may say this to a backend. What the proxy says of a request, no service can say in its place.
#[must_use]
pub fn may_be_granted(name: &HeaderName) -> bool {
    let is_ours = |name: &HeaderName| OURS.contains(name) || tells_of_a_certificate(name);
    !is_ours(name) && !dashed(name).is_some_and(|name| is_ours(&name))
}

/// The fields that a service has granted a request, for its backend.
#[derive(Debug, Clone, Copy)]
pub struct GrantedFields<'a> {
    /// The names of all fields that the service may grant.
    pub names: &'a [HeaderName],
    /// The fields that it has granted.
    pub fields: &'a HeaderMap,
}

impl<'a> GrantedFields<'a> {
    /// The fields of an answer that have one of these names. A field of one hop is none of them.
    #[must_use]
    pub fn of_answer(names: &[HeaderName], answer: &HeaderMap) -> HeaderMap {
        let mut fields = HeaderMap::new();
        for (name, value) in super::end_to_end(answer).filter(|(name, _)| names.contains(name)) {
            fields.append(name, value.clone());
        }
        fields
    }

    /// Whether a field of the client is left out, because only the service may say this. A backend that reads names as CGI
    /// does cannot tell `X_User` from `X-User`.
    #[must_use]
    pub fn replaces(&self, name: &HeaderName) -> bool {
        self.names.iter().any(|granted| reads_alike(granted, name))
    }

    /// The fields that were granted.
    pub fn iter(&self) -> impl Iterator<Item = (&'a HeaderName, &'a HeaderValue)> {
        self.fields.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::{super::tests::map, *};

    #[test]
    fn a_service_gets_nothing_of_a_body_of_a_handshake_or_of_another_question() {
        for (name, expected) in [
            ("cookie", true),
            ("authorization", true),
            ("origin", true),
            ("x-forwarded-for", true),
            ("x_user", true),
            ("x-original", true),
            ("content-length", false),
            ("content-type", false),
            ("content_encoding", false),
            ("sec-websocket-key", false),
            ("sec_websocket_protocol", false),
            ("x-forwarded-method", false),
            ("x-forwarded-uri", false),
            ("x-original-uri", false),
            ("x-original-url", false),
            ("x_original-method", false),
        ] {
            assert_eq!(is_for_service(&HeaderName::from_static(name)), expected, "{name}");
        }
    }

    #[test]
    fn what_the_proxy_says_of_a_request_no_service_can_say() {
        for (name, expected) in [
            ("x-user", true),
            ("authorization", true),
            ("x-forwarded-user", true),
            ("x-forwarded-for", false),
            ("x_forwarded_for", false),
            ("x-real-ip", false),
            ("x-client-cert-subject", false),
            ("x-client_cert-san", false),
            ("via", false),
            ("expect", false),
        ] {
            assert_eq!(may_be_granted(&HeaderName::from_static(name)), expected, "{name}");
        }
    }

    #[test]
    fn only_what_is_named_is_granted_and_the_client_may_say_none_of_it() {
        let names = ["x-user", "x-groups"].map(HeaderName::from_static);
        let answer = map(&[
            ("connection", "x-groups"),
            ("x-user", "ann"),
            ("x-user", "bob"),
            ("x-groups", "admins"),
            ("x-other", "1"),
        ]);
        let fields = GrantedFields::of_answer(&names, &answer);
        assert_eq!(fields, map(&[("x-user", "ann"), ("x-user", "bob")]));
        let granted = GrantedFields { names: &names, fields: &fields };
        for (name, expected) in [("x-user", true), ("x_user", true), ("x.groups", true), ("x-other", false)] {
            assert_eq!(granted.replaces(&HeaderName::from_static(name)), expected, "{name}");
        }
        let names = [HeaderName::from_static("x_user")];
        let granted = GrantedFields { names: &names, fields: &fields };
        assert!(granted.replaces(&HeaderName::from_static("x-user")), "whichever of the two the file names");
    }
}
