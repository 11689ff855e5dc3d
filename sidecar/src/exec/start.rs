//! `exec-start`: dies with the guard, and becomes CMD.

use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use rustix::process::{Signal, getppid, set_parent_process_death_signal};

use super::place::FAILED_CODE;
use crate::args::StartArgs;

/// There is no such command, as shells have it.
const NOT_FOUND_CODE: u8 = 127;
/// It cannot be executed.
const NOT_EXECUTABLE_CODE: u8 = 126;

/// Becomes the command, or returns the code with which to end.
pub fn run_start(args: &StartArgs) -> u8 {
    if let Err(reason) = set_parent_process_death_signal(Some(Signal::KILL)) {
        eprintln!("sidecar: cannot ask the kernel to end the command with its guard: {reason}");
        return FAILED_CODE;
    }
    // The guard may have died before that.
    if getppid().map(|parent| parent.as_raw_nonzero().get()) != Some(args.parent) {
        return FAILED_CODE;
    }
    let Some((program, arguments)) = args.command.split_first() else { return FAILED_CODE };
    let reason = Command::new(program).args(arguments).exec();
    eprintln!("sidecar: cannot run {}: {reason}", program.display());
    if reason.kind() == io::ErrorKind::NotFound { NOT_FOUND_CODE } else { NOT_EXECUTABLE_CODE }
}
