//! What each verb does, up to its exit code: 0 = ok, 1 = configuration or run-time error. clap itself exits with 2 for wrong
//! usage.

mod probe;
mod upgrade;

use std::{
    fmt::Display,
    fs::File,
    io::{self, IsTerminal, Write as _},
    os::fd::AsFd,
    path::Path,
    pin::pin,
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::FutureExt as _;
use jiff::Timestamp;
use serde_json::Value;
use tokio::{
    net::TcpListener,
    runtime,
    signal::unix::{Signal, SignalKind, signal},
};
use tracing_subscriber::EnvFilter;

use self::upgrade::Starter;
pub use self::{probe::probe, upgrade::stand_between};
use crate::{
    access_log::{AccessLog, LogFile},
    cli,
    config::{self, Config, ConfigHash, Diagnostics, FileContents, Loaded, LogFormat, Tls},
    import::{Dialect, Imported},
    lines::{Bounds, Lines, Output},
    net::{
        front::inherited::Inherited,
        libc_calls::glibc_version,
        operate::{
            control::{Control, Leaving, ReloadAsker},
            handover::Handover,
            limits,
            service_manager::{self, ServiceState},
        },
        orders::observed::LOG_TARGET,
        server::{Drained, LAST_WORDS, Server},
        thread::vital::Fault,
    },
    paths::{self, PRESETS, listing},
    routing::RouteAction,
    tools::{
        self,
        bench::{BenchOptions, Load},
        demo::DemoOptions,
        echo::BackendIdentity,
        explain::ExplainOptions,
        operator::{self, AdminLocation, CallError, Form, Observed, OperatorOrder, RebalanceStep},
    },
};

/// The exit code for a command line that makes no sense, the same as clap's.
const USAGE: u8 = 2;

/// The most messages that may wait for standard error. Further ones are lost and counted.
const QUEUED_MESSAGES: Bounds = Bounds { lines: 65_536, bytes: 32 << 20 };

/// How long the records may take when a second signal ends the process. The messages then have as long again.
const AT_ONCE: Duration = Duration::from_millis(100);

/// `longwire run`: runs until a signal.
pub fn run(options: &cli::RunArgs) -> ExitCode {
    let file = options.listen.is_empty().then_some(options.config.as_path());
    // Looked at before they are read: no change comes in between unseen.
    let tried = options.watch.then(|| FileContents::read(config::own_files(&options.config)));
    let config = if options.listen.is_empty() {
        match config::load(&options.config) {
            Ok(Loaded { config, warnings }) => {
                warn(&warnings);
                config
            }
            Err(diagnostics) => {
                let code = refuse(&diagnostics);
                if !options.config.exists() {
                    complain("without a file: longwire demo, or longwire run --listen :8080 --to 127.0.0.1:3000");
                }
                return code;
            }
        }
    } else {
        match config::from_flags(&options.listen, &options.to) {
            Ok(config) => config,
            Err(error) => return fail(error),
        }
    };
    let messages = match start_log(&config.log) {
        Ok(messages) => messages,
        Err(error) => return fail(error),
    };
    let code = match runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(serve(config, file, tried, &messages)),
        Err(error) => fail(error),
    };
    finish_messages(&messages, Instant::now() + LAST_WORDS);
    code
}

/// `longwire check`: reads everything, but opens no socket.
pub fn check(options: &cli::CheckArgs) -> ExitCode {
    match config::load(&options.config) {
        Ok(Loaded { warnings, .. }) if options.strict && !warnings.is_empty() => refuse(&warnings.into_errors()),
        Ok(Loaded { config, warnings }) => {
            warn(&warnings);
            match ConfigHash::read(&config) {
                Ok(hash) => {
                    say(format_args!("{}hash      {hash}", config::describe(&config)));
                    ExitCode::SUCCESS
                }
                Err(error) => fail(error),
            }
        }
        Err(diagnostics) => refuse(&diagnostics),
    }
}

/// `longwire demo`
pub fn demo(options: &cli::DemoArgs) -> ExitCode {
    let options = DemoOptions { cut: options.cut, run_for: options.run_for };
    let demo = async {
        match tools::demo::run(options).await {
            Ok(outcome) => ExitCode::from(outcome.exit_code()),
            Err(error) if error.exit_code() == USAGE => misuse(error),
            Err(error) => fail(error),
        }
    };
    match runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(demo),
        Err(error) => fail(error),
    }
}

