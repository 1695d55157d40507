//! Completions for a shell and pages of the manual, made from the verbs and flags of the command line.

use std::io;

use clap::CommandFactory as _;
use clap_complete::Shell;

use super::Cli;

/// The script that completes `longwire` in this shell.
#[must_use]
pub fn completions(shell: Shell) -> Vec<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "longwire", &mut script);
    script
}

/// The page of the manual for `longwire`, or for one of its verbs; `None` = no verb has this name.
///
/// # Errors
/// Never: the page is written to memory.
pub fn manual(verb: Option<&str>) -> io::Result<Option<Vec<u8>>> {
    let mut command = Cli::command();
    // Gives each verb its full name, `longwire-run`.
    command.build();
    let command = match verb {
        Some(verb) => command.find_subcommand(verb).cloned(),
        None => Some(command),
    };
    let Some(command) = command else {
        return Ok(None);
    };
    let mut page = Vec::new();
    let source = concat!("longwire ", env!("CARGO_PKG_VERSION"));
    clap_mangen::Man::new(command).source(source).render(&mut page)?;
    Ok(Some(page))
}

/// The verbs, by name.
#[must_use]
pub fn verbs() -> Vec<String> {
    Cli::command().get_subcommands().map(|verb| verb.get_name().to_owned()).collect()
}
