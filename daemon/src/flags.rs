//! The flags of this process, by clap.

use std::ffi::OsStr;

use clap::builder::Resettable;
use clap::{Command, Parser};

/// Reads them. An empty environment variable counts as not set, which is what a manifest means by it (clap would read it as
/// a value); `--help` does not name it then. An invalid flag ends the process with code 2 and clap's message.
pub fn of_process<A: Parser>() -> A {
    of_process_as(|command| command)
}

/// Likewise, with another appearance of the command: what its help says, say.
pub fn of_process_as<A: Parser>(appearance: impl FnOnce(Command) -> Command) -> A {
    let is_empty = |variable: &OsStr| std::env::var_os(variable).is_some_and(|value| value.is_empty());
    let command =
        A::command().mut_args(|arg| if arg.get_env().is_some_and(is_empty) { arg.env(Resettable::Reset) } else { arg });
    A::from_arg_matches(&appearance(command).get_matches()).unwrap_or_else(|error| error.exit())
}
