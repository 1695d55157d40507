//! Which sessions are the oldest. PURE: ages and counts in, a choice out.
//!
//! Nobody sorts the sessions. The workers count theirs by age, in classes. The classes that are older than the limit are chosen
//! whole; the one in which the limit falls is counted once more, in finer classes, until the limit lies between two sessions. Then
//! each worker chooses its own sessions, by the classes and by how many it has said that it has in each. So never more are chosen
//! than were wanted, whatever has come or gone meanwhile.

use std::{cmp::Reverse, iter, ops::Range, sync::Arc, time::Duration};

/// Ages below 2^16 ns, 66 µs, are one class of the first count, and ages from 2^55 ns, 417 days, on.
const OCTAVES: Range<u32> = 16..55;
/// Classes of the first count within an octave: two ages of one class differ by a 64th of the age at most.
const STEPS: u64 = 64;
/// Classes into which a further count divides one class.
const FINER: u64 = 1024;
/// The most counts. So many divide the widest class of the first one down to a nanosecond.
const MOST_COUNTS: usize = 8;

/// How many sessions are to leave.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::net) enum Amount {
    /// This part of all that are counted, from 0 to 1.
    Share(f64),
    Sessions(usize),
    /// All but so many.
    SurplusOver(usize),
}

/// Bounds between classes of ages, in nanoseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::net) struct AgeScale(Arc<[u64]>);

/// The oldest sessions, class by class.
#[derive(Debug)]
pub(in crate::net) struct OldestSessions {
    wanted: usize,
    /// How many are not found yet.
    left: usize,
    /// Where the limit lies.
    within: Range<u64>,
    counts: usize,
    /// The oldest first.
    classes: Vec<AgeClass>,
}

/// The chosen sessions of a class of ages.
#[derive(Debug, Clone, PartialEq, Eq)]
struct AgeClass {
    ages: Range<u64>,
    /// Of each worker.
    sessions: Vec<usize>,
}

/// What one worker chooses among its sessions.
#[derive(Debug, Default)]
pub(in crate::net) struct AgePicks(
    /// The oldest first.
    Vec<AgePick>,
);

/// What one worker chooses among its sessions of a class of ages.
#[derive(Debug)]
struct AgePick {
    ages: Range<u64>,
    most: usize,
    taken: usize,
    /// The places of the first one and of each further one among all chosen sessions, from 0 to 1.
    first: f64,
    step: f64,
}

impl Amount {
    /// How many that is of `total` sessions: never more than was asked for.
    pub(in crate::net) fn of(self, total: usize) -> usize {
        match self {
            // 29 % of 100 are 28.999999999999996.
            Self::Share(share) => ((total as f64 * share + 1e-6) as usize).min(total),
            Self::Sessions(sessions) => sessions.min(total),
            Self::SurplusOver(most) => total.saturating_sub(most),
        }
    }
}

impl AgeScale {
    /// For the first count.
    pub(in crate::net) fn whole() -> Self {
        let octave = |octave: u32| (0..STEPS).map(move |step| (1 << octave) + ((1 << octave) / STEPS) * step);
        Self(OCTAVES.flat_map(octave).chain([1 << OCTAVES.end]).collect())
    }

    /// Divides these ages once more; `None` = they cannot be told apart.
    fn within(ages: &Range<u64>) -> Option<Self> {
        let width = ages.end.saturating_sub(ages.start);
        if width <= 1 {
            return None;
        }
        let step = width.div_ceil(FINER);
        let bounds = iter::successors(Some(ages.start), |bound| bound.checked_add(step));
        Some(Self(bounds.take_while(|bound| *bound < ages.end).chain([ages.end]).collect()))
    }

    /// How many classes there are.
    pub(in crate::net) fn classes(&self) -> usize {
        self.0.len() + 1
    }

    /// The class of an age. The oldest have the last one.
    pub(in crate::net) fn class_of(&self, age: Duration) -> usize {
        self.0.partition_point(|bound| *bound <= nanos(age))
    }

    fn ages_of(&self, class: usize) -> Range<u64> {
        let bound = |place: usize| self.0.get(place).copied();
        class.checked_sub(1).and_then(bound).unwrap_or(0)..bound(class).unwrap_or(u64::MAX)
    }
}

impl OldestSessions {
    /// So many of the oldest.
    pub(in crate::net) fn new(wanted: usize) -> Self {
        Self { wanted, left: wanted, within: 0..u64::MAX, counts: 0, classes: Vec::new() }
    }

