//! What stands on a path between a client, longwire and a backend: how long it lets a silent connection live, how it ends
//! one, and what follows from that for the pings. PURE.
//!
//! The known parts of paths are [`PRESETS`]. A [`Limit`] is one part of one path: a preset, with the figures that its people
//! set, or a part that somebody described by hand. [`interval`] and [`lifetime`] say what `auto` comes to on such a path.

mod derive;
pub mod listing;
mod presets;

use std::{fmt, time::Duration};

pub use self::{
    derive::{Derived, LONGEST_INTERVAL, SHORTEST_INTERVAL, holding, interval, lifetime, resembling},
    presets::PRESETS,
};

/// A part of paths whose limits are known.
#[derive(Debug, Clone, Copy)]
pub struct Preset {
    /// How the file and the commands call it: lower case, with `_`.
    pub name: &'static str,
    /// How people call it.
    pub title: &'static str,
    /// What else has to be known, in one sentence; empty where there is nothing.
    pub note: &'static str,
    /// The silence after which it ends a connection, unless somebody set another. `None`: it has no such limit.
    pub idle: Option<Duration>,
    /// The shortest and the longest silence that its people can set, or that was seen.
    pub idle_range: Option<(Duration, Duration)>,
    /// What ends a silence.
    pub counts: Activity,
    /// How it ends a connection.
    pub dies: Manner,
    /// The age at which it ends a connection, however busy it is.
    pub max_life: Option<Duration>,
    /// Whether the people who run it can set a limit of it.
    pub settable: bool,
    /// Whether these people set the life themselves, so that `max_life` is true only where nobody did. Then `auto` needs to
    /// be told ([`Limit::life_given`]).
    pub life_settable: bool,
    /// How long a process that runs there may take to end after it was told to.
    pub grace: Option<Duration>,
    /// How it says whose a connection is that it made for a client. `None`: it makes no connections of its own.
    pub introduces: Option<Introduction>,
    /// The page that says so, or where else the figures are from.
    pub source: &'static str,
    /// The day on which a page of the vendor was read that says so, as in `2026-11-28`. `None`: no such page is known.
    pub checked: Option<&'static str>,
}

/// What counts as activity, so that a silence ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Activity {
    /// A byte of the connection, in either direction. An empty packet of TCP (a keepalive) is none.
    Bytes,
    /// A byte in the direction from the backend to the client.
    BytesFromBackend,
    /// A frame of a WebSocket, in either direction. A Ping is one.
    Frames,
    /// A message of a WebSocket, in either direction. Nobody promises that a Ping counts too.
    Messages,
    /// A packet in either direction, a keepalive of TCP too.
    Packets,
    /// Nothing: there is no limit of silence.
    Nothing,
}

/// How a part of a path ends a connection, as one of the two ends sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Manner {
    /// A Close frame, then the end of TCP.
    Close,
    /// TCP ends orderly (FIN), without a Close frame.
    Fin,
    /// TCP ends at once (RST).
    Reset,
    /// The next packets vanish, and nobody hears anything.
    Silent,
    /// One of the two ends is told by a RST, and the other hears nothing.
    OneSided,
    /// Nobody hears anything, until a RST answers the next packet.
    Forgotten,
}

/// How a part says which client a connection of its own is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Introduction {
    /// By a field of each request, such as `X-Forwarded-For`.
    ByField,
    /// By a PROXY header.
    ByProxyHeader,
    /// By one of the two, as its people set it.
    ByEither,
}

/// A part of one path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limit {
    /// The name of the preset, or what people call this part.
    pub name: Box<str>,
    /// The silence after which it ends a connection.
    pub idle: Option<Duration>,
    /// What ends a silence.
    pub counts: Activity,
    /// How it ends a connection.
    pub dies: Manner,
    /// The age at which it ends a connection.
    pub max_life: Option<Duration>,
    /// Whether `max_life` is what holds here. It is not, where people set the life themselves and nobody said to what: then
    /// [`lifetime`] leaves it out.
    pub life_given: bool,
    /// How long a process that runs there may take to end after it was told to.
    pub grace: Option<Duration>,
    /// Whether each figure was given by hand or is that of a checked preset.
    pub verified: bool,
}

