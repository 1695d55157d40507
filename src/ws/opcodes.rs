//! How many frames of each opcode have passed. What many sessions share, so that none of them pays for it with memory.

use std::ops::AddAssign;

use super::{Side, frame::OpCode};

/// Frames that have passed, by the side that sent them and by opcode; ours are not among them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OpCodeCounts([[u64; OpCode::ALL.len()]; 2]);

impl OpCodeCounts {
    /// One more: a data frame when its header passes, a control frame when it passes whole.
    pub const fn count(&mut self, from: Side, opcode: OpCode) {
        self.0[from as usize][opcode as usize] += 1;
    }

    /// How many there were.
    #[must_use]
    pub const fn of(&self, from: Side, opcode: OpCode) -> u64 {
        self.0[from as usize][opcode as usize]
    }
}

impl AddAssign for OpCodeCounts {
    fn add_assign(&mut self, other: Self) {
        for (sum, count) in self.0.iter_mut().flatten().zip(other.0.iter().flatten()) {
            *sum = sum.saturating_add(*count);
        }
    }
}
