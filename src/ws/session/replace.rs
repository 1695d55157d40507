//! A connection that takes the place of a side. The other side goes on as before, but for one thing: a Ping of its own that
//! the old connection has not answered stays without an answer.

use std::time::Instant;

use super::Session;
use crate::ws::Side;

impl Session {
    /// Whether a new connection may take the place of a side now:
    ///
    /// 1. No end has begun.
    /// 2. No message is half sent, neither by the side nor to it, and no bytes wait for it.
    /// 3. The 101 agreed on no extension. An extension may keep state from one message to the next, as
    ///    permessage-deflate does (RFC 7692 §7.1.1), and the new connection does not have that state.
    ///
    /// The driver sees to it that it keeps no byte back that came from the side.
    #[must_use]
    pub fn may_replace(&self, side: Side) -> bool {
        self.ending().is_none()
            && self.client.tracker.at_message_end()
            && self.backend.tracker.at_message_end()
            && !self.half(side).keepalive.is_stalled()
            && !self.common.settings.extensions
    }

    /// A new connection takes the place of a side. Its 101 has just passed. Returns false, and changes nothing, if
    /// [`Self::may_replace`] forbids it.
    ///
    /// Whatever was open with the old connection is forgotten: Pings that it has not answered, and bytes that it has
    /// not acknowledged. What has passed and the round trips that were measured stay counted. Ask
    /// [`Self::poll_timeout`] again, which may be sooner than before.
    pub fn replace(&mut self, side: Side, now: Instant) -> bool {
        let may = self.may_replace(side);
        if may {
            let now = self.common.tick(now);
            self.half_mut(side).begin_anew(now);
        }
        may
    }
}
