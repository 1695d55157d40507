//! The command line.

mod explain;
mod import;
pub mod pages;
mod paths;
mod probe;
mod rebalance;
pub mod version;

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use bytesize::ByteSize;
use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;
use hyper::header::{HeaderName, HeaderValue};
use jiff::SignedDuration;

pub use self::{
    explain::ExplainArgs, import::ImportArgs, paths::PathsArgs, probe::ProbeArgs, rebalance::RebalanceArgs,
};
use crate::tools::{bench::MAX_SIZE, opening::Target, operator::Address};

/// Messages a second: about one in a day.
const MIN_RATE: f64 = 1e-5;
/// Messages a second: more than any connection can carry.
const MAX_RATE: f64 = 1e7;

/// Keeps WebSockets alive, and says why they end.
#[derive(Debug, Parser)]
#[command(
    name = "longwire",
    version,
    disable_version_flag = true,
    about = "A reverse proxy that keeps WebSockets alive, and says why they end",
    after_help = "Without a command: 'longwire run' with ./proxy.yaml.\n\n\
        Exit codes: 0 ok, 1 configuration or run-time error, 2 usage. A verb may have more.",
    args_conflicts_with_subcommands = true
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// For `longwire` alone, which is `longwire run`.
    #[command(flatten)]
    pub run: RunArgs,
    /// Print the version; with --verbose also what the program was built from
    #[arg(short = 'V', long)]
    pub version: bool,
    /// With --version: commit, features, linkage, allocator, TLS, for a report
    #[arg(short, long, requires = "version")]
    pub verbose: bool,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the proxy (also without a verb)
    Run(RunArgs),
    /// Read a configuration and everything it names, and print what would run; opens no socket
    #[command(
        after_help = "Examples:\n  longwire check\n  longwire check -c /etc/longwire/proxy.yaml\n  longwire check --strict"
    )]
    Check(CheckArgs),
    /// Read records, and say what ends sessions: a limit on the path, a crash, a network of clients, a limit of longwire's own
    Explain(ExplainArgs),
    /// Show on this machine how an idle WebSocket is cut, and how longwire keeps it
    #[command(after_help = "Examples:\n  longwire demo\n  longwire demo --for 40s\n  longwire demo --cut 5s --for 20s")]
    Demo(DemoArgs),
    /// Put load on a WebSocket echo, and measure what comes back
    Bench(BenchArgs),
    /// Find out what the path to a WebSocket does with silent connections, and whether an interval of pings outlives it
    Probe(ProbeArgs),
    /// Run an echo backend: every WebSocket message comes back
    #[command(after_help = "Examples:\n  longwire echo --bind 127.0.0.1:9001\n  longwire echo --bind 127.0.0.1:0\n\n\
        SIGTERM and SIGINT end it with 0.")]
    Echo(EchoArgs),
    /// Show what runs: routes, backends and their health, how many sessions
    #[command(after_help = "Examples:\n  longwire status\n  longwire status --watch\n  \
        longwire status --admin 127.0.0.1:9900 --json")]
    Status(StatusArgs),
    /// Show live sessions
    #[command(after_help = "Examples:\n  longwire sessions --sort idle\n  \
        longwire sessions --client 10.0.0.0/8 --route '*/ws/'\n  \
        longwire sessions --backend 127.0.0.1:9001 --json")]
    Sessions(SessionsArgs),
    /// End a session: both sides read a Close, and its record says `killed`
    #[command(after_help = "Examples:\n  longwire kill c660c473264785fbcad3b5015a94f12b\n  \
        longwire kill c660c473264785fbcad3b5015a94f12b --code 4003 --reason 'signed out'")]
    Kill(KillArgs),
    /// Take something out of service while longwire goes on: its sessions are told to leave, and nothing new comes
    #[command(after_help = "Examples:\n  longwire drain --backend chat/127.0.0.1:9001\n  \
        longwire drain --backend chat/127.0.0.1:9001 --undo\n  longwire drain --backend chat/unix:/run/app.sock\n  \
        longwire drain --route '*/ws/'\n  \
        longwire drain --all\n\nSIGTERM is what drains and ends the process.")]
    Drain(DrainArgs),
    /// Let a part of the oldest sessions leave, so that their clients spread anew: after a scale-up nothing moves by itself
    Rebalance(RebalanceArgs),
    /// Show the headers of the frames of chosen sessions in longwire's messages, for a while; never what they carry
    #[command(after_help = "Examples:\n  longwire debug c660c473264785fbcad3b5015a94f12b\n  \
        longwire debug --client 192.0.2.7 --for 10m\n  longwire debug --client 192.0.2.7 --off\n  \
        longwire debug --list\n\nThe lines go where longwire's messages go: to its standard error, the journal.")]
    Debug(DebugArgs),
    /// Read the file again; sessions go on, and if anything is wrong with it nothing changes
    #[command(after_help = "Examples:\n  longwire reload\n  longwire reload -c /etc/longwire/proxy.yaml\n\n\
        What is wrong is printed as 'longwire check' prints it, with exit code 1.")]
    Reload(ReloadArgs),
    /// Make a proxy.yaml from a configuration of nginx or HAProxy, and say what is wrong with it for WebSockets
    Import(ImportArgs),
    /// Print what a key of proxy.yaml means, or the JSON Schema of the file for editors
    #[command(after_help = "Examples:\n  longwire schema timeouts.close\n  longwire schema upstreams.NAME.balance\n  \
        longwire schema > proxy.schema.json\n\n\
        An editor finds the schema by the first line of proxy.yaml:\n  # yaml-language-server: $schema=proxy.schema.json")]
    Schema(SchemaArgs),
    /// Show what stands on paths: which silence ends a connection there, at which age, how, and who says so
    #[command(after_help = "Examples:\n  longwire paths\n  longwire paths aws_alb cloudflare\n  longwire paths --json")]
    Paths(PathsArgs),
    /// Print the script that completes longwire's command line in a shell
    #[command(after_help = "Examples:\n  longwire completions bash > /etc/bash_completion.d/longwire\n  \
        longwire completions zsh > /usr/local/share/zsh/site-functions/_longwire\n  \
        longwire completions fish > ~/.config/fish/completions/longwire.fish")]
    Completions(CompletionsArgs),
    /// Print a page of the manual: of longwire, or of one verb
    #[command(after_help = "Examples:\n  longwire man > /usr/local/share/man/man1/longwire.1\n  \
        longwire man run > /usr/local/share/man/man1/longwire-run.1\n  longwire man drain | man -l -")]
    Man(ManArgs),
}

