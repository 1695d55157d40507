//! How the sessions of a route outlive their backends.

use std::{num::NonZeroU32, time::Duration as StdDuration};

use super::Resolver;
use crate::{
    config::{
        document::At,
        file::HoldSetting,
        hold_trigger::HoldTrigger,
        values::{Duration, Size},
    },
    routing::HoldRule,
    ws::{
        close::CloseCode,
        session::{HoldTerms, HoldTriggers},
    },
};

/// The shortest time for a hold: a backend that is silent, another one that answers, and the waits before them.
const SHORTEST: StdDuration = StdDuration::from_secs(1);
/// The longest message for a client that gets another backend, in bytes.
const LONGEST_NOTICE: usize = 4096;

impl Resolver {
    /// `may_compress`: whether the backends of the route get offers to compress messages.
    pub(super) fn hold(
        &mut self,
        setting: HoldSetting,
        drain_code: CloseCode,
        may_compress: bool,
        at: &At,
    ) -> HoldRule {
        let HoldSetting { longest, queue, on, times, per_second, notify } = setting;
        let Duration(longest) = longest;
        if longest < SHORTEST {
            let help = "no other backend is found in less time; leave `hold` out if no session is to be held";
            self.error(at.key("for"), "`for` is 1s or more", help);
        }
        let Size(queue) = queue;
        if !(4 << 10..=16 << 20).contains(&queue) {
            self.error(at.key("queue"), "`queue` is 4KiB to 16MiB", "64KiB is the default");
        }
        if notify.as_ref().is_some_and(|text| text.is_empty() || text.len() > LONGEST_NOTICE) {
            self.error(at.key("notify"), "`notify` is 1 to 4096 bytes", "leave it out if no message is to be sent");
        }
        if may_compress {
            let help = "most browsers offer to compress, and a compressed session cannot change its backend: write \
                        compression: off, unless the backends compress without context takeover or not at all";
            self.warn(at.clone(), "sessions that are compressed are not held", help);
        }
        let codes = on.iter().filter_map(|trigger| match trigger {
            HoldTrigger::Lost => None,
            HoldTrigger::Code(code) => Some(*code),
        });
        let terms = HoldTerms {
            longest,
            queue: usize::try_from(queue).unwrap_or(usize::MAX),
            on: HoldTriggers { lost: on.contains(&HoldTrigger::Lost), codes: codes.collect() },
            times: NonZeroU32::new(times),
            notify: notify.map(Into::into),
            drain_code,
        };
        HoldRule { terms, per_second: NonZeroU32::new(per_second).unwrap_or(NonZeroU32::MIN) }
    }
}
