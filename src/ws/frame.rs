//! The header of a frame (RFC 6455 §5.2), and the control frames that the proxy itself writes.

use std::fmt;

/// The longest header: two bytes, a 64-bit length and a mask, in bytes.
pub const MAX_HEADER: usize = 14;
/// The longest payload of a control frame, in bytes (RFC 6455 §5.5).
pub const MAX_CONTROL_PAYLOAD: usize = 125;
/// The longest control frame on the wire: a short header, a mask and a payload, in bytes.
pub const MAX_CONTROL_FRAME: usize = 2 + 4 + MAX_CONTROL_PAYLOAD;

/// The kind of a frame (RFC 6455 §5.2, §11.8).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpCode {
    /// A further fragment of a message that a Text or Binary frame began.
    Continuation,
    /// A text message, or its first fragment.
    Text,
    /// A binary message, or its first fragment.
    Binary,
    /// The last frame of its sender.
    Close,
    /// A question: is the other end there?
    Ping,
    /// The answer to a Ping, with the Ping's payload.
    Pong,
}

impl OpCode {
    /// Every opcode, in the order of their numbers.
    pub const ALL: [Self; 6] = [Self::Continuation, Self::Text, Self::Binary, Self::Close, Self::Ping, Self::Pong];

    const fn parse(nibble: u8) -> Option<Self> {
        Some(match nibble {
            0x0 => Self::Continuation,
            0x1 => Self::Text,
            0x2 => Self::Binary,
            0x8 => Self::Close,
            0x9 => Self::Ping,
            0xA => Self::Pong,
            _ => return None,
        })
    }

    /// The number of the opcode, four bits.
    pub(super) const fn nibble(self) -> u8 {
        match self {
            Self::Continuation => 0x0,
            Self::Text => 0x1,
            Self::Binary => 0x2,
            Self::Close => 0x8,
            Self::Ping => 0x9,
            Self::Pong => 0xA,
        }
    }

    /// The word for the opcode in metrics and in the log.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Continuation => "continuation",
            Self::Text => "text",
            Self::Binary => "binary",
            Self::Close => "close",
            Self::Ping => "ping",
            Self::Pong => "pong",
        }
    }

    /// Whether the opcode is Close, Ping or Pong. Such a frame is short and whole, and may go between the fragments of
    /// a message.
    #[must_use]
    pub const fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}

/// A frame's header, as read from the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHeader {
    /// Whether the frame is the last fragment of its message.
    pub fin: bool,
    /// RSV1, RSV2 and RSV3 as the bits 4, 2 and 1. Only a negotiated extension gives them a meaning.
    pub rsv: u8,
    /// The kind of the frame.
    pub opcode: OpCode,
    /// The key that masks the payload. Only clients mask (RFC 6455 §5.1).
    pub mask: Option<[u8; 4]>,
    /// Bytes of payload that follow the header, at most 2⁶³ − 1.
    pub length: u64,
}

impl FrameHeader {
    /// Reads a header at the start of `bytes` and returns it with its size; `None` = more bytes are needed.
    ///
    /// # Errors
    /// The header has a fault that no extension allows: a reserved opcode, a long or fragmented control frame, or a
    /// length with its top bit set. A length in more bytes than it needs is no fault here: only the two ends judge it.
    pub fn parse(bytes: &[u8]) -> Result<Option<(Self, usize)>, Breach> {
        let &[first, second, ref rest @ ..] = bytes else { return Ok(None) };
        let fin = first & 0x80 != 0;
        let opcode = OpCode::parse(first & 0x0F).ok_or(Breach::ReservedOpcode)?;
        let short = second & 0x7F;
        if opcode.is_control() {
            if usize::from(short) > MAX_CONTROL_PAYLOAD {
                return Err(Breach::LongControl);
            }
            if !fin {
                return Err(Breach::FragmentedControl);
            }
        }
        let (length, rest) = match short {
            126 => match rest.split_first_chunk::<2>() {
                Some((length, rest)) => (u64::from(u16::from_be_bytes(*length)), rest),
                None => return Ok(None),
            },
            127 => match rest.split_first_chunk::<8>() {
                Some((length, rest)) => (u64::from_be_bytes(*length), rest),
                None => return Ok(None),
            },
            short => (u64::from(short), rest),
        };
        if length >> 63 != 0 {
            return Err(Breach::LengthTopBit);
        }
        let (mask, rest) = if second & 0x80 == 0 {
            (None, rest)
        } else {
            match rest.split_first_chunk::<4>() {
                Some((mask, rest)) => (Some(*mask), rest),
                None => return Ok(None),
            }
        };
        let header = Self { fin, rsv: (first >> 4) & 0x7, opcode, mask, length };
        Ok(Some((header, bytes.len() - rest.len())))
    }
}

