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
mod processes;
mod shell;
mod signals;
mod start;
mod terminal;

use std::io;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use leasehold_contract::{Moment, RoleFile};
use leasehold_daemon::logs::LogFormat;
use leasehold_exec::{Claim, OnLost, Settings, Sight};
use tracing::error;

use crate::args::{self, ExecArgs};

pub use guard::run_guard;
pub use start::run_start;

/// The code where `exec` itself cannot do its work.
pub const FAILED_CODE: u8 = 125;

/// Where `exec` runs, and how it logs.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The directory that sidecar and app share.
    pub directory: &'a Path,
    /// The format of log lines.
    pub log_format: LogFormat,
    /// Which are written.
    pub log: &'a str,
}

impl Place<'_> {
    /// This program again, in the same place.
    fn ourselves(&self) -> Command {
        let mut command = Command::new("/proc/self/exe");
        let format = match self.log_format {
            LogFormat::Text => "text",
            LogFormat::Json => "json",
        };
        command.arg("--directory").arg(self.directory).args(["--log-format", format, "--log", self.log]);
        command
    }
}

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

/// One thread: the death of the thread that started a child counts as the parent's (PR_SET_PDEATHSIG).
fn on_this_thread(work: impl Future<Output = io::Result<u8>>) -> u8 {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime.and_then(|runtime| runtime.block_on(work)) {
        Ok(code) => code,
        Err(reason) => {
            error!("{reason}");
            FAILED_CODE
        }
    }
}

/// What role.json means now.
fn sight(role: &RoleFile) -> Sight {
    let valid_until = role.lease.valid_until_boottime_ns.map(Duration::from_nanos);
    match valid_until {
        Some(valid_until) if role.leads(Moment::now()) => Sight::Leading(Claim {
            term: role.term,
            valid_until,
            duration: Duration::from_millis(role.lease.duration_ms),
        }),
        _ => {
            // An own claim that is over names nobody.
            let leads = role.leader.as_ref().filter(|leader| leader.name != role.self_name);
            Sight::NotLeading { term: role.term, leader: leads.map(|leader| leader.name.clone()) }
        }
    }
}

/// This moment on CLOCK_BOOTTIME.
fn now() -> Duration {
    Duration::from_nanos(Moment::now().boottime_ns)
}
