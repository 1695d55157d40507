//! `longwire probe`: finds out what the path to a WebSocket does with connections that are silent, and with old ones.
//!
//! `decide` says which silences are tried and what the fates of the sockets mean. `crew` has the sockets, each a task. This file
//! brings them together.

mod checks;
mod crew;
mod decide;
mod gate;
mod look;
mod news;
mod refusal;
mod report;
mod socket;

use std::{sync::Arc, time::Duration};

use hyper::header::{AUTHORIZATION, HeaderName, HeaderValue, SEC_WEBSOCKET_EXTENSIONS, USER_AGENT};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::{mpsc, watch},
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, sleep_until, timeout},
};

use self::{
    checks::ChecksWanted,
    crew::ProbeCrew,
    decide::{Keepers, PathSearch, ProbeTimes, Resetter, SilenceLimit, TimesWanted, asked_at},
    gate::{Gate, MOST_SOCKETS},
    look::{FirstLook, HandshakeSeen, OBEYING, displaces_others, look},
    news::{Checks, ProbeNews},
    refusal::why,
    socket::CLOSE_WITHIN,
};
pub use self::{decide::Interval, report::ProbeReport};
use super::{
    opening::{Opener, OpenerError, Target, WebSocketWanted},
    progress::{ProgressLine, REDRAW},
};

/// The extension that the first handshake offers, to see whether the path keeps it.
const EXTENSION: HeaderValue = HeaderValue::from_static("permessage-deflate");
const AGENT: HeaderValue = HeaderValue::from_static(concat!("longwire-probe/", env!("CARGO_PKG_VERSION")));
/// How many words of tasks may wait.
const WORDS: usize = MOST_SOCKETS;
/// How long after its time a run ends, whatever its sockets do.
const OVERTIME: Duration = Duration::from_secs(5);

/// What to probe, and for how long.
#[derive(Debug, Clone)]
pub struct ProbeOptions {
    /// The URL of the WebSocket.
    pub target: Target,
    /// The interval to judge; `None` = the one that longwire has by itself.
    pub interval: Option<Interval>,
    /// Where this interval is from, for people.
    pub interval_from: String,
    /// The age at which longwire ends the sessions itself; `None` = none.
    pub lifetime: Option<Duration>,
    /// Whether only silences are tested, for two minutes.
    pub quick: bool,
    /// The longest time that everything may take; `None` = that of a quick or of a full run.
    pub max: Option<Duration>,
    /// Whether the longest life of a busy socket is looked for, until the end of the time.
    pub life: bool,
    /// The silences to try first; empty = those around the known limits.
    pub idle_times: Vec<Duration>,
    /// By what built-in times are multiplied, more than 0.
    pub scale: f64,
    /// The secret of the far end of another longwire.
    pub token: Option<String>,
    /// The subprotocols to offer, in this order.
    pub subprotocols: Vec<String>,
    /// Further headers of the handshake. They replace ours.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Whether any certificate is believed.
    pub insecure: bool,
}

/// Probes a path until everything is known, the time is over, or a signal comes.
pub async fn run(options: &ProbeOptions) -> ProbeReport {
    let ProbeOptions { quick, max, idle_times, scale, .. } = options;
    let times = ProbeTimes::new(&TimesWanted { quick: *quick, max: *max, silences: idle_times.clone(), scale: *scale });
    let mut report = ProbeReport::new(options, times.interval);
    let began = Instant::now();
    if let Err(error) = probe(options, times, &mut report, began).await {
        report.error = Some(error);
    }
    report.took = began.elapsed();
    report
}

/// # Errors
/// Why nothing can be tested, in words.
async fn probe(
    options: &ProbeOptions,
    times: ProbeTimes,
    report: &mut ProbeReport,
    started: Instant,
) -> Result<(), String> {
    let listen = |kind| signal(kind).map_err(|error| error.to_string());
    let mut signals = [listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?];
    let gate = Gate::new();
    let opener = tokio::select! {
        opener = first_looks(options, &gate, times.wait, report) => opener?,
        () = any(&mut signals) => return Err("stopped before anything could be tested".into()),
    };
    conduct(options, times, opener, gate, started, report, signals).await;
    Ok(())
}

