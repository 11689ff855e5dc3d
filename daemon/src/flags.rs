//! The flags of this process, by clap.

use std::ffi::OsStr;

use clap::Parser;
use clap::builder::Resettable;

/// Reads them. An empty environment variable counts as not set, which is what a manifest means by it (clap would read it as
/// a value); `--help` does not name it then. An invalid flag ends the process with code 2 and clap's message.
pub fn of_process<A: Parser>() -> A {
    let is_empty = |variable: &OsStr| std::env::var_os(variable).is_some_and(|value| value.is_empty());
    let command =
        A::command().mut_args(|arg| if arg.get_env().is_some_and(is_empty) { arg.env(Resettable::Reset) } else { arg });
    A::from_arg_matches(&command.get_matches()).unwrap_or_else(|error| error.exit())
}
