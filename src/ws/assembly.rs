//! Keeps back what a client sends until its message is whole. So the backend never has half a message of a client that is gone.
//!
//! Control frames pass at once, also those between the fragments of a message that is kept back. Control texts go no further. A
//! message that is larger than the bound passes as it comes, from the moment at which that is known: the header of a frame says it.

use std::mem;

use super::{
    Side,
    control_text::{ControlSecret, ControlText},
    frame::{Breach, MAX_CONTROL_FRAME},
    tracker::{End, Rules, Step, Tracker},
};

/// The frames of a client on their way to whole messages. No extension is in use.
#[derive(Debug, Default)]
pub struct Assembly {
    /// Where the client stands.
    tracker: Tracker,
    /// The frames of the present message, as far as they have come.
    held: Vec<u8>,
    /// The start of a header or of a control frame.
    kept: Vec<u8>,
    /// Whether the present message passes as it comes.
    streams: bool,
    /// Whether what is held passes with the next bytes, because memory is short.
    yields: bool,
    /// Whole messages that have passed.
    passed: u64,
    /// The greatest count that the client has told.
    told: u64,
}

/// What there was in the bytes of a client apart from what passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sorted {
    /// The bytes of the messages that have become whole.
    pub messages: usize,
    /// The bytes of control texts.
    pub texts: usize,
    /// How many of these have told nothing new.
    pub idle_texts: u64,
    /// The greatest count that the client has told.
    pub acknowledged: Option<u64>,
    /// The client broke the protocol behind what passes.
    pub breach: Option<Breach>,
}

const RULES: Rules = Rules { sender: Side::Client, extensions: false };

impl Assembly {
    /// Sorts the bytes of a client, and appends those that pass to `out`. `most`: the most bytes that are kept back.
    pub fn sort(&mut self, secret: &ControlSecret, most: usize, bytes: &[u8], out: &mut Vec<u8>) -> Sorted {
        let (mut sorted, most) = (Sorted::default(), most.max(MAX_CONTROL_FRAME));
        let joined;
        let mut rest = bytes;
        if !self.kept.is_empty() {
            joined = [&mem::take(&mut self.kept), bytes].concat();
            rest = &joined;
        }
        if mem::take(&mut self.yields) && !self.held.is_empty() {
            self.streams = true;
            out.append(&mut mem::take(&mut self.held));
        }
        while !rest.is_empty() {
            let length = match self.tracker.step(RULES, rest) {
                Ok(Step::Incomplete) => {
                    self.kept = rest.to_vec();
                    break;
                }
                Ok(Step::Control { length, .. }) => {
                    out.extend_from_slice(&rest[..length]);
                    length
                }
                Ok(Step::Data { length, end }) => {
                    self.take_piece(secret, most, (&rest[..length], end), (out, &mut sorted));
                    length
                }
                Err(breach) => {
                    sorted.breach = Some(breach);
                    break;
                }
            };
            rest = &rest[length..];
        }
        sorted
    }

    fn take_piece(
        &mut self,
        secret: &ControlSecret,
        most: usize,
        (piece, end): (&[u8], End),
        (out, sorted): (&mut Vec<u8>, &mut Sorted),
    ) {
        let known = self.held.len() as u64 + piece.len() as u64 + self.tracker.payload_left();
        if !self.streams && known > most as u64 {
            self.streams = true;
            out.append(&mut mem::take(&mut self.held));
        }
        if self.streams {
            out.extend_from_slice(piece);
            if end == End::Message {
                self.streams = false;
                self.passed += 1;
                sorted.messages += piece.len();
            }
            return;
        }
        if end != End::Message {
            return hold_back(&mut self.held, piece, most);
        }
        let length = self.held.len() + piece.len();
        let text = if length > MAX_CONTROL_FRAME { None } else { secret.read(&[&self.held, piece].concat()) };
        if let Some(text) = text {
            self.held = Vec::new();
            sorted.texts += length;
            match text {
                ControlText::Count(count) if count > self.told => {
                    self.told = count;
                    sorted.acknowledged = Some(count);
                }
                _ => sorted.idle_texts += 1,
            }
            return;
        }
        out.append(&mut mem::take(&mut self.held));
        out.extend_from_slice(piece);
        self.passed += 1;
        sorted.messages += length;
    }

    /// The client is gone. What is not whole is forgotten, because the client sends it again.
    pub fn begin_anew(&mut self) {
        *self = Self { passed: self.passed, told: self.told, ..Self::default() };
    }

    /// What is held passes with the next bytes, because memory is short. What may be a control text stays.
    pub fn shed(&mut self) {
        self.yields = self.held.len() > MAX_CONTROL_FRAME;
    }

    /// How many whole messages have passed.
    #[must_use]
    pub const fn passed(&self) -> u64 {
        self.passed
    }

    /// Whether a message has passed in part.
    #[must_use]
    pub const fn is_streaming(&self) -> bool {
        self.streams
    }

    /// The bytes of a message that is not whole.
    #[must_use]
    pub const fn held(&self) -> usize {
        self.held.len()
    }

