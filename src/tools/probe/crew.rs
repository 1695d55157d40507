//! What the sockets of a run do, each a task: one is silent, one is never silent, some are kept by one kind of packet.

use std::{sync::Arc, time::Duration};

use socket2::{SockRef, TcpKeepalive};
use tokio::{
    sync::{OwnedSemaphorePermit, mpsc, watch},
    time::{Instant, sleep, sleep_until},
};

use super::{
    decide::{AgeLimit, KeeperFate, KeeperStart, Resetter, TrialFate, TrialStart},
    gate::Gate,
    news::ProbeNews,
    refusal::{is_busy, why},
    socket::{CLOSE_WITHIN, Heard, ProbeAsk, ProbeSocket},
};
use crate::tools::opening::Opener;

/// How often a socket is tried to be opened, unless the other end has no place for it.
const ATTEMPTS: u32 = 3;
/// The wait after an attempt that failed; the next one is twice as long.
const PAUSE: Duration = Duration::from_secs(1);
/// How much longer than a socket is needed an end that obeys keeps it. Where a path drops the end in silence, nobody tells it.
const LONGER: Duration = Duration::from_secs(10);
/// How often this wait is doubled.
const MOST_DOUBLINGS: u32 = 2;
/// The share of its age for which the busy socket waits between two questions: so well is its death known.
const SHARE: f64 = 0.03;
/// It never asks more often than this.
const SHORTEST_BEAT: Duration = Duration::from_millis(50);

/// What the tasks of a run share.
pub(super) struct ProbeCrew {
    pub(super) opener: Opener,
    pub(super) gate: Gate,
    /// The question after a silence.
    pub(super) ask: ProbeAsk,
    /// The questions of the socket that is never silent.
    pub(super) busy: Vec<ProbeAsk>,
    /// Whether the other end obeys orders.
    pub(super) obeys: bool,
    pub(super) wait: Duration,
    pub(super) beat: Duration,
    /// When the run is over, whatever is known.
    pub(super) end: Instant,
    /// How long the search for the largest message may take.
    pub(super) patience: Duration,
    pub(super) tell: mpsc::Sender<ProbeNews>,
    /// Tells that the run is over.
    pub(super) stop: watch::Receiver<bool>,
    /// The age at which sockets that are kept show whether they live, once it is known.
    pub(super) asked_at: watch::Receiver<Option<Duration>>,
}

impl ProbeCrew {
    /// Opens a socket, which may live as long as its place is held; `None` = it cannot be opened. A place at a busy end is waited
    /// for until `latest`.
    pub(super) async fn open(&self, latest: Instant) -> Option<(ProbeSocket, OwnedSemaphorePermit)> {
        let place = self.gate.pass().await?;
        let (mut failed, mut attempts) = (0, 0);
        loop {
            match self.opener.open().await {
                Ok(opened) => return Some((ProbeSocket::new(opened), place)),
                Err(error) => {
                    failed += u32::from(!is_busy(&error));
                    self.tell(ProbeNews::Unopened(why(&error))).await;
                }
            }
            let pause = PAUSE * (1 << MOST_DOUBLINGS.min(attempts));
            attempts += 1;
            if failed == ATTEMPTS || Instant::now() + pause > latest {
                return None;
            }
            sleep(pause).await;
            self.gate.turn().await;
        }
    }

    pub(super) async fn tell(&self, told: ProbeNews) {
        // Nobody listens only when the run is over.
        let _ = self.tell.send(told).await;
    }

    /// Ready when the run is over.
    pub(super) async fn stopped(&self) {
        let _ = self.stop.clone().wait_for(|stop| *stop).await;
    }

    /// Tells an end that obeys for how long this socket is needed.
    fn stay(&self, socket: &mut ProbeSocket, until: Instant) {
        if self.obeys {
            let needed = until.saturating_duration_since(Instant::now()) + self.wait + LONGER;
            socket.message(false, format!("stay {}s", needed.as_secs()).as_bytes());
        }
    }

    /// Does `work` with a socket of its own, and tells what `work` returns, or `unopened`. Then closes the socket.
    /// It is not opened after `latest`, and `needed` for no longer.
    async fn employ(
        &self,
        (latest, needed): (Instant, Duration),
        work: impl AsyncFnOnce(&Self, &mut ProbeSocket) -> ProbeNews,
        unopened: ProbeNews,
    ) {
        let opened = tokio::select! {
            opened = self.open(latest) => opened,
            () = self.stopped() => return,
        };
        let Some((mut socket, place)) = opened else { return self.tell(unopened).await };
        self.stay(&mut socket, Instant::now() + needed);
        tokio::select! {
            told = work(self, &mut socket) => self.tell(told).await,
            () = self.stopped() => {}
        }
        socket.close(CLOSE_WITHIN).await;
        drop(place);
    }

    /// The latest moment to open a socket that is needed to the end of the run, and for how long that is.
    fn all_along(&self) -> (Instant, Duration) {
        (self.end, self.end.saturating_duration_since(Instant::now()))
    }

