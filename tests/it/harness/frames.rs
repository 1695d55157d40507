//! Frames as bytes (RFC 6455 §5.2), built and read without any code of the crate under test.

pub const TEXT: u8 = 0x81;
pub const BINARY: u8 = 0x82;
/// First fragment of a text message.
pub const TEXT_BEGIN: u8 = 0x01;
/// A fragment that is neither the first nor the last.
pub const MIDDLE: u8 = 0x00;
/// The last fragment.
pub const END: u8 = 0x80;
pub const CLOSE: u8 = 0x88;
pub const PING: u8 = 0x89;
pub const PONG: u8 = 0x8a;
/// A bit for the first byte: permessage-deflate sets it on a compressed message.
pub const RSV1: u8 = 0x40;

const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// A frame as a backend sends it.
pub fn unmasked(first: u8, payload: impl AsRef<[u8]>) -> Vec<u8> {
    let payload = payload.as_ref();
    let mut frame = header(first, 0, payload.len());
    frame.extend_from_slice(payload);
    frame
}

/// A frame as a client sends it.
pub fn masked(first: u8, payload: impl AsRef<[u8]>) -> Vec<u8> {
    let payload = payload.as_ref();
    let mut frame = header(first, 0x80, payload.len());
    frame.extend_from_slice(&MASK);
    frame.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

/// A Close as a backend sends it.
pub fn unmasked_close(code: u16, reason: &str) -> Vec<u8> {
    unmasked(CLOSE, [&code.to_be_bytes(), reason.as_bytes()].concat())
}

/// A Close as a client sends it.
pub fn masked_close(code: u16, reason: &str) -> Vec<u8> {
    masked(CLOSE, [&code.to_be_bytes(), reason.as_bytes()].concat())
}

fn header(first: u8, mask_bit: u8, length: usize) -> Vec<u8> {
    match length {
        0..=125 => vec![first, mask_bit | u8::try_from(length).unwrap()],
        126..=0xffff => [&[first, mask_bit | 126], &u16::try_from(length).unwrap().to_be_bytes()[..]].concat(),
        _ => [&[first, mask_bit | 127], &u64::try_from(length).unwrap().to_be_bytes()[..]].concat(),
    }
}

/// A frame as it was read from a wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// FIN, RSV and opcode.
    pub first: u8,
    pub masked: bool,
    /// The payload without its mask.
    pub payload: Vec<u8>,
}

impl Frame {
    /// The frame at the start of `bytes`, and its length there; `None` = the frame is not complete yet.
    pub fn parse(bytes: &[u8]) -> Option<(Self, usize)> {
        let (&[first, second], rest) = bytes.split_first_chunk()?;
        let (length, rest) = match second & 0x7f {
            126 => rest.split_first_chunk().map(|(length, rest)| (usize::from(u16::from_be_bytes(*length)), rest))?,
            127 => rest
                .split_first_chunk()
                .map(|(length, rest)| (usize::try_from(u64::from_be_bytes(*length)).unwrap(), rest))?,
            short => (usize::from(short), rest),
        };
        let masked = second & 0x80 != 0;
        let (mask, rest) =
            if masked { rest.split_first_chunk().map(|(mask, rest)| (*mask, rest))? } else { ([0; 4], rest) };
        let payload = rest.get(..length)?.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect();
        Some((Self { first, masked, payload }, bytes.len() - rest.len() + length))
    }

    /// The code of a Close; `None` = the Close has none, or the frame is no Close.
    pub fn close_code(&self) -> Option<u16> {
        match self.payload.first_chunk() {
            Some(code) if self.first == CLOSE => Some(u16::from_be_bytes(*code)),
            _ => None,
        }
    }

    /// The reason of a Close; empty if it has none.
    pub fn close_reason(&self) -> String {
        String::from_utf8_lossy(self.payload.get(2..).unwrap_or_default()).into_owned()
    }
}
