//! Who resets the timer of the path: sockets that only one kind of packet keeps from silence, and whether they outlive the limit.

use std::time::Duration;

use super::{ProbeTimes, SilenceLimit, below, beyond};
use crate::paths::holding;

/// The shortest time between two keepalives of TCP (`TCP_KEEPINTVL`).
const SHORTEST_KEEPALIVE: Duration = Duration::from_secs(1);
/// The shortest time between two Pings, of ours or of those that the other end is ordered to send.
const SHORTEST_PINGS: Duration = Duration::from_millis(100);
/// How often one kind is tried.
const MOST_TRIES: usize = 2;

/// What may reset the timer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::tools::probe) enum Resetter {
    /// Pings of the client, and the Pongs to them unless the other end is mute.
    ClientPing,
    /// Pings of the other end, which nobody answers.
    ServerPing,
    /// Empty packets of the client's kernel.
    TcpKeepalive,
}

/// One socket to open, and to keep by this.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::tools::probe) struct KeeperStart {
    pub(in crate::tools::probe) id: usize,
    pub(in crate::tools::probe) resetter: Resetter,
    pub(in crate::tools::probe) every: Duration,
}

/// What became of such a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::tools::probe) enum KeeperFate {
    /// It answered at this age.
    Lived(Duration),
    /// It ended at this age.
    Died(Duration),
    /// It did not answer when it was asked, so it had died before.
    Unanswered,
    Unopened,
}

/// The sockets of one run.
#[derive(Debug)]
pub(in crate::tools::probe) struct Keepers {
    resetters: Vec<Resetter>,
    trials: Vec<KeeperTrial>,
    /// How often each kind sends, before the limit is known.
    every: Duration,
    wait: Duration,
    total: Duration,
}

#[derive(Debug, Clone, Copy)]
struct KeeperTrial {
    resetter: Resetter,
    every: Duration,
    fate: Option<KeeperFate>,
}

impl Keepers {
    /// The sockets for these kinds.
    #[must_use]
    pub(in crate::tools::probe) fn new(times: &ProbeTimes, resetters: Vec<Resetter>) -> Self {
        let shortest = times.series.first().copied().unwrap_or(times.total);
        Self { resetters, trials: Vec::new(), every: shortest / 2, wait: times.wait, total: times.total }
    }

    /// The sockets to open now. `limit`: the limit of silence once it is known. `now`: since the start.
    pub(in crate::tools::probe) fn begin(&mut self, now: Duration, limit: Option<&SilenceLimit>) -> Vec<KeeperStart> {
        let mut starts = Vec::new();
        for resetter in self.resetters.clone() {
            if let Some(every) = self.wants(resetter, now, limit) {
                starts.push(KeeperStart { id: self.trials.len(), resetter, every });
                self.trials.push(KeeperTrial { resetter, every, fate: None });
            }
        }
        starts
    }

    /// Notes what became of a socket.
    pub(in crate::tools::probe) fn handle_fate(&mut self, id: usize, fate: KeeperFate) {
        if let Some(trial) = self.trials.get_mut(id) {
            trial.fate = Some(fate);
        }
    }

    /// Whether nothing more is to be learnt about this limit.
    #[must_use]
    pub(in crate::tools::probe) fn is_over(&self, now: Duration, limit: &SilenceLimit) -> bool {
        let is_open = |resetter: &Resetter| {
            self.kept(*resetter, limit).is_none()
                && (self.is_running(*resetter) || self.wants(*resetter, now, Some(limit)).is_some())
        };
        now >= self.total || !self.resetters.iter().any(is_open)
    }

    /// Whether this kind keeps a socket beyond the limit; `None` = not known.
    #[must_use]
    pub(in crate::tools::probe) fn kept(&self, resetter: Resetter, limit: &SilenceLimit) -> Option<bool> {
        self.of(resetter).find_map(|trial| judge(trial, limit))
    }

    /// How often this kind is to send on a socket that is to be opened now; `None` = none is.
    fn wants(&self, resetter: Resetter, now: Duration, limit: Option<&SilenceLimit>) -> Option<Duration> {
        if self.is_running(resetter) || self.of(resetter).count() >= MOST_TRIES {
            return None;
        }
        let Some(limit) = limit else {
            return (self.of(resetter).count() == 0).then(|| whole(resetter, self.every));
        };
        let every = whole(resetter, holding(limit.low));
        let is_useful = self.kept(resetter, limit).is_none()
            && is_often(resetter, every, limit)
            && now + asked_at(limit) + self.wait <= self.total;
        is_useful.then_some(every)
    }

    fn is_running(&self, resetter: Resetter) -> bool {
        self.of(resetter).any(|trial| trial.fate.is_none())
    }

    fn of(&self, resetter: Resetter) -> impl Iterator<Item = &KeeperTrial> {
        self.trials.iter().filter(move |trial| trial.resetter == resetter)
    }
}

/// The age at which a socket shows whether it was kept.
#[must_use]
pub(in crate::tools::probe) fn asked_at(limit: &SilenceLimit) -> Duration {
    beyond(beyond(limit.high))
}

/// The nearest time that can be kept: the kernel sends keepalives after whole seconds.
fn whole(resetter: Resetter, every: Duration) -> Duration {
    match resetter {
        Resetter::TcpKeepalive => Duration::from_secs(every.as_secs()).max(SHORTEST_KEEPALIVE),
        Resetter::ClientPing | Resetter::ServerPing => every.max(SHORTEST_PINGS),
    }
}

