//! The search on simulated paths, in virtual time.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::{
    paths::Manner,
    tools::probe::decide::{Death, TimesWanted, below},
};

/// The time between two openings.
const PACE: Duration = Duration::from_millis(100);

/// A path, as a search meets it.
#[derive(Debug, Clone, Copy)]
struct Simulated {
    silence: Option<Duration>,
    age: Option<Duration>,
    /// By which share its limit of silence is longer for some connections.
    spread: f64,
    /// Which part of the connections has no limit of silence at all, in percent.
    free: u64,
    /// Whether it ends connections itself; otherwise it forgets them.
    tells: bool,
    /// How late its ends and answers come.
    delay: Duration,
    /// A moment at which everything that is open dies.
    accident: Option<Duration>,
    /// From when to when nothing passes.
    stall: Option<(Duration, Duration)>,
    /// The other end sends something after each such time.
    chatter: Option<Duration>,
    /// It looks for silent connections after each such time only.
    sweep: Option<Duration>,
}

impl Simulated {
    const fn new(tells: bool) -> Self {
        let delay = Duration::from_millis(8);
        Self {
            silence: None,
            spread: 0.0,
            free: 0,
            age: None,
            tells,
            delay,
            accident: None,
            stall: None,
            chatter: None,
            sweep: None,
        }
    }

    fn death(&self) -> Death {
        Death { manner: Some(if self.tells { Manner::Fin } else { Manner::Silent }), code: None, taken: false }
    }

    /// The limit of silence of the connection with this number.
    fn limit_of(&self, number: u64) -> Option<Duration> {
        let lot = (number ^ 0x9E37_79B9_7F4A_7C15).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let lot = (lot ^ lot >> 29).wrapping_mul(0x94D0_49BB_1331_11EB);
        let part = (lot >> 32) as f64 / 2_f64.powi(32);
        self.silence.filter(|_| (lot >> 8) % 100 >= self.free).map(|silence| silence.mul_f64(1.0 + part * self.spread))
    }

    /// Whether an answer to a question of this moment does not come in time.
    fn is_stalled(&self, asked: Duration, wait: Duration) -> bool {
        self.stall.is_some_and(|(from, to)| from <= asked && asked + wait < to)
    }

    /// What becomes of a socket that is opened at `opened` to be silent for `silence`, and when this is known.
    fn fate(&self, opened: Duration, silence: Duration, wait: Duration, number: u64) -> (Duration, TrialFate) {
        let death = self.death();
        if let Some(accident) = self.accident.filter(|accident| (opened..opened + silence).contains(accident)) {
            return (accident, TrialFate::Died { silence: accident - opened, death, is_exact: true });
        }
        if let Some(every) = self.chatter.filter(|every| *every < silence) {
            return match self.age.filter(|age| *age < silence) {
                Some(age) => (opened + age, TrialFate::Aged { silence: every, age, death }),
                None => (opened + silence, TrialFate::Lived { silence: every }),
            };
        }
        let swept = |limit: Duration| match self.sweep {
            Some(every) => every.mul_f64(((opened + limit).as_secs_f64() / every.as_secs_f64()).ceil()) - opened,
            None => limit,
        };
        let limit = self.limit_of(number).map(swept);
        let limit = limit.into_iter().chain(self.age).min().filter(|limit| *limit < silence);
        match limit {
            None if self.is_stalled(opened + silence, wait) => {
                let death = Death { manner: Some(Manner::Silent), code: None, taken: false };
                (opened + silence + wait, TrialFate::Died { silence, death, is_exact: false })
            }
            Some(limit) if self.tells => {
                (opened + limit + self.delay, TrialFate::Died { silence: limit + self.delay, death, is_exact: true })
            }
            Some(_) => (opened + silence + wait, TrialFate::Died { silence, death, is_exact: false }),
            None => (opened + silence + self.delay, TrialFate::Lived { silence }),
        }
    }

    /// What a socket that is never silent tells, and when. `age`: at which it was last seen to live.
    fn busy(&self, opened: Duration, age: Duration, times: &ProbeTimes) -> (Duration, Word) {
        let next = age + age.mul_f64(0.03).max(Duration::from_millis(50)).min(times.beat);
        if let Some(accident) = self.accident.filter(|accident| (opened + age..opened + next).contains(accident)) {
            return (accident, Word::BusyDied(accident - opened, accident - opened));
        }
        if self.is_stalled(opened + next, times.wait) {
            return (opened + next + times.wait, Word::BusyDied(age, next));
        }
        match self.age.filter(|limit| *limit < next) {
            Some(limit) if self.tells => (opened + limit, Word::BusyDied(limit, limit)),
            Some(_) => (opened + next + times.wait, Word::BusyDied(age, next)),
            None => (opened + next, Word::Busy(next)),
        }
    }

