//! The command line.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use bytesize::ByteSize;
use clap::{Args, Parser, Subcommand};
use hyper::header::{HeaderName, HeaderValue};
use jiff::SignedDuration;

use crate::tools::bench::{MAX_SIZE, Target};

/// One message in a day.
const MIN_RATE: f64 = 1e-5;
/// More than any connection can carry.
const MAX_RATE: f64 = 1e7;

/// Keeps WebSockets alive, and says why they end.
#[derive(Debug, Parser)]
#[command(
    name = "longwire",
    version,
    about = "A reverse proxy that keeps WebSockets alive, and says why they end",
    after_help = "Without a command: 'longwire run' with ./proxy.yaml.\n\n\
        Exit codes: 0 ok, 1 configuration or run-time error, 2 usage.",
    args_conflicts_with_subcommands = true
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// For `longwire` alone, which is `longwire run`.
    #[command(flatten)]
    pub run: Run,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the proxy (also without a verb)
    Run(Run),
    /// Read a configuration and everything it names, and print what would run; opens no socket
    #[command(after_help = "Examples:\n  longwire check\n  longwire check -c /etc/longwire/proxy.yaml")]
    Check(Check),
    /// Show on this machine how an idle WebSocket is cut, and how longwire keeps it
    #[command(after_help = "Examples:\n  longwire demo\n  longwire demo --for 40s\n  longwire demo --cut 5s --for 20s")]
    Demo(Demo),
    /// Put load on a WebSocket echo, and measure what comes back
    Bench(Bench),
    /// Run an echo backend: every WebSocket message comes back
    #[command(after_help = "Examples:\n  longwire echo --bind 127.0.0.1:9001\n  longwire echo --bind 127.0.0.1:0\n\n\
        SIGTERM and SIGINT end it with 0.")]
    Echo(Echo),
    /// Print the JSON Schema of proxy.yaml, for editors
    #[command(after_help = "Example:\n  longwire schema > proxy.schema.json\n\n\
        Then, at the head of proxy.yaml:\n  # yaml-language-server: $schema=proxy.schema.json")]
    Schema,
}

/// `longwire run`
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  longwire run -c /etc/longwire/proxy.yaml\n  \
    longwire run --listen 0.0.0.0:8080 --to 127.0.0.1:3000\n  \
    longwire run --listen :8080 --to 10.0.0.1:3000 --to 10.0.0.2:3000\n\n\
    SIGTERM and SIGINT drain and exit 0; a second one ends at once with 1.")]
pub struct Run {
    /// The configuration
    #[arg(short, long, value_name = "FILE", default_value = "proxy.yaml")]
    pub config: PathBuf,
    /// Listen here, with no file at all (repeatable)
    #[arg(long, value_name = "ADDRESS", requires = "to", conflicts_with = "config")]
    pub listen: Vec<String>,
    /// Proxy to this backend, with no file at all (repeatable)
    #[arg(long, value_name = "ADDRESS", requires = "listen", conflicts_with = "config")]
    pub to: Vec<String>,
}

/// `longwire check`
#[derive(Debug, Args)]
pub struct Check {
    /// The configuration
    #[arg(short, long, value_name = "FILE", default_value = "proxy.yaml")]
    pub config: PathBuf,
}

/// `longwire demo`
#[derive(Debug, Args)]
pub struct Demo {
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
pub struct Bench {
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
pub struct Echo {
    /// Listen here; port 0 = any free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9001")]
    pub bind: SocketAddr,
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

/// Messages a second; fractions are one message in several seconds.
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
    let size: ByteSize = text.parse().map_err(|_| "write a number and a unit, as in 64B or 64KiB".to_owned())?;
    match usize::try_from(size.as_u64()) {
        Ok(size) if size <= MAX_SIZE => Ok(size),
        _ => Err(format!("at most {}MiB", MAX_SIZE >> 20)),
    }
}

/// A header as it stands in a request.
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
    fn a_duration_needs_a_unit() {
        assert_eq!(duration("40s"), Ok(Duration::from_secs(40)));
        assert!(duration("40").is_err() && duration("0s").is_err() && duration("-1s").is_err());
    }

    #[test]
    fn a_load_is_read_with_its_units() {
        let bench = |line: &str| {
            let cli = Cli::try_parse_from(line.split(' '))?;
            match cli.command {
                Some(Command::Bench(bench)) => Ok(bench),
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
            "longwire bench ws://h -s 17MiB",
            "longwire bench ws://h --idle -r 1",
            "longwire bench ws://h --idle --connect",
            "longwire bench ws://h --header nonsense",
        ] {
            assert!(bench(wrong).is_err(), "{wrong}");
        }
    }
}
