//! The subprotocol by which a client offers to come back to its session (docs/resume.md). PURE.
//!
//! The offer is for us and not for the backend, on every route. So it is taken out of what the backend sees.

use std::fmt;

use hyper::{
    HeaderMap,
    header::{HeaderValue, SEC_WEBSOCKET_PROTOCOL},
};

use crate::headers::tokens;

/// The subprotocol. A 101 names it where a hello follows.
pub const SUBPROTOCOL: &str = "longwire.resume.v1";

/// The most characters of a token.
pub const LONGEST_TOKEN: usize = 200;

/// The most digits of a number.
const MOST_DIGITS: usize = 20;

/// What a client offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ResumeOffer {
    /// To come back later.
    Later,
    /// To go on with a session. `None` = what stands there cannot be read.
    Now(Option<Box<ResumeAttempt>>),
}

/// An attempt to go on with a session.
#[derive(Clone, PartialEq, Eq)]
pub struct ResumeAttempt {
    /// The token of the session, as the client had it from a hello. At most [`LONGEST_TOKEN`] characters.
    pub token: Box<str>,
    /// The number of the attempt, from 1.
    pub number: u64,
    /// How many messages of the backend the client has.
    pub count: u64,
}

/// Without the token: whoever has it has the session.
impl fmt::Debug for ResumeAttempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { number, count, .. } = self;
        write!(f, "ResumeAttempt {{ number: {number}, count: {count} }}")
    }
}

impl ResumeOffer {
    /// The offer in the fields of a handshake; `None` = there is none. A client that goes on may also offer the short form, so that
    /// the 101 names what it has offered (RFC 6455 §4.1).
    #[must_use]
    pub fn read(headers: &HeaderMap) -> Option<Self> {
        let offers = tokens(headers, &SEC_WEBSOCKET_PROTOCOL).filter_map(Self::of_item);
        offers.reduce(Self::or)
    }

    /// The one of two offers that counts: the later one, if it says more.
    pub(super) fn or(self, later: Self) -> Self {
        if later == Self::Later { self } else { later }
    }

    /// The offer that one item of the list makes.
    pub(super) fn of_item(item: &[u8]) -> Option<Self> {
        match item.strip_prefix(SUBPROTOCOL.as_bytes())? {
            [] => Some(Self::Later),
            [b'.', rest @ ..] => Some(Self::Now(ResumeAttempt::read(rest).map(Box::new))),
            // Another version of the protocol, or another protocol.
            _ => None,
        }
    }
}

impl ResumeAttempt {
    /// Reads `TOKEN.ATTEMPT.COUNT`.
    fn read(text: &[u8]) -> Option<Self> {
        let mut parts = text.split(|byte| *byte == b'.');
        let (token, number, count) = (parts.next()?, parts.next()?, parts.next()?);
        let is_token = (1..=LONGEST_TOKEN).contains(&token.len())
            && token.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(byte));
        if parts.next().is_some() || !is_token {
            return None;
        }
        let token = str::from_utf8(token).ok()?.into();
        Some(Self { token, number: decimal(number).filter(|number| *number > 0)?, count: decimal(count)? })
    }
}

/// Whether an item of `Sec-WebSocket-Protocol` is an offer of ours.
#[must_use]
pub fn is_resume_offer(item: &[u8]) -> bool {
    ResumeOffer::of_item(item).is_some()
}

/// Takes every offer out of the fields of a request. Other subprotocols stay, in their order.
pub fn withdraw_resume(headers: &mut HeaderMap) {
    // Few requests have the field, and to look for it costs less than to walk it.
    if !headers.contains_key(SEC_WEBSOCKET_PROTOCOL) || !tokens(headers, &SEC_WEBSOCKET_PROTOCOL).any(is_resume_offer) {
        return;
    }
    let stay = |line: &HeaderValue| -> Option<HeaderValue> {
        let items = line.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
        let left = items.filter(|item| !item.is_empty() && !is_resume_offer(item)).collect::<Vec<_>>().join(&b", "[..]);
        HeaderValue::from_bytes(&left).ok().filter(|line| !line.is_empty())
    };
    let left: Vec<_> = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter().filter_map(stay).collect();
    headers.remove(SEC_WEBSOCKET_PROTOCOL);
    for line in left {
        headers.append(SEC_WEBSOCKET_PROTOCOL, line);
    }
}