/// `longwire bench`
pub fn bench(options: cli::BenchArgs) -> ExitCode {
    let as_json = options.json;
    let options = bench_options(options);
    let bench = async {
        match tools::bench::run(options).await {
            Ok(report) => {
                say(if as_json { format!("{:#}", report.json()) } else { report.to_string().trim_end().to_owned() });
                if report.is_sound() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
            }
            Err(error) => fail(error),
        }
    };
    match runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(bench),
        Err(error) => fail(error),
    }
}

/// `longwire echo`: runs until a signal.
pub fn echo(options: &cli::EchoArgs) -> ExitCode {
    let echo = async {
        limits::raise_open_files()?;
        let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let listener = TcpListener::bind(options.bind).await?;
        say(format!("echo on ws://{}/", listener.local_addr()?));
        tokio::select! {
            () = tools::echo::serve(listener, BackendIdentity { name: "echo", stage: None }) => {}
            _ = either(&mut terminate, &mut interrupt) => {}
        }
        io::Result::Ok(ExitCode::SUCCESS)
    };
    let runtime = runtime::Builder::new_current_thread().enable_all().build();
    runtime.and_then(|runtime| runtime.block_on(echo)).unwrap_or_else(fail)
}

/// `longwire explain`: reads records, and exits with 1 if something was found.
pub fn explain(options: cli::ExplainArgs) -> ExitCode {
    let cli::ExplainArgs { files, since, route, json } = options;
    let since = since.map(|ago| tools::explain::moment_before(Timestamp::now(), ago));
    match tools::explain::run(&ExplainOptions { files, since, route }) {
        Ok(account) => {
            say(if json { format!("{:#}", account.json()) } else { account.text(has_colours(&io::stdout())) });
            if account.has_findings() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
        }
        Err(error) => misuse(error),
    }
}

/// `longwire status`
pub fn status(options: cli::StatusArgs) -> ExitCode {
    order(options.interface, OperatorOrder::Status { watch: options.watch })
}

/// `longwire sessions`
pub fn sessions(options: cli::SessionsArgs) -> ExitCode {
    let cli::SessionsArgs { client, route, upstream, backend, sort, reverse, limit, offset, interface } = options;
    let filters = [("client", client), ("route", route), ("upstream", upstream), ("backend", backend)];
    let filters = filters.into_iter().filter_map(|(key, value)| Some((key, value?)));
    let direction = if reverse { "asc" } else { "desc" };
    let page =
        [("sort", sort), ("order", direction.into()), ("limit", limit.to_string()), ("offset", offset.to_string())];
    order(interface, OperatorOrder::Sessions(filters.chain(page).collect()))
}

/// `longwire kill`
pub fn kill(options: cli::KillArgs) -> ExitCode {
    let cli::KillArgs { id, code, reason, interface } = options;
    order(interface, OperatorOrder::Kill { id, code, reason })
}

/// `longwire drain`
pub fn drain(options: cli::DrainArgs) -> ExitCode {
    let cli::DrainArgs { backend, route, all: _, keep_sessions, undo, yes, interface } = options;
    let asks = !yes && io::stdin().is_terminal() && io::stderr().is_terminal();
    let what = match (backend, route) {
        (Some((upstream, address)), _) => operator::DrainScope::Backend { upstream, address, keep_sessions },
        (None, Some(route)) => operator::DrainScope::Route(route),
        (None, None) => operator::DrainScope::All,
    };
    order(interface, OperatorOrder::Drain { what, undo, asks })
}

/// `longwire rebalance`
pub fn rebalance(options: cli::RebalanceArgs) -> ExitCode {
    let cli::RebalanceArgs { share, sessions, surplus_over, fleet, status: _, stop, .. } = options;
    let cli::RebalanceArgs { backend, over, dry_run, detach, interface, .. } = options;
    let amounts = [
        ("share", share.map(Value::from)),
        ("sessions", sessions.map(Value::from)),
        ("surplus_over", surplus_over.map(Value::from)),
        ("fleet", fleet.then_some(Value::from(true))),
    ];
    let amount = amounts.into_iter().find_map(|(key, amount)| Some((key, amount?)));
    let step = match amount {
        Some(amount) => RebalanceStep::Begin { amount, backend, over, is_dry: dry_run, waits: !detach },
        None if stop => RebalanceStep::Stop,
        None => RebalanceStep::Show,
    };
    order(interface, OperatorOrder::Rebalance(step))
}