/// Looks at the handshake and at what is answered. Returns the opener of the other sockets.
///
/// # Errors
/// Why nothing can be tested, in words.
async fn first_looks(
    options: &ProbeOptions,
    gate: &Gate,
    wait: Duration,
    report: &mut ProbeReport,
) -> Result<Opener, String> {
    let words = |error: OpenerError| error.to_string();
    let offering = opener(options, Some(EXTENSION)).await.map_err(words)?;
    let offers = options.token.is_some() || !options.subprotocols.is_empty();
    report.handshake = HandshakeSeen::make(&offering, gate, offers).await;
    if let Some(error) = report.handshake.error.clone() {
        return Err(error);
    }
    let opener = opener(options, None).await.map_err(words)?;
    report.look = look(&opener, gate, wait).await.map_err(|error| why(&error))?;
    if report.look.ask().is_none() {
        return Err(
            "the other end answers neither Pings nor messages, so nothing shows whether a connection lives".into()
        );
    }
    if displaces_others(&opener, gate, wait).await.map_err(|error| why(&error))? {
        return Err(
            "the other end closes a connection when another one is opened, and a probe needs many at once".into()
        );
    }
    Ok(opener)
}

/// Ready when a signal has come.
async fn any(signals: &mut [Signal; 2]) {
    let [interrupt, terminate] = signals;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}

/// An opener with the headers of a probe.
async fn opener(options: &ProbeOptions, extension: Option<HeaderValue>) -> Result<Opener, OpenerError> {
    let ProbeOptions { target, token, subprotocols, headers, insecure, .. } = options;
    let mut fields = vec![(USER_AGENT, AGENT)];
    fields.extend(extension.map(|extension| (SEC_WEBSOCKET_EXTENSIONS, extension)));
    if let Some(token) = token {
        let value = HeaderValue::try_from(format!("Bearer {token}"));
        fields.push((AUTHORIZATION, value.map_err(|_| OpenerError::Header("the token is no word".into()))?));
    }
    fields.extend(headers.iter().cloned());
    let obeying = token.iter().map(|_| OBEYING.to_owned());
    let subprotocols: Vec<_> = obeying.chain(subprotocols.iter().cloned()).collect();
    let wanted = WebSocketWanted {
        target,
        subprotocols: &subprotocols,
        headers: &fields,
        insecure: *insecure,
        resumption: true,
    };
    Opener::new(&wanted).await
}

/// One run, between its first look and its report.
struct ProbeRun<'a> {
    options: &'a ProbeOptions,
    times: ProbeTimes,
    look: FirstLook,
    started: Instant,
    crew: Arc<ProbeCrew>,
    tasks: JoinSet<()>,
    search: PathSearch,
    keepers: Keepers,
    /// Whether there is a socket that is never silent.
    is_busy: bool,
    /// `None` = the checks are not made yet.
    checks: Option<Checks>,
    /// Why sockets could not be opened, the last reason, and how often.
    unopened: Option<(String, usize)>,
    /// Tells when sockets that are kept show whether they live.
    asked: watch::Sender<Option<Duration>>,
}

/// Tests silences until everything is known, the time is over, or a signal comes.
async fn conduct(
    options: &ProbeOptions,
    times: ProbeTimes,
    opener: Opener,
    gate: Gate,
    started: Instant,
    report: &mut ProbeReport,
    mut signals: [Signal; 2],
) {
    let (tell, mut told) = mpsc::channel(WORDS);
    let (stop, stopped) = watch::channel(false);
    let (mut run, mut progress) =
        (ProbeRun::new(options, times, report.look, opener, gate, started, tell, stopped), ProgressLine::of_stderr());
    let mut redraw = interval(REDRAW);
    redraw.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let end = started + run.times.total + run.times.wait + OVERTIME;
    loop {
        run.begin();
        if run.is_over() {
            break;
        }
        tokio::select! {
            Some(word) = told.recv() => run.handle(word),
            _ = redraw.tick() => progress.draw(|| run.progress()),
            () = any(&mut signals) => break,
            () = sleep_until(end) => break,
        }
    }
    progress.clear();
    run.tell(report);
    // Each socket says good-bye.
    stop.send_replace(true);
    let _ = timeout(CLOSE_WITHIN * 2, async { while run.tasks.join_next().await.is_some() {} }).await;
}