/// `longwire run`
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  longwire run -c /etc/longwire/proxy.yaml\n  \
    longwire run -c /etc/longwire/proxy.yaml --watch\n  \
    longwire run --listen 0.0.0.0:8080 --to 127.0.0.1:3000\n  \
    longwire run --listen :8080 --to 10.0.0.1:3000 --to 10.0.0.2:3000\n  \
    longwire run --listen unix:/run/longwire/http.sock --to unix:/run/app.sock\n\n\
    SIGTERM and SIGINT drain and exit 0; a second one ends at once with 1.")]
pub struct RunArgs {
    /// The configuration
    #[arg(short, long, value_name = "FILE", default_value = "proxy.yaml")]
    pub config: PathBuf,
    /// Reload by itself when the file, or one that it names, has changed
    #[arg(long, conflicts_with = "listen")]
    pub watch: bool,
    /// Listen here, with no file at all (repeatable)
    #[arg(long, value_name = "ADDRESS", requires = "to", conflicts_with = "config")]
    pub listen: Vec<String>,
    /// Proxy to this backend, with no file at all (repeatable)
    #[arg(long, value_name = "ADDRESS", requires = "listen", conflicts_with = "config")]
    pub to: Vec<String>,
}

/// `longwire check`
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// The configuration
    #[arg(short, long, value_name = "FILE", default_value = "proxy.yaml")]
    pub config: PathBuf,
    /// Take each warning as an error
    #[arg(long)]
    pub strict: bool,
}

/// `longwire schema`
#[derive(Debug, Args)]
pub struct SchemaArgs {
    /// Print the entry of this key only, e.g. timeouts.close
    #[arg(value_name = "KEY", conflicts_with = "markdown")]
    pub key: Option<String>,
    /// Print every key as a page of Markdown: docs/configuration.md
    #[arg(long)]
    pub markdown: bool,
}

/// `longwire completions`
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// The shell
    pub shell: Shell,
}

/// `longwire man`
#[derive(Debug, Args)]
pub struct ManArgs {
    /// The verb; without it, the page of longwire itself
    pub verb: Option<String>,
}

