//! `longwire explain`: what the command line says of it.

use std::{path::PathBuf, time::Duration};

use clap::Args;

/// `longwire explain`
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  longwire explain /var/log/longwire/access.log\n  \
    longwire explain --since 1d access.log access.log.1.gz\n  \
    journalctl -u longwire -o cat | longwire explain\n  \
    longwire explain --route '*/ws/' --json access.log\n\n\
    A pattern is told on eight cases or more, and only if chance would make it less than once in a thousand such logs. \
    A limit on the path is found by the silences alone, whatever its length.\n\n\
    Exit codes: 0 nothing to change, 1 something was found, 2 a file cannot be read.")]
pub struct ExplainArgs {
    /// Files of records, as JSON lines or as text, also gzipped; - or none = standard input
    #[arg(value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Only what ended so long ago or later
    #[arg(long, value_name = "DURATION", value_parser = super::duration)]
    pub since: Option<Duration>,
    /// On this route only
    #[arg(long, value_name = "NAME")]
    pub route: Option<String>,
    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,
}
