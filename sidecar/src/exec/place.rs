//! What all stages of `exec` have in common: where they run, on which thread, by which clock, and what role.json means to them.

use std::io;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use leasehold_contract::{Moment, RoleFile};
use leasehold_daemon::logs::LogFormat;
use leasehold_exec::{Claim, Sight};
use tracing::error;

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
    pub(super) fn ourselves(&self) -> Command {
        let mut command = Command::new("/proc/self/exe");
        let format = match self.log_format {
            LogFormat::Text => "text",
            LogFormat::Json => "json",
        };
        command.arg("--directory").arg(self.directory).args(["--log-format", format, "--log", self.log]);
        command
    }
}

/// One thread: the death of the thread that started a child counts as the parent's (PR_SET_PDEATHSIG).
pub(super) fn on_this_thread(work: impl Future<Output = io::Result<u8>>) -> u8 {
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
pub(super) fn sight(role: &RoleFile) -> Sight {
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
pub(super) fn now() -> Duration {
    Duration::from_nanos(Moment::now().boottime_ns)
}