/// `longwire demo`
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// End by itself after this long; exit 0 only if what the demo claims was seen
    #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
    pub run_for: Option<Duration>,
    /// The silence after which the stand-in for a load balancer cuts
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration)]
    pub cut: Duration,
}

/// `longwire bench`
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  longwire bench ws://127.0.0.1:8080/ -c 200 -d 10s\n  \
    longwire bench ws://127.0.0.1:8080/ -c 1000 -r 2 -s 1KiB --json\n  \
    longwire bench wss://localhost:8443/ --insecure --connect\n  \
    longwire bench ws://127.0.0.1:8080/ -c 9000 --idle -d 2m\n\n\
    With -r each message is due at a fixed moment and its latency counts from then, so that what waits behind a stall \
    counts in full. Without -r each connection sends as soon as its answer is there, which measures what passes at most.\n\n\
    Exits with 1 if anything was wrong: a connection that did not open or was closed, a message that did not come back \
    as it was sent.")]
pub struct BenchArgs {
    /// ws://HOST:PORT/PATH or wss://HOST:PORT/PATH; behind it must be an echo
    pub url: Target,
    /// Connections, or loops of connecting with --connect
    #[arg(short, long, value_name = "N", default_value = "100", value_parser = clap::value_parser!(u32).range(1..))]
    pub connections: u32,
    /// How long, once all connections are open
    #[arg(short, long, value_name = "DURATION", default_value = "10s", value_parser = duration)]
    pub duration: Duration,
    /// Messages a second on each connection; 0 = as many as come back
    #[arg(short, long, value_name = "PER SECOND", default_value = "0", value_parser = rate)]
    pub rate: f64,
    /// Size of a message, at most 16MiB
    #[arg(short, long, value_name = "SIZE", default_value = "64B", value_parser = size)]
    pub size: usize,
    /// Messages in flight on each connection, where there is no rate
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u64).range(1..=4096))]
    pub pipeline: u64,
    /// Send nothing: hold the connections, answer Pings, count what is closed
    #[arg(long, conflicts_with_all = ["connect", "rate", "size", "pipeline", "binary"])]
    pub idle: bool,
    /// Connect, upgrade, close, and again
    #[arg(long, conflicts_with_all = ["rate", "size", "pipeline", "binary"])]
    pub connect: bool,
    /// Binary messages instead of text
    #[arg(long)]
    pub binary: bool,
    /// Offer this subprotocol (repeatable)
    #[arg(long, value_name = "NAME")]
    pub subprotocol: Vec<String>,
    /// Send this header with the handshake (repeatable)
    #[arg(long, value_name = "NAME: VALUE", value_parser = header)]
    pub header: Vec<(HeaderName, HeaderValue)>,
    /// Believe any certificate
    #[arg(long)]
    pub insecure: bool,
    /// Make a full TLS handshake every time
    #[arg(long)]
    pub no_resumption: bool,
    /// Threads that make the load
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: u16,
    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,
}

/// `longwire echo`
#[derive(Debug, Args)]
pub struct EchoArgs {
    /// Listen here; port 0 = any free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9001")]
    pub bind: SocketAddr,
}

/// Where the running longwire is, and how its answers are printed.
#[derive(Debug, Args)]
pub struct AdminArgs {
    /// Address of the admin interface: host:port or unix:/path
    #[arg(long, value_name = "ADDRESS")]
    pub admin: Option<Address>,
    /// The configuration, for that address and the token where they are not given
    #[arg(short, long, value_name = "FILE", default_value = "proxy.yaml")]
    pub config: PathBuf,
    /// File of the token
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Print the answer as JSON
    #[arg(long)]
    pub json: bool,
}

/// `longwire status`
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Look every second, until q or Ctrl-C
    #[arg(short, long)]
    pub watch: bool,
    #[command(flatten)]
    #[allow(missing_docs, reason = "would be the help of the verb")]
    pub interface: AdminArgs,
}

