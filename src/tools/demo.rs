//! `longwire demo`: two silent clients behind load balancers that cut idle connections. One client reaches a bare backend,
//! the other goes through longwire.
//!
//! The demo shows that the first client is lost and the second stays, and at its end says so with figures.

mod client;
mod error;
mod screen;
mod stage;
mod story;

use std::{
    future::{self, Future},
    io::{self, Write},
    net::SocketAddr,
    pin::pin,
    time::Duration,
};

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{mpsc, oneshot},
    task::JoinSet,
    time::{Instant, interval, sleep, timeout},
};

use self::{
    client::SilentClient,
    screen::{Screen, Style, Tone},
    stage::Stage,
    story::{DemoWay, Event, Story, Verdict, seconds},
};
pub use self::{
    error::DemoError,
    story::{DemoOutcome, MARGIN},
};

/// The shortest cut. Below it, the delays of a busy machine look like silence.
pub const MIN_CUT: Duration = Duration::from_millis(500);

/// How often the live lines are redrawn.
const REDRAW: Duration = Duration::from_millis(100);
/// How long the kept client may take for its proof, and as long again for its close handshake.
const PROVE_WITHIN: Duration = Duration::from_secs(5);

/// How the demo runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DemoOptions {
    /// The silence after which the load balancers cut; at least [`MIN_CUT`].
    pub cut: Duration,
    /// How long to run; `None` = until SIGINT or SIGTERM.
    pub run_for: Option<Duration>,
}

impl Default for DemoOptions {
    fn default() -> Self {
        Self { cut: Duration::from_secs(10), run_for: None }
    }
}

impl DemoOutcome {
    /// 1 if the claim was disproved, otherwise 0.
    #[must_use]
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Shown | Self::TooEarly => 0,
            Self::Disproved => 1,
        }
    }
}

/// Runs the demo on standard output.
///
/// # Errors
/// See [`DemoError`]. A demo that disproves its claim is no error but an [`DemoOutcome`].
pub async fn run(options: DemoOptions) -> Result<DemoOutcome, DemoError> {
    options.check()?;
    let ping_interval = options.cut / 5 * 2;
    let stage = Stage::start(options.cut, ping_interval).await?;
    let mut screen = Screen::new(io::stdout(), Style::of_stdout());
    for line in announce(&stage, options, ping_interval) {
        screen.line(Tone::Plain, &line)?;
    }
    let verdict = watch(stage.bare, stage.kept, options.cut, end_of_run(options.run_for)?, &mut screen).await?;
    screen.line(tone_of(verdict.outcome), &verdict.words)?;
    stage.end().await;
    Ok(verdict.outcome)
}

impl DemoOptions {
    /// Refuses options with which the demo could show nothing.
    fn check(self) -> Result<(), DemoError> {
        if self.cut < MIN_CUT {
            return Err(DemoError::CutTooShort(self.cut));
        }
        let least = self.cut.saturating_add(MARGIN);
        match self.run_for {
            Some(run_for) if run_for < least => Err(DemoError::EndsTooEarly { run_for, least }),
            _ => Ok(()),
        }
    }
}

/// The lines that say what listens where, what is set and why, and when the demo ends.
fn announce(stage: &Stage, options: DemoOptions, ping_interval: Duration) -> Vec<String> {
    let cut = seconds(options.cut);
    let mut lines = vec!["listening, on this machine only:".to_owned()];
    for (name, address) in ["one", "two"].into_iter().zip(&stage.backends) {
        lines.push(format!("  http://{address}   echo backend {name}"));
    }
    for front in &stage.fronts {
        let scheme = if front.tls { "https" } else { "http" };
        let mut line = format!("  {scheme}://{}   longwire", front.listener);
        if front.listener.port() != front.wanted {
            line.push_str(&format!(" (port {} of proxy.yaml is busy: took {})", front.wanted, front.listener.port()));
        }
        lines.push(line);
    }
    if let Some(address) = stage.admin() {
        lines.push(format!("  http://{address}/api/status   its admin interface: longwire status --admin {address}"));
    }
    lines.push(String::new());
    lines.push(format!("behind a load balancer that cuts what is silent for {cut}, to try by hand:"));
    lines.push(format!("  http://{}/   the bare backend", stage.bare));
    for front in &stage.fronts {
        let (scheme, note) = if front.tls { ("https", ", self-signed certificate") } else { ("http", "") };
        lines.push(format!("  {scheme}://{}/   longwire{note}", front.cutter));
    }
    lines.push(String::new());
    lines.push(format!(
        "ping_interval is {}: 2/5 of the cut, so that two pings fall within every {cut}.",
        seconds(ping_interval)
    ));
    lines.push(match options.run_for {
        Some(run_for) => format!("The demo ends after {}, or on Ctrl-C.", seconds(run_for)),
        None => "The demo ends on Ctrl-C (or after a stated time: --for 40s).".to_owned(),
    });
    lines.push(String::new());
    lines
}