    /// The memory that this takes.
    #[must_use]
    pub const fn memory(&self) -> usize {
        self.held.capacity() + self.kept.capacity()
    }
}

/// Appends a piece. The memory grows by doubling, but not beyond the bound.
fn hold_back(held: &mut Vec<u8>, piece: &[u8], most: usize) {
    let needed = held.len() + piece.len();
    if needed > held.capacity() {
        held.reserve_exact((2 * held.capacity()).min(most).max(needed) - held.len());
    }
    held.extend_from_slice(piece);
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;
    use crate::ws::frame::encode_header;

    const SECRET: &str = "0123456789abcdefghijkl:";
    const MOST: usize = 200;

    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let (mut frame, key) = (Vec::new(), [9, 8, 7, 6]);
        encode_header(first, payload.len() as u64, Some(key), &mut frame);
        frame.extend(payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
        frame
    }

    /// What passes of these pieces, and the assembly behind them.
    fn sort<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<u8>, Assembly, Option<Breach>) {
        let (secret, mut assembly, mut out) = (ControlSecret::new(SECRET).unwrap(), Assembly::default(), Vec::new());
        for piece in pieces {
            let before = assembly.is_streaming() || assembly.held() <= MOST;
            let sorted = assembly.sort(&secret, MOST, piece, &mut out);
            assert!(before && assembly.memory() <= MOST + MAX_CONTROL_FRAME);
            if sorted.breach.is_some() {
                return (out, assembly, sorted.breach);
            }
        }
        (out, assembly, None)
    }

    #[test]
    fn the_header_of_a_frame_says_that_its_message_will_not_be_kept_back() {
        let large = frame(0x82, &[7; MOST + 1]);
        let (out, assembly, _) = sort([&large[..8]]);
        assert_eq!((&out[..], assembly.is_streaming(), assembly.passed()), (&large[..8], true, 0));
        let (out, assembly, _) = sort([&large[..8], &large[8..]]);
        assert_eq!((out, assembly.is_streaming(), assembly.passed()), (large, false, 1));
    }

    #[test]
    fn many_small_fragments_are_bounded_as_their_bytes_are() {
        let (out, assembly, _) = sort([&[&frame(0x01, b"")[..], &frame(0x00, b"").repeat(MOST)].concat()[..]]);
        assert!(assembly.is_streaming() && out.len() > MOST);
    }

    #[test]
    fn a_breach_stays_where_it_is() {
        let (out, _, breach) =
            sort([&[&frame(0x81, b"whole")[..], &frame(0x01, b"half"), &frame(0x81, b"new")].concat()[..]]);
        assert_eq!((out, breach), (frame(0x81, b"whole"), Some(Breach::InterruptedMessage)));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_split_of_the_bytes_passes_the_same_messages(
            said in vec((0..5u8, prop_oneof![0..20usize, 60..250usize]), 0..12),
            cuts in vec(1..90usize, 1..20),
        ) {
            let (mut bytes, mut messages, mut controls) = (Vec::new(), Vec::<u8>::new(), Vec::<u8>::new());
            for (number, (kind, length)) in said.into_iter().enumerate() {
                let payload = vec![number as u8; length];
                let text = frame(0x81, format!("{SECRET}{number}").as_bytes());
                let ping = frame(0x89, &payload[..length.min(100)]);
                let message = match kind {
                    0 => { bytes.extend(&text); continue }
                    1 => vec![frame(0x82, &payload)],
                    2 => vec![frame(0x01, &payload), frame(0x80, &payload)],
                    _ => vec![frame(0x02, b""), frame(0x00, &payload), frame(0x80, b"end")],
                };
                for frame in &message {
                    bytes.extend(frame);
                    messages.extend(frame);
                    if kind > 3 {
                        bytes.extend(&ping);
                        controls.extend(&ping);
                    }
                }
            }
            let (mut rest, mut pieces, mut cuts) = (&bytes[..], Vec::new(), cuts.iter().cycle());
            while !rest.is_empty() {
                let (piece, behind) = rest.split_at(rest.len().min(*cuts.next().unwrap()));
                pieces.push(piece);
                rest = behind;
            }
            let (out, assembly, breach) = sort(pieces);
            prop_assert_eq!(breach, None);
            let (mut data, mut others, mut rest) = (Vec::<u8>::new(), Vec::<u8>::new(), &out[..]);
            let mut tracker = Tracker::default();
            while !rest.is_empty() {
                let (length, to) = match tracker.step(RULES, rest).unwrap() {
                    Step::Incomplete => panic!("half a frame"),
                    Step::Data { length, .. } => (length, &mut data),
                    Step::Control { length, .. } => (length, &mut others),
                };
                to.extend_from_slice(&rest[..length]);
                rest = &rest[length..];
            }
            prop_assert!(tracker.at_message_end() && assembly.held() == 0);
            prop_assert_eq!(data, messages);
            prop_assert_eq!(others, controls);
        }
    }
}
