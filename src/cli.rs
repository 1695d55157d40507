//! The command line.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand};
use jiff::SignedDuration;

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

/// A duration with a unit, as in `proxy.yaml`.
fn duration(text: &str) -> Result<Duration, String> {
    let duration: SignedDuration =
        text.parse().map_err(|_| format!("write a number and a unit, as in {text}s or 2m"))?;
    match Duration::try_from(duration) {
        Ok(duration) if !duration.is_zero() => Ok(duration),
        _ => Err("must be more than 0s".into()),
    }
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
}