/// `longwire sessions`
#[derive(Debug, Args)]
pub struct SessionsArgs {
    /// Of this client address or network only
    #[arg(long, value_name = "CIDR")]
    pub client: Option<String>,
    /// On this route only
    #[arg(long, value_name = "NAME")]
    pub route: Option<String>,
    /// On this upstream only
    #[arg(long, value_name = "NAME")]
    pub upstream: Option<String>,
    /// On this backend only
    #[arg(long, value_name = "ADDRESS")]
    pub backend: Option<String>,
    /// What comes first has most of this
    #[arg(long, value_name = "KEY", default_value = "age",
        value_parser = ["age", "idle", "bytes", "messages", "buffered", "rtt"])]
    pub sort: String,
    /// What comes first has least of it
    #[arg(long)]
    pub reverse: bool,
    /// At most so many
    #[arg(long, value_name = "N", default_value = "100", value_parser = clap::value_parser!(u32).range(..=1000))]
    pub limit: u32,
    /// Leave out so many of the first
    #[arg(long, value_name = "N", default_value = "0", value_parser = clap::value_parser!(u32).range(..=100_000))]
    pub offset: u32,
    #[command(flatten)]
    #[allow(missing_docs, reason = "would be the help of the verb")]
    pub interface: AdminArgs,
}

/// `longwire kill`
#[derive(Debug, Args)]
pub struct KillArgs {
    /// The id: `request_id` in the log, ID in `longwire sessions`
    pub id: String,
    /// Close code: 1000 to 1003, 1007 to 1014, or 3000 to 4999 [default: 1008]
    #[arg(long, value_name = "CODE")]
    pub code: Option<u16>,
    /// The words beside it, at most 123 bytes [default: killed]
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    #[command(flatten)]
    #[allow(missing_docs, reason = "would be the help of the verb")]
    pub interface: AdminArgs,
}

/// `longwire drain`
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("what").required(true))]
pub struct DrainArgs {
    /// One backend
    #[arg(long, value_name = "UPSTREAM/ADDRESS", group = "what", value_parser = backend)]
    pub backend: Option<(String, String)>,
    /// One route, by its name in the log
    #[arg(long, value_name = "NAME", group = "what")]
    pub route: Option<String>,
    /// Everything
    #[arg(long, group = "what")]
    pub all: bool,
    /// With --backend: nothing new comes, and its sessions stay
    #[arg(long, conflicts_with_all = ["route", "all", "undo"])]
    pub keep_sessions: bool,
    /// Put it back into service
    #[arg(long)]
    pub undo: bool,
    /// Do not ask before the last backend of an upstream is drained; asked is only on a terminal
    #[arg(long)]
    pub yes: bool,
    #[command(flatten)]
    #[allow(missing_docs, reason = "would be the help of the verb")]
    pub interface: AdminArgs,
}

/// `longwire debug`
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("whose").required(true))]
pub struct DebugArgs {
    /// The id of a live session: `request_id` in the log, ID in `longwire sessions`
    #[arg(group = "whose")]
    pub id: Option<String>,
    /// All sessions of this address or network, those that begin later too
    #[arg(long, value_name = "CIDR", group = "whose")]
    pub client: Option<String>,
    /// Show who is chosen, and for how long yet
    #[arg(long, group = "whose")]
    pub list: bool,
    /// For so long, at most an hour [default: 5m]
    #[arg(long = "for", value_name = "DURATION", value_parser = duration, conflicts_with_all = ["off", "list"])]
    pub run_for: Option<Duration>,
    /// No longer
    #[arg(long, conflicts_with = "list")]
    pub off: bool,
    #[command(flatten)]
    #[allow(missing_docs, reason = "would be the help of the verb")]
    pub interface: AdminArgs,
}

/// `longwire reload`
#[derive(Debug, Args)]
pub struct ReloadArgs {
    #[command(flatten)]
    #[allow(missing_docs, reason = "would be the help of the verb")]
    pub interface: AdminArgs,
}

/// Splits `UPSTREAM/ADDRESS` before a Unix socket, whose path has slashes of its own, or else at the last slash.
fn backend(text: &str) -> Result<(String, String), String> {
    let slash = text.find("/unix:").or_else(|| text.rfind('/'));
    match slash.map(|slash| (&text[..slash], &text[slash + 1..])) {
        Some((upstream, address)) if !upstream.is_empty() && !address.is_empty() => {
            Ok((upstream.to_owned(), address.to_owned()))
        }
        _ => Err("write UPSTREAM/ADDRESS, as in chat/127.0.0.1:9001".to_owned()),
    }
}