/// Completes when `run_for` is over, or at SIGINT or SIGTERM.
fn end_of_run(run_for: Option<Duration>) -> io::Result<impl Future<Output = ()>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        let time_is_up = async {
            match run_for {
                Some(run_for) => sleep(run_for).await,
                None => future::pending().await,
            }
        };
        tokio::select! {
            () = time_is_up => {}
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

/// Opens both clients, shows what happens to them until `end`, then lets the kept client prove that it works.
async fn watch<W: Write>(
    bare: SocketAddr,
    kept: SocketAddr,
    cut: Duration,
    end: impl Future<Output = ()>,
    screen: &mut Screen<W>,
) -> Result<Verdict, DemoError> {
    let bare = SilentClient::open(DemoWay::Bare, bare).await.map_err(|e| DemoError::Open("bare", Box::new(e)))?;
    let kept =
        SilentClient::open(DemoWay::Longwire, kept).await.map_err(|e| DemoError::Open("longwire", Box::new(e)))?;
    let opened = Instant::now();
    let mut story = Story::new(cut);
    screen.line(Tone::Plain, "both clients are open and silent from now on:")?;

    let (tell, mut events) = mpsc::channel(16);
    let (prove, proof_wanted) = oneshot::channel();
    let (_bare_proves_nothing, never) = oneshot::channel();
    let mut clients = JoinSet::new();
    let bare = clients.spawn(bare.stay(tell.clone(), never));
    clients.spawn(kept.stay(tell, proof_wanted));

    let mut end = pin!(end);
    let mut redraw = interval(REDRAW);
    loop {
        tokio::select! {
            Some((way, event)) = events.recv() => show(&mut story, way, event, opened.elapsed(), screen)?,
            _ = redraw.tick(), if screen.is_live() => screen.draw(&live_lines(&story, opened.elapsed()))?,
            () = &mut end => break,
        }
    }

    // If the client is gone, it cannot be asked; the verdict will say so.
    let _ = prove.send(());
    let mut over = !story.is_open(DemoWay::Longwire);
    while !over {
        let Ok(Some((way, event))) = timeout(PROVE_WITHIN, events.recv()).await else {
            break;
        };
        over = way == DemoWay::Longwire && event != Event::PingAnswered;
        show(&mut story, way, event, opened.elapsed(), screen)?;
    }
    let verdict = story.verdict(opened.elapsed());
    bare.abort();
    // The close handshake of the kept client. The verdict does not depend on it.
    let _ = timeout(PROVE_WITHIN, async { while clients.join_next().await.is_some() {} }).await;
    Ok(verdict)
}

/// Notes an event and prints it. If lines are redrawn, a ping shows only in the live lines.
fn show<W: Write>(
    story: &mut Story,
    way: DemoWay,
    event: Event,
    at: Duration,
    screen: &mut Screen<W>,
) -> io::Result<()> {
    let line = story.handle_event(way, event, at);
    match event {
        Event::PingAnswered if screen.is_live() => Ok(()),
        Event::PingAnswered => screen.line(Tone::Plain, &line),
        Event::Echoed => screen.line(Tone::Good, &line),
        Event::Ended(_) => screen.line(Tone::Bad, &line),
    }
}

fn live_lines(story: &Story, now: Duration) -> [(Tone, String); 3] {
    let client = |way| {
        let tone = if story.is_open(way) { Tone::Good } else { Tone::Bad };
        (tone, format!("  {}", story.status(way, now)))
    };
    [(Tone::Plain, seconds(now)), client(DemoWay::Bare), client(DemoWay::Longwire)]
}

const fn tone_of(outcome: DemoOutcome) -> Tone {
    match outcome {
        DemoOutcome::Shown => Tone::Good,
        DemoOutcome::TooEarly => Tone::Plain,
        DemoOutcome::Disproved => Tone::Bad,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use futures_util::{SinkExt, StreamExt};
    use tokio::net::TcpListener;
    use tokio_tungstenite::{accept_async, tungstenite::Message};

    use super::*;
    use crate::tools::{cutter, echo};

    const CUT: Duration = Duration::from_secs(1);

    #[test]
    fn a_demo_that_could_show_nothing_is_refused() {
        let refused = |cut, run_for| DemoOptions { cut, run_for }.check().unwrap_err().exit_code();
        assert_eq!(refused(Duration::from_millis(499), None), 2);
        assert_eq!(refused(CUT, Some(CUT + MARGIN - Duration::from_millis(1))), 2);
        assert_eq!(refused(Duration::MAX, Some(CUT)), 2);
        DemoOptions { cut: CUT, run_for: Some(CUT + MARGIN) }.check().unwrap();
        DemoOptions::default().check().unwrap();
    }

    #[tokio::test]
    async fn a_way_that_pings_outlives_the_cut() {
        let mut programs = JoinSet::new();
        let bare = start_echo(&mut programs).await;
        let pinging = start_pinging_echo(&mut programs).await;
        let (outcome, told) = watch_both(&mut programs, bare, pinging).await;
        assert_eq!(outcome, DemoOutcome::Shown, "{told}");
        assert!(told.contains("longwire  ping 1 answered\n"), "{told}");
        assert!(told.contains(" with 1006 (no Close frame)\n"), "{told}");
    }

    #[tokio::test]
    async fn a_way_that_does_not_ping_disproves_the_demo() {
        let mut programs = JoinSet::new();
        let (bare, also_bare) = (start_echo(&mut programs).await, start_echo(&mut programs).await);
        let (outcome, told) = watch_both(&mut programs, bare, also_bare).await;
        assert_eq!(outcome, DemoOutcome::Disproved, "{told}");
    }

    /// Puts cutters in front of both programs, and watches for as long as the demo must run.
    async fn watch_both(programs: &mut JoinSet<()>, bare: SocketAddr, kept: SocketAddr) -> (DemoOutcome, String) {
        let (bare, kept) = (start_cutter(programs, bare).await, start_cutter(programs, kept).await);
        let mut told = Vec::new();
        let mut screen = Screen::new(&mut told, Style { live: false, colour: false });
        let verdict = watch(bare, kept, CUT, sleep(CUT + MARGIN), &mut screen).await.unwrap();
        (verdict.outcome, String::from_utf8(told).unwrap())
    }

    async fn start_cutter(programs: &mut JoinSet<()>, to: SocketAddr) -> SocketAddr {
        let (listener, address) = bind().await;
        programs.spawn(cutter::serve(listener, to, CUT));
        address
    }

    async fn start_echo(programs: &mut JoinSet<()>) -> SocketAddr {
        let (listener, address) = bind().await;
        programs.spawn(echo::serve(listener, echo::BackendIdentity { name: "one", stage: None }));
        address
    }

    /// A backend for one WebSocket that sends Pings, as longwire does.
    async fn start_pinging_echo(programs: &mut JoinSet<()>) -> SocketAddr {
        let (listener, address) = bind().await;
        programs.spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let mut socket = accept_async(stream).await.unwrap();
            let mut ping = interval(CUT / 10);
            loop {
                tokio::select! {
                    _ = ping.tick() => {
                        let _ = socket.send(Message::Ping("ping".into())).await;
                    }
                    message = socket.next() => match message {
                        Some(Ok(text @ Message::Text(_))) => socket.send(text).await.unwrap(),
                        Some(Ok(_)) => {}
                        Some(Err(_)) | None => return,
                    }
                }
            }
        });
        address
    }

    async fn bind() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }
}
