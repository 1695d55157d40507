//! `longwire`: parses the command line, runs the command, and returns its exit code.

use std::process::ExitCode;

use clap::Parser as _;
use longwire::{
    cli::{Cli, Command},
    commands,
};

fn main() -> ExitCode {
    if let Some(code) = commands::stand_between() {
        return code;
    }
    let cli = Cli::parse();
    if cli.version {
        return commands::version(cli.verbose);
    }
    match cli.command.unwrap_or(Command::Run(cli.run)) {
        Command::Run(options) => commands::run(&options),
        Command::Check(options) => commands::check(&options),
        Command::Demo(options) => commands::demo(&options),
        Command::Bench(options) => commands::bench(options),
        Command::Probe(options) => commands::probe(options),
        Command::Echo(options) => commands::echo(&options),
        Command::Explain(options) => commands::explain(options),
        Command::Status(options) => commands::status(options),
        Command::Sessions(options) => commands::sessions(options),
        Command::Kill(options) => commands::kill(options),
        Command::Drain(options) => commands::drain(options),
        Command::Rebalance(options) => commands::rebalance(options),
        Command::Debug(options) => commands::debug(options),
        Command::Reload(options) => commands::reload(options),
        Command::Import(options) => commands::import(&options),
        Command::Schema(options) => commands::schema(&options),
        Command::Paths(options) => commands::paths(&options),
        Command::Completions(options) => commands::completions(&options),
        Command::Man(options) => commands::man(&options),
    }
}
