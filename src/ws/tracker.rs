//! Follows the frames of one direction. The tracker reads headers and control frames, and lets payloads pass unread.
//!
//! The tracker consumes neither a partial header (at most 14 bytes) nor an incomplete control frame (at most 131
//! bytes): the caller keeps these bytes until more arrive. So if no payload is pending, the boundary between two frames
//! is real, and a frame of our own may go there.

use super::{
    Side,
    frame::{Breach, FrameHeader, OpCode},
};

/// The position of one direction within its frames. An idle session keeps two trackers, of one word each.
#[derive(Debug, Default)]
pub struct Tracker(
    /// The payload bytes of the current frame that are still to come, and [`FRAGMENTED`].
    u64,
);

/// The last fragment of the message has not begun yet. A length never has this bit (RFC 6455 §5.2).
const FRAGMENTED: u64 = 1 << 63;

/// The rules by which frames are judged.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// The side that sends the frames. A client's frames are masked, a backend's are not.
    pub sender: Side,
    /// Whether the backend's 101 agreed on an extension. Then RSV bits have a meaning.
    pub extensions: bool,
}

/// The next piece in the bytes of a direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step<'a> {
    /// Nothing whole: the caller keeps these bytes until more have come.
    Incomplete,
    /// Bytes of a data frame, header or payload.
    Data {
        /// The length of the piece in bytes.
        length: usize,
        /// What ends with the piece.
        end: End,
    },
    /// A whole control frame.
    Control {
        /// The length of the frame on the wire, in bytes.
        length: usize,
        /// Its header.
        header: FrameHeader,
        /// Its payload as it came. [`super::frame::ControlFrame::read`] removes the mask.
        payload: &'a [u8],
    },
}

/// What ends with a piece of data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Nothing ends: more of the frame is to come.
    Open,
    /// The frame ends, but not its message.
    Frame,
    /// The message ends, and so does its last frame.
    Message,
}

