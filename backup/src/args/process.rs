//! The flags of this process. As `leasehold_daemon::flags`, and for flags of commands, which all of these are.

use super::Args;
use clap::builder::Resettable;
use clap::error::{ContextKind, ContextValue, Error};
use clap::{Command, CommandFactory as _, FromArgMatches as _};
use std::ffi::OsStr;

impl Args {
    /// Reads them. An empty environment variable counts as not set. An invalid flag ends the process with code 2 and clap's
    /// message, which names the variable of a flag that is missing.
    pub fn of_process() -> Args {
        let command = without_empty(Args::command());
        let matches = command.try_get_matches().unwrap_or_else(|error| with_variables(error).exit());
        Args::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
    }
}

fn without_empty(command: Command) -> Command {
    let is_empty = |variable: &OsStr| std::env::var_os(variable).is_some_and(|value| value.is_empty());
    let reset = |arg: clap::Arg| {
        if arg.get_env().is_some_and(is_empty) { arg.env(Resettable::Reset) } else { arg }
    };
    command.mut_args(reset).mut_subcommands(without_empty)
}

/// `--url <URL>` becomes `--url <URL> (or BACKUP_URL)`.
fn with_variables(mut error: Error) -> Error {
    if let Some(ContextValue::Strings(missing)) = error.get(ContextKind::InvalidArg) {
        let named = missing.iter().map(|flag| match variable_of(flag) {
            Some(variable) => format!("{flag} (or {variable})"),
            None => flag.clone(),
        });
        let named = ContextValue::Strings(named.collect());
        error.insert(ContextKind::InvalidArg, named);
    }
    error
}

fn variable_of(flag: &str) -> Option<String> {
    let long = flag.strip_prefix("--")?.split(' ').next()?;
    let command = Args::command();
    let mut args = command.get_subcommands().flat_map(Command::get_arguments);
    let variable = args.find(|arg| arg.get_long() == Some(long))?.get_env()?;
    variable.to_str().map(str::to_owned)
}
