//! `longwire bench`: puts load on a WebSocket echo, and measures the answers.
//!
//! With a rate, the load is an open loop: the moment at which each message is due is fixed before the first one is sent, and
//! the latency of a message counts from its moment. Without a rate, the load is a closed loop that keeps messages in flight
//! and measures the most that passes.
//!
//! Each connection is a task on one of a few threads, and costs one read and one write per message.

mod connection;
mod error;
mod load_thread;
mod message;
mod pacer;
mod report;
mod schedule;
mod tally;
#[cfg(test)]
mod tests;
mod workspace;

use std::{
    io,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use hyper::header::{HeaderName, HeaderValue};
use rustix::time::{ClockId, clock_gettime};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{mpsc, oneshot, watch},
    time::{interval, sleep_until},
};

pub use self::{error::BenchError, report::BenchReport};
use self::{
    load_thread::{LoadThread, ThreadOrder},
    message::Message,
    report::thousands,
    tally::BenchTally,
    workspace::SharedWorkspace,
};
use super::{
    opening::{Opener, Target, WebSocketWanted},
    progress::{ProgressLine, REDRAW},
};
use crate::net::operate::limits;

/// The most bytes of a message: as many as the echo backend takes.
pub const MAX_SIZE: usize = super::echo::MAX_MESSAGE;

/// The descriptors that the process needs beside those of its connections.
const OTHER_FILES: u64 = 64;

/// What load to make, and on which WebSocket.
#[derive(Debug, Clone)]
pub struct BenchOptions {
    /// The URL of the WebSocket.
    pub target: Target,
    /// How many connections, at least 1.
    pub connections: usize,
    /// How long the load lasts once all connections are open.
    pub duration: Duration,
    /// The kind of load.
    pub load: Load,
    /// Bytes of a message, at most [`MAX_SIZE`].
    pub size: usize,
    /// Whether messages are binary; otherwise they are text.
    pub binary: bool,
    /// The subprotocols to offer, in this order.
    pub subprotocols: Vec<String>,
    /// Further headers of the handshake. They replace ours.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Whether any certificate is believed.
    pub insecure: bool,
    /// Whether TLS sessions are resumed; otherwise each handshake is a full one.
    pub resumption: bool,
    /// Threads that make the load, at least 1.
    pub threads: usize,
}

impl BenchOptions {
    fn wanted(&self) -> WebSocketWanted<'_> {
        let Self { target, subprotocols, headers, insecure, resumption, .. } = self;
        WebSocketWanted { target, subprotocols, headers, insecure: *insecure, resumption: *resumption }
    }
}

/// The kind of load.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Load {
    /// Connections that are held open and send only Pongs.
    Idle,
    /// Loops of connect, upgrade and close.
    Handshakes,
    /// A closed loop: a message is sent when an answer has come.
    Saturate {
        /// Messages in flight per connection, at least 1.
        depth: u64,
    },
    /// An open loop: messages a second per connection, more than 0.
    Rate(f64),
}

/// Runs the load to its end, or until SIGINT or SIGTERM, and reports. The report also says what went wrong with connections.
///
/// # Errors
/// The load cannot be made at all: see [`BenchError`].
pub async fn run(options: BenchOptions) -> Result<BenchReport, BenchError> {
    check_limits(&options)?;
    let opener = Opener::new(&options.wanted()).await?;
    let options = Arc::new(options);
    let (orders, receiver) = watch::channel(ThreadOrder::Open);
    let (ready, mut all_ready) = mpsc::unbounded_channel();
    let (mut workspaces, mut results) = (Vec::new(), Vec::new());
    for number in 0..options.threads {
        let workspace = SharedWorkspace::new(BenchTally::new().ok_or(BenchError::LoadThread)?);
        workspaces.push(workspace.clone());
        let load_thread = LoadThread {
            of_threads: (number as u64, options.threads as u64),
            connections: share_of_thread(options.connections, number, options.threads),
            options: Arc::clone(&options),
            opener: opener.clone(),
            message: message(&options)?,
            workspace,
            orders: receiver.clone(),
            ready: ready.clone(),
        };
        results.push(spawn_thread(load_thread)?);
    }
    drop(ready);
    let mut progress = ProgressLine::of_stderr();
    let (window, cpu) = conduct(&options, &orders, &mut all_ready, &workspaces, &mut progress).await?;
    for result in results {
        result.await.map_err(|_| BenchError::LoadThread)??;
    }
    progress.clear();
    let mut tally = BenchTally::new().ok_or(BenchError::LoadThread)?;
    workspaces.iter().for_each(|workspace| tally.add(workspace.lock().tally.clone()));
    Ok(BenchReport { options: (*options).clone(), tally, window, cpu })
}

