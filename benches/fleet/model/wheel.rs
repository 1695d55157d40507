//! What happens next to each session: a list for each step of time, strung through the sessions themselves, so that ten million need
//! eight bytes each.

use super::{Millis, seat::Seat};

/// The end of a list.
pub const NONE: u32 = u32::MAX;
/// Marks a link that leads back to a step instead of a session.
const STEP: u32 = 1 << 31;
/// How long a step is. What takes less is of no account here.
pub const STEP_MILLIS: Millis = 10;

#[derive(Debug)]
pub struct Wheel {
    firsts: Vec<u32>,
    /// The step that is under way.
    step: u32,
}

impl Wheel {
    /// For all steps up to the end of the simulation. What is due behind it never happens.
    pub fn new(end: Millis) -> Self {
        Self { firsts: vec![NONE; (end / STEP_MILLIS) as usize + 1], step: 0 }
    }

    pub fn turn_to(&mut self, step: u32) {
        self.step = step;
    }

    /// Puts a session down for an instant, for the next step at the earliest. It is in no list yet.
    pub fn put(&mut self, seats: &mut [Seat], id: u32, at: Millis) {
        let step = (at / STEP_MILLIS).max(self.step + 1);
        let Some(first) = self.firsts.get_mut(step as usize) else { return };
        let follower = std::mem::replace(first, id);
        seats[id as usize].link(STEP | step, follower);
        if follower != NONE {
            seats[follower as usize].before = id;
        }
    }

    /// Takes a session out of its list, if it is in one.
    pub fn take_out(&mut self, seats: &mut [Seat], id: u32) {
        let (before, behind) = seats[id as usize].unlink();
        if before == NONE {
            return;
        }
        if before & STEP == 0 {
            seats[before as usize].behind = behind;
        } else {
            self.firsts[(before & !STEP) as usize] = behind;
        }
        if behind != NONE {
            seats[behind as usize].before = before;
        }
    }

    /// The next session of this step, which is then in no list.
    pub fn pop(&mut self, seats: &mut [Seat]) -> Option<u32> {
        let id = *self.firsts.get(self.step as usize)?;
        if id == NONE {
            return None;
        }
        self.take_out(seats, id);
        Some(id)
    }
}
