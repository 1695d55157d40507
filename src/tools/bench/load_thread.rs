//! One thread of the load: it opens its connections, starts the load and ends it.

use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    runtime,
    sync::{mpsc, watch},
    task::JoinSet,
    time::{sleep, timeout},
};

use super::{
    BenchOptions, Load,
    connection::{self, BenchConnection},
    message::Message,
    pacer::Pacer,
    schedule::Schedule,
    workspace::{Phase, SharedWorkspace},
};
use crate::tools::opening::{OpenError, Opened, Opener};

/// How long the last answers and Closes may take after the end.
pub(super) const END_WITHIN: Duration = Duration::from_secs(5);
/// How many connections one thread opens at the same time.
const OPENING_AT_ONCE: usize = 64;
/// How long to wait after a failed opening.
const RETRY_AFTER: Duration = Duration::from_millis(10);
/// How many ready tasks run before the runtime asks the kernel for events. To ask is a system call, and under load the next
/// call brings most of these events as well.
const TASKS_PER_ASKING: u32 = 256;

/// An order of the main thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ThreadOrder {
    Open,
    Run { start: Instant, end: Instant },
    End,
}

/// A thread of the load.
#[derive(Clone)]
pub(super) struct LoadThread {
    /// The number of this thread, and the number of all threads.
    pub(super) of_threads: (u64, u64),
    /// How many of the run's connections this thread has.
    pub(super) connections: usize,
    pub(super) options: Arc<BenchOptions>,
    pub(super) opener: Opener,
    pub(super) message: Option<Arc<Message>>,
    pub(super) workspace: SharedWorkspace,
    pub(super) orders: watch::Receiver<ThreadOrder>,
    /// Gets one message when all connections are open or have failed. Dropped when everything is over.
    pub(super) ready: mpsc::UnboundedSender<()>,
}

impl LoadThread {
    /// Runs until the order to end, and then until all connections have ended or [`END_WITHIN`] is over.
    ///
    /// # Errors
    /// The runtime or its timer cannot be made.
    pub(super) fn run(self) -> io::Result<()> {
        let runtime = runtime::Builder::new_current_thread().enable_all().event_interval(TASKS_PER_ASKING).build()?;
        runtime.block_on(async {
            match self.options.load {
                Load::Handshakes => self.shake_hands().await,
                Load::Idle | Load::Saturate { .. } | Load::Rate(_) => self.run_messages().await?,
            }
            Ok(())
        })
    }

    /// Opens connections, with or without messages on them.
    async fn run_messages(mut self) -> io::Result<()> {
        let mut connections = self.open_all().await;
        // The main thread waits for this message as long as it lives.
        let _ = self.ready.send(());
        let schedule = match self.run_order().await {
            ThreadOrder::Run { start, end } => self.begin(start, end),
            ThreadOrder::Open | ThreadOrder::End => None,
        };
        match schedule {
            Some(schedule) => self.pace(schedule).await?,
            None => self.end_order().await,
        }
        let owed = schedule.map(|schedule| schedule.until(Instant::now()));
        self.workspace.lock().begin(Phase::End(owed));
        let _ = timeout(END_WITHIN, async { while connections.join_next().await.is_some() {} }).await;
        let mut workspace = self.workspace.lock();
        workspace.tally.silent = workspace.open;
        if let Some(schedule) = owed {
            let due: u64 = (0..workspace.tally.opened).map(|place| schedule.due(place, Instant::now())).sum();
            workspace.tally.unsent = due.saturating_sub(workspace.tally.sent);
        }
        Ok(())
    }

