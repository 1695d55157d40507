//! Whose frames somebody looks at, and what the log says of them.

use std::{
    fmt,
    time::{Duration, Instant},
};

use ipnet::IpNet;

use crate::ws::{Side, session::Seen};

/// What `log.level` has to let through, whatever it says: only who was chosen writes there.
pub const LOG_TARGET: &str = "longwire::frames";
/// Choices that stand at a time.
pub(super) const MOST_CHOICES: usize = 16;
/// How long a choice stands where nothing is said.
pub(super) const USUAL_TIME: Duration = Duration::from_secs(5 * 60);
/// The longest time that a choice stands.
pub(super) const LONGEST_TIME: Duration = Duration::from_secs(3600);

/// Whose frames.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Chosen {
    /// Those of the sessions of this id.
    Session(String),
    /// Those of all sessions of these clients, later ones too.
    Client(IpNet),
}

/// All choices, each with its end.
#[derive(Debug, Clone, Default)]
pub(super) struct Choices(Vec<(Chosen, Instant)>);

/// [`MOST_CHOICES`] stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooMany;

impl Choices {
    /// One more, or another time for one that stands.
    pub(super) fn choose(&mut self, chosen: Chosen, until: Instant, now: Instant) -> Result<(), TooMany> {
        self.0.retain(|(other, end)| *end > now && *other != chosen);
        if self.0.len() >= MOST_CHOICES {
            return Err(TooMany);
        }
        self.0.push((chosen, until));
        Ok(())
    }

    /// Takes back what is called so. Whether there was such a one.
    pub(super) fn take_back(&mut self, name: &str, now: Instant) -> bool {
        self.0.retain(|(_, end)| *end > now);
        let before = self.0.len();
        // An address is written in many ways.
        let client = network(name);
        self.0.retain(|(chosen, _)| match chosen {
            Chosen::Session(id) => id != name,
            Chosen::Client(other) => Some(*other) != client,
        });
        self.0.len() < before
    }

    /// When the last of the choices ends that are such.
    pub(super) fn until(&self, is_such: impl Fn(&Chosen) -> bool) -> Option<Instant> {
        self.0.iter().filter(|(chosen, _)| is_such(chosen)).map(|(_, until)| *until).max()
    }

    /// Those that stand, and for how long yet.
    pub(super) fn standing(&self, now: Instant) -> impl Iterator<Item = (&Chosen, Duration)> {
        let left = self.0.iter().map(move |(chosen, until)| (chosen, until.saturating_duration_since(now)));
        left.filter(|(_, left)| !left.is_zero())
    }

    /// Whether one of them stands no more and is still here.
    pub(super) fn has_ended(&self, now: Instant) -> bool {
        self.0.iter().any(|(_, until)| *until <= now)
    }

    pub(super) fn forget_ended(&mut self, now: Instant) {
        self.0.retain(|(_, until)| *until > now);
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// An address, or a network; what is none of both is `None`.
pub(super) fn network(text: &str) -> Option<IpNet> {
    let address = || text.parse().map(|address: std::net::IpAddr| address.into());
    text.parse().or_else(|_| address()).ok().map(|network: IpNet| network.trunc())
}

impl fmt::Display for Chosen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Session(id) => f.write_str(id),
            Self::Client(network) if network.prefix_len() == network.max_prefix_len() => {
                write!(f, "{}", network.addr())
            }
            Self::Client(network) => write!(f, "{network}"),
        }
    }
}

/// A line for each frame, behind the others of the log: its queue makes no session wait.
pub(super) fn tell(id: &str, seen: &[Seen], missed: u64) {
    for Seen { to, passage, header, close } in seen {
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
        // One that stands gets another time.
        choices.choose(session("3"), now + LONGEST_TIME, now).unwrap();
        assert_eq!(choices.until(|chosen| *chosen == session("3")), Some(now + LONGEST_TIME));
        let later = now + USUAL_TIME;
        let standing: Vec<_> = choices.standing(later).collect();
        assert_eq!(standing, [(&session("3"), LONGEST_TIME - USUAL_TIME)]);
        assert!(!choices.take_back("0", later));
        choices.choose(session("one more"), later + USUAL_TIME, later).unwrap();
    }

    #[test]
    fn a_client_is_chosen_however_it_is_written() {
        let (mut choices, now) = (Choices::default(), Instant::now());
        for (written, name) in
            [("10.1.2.3/8", "10.0.0.0/8"), ("192.0.2.1/32", "192.0.2.1"), ("2001:DB8::0", "2001:db8::")]
        {
            let chosen = Chosen::Client(network(written).unwrap());
            assert_eq!(chosen.to_string(), name);
            choices.choose(chosen.clone(), now + USUAL_TIME, now).unwrap();
            choices.choose(chosen, now + USUAL_TIME, now).unwrap();
            assert_eq!(choices.standing(now).count(), 1, "{written} twice");
            assert!(choices.take_back(written, now) && choices.is_empty());
        }
        assert_eq!(network("somebody"), None);
    }
}