/// Appends a header in its form on the wire, with the shortest form of its length. `first`: FIN, the RSV bits and the opcode.
pub fn encode_header(first: u8, length: u64, mask: Option<[u8; 4]>, out: &mut Vec<u8>) {
    let masked = if mask.is_some() { 0x80 } else { 0 };
    out.push(first);
    match length {
        // Each arm proves that the narrower integer holds the length.
        short @ 0..=125 => out.push(masked | short as u8),
        medium @ 126..=0xFFFF => {
            out.push(masked | 126);
            out.extend((medium as u16).to_be_bytes());
        }
        long => {
            out.push(masked | 127);
            out.extend(long.to_be_bytes());
        }
    }
    out.extend(mask.iter().flatten());
}

/// A whole control frame; its payload is unmasked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ControlFrame {
    /// Close, Ping or Pong.
    pub opcode: OpCode,
    payload: [u8; MAX_CONTROL_PAYLOAD],
    length: u8,
}

impl ControlFrame {
    /// The control frame with this header and the payload behind it.
    #[must_use]
    pub fn read(header: &FrameHeader, payload: &[u8]) -> Self {
        Self::new(header.opcode, payload, header.mask)
    }

    /// Copies a payload of at most [`MAX_CONTROL_PAYLOAD`] bytes and removes its mask; a longer payload is cut.
    #[must_use]
    pub fn new(opcode: OpCode, masked: &[u8], mask: Option<[u8; 4]>) -> Self {
        let mut frame = Self { opcode, payload: [0; MAX_CONTROL_PAYLOAD], length: 0 };
        let key = mask.unwrap_or_default();
        for ((to, from), key) in frame.payload.iter_mut().zip(masked).zip(key.iter().cycle()) {
            *to = from ^ key;
            frame.length += 1;
        }
        frame
    }

    /// The payload, unmasked.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.payload[..usize::from(self.length)]
    }

    /// Appends the frame in its form on the wire. A frame toward a backend needs a `mask`; one toward a client has
    /// none.
    pub fn encode(&self, mask: Option<[u8; 4]>, out: &mut Vec<u8>) {
        out.push(0x80 | self.opcode.nibble());
        out.push(self.length | if mask.is_some() { 0x80 } else { 0 });
        out.extend(mask.iter().flatten());
        let key = mask.unwrap_or_default();
        out.extend(self.payload().iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
    }
}

/// A fault for which the proxy ends the session of the peer that sent it: the peer broke RFC 6455, the protocol of
/// docs/resume.md, or a limit of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Breach {
    /// A count of messages that were never sent (docs/resume.md).
    FalseCount,
    /// A control frame without FIN (§5.5).
    FragmentedControl,
    /// A frame of more than `limits.frame_size`.
    FrameTooBig,
    /// A new message before the last fragment of the previous one (§5.4).
    InterruptedMessage,
    /// A length of 2⁶³ or more (§5.2).
    LengthTopBit,
    /// A control frame of more than 125 bytes (§5.5).
    LongControl,
    /// A masked frame from a backend (§5.1).
    Masked,
    /// A message of more than `limits.message_size`, or from a backend of more than `limits.backend_message_size`.
    MessageTooBig,
    /// RSV bits without an extension that gives them a meaning (§5.2).
    ReservedBits,
    /// An opcode that has no meaning yet (§5.2).
    ReservedOpcode,
    /// A Continuation outside a message (§5.4).
    StrayContinuation,
    /// More bytes than `limits.bytes_per_second`.
    TooManyBytes,
    /// More than `limits.messages_per_second`. Every frame but a Close counts as a message.
    TooManyMessages,
    /// A frame without a mask from a client (§5.1).
    Unmasked,
}

