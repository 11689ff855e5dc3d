//! What `exec` is asked to do, and what it passes on to the two stages between itself and its command.

use std::ffi::OsString;
use std::time::Duration;

use clap::{Args, ValueEnum};
use leasehold_daemon::durations;
use rustix::process::Signal;

/// `exec`.
#[derive(Debug, Clone, Args)]
pub struct ExecArgs {
    /// The signal that asks the command to end when this pod no longer leads.
    #[arg(long, value_name = "SIGNAL", default_value = "TERM", value_parser = StopSignal::parse)]
    pub stop_signal: StopSignal,
    /// How long the command has after that signal, as far as the claim lasts [default: a fifth of the Lease's duration].
    #[arg(long, value_name = "TIME", value_parser = durations::parse)]
    pub stop_grace: Option<Duration>,
    /// What follows when the command was ended because this pod no longer leads.
    #[arg(long, value_enum, default_value = "wait")]
    pub on_lost: OnLost,
    /// The command and its arguments.
    #[arg(last = true, required = true, value_name = "CMD")]
    pub command: Vec<OsString>,
}

/// What follows when the command was ended because this pod no longer leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OnLost {
    /// Wait until it leads again, and start the command anew.
    Wait,
    /// End with code 75.
    Exit,
}

/// `exec-guard`.
#[derive(Debug, Clone, Args)]
pub struct GuardArgs {
    /// The process that started it.
    pub parent: i32,
    /// The term in which the command runs.
    pub term: u64,
    /// When everything must be dead unless the claim is renewed: nanoseconds of CLOCK_BOOTTIME.
    pub dead_by_ns: u64,
    /// The command and its arguments.
    #[arg(last = true, required = true)]
    pub command: Vec<OsString>,
}

/// `exec-start`.
#[derive(Debug, Clone, Args)]
pub struct StartArgs {
    /// The process that started it.
    pub parent: i32,
    /// The command and its arguments.
    #[arg(last = true, required = true)]
    pub command: Vec<OsString>,
}

/// A signal that `exec` may send, and that it passes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StopSignal(pub Signal);

impl StopSignal {
    /// Every one of them, by the name without SIG.
    pub const ALL: [(&'static str, Signal); 11] = [
        ("HUP", Signal::HUP),
        ("INT", Signal::INT),
        ("QUIT", Signal::QUIT),
        ("ABRT", Signal::ABORT),
        ("USR1", Signal::USR1),
        ("USR2", Signal::USR2),
        ("ALRM", Signal::ALARM),
        ("TERM", Signal::TERM),
        ("CONT", Signal::CONT),
        ("PWR", Signal::POWER),
        ("WINCH", Signal::WINCH),
    ];

    /// `TERM`, `SIGTERM`, `15`.
    fn parse(text: &str) -> Result<StopSignal, String> {
        let name = text.to_ascii_uppercase();
        let name = name.strip_prefix("SIG").unwrap_or(&name);
        let is_it = |(known, signal): &&(&str, Signal)| *known == name || signal.as_raw().to_string() == name;
        StopSignal::ALL.iter().find(is_it).map(|(_, signal)| StopSignal(*signal)).ok_or_else(|| {
            let names: Vec<_> = StopSignal::ALL.iter().map(|(name, _)| *name).collect();
            format!("not a signal that can be sent here; one of {}", names.join(", "))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_has_a_name_with_or_without_sig_or_a_number() {
        for text in ["TERM", "SIGTERM", "sigterm", "15"] {
            assert_eq!(StopSignal::parse(text), Ok(StopSignal(Signal::TERM)), "{text}");
        }
        for text in ["", "KILL", "STOP", "SIG", "99", "TERMINATE"] {
            assert!(StopSignal::parse(text).is_err_and(|reason| reason.contains("WINCH")), "{text}");
        }
    }
}
