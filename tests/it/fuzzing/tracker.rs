//! One direction, fed as a whole and in pieces: the frames, their ends and the breach must be the same.

use longwire::ws::{
    Side,
    frame::{Breach, MAX_CONTROL_FRAME, OpCode},
    tracker::{End, Rules, Step, Tracker},
};

/// What the tracker saw, and at which byte of the direction. Data that ends nothing is left out, because its place depends on
/// the pieces.
#[derive(Debug, PartialEq)]
enum Seen {
    End(usize, End),
    Control(usize, OpCode, Vec<u8>),
    Breach(usize, Breach),
}

/// The first byte chooses the sender and its extensions, the second byte the pieces. The rest are the bytes of the sender.
pub fn check(bytes: &[u8]) {
    let [choice, seed, sent @ ..] = bytes else { return };
    let sender = if choice & 1 == 0 { Side::Client } else { Side::Backend };
    let rules = Rules { sender, extensions: choice & 2 != 0 };
    let whole = feed(rules, sent, |_| sent.len().max(1));
    let mut state = u32::from(*seed) + 1;
    let pieces = feed(rules, sent, |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        // Mostly single bytes, sometimes a few hundred.
        1 + (state >> 24) as usize * usize::from(state & 0x300 == 0)
    });
    assert_eq!(whole, pieces);
}

/// Feeds `sent` in pieces. Bytes that were not consumed are fed again in front of the next piece.
fn feed(rules: Rules, sent: &[u8], mut piece: impl FnMut(usize) -> usize) -> (Vec<Seen>, usize) {
    let (mut tracker, mut seen, mut consumed, mut come) = (Tracker::default(), Vec::new(), 0, 0);
    while come < sent.len() {
        come = sent.len().min(come + piece(come));
        while consumed < come {
            match tracker.step(rules, &sent[consumed..come]) {
                Ok(Step::Incomplete) => break,
                Ok(Step::Data { length, end }) => {
                    assert!(length > 0 && consumed + length <= come, "a step of {length} bytes");
                    consumed += length;
                    assert_eq!(tracker.at_frame_end(), end != End::Open);
                    assert_eq!(tracker.at_message_end(), end == End::Message);
                    if end != End::Open {
                        seen.push(Seen::End(consumed, end));
                    }
                }
                Ok(Step::Control { length, header, payload }) => {
                    assert_eq!(header.length, payload.len() as u64);
                    assert!(tracker.at_frame_end(), "a control frame inside a frame");
                    consumed += length;
                    seen.push(Seen::Control(consumed, header.opcode, payload.to_vec()));
                }
                Err(breach) => {
                    seen.push(Seen::Breach(consumed, breach));
                    return (seen, consumed);
                }
            }
        }
        assert!(come - consumed < MAX_CONTROL_FRAME, "{} bytes are kept back", come - consumed);
        assert!(come == consumed || tracker.payload_left() == 0, "payload is kept back");
    }
    (seen, consumed)
}