impl Tracker {
    /// Reads the piece at the start of `bytes` and consumes it; the step tells its length.
    ///
    /// # Errors
    /// The peer broke the protocol at the start of `bytes`. All bytes before them were correct.
    #[inline]
    pub fn step<'a>(&mut self, rules: Rules, bytes: &'a [u8]) -> Result<Step<'a>, Breach> {
        if !self.at_frame_end() {
            let length = usize::try_from(self.payload_left()).map_or(bytes.len(), |left| left.min(bytes.len()));
            return Ok(if length == 0 { Step::Incomplete } else { self.pass(length, 0) });
        }
        let Some((header, size)) = FrameHeader::parse(bytes)? else { return Ok(Step::Incomplete) };
        self.check(rules, &header)?;
        if header.opcode.is_control() {
            let Some(payload) = usize::try_from(header.length).ok().and_then(|length| bytes[size..].get(..length))
            else {
                return Ok(Step::Incomplete);
            };
            return Ok(Step::Control { length: size + payload.len(), header, payload });
        }
        self.0 = header.length | if header.fin { 0 } else { FRAGMENTED };
        let here = bytes.len() - size;
        let length = usize::try_from(header.length).map_or(here, |left| left.min(here));
        Ok(self.pass(length, size))
    }

    /// How many payload bytes of the current frame are still to come. All of them may pass unread.
    #[must_use]
    pub const fn payload_left(&self) -> u64 {
        self.0 & !FRAGMENTED
    }

    /// Counts payload bytes that passed unread, at most [`Self::payload_left`].
    pub fn skip(&mut self, length: u64) -> End {
        self.0 -= length.min(self.payload_left());
        self.end()
    }

    /// Whether no part of a frame is pending. Then a frame of our own may follow.
    #[must_use]
    pub const fn at_frame_end(&self) -> bool {
        self.payload_left() == 0
    }

    /// Whether no part of a message is pending.
    #[must_use]
    pub const fn at_message_end(&self) -> bool {
        self.0 == 0
    }

    const fn is_fragmented(&self) -> bool {
        self.0 & FRAGMENTED != 0
    }

    /// Counts `payload` bytes behind a header of `header` bytes as passed.
    fn pass(&mut self, payload: usize, header: usize) -> Step<'static> {
        self.0 -= payload as u64;
        Step::Data { length: header + payload, end: self.end() }
    }

    /// What has ended with the last piece.
    #[must_use]
    pub const fn end(&self) -> End {
        match self.0 {
            0 => End::Message,
            FRAGMENTED => End::Frame,
            _ => End::Open,
        }
    }

    const fn check(&self, rules: Rules, header: &FrameHeader) -> Result<(), Breach> {
        match (rules.sender, header.mask) {
            (Side::Client, None) => return Err(Breach::Unmasked),
            (Side::Backend, Some(_)) => return Err(Breach::Masked),
            _ => {}
        }
        // No extension in use gives the RSV bits of a control frame a meaning, and permessage-deflate marks only the
        // first frame of a message (RFC 7692 §6). The proxy does not check this: only the endpoints do.
        if header.rsv != 0 && !rules.extensions {
            return Err(Breach::ReservedBits);
        }
        match (header.opcode, self.is_fragmented()) {
            (OpCode::Continuation, false) => Err(Breach::StrayContinuation),
            (OpCode::Text | OpCode::Binary, true) => Err(Breach::InterruptedMessage),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::io::Cursor;

    use proptest::{collection::vec, prelude::*};
    use tokio_tungstenite::tungstenite::protocol::frame::{
        FrameHeader as Theirs,
        coding::{Control, Data, OpCode as TheirCode},
    };

    use super::*;
    use crate::ws::frame::ControlFrame;

    const CLIENT: Rules = Rules { sender: Side::Client, extensions: false };
    const BACKEND: Rules = Rules { sender: Side::Backend, extensions: false };

    /// The first breach in `bytes` from a backend without extensions.
    fn breach(bytes: &[u8]) -> Option<Breach> {
        let (mut tracker, mut rest) = (Tracker::default(), bytes);
        loop {
            match tracker.step(BACKEND, rest) {
                Ok(Step::Incomplete) => return None,
                Ok(Step::Data { length, .. } | Step::Control { length, .. }) => rest = &rest[length..],
                Err(breach) => return Some(breach),
            }
        }
    }

    #[test]
    fn fragments_come_in_order_and_control_frames_between_them() {
        assert_eq!(breach(b"\x01\x01a\x89\x00\x00\x01b\x8a\x00\x80\x01c\x82\x00"), None);
        assert_eq!(breach(b"\x80\x01a"), Some(Breach::StrayContinuation));
        assert_eq!(breach(b"\x01\x01a\x80\x01b\x00\x00"), Some(Breach::StrayContinuation));
        assert_eq!(breach(b"\x01\x01a\x81\x01b"), Some(Breach::InterruptedMessage));
        assert_eq!(breach(b"\x01\x01a\x89\x00\x02\x01b"), Some(Breach::InterruptedMessage));
    }

    #[test]
    fn each_side_masks_or_does_not() {
        let (masked, unmasked) = (b"\x81\x80\x01\x02\x03\x04", b"\x81\x00");
        assert!(Tracker::default().step(CLIENT, masked).is_ok());
        assert_eq!(Tracker::default().step(CLIENT, unmasked), Err(Breach::Unmasked));
        assert!(Tracker::default().step(BACKEND, unmasked).is_ok());
        assert_eq!(Tracker::default().step(BACKEND, masked), Err(Breach::Masked));
    }

    #[test]
    fn rsv_bits_need_an_extension() {
        for bit in [0x40, 0x20, 0x10] {
            assert_eq!(breach(&[0x81 | bit, 0x00]), Some(Breach::ReservedBits));
            assert!(Tracker::default().step(Rules { extensions: true, ..BACKEND }, &[0x81 | bit, 0x00]).is_ok());
        }
    }

    #[test]
    fn an_incomplete_control_frame_is_not_consumed() {
        let mut tracker = Tracker::default();
        let ping = b"\x89\x82\x01\x02\x03\x04\x69\x6b";
        for cut in 0..ping.len() {
            assert_eq!(tracker.step(CLIENT, &ping[..cut]), Ok(Step::Incomplete));
            assert!(tracker.at_message_end());
        }
        let Ok(Step::Control { length, header, payload }) = tracker.step(CLIENT, ping) else { panic!("it is whole") };
        assert_eq!(length, ping.len());
        assert_eq!(ControlFrame::read(&header, payload), ControlFrame::new(OpCode::Ping, b"hi", None));
    }

    #[test]
    fn boundaries_are_told_from_ends_of_messages() {
        let mut tracker = Tracker::default();
        assert_eq!(tracker.step(BACKEND, b"\x01\x03a"), Ok(Step::Data { length: 3, end: End::Open }));
        assert_eq!((tracker.at_frame_end(), tracker.payload_left()), (false, 2));
        assert_eq!(tracker.step(BACKEND, b"bc\x80"), Ok(Step::Data { length: 2, end: End::Frame }));
        assert_eq!((tracker.at_frame_end(), tracker.at_message_end()), (true, false));
        assert_eq!(tracker.step(BACKEND, b"\x80\x02"), Ok(Step::Data { length: 2, end: End::Open }));
        assert_eq!(tracker.skip(1), End::Open);
        assert_eq!(tracker.skip(1), End::Message);
        assert!(tracker.at_message_end());
    }

    #[test]
    fn the_longest_frame_there_is_overflows_nothing() {
        let mut tracker = Tracker::default();
        let header = b"\x82\x7f\x7f\xff\xff\xff\xff\xff\xff\xff";
        assert_eq!(tracker.step(BACKEND, header), Ok(Step::Data { length: 10, end: End::Open }));
        assert_eq!(tracker.payload_left(), (1 << 63) - 1);
        assert_eq!(tracker.skip(u64::MAX), End::Message);
    }

    /// A header that tungstenite writes, perhaps with one byte changed, and some bytes behind it.
    fn header() -> impl Strategy<Value = Vec<u8>> {
        let codes = prop::sample::select(vec![
            TheirCode::Data(Data::Continue),
            TheirCode::Data(Data::Text),
            TheirCode::Data(Data::Binary),
            TheirCode::Control(Control::Close),
            TheirCode::Control(Control::Ping),
            TheirCode::Control(Control::Pong),
        ]);
        let lengths = prop_oneof![4 => 0..130u64, 2 => 65_530..65_540u64, 1 => any::<u64>()];
        let bits = (any::<bool>(), prop::bits::u8::between(0, 3), any::<Option<[u8; 4]>>());
        let change = prop::option::of((0..14usize, any::<u8>()));
        (codes, lengths, bits, change, vec(any::<u8>(), 0..20)).prop_map(
            |(opcode, length, (is_final, rsv, mask), change, behind)| {
                let header =
                    Theirs { is_final, rsv1: rsv & 4 != 0, rsv2: rsv & 2 != 0, rsv3: rsv & 1 != 0, opcode, mask };
                let mut bytes = Vec::new();
                header.format(length, &mut bytes).unwrap();
                bytes.extend(behind);
                if let Some((index, byte)) = change.filter(|(index, _)| *index < bytes.len()) {
                    bytes[index] = byte;
                }
                bytes
            },
        )
    }

    fn same(ours: OpCode, theirs: TheirCode) -> bool {
        matches!(
            (ours, theirs),
            (OpCode::Continuation, TheirCode::Data(Data::Continue))
                | (OpCode::Text, TheirCode::Data(Data::Text))
                | (OpCode::Binary, TheirCode::Data(Data::Binary))
                | (OpCode::Close, TheirCode::Control(Control::Close))
                | (OpCode::Ping, TheirCode::Control(Control::Ping))
                | (OpCode::Pong, TheirCode::Control(Control::Pong))
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 4096, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn headers_are_read_as_tungstenite_reads_them(bytes in header(), cut in 0..34usize) {
            let bytes = &bytes[..bytes.len().min(cut)];
            let mut cursor = Cursor::new(bytes);
            let theirs = Theirs::parse(&mut cursor);
            match FrameHeader::parse(bytes) {
                Ok(Some((ours, size))) => {
                    let (header, length) = theirs.unwrap().unwrap();
                    let rsv = [(header.rsv1, 4), (header.rsv2, 2), (header.rsv3, 1)];
                    let rsv: u8 = rsv.into_iter().filter_map(|(set, bit)| set.then_some(bit)).sum();
                    prop_assert!(same(ours.opcode, header.opcode), "{ours:?} {header:?}");
                    prop_assert_eq!((ours.fin, ours.rsv, ours.mask), (header.is_final, rsv, header.mask));
                    prop_assert_eq!((ours.length, size as u64), (length, cursor.position()));
                }
                Ok(None) => prop_assert!(matches!(theirs, Ok(None)), "{theirs:?}"),
                // Each of these faults is compared with the bits that the RFC names, not with tungstenite.
                Err(Breach::ReservedOpcode) => prop_assert!(matches!(bytes[0] & 0x0F, 0x3..=0x7 | 0xB..=0xF)),
                Err(Breach::LongControl) => prop_assert!(bytes[0] & 0x08 != 0 && bytes[1] & 0x7F > 125),
                Err(Breach::FragmentedControl) => prop_assert!(bytes[0] & 0x88 == 0x08),
                Err(Breach::LengthTopBit) => prop_assert!(bytes[1] & 0x7F == 127 && bytes[2] & 0x80 != 0),
                Err(breach) => prop_assert!(false, "{breach} is not for a header to tell"),
            }
        }
    }
}