/// The figures that somebody gave for a part of a path, by hand. What is `None` stays as it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Figures {
    /// See [`Limit::idle`].
    pub idle: Option<Duration>,
    /// See [`Limit::counts`].
    pub counts: Option<Activity>,
    /// See [`Limit::dies`].
    pub dies: Option<Manner>,
    /// See [`Limit::max_life`].
    pub max_life: Option<Duration>,
    /// See [`Limit::grace`].
    pub grace: Option<Duration>,
}

/// The preset of this name.
#[must_use]
pub fn preset(name: &str) -> Option<&'static Preset> {
    PRESETS.iter().find(|preset| preset.name == name)
}

impl Limit {
    /// A preset, with the figures that were set otherwise there.
    #[must_use]
    pub fn of(preset: &Preset, set: Figures) -> Self {
        let Figures { idle, counts, dies, max_life, grace } = set;
        let is_said = |figure: Option<Duration>, set: Option<Duration>| figure.is_none() || set.is_some();
        Self {
            name: preset.name.into(),
            idle: idle.or(preset.idle),
            counts: counts.unwrap_or_else(|| preset.counts.of_a_limit(idle)),
            dies: dies.unwrap_or(preset.dies),
            max_life: max_life.or(preset.max_life),
            life_given: max_life.is_some() || !preset.life_settable,
            grace: grace.or(preset.grace),
            verified: preset.checked.is_some() || is_said(preset.idle, idle) && is_said(preset.max_life, max_life),
        }
    }

    /// A part that no preset describes. Where nothing else is said, a byte ends a silence and the end is silent, which is
    /// the least that can be relied on.
    #[must_use]
    pub fn by_hand(name: &str, figures: Figures) -> Self {
        let Figures { idle, counts, dies, max_life, grace } = figures;
        Self {
            name: name.into(),
            idle,
            counts: counts.unwrap_or_else(|| Activity::Nothing.of_a_limit(idle)),
            dies: dies.unwrap_or(Manner::Silent),
            max_life,
            life_given: true,
            grace,
            verified: true,
        }
    }
}

impl Activity {
    /// Every kind.
    pub const ALL: [Self; 6] =
        [Self::Bytes, Self::BytesFromBackend, Self::Frames, Self::Messages, Self::Packets, Self::Nothing];

    /// The same; but where there is a limit of silence, something ends a silence: a byte at least.
    const fn of_a_limit(self, idle: Option<Duration>) -> Self {
        match self {
            Self::Nothing if idle.is_some() => Self::Bytes,
            _ => self,
        }
    }

    /// The word of the file and of JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bytes => "bytes",
            Self::BytesFromBackend => "bytes_from_backend",
            Self::Frames => "frames",
            Self::Messages => "messages",
            Self::Packets => "packets",
            Self::Nothing => "nothing",
        }
    }

    /// What the word means, in half a sentence.
    #[must_use]
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Bytes => "bytes in either direction, but not a keepalive of TCP",
            Self::BytesFromBackend => "bytes from the backend to the client",
            Self::Frames => "frames in either direction, Pings too",
            Self::Messages => "messages in either direction; that a Ping counts too is promised nowhere",
            Self::Packets => "packets in either direction, a keepalive of TCP too",
            Self::Nothing => "it has no limit of silence",
        }
    }
}

impl Manner {
    /// Every kind.
    pub const ALL: [Self; 6] = [Self::Close, Self::Fin, Self::Reset, Self::Silent, Self::OneSided, Self::Forgotten];

    /// The word of the file and of JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Close => "close",
            Self::Fin => "fin",
            Self::Reset => "reset",
            Self::Silent => "silent",
            Self::OneSided => "one_sided",
            Self::Forgotten => "forgotten",
        }
    }

    /// What the word means, in half a sentence.
    #[must_use]
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Close => "a Close frame, then the end of TCP",
            Self::Fin => "TCP ends without a Close frame (FIN)",
            Self::Reset => "TCP is reset (RST)",
            Self::Silent => "packets vanish, and nobody is told",
            Self::OneSided => "one end is told by a RST, and the other is not told",
            Self::Forgotten => "nobody is told, until a RST answers the next packet",
        }
    }

    /// Whether an end that saw `seen` may have met this. An end that is not told cannot tell whether the other one was.
    #[must_use]
    pub const fn may_look_like(self, seen: Self) -> bool {
        match self {
            Self::Close => matches!(seen, Self::Close),
            Self::Fin => matches!(seen, Self::Fin),
            Self::Reset => matches!(seen, Self::Reset),
            Self::OneSided => matches!(seen, Self::Reset | Self::Silent | Self::OneSided | Self::Forgotten),
            Self::Silent | Self::Forgotten => matches!(seen, Self::Silent | Self::OneSided | Self::Forgotten),
        }
    }
}

