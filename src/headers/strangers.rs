//! Finds senders that often send forwarding headers but are not trusted: mostly a load balancer that is missing in the
//! file.

use std::time::{Duration, Instant};

use crate::sender::Client;

/// How many senders are counted at a time. A load balancer has few addresses; clients that try such headers have many.
const SENDERS: usize = 8;
/// The number of requests after which a sender is reported. A proxy that forwards for others soon sends as many.
const MANY: u32 = 50;
/// How long no sender is reported after that.
const SILENCE: Duration = Duration::from_secs(60 * 60);

/// Counts requests by sender in little memory.
///
/// It finds every sender that sends more than a ninth of the requests, whatever the others send (Misra and Gries,
/// 1982).
#[derive(Debug, Default)]
pub struct Strangers {
    counts: [Option<(Client, u32)>; SENDERS],
    silent_until: Option<Instant>,
}

impl Strangers {
    /// A request with forwarding headers came from a sender that is not trusted. Returns whether to report this sender
    /// now.
    pub fn note(&mut self, sender: Client, now: Instant) -> bool {
        if self.silent_until.is_some_and(|until| now < until) {
            return false;
        }
        let known = self.counts.iter().position(|count| count.is_some_and(|(counted, _)| counted == sender));
        let place = known.or_else(|| self.counts.iter().position(Option::is_none));
        let Some(count) = place.and_then(|place| self.counts.get_mut(place)) else {
            // One request each of nine different senders cancel each other out.
            for count in &mut self.counts {
                *count = count
                    .and_then(|(counted, requests)| Some((counted, requests.checked_sub(1).filter(|left| *left > 0)?)));
            }
            return false;
        };
        let (_, requests) = count.get_or_insert((sender, 0));
        *requests += 1;
        if *requests < MANY {
            return false;
        }
        *self = Self { counts: [None; SENDERS], silent_until: Some(now + SILENCE) };
        true
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn sender(number: u32) -> Client {
        IpAddr::from(number.to_be_bytes()).into()
    }

    #[test]
    fn each_of_a_few_that_keep_sending_is_found_among_many_that_send_once() {
        let (mut strangers, now) = (Strangers::default(), Instant::now());
        let found = (0..10_000).find_map(|request: u32| {
            let from = if request.is_multiple_of(2) { sender(request % 4) } else { sender(1000 + request) };
            strangers.note(from, now).then_some(from)
        });
        assert!(matches!(found, Some(from) if from == sender(0) || from == sender(2)), "{found:?}");
    }

    #[test]
    fn many_that_send_a_few_are_none() {
        let (mut strangers, now) = (Strangers::default(), Instant::now());
        assert!((0..100_000).all(|request: u32| !strangers.note(sender(request / 3), now)));
    }

    #[test]
    fn nothing_is_said_twice_in_an_hour() {
        let (mut strangers, now) = (Strangers::default(), Instant::now());
        let mut said = |at| (0..1000).filter(|_| strangers.note(sender(1), at)).count();
        assert_eq!(said(now), 1);
        assert_eq!(said(now + SILENCE - Duration::from_secs(1)), 0);
        assert_eq!(said(now + SILENCE), 1);
    }
}
