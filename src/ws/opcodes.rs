//! How many frames of each opcode have passed. What many sessions share, so that none of them pays for it with memory.

use std::ops::AddAssign;

use super::{Side, frame::OpCode};

/// Frames that have passed, by the side that sent them and by opcode; ours are not among them.
///
/// There is a place for each number that an opcode may have: so counting takes the bits as they stand in a header.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OpCodeCounts([[u64; 16]; 2]);

impl OpCodeCounts {
    /// One more, by the first byte of its header: a data frame when its header passes, a control frame when it passes whole.
    #[inline]
    pub fn count(&mut self, from: Side, first: u8) {
        self.0[from as usize][usize::from(first & 0x0F)] += 1;
    }

    /// How many there were.
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
