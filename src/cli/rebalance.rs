//! `longwire rebalance`

use std::time::Duration;

use clap::{ArgGroup, Args};

use super::{AdminArgs, backend, duration};

/// `longwire rebalance`
#[derive(Debug, Args)]
#[command(
    group = ArgGroup::new("what").required(true),
    after_help = "Examples:\n  longwire rebalance --share 20% --over 10m\n  longwire rebalance --sessions 5000 --dry-run\n  \
        longwire rebalance --surplus-over 20000\n  longwire rebalance --fleet --over 30m\n  \
        longwire rebalance --share 30% --backend chat/127.0.0.1:9001\n  longwire rebalance --status\n  \
        longwire rebalance --stop\n\n\
        Their clients read 1012 and connect again, to wherever the load balancer sends them. With --backend they stay with this \
        longwire, and on a route with hold they notice nothing."
)]
pub struct RebalanceArgs {
    /// This part of the sessions that live now: 20% or 0.2
    #[arg(long, value_name = "SHARE", group = "what", value_parser = share)]
    pub share: Option<f64>,
    /// So many of them
    #[arg(long, value_name = "N", group = "what", value_parser = clap::value_parser!(u32).range(..=1_000_000_000))]
    pub sessions: Option<u32>,
    /// All but so many of them
    #[arg(long, value_name = "N", group = "what", value_parser = clap::value_parser!(u32).range(..=1_000_000_000))]
    pub surplus_over: Option<u32>,
    /// Those beyond the mean of the instances that share limits (`fleet` of the file)
    #[arg(long, group = "what", conflicts_with = "backend")]
    pub fleet: bool,
    /// Show how the last rebalance stands
    #[arg(long, group = "what", conflicts_with_all = ["backend", "over", "dry_run", "detach"])]
    pub status: bool,
    /// Let those sessions stay that have not left yet
    #[arg(long, group = "what", conflicts_with_all = ["backend", "over", "dry_run", "detach"])]
    pub stop: bool,
    /// Those of this backend only: they leave it, and not longwire
    #[arg(long, value_name = "UPSTREAM/ADDRESS", value_parser = backend)]
    pub backend: Option<(String, String)>,
    /// One by one, over so long; at most a day [default: 10m]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub over: Option<Duration>,
    /// Tell nobody, and say who would be told
    #[arg(long)]
    pub dry_run: bool,
    /// Do not wait until all have left; waited is only on a terminal
    #[arg(long)]
    pub detach: bool,
    #[command(flatten)]
    #[allow(missing_docs, reason = "would be the help of the verb")]
    pub interface: AdminArgs,
}

/// A part, from more than 0 to 1, or in per cent.
fn share(text: &str) -> Result<f64, String> {
    let (number, whole) = text.strip_suffix('%').map_or((text, 1.0), |number| (number, 100.0));
    match number.trim_end().parse::<f64>().map(|number| number / whole) {
        Ok(share) if share > 0.0 && share <= 1.0 => Ok(share),
        Ok(share) if share > 1.0 && whole < 100.0 => Err(format!("write {number}% for a part of a hundred")),
        _ => Err("write a part of all, such as 20% or 0.2".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_a_part_or_per_cent() {
        for (text, expected) in [("20%", 0.2), ("0.2", 0.2), ("100%", 1.0), ("1", 1.0), ("0.5 %", 0.005)] {
            assert_eq!(share(text), Ok(expected), "{text}");
        }
        assert_eq!(share("20"), Err("write 20% for a part of a hundred".to_owned()));
        for wrong in ["0", "0%", "-1%", "101%", "NaN", "inf", "%", "a fifth", ""] {
            assert!(share(wrong).is_err(), "{wrong}");
        }
    }
}