    /// Takes a count of each worker by this scale. Returns the scale for the next count; `None` = no further one is needed.
    pub(in crate::net) fn narrow(&mut self, scale: &AgeScale, workers: &[Vec<u32>]) -> Option<AgeScale> {
        self.counts += 1;
        for class in (0..scale.classes()).rev() {
            if self.left == 0 {
                break;
            }
            let ages = scale.ages_of(class);
            // What is older has been chosen already.
            if ages.start < self.within.start || ages.end > self.within.end {
                continue;
            }
            let count = |worker: &Vec<u32>| worker.get(class).map_or(0, |count| *count as usize);
            let sessions: Vec<_> = workers.iter().map(count).collect();
            let all: usize = sessions.iter().sum();
            if all > self.left
                && self.counts < MOST_COUNTS
                && let Some(finer) = AgeScale::within(&ages)
            {
                self.within = ages;
                return Some(finer);
            }
            if all > 0 {
                self.choose(ages, &sessions);
            }
        }
        None
    }

    /// Chooses these sessions, or as many of them as are left to find.
    fn choose(&mut self, ages: Range<u64>, sessions: &[usize]) {
        let sessions = sessions.iter().map(|sessions| {
            let chosen = (*sessions).min(self.left);
            self.left -= chosen;
            chosen
        });
        let sessions = sessions.collect();
        self.classes.push(AgeClass { ages, sessions });
    }

    /// How many were found.
    pub(in crate::net) const fn found(&self) -> usize {
        self.wanted - self.left
    }

    /// The ages of the youngest and of the oldest, as exactly as their classes say it; `None` = there are none.
    pub(in crate::net) fn ages(&self) -> Option<[Duration; 2]> {
        let (oldest, youngest) = (self.classes.first()?, self.classes.last()?);
        Some([Duration::from_nanos(youngest.ages.start), Duration::from_nanos(oldest.ages.start)])
    }

    /// What a worker chooses of `workers`.
    ///
    /// Within a class, its sessions have places at equal distances, between those of the other workers. So the moments that follow
    /// from the places are spread evenly, whichever worker has which session.
    pub(in crate::net) fn picks_of(&self, worker: usize, workers: usize) -> AgePicks {
        let (found, mut before) = (self.found() as f64, 0);
        let mut picks = Vec::new();
        for AgeClass { ages, sessions } in &self.classes {
            let (all, most) = (sessions.iter().sum::<usize>(), sessions.get(worker).copied().unwrap_or(0));
            if most > 0 {
                let step = all as f64 / most as f64;
                let lag = step * (worker as f64 + 0.5) / workers as f64;
                let (first, step) = ((before as f64 + lag) / found, step / found);
                picks.push(AgePick { ages: ages.clone(), most, taken: 0, first, step });
            }
            before += all;
        }
        AgePicks(picks)
    }
}

impl AgePicks {
    /// The place of a session of this age among all that are chosen, from 0 (the oldest) to 1; `None` = it is not chosen. Each
    /// session may be asked about once.
    pub(in crate::net) fn choose(&mut self, age: Duration) -> Option<f64> {
        let age = nanos(age);
        let class = self.0.partition_point(|pick| Reverse(pick.ages.start) < Reverse(age));
        let pick = self.0.get_mut(class).filter(|pick| pick.ages.contains(&age) && pick.taken < pick.most)?;
        let place = pick.first + pick.step * pick.taken as f64;
        pick.taken += 1;
        Some(place)
    }
}

