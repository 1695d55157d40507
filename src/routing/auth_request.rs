//! `auth_request` of a route: a service that is asked about each request, and what its answer means. PURE.

use std::{fmt, time::Duration};

use hyper::{
    HeaderMap, StatusCode, Uri,
    header::{HeaderName, HeaderValue},
};

/// The field by which the service says when a session has to end, in seconds of Unix time.
const X_SESSION_EXPIRES: HeaderName = HeaderName::from_static("x-session-expires");

/// The service that a route asks about each of its requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthRequest {
    /// Where the question goes. The path and the query are sent as they stand.
    pub url: Uri,
    /// `host:port` of the service.
    pub address: String,
    /// The place of the service in `Config::service_ways`.
    pub service: usize,
    /// The most time from the question to the end of the answer, connecting included.
    pub timeout: Duration,
    /// The fields of the answer that the backend gets. What clients send under these names is removed.
    pub pass: Vec<HeaderName>,
}

/// What an answer of the service means, by its status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthVerdict {
    /// The request goes on.
    Permits,
    /// The client gets this answer.
    Refuses,
    /// The answer decides nothing.
    Unusable,
}

impl AuthVerdict {
    /// The meaning of a status.
    #[must_use]
    pub const fn of(status: StatusCode) -> Self {
        match status.as_u16() {
            200..=299 => Self::Permits,
            300..=399 | 401 | 403 => Self::Refuses,
            _ => Self::Unusable,
        }
    }
}

/// Why the end of a session is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadExpiry {
    /// The end has passed.
    Past,
    /// The field is no number of seconds, or there are several.
    NoTime,
}

impl fmt::Display for BadExpiry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Past => "its X-Session-Expires has passed",
            Self::NoTime => "its X-Session-Expires is not one number of seconds since 1970",
        })
    }
}

/// How long a session may live by the answer of the service; `None` = the answer says nothing. `now`: the Unix time.
///
/// # Errors
/// The answer names no time that is still to come.
pub fn session_life(answer: &HeaderMap, now: Duration) -> Result<Option<Duration>, BadExpiry> {
    let mut ends = answer.get_all(X_SESSION_EXPIRES).iter();
    let end = match (ends.next(), ends.next()) {
        (None, _) => return Ok(None),
        (Some(end), None) => seconds(end).ok_or(BadExpiry::NoTime)?,
        (Some(_), Some(_)) => return Err(BadExpiry::NoTime),
    };
    match Duration::from_secs(end).checked_sub(now) {
        Some(life) if !life.is_zero() => Ok(Some(life)),
        _ => Err(BadExpiry::Past),
    }
}

/// The number that a field holds in plain digits. The parser of `u64` would accept a plus sign.
fn seconds(value: &HeaderValue) -> Option<u64> {
    let digits = value.to_str().ok()?;
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn two_hundreds_let_in_and_only_redirects_and_two_refusals_go_to_the_client() {
        let of = |status| AuthVerdict::of(StatusCode::from_u16(status).unwrap());
        for status in 100..=999 {
            let expected = match status {
                200..=299 => AuthVerdict::Permits,
                300..=399 | 401 | 403 => AuthVerdict::Refuses,
                _ => AuthVerdict::Unusable,
            };
            assert_eq!(of(status), expected, "{status}");
        }
    }

    #[test]
    fn the_end_of_a_session_is_a_time_that_is_still_to_come() {
        let life = |ends: &[&'static str]| {
            let mut answer = HeaderMap::new();
            for end in ends {
                answer.append(X_SESSION_EXPIRES, HeaderValue::from_static(end));
            }
            session_life(&answer, Duration::from_millis(1_000_500))
        };
        assert_eq!(life(&[]), Ok(None));
        assert_eq!(life(&["1001"]), Ok(Some(Duration::from_millis(500))));
        assert_eq!(life(&["18446744073709551615"]).unwrap().map(|life| life.as_secs()), Some(u64::MAX - 1001));
        for past in ["1000", "0", "999"] {
            assert_eq!(life(&[past]), Err(BadExpiry::Past), "{past}");
        }
        assert_eq!(
            session_life(
                &HeaderMap::from_iter([(X_SESSION_EXPIRES, HeaderValue::from_static("7"))]),
                Duration::from_secs(7)
            ),
            Err(BadExpiry::Past)
        );
        for bad in
            [&[""][..], &["-1"], &["+2000"], &["2000.5"], &["soon"], &["18446744073709551616"], &["2000", "2000"]]
        {
            assert_eq!(life(bad), Err(BadExpiry::NoTime), "{bad:?}");
        }
    }
}
