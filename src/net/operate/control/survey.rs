//! Questions to all sessions. The workers answer between two turns.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};

use crate::net::{
    orders::{
        age_errand::{AgeErrand, Aged, Leavers, Telling},
        ages::AgeScale,
        departures::RebalanceTally,
        inquiry::{Kill, Matches, Question, Search},
        tally::Tally,
    },
    session::held::Arrival,
};

/// How long the workers may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// The way to the sessions of each worker.
#[derive(Debug, Clone)]
pub(in crate::net) struct Survey {
    workers: Vec<mpsc::Sender<Arrival>>,
}

impl Survey {
    pub(super) const fn new(workers: Vec<mpsc::Sender<Arrival>>) -> Self {
        Self { workers }
    }

    /// Searches all sessions, and ends those found if `kill` is given. `None`: a worker did not answer in time.
    pub(in crate::net) async fn ask(&self, search: Search, kill: Option<Kill>) -> Option<Matches> {
        let (search, kill, asked) = (Arc::new(search), kill.map(Arc::new), Instant::now());
        let question = |_, answer| {
            let (search, kill) = (Arc::clone(&search), kill.clone());
            Arrival::Question(Box::new(Question { search, asked, kill, joins_fleet: false, answer }))
        };
        let mut all = Matches::default();
        for Matches { matched, sights } in self.answers(question).await? {
            all.matched += matched;
            all.sights.extend(sights);
        }
        search.sort_and_cut(&mut all.sights);
        Some(all)
    }

    /// Has all sessions counted in the fleet that are not yet. `None`: a worker did not answer in time.
    pub(super) async fn join_fleet(&self) -> Option<()> {
        // No session has this id, so that none is shown.
        let (search, asked) = (Arc::new(Search { id: Some(String::new()), ..Search::default() }), Instant::now());
        let question = |_, answer| {
            let search = Arc::clone(&search);
            Arrival::Question(Box::new(Question { search, asked, kill: None, joins_fleet: true, answer }))
        };
        self.answers(question).await.map(drop)
    }

    /// What all sessions have passed, by worker. `None`: a worker did not answer in time.
    pub(in crate::net) async fn count(&self) -> Option<Vec<Tally>> {
        self.answers(|_, answer| Arrival::Count(answer)).await
    }

    /// How many sessions each worker has in each class of ages. `None`: a worker did not answer in time.
    pub(super) async fn count_ages(&self, aged: &Aged, scale: &AgeScale) -> Option<Vec<Vec<u32>>> {
        self.answers(|_, answer| Arrival::Ages(Box::new(AgeErrand::count(aged.clone(), scale.clone(), answer)))).await
    }

    /// Tells the sessions something in a rebalance, those of each worker what `telling` says of its place among `workers`. Returns
    /// whom it concerned. `None`: a worker did not answer in time.
    pub(super) async fn tell(&self, telling: impl Fn(usize, usize) -> Telling) -> Option<Leavers> {
        let workers = self.workers.len();
        let errand = |worker, answer| Arrival::Ages(Box::new(AgeErrand::tell(telling(worker, workers), answer)));
        let mut all = Leavers::default();
        self.answers(errand).await?.into_iter().for_each(|leavers| all.add(leavers));
        Some(all)
    }

    /// What has become of the sessions of the last rebalance. `None`: a worker did not answer in time.
    pub(super) async fn tally_rebalance(&self) -> Option<RebalanceTally> {
        let mut all = RebalanceTally::default();
        let errand = |_, answer| Arrival::Ages(Box::new(AgeErrand::tally(answer)));
        self.answers(errand).await?.into_iter().for_each(|tally| all.add(tally));
        Some(all)
    }

    /// Asks every worker at once. The answers stand in the order of the workers. `None`: a worker did not answer in time.
    async fn answers<T>(&self, question: impl Fn(usize, oneshot::Sender<T>) -> Arrival) -> Option<Vec<T>> {
        let answers = async {
            let mut awaited = Vec::with_capacity(self.workers.len());
            for (place, worker) in self.workers.iter().enumerate() {
                let (answer, answered) = oneshot::channel();
                worker.send(question(place, answer)).await.ok()?;
                awaited.push(answered);
            }
            let mut answers = Vec::with_capacity(awaited.len());
            for answered in awaited {
                answers.push(answered.await.ok()?);
            }
            Some(answers)
        };
        timeout(PATIENCE, answers).await.ok()?
    }
}
