//! The messages that went to a client and that it has not acknowledged, as they were on the wire. A client that comes back gets
//! them again.

use std::collections::VecDeque;

use super::{
    frame::{FrameHeader, MAX_HEADER},
    tracker::End,
};

/// The last messages for a client, in order. The last one may not be whole yet; what follows of it goes behind it.
#[derive(Debug, Default)]
pub struct ReplayLog {
    /// The frames of these messages, without control frames.
    bytes: VecDeque<u8>,
    /// How many of these bytes are of the message that is not whole.
    open: usize,
    /// Whether the present message is not kept.
    skips: bool,
    /// How many messages came before these.
    before: u64,
    /// How many whole messages there have been.
    sent: u64,
    acknowledged: u64,
    /// How many messages there were up to the last one that went without being acknowledged.
    trimmed: u64,
}

/// A client has acknowledged a message that was never sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NeverSent;

impl ReplayLog {
    /// A piece of a message has gone to a client that is there. The log keeps its bound `most`: the oldest messages go.
    /// `left`: how many bytes of the present frame are still to come.
    pub fn push(&mut self, piece: &[u8], left: u64, end: End, most: usize) {
        let known = self.open as u64 + piece.len() as u64 + left;
        if !self.skips && known > most as u64 {
            self.skip();
        }
        if !self.skips {
            while self.bytes.len() + piece.len() > most && self.before < self.sent {
                self.drop_first();
                self.trimmed = self.before;
            }
            self.append(piece, most);
        }
        self.end(end);
    }

    /// A piece of a message has come for a client that is away. Nothing goes for it: see [`Self::room`].
    pub fn keep(&mut self, piece: &[u8], end: End, most: usize) {
        self.append(piece, most);
        self.end(end);
    }

    /// How many bytes may still come for a client that is away. The start of a header may have come before.
    #[must_use]
    pub fn room(&self, most: usize) -> usize {
        most.saturating_sub(self.bytes.len() + MAX_HEADER)
    }

    /// The client has got so many messages. A smaller number than before says nothing new.
    ///
    /// # Errors
    /// There have not been so many.
    pub fn acknowledge(&mut self, count: u64) -> Result<(), NeverSent> {
        if count > self.sent {
            return Err(NeverSent);
        }
        self.acknowledged = self.acknowledged.max(count);
        while self.before < self.acknowledged {
            self.drop_first();
        }
        if self.bytes.is_empty() {
            self.bytes = VecDeque::new();
        }
        Ok(())
    }

    /// Appends the messages that are kept.
    pub fn replay(&self, out: &mut Vec<u8>) {
        let (first, second) = self.bytes.as_slices();
        out.extend_from_slice(first);
        out.extend_from_slice(second);
    }

    /// Forgets what is kept, because memory is short.
    pub fn shed(&mut self) {
        self.skips |= self.open > 0;
        self.open = 0;
        self.bytes = VecDeque::new();
        self.before = self.sent + u64::from(self.skips);
        if self.before > self.acknowledged {
            self.trimmed = self.before;
        }
    }

    /// Whether a client that has so many messages can get all others.
    #[must_use]
    pub const fn reaches(&self, count: u64) -> bool {
        self.before <= count && count <= self.sent
    }

    /// Whether every client that tells the truth can get all messages that it has not got.
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        self.trimmed <= self.acknowledged
    }

    /// How many whole messages are kept.
    #[must_use]
    pub const fn kept(&self) -> u64 {
        self.sent.saturating_sub(self.before)
    }

    /// How many messages came before those that are kept.
    #[must_use]
    pub const fn before(&self) -> u64 {
        self.before
    }

    /// How many whole messages there have been.
    #[must_use]
    pub const fn sent(&self) -> u64 {
        self.sent
    }

    /// The memory that this takes.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.bytes.capacity()
    }

    /// The present message is not kept, and so none before it.
    fn skip(&mut self) {
        self.bytes = VecDeque::new();
        (self.open, self.skips) = (0, true);
        self.before = self.sent + 1;
        self.trimmed = self.before;
    }

    /// The memory grows by doubling, but not beyond the bound.
    fn append(&mut self, piece: &[u8], most: usize) {
        let needed = self.bytes.len() + piece.len();
        if needed > self.bytes.capacity() {
            self.bytes.reserve_exact((2 * self.bytes.capacity()).min(most).max(needed) - self.bytes.len());
        }
        self.bytes.extend(piece);
        self.open += piece.len();
    }

    fn end(&mut self, end: End) {
        if end == End::Message {
            self.sent += 1;
            (self.open, self.skips) = (0, false);
        }
    }

    /// Forgets the first message.
    fn drop_first(&mut self) {
        let mut fin = false;
        while !fin && !self.bytes.is_empty() {
            let (mut head, mut size) = ([0; MAX_HEADER], 0);
            for (to, from) in head.iter_mut().zip(&self.bytes) {
                *to = *from;
                size += 1;
            }
            // What is kept has been read as frames before.
            let Ok(Some((header, size))) = FrameHeader::parse(&head[..size]) else { return self.shed() };
            let length = usize::try_from(header.length).unwrap_or(usize::MAX).saturating_add(size);
            self.bytes.drain(..length.min(self.bytes.len()));
            fin = header.fin;
        }
        self.before += 1;
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;
    use crate::ws::frame::encode_header;

    const MOST: usize = 100;

    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = Vec::new();
        encode_header(first, payload.len() as u64, None, &mut frame);
        frame.extend_from_slice(payload);
        frame
    }

    fn replayed(log: &ReplayLog) -> Vec<u8> {
        let mut out = Vec::new();
        log.replay(&mut out);
        out
    }

    #[test]
    fn a_message_in_fragments_goes_as_one() {
        let mut log = ReplayLog::default();
        let (begin, end, whole) = (frame(0x01, b"a"), frame(0x80, b"b"), frame(0x82, b"c"));
        log.push(&begin, 0, End::Frame, MOST);
        log.push(&end, 0, End::Message, MOST);
        log.push(&whole, 0, End::Message, MOST);
        assert_eq!(replayed(&log), [begin, end, whole.clone()].concat());
        log.acknowledge(1).unwrap();
        assert_eq!((replayed(&log), log.kept()), (whole, 1));
        assert_eq!(log.acknowledge(3), Err(NeverSent));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

        /// Compared with a list of all messages.
        #[test]
        fn the_log_has_the_last_messages_that_fit(steps in vec((0..8u8, 0..130usize), 0..40)) {
            let (mut log, mut all, mut acknowledged) = (ReplayLog::default(), Vec::new(), 0);
            for (kind, length) in steps {
                match kind {
                    0 => {
                        acknowledged = acknowledged.max(length.min(all.len()));
                        log.acknowledge(length.min(all.len()) as u64).unwrap();
                    }
                    1 => log.shed(),
                    _ => {
                        let message = frame(0x82, &vec![all.len() as u8; length]);
                        let (head, tail) = message.split_at(message.len() / 2);
                        log.push(head, tail.len() as u64, End::Open, MOST);
                        log.push(tail, 0, End::Message, MOST);
                        all.push(message);
                    }
                }
                let before = usize::try_from(log.before()).unwrap();
                prop_assert!(log.memory() <= MOST && before >= acknowledged);
                prop_assert_eq!(log.sent(), all.len() as u64);
                prop_assert_eq!(replayed(&log), all[before..].concat());
                prop_assert_eq!(log.is_complete(), log.trimmed <= acknowledged as u64);
                prop_assert!(log.trimmed <= log.before());
            }
        }
    }
}