/// Waits until all connections are open, gives the orders, and measures the window and our CPU time in it.
async fn conduct(
    options: &BenchOptions,
    orders: &watch::Sender<ThreadOrder>,
    ready: &mut mpsc::UnboundedReceiver<()>,
    workspaces: &[SharedWorkspace],
    progress: &mut ProgressLine,
) -> Result<(Duration, Duration), BenchError> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let mut redraw = interval(REDRAW);
    let mut opening = options.threads;
    let mut stopped = false;
    while opening > 0 && !stopped {
        tokio::select! {
            told = ready.recv() => match told {
                Some(()) => opening -= 1,
                // A thread has ended too early. Its result says why.
                None => break,
            },
            _ = redraw.tick() => progress.draw(|| progress_text(None, workspaces)),
            _ = interrupt.recv() => stopped = true,
            _ = terminate.recv() => stopped = true,
        }
    }
    let (start, cpu) = (Instant::now(), cpu_time());
    let nothing_open =
        options.load != Load::Handshakes && workspaces.iter().all(|workspace| workspace.lock().open == 0);
    if !stopped && !nothing_open {
        let end = start + options.duration;
        orders.send_replace(ThreadOrder::Run { start, end });
        loop {
            tokio::select! {
                () = sleep_until(end.into()) => break,
                _ = redraw.tick() => progress.draw(|| progress_text(Some(start.elapsed()), workspaces)),
                _ = interrupt.recv() => break,
                _ = terminate.recv() => break,
            }
        }
    }
    let measured = (start.elapsed(), cpu_time().saturating_sub(cpu));
    orders.send_replace(ThreadOrder::End);
    Ok(measured)
}

/// What the line on the terminal says. `passed`: since all connections are open.
fn progress_text(passed: Option<Duration>, workspaces: &[SharedWorkspace]) -> String {
    let (mut open, mut done, mut pings, mut closes, mut failures) = (0, 0, 0, 0, 0);
    for workspace in workspaces {
        let workspace = workspace.lock();
        open += workspace.open;
        done += workspace.tally.done;
        pings += workspace.tally.pings;
        closes += workspace.tally.closes.values().sum::<u64>();
        failures += workspace.tally.failures.values().sum::<u64>();
    }
    let at = passed.map_or_else(|| "opening".to_owned(), |passed| format!("{:6.1} s", passed.as_secs_f64()));
    let mut line = format!("{at}   {} open   {} done", thousands(open), thousands(done));
    for (count, what) in [(pings, "pings"), (closes, "closed unexpectedly"), (failures, "failed to open")] {
        if count > 0 {
            line.push_str(&format!("   {} {what}", thousands(count)));
        }
    }
    line
}

/// Starts a thread of the load. The receiver gets its result when the thread ends.
fn spawn_thread(load_thread: LoadThread) -> io::Result<oneshot::Receiver<io::Result<()>>> {
    let (tell, result) = oneshot::channel();
    thread::Builder::new().name("load".into()).spawn(move || {
        // Nobody receives the result only if the process is ending already.
        let _ = tell.send(load_thread.run());
    })?;
    Ok(result)
}

/// Refuses a load for which there are too few descriptors or ports.
fn check_limits(options: &BenchOptions) -> Result<(), BenchError> {
    let wanted = options.connections as u64;
    if let Some(files) = limits::raise_open_files()?.now
        && wanted.saturating_add(OTHER_FILES) > files
    {
        return Err(BenchError::OpenFiles { wanted, files });
    }
    match local_ports() {
        Some(ports) if wanted > ports => Err(BenchError::Ports { wanted, ports }),
        _ => Ok(()),
    }
}

/// How many ports the kernel gives to outgoing connections: so many connections fit between one address here and one there.
fn local_ports() -> Option<u64> {
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok()?;
    let mut ends = range.split_ascii_whitespace().filter_map(|end| end.parse::<u64>().ok());
    let (first, last) = (ends.next()?, ends.next()?);
    (last + 1).checked_sub(first)
}

fn message(options: &BenchOptions) -> io::Result<Option<Arc<Message>>> {
    match options.load {
        Load::Idle | Load::Handshakes => Ok(None),
        Load::Saturate { .. } | Load::Rate(_) => {
            let mut mask = [0; 4];
            getrandom::fill(&mut mask)?;
            Ok(Some(Arc::new(Message::new(options.size, options.binary, mask))))
        }
    }
}

/// The share of `all` that the thread with the number `thread` takes.
const fn share_of_thread(all: usize, thread: usize, threads: usize) -> usize {
    all / threads + if thread < all % threads { 1 } else { 0 }
}

/// User and system time that this process has used so far.
fn cpu_time() -> Duration {
    clock_gettime(ClockId::ProcessCPUTime).try_into().unwrap_or_default()
}