fn nanos(age: Duration) -> u64 {
    // An age that a u64 cannot hold is one more of the oldest class.
    u64::try_from(age.as_nanos()).unwrap_or(u64::MAX).min(u64::MAX - 1)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    /// What the workers, each with sessions of these ages, choose: ages with their places, and the ages of the others.
    fn chosen(workers: &[Vec<u64>], wanted: usize) -> (Vec<(u64, f64)>, Vec<u64>) {
        let (mut scale, mut oldest) = (AgeScale::whole(), OldestSessions::new(wanted));
        for _ in 0..MOST_COUNTS {
            let count = |ages: &Vec<u64>| {
                let mut counts = vec![0; scale.classes()];
                ages.iter().for_each(|age| counts[scale.class_of(Duration::from_nanos(*age))] += 1);
                counts
            };
            let counts: Vec<Vec<u32>> = workers.iter().map(count).collect();
            match oldest.narrow(&scale, &counts) {
                Some(finer) => scale = finer,
                None => break,
            }
        }
        let (mut chosen, mut others) = (Vec::new(), Vec::new());
        for (worker, ages) in workers.iter().enumerate() {
            let mut picks = oldest.picks_of(worker, workers.len());
            for age in ages {
                match picks.choose(Duration::from_nanos(*age)) {
                    Some(place) => chosen.push((*age, place)),
                    None => others.push(*age),
                }
            }
        }
        assert_eq!(chosen.len(), oldest.found());
        chosen.sort_by(|(_, one), (_, other)| one.total_cmp(other));
        (chosen, others)
    }

    /// Ages of every length, and ages that nobody can tell apart.
    fn age() -> impl Strategy<Value = u64> {
        let (second, day) = (1_000_000_000_u64, 86_400_000_000_000);
        prop_oneof![
            0..100_u64,
            second..2 * second,
            10 * day..10 * day + second,
            Just(day),
            0..800 * day,
            Just(u64::MAX),
        ]
    }

    proptest! {
        #[test]
        fn exactly_the_oldest_are_chosen_and_never_more_than_wanted(
            workers in vec(vec(age(), 0..60), 1..5),
            wanted in 0..200_usize,
        ) {
            let total: usize = workers.iter().map(Vec::len).sum();
            let (chosen, others) = chosen(&workers, wanted);
            prop_assert_eq!(chosen.len(), wanted.min(total));
            let youngest = chosen.iter().map(|(age, _)| *age).min().unwrap_or(u64::MAX);
            prop_assert!(others.iter().all(|age| *age <= youngest), "{} {:?}", youngest, others);
        }

        #[test]
        fn the_older_leave_first_and_all_at_equal_distances(
            workers in vec(vec(age(), 0..60), 1..5),
            wanted in 1..200_usize,
        ) {
            let (chosen, _) = chosen(&workers, wanted);
            for (place, (_, moment)) in chosen.iter().enumerate() {
                let even = (place as f64 + 0.5) / chosen.len() as f64;
                let off = (moment - even).abs() * chosen.len() as f64;
                prop_assert!((0.0..=1.0).contains(moment) && off <= workers.len() as f64, "{} is off by {}", place, off);
            }
            for ((earlier, _), (later, _)) in chosen.iter().zip(chosen.iter().skip(1)) {
                // The oldest class of all has no end.
                let most = earlier.saturating_add(*earlier / STEPS * 2).max(1 << OCTAVES.start);
                prop_assert!(*later <= most || *earlier >= 1 << OCTAVES.end, "{} before {}", earlier, later);
            }
        }
    }

    #[test]
    fn a_million_sessions_that_began_within_a_second_leave_one_by_one() {
        let day = 86_400_000_000_000_u64;
        let worker = |worker: u64| (0..100_000).map(|n| 30 * day + (n * 7919 % 100_000) * 10_000 + worker).collect();
        let workers: Vec<Vec<u64>> = (0..4).map(worker).collect();
        let (chosen, others) = chosen(&workers, 80_000);
        assert_eq!(chosen.len(), 80_000);
        let youngest = chosen.iter().map(|(age, _)| *age).min().unwrap();
        assert!(others.iter().all(|age| *age < youngest));
        let most = (0..100).map(|part| {
            let within = f64::from(part) / 100.0..f64::from(part + 1) / 100.0;
            chosen.iter().filter(|(_, place)| within.contains(place)).count()
        });
        assert!(most.clone().all(|count| (790..=810).contains(&count)), "{:?}", most.collect::<Vec<_>>());
    }

    #[test]
    fn sessions_that_come_late_are_not_chosen_beside_those_that_were_counted() {
        let second = 1_000_000_000;
        let mut oldest = OldestSessions::new(2);
        let scale = AgeScale::whole();
        let mut counts = vec![0; scale.classes()];
        counts[scale.class_of(Duration::from_nanos(5 * second))] = 2;
        assert_eq!(oldest.narrow(&scale, &[counts]), None);
        let mut picks = oldest.picks_of(0, 1);
        let places: Vec<_> = (0..4).map(|_| picks.choose(Duration::from_nanos(5 * second))).collect();
        assert_eq!(places, [Some(0.25), Some(0.75), None, None]);
    }

    #[test]
    fn an_amount_is_never_more_than_it_says() {
        for (amount, total, expected) in [
            (Amount::Share(0.2), 1000, 200),
            (Amount::Share(0.29), 100, 29),
            (Amount::Share(0.2), 4, 0),
            (Amount::Share(1.0), 7, 7),
            (Amount::Sessions(5), 7, 5),
            (Amount::Sessions(9), 7, 7),
            (Amount::SurplusOver(5), 7, 2),
            (Amount::SurplusOver(9), 7, 0),
        ] {
            assert_eq!(amount.of(total), expected, "{amount:?} of {total}");
        }
    }
}
