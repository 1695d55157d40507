//! The first message to a client that offers to come back to its session (docs/resume.md). PURE.

use std::{fmt, time::Duration};

use serde::Serialize;

use super::{
    frame::{OpCode, encode_header},
    session::ResumeTerms,
};

/// The most bytes of a hello.
pub const LONGEST_HELLO: usize = 2048;

/// A message that tells a client on what terms it has its session.
#[derive(Clone, PartialEq, Eq, Serialize)]
pub struct Hello<'a> {
    /// The version of the hello.
    longwire: u8,
    resume: &'static str,
    resumed: bool,
    token: &'a str,
    secret: &'a str,
    protocol: Option<&'a str>,
    received: u64,
    beat_ms: u64,
    replay: u64,
    for_ms: u64,
}

/// Without token and secret.
impl fmt::Debug for Hello<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hello {{ resume: {}, resumed: {} }}", self.resume, self.resumed)
    }
}

impl<'a> Hello<'a> {
    /// For a session that can be resumed. `received`: how many messages of the client have passed, if it comes back; `None` = the
    /// session is new.
    #[must_use]
    pub fn on(
        token: &'a str,
        secret: &'a str,
        protocol: Option<&'a str>,
        terms: &ResumeTerms,
        received: Option<u64>,
    ) -> Self {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Self {
            longwire: 1,
            resume: "on",
            resumed: received.is_some(),
            token,
            secret,
            protocol,
            received: received.unwrap_or_default(),
            beat_ms: millis(terms.beat),
            replay: terms.replay as u64,
            for_ms: millis(terms.longest),
        }
    }
}

impl Hello<'_> {
    /// For a route on which no session can be resumed.
    pub const OFF: Self = Self {
        longwire: 1,
        resume: "off",
        resumed: false,
        token: "",
        secret: "",
        protocol: None,
        received: 0,
        beat_ms: 0,
        replay: 0,
        for_ms: 0,
    };

    /// The hello as one text frame from a server.
    #[must_use]
    pub fn frame(&self) -> Vec<u8> {
        // No value of these types fails.
        let json = serde_json::to_vec(self).unwrap_or_default();
        let mut frame = Vec::with_capacity(json.len() + 4);
        encode_header(FIRST_BYTE, json.len() as u64, None, &mut frame);
        frame.extend_from_slice(&json);
        frame
    }
}

/// FIN, and the opcode of a text.
const FIRST_BYTE: u8 = 0x80 | OpCode::Text.nibble();

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hello_of_a_session_says_what_both_ends_keep_to_and_whether_it_is_the_one_of_before() {
        let (longest, beat) = (Duration::from_secs(30), Duration::from_millis(1500));
        let terms = ResumeTerms { longest, replay: 65536, beat };
        let hello = Hello::on("token", "secret:", Some("chat\"v2"), &terms, Some(7));
        let expected = br#"{"longwire":1,"resume":"on","resumed":true,"token":"token","secret":"secret:","protocol":"chat\"v2","received":7,"beat_ms":1500,"replay":65536,"for_ms":30000}"#;
        assert_eq!(hello.frame(), [&[0x81, 126, 0, expected.len() as u8][..], expected].concat());
        let new = Hello::on("token", "secret:", None, &terms, None).frame();
        assert!(new.ends_with(br#""protocol":null,"received":0,"beat_ms":1500,"replay":65536,"for_ms":30000}"#));
        assert_eq!(format!("{hello:?}"), "Hello { resume: on, resumed: true }");
    }

    #[test]
    fn hello_of_a_route_without_resume_has_every_field_and_no_value() {
        let expected = br#"{"longwire":1,"resume":"off","resumed":false,"token":"","secret":"","protocol":null,"received":0,"beat_ms":0,"replay":0,"for_ms":0}"#;
        let mut frame = vec![0x81, 0x7e, 0, expected.len() as u8];
        frame.extend_from_slice(expected);
        assert_eq!(Hello::OFF.frame(), frame);
    }
}