/// `longwire debug`
pub fn debug(options: cli::DebugArgs) -> ExitCode {
    let cli::DebugArgs { id, client, list: _, run_for, off, interface } = options;
    let what = match (id, client) {
        (Some(id), _) => Some(Observed::Session(id)),
        (None, client) => client.map(Observed::Client),
    };
    order(interface, OperatorOrder::Debug { what, run_for, off })
}

/// `longwire reload`
pub fn reload(options: cli::ReloadArgs) -> ExitCode {
    order(options.interface, OperatorOrder::Reload)
}

/// Asks a running longwire, and prints its answer.
fn order(interface: cli::AdminArgs, order: OperatorOrder) -> ExitCode {
    let cli::AdminArgs { admin, config, token_file, json } = interface;
    let form = Form { json, color: has_colours(&io::stderr()), color_tables: has_colours(&io::stdout()) };
    let asked = async {
        let admin_client = AdminLocation { address: admin, config, token_file }.find()?;
        operator::run(&admin_client, order, form, |text| say(text)).await
    };
    let runtime = match runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(error),
    };
    match runtime.block_on(asked) {
        Ok(()) => ExitCode::SUCCESS,
        Err(CallError::Refused(error)) if json => {
            say(format!("{:#}", serde_json::json!({ "error": error })));
            ExitCode::FAILURE
        }
        Err(CallError::Refused(error)) if error["rendered"].is_string() => {
            complain(error["rendered"].as_str().unwrap_or_default());
            ExitCode::FAILURE
        }
        Err(CallError::Config(diagnostics)) => refuse(&diagnostics),
        Err(error) => fail(error),
    }
}

/// `longwire import`
pub fn import(options: &cli::ImportArgs) -> ExitCode {
    let cli::ImportArgs { file, from, output, report, json } = options;
    let dialect = from.as_deref().map(|from| if from == "nginx" { Dialect::Nginx } else { Dialect::Haproxy });
    let Imported { yaml, remarks } = match tools::import::translate(file, dialect, output.as_deref()) {
        Ok(imported) => imported,
        Err(error) => {
            complain(error);
            return ExitCode::FAILURE;
        }
    };
    if *report {
        if *json {
            say(format!("{:#}", serde_json::json!(remarks)));
        } else if remarks.is_empty() {
            say(format!("{}: nothing is wrong for WebSockets", file.display()));
        }
        remarks.iter().filter(|_| !json).for_each(say);
        return ExitCode::SUCCESS;
    }
    match output {
        None => say(yaml.trim_end()),
        Some(path) => {
            if let Err(error) = tools::import::write_new(path, &yaml) {
                return fail(format_args!("cannot write {}: {error}", path.display()));
            }
        }
    }
    remarks.iter().for_each(complain);
    let base = output.as_deref().and_then(Path::parent).unwrap_or_else(|| Path::new(""));
    if let Err(errors) = config::parse(&yaml, "proxy.yaml", base) {
        complain(format!("longwire: the new file cannot run as it is:\n{}", errors.render(has_colours(&io::stderr()))));
    }
    ExitCode::SUCCESS
}

/// `longwire schema`
pub fn schema(options: &cli::SchemaArgs) -> ExitCode {
    match &options.key {
        Some(key) => match config::explain(key) {
            Ok(entry) => say(entry),
            Err(error) => return misuse(error),
        },
        None if options.markdown => say(config::markdown().trim_end()),
        None => say(format!("{:#}", config::schema())),
    }
    ExitCode::SUCCESS
}

/// `longwire paths`
pub fn paths(options: &cli::PathsArgs) -> ExitCode {
    let mut chosen = Vec::new();
    for name in &options.names {
        match paths::preset(name) {
            Some(preset) => chosen.push(preset),
            None => return misuse(format_args!("no preset is called \"{name}\"; `longwire paths` lists them")),
        }
    }
    match (options.names.is_empty(), options.json) {
        (_, _) if options.markdown => say(listing::markdown().trim_end()),
        (true, true) => say(format!("{:#}", listing::json(PRESETS))),
        (false, true) => say(format!("{:#}", listing::json(chosen))),
        (true, false) => say(listing::table()),
        (false, false) => say(chosen.into_iter().map(listing::entry).collect::<Vec<_>>().join("\n").trim_end()),
    }
    ExitCode::SUCCESS
}