/// A number in decimal digits, and nothing else.
fn decimal(digits: &[u8]) -> Option<u64> {
    let is_decimal = (1..=MOST_DIGITS).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit);
    str::from_utf8(digits).ok().filter(|_| is_decimal)?.parse().ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fields(lines: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_str(line).unwrap());
        }
        headers
    }

    fn offered(line: &str) -> Option<ResumeOffer> {
        ResumeOffer::read(&fields(&[line]))
    }

    fn attempt(token: &str, number: u64, count: u64) -> Option<ResumeOffer> {
        Some(ResumeOffer::Now(Some(Box::new(ResumeAttempt { token: token.into(), number, count }))))
    }

    #[test]
    fn offers_are_read_wherever_they_stand() {
        assert_eq!(ResumeOffer::read(&HeaderMap::new()), None);
        for (lines, expected) in [
            (&["chat, superchat"][..], None),
            (&["longwire.resume.v1"], Some(ResumeOffer::Later)),
            (&["chat,longwire.resume.v1"], Some(ResumeOffer::Later)),
            (&["longwire.resume.v1 , chat", "superchat"], Some(ResumeOffer::Later)),
            (&["chat", "longwire.resume.v1.AbC_-9.1.0"], attempt("AbC_-9", 1, 0)),
            (&["longwire.resume.v1.t.7.18446744073709551615, longwire.resume.v1"], attempt("t", 7, u64::MAX)),
            (&["longwire.resume.v1", "longwire.resume.v1.t.00000000000000000002.3"], attempt("t", 2, 3)),
            (&["longwire.resume.v1.t.1.1, longwire.resume.v1.u.2.2"], attempt("u", 2, 2)),
            // Letter case counts, and so does every character.
            (
                &[
                    "Longwire.Resume.v1, longwire.resume.V1, longwire.resume.v10, longwire.resume.v2, xlongwire.resume.v1",
                ],
                None,
            ),
        ] {
            assert_eq!(ResumeOffer::read(&fields(lines)), expected, "{lines:?}");
        }
    }

    #[test]
    fn an_attempt_that_cannot_be_read_is_still_one() {
        let long = "a".repeat(LONGEST_TOKEN);
        assert_eq!(offered(&format!("longwire.resume.v1.{long}.1.1")), attempt(&long, 1, 1));
        for rest in [
            "",
            "t",
            "t.1",
            "t.1.",
            "t..1",
            ".1.1",
            "t.0.1",
            "t.1.1.1",
            "t.+1.1",
            "t.1.-1",
            "t.1. 1",
            "t.1.1x",
            "t.0x1.1",
            "t.18446744073709551616.1",
            "t.1.000000000000000000000",
            "t+.1.1",
            "t=.1.1",
            "t/.1.1",
            &format!("{long}a.1.1"),
        ] {
            assert_eq!(offered(&format!("longwire.resume.v1.{rest}")), Some(ResumeOffer::Now(None)), "{rest:?}");
        }
    }

    #[test]
    fn no_message_shows_a_token() {
        let text = format!("{:?}", attempt("secret", 3, 9).unwrap());
        assert!(text.contains("number: 3, count: 9") && !text.contains("secret"), "{text}");
    }

    #[test]
    fn offers_are_taken_out_of_every_line_and_the_others_stay_as_they_are() {
        for (lines, expected) in [
            (&["longwire.resume.v1"][..], &[][..]),
            (&["longwire.resume.v1.t.1.1"], &[]),
            (&["chat, longwire.resume.v1, longwire.resume.v1.t.1.1"], &["chat"]),
            (&["longwire.resume.v1,chat,,superchat"], &["chat, superchat"]),
            (&["chat, longwire.resume.v1", " ,longwire.resume.v1.", "v2.Chat"], &["chat", "v2.Chat"]),
            // Nothing of ours: not a byte changes.
            (&["chat,superchat ,", "", "longwire.resume.v2"], &["chat,superchat ,", "", "longwire.resume.v2"]),
        ] {
            let mut headers = fields(lines);
            withdraw_resume(&mut headers);
            let left: Vec<_> =
                headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter().map(|line| line.to_str().unwrap()).collect();
            assert_eq!(left, expected, "{lines:?}");
        }
    }

    proptest! {
        #[test]
        fn nothing_of_ours_is_left_and_nothing_else_is_lost(
            lines in prop::collection::vec(prop::collection::vec("(longwire\\.resume\\.v1)?[a.0-9, ]{0,9}", 0..5), 0..4),
        ) {
            let lines: Vec<_> = lines.iter().map(|items| items.join(",")).collect();
            let lines: Vec<_> = lines.iter().map(String::as_str).collect();
            let before = fields(&lines);
            let mut after = before.clone();
            withdraw_resume(&mut after);
            prop_assert_eq!(ResumeOffer::read(&after), None);
            let others: Vec<_> = tokens(&before, &SEC_WEBSOCKET_PROTOCOL).filter(|item| !is_resume_offer(item)).collect();
            prop_assert_eq!(tokens(&after, &SEC_WEBSOCKET_PROTOCOL).collect::<Vec<_>>(), others);
        }
    }
}
