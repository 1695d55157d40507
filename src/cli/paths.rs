//! The arguments of `longwire paths`.

use clap::Args;

/// `longwire paths`
#[derive(Debug, Args)]
pub struct PathsArgs {
    /// Print all that is known of these only, e.g. aws_alb
    #[arg(value_name = "NAME", conflicts_with = "markdown")]
    pub names: Vec<String>,
    /// Print them as JSON
    #[arg(long, conflicts_with = "markdown")]
    pub json: bool,
    /// Print them as a page of Markdown: docs/paths.md
    #[arg(long)]
    pub markdown: bool,
}