    /// A whole search. Returns it, and when it was over.
    fn search(&self, times: &ProbeTimes) -> (PathSearch, Duration) {
        let (mut search, mut events) = (PathSearch::new(times), BTreeMap::new());
        let (mut now, mut next_opening, mut number, mut is_busy) = (Duration::ZERO, Duration::ZERO, 0_u64, false);
        loop {
            let mut starts: Vec<_> = search.begin(now).into_iter().map(Some).collect();
            if search.lacks_busy() && !is_busy {
                (is_busy, starts) = (true, [vec![None], starts].concat());
                search.handle_busy(Duration::ZERO);
            }
            for start in starts {
                let opened = next_opening.max(now);
                next_opening = opened + PACE;
                let (at, word) = match start {
                    Some(TrialStart { id, silence }) => {
                        let (at, fate) = self.fate(opened, silence, times.wait, number);
                        (at, Word::Fate(id, fate))
                    }
                    None => self.busy(opened, Duration::ZERO, times),
                };
                number += 1;
                events.insert((at, number, opened), word);
            }
            assert!(events.len() <= MOST_SILENT + 1, "{} sockets at once", events.len());
            if search.is_over(now) || now > times.total {
                return (search, now);
            }
            let ((at, _, opened), word) = events.pop_first().unwrap();
            now = now.max(at);
            match word {
                Word::Fate(id, fate) => search.handle_fate(id, fate, now),
                Word::Busy(age) => {
                    search.handle_busy(age);
                    let (at, word) = self.busy(opened, age, times);
                    number += 1;
                    events.insert((at, number, opened), word);
                }
                Word::BusyDied(low, high) => {
                    is_busy = false;
                    search.handle_busy_death(AgeLimit { low, high, death: self.death() }, now);
                }
            }
        }
    }

    /// A whole search that finds a limit of silence.
    fn limit(&self, times: &ProbeTimes) -> SilenceLimit {
        let (search, _) = self.search(times);
        let limit = search.limit().unwrap_or_else(|| panic!("nothing died: {search:?}"));
        assert!(!search.is_of_age(&limit), "{limit:?} {search:?}");
        limit
    }
}

#[derive(Debug)]
enum Word {
    Fate(usize, TrialFate),
    Busy(Duration),
    BusyDied(Duration, Duration),
}

fn times(quick: bool, max: Option<Duration>, scale: f64) -> ProbeTimes {
    ProbeTimes::new(&TimesWanted { quick, max, silences: Vec::new(), scale })
}

fn given(silences: &[u64]) -> ProbeTimes {
    let silences = silences.iter().map(|silence| Duration::from_millis(*silence)).collect();
    ProbeTimes::new(&TimesWanted { quick: false, max: None, silences, scale: 0.1 })
}