/// `longwire completions`
pub fn completions(options: &cli::CompletionsArgs) -> ExitCode {
    say_page(&cli::pages::completions(options.shell))
}

/// `longwire man`
pub fn man(options: &cli::ManArgs) -> ExitCode {
    match cli::pages::manual(options.verb.as_deref()) {
        Ok(Some(page)) => say_page(&page),
        Ok(None) => {
            let verb = options.verb.as_deref().unwrap_or_default();
            misuse(format_args!("no verb is called \"{verb}\"; there are: {}", cli::pages::verbs().join(", ")))
        }
        Err(error) => fail(error),
    }
}

/// `longwire --version`
#[must_use]
pub fn version(is_verbose: bool) -> ExitCode {
    if is_verbose {
        say(cli::version::build(glibc_version().as_deref()));
    } else {
        say(cli::version::version());
    }
    ExitCode::SUCCESS
}

/// Prints a page that has its own end of line.
fn say_page(page: &[u8]) -> ExitCode {
    let _ = io::stdout().write_all(page);
    ExitCode::SUCCESS
}

/// The load that the command line asks for.
fn bench_options(options: cli::BenchArgs) -> BenchOptions {
    let load = if options.idle {
        Load::Idle
    } else if options.connect {
        Load::Handshakes
    } else if options.rate > 0.0 {
        Load::Rate(options.rate)
    } else {
        Load::Saturate { depth: options.pipeline }
    };
    BenchOptions {
        target: options.url,
        connections: usize::try_from(options.connections).unwrap_or(usize::MAX),
        duration: options.duration,
        load,
        size: options.size,
        binary: options.binary,
        subprotocols: options.subprotocol,
        headers: options.header,
        insecure: options.insecure,
        resumption: !options.no_resumption,
        threads: options.threads.into(),
    }
}

/// The signals that a running process listens to.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    rotated: Signal,
    upgraded: Signal,
}

impl Signals {
    /// Listens to the signals. From now on, none of them ends the process by itself.
    fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            rotated: signal(SignalKind::user_defined1())?,
            upgraded: signal(SignalKind::user_defined2())?,
        })
    }
}

/// Serves until the first signal, then drains. A second signal ends the process at once. `tried`: what the files of the
/// configuration held before they were read, if they are to be watched.
async fn serve(config: Config, file: Option<&Path>, tried: Option<FileContents>, messages: &Lines) -> ExitCode {
    let mut signals = match Signals::listen() {
        Ok(signals) => signals,
        Err(error) => return fail(error),
    };
    match limits::raise_open_files() {
        Ok(limits::OpenFiles { before, now }) => tracing::info!(before, now, "limit of open files"),
        Err(error) => tracing::warn!(%error, "the limit of open files could not be raised"),
    }
    let access_log = match open_access_log(&config.log) {
        Ok(log) => log,
        Err(error) => return fail(error),
    };
    let mut inherited = match Inherited::collect(config.handover.as_deref()) {
        Ok(inherited) => inherited,
        Err(error) => return fail(format_args!("the listening sockets of another process cannot be taken: {error}")),
    };
    let handover = match &config.handover {
        Some(path) => match Handover::bind(path, &mut inherited) {
            Ok(handover) => Some(handover),
            Err(error) => return fail(format_args!("cannot wait for a successor at {}: {error}", path.display())),
        },
        None => None,
    };
    let server = match Server::start_with(config.clone(), access_log.clone(), &mut inherited) {
        Ok(server) => server,
        Err(error) => return fail(error),
    };
    server.control().count_lost_messages(messages.clone());
    if let Some(fault) = Fault::asked_for() {
        server.control().inject(fault);
    }
    announce(&config, &server);
    let mut starter = None;
    match inherited.ready() {
        Ok(true) => {
            tracing::info!("took over from the process before");
            starter = Starter::find();
        }
        Ok(false) => {}
        Err(error) => tracing::warn!(%error, "the process before is gone already"),
    }
    service_manager::tell(ServiceState::Ready);
    server.control().take_files();
    if let Some((file, tried)) = file.zip(tried) {
        server.control().follow_own_files(file, tried);
    }
    let control = Arc::clone(server.control());
    // A successor may take over until the listeners close, so during a drain too.
    let mut handed_over = Box::pin(handed_over(handover, &control).fuse());
    let Signals { terminate, interrupt, hangup, rotated, upgraded } = &mut signals;
    let name = loop {
        tokio::select! {
            name = either(terminate, interrupt) => break name,
            () = &mut handed_over => break "hand-over",
            // The log already says what failed.
            () = control.failed() => break "failure",
            _ = rotated.recv() => rotate(&access_log),
            _ = upgraded.recv() => match config.handover {
                Some(_) => upgrade::start(),
                None => tracing::warn!("SIGUSR2: no process can take over, as `handover` is not set"),
            },
            _ = hangup.recv() => match file.map(|file| control.ask_for_reload(file.to_owned(), ReloadAsker::Signal)) {
                // The log tells the outcome.
                Some(Some(_)) => {}
                Some(None) => tracing::info!("SIGHUP: a reload waits already, which will read the newest files"),
                None => tracing::warn!("SIGHUP: there is no file to read, the configuration came from flags"),
            },
        }
    };
    let deadline = control.config().timeouts.drain;
    tracing::info!(signal = name, sessions = server.sessions(), ?deadline, "draining");
    if name != "hand-over" && config.handover.is_none() && !control.has_kept_sockets() {
        tracing::info!(
            "newcomers are refused from now until a successor runs, as neither `handover` nor socket activation is set"
        );
    }
    // A hand-over or a failure does not count as the first signal, because a service manager that stops both processes sends
    // each its first signal.
    let is_told = !matches!(name, "failure" | "hand-over");
    let drain = async {
        let before = async {
            if let Some(starter) = starter {
                starter.gone(deadline + LAST_WORDS).await;
            }
        };
        tokio::join!(server.drain_beside(handed_over), before).0
    };
    let name = match wait_for_drain(drain, is_told, signals, &access_log).await {
        Ok(_) if control.has_failed() => return ExitCode::FAILURE,
        Ok(code) => return code,
        Err(name) => name,
    };
    tracing::error!(signal = name, sessions = control.sessions(), "ending at once, without a record of these sessions");
    tell_lost("records", access_log.lines().finish(Instant::now() + AT_ONCE));
    finish_messages(messages, Instant::now() + AT_ONCE);
    #[expect(
        clippy::disallowed_methods,
        reason = "records and messages are written, and what still runs is not waited for"
    )]
    std::process::exit(1)
}

