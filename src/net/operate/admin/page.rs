//! The live page: one file, which asks only the interface that it came from.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hyper::{
    StatusCode,
    header::{CONTENT_SECURITY_POLICY, HeaderName, HeaderValue, REFERRER_POLICY, X_FRAME_OPTIONS},
};

use crate::net::operate::desk::answer::{self, AdminAnswer, AdminRefusal};

const PAGE: &str = include_str!("page.html");
/// The place of the nonce in the file.
const NONCE: &str = "{{nonce}}";

/// The page, with a policy by which it runs its own script and no other.
///
/// # Errors
/// The kernel has no random bytes.
pub(super) fn answer() -> Result<AdminAnswer, AdminRefusal> {
    let mut bytes = [0; 16];
    let unavailable = |_| AdminRefusal::new(StatusCode::SERVICE_UNAVAILABLE, "busy", "the kernel has no random bytes");
    getrandom::fill(&mut bytes).map_err(unavailable)?;
    let nonce = STANDARD.encode(bytes);
    let policy = format!(
        "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; connect-src 'self'; img-src data:; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    let mut answer = answer::with_type(StatusCode::OK, "text/html; charset=utf-8", PAGE.replace(NONCE, &nonce));
    let headers = answer.headers_mut();
    // Base64 can always stand in a header.
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        headers.insert(CONTENT_SECURITY_POLICY, policy);
    }
    for (name, value) in [
        (X_FRAME_OPTIONS, "DENY"),
        (REFERRER_POLICY, "same-origin"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    Ok(answer)
}
