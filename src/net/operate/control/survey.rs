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
        inquiry::{Kill, Matches, Question, Search},
        tally::Tally,
    },
    session::held::Arrival,
};

/// How long the workers may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// The way to the sessions of each worker.
#[derive(Debug)]
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
        let question = |answer| {
            let (search, kill) = (Arc::clone(&search), kill.clone());
            Arrival::Question(Box::new(Question { search, asked, kill, answer }))
        };
        let mut all = Matches::default();
        for Matches { matched, sights } in self.answers(question).await? {
            all.matched += matched;
            all.sights.extend(sights);
        }
        search.sort_and_cut(&mut all.sights);
        Some(all)
    }

    /// What all sessions have passed, by worker. `None`: a worker did not answer in time.
    pub(in crate::net) async fn count(&self) -> Option<Vec<Tally>> {
        self.answers(Arrival::Count).await
    }

    /// Asks every worker at once. The answers stand in the order of the workers. `None`: a worker did not answer in time.
    async fn answers<T>(&self, question: impl Fn(oneshot::Sender<T>) -> Arrival) -> Option<Vec<T>> {
        let answers = async {
            let mut awaited = Vec::with_capacity(self.workers.len());
            for worker in &self.workers {
                let (answer, answered) = oneshot::channel();
                worker.send(question(answer)).await.ok()?;
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
