//! `sidecar exec`: runs a command while role.json says that this pod leads. `leasehold_exec` decides, this carries it out.
//!
//! ```text
//!   sidecar exec          subreaper; status.lock; watches role.json; decides
//!     └─ exec-guard       subreaper, leader of CMD's process group; kills when `exec` is dead, or silent too long
//!          └─ exec-start ─execve─▶ CMD        PR_SET_PDEATHSIG: SIGKILL; inherits lead.lock
//!               └─ …      CMD's descendants, wherever they detach to
//! ```
//!
//! Each of the two that watch kills when the other does not run: `exec` kills the guard with all the rest, and the guard looks at
//! role.json itself, half a margin after `exec` had to be done. A descendant whose parent died becomes a child of the guard,
//! or of `exec`. So where a process has no child left, no descendant is left.
//!
//! The two stages are this program again: what a child must do before it becomes CMD cannot be done between fork and exec
//! without `unsafe`.

mod alarm;
mod environment;
mod guard;
mod place;
mod processes;
mod shell;
mod signals;
mod start;
mod terminal;

use leasehold_exec::{OnLost, Settings};

use crate::args::{self, ExecArgs};
use place::on_this_thread;

pub use guard::run_guard;
pub use place::{FAILED_CODE, Place};
pub use start::run_start;

/// Runs the command whenever this pod leads, until it ends by itself, or this process is asked to end. Returns the code with
/// which to end. Call it on the main thread, without a runtime.
pub fn run_exec(args: &ExecArgs, place: &Place<'_>) -> u8 {
    let on_lost = match args.on_lost {
        args::OnLost::Wait => OnLost::Wait,
        args::OnLost::Exit => OnLost::Exit,
    };
    let settings = Settings { stop_grace: args.stop_grace, on_lost };
    on_this_thread(shell::run(args, place, settings))
}
