//! Whether an interval of pings outlives the path.

use std::time::Duration;

use super::SilenceLimit;

/// By how much longwire's pings come earlier than their interval says, at most.
const EARLY: f64 = 0.02;

/// An interval of pings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interval {
    /// So often.
    Every(Duration),
    /// No pings are sent to clients.
    Off,
}

/// What is known of a path.
#[derive(Debug, Clone, Copy)]
pub(in crate::tools::probe) struct Judged<'a> {
    pub(in crate::tools::probe) interval: Interval,
    /// The limit of silence.
    pub(in crate::tools::probe) limit: Option<&'a SilenceLimit>,
    /// The age that every connection may reach, if there is a limit of age.
    pub(in crate::tools::probe) life: Option<Duration>,
    /// The longest silence that lived.
    pub(in crate::tools::probe) lived: Duration,
    /// Whether Pings of a client and of the other end keep a socket beyond the limit; `None` = not tested.
    pub(in crate::tools::probe) kept: [Option<bool>; 2],
    /// Whether Pings of the client were answered on these sockets, so that something went both ways.
    pub(in crate::tools::probe) was_answered: bool,
    /// The age at which longwire ends sessions itself.
    pub(in crate::tools::probe) lifetime: Option<Duration>,
}

/// Whether sessions with this interval live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::tools::probe) enum ProbeVerdict {
    Holds,
    Fails,
    /// It could not be tested.
    Unknown,
}

impl ProbeVerdict {
    /// The word in JSON.
    #[must_use]
    pub(in crate::tools::probe) const fn as_str(self) -> &'static str {
        match self {
            Self::Holds => "holds",
            Self::Fails => "fails",
            Self::Unknown => "unknown",
        }
    }
}