/// Waits for the drain, and opens the file of the records again when it is asked to.
///
/// # Errors
/// The name of the signal that ends the wait. Where a signal began the drain, it is the next signal; after a hand-over or a
/// failure it is the second one.
async fn wait_for_drain(
    drain: impl Future<Output = Drained>,
    mut is_told: bool,
    signals: Signals,
    records: &AccessLog,
) -> Result<ExitCode, &'static str> {
    let Signals { mut terminate, mut interrupt, mut hangup, mut rotated, mut upgraded } = signals;
    let mut drain = pin!(drain);
    loop {
        tokio::select! {
            drained = &mut drain => {
                let Drained { sessions, cut, records_lost, took } = drained;
                tracing::info!(sessions, cut, records_lost, ?took, "drained");
                tell_lost("records", records_lost);
                return Ok(ExitCode::SUCCESS);
            }
            name = either(&mut terminate, &mut interrupt) => {
                if is_told {
                    return Err(name);
                }
                is_told = true;
                tracing::info!(signal = name, "draining already: another signal ends at once");
            }
            _ = rotated.recv() => rotate(records),
            _ = hangup.recv() => tracing::warn!("SIGHUP: nothing is read, {Leaving}"),
            _ = upgraded.recv() => tracing::warn!("SIGUSR2: no new process is started, {Leaving}"),
        }
    }
}

fn rotate(records: &AccessLog) {
    records.lines().flush();
    tracing::info!("SIGUSR1: the file of the records is opened again");
}

fn tell_lost(what: &str, count: usize) {
    if count > 0 {
        tracing::error!("{count} {what} were not written");
    }
}

/// Waits for standard error to take the messages. If it takes none, nothing can be said of the lost ones.
fn finish_messages(messages: &Lines, deadline: Instant) {
    tell_lost("messages", messages.finish(deadline));
    let _ = messages.finish(deadline);
}

/// Opens the log of the records.
fn open_access_log(log: &config::Log) -> Result<AccessLog, String> {
    let opened = match &log.file {
        Some(path) => {
            let file =
                LogFile::open(path).map_err(|error| format!("cannot open the log {}: {error}", path.display()))?;
            AccessLog::new(log.format, file)
        }
        None => unbuffered(io::stdout()).and_then(|output| AccessLog::new(log.format, output)),
    };
    opened.map_err(|error| format!("cannot start the log: {error}"))
}