/// Whether this was often enough to keep a socket over this limit.
fn is_often(resetter: Resetter, every: Duration, limit: &SilenceLimit) -> bool {
    let share = match resetter {
        Resetter::TcpKeepalive => 0.8,
        Resetter::ClientPing | Resetter::ServerPing => 0.51,
    };
    !every.is_zero() && every <= limit.low.mul_f64(share)
}

fn judge(trial: &KeeperTrial, limit: &SilenceLimit) -> Option<bool> {
    match trial.fate? {
        KeeperFate::Lived(age) => (age > limit.high).then_some(true),
        // It died of something else, long after the limit.
        KeeperFate::Died(age) if age > limit.high * 2 + trial.every => Some(true),
        // So it did before the limit, or after it.
        KeeperFate::Died(age) if age < below(limit.low) || age > beyond(limit.high) + trial.every => None,
        KeeperFate::Died(_) | KeeperFate::Unanswered => is_often(trial.resetter, trial.every, limit).then_some(false),
        KeeperFate::Unopened => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        paths::Manner,
        tools::probe::decide::{Death, TimesWanted},
    };

    const ALL: [Resetter; 3] = [Resetter::ClientPing, Resetter::ServerPing, Resetter::TcpKeepalive];

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn keepers(silences: &[u64]) -> Keepers {
        let silences = silences.iter().map(|silence| ms(*silence)).collect();
        let wanted = TimesWanted { quick: false, max: Some(ms(60_000)), silences, scale: 0.1 };
        Keepers::new(&ProbeTimes::new(&wanted), ALL.to_vec())
    }

    fn limit(low: u64, high: u64) -> SilenceLimit {
        let death = Death { manner: Some(Manner::Fin), code: None, taken: false };
        SilenceLimit { low: ms(low), high: ms(high), kills: ms(high), death, tries: 3, agree: 3 }
    }

    #[test]
    fn what_lives_beyond_the_limit_was_kept_and_what_dies_at_it_was_not() {
        let (mut keepers, limit) = (keepers(&[4000, 8000]), limit(5900, 6100));
        let starts = keepers.begin(ms(0), None);
        let every: Vec<_> = starts.iter().map(|start| (start.resetter, start.every)).collect();
        assert_eq!(every, ALL.map(|resetter| (resetter, ms(2000))));
        assert!(keepers.begin(ms(100), None).is_empty());
        keepers.handle_fate(starts[0].id, KeeperFate::Lived(asked_at(&limit)));
        keepers.handle_fate(starts[1].id, KeeperFate::Died(ms(30_000)));
        assert!(!keepers.is_over(ms(30_000), &limit));
        keepers.handle_fate(starts[2].id, KeeperFate::Died(ms(6010)));
        assert_eq!(ALL.map(|resetter| keepers.kept(resetter, &limit)), [Some(true), Some(true), Some(false)]);
        assert!(keepers.is_over(ms(30_000), &limit) && keepers.begin(ms(30_000), Some(&limit)).is_empty());
    }

    #[test]
    fn what_was_sent_too_seldom_is_sent_more_often() {
        let (mut keepers, limit) = (keepers(&[4000]), limit(1450, 1550));
        for start in keepers.begin(ms(0), None) {
            keepers.handle_fate(start.id, KeeperFate::Died(ms(1500)));
        }
        assert_eq!(ALL.map(|resetter| keepers.kept(resetter, &limit)), [None; 3]);
        let again = keepers.begin(ms(9000), Some(&limit));
        let every: Vec<_> = again.iter().map(|start| (start.resetter, start.every)).collect();
        let expected =
            [(Resetter::ClientPing, ms(580)), (Resetter::ServerPing, ms(580)), (Resetter::TcpKeepalive, ms(1000))];
        assert_eq!(every, expected);
        for start in again {
            keepers.handle_fate(start.id, KeeperFate::Unanswered);
        }
        assert_eq!(ALL.map(|resetter| keepers.kept(resetter, &limit)), [Some(false); 3]);
    }

    #[test]
    fn what_dies_before_the_limit_or_between_it_and_twice_as_much_says_nothing() {
        let limit = limit(59_700, 60_300);
        for (age, expected) in
            [(40_000, None), (60_100, Some(false)), (64_000, Some(false)), (100_000, None), (130_000, Some(true))]
        {
            let mut keepers = keepers(&[4000]);
            let starts = keepers.begin(ms(0), None);
            keepers.handle_fate(starts[0].id, KeeperFate::Died(ms(age)));
            assert_eq!(keepers.kept(Resetter::ClientPing, &limit), expected, "{age}");
        }
    }

    #[test]
    fn what_cannot_be_tested_in_time_or_by_this_kernel_stays_unknown() {
        let (mut early, limit) = (keepers(&[4000]), limit(900, 950));
        for start in early.begin(ms(0), None) {
            early.handle_fate(start.id, KeeperFate::Unopened);
        }
        assert!(early.begin(ms(59_000), Some(&limit)).is_empty() && early.is_over(ms(59_000), &limit));
        let kinds: Vec<_> = early.begin(ms(9000), Some(&limit)).iter().map(|start| start.resetter).collect();
        assert_eq!(kinds, [Resetter::ClientPing, Resetter::ServerPing]);
        assert_eq!(early.kept(Resetter::TcpKeepalive, &limit), None);
    }
}
