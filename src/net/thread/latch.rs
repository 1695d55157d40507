//! Whether a worker is to be knocked for: the part of a door ([`super::door`]) on which two threads must agree.

use std::sync::atomic::Ordering::{Relaxed, SeqCst};

use crate::sync::{AtomicBool, fence};

/// Shut: the worker waits for its sockets, or may do so before the runtime looks at what other threads want. Nobody
/// knocks at an open door: that would cost a call and a wake-up of the loop for nothing.
#[derive(Debug, Default)]
pub(in crate::net) struct Latch(AtomicBool);

impl Latch {
    /// Shuts or opens the door. Only its worker does so. The door is to be shut before the runtime's last look that
    /// precedes a wait.
    pub(in crate::net) fn set_shut(&self, is_shut: bool) {
        // Only this thread changes the flag.
        if self.0.load(Relaxed) != is_shut {
            self.0.store(is_shut, SeqCst);
            fence(SeqCst);
        }
    }

    /// Whether a sender has to knock, after it has woken the task.
    pub(in crate::net) fn calls_for_knock(&self) -> bool {
        // The task was woken before this fence: the worker sees the task, or has shut the door already.
        fence(SeqCst);
        self.0.load(SeqCst)
    }
}