/// The same output without the buffer and the lock of the standard library.
///
/// Without the buffer, a line that was written is out. Without the lock, a writer that is stuck keeps nobody else from
/// writing.
fn unbuffered(output: impl AsFd) -> io::Result<Output> {
    Output::new(File::from(output.as_fd().try_clone_to_owned()?))
}

/// Ready when a successor has taken over. After this future is dropped, a successor finds nobody to call.
async fn handed_over(handover: Option<Handover>, control: &Control) {
    match handover {
        Some(handover) => handover.handed_over(control).await,
        None => std::future::pending().await,
    }
}

async fn either(terminate: &mut Signal, interrupt: &mut Signal) -> &'static str {
    tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    }
}

/// Logs the addresses, the upstreams, and what follows from the paths.
fn announce(config: &Config, server: &Server) {
    for (listener, address) in config.listeners.iter().zip(server.addresses()) {
        let tls = listener.tls.as_ref().map_or(0, |Tls { certificates, .. }| certificates.len());
        let scheme = if tls > 0 { "https, wss" } else { "http, ws" };
        tracing::info!(%address, scheme, certificates = tls, backlog = server.backlog(), "listening");
    }
    if let Some(address) = server.control().admin_address() {
        tracing::info!(%address, "admin interface");
    }
    for (upstream, entries) in config.upstreams.iter().zip(&config.backend_entries) {
        let backends: Vec<_> = entries.iter().map(ToString::to_string).collect();
        let routes: Vec<_> = config
            .routes
            .routes()
            .filter(|route| match route.action {
                RouteAction::Forward(place) => config.upstreams[place].name == upstream.name,
                RouteAction::Redirect(_) => false,
            })
            .map(|route| route.name.as_str())
            .collect();
        tracing::info!(
            upstream = upstream.name,
            balance = upstream.policy.as_str(),
            backends = backends.join(" "),
            routes = routes.join(" "),
            "proxying"
        );
    }
    for route in config.routes.routes() {
        for sentence in config::derived(route) {
            tracing::info!(route = route.name, "{sentence}");
        }
    }
    tracing::info!(version = env!("CARGO_PKG_VERSION"), workers = server.workers(), "ready");
}

/// Starts the log. Messages go to standard error, records to standard output.
///
/// Messages wait in a queue with a thread of its own, as records do. So a reader who stops reading stops no session; the
/// lines that are lost then are counted.
fn start_log(log: &config::Log) -> Result<Lines, Box<dyn std::error::Error + Send + Sync>> {
    // An error here is one of standard error itself, so there is no place to report it.
    let messages = Lines::new("messages", QUEUED_MESSAGES, Duration::ZERO, unbuffered(io::stderr())?, |_| {})?;
    let writer = messages.clone();
    let filter = EnvFilter::try_new(&log.level)?.add_directive(format!("{LOG_TARGET}=debug").parse()?);
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(move || writer.clone())
        .with_target(false)
        .with_ansi(has_colours(&io::stderr()));
    match log.format {
        LogFormat::Json => builder.json().flatten_event(true).try_init()?,
        LogFormat::Text => builder.try_init()?,
    }
    Ok(messages)
}

fn refuse(diagnostics: &Diagnostics) -> ExitCode {
    complain(diagnostics.render(has_colours(&io::stderr())));
    ExitCode::FAILURE
}

fn warn(warnings: &Diagnostics) {
    if !warnings.is_empty() {
        complain(warnings.render(has_colours(&io::stderr())));
    }
}

fn fail(error: impl Display) -> ExitCode {
    complain(format!("longwire: {error}"));
    ExitCode::FAILURE
}

/// Reports a command line that makes no sense.
fn misuse(error: impl Display) -> ExitCode {
    complain(format!("longwire: {error}"));
    ExitCode::from(USAGE)
}

/// Whether the output is a terminal, and `NO_COLOR` is not set or empty (no-color.org).
fn has_colours(output: &impl IsTerminal) -> bool {
    output.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Prints `text`. A reader that has gone away is no error.
fn say(text: impl Display) {
    let _ = writeln!(io::stdout(), "{text}");
}

fn complain(text: impl Display) {
    let _ = writeln!(io::stderr(), "{text}");
}
