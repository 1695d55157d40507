//! Close codes and reasons (RFC 6455 §7.4, IANA's registry of close codes).

use super::frame::{ControlFrame, MAX_CONTROL_PAYLOAD, OpCode};

/// The status code of a Close frame. Codes from the endpoints pass unchanged, also unknown ones. The constants are the
/// codes that the proxy itself writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CloseCode(pub u16);

impl CloseCode {
    /// The other end went away, or the session was idle.
    pub const GOING_AWAY: Self = Self(1001);
    /// The reader of this Close broke the protocol.
    pub const PROTOCOL_ERROR: Self = Self(1002);
    /// The reader of this Close sent a text that is not UTF-8.
    pub const INVALID_DATA: Self = Self(1007);
    /// The reader of this Close sent more than a limit allows.
    pub const POLICY_VIOLATION: Self = Self(1008);
    /// The reader of this Close sent a message that is too big.
    pub const MESSAGE_TOO_BIG: Self = Self(1009);
    /// The backend was lost.
    pub const INTERNAL_ERROR: Self = Self(1011);
    /// The proxy is restarting; the reader should connect again.
    pub const SERVICE_RESTART: Self = Self(1012);
    /// There is no room now; the reader should connect again later (IANA's registry).
    pub const TRY_AGAIN_LATER: Self = Self(1013);

    /// Whether a Close may have this code on the wire (§7.4.1).
    #[must_use]
    pub const fn may_be_sent(self) -> bool {
        self.0 >= 1000 && !matches!(self.0, 1004..=1006 | 1015)
    }
}

/// The code and the reason of a Close frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CloseFrame {
    /// `None` if the frame had no payload, or a payload of one byte, which holds no code.
    pub code: Option<CloseCode>,
    /// At most 123 bytes on the wire. Bytes that are not UTF-8 are replaced here, because the text is only for the log.
    pub reason: String,
}

impl CloseFrame {
    /// Reads the payload of a Close frame as leniently as the wire allows, because only the endpoints judge it.
    #[must_use]
    pub fn read(frame: &ControlFrame) -> Self {
        match frame.payload().split_first_chunk::<2>() {
            Some((code, reason)) => Self {
                code: Some(CloseCode(u16::from_be_bytes(*code))),
                reason: String::from_utf8_lossy(reason).into_owned(),
            },
            None => Self { code: None, reason: String::new() },
        }
    }
}

/// The answer to a Close with this code: the same code, unless it may not be sent.
#[must_use]
pub fn answer_to(code: Option<CloseCode>) -> ControlFrame {
    match code.filter(|code| code.may_be_sent()) {
        Some(code) => close_frame(code, ""),
        None => ControlFrame::new(OpCode::Close, &[], None),
    }
}

/// A Close of our own. A reason of more than 123 bytes is cut.
#[must_use]
pub fn close_frame(code: CloseCode, reason: &str) -> ControlFrame {
    let mut payload = [0; MAX_CONTROL_PAYLOAD];
    payload[..2].copy_from_slice(&code.0.to_be_bytes());
    let length = reason.len().min(MAX_CONTROL_PAYLOAD - 2);
    payload[2..2 + length].copy_from_slice(&reason.as_bytes()[..length]);
    ControlFrame::new(OpCode::Close, &payload[..2 + length], None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_close_of_ours_carries_code_and_reason() {
        let mut out = Vec::new();
        close_frame(CloseCode::INTERNAL_ERROR, "backend lost").encode(None, &mut out);
        assert_eq!(out, b"\x88\x0e\x03\xf3backend lost");
    }

    #[test]
    fn no_reason_of_ours_makes_a_control_frame_too_long() {
        let frame = close_frame(CloseCode::GOING_AWAY, &"x".repeat(200));
        assert_eq!(frame.payload().len(), MAX_CONTROL_PAYLOAD);
    }

    #[test]
    fn a_close_without_a_code_has_none() {
        for payload in [&b""[..], b"\x03"] {
            let frame = CloseFrame::read(&ControlFrame::new(OpCode::Close, payload, None));
            assert_eq!(frame, CloseFrame { code: None, reason: String::new() });
        }
    }

    #[test]
    fn unknown_codes_and_broken_reasons_are_read_all_the_same() {
        let frame = CloseFrame::read(&ControlFrame::new(OpCode::Close, b"\x0b\xb7caf\xff", None));
        assert_eq!(frame.code, Some(CloseCode(2999)));
        assert_eq!(frame.reason, "caf\u{fffd}");
    }
}