    /// Opens this thread's share of the connections, [`OPENING_AT_ONCE`] at a time, until the order to end.
    async fn open_all(&mut self) -> JoinSet<()> {
        let mut opening = JoinSet::<Result<Opened, OpenError>>::new();
        let mut connections = JoinSet::new();
        let mut left = self.connections;
        loop {
            while left > 0 && opening.len() < OPENING_AT_ONCE {
                left -= 1;
                let opener = self.opener.clone();
                opening.spawn(async move { opener.open().await });
            }
            let opened = tokio::select! {
                opened = opening.join_next() => opened,
                _ = self.orders.wait_for(|order| *order == ThreadOrder::End) => None,
            };
            match opened {
                None => return connections,
                Some(Ok(Ok(opened))) => {
                    let connection =
                        BenchConnection::new(opened, self.message.clone(), self.of_threads, &self.workspace);
                    connections.spawn(connection.run(self.workspace.clone()));
                }
                Some(Ok(Err(error))) => self.workspace.lock().tally.fail(error.to_string()),
                Some(Err(error)) => self.workspace.lock().tally.fail(error.to_string()),
            }
        }
    }

    /// Starts the load on the connections. Returns the schedule, if there is one.
    fn begin(&self, start: Instant, end: Instant) -> Option<Schedule> {
        let mut workspace = self.workspace.lock();
        match self.options.load {
            Load::Saturate { depth } => {
                workspace.begin(Phase::Saturate(depth));
                None
            }
            Load::Rate(rate) if workspace.tally.opened > 0 => {
                let connections = workspace.tally.opened;
                // The threads take turns as the connections of a thread do.
                let (thread, threads) = self.of_threads;
                let shift = thread as f64 / (threads * connections) as f64 / rate;
                let start = start + Duration::try_from_secs_f64(shift).unwrap_or_default();
                let schedule = Schedule::new(start, end, rate, connections);
                workspace.begin(Phase::Follow(schedule));
                Some(schedule)
            }
            Load::Rate(_) | Load::Idle | Load::Handshakes => None,
        }
    }

    /// Wakes each connection at its moments, until the order to end.
    async fn pace(&mut self, schedule: Schedule) -> io::Result<()> {
        let pacer = Pacer::new()?;
        let mut next = 0;
        loop {
            let (_, moment) = schedule.place_and_moment(next);
            tokio::select! {
                biased;
                _ = self.orders.wait_for(|order| *order == ThreadOrder::End) => return Ok(()),
                waited = pacer.until(moment) => waited?,
            }
            let now = Instant::now();
            let mut workspace = self.workspace.lock();
            loop {
                let (place, moment) = schedule.place_and_moment(next);
                if moment > now {
                    break;
                }
                workspace.wake(place);
                next += 1;
            }
        }
    }

    /// Runs one loop of connect, upgrade and close for each connection, from the order to run until the order to end.
    async fn shake_hands(mut self) {
        let _ = self.ready.send(());
        if self.run_order().await == ThreadOrder::End {
            return;
        }
        let mut loops = JoinSet::new();
        for _ in 0..self.connections {
            let (opener, workspace) = (self.opener.clone(), self.workspace.clone());
            loops.spawn(async move {
                while workspace.lock().phase == Phase::Hold {
                    shake_hands_once(&opener, &workspace).await;
                }
            });
        }
        self.end_order().await;
        self.workspace.lock().begin(Phase::End(None));
        let _ = timeout(END_WITHIN * 3, async { while loops.join_next().await.is_some() {} }).await;
        self.workspace.lock().tally.silent = loops.len() as u64;
    }

    async fn run_order(&mut self) -> ThreadOrder {
        // Without a main thread, there is nothing more to do.
        self.orders.wait_for(|order| *order != ThreadOrder::Open).await.map_or(ThreadOrder::End, |order| *order)
    }

    async fn end_order(&mut self) {
        let _ = self.orders.wait_for(|order| *order == ThreadOrder::End).await;
    }
}

/// Connects, upgrades and closes. The time that counts is the time until the WebSocket is open.
async fn shake_hands_once(opener: &Opener, workspace: &SharedWorkspace) {
    let begun = Instant::now();
    match opener.open().await {
        Ok(opened) => {
            {
                let mut workspace = workspace.lock();
                workspace.tally.opened += 1;
                workspace.tally.sent += 1;
                workspace.tally.finish(begun.elapsed());
            }
            if let Some(code) = connection::close(opened, END_WITHIN).await {
                workspace.lock().tally.close(code);
            }
        }
        Err(error) => {
            workspace.lock().tally.fail(error.to_string());
            sleep(RETRY_AFTER).await;
        }
    }
}