/// The verdict on a path.
#[must_use]
pub(in crate::tools::probe) fn judge(judged: Judged<'_>) -> ProbeVerdict {
    let Judged { interval, limit, life, lived, kept, was_answered, lifetime } = judged;
    // No interval keeps a session beyond an age. Sessions that longwire ends before that age live as they should.
    if life.is_some_and(|life| lifetime.is_none_or(|lifetime| lifetime >= life)) {
        return ProbeVerdict::Fails;
    }
    match (limit, interval) {
        (Some(_), Interval::Off) => ProbeVerdict::Fails,
        // Pings that the path does not count keep nothing, however often they come.
        (Some(limit), Interval::Every(every)) => match kept {
            [Some(false), Some(false)] | [None, Some(false)] => ProbeVerdict::Fails,
            [Some(false), None] if was_answered => ProbeVerdict::Fails,
            _ if every >= limit.kills || every >= limit.low && limit.is_narrow() => ProbeVerdict::Fails,
            [Some(false), None] => ProbeVerdict::Unknown,
            _ if every < limit.low => ProbeVerdict::Holds,
            _ => ProbeVerdict::Unknown,
        },
        (None, Interval::Every(every)) if every <= lived.mul_f64(1.0 + EARLY) => ProbeVerdict::Holds,
        (None, _) => ProbeVerdict::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{paths::Manner, tools::probe::decide::Death};

    fn seconds(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    fn limit(low: f64, high: f64) -> SilenceLimit {
        let death = Death { manner: Some(Manner::Fin), code: None, taken: false };
        SilenceLimit { low: seconds(low), high: seconds(high), kills: seconds(high), death, tries: 3, agree: 3 }
    }

    /// The verdict on an interval in seconds, where nothing else is known.
    fn verdict(interval: f64, limit: Option<&SilenceLimit>, change: impl FnOnce(&mut Judged<'_>)) -> ProbeVerdict {
        let mut judged = Judged {
            interval: Interval::Every(seconds(interval)),
            limit,
            life: None,
            lived: Duration::ZERO,
            kept: [None; 2],
            was_answered: true,
            lifetime: None,
        };
        change(&mut judged);
        judge(judged)
    }

    #[test]
    fn an_interval_holds_below_the_limit_and_fails_at_it() {
        let narrow = limit(59.7, 60.3);
        for (interval, expected) in [
            (25.0, ProbeVerdict::Holds),
            (59.0, ProbeVerdict::Holds),
            (60.0, ProbeVerdict::Fails),
            (61.0, ProbeVerdict::Fails),
        ] {
            assert_eq!(verdict(interval, Some(&narrow), |_| {}), expected, "{interval}");
        }
        let wide = limit(62.0, 90.0);
        for (interval, expected) in
            [(61.0, ProbeVerdict::Holds), (70.0, ProbeVerdict::Unknown), (90.0, ProbeVerdict::Fails)]
        {
            assert_eq!(verdict(interval, Some(&wide), |_| {}), expected, "{interval}");
        }
    }

    #[test]
    fn of_a_range_of_limits_an_interval_fails_at_the_shortest_silence_that_killed() {
        let range = SilenceLimit { kills: seconds(5.7), agree: 4, tries: 9, ..limit(5.5, 6.6) };
        for (interval, expected) in [
            (5.4, ProbeVerdict::Holds),
            (5.6, ProbeVerdict::Unknown),
            (5.7, ProbeVerdict::Fails),
            (6.5, ProbeVerdict::Fails),
        ] {
            assert_eq!(verdict(interval, Some(&range), |_| {}), expected, "{interval}");
        }
    }

    #[test]
    fn pings_that_the_path_does_not_count_fail_however_often_they_come() {
        let limit = limit(59.7, 60.3);
        for (kept, expected) in [
            ([None, None], ProbeVerdict::Holds),
            ([Some(true), None], ProbeVerdict::Holds),
            ([Some(false), Some(true)], ProbeVerdict::Holds),
            ([Some(false), None], ProbeVerdict::Fails),
            ([Some(false), Some(false)], ProbeVerdict::Fails),
        ] {
            assert_eq!(verdict(25.0, Some(&limit), |judged| judged.kept = kept), expected, "{kept:?}");
        }
        assert_eq!(verdict(25.0, Some(&limit), |judged| judged.interval = Interval::Off), ProbeVerdict::Fails);
    }

    #[test]
    fn without_a_limit_the_interval_holds_as_far_as_silences_were_tested() {
        let tested = |judged: &mut Judged<'_>| judged.lived = seconds(24.8);
        assert_eq!(verdict(25.0, None, tested), ProbeVerdict::Holds);
        assert_eq!(verdict(30.0, None, tested), ProbeVerdict::Unknown);
        assert_eq!(verdict(25.0, None, |_| {}), ProbeVerdict::Unknown);
        assert_eq!(verdict(25.0, None, |judged| judged.interval = Interval::Off), ProbeVerdict::Unknown);
    }

    #[test]
    fn pings_that_only_went_the_other_way_say_nothing_of_ours() {
        let limit = limit(59.7, 60.3);
        let one_way = |interval, server| {
            verdict(interval, Some(&limit), |judged| {
                (judged.kept, judged.was_answered) = ([Some(false), server], false);
            })
        };
        assert_eq!((one_way(25.0, None), one_way(61.0, None)), (ProbeVerdict::Unknown, ProbeVerdict::Fails));
        assert_eq!((one_way(25.0, Some(true)), one_way(25.0, Some(false))), (ProbeVerdict::Holds, ProbeVerdict::Fails));
    }

    #[test]
    fn no_interval_outlives_an_age_but_a_lifetime_below_it_does() {
        let silence = limit(59.7, 60.3);
        for limit in [None, Some(&silence)] {
            let aged = |lifetime: Option<f64>, interval: Interval| {
                verdict(5.0, limit, |judged| {
                    (judged.interval, judged.lived) = (interval, seconds(28.0));
                    (judged.life, judged.lifetime) = (Some(seconds(29.8)), lifetime.map(seconds));
                })
            };
            let often = Interval::Every(seconds(5.0));
            assert_eq!(aged(None, often), ProbeVerdict::Fails);
            assert_eq!(aged(Some(28.5), often), ProbeVerdict::Holds);
            assert_eq!(aged(Some(40.0), often), ProbeVerdict::Fails);
            let never = if limit.is_some() { ProbeVerdict::Fails } else { ProbeVerdict::Unknown };
            assert_eq!(aged(Some(28.5), Interval::Off), never);
        }
    }
}
