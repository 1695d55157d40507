//! What follows from the limits of a path.

use std::time::Duration;

use super::{Limit, Manner, PRESETS, Preset};

/// The interval of pings where no limit asks for a shorter one.
pub const LONGEST_INTERVAL: Duration = Duration::from_secs(25);
/// The shortest interval that a limit can lead to: pings cost the batteries of phones.
pub const SHORTEST_INTERVAL: Duration = Duration::from_secs(5);

/// What `auto` comes to, and what it follows from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Derived<'l> {
    /// The interval, or the lifetime.
    pub value: Duration,
    /// The limit that decides: the shortest one, also where a bound of the value hides it. `None`: the path has none. Of
    /// two equal ones it is the first.
    pub from: Option<&'l Limit>,
}

/// The interval of pings that holds a connection with this limit of silence: two fifths of it, so that one ping may be lost
/// or late. Whole seconds, rounded down; below one second, whole milliseconds.
#[must_use]
pub fn holding(idle: Duration) -> Duration {
    let interval = idle / 5 * 2;
    match interval.as_secs() {
        0 => Duration::from_millis(u64::from(interval.subsec_millis())),
        seconds => Duration::from_secs(seconds),
    }
}

/// The interval of pings that holds a connection over all these limits of silence: [`holding`] the shortest, from
/// [`SHORTEST_INTERVAL`] to [`LONGEST_INTERVAL`].
///
/// The interval is not below half of a limit of 10 s or less: such a limit is too short for the pings of `auto`.
#[must_use]
pub fn interval<'l>(limits: impl IntoIterator<Item = &'l Limit>) -> Derived<'l> {
    match shortest(limits, |limit| limit.idle) {
        Some((idle, limit)) => {
            Derived { value: holding(idle).clamp(SHORTEST_INTERVAL, LONGEST_INTERVAL), from: Some(limit) }
        }
        None => Derived { value: LONGEST_INTERVAL, from: None },
    }
}

/// The age at which sessions should leave by themselves, a twentieth before the path ends them: whole seconds, rounded down,
/// at least one. `None`: no limit of life holds here.
///
/// A life that people set themselves, and that nobody gave, is left out ([`Limit::life_given`]).
#[must_use]
pub fn lifetime<'l>(limits: impl IntoIterator<Item = &'l Limit>) -> Option<Derived<'l>> {
    let (life, limit) = shortest(limits, |limit| limit.max_life.filter(|_| limit.life_given))?;
    let seconds = (life / 20 * 19).as_secs().max(1);
    Some(Derived { value: Duration::from_secs(seconds), from: Some(limit) })
}

/// The presets whose limit of silence lies from `low` to `high`, and which end a connection as it was seen, where that was
/// seen.
pub fn resembling(low: Duration, high: Duration, seen: Option<Manner>) -> impl Iterator<Item = &'static Preset> {
    PRESETS
        .iter()
        .filter(move |preset| preset.idle.is_some_and(|idle| (low..=high).contains(&idle)))
        .filter(move |preset| seen.is_none_or(|seen| preset.dies.may_look_like(seen)))
}