    /// A socket that is silent for so long, and then has to answer.
    pub(super) async fn be_silent(self: Arc<Self>, start: TrialStart) {
        let TrialStart { id, silence } = start;
        let work =
            async |crew: &Self, socket: &mut ProbeSocket| ProbeNews::Fate(id, crew.silence(socket, silence).await);
        let latest = self.end.checked_sub(silence + self.wait).unwrap_or(self.end);
        let needed = silence + silence / 5 + self.wait;
        self.employ((latest, needed), work, ProbeNews::Fate(id, TrialFate::Unopened)).await;
    }

    async fn silence(&self, socket: &mut ProbeSocket, silence: Duration) -> TrialFate {
        // An end that greets is waited for. One that never lets a silence be is not.
        let latest = socket.opened + silence + silence / 10 + self.wait / 2;
        loop {
            let until = socket.silent_at(silence).min(latest);
            tokio::select! {
                heard = socket.hear() => if let Heard::Ended(death, _) = heard {
                    return if socket.outlived_its_last_silence() {
                        TrialFate::Aged { silence: socket.longest_silence(), age: socket.age(), death }
                    } else {
                        TrialFate::Died { silence: socket.last_silence(), death, is_exact: true }
                    };
                },
                () = sleep_until(until) => if socket.silent_at(silence).min(latest) <= Instant::now() {
                    break;
                },
            }
        }
        let (silence, asked) = (socket.longest_silence(), Instant::now());
        match socket.ask(self.ask, self.wait).await {
            Ok(_) => TrialFate::Lived { silence },
            // It may have died of the silence in which the question, or its answer, was still on its way.
            Err(death) if !death.is_silent() => {
                TrialFate::Died { silence: silence + asked.elapsed(), death, is_exact: false }
            }
            Err(death) => TrialFate::Died { silence, death, is_exact: false },
        }
    }

    /// A socket that is never silent. It tells at which ages it lives, and when it dies.
    pub(super) async fn be_busy(self: Arc<Self>) {
        let work = async |crew: &Self, socket: &mut ProbeSocket| crew.business(socket).await;
        self.employ(self.all_along(), work, ProbeNews::NoBusy).await;
    }

    async fn business(&self, socket: &mut ProbeSocket) -> ProbeNews {
        let mut proved = Duration::ZERO;
        loop {
            self.tell(ProbeNews::Busy(proved)).await;
            let next = Instant::now() + socket.age().mul_f64(SHARE).max(SHORTEST_BEAT).min(self.beat);
            loop {
                tokio::select! {
                    heard = socket.hear() => if let Heard::Ended(death, _) = heard {
                        let age = socket.age();
                        return ProbeNews::BusyDied(AgeLimit { low: age, high: age, death });
                    },
                    () = sleep_until(next) => break,
                }
            }
            for ask in &self.busy {
                let asked = socket.age();
                if let Err(death) = socket.ask(*ask, self.wait).await {
                    return ProbeNews::BusyDied(AgeLimit { low: proved, high: asked, death });
                }
                proved = asked;
            }
        }
    }

    /// A socket that only one kind of packet keeps from silence.
    pub(super) async fn be_kept(self: Arc<Self>, start: KeeperStart) {
        let KeeperStart { id, resetter, every } = start;
        let work = async |crew: &Self, socket: &mut ProbeSocket| {
            ProbeNews::Keeper(id, crew.keep(socket, resetter, every).await)
        };
        self.employ(self.all_along(), work, ProbeNews::Keeper(id, KeeperFate::Unopened)).await;
    }

    async fn keep(&self, socket: &mut ProbeSocket, resetter: Resetter, every: Duration) -> KeeperFate {
        let (mut asked_at, mut ask) = (self.asked_at.clone(), self.ask);
        match resetter {
            Resetter::ClientPing if self.obeys => {
                // Nothing goes the other way then, and the last question cannot be a Ping.
                ask = ProbeAsk::Binary;
                socket.message(false, b"mute");
            }
            Resetter::ClientPing => {}
            Resetter::ServerPing => {
                socket.ignore_pings();
                socket.message(false, format!("ping {}ms", every.as_millis()).as_bytes());
            }
            Resetter::TcpKeepalive => {
                let keepalive = TcpKeepalive::new().with_time(every).with_interval(every);
                if SockRef::from(socket.tcp()).set_tcp_keepalive(&keepalive).is_err() {
                    return KeeperFate::Unopened;
                }
            }
        }
        let mut next = Instant::now() + every;
        loop {
            let end = asked_at.borrow_and_update().map(|age| socket.opened + age);
            tokio::select! {
                heard = socket.hear() => if let Heard::Ended(death, _) = heard {
                    // This machine's kernel gave it up long after it had died.
                    let is_given_up = death.is_silent();
                    return if is_given_up { KeeperFate::Unanswered } else { KeeperFate::Died(socket.age()) };
                },
                () = sleep_until(next), if resetter == Resetter::ClientPing => {
                    socket.ping();
                    next += every;
                }
                () = sleep_until(end.unwrap_or(next)), if end.is_some() => break,
                changed = asked_at.changed() => if changed.is_err() {
                    return KeeperFate::Unopened;
                },
            }
        }
        let age = socket.age();
        match socket.ask(ask, self.wait).await {
            Ok(_) => KeeperFate::Lived(age),
            Err(_) => KeeperFate::Unanswered,
        }
    }
}
