//! The spelling of field names where this proxy writes them itself. PURE.
//!
//! Letter case has no meaning (RFC 9110 §5.1), but some programs on the market search for `Sec-WebSocket-Accept` byte
//! by byte. So names are written as the RFCs spell them.

use hyper::header::HeaderName;

/// The names that have another spelling than a capital at the beginning and after each hyphen.
const EXCEPTIONS: [(&str, &str); 22] = [
    ("a-im", "A-IM"),
    ("alpn", "ALPN"),
    ("baggage", "baggage"),
    ("content-id", "Content-ID"),
    ("content-md5", "Content-MD5"),
    ("dnt", "DNT"),
    ("dpop", "DPoP"),
    ("etag", "ETag"),
    ("im", "IM"),
    ("mime-version", "MIME-Version"),
    ("nel", "NEL"),
    ("sec-ch-ua", "Sec-CH-UA"),
    ("sec-ch-ua-mobile", "Sec-CH-UA-Mobile"),
    ("sec-ch-ua-platform", "Sec-CH-UA-Platform"),
    ("sec-gpc", "Sec-GPC"),
    ("soapaction", "SOAPAction"),
    ("te", "TE"),
    ("traceparent", "traceparent"),
    ("tracestate", "tracestate"),
    ("www-authenticate", "WWW-Authenticate"),
    ("x-real-ip", "X-Real-IP"),
    ("x-request-id", "X-Request-ID"),
];

/// In names with this prefix, only the prefix has a special spelling; the rest follows the general rule.
const WEBSOCKET: (&str, &str) = ("sec-websocket-", "Sec-WebSocket-");

/// Appends a name in the spelling of the RFCs.
pub fn spell(name: &HeaderName, line: &mut Vec<u8>) {
    let name = name.as_str();
    // The lengths of most names differ, so a linear search is cheaper than a binary one.
    if let Some((_, spelling)) = EXCEPTIONS.iter().find(|(known, _)| *known == name) {
        line.extend_from_slice(spelling.as_bytes());
        return;
    }
    let rest = match name.strip_prefix(WEBSOCKET.0) {
        Some(rest) => {
            line.extend_from_slice(WEBSOCKET.1.as_bytes());
            rest
        }
        None => name,
    };
    capitalize(rest, line);
}

/// Appends a name with a capital at the beginning and after each hyphen, as hyper writes it.
pub fn capitalize(name: &str, line: &mut Vec<u8>) {
    let start = line.len();
    line.extend_from_slice(name.as_bytes());
    let mut begins = true;
    for byte in &mut line[start..] {
        if begins {
            byte.make_ascii_uppercase();
        }
        begins = *byte == b'-';
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn names_are_spelled_as_the_rfcs_have_them() {
        for name in [
            "Host",
            "Content-Length",
            "Sec-WebSocket-Accept",
            "Sec-WebSocket-Extensions",
            "Sec-Fetch-Mode",
            "X-Forwarded-For",
            "Set-Cookie",
            "X_odd--Name",
            "-",
        ] {
            assert_eq!(spelled(&name.to_ascii_lowercase()), name);
        }
        for (name, spelling) in EXCEPTIONS {
            assert_eq!(spelled(name), spelling);
            assert!(name.eq_ignore_ascii_case(spelling), "{name} is another name than {spelling}");
        }
    }

    fn spelled(name: &str) -> String {
        let mut line = Vec::new();
        spell(&HeaderName::from_bytes(name.as_bytes()).unwrap(), &mut line);
        String::from_utf8(line).unwrap()
    }
}