/// Whether the limit was found as well as promised.
fn is_near(limit: &SilenceLimit, truth: Duration) -> bool {
    let width = limit.high - limit.low;
    limit.low <= truth && truth <= limit.high && (width <= truth.mul_f64(0.05) || width <= Duration::from_millis(100))
}

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_limit_is_found_within_5_percent_whichever_way_the_path_ends_a_silence(
        limit in 300_u64..550_000, tells: bool, delay in 1_u64..25
    ) {
        let path = Simulated { silence: Some(ms(limit)), delay: ms(delay), ..Simulated::new(tells) };
        let found = path.limit(&times(false, None, 1.0));
        prop_assert!(is_near(&found, ms(limit)), "{found:?}");
        prop_assert_eq!((found.death, found.agree), (path.death(), found.tries));
        prop_assert!(found.tries == REPEATS || limit * 3 > 600_000 && found.tries > 0, "{found:?}");
    }

    #[test]
    fn a_quick_search_finds_any_limit_up_to_125_s_in_its_time(limit in 1_000_u64..124_000, tells: bool) {
        let path = Simulated { silence: Some(ms(limit)), ..Simulated::new(tells) };
        let times = times(true, None, 1.0);
        let (search, took) = path.search(&times);
        let found = search.limit().unwrap();
        prop_assert!(is_near(&found, ms(limit)) && found.agree == found.tries, "{found:?}");
        prop_assert!(took <= times.total + times.wait, "{took:?}");
    }

    #[test]
    fn an_hour_finds_limits_up_to_an_hour(limit in 1_u64..3_500, tells: bool) {
        let path = Simulated { silence: Some(ms(limit * 1000)), ..Simulated::new(tells) };
        let found = path.limit(&times(false, Some(ms(3_600_000)), 1.0));
        prop_assert!(is_near(&found, ms(limit * 1000)), "{found:?}");
    }

    #[test]
    fn any_limit_is_found_from_any_series_of_silences(
        limit in 200_u64..20_000, tells: bool, series in prop::collection::vec(500_u64..20_000, 1..8)
    ) {
        let path = Simulated { silence: Some(ms(limit)), ..Simulated::new(tells) };
        let longest = series.iter().copied().max().unwrap();
        let (search, _) = path.search(&given(&series));
        match search.limit() {
            Some(found) => prop_assert!(is_near(&found, ms(limit)) && found.tries == REPEATS && found.agree == REPEATS, "{found:?}"),
            None => prop_assert!(limit >= longest, "{search:?}"),
        }
    }

    #[test]
    fn an_age_is_no_silence_however_the_path_ends_it(
        age in 300_u64..500_000, later in 1.2_f64..4.0, tells: bool, is_silence: bool
    ) {
        let silence = is_silence.then(|| ms(age).mul_f64(later));
        let path = Simulated { age: Some(ms(age)), silence, ..Simulated::new(tells) };
        let (search, _) = path.search(&times(false, None, 1.0));
        let found = search.limit().unwrap();
        prop_assert!(search.is_of_age(&found) && is_near(&found, ms(age)), "{found:?}");
        prop_assert!(search.is_life_confirmed() || age > 150_000, "{search:?}");
        let AgeLimit { low, high, .. } = search.life().unwrap();
        prop_assert!(low <= ms(age) && ms(age) <= high && high - low <= ms(age).mul_f64(0.05) + ms(150), "{low:?} {high:?}");
    }

    // Below a second, the 50 ms that a path and this machine may add do not tell a silence from an age that is a third longer.
    #[test]
    fn a_silence_is_no_age_though_there_is_one_too(limit in 1_000_u64..200_000, later in 1.3_f64..3.0, tells: bool) {
        let age = Some(ms(limit).mul_f64(later));
        let path = Simulated { silence: Some(ms(limit)), age, ..Simulated::new(tells) };
        prop_assert!(is_near(&path.limit(&times(false, None, 1.0)), ms(limit)));
    }

    #[test]
    fn an_age_is_found_though_the_other_end_never_lets_a_socket_be_silent(age in 30_000_u64..300_000, quick: bool) {
        let age = if quick { age.min(120_000) } else { age };
        let path = Simulated { age: Some(ms(age)), chatter: Some(ms(25_000)), ..Simulated::new(true) };
        let (search, _) = path.search(&times(quick, None, 1.0));
        prop_assert!(search.limit().is_none() && search.is_life_confirmed() && search.was_disturbed());
        let AgeLimit { low, high, .. } = search.life().unwrap();
        prop_assert!(low <= ms(age) && ms(age) <= high, "{low:?} {high:?}");
    }

    #[test]
    fn one_accident_is_neither_a_limit_of_silence_nor_one_of_age_though_there_is_no_time_to_repeat_it(
        at in 300_000_u64..510_000, quick: bool
    ) {
        let (at, times) = if quick { (at / 5, times(true, None, 1.0)) } else { (at, times(false, None, 1.0)) };
        let path = Simulated { accident: Some(ms(at)), ..Simulated::new(true) };
        let (search, _) = path.search(&times);
        prop_assert_eq!(search.limit(), None);
        prop_assert!(!search.is_life_confirmed(), "{:?}", search.life());
    }

    #[test]
    fn a_limit_that_is_only_looked_for_now_and_then_is_told_as_a_range(limit in 5_000_u64..150_000, every in 0.1_f64..0.4, quick: bool) {
        let limit = if quick { limit.min(50_000) } else { limit };
        let sweep = Some(ms(limit).mul_f64(every));
        let path = Simulated { silence: Some(ms(limit)), sweep, ..Simulated::new(true) };
        let (search, _) = path.search(&times(quick, None, 1.0));
        let found = search.limit().unwrap();
        prop_assert!(found.low >= below(ms(limit)) && found.low <= ms(limit).mul_f64(1.0 + every) + ms(50), "{found:?}");
        prop_assert!(found.agree > 0 && found.kills >= ms(limit), "{found:?}");
    }

    #[test]
    fn what_dies_once_at_one_moment_is_no_limit(at in 1_000_u64..150_000, limit in prop::option::of(200_000_u64..250_000)) {
        let path = Simulated { accident: Some(ms(at)), silence: limit.map(ms), ..Simulated::new(true) };
        let (search, _) = path.search(&times(false, None, 1.0));
        match (search.limit(), limit) {
            (Some(found), Some(limit)) => prop_assert!(is_near(&found, ms(limit)) && !search.is_of_age(&found), "{found:?}"),
            (None, None) => {}
            other => prop_assert!(false, "{other:?} {search:?}"),
        }
    }

    #[test]
    fn of_a_path_whose_limit_is_not_the_same_for_all_the_range_is_told(
        limit in 300_u64..150_000, spread in 0.1_f64..0.5, free in prop::sample::select(vec![0_u64, 0, 30, 50, 70]), tells: bool
    ) {
        let path = Simulated { silence: Some(ms(limit)), spread, free, ..Simulated::new(tells) };
        let (search, _) = path.search(&times(false, None, 1.0));
        let found = search.limit().unwrap();
        let longest = ms(limit).mul_f64(1.0 + spread) + path.delay;
        // All that died in it, and all that lived in it: no try speaks against what is told.
        prop_assert!(found.high >= ms(limit), "{found:?}");
        // Which connections are free is a matter of luck, and many in a row may be.
        prop_assert!(free > 0 || found.low <= longest && found.kills <= longest.mul_f64(1.06) + ms(100), "{found:?}");
        prop_assert!(0 < found.agree && found.agree <= found.tries, "{found:?}");
        let tried = search.tried();
        let beside = search.odd_deaths().map_or(0, |odd| odd.died);
        let early = tried.iter().filter(|one| matches!(one.fate, TrialFate::Died { silence, .. } if silence < found.low));
        prop_assert_eq!(early.count(), beside);
        if found.agree == found.tries && found.is_narrow() {
            let lived = lived_below(&tried, Duration::MAX);
            prop_assert!(lived <= found.high, "{found:?}, but {lived:?}");
        }
    }

    #[test]
    fn a_path_that_stalls_for_a_while_hides_no_limit(
        from in 100_u64..100_000, long in 10_500_u64..25_000, limit in prop::option::of(1_000_u64..150_000), tells: bool
    ) {
        let stall = Some((ms(from), ms(from + long)));
        let path = Simulated { stall, silence: limit.map(ms), ..Simulated::new(tells) };
        let (search, _) = path.search(&times(false, None, 1.0));
        match (search.limit(), limit) {
            (Some(found), Some(limit)) => {
                let is_held = below(found.low) <= ms(limit) && ms(limit) <= beyond(found.high);
                prop_assert!(is_held && found.agree > 0, "{found:?}");
            }
            (Some(found), None) => prop_assert!(found.agree < found.tries, "{found:?}"),
            (None, limit) => prop_assert!(limit.is_none()),
        }
    }
}

