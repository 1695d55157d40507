//! `longwire probe`

use std::{ops::RangeInclusive, path::PathBuf, time::Duration};

use clap::Args;
use hyper::header::{HeaderName, HeaderValue};

use super::{duration, header};
use crate::tools::opening::Target;

/// `longwire probe`
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  longwire probe wss://chat.example.com/ws\n  \
    longwire probe wss://chat.example.com/ws --quick -c /etc/longwire/proxy.yaml\n  \
    longwire probe wss://chat.example.com/ws --max 1h --life --interval 25s --json\n  \
    longwire probe wss://chat.example.com/.well-known/longwire-probe --token-file probe.token\n\n\
    Opens sockets beside each other, at most 64 and 10 new ones a second, which are silent for times around the known \
    limits, and finds out which of them die, when and how. Behind the URL must be an echo, or the far end of another \
    longwire (`probe` in its file), which obeys orders, so that both directions are tested.\n\n\
    Exits with 0 if the interval of pings outlives the path, 1 if it does not, 3 if it could not be tested.")]
pub struct ProbeArgs {
    /// ws://HOST:PORT/PATH or wss://HOST:PORT/PATH
    pub url: Target,
    /// Test only silences, up to 125 s, in 130 s
    #[arg(long, conflicts_with_all = ["max", "life"])]
    pub quick: bool,
    /// The longest time that everything may take [default: 10m]
    #[arg(long, value_name = "DURATION", value_parser = silence)]
    pub max: Option<Duration>,
    /// Hold a busy socket to the end of the time, to find the longest life
    #[arg(long)]
    pub life: bool,
    /// The interval of pings to judge [default: 25s, which longwire has by itself]
    #[arg(long, value_name = "DURATION", value_parser = duration, conflicts_with = "config")]
    pub interval: Option<Duration>,
    /// Judge the interval that this configuration has for the URL
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// File of the token for the far end of another longwire
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Try these silences first, and not those around the known limits
    #[arg(long, value_name = "DURATION,…", value_parser = silence, value_delimiter = ',')]
    pub idle_times: Vec<Duration>,
    /// Multiply all built-in times by this, for tests of a path with short limits
    #[arg(long, value_name = "FACTOR", default_value = "1", value_parser = scale)]
    pub scale: f64,
    /// Offer this subprotocol (repeatable)
    #[arg(long, value_name = "NAME")]
    pub subprotocol: Vec<String>,
    /// Send this header with the handshake (repeatable)
    #[arg(long, value_name = "NAME: VALUE", value_parser = header)]
    pub header: Vec<(HeaderName, HeaderValue)>,
    /// Believe any certificate
    #[arg(long)]
    pub insecure: bool,
    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,
}

/// The shortest silence that says more of a path than of this machine, and the longest that anybody waits for.
const SILENCES: RangeInclusive<Duration> = Duration::from_millis(50)..=Duration::from_secs(24 * 60 * 60);

/// A time for which sockets may be silent.
fn silence(text: &str) -> Result<Duration, String> {
    let silence = duration(text)?;
    if SILENCES.contains(&silence) { Ok(silence) } else { Err("write a duration from 50ms to 24h".to_owned()) }
}

/// By what times are multiplied.
fn scale(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(scale) if (0.001..=10.0).contains(&scale) => Ok(scale),
        _ => Err("write a number from 0.001 to 10, as in 0.1".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::{Cli, Command};

    fn probe(line: &str) -> Result<ProbeArgs, clap::Error> {
        match Cli::try_parse_from(line.split(' '))?.command {
            Some(Command::Probe(probe)) => Ok(probe),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_probe_is_read_with_its_times() {
        let args = probe("longwire probe ws://h/ws --idle-times 1s,250ms --scale 0.1 --max 1h --interval 24s --json");
        let args = args.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(args.idle_times, [Duration::from_secs(1), Duration::from_millis(250)]);
        let times = (args.scale, args.max, args.interval);
        assert_eq!(times, (0.1, Some(Duration::from_secs(3600)), Some(Duration::from_secs(24))));
        for wrong in [
            "longwire probe",
            "longwire probe http://h/",
            "longwire probe ws://h --scale 0",
            "longwire probe ws://h --scale NaN",
            "longwire probe ws://h --idle-times 1,2",
            "longwire probe ws://h --idle-times 0s",
            "longwire probe ws://h --idle-times 1ns",
            "longwire probe ws://h --idle-times 9000000000000000000s",
            "longwire probe ws://h --max 9000000000000000000s --scale 0.1",
            "longwire probe ws://h --interval 5",
            "longwire probe ws://h --interval 5s -c proxy.yaml",
            "longwire probe ws://h --quick --max 1h",
            "longwire probe ws://h --quick --life",
        ] {
            assert!(probe(wrong).is_err(), "{wrong}");
        }
    }
}
