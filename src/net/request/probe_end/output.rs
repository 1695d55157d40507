//! What waits for the client of a probe: frames, and the rest of an ordered message that is made only when it is sent. PURE.

use super::order::LONGEST_MESSAGE;
use crate::ws::{
    frame::{ControlFrame, encode_header},
    pieces::mask,
};

/// The most bytes that one probe gets, but for the answers to its orders: several of the longest messages.
pub(super) const MOST_BYTES: u64 = 8 * LONGEST_MESSAGE;

/// The most bytes of an ordered message that are made at once.
const PORTION: usize = 16 * 1024;

/// A frame costs at least its header, or empty ones would be without end.
const HEADER: u64 = 2;

/// Text and binary frames that are whole messages.
const TEXT: u8 = 0x81;
const BINARY: u8 = 0x82;

/// The bytes for the client. While nothing waits, it holds no buffer.
#[derive(Debug, Default)]
pub(super) struct ProbeOutput {
    bytes: Vec<u8>,
    /// How many of them the client has taken.
    taken: usize,
    /// Bytes of an ordered message that are still to be made.
    unmade: u64,
    /// The frame that goes back now has not come whole.
    is_open: bool,
    spent: u64,
    sent: u64,
}

impl ProbeOutput {
    /// Whether nothing waits for the client.
    pub(super) fn is_empty(&self) -> bool {
        self.unmade == 0 && self.taken == self.bytes.len()
    }

    /// Whether an ordered message is still to be made. Nothing may be put behind it before.
    pub(super) const fn is_making(&self) -> bool {
        self.unmade > 0
    }

    /// Whether a frame goes back whose rest has not come.
    pub(super) const fn is_open(&self) -> bool {
        self.is_open
    }

    /// Bytes that the client has taken.
    pub(super) const fn sent(&self) -> u64 {
        self.sent
    }

    /// What is to be sent next; empty if there is nothing.
    pub(super) fn next(&mut self) -> &[u8] {
        if self.taken == self.bytes.len() && self.unmade > 0 {
            let portion = usize::try_from(self.unmade).map_or(PORTION, |unmade| unmade.min(PORTION));
            self.unmade -= portion as u64;
            self.bytes.clear();
            self.bytes.resize(portion, 0);
            self.taken = 0;
        }
        self.bytes.get(self.taken..).unwrap_or_default()
    }

    /// Notes that the client has taken so many bytes.
    pub(super) fn take(&mut self, bytes: usize) {
        self.taken = self.bytes.len().min(self.taken + bytes);
        self.sent += bytes as u64;
        if self.is_empty() {
            (self.bytes, self.taken) = (Vec::new(), 0);
        }
    }

    /// Gives up what waits.
    pub(super) fn clear(&mut self) {
        (self.bytes, self.taken, self.unmade, self.is_open) = (Vec::new(), 0, 0, false);
    }

    /// Puts a text message.
    pub(super) fn put_text(&mut self, text: &str) {
        encode_header(TEXT, text.len() as u64, None, &mut self.bytes);
        self.bytes.extend_from_slice(text.as_bytes());
    }

    /// Puts a control frame.
    pub(super) fn put_control(&mut self, frame: &ControlFrame) {
        frame.encode(None, &mut self.bytes);
    }

    /// Puts a binary message of so many zeros. `false` = the probe may not get as many bytes.
    #[must_use]
    pub(super) fn put_zeros(&mut self, bytes: u64) -> bool {
        let may = self.spend(bytes);
        if may {
            encode_header(BINARY, bytes, None, &mut self.bytes);
            self.unmade = bytes;
        }
        may
    }

    /// Whether the probe may get a frame of so many bytes more.
    pub(super) const fn has_room_for(&self, payload: u64) -> bool {
        self.cost_with(payload) <= MOST_BYTES
    }

    /// Begins a frame that goes back, by its first byte and its length. `false` = the probe may not get as many bytes.
    #[must_use]
    pub(super) fn open_frame(&mut self, first: u8, length: u64) -> bool {
        let may = self.spend(length);
        if may {
            encode_header(first, length, None, &mut self.bytes);
            self.is_open = true;
        }
        may
    }

    /// Puts a piece of that frame, which came masked by `key`. `is_last`: the frame ends with it.
    pub(super) fn put_piece(&mut self, masked: &[u8], key: [u8; 4], is_last: bool) {
        let from = self.bytes.len();
        self.bytes.extend_from_slice(masked);
        mask(self.bytes.get_mut(from..).unwrap_or_default(), key);
        self.is_open = !is_last;
    }

    /// Takes a frame from the bytes that this probe may get. `false` = there are not as many.
    #[must_use]
    pub(super) fn spend(&mut self, payload: u64) -> bool {
        let may = self.has_room_for(payload);
        if may {
            self.spent = self.cost_with(payload);
        }
        may
    }

    const fn cost_with(&self, payload: u64) -> u64 {
        self.spent.saturating_add(payload).saturating_add(HEADER)
    }
}