#[test]
fn a_path_without_a_limit_lives_to_the_longest_silence() {
    for times in [times(false, None, 1.0), times(true, None, 1.0), given(&[1000, 2000])] {
        let (search, took) = Simulated::new(true).search(&times);
        assert_eq!((search.limit(), search.longest_lived()), (None, *times.series.last().unwrap()));
        assert!(took <= times.total);
    }
}

#[test]
fn an_age_that_others_outlive_is_none() {
    let mut search = PathSearch::new(&given(&[1000, 2000]));
    let age = AgeLimit { low: ms(500), high: ms(500), death: Simulated::new(true).death() };
    search.handle_busy_death(age, ms(600));
    let starts = search.begin(ms(600));
    assert_eq!((search.lacks_busy(), search.life().is_some()), (false, true));
    search.handle_fate(starts[0].id, TrialFate::Lived { silence: ms(2000) }, ms(2700));
    assert_eq!((search.lacks_busy(), search.life()), (true, None));
}

#[test]
fn of_tries_that_do_not_agree_the_number_is_told() {
    let mut search = PathSearch::new(&given(&[1000, 2000]));
    let died = |silence| TrialFate::Died { silence, death: Simulated::new(true).death(), is_exact: true };
    search.handle_busy(ms(100_000));
    for TrialStart { id, silence } in search.begin(ms(0)) {
        search.handle_fate(
            id,
            if silence == ms(1000) { TrialFate::Lived { silence } } else { died(ms(1500)) },
            ms(2000),
        );
    }
    let again = search.begin(ms(2000));
    assert_eq!((again.len(), again[0].silence > ms(1500)), (REPEATS, true));
    search.handle_fate(again[0].id, died(ms(1510)), ms(4000));
    search.handle_fate(again[1].id, TrialFate::Lived { silence: again[1].silence }, ms(4000));
    search.handle_fate(again[2].id, TrialFate::Unopened, ms(4000));
    assert!(search.is_over(ms(4000)));
    let limit = search.limit().unwrap();
    assert_eq!((limit.tries, limit.agree), (3, 2));
}