/// A duration with a unit, as in `proxy.yaml`.
fn duration(text: &str) -> Result<Duration, String> {
    let duration: SignedDuration =
        text.parse().map_err(|_| format!("write a number and a unit, as in {text}s or 2m"))?;
    match Duration::try_from(duration) {
        Ok(duration) if !duration.is_zero() => Ok(duration),
        _ => Err("must be more than 0s".into()),
    }
}

/// Messages a second. A fraction stands for one message in several seconds.
fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if rate == 0.0 || (MIN_RATE..=MAX_RATE).contains(&rate) => Ok(rate),
        _ => Err(format!("write 0, or a number from {MIN_RATE} to {MAX_RATE}")),
    }
}

/// A size with a unit, as in `proxy.yaml`.
fn size(text: &str) -> Result<usize, String> {
    if text.parse::<f64>().is_ok() {
        return Err(format!("write a number and a unit, as in {text}B or 64KiB"));
    }
    if let (Some(number), Some(unit)) = (text.strip_suffix(['k', 'K', 'm', 'M']), text.chars().last()) {
        let unit = unit.to_ascii_uppercase();
        return Err(format!("{text} can be read in two ways: write {number}{unit}iB or {number}{unit}B"));
    }
    let size: ByteSize = text.parse().map_err(|_| "write a number and a unit, as in 64B or 64KiB".to_owned())?;
    match usize::try_from(size.as_u64()) {
        Ok(size) if size <= MAX_SIZE => Ok(size),
        _ => Err(format!("at most {}MiB", MAX_SIZE >> 20)),
    }
}

/// A header, written as in a request.
fn header(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let (name, value) = text.split_once(':').ok_or("write NAME: VALUE")?;
    let name = name.parse().map_err(|_| format!("{name} is no name of a header"))?;
    let value = value.trim().parse().map_err(|_| "the value cannot stand in a header".to_owned())?;
    Ok((name, value))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_verb_shows_an_example() {
        for verb in Cli::command().get_subcommands().filter(|verb| verb.get_name() != "help") {
            let help = verb.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains("longwire "), "{}", verb.get_name());
        }
    }

    #[test]
    fn a_backend_is_an_upstream_and_an_address_whatever_slashes_either_has() {
        for (upstream, address) in [
            ("chat", "127.0.0.1:9001"),
            ("chat/blue", "[::1]:9001"),
            ("chat", "unix:/run/app.sock"),
            ("chat/blue", "unix:/run/unix:/app.sock"),
            ("chat", "unix:@app/1"),
        ] {
            assert_eq!(backend(&format!("{upstream}/{address}")), Ok((upstream.to_owned(), address.to_owned())));
        }
        assert!(backend("chat").is_err() && backend("/unix:/run/app.sock").is_err() && backend("chat/").is_err());
    }

    #[test]
    fn a_duration_needs_a_unit() {
        assert_eq!(duration("40s"), Ok(Duration::from_secs(40)));
        assert!(duration("40").is_err() && duration("0s").is_err() && duration("-1s").is_err());
    }

    #[test]
    fn a_load_is_read_with_its_units() {
        let bench = |line: &str| -> Result<BenchArgs, clap::Error> {
            let cli = Cli::try_parse_from(line.split(' '))?;
            match cli.command {
                Some(Command::Bench(bench)) => Ok::<_, clap::Error>(bench),
                other => panic!("{other:?}"),
            }
        };
        let full =
            bench("longwire bench ws://h/p -c 9000 -d 2m -r 0.5 -s 1KiB --header Cookie:a=b --subprotocol x --json");
        let full = full.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(
            (full.connections, full.duration, full.rate, full.size),
            (9000, Duration::from_secs(120), 0.5, 1024)
        );
        assert_eq!(full.header, [(hyper::header::COOKIE, HeaderValue::from_static("a=b"))]);
        for wrong in [
            "longwire bench",
            "longwire bench http://h/",
            "longwire bench ws://h -c 0",
            "longwire bench ws://h -d 10",
            "longwire bench ws://h -r -1",
            "longwire bench ws://h -r NaN",
            "longwire bench ws://h -s 64",
            "longwire bench ws://h -s 1M",
            "longwire bench ws://h -s 17MiB",
            "longwire bench ws://h --idle -r 1",
            "longwire bench ws://h --idle --connect",
            "longwire bench ws://h --header nonsense",
        ] {
            assert!(bench(wrong).is_err(), "{wrong}");
        }
    }
}