fn shortest<'l>(
    limits: impl IntoIterator<Item = &'l Limit>,
    figure: impl Fn(&Limit) -> Option<Duration>,
) -> Option<(Duration, &'l Limit)> {
    limits.into_iter().filter_map(|limit| Some((figure(limit)?, limit))).min_by_key(|(figure, _)| *figure)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::{collection::vec, option, prelude::*};

    use super::*;
    use crate::paths::{Figures, preset};

    fn plain(name: &str) -> Limit {
        Limit::of(preset(name).unwrap(), Figures::default())
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn silent_for(idle: Duration) -> Limit {
        Limit::by_hand("a wall", Figures { idle: Some(idle), ..Figures::default() })
    }

    fn living(max_life: Duration) -> Limit {
        Limit::by_hand("a wall", Figures { max_life: Some(max_life), ..Figures::default() })
    }

    #[test]
    fn the_interval_is_two_fifths_of_the_shortest_limit_between_its_bounds() {
        for (idle, expected) in [(60, 24), (55, 22), (62, 24), (30, 12), (13, 5), (12, 5), (1, 5), (63, 25), (350, 25)]
        {
            assert_eq!(interval(&[silent_for(seconds(idle))]).value, seconds(expected), "{idle} s");
        }
        let path = [plain("aws_nlb"), plain("heroku"), plain("aws_alb")];
        let Derived { value, from } = interval(&path);
        assert_eq!((value, from.map(|limit| &*limit.name)), (seconds(22), Some("heroku")));
    }

    #[test]
    fn a_path_without_limits_has_the_longest_interval_and_no_lifetime() {
        assert_eq!(interval(&[]), Derived { value: LONGEST_INTERVAL, from: None });
        let path = [living(seconds(60))];
        assert_eq!(interval(&path).from, None);
        assert_eq!(lifetime(&[]), None);
        assert_eq!(lifetime(&[silent_for(seconds(60))]), None);
    }

    #[test]
    fn of_two_equal_limits_the_first_decides() {
        let path = [plain("nginx"), plain("aws_alb")];
        assert_eq!(interval(&path).from.map(|limit| &*limit.name), Some("nginx"));
    }

    #[test]
    fn the_lifetime_is_the_shortest_life_less_a_twentieth() {
        for (life, expected) in [(7_200, 6_840), (900, 855), (30, 28), (10, 9), (1, 1)] {
            assert_eq!(lifetime(&[living(seconds(life))]).unwrap().value, seconds(expected), "{life} s");
        }
        let path = [plain("aws_alb"), plain("azure_front_door"), plain("aws_api_gateway")];
        let Derived { value, from } = lifetime(&path).unwrap();
        assert_eq!((value, from.map(|limit| &*limit.name)), (seconds(6_840), Some("aws_api_gateway")));
    }

    #[test]
    fn a_life_that_nobody_gave_is_left_out() {
        let path = [plain("gcp_alb"), plain("aws_api_gateway")];
        assert_eq!(lifetime(&path).unwrap().value, seconds(6_840));
        assert_eq!(lifetime(&path[..1]), None);
        let given = Figures { max_life: Some(seconds(86_400)), ..Figures::default() };
        let path = [Limit::of(preset("gcp_alb").unwrap(), given)];
        assert_eq!(lifetime(&path).unwrap().value, seconds(82_080));
    }

    #[test]
    fn below_a_second_an_interval_is_told_in_milliseconds() {
        for (idle, expected) in [(2_500, 1_000), (2_499, 999), (1_000, 400), (1, 0), (7_499, 2_000)] {
            assert_eq!(holding(Duration::from_millis(idle)), Duration::from_millis(expected), "{idle} ms");
        }
    }

    #[test]
    fn what_was_seen_resembles_the_presets_with_that_limit_and_that_end() {
        let names = |low, high, seen| -> Vec<_> {
            let (low, high) = (Duration::from_millis(low), Duration::from_millis(high));
            resembling(low, high, seen).map(|preset| preset.name).collect()
        };
        let at_60 = names(59_800, 60_300, Some(Manner::Fin));
        assert!(["nginx", "aws_alb"].iter().all(|name| at_60.contains(name)), "{at_60:?}");
        let at_350 = names(340_000, 360_000, Some(Manner::Silent));
        assert!(at_350.contains(&"aws_nlb") && !at_350.contains(&"nginx"), "{at_350:?}");
        assert_eq!(names(60_000, 60_000, Some(Manner::Close)), [""; 0]);
        assert!(names(60_000, 60_000, None).len() >= at_60.len());
        assert_eq!(names(47_000, 47_500, None), [""; 0]);
    }

    proptest! {
        #[test]
        fn the_interval_holds_every_limit_that_pings_can_hold(limits in vec(1_u64..10_000_000, 1..6)) {
            let path: Vec<_> = limits.iter().map(|idle| silent_for(Duration::from_millis(*idle))).collect();
            let Derived { value, from } = interval(&path);
            let from = from.unwrap().idle.unwrap();
            prop_assert!((SHORTEST_INTERVAL..=LONGEST_INTERVAL).contains(&value) && value.subsec_nanos() == 0);
            prop_assert!(path.iter().all(|limit| from <= limit.idle.unwrap()));
            for idle in path.iter().map(|limit| limit.idle.unwrap()) {
                prop_assert!(value * 2 < idle || idle <= SHORTEST_INTERVAL * 2, "{value:?} of {idle:?}");
            }
            // It is no shorter than it has to be.
            prop_assert!(value == LONGEST_INTERVAL || (value + seconds(1)) * 5 > from * 2);
        }

        #[test]
        fn an_interval_that_holds_is_below_half_of_the_limit_whatever_its_size(nanos in any::<u64>()) {
            let idle = Duration::from_nanos(nanos);
            let interval = holding(idle);
            prop_assert!(interval <= idle / 5 * 2);
            prop_assert!(interval.subsec_nanos() == 0 || interval < seconds(1));
            prop_assert!(idle / 5 * 2 - interval < seconds(1));
        }

        #[test]
        fn the_lifetime_ends_before_every_life_that_holds(
            lives in vec((option::of(2_u64..10_000_000), any::<bool>()), 0..6)
        ) {
            let path: Vec<_> = lives.iter().map(|(life, life_given)| Limit {
                max_life: life.map(seconds),
                life_given: *life_given,
                ..silent_for(seconds(60))
            }).collect();
            let holding = || path.iter().filter(|limit| limit.life_given).filter_map(|limit| limit.max_life);
            match lifetime(&path) {
                None => prop_assert_eq!(holding().count(), 0),
                Some(Derived { value, from }) => {
                    let life = from.unwrap().max_life.unwrap();
                    prop_assert!(holding().all(|other| value < other && life <= other));
                    prop_assert!(value * 20 <= life * 19 && (value + seconds(1)) * 20 > life * 19);
                }
            }
        }
    }
}
