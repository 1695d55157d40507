//! Which sessions an operator watches frame by frame, and the lines in the log about these frames.

use std::{
    fmt,
    time::{Duration, Instant},
};

use crate::{
    sender::Network,
    ws::{Side, session::SeenFrame},
};

/// The log always writes lines of this target, whatever `log.level` says: they come only from sessions that an operator
/// has chosen.
pub const LOG_TARGET: &str = "longwire::frames";
/// The most choices at a time.
pub(in crate::net) const MOST_CHOICES: usize = 16;
/// How long a choice stands if the operator gives no time.
pub(in crate::net) const USUAL_TIME: Duration = Duration::from_secs(5 * 60);
/// The longest time that a choice stands.
pub(in crate::net) const LONGEST_TIME: Duration = Duration::from_secs(3600);

/// Whose frames are shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::net) enum Chosen {
    /// The frames of the sessions with this id.
    Session(String),
    /// The frames of all sessions of these clients, also of sessions that begin later.
    Client(Network),
}

/// All choices, each with its end.
#[derive(Debug, Clone, Default)]
pub(in crate::net) struct Choices(Vec<(Chosen, Instant)>);

/// [`MOST_CHOICES`] stand already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::net) struct TooMany;

impl Choices {
    /// Adds a choice, or gives another end to one that stands.
    pub(in crate::net) fn choose(&mut self, chosen: Chosen, until: Instant, now: Instant) -> Result<(), TooMany> {
        self.0.retain(|(other, end)| *end > now && *other != chosen);
        if self.0.len() >= MOST_CHOICES {
            return Err(TooMany);
        }
        self.0.push((chosen, until));
        Ok(())
    }

    /// Removes the choice of this name. Returns whether there was one.
    pub(super) fn remove(&mut self, name: &str, now: Instant) -> bool {
        self.0.retain(|(_, end)| *end > now);
        let before = self.0.len();
        // An address can be written in several ways.
        let client = parse_network(name);
        self.0.retain(|(chosen, _)| match chosen {
            Chosen::Session(id) => id != name,
            Chosen::Client(other) => Some(*other) != client,
        });
        self.0.len() < before
    }

    /// When the last of the choices ends for which `is_such` is true.
    pub(in crate::net) fn until(&self, is_such: impl Fn(&Chosen) -> bool) -> Option<Instant> {
        self.0.iter().filter(|(chosen, _)| is_such(chosen)).map(|(_, until)| *until).max()
    }

    /// The choices that stand, and how long each still does.
    pub(in crate::net) fn standing(&self, now: Instant) -> impl Iterator<Item = (&Chosen, Duration)> {
        let left = self.0.iter().map(move |(chosen, until)| (chosen, until.saturating_duration_since(now)));
        left.filter(|(_, left)| !left.is_zero())
    }

    /// Whether a choice has ended and is still listed.
    pub(in crate::net) fn has_ended(&self, now: Instant) -> bool {
        self.0.iter().any(|(_, until)| *until <= now)
    }

    pub(super) fn forget_ended(&mut self, now: Instant) {
        self.0.retain(|(_, until)| *until > now);
    }

    pub(in crate::net) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Reads an address, a network, or `unix`. `None` if the text is none of them.
pub(in crate::net) fn parse_network(text: &str) -> Option<Network> {
    text.parse().ok().map(Network::trunc)
}

impl fmt::Display for Chosen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Session(id) => f.write_str(id),
            Self::Client(Network::Ip(network)) if network.prefix_len() == network.max_prefix_len() => {
                write!(f, "{}", network.addr())
            }
            Self::Client(network) => write!(f, "{network}"),
        }
    }
}

/// Writes a line for each frame. The lines go through the queue of the log, so that no session waits for them.
pub(in crate::net) fn log_frames(id: &str, seen: &[SeenFrame], missed: u64) {
    for SeenFrame { to, passage, header, close } in seen {
        let direction = match to {
            Side::Client => "to_client",
            Side::Backend => "to_backend",
        };
        let close = close.as_ref();
        tracing::debug!(
            target: LOG_TARGET,
            request_id = id,
            direction,
            passage = passage.as_str(),
            opcode = header.opcode.as_str(),
            fin = header.fin,
            rsv = header.rsv,
            masked = header.mask.is_some(),
            length = header.length,
            close_code = close.and_then(|close| Some(close.code?.0)),
            close_reason = close.map(|close| close.reason.as_str()),
            "frame"
        );
    }
    if missed > 0 {
        tracing::debug!(target: LOG_TARGET, request_id = id, frames = missed, "too many frames at once to show");
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn session(id: &str) -> Chosen {
        Chosen::Session(id.to_owned())
    }

    #[test]
    fn a_choice_ends_by_itself_and_makes_room() {
        let (mut choices, now) = (Choices::default(), Instant::now());
        for number in 0..MOST_CHOICES {
            choices.choose(session(&number.to_string()), now + USUAL_TIME, now).unwrap();
        }
        assert_eq!(choices.choose(session("one more"), now + USUAL_TIME, now), Err(TooMany));
        // A choice that stands gets another end.
        choices.choose(session("3"), now + LONGEST_TIME, now).unwrap();
        assert_eq!(choices.until(|chosen| *chosen == session("3")), Some(now + LONGEST_TIME));
        let later = now + USUAL_TIME;
        let standing: Vec<_> = choices.standing(later).collect();
        assert_eq!(standing, [(&session("3"), LONGEST_TIME - USUAL_TIME)]);
        assert!(!choices.remove("0", later));
        choices.choose(session("one more"), later + USUAL_TIME, later).unwrap();
    }

    #[test]
    fn a_client_is_chosen_however_it_is_written() {
        let (mut choices, now) = (Choices::default(), Instant::now());
        for (written, name) in [
            ("10.1.2.3/8", "10.0.0.0/8"),
            ("192.0.2.1/32", "192.0.2.1"),
            ("2001:DB8::0", "2001:db8::"),
            ("unix", "unix"),
        ] {
            let chosen = Chosen::Client(parse_network(written).unwrap());
            assert_eq!(chosen.to_string(), name);
            choices.choose(chosen.clone(), now + USUAL_TIME, now).unwrap();
            choices.choose(chosen, now + USUAL_TIME, now).unwrap();
            assert_eq!(choices.standing(now).count(), 1, "{written} twice");
            assert!(choices.remove(written, now) && choices.is_empty());
        }
        assert_eq!(parse_network("somebody"), None);
    }
}