impl fmt::Display for Activity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Manner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Option<Duration> {
        Some(Duration::from_secs(seconds))
    }

    #[test]
    fn a_figure_given_by_hand_stands_in_the_place_of_the_presets() {
        let alb = preset("aws_alb").unwrap();
        let set = Figures { idle: seconds(300), ..Figures::default() };
        let limit = Limit::of(alb, set);
        assert_eq!((&*limit.name, limit.idle, limit.counts), ("aws_alb", seconds(300), alb.counts));
        assert_eq!((limit.dies, limit.max_life, limit.verified), (alb.dies, None, true));
        let set = Figures { counts: Some(Activity::Packets), dies: Some(Manner::Silent), ..set };
        let limit = Limit::of(alb, set);
        assert_eq!((limit.counts, limit.dies), (Activity::Packets, Manner::Silent));
        // A preset without a limit of silence gets one.
        assert_eq!(Limit::of(preset("caddy").unwrap(), Figures { counts: None, ..set }).counts, Activity::Bytes);
        assert_eq!(Limit::of(preset("caddy").unwrap(), Figures::default()).counts, Activity::Nothing);
    }

    #[test]
    fn a_life_that_people_set_themselves_holds_only_where_it_is_given() {
        for name in ["gcp_alb", "gcp_cloud_run"] {
            let preset = preset(name).unwrap();
            assert!(!Limit::of(preset, Figures::default()).life_given, "{name}");
            let limit = Limit::of(preset, Figures { max_life: seconds(86_400), ..Figures::default() });
            assert_eq!((limit.life_given, limit.max_life), (true, seconds(86_400)), "{name}");
        }
        let fixed = Limit::of(preset("aws_api_gateway").unwrap(), Figures::default());
        assert_eq!((fixed.life_given, fixed.max_life), (true, seconds(7_200)));
    }

    #[test]
    fn a_preset_without_a_source_of_its_vendor_is_verified_once_its_figures_are_given() {
        let unsure = Preset { checked: None, ..*preset("aws_api_gateway").unwrap() };
        let is_verified =
            |idle, max_life| Limit::of(&unsure, Figures { idle, max_life, ..Figures::default() }).verified;
        assert!(!is_verified(None, None) && !is_verified(seconds(60), None) && !is_verified(None, seconds(60)));
        assert!(is_verified(seconds(60), seconds(60)));
        let without_life = Preset { max_life: None, ..unsure };
        assert!(Limit::of(&without_life, Figures { idle: seconds(60), ..Figures::default() }).verified);
    }

    #[test]
    fn a_part_described_by_hand_promises_nothing_that_was_not_said() {
        let limit = Limit::by_hand("office firewall", Figures { idle: seconds(300), ..Figures::default() });
        assert_eq!((&*limit.name, limit.counts, limit.dies), ("office firewall", Activity::Bytes, Manner::Silent));
        assert!(limit.verified && limit.life_given && limit.max_life.is_none());
        assert_eq!(Limit::by_hand("a wire", Figures::default()).counts, Activity::Nothing);
    }

    #[test]
    fn an_end_that_hears_nothing_cannot_tell_the_silent_ends_apart() {
        let silent = [Manner::Silent, Manner::OneSided, Manner::Forgotten];
        for manner in Manner::ALL {
            assert!(manner.may_look_like(manner), "{manner}");
            let others = silent.iter().filter(|seen| manner.may_look_like(**seen)).count();
            assert_eq!(others, if silent.contains(&manner) { 3 } else { 0 }, "{manner}");
        }
        assert!(Manner::OneSided.may_look_like(Manner::Reset) && !Manner::Reset.may_look_like(Manner::Fin));
    }

    #[test]
    fn a_word_stands_for_one_kind() {
        let activities: std::collections::BTreeSet<_> = Activity::ALL.map(Activity::as_str).into();
        let manners: std::collections::BTreeSet<_> = Manner::ALL.map(Manner::as_str).into();
        assert_eq!((activities.len(), manners.len()), (Activity::ALL.len(), Manner::ALL.len()));
    }
}