impl<'a> ProbeRun<'a> {
    #[expect(clippy::too_many_arguments, reason = "what the first look has brought, once")]
    fn new(
        options: &'a ProbeOptions,
        times: ProbeTimes,
        look: FirstLook,
        opener: Opener,
        gate: Gate,
        started: Instant,
        tell: mpsc::Sender<ProbeNews>,
        stop: watch::Receiver<bool>,
    ) -> Self {
        let (asked, asked_at) = watch::channel(None);
        let ask = look.ask().unwrap_or(socket::ProbeAsk::Ping);
        let (wait, beat, patience) = (times.wait, times.beat, times.checks);
        let crew = ProbeCrew {
            opener,
            gate,
            ask,
            busy: look.busy(),
            obeys: look.obeys,
            wait,
            beat,
            end: started + times.total,
            patience,
            tell,
            stop,
            asked_at,
        };
        let mut resetters = vec![Resetter::ClientPing, Resetter::TcpKeepalive];
        if look.obeys {
            resetters.push(Resetter::ServerPing);
        }
        if options.quick {
            resetters.clear();
        }
        let mut run = Self {
            options,
            look,
            started,
            crew: Arc::new(crew),
            tasks: JoinSet::new(),
            search: PathSearch::new(&times),
            keepers: Keepers::new(&times, resetters),
            is_busy: false,
            checks: None,
            unopened: None,
            asked,
            times,
        };
        let wanted = ChecksWanted { all: !options.quick, echoes: look.echoes };
        run.tasks.spawn(Arc::clone(&run.crew).check(wanted));
        run
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// Opens the sockets that are wanted now: none before checks with large messages, which would hold up small ones.
    fn begin(&mut self) {
        while self.tasks.try_join_next().is_some() {}
        if self.checks.is_none() && !self.options.quick {
            return;
        }
        let now = self.now();
        if !self.is_busy && self.search.lacks_busy() && now < self.times.total {
            self.is_busy = true;
            self.tasks.spawn(Arc::clone(&self.crew).be_busy());
        }
        for start in self.search.begin(now) {
            self.tasks.spawn(Arc::clone(&self.crew).be_silent(start));
        }
        let limit = self.limit_of_silence(now);
        for start in self.keepers.begin(now, limit.as_ref()) {
            self.tasks.spawn(Arc::clone(&self.crew).be_kept(start));
        }
        if let Some(limit) = limit {
            let age = Some(asked_at(&limit));
            self.asked.send_if_modified(|known| std::mem::replace(known, age) != age);
        }
    }

    /// The limit of silence, once the search for it is over.
    fn limit_of_silence(&self, now: Duration) -> Option<SilenceLimit> {
        let limit = self.search.limit().filter(|_| self.search.is_over(now))?;
        (!self.search.is_of_age(&limit)).then_some(limit)
    }

    fn handle(&mut self, told: ProbeNews) {
        match told {
            ProbeNews::Fate(id, fate) => self.search.handle_fate(id, fate, self.now()),
            ProbeNews::Keeper(id, fate) => self.keepers.handle_fate(id, fate),
            ProbeNews::Busy(age) => self.search.handle_busy(age),
            ProbeNews::BusyDied(age) => {
                self.is_busy = false;
                self.search.handle_busy_death(age, self.now());
            }
            ProbeNews::NoBusy => self.search.handle_no_busy(),
            ProbeNews::Checks(checks) => self.checks = Some(checks),
            ProbeNews::Unopened(why) => {
                let before = self.unopened.take().map_or(0, |(_, count)| count);
                self.unopened = Some((why, before + 1));
            }
        }
    }

    fn is_over(&self) -> bool {
        let now = self.now();
        if now >= self.times.total {
            return self.search.running() == 0;
        }
        let waits_for_life = self.options.life && self.search.life().is_none();
        if waits_for_life || self.checks.is_none() || !self.search.is_over(now) {
            return false;
        }
        self.limit_of_silence(now).is_none_or(|limit| self.keepers.is_over(now, &limit))
    }

    /// What the line on the terminal says.
    fn progress(&self) -> String {
        let (now, total) = (self.now().as_secs(), self.times.total.as_secs());
        let lived = self.search.longest_lived().as_secs_f64();
        let died = self
            .search
            .limit()
            .map_or_else(String::new, |limit| format!("   died at {:.1} s", limit.high.as_secs_f64()));
        format!(
            "{now} s of {total} s at most   {} sockets   lived {lived:.1} s of silence{died}",
            self.crew.gate.open()
        )
    }

    /// Writes what was found into the report.
    fn tell(&self, report: &mut ProbeReport) {
        report.limit = self.search.limit();
        report.is_of_age = report.limit.is_some_and(|limit| self.search.is_of_age(&limit));
        report.life = self.search.life().filter(|_| self.options.life || self.search.is_life_confirmed());
        report.odd = self.search.odd_deaths();
        report.was_disturbed = self.search.was_disturbed();
        report.lived = self.search.longest_lived();
        report.checks = self.checks.unwrap_or_default();
        report.unopened.clone_from(&self.unopened);
        report.look = self.look;
        if let Some(limit) = &report.limit {
            let kept = |resetter| self.keepers.kept(resetter, limit);
            report.kept = [Resetter::ClientPing, Resetter::ServerPing, Resetter::TcpKeepalive].map(kept);
        }
    }
}
