//! How many frames of each opcode have passed. Many sessions share one count, so a session spends no memory on it.

use std::ops::AddAssign;

use super::{Side, frame::OpCode};

/// The frames that have passed, by the side that sent them and by opcode. Frames of our own do not count.
///
/// The array has a place for each number that an opcode may have, so counting needs no decoding.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OpCodeCounts([[u64; 16]; 2]);

impl OpCodeCounts {
    /// Counts one frame, by the first byte of its header. A data frame counts when its header passes; a control frame
    /// counts when it passes whole.
    #[inline]
    pub fn count(&mut self, from: Side, first: u8) {
        self.0[from as usize][usize::from(first & 0x0F)] += 1;
    }

    /// How many frames with this opcode came from a side.
    #[must_use]
    pub fn of(&self, from: Side, opcode: OpCode) -> u64 {
        self.0[from as usize][usize::from(opcode.nibble())]
    }
}

impl AddAssign for OpCodeCounts {
    fn add_assign(&mut self, other: Self) {
        for (sum, count) in self.0.iter_mut().flatten().zip(other.0.iter().flatten()) {
            *sum = sum.saturating_add(*count);
        }
    }
}