impl Breach {
    /// The words for the Close and the log. All are far shorter than the 123 bytes that a reason may have.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::FalseCount => "count of messages that were never sent",
            Self::FragmentedControl => "fragmented control frame",
            Self::FrameTooBig => "frame too big",
            Self::InterruptedMessage => "new message inside a fragmented one",
            Self::LengthTopBit => "frame length with its top bit set",
            Self::LongControl => "control frame longer than 125 bytes",
            Self::Masked => "masked frame from a backend",
            Self::MessageTooBig => "message too big",
            Self::ReservedBits => "reserved bits without an extension",
            Self::ReservedOpcode => "reserved opcode",
            Self::StrayContinuation => "continuation of no message",
            Self::TooManyBytes => "too many bytes per second",
            Self::TooManyMessages => "too many messages per second",
            Self::Unmasked => "unmasked frame from a client",
        }
    }
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::error::Error for Breach {}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn header(bytes: &[u8]) -> (FrameHeader, usize) {
        FrameHeader::parse(bytes).unwrap().unwrap()
    }

    #[test]
    fn the_examples_of_rfc_6455_section_5_7_are_read() {
        let (hello, size) = header(&[0x81, 0x05, b'H', b'e', b'l', b'l', b'o']);
        assert_eq!(size, 2);
        assert_eq!(hello, FrameHeader { fin: true, rsv: 0, opcode: OpCode::Text, mask: None, length: 5 });

        let (masked, size) = header(&[0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f]);
        assert_eq!((size, masked.mask), (6, Some([0x37, 0xfa, 0x21, 0x3d])));

        let (fragment, _) = header(&[0x01, 0x03]);
        assert!(!fragment.fin);
        assert_eq!(header(&[0x82, 0x7E, 0x01, 0x00]).0.length, 256);
        let (long, size) = header(&[0x82, 0x7F, 0, 0, 0, 0, 0, 1, 0, 0]);
        assert_eq!((long.length, size), (65536, 10));
    }

    #[test]
    fn a_header_that_was_written_is_read_as_what_it_was() {
        for length in [0, 125, 126, 0xFFFF, 0x1_0000, (1 << 63) - 1] {
            for mask in [None, Some([1, 2, 3, 4])] {
                let mut out = Vec::new();
                encode_header(0xC2, length, mask, &mut out);
                let read = FrameHeader { fin: true, rsv: 4, opcode: OpCode::Binary, mask, length };
                assert_eq!(header(&out), (read, out.len()), "{length}");
            }
        }
    }

    #[test]
    fn a_header_is_asked_for_again_until_it_is_whole() {
        let whole = [0xC2, 0xFF, 0, 0, 0, 0, 0, 1, 0, 0, 1, 2, 3, 4];
        for cut in 0..whole.len() {
            assert_eq!(FrameHeader::parse(&whole[..cut]), Ok(None), "{cut} bytes");
        }
        let (header, size) = header(&whole);
        assert_eq!((size, header.rsv, header.mask), (MAX_HEADER, 4, Some([1, 2, 3, 4])));
    }

    #[test]
    fn what_no_peer_may_send_is_a_breach() {
        for (bytes, breach) in [
            (&[0x83, 0x00][..], Breach::ReservedOpcode),
            (&[0x8F, 0x00], Breach::ReservedOpcode),
            (&[0x89, 0x7E, 0, 126], Breach::LongControl),
            (&[0x08, 0x00], Breach::FragmentedControl),
            (&[0x82, 0x7F, 0x80, 0, 0, 0, 0, 0, 0, 0], Breach::LengthTopBit),
        ] {
            assert_eq!(FrameHeader::parse(bytes), Err(breach), "{bytes:x?}");
        }
    }

    #[test]
    fn control_frames_are_written_as_in_rfc_6455_section_5_7() {
        let mut out = Vec::new();
        ControlFrame::new(OpCode::Ping, b"Hello", None).encode(None, &mut out);
        assert_eq!(out, b"\x89\x05Hello");

        out.clear();
        ControlFrame::new(OpCode::Pong, b"Hello", None).encode(Some([0x37, 0xfa, 0x21, 0x3d]), &mut out);
        assert_eq!(out, [0x8a, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58]);
    }

    #[test]
    fn a_masked_payload_is_unmasked() {
        let masked = [0x7f, 0x9f, 0x4d, 0x51, 0x58];
        let frame = ControlFrame::new(OpCode::Pong, &masked, Some([0x37, 0xfa, 0x21, 0x3d]));
        assert_eq!(frame.payload(), b"Hello");
    }
}
