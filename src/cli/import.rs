//! `longwire import`.

use std::path::PathBuf;

use clap::Args;

/// `longwire import`
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  longwire import /etc/nginx/nginx.conf > proxy.yaml\n  \
    longwire import /etc/haproxy/haproxy.cfg -o proxy.yaml\n  longwire import --report /etc/nginx/sites-enabled/chat\n  \
    longwire import --report --json nginx.conf\n\n\
    What has no counterpart in longwire becomes a comment with its file and line. What is wrong with the original goes to \
    standard error, or with --report to standard output.\n\n\
    Exits with 1 at a syntax error, a loop of includes or a file that is missing. A gap or a remark is no error.")]
pub struct ImportArgs {
    /// The configuration of nginx or HAProxy
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Which of the two it is; without it the content says so
    #[arg(long, value_name = "PROGRAM", value_parser = ["nginx", "haproxy"])]
    pub from: Option<String>,
    /// Write to this file, which must not be there yet; without it to standard output
    #[arg(short, long, value_name = "FILE", conflicts_with = "report")]
    pub output: Option<PathBuf>,
    /// Only say what is wrong with the original for WebSockets
    #[arg(long)]
    pub report: bool,
    /// Print the report as JSON
    #[arg(long, requires = "report")]
    pub json: bool,
}
