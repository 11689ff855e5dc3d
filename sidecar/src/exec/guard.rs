//! `exec-guard`: CMD's parent, the leader of its process group, and the one that kills where `exec` cannot.
//!
//! It kills everything when `exec` is dead (the kernel sends SIGTERM then), and when the claim is over and role.json, which it
//! reads itself at that moment, has no later one of the same term: then `exec` should have killed, and did not run. It ends with
//! CMD's code, when no descendant is left.

use std::io;
use std::path::Path;
use std::time::Duration;

use leasehold_contract::{ROLE_FILE, RoleFile, read_json};
use leasehold_exec::{Sight, margin};
use rustix::process::{
    Pid, Signal, getpgid, getpgrp, getpid, getppid, kill_process, set_child_subreaper, set_parent_process_death_signal,
};
use tokio::signal::unix::{SignalKind, signal};
use tracing::warn;

use super::alarm::Alarm;
use super::place::{FAILED_CODE, Place, now, on_this_thread, sight};
use super::processes::{Reaped, kill_descendants, reap};
use super::signals::Signals;
use super::terminal;
use crate::args::GuardArgs;

/// How soon everything that is left is killed again.
const KILL_AGAIN: Duration = Duration::from_millis(20);
/// How seldom that happens at last, where SIGKILL does not help.
const KILL_SELDOM: Duration = Duration::from_secs(1);

/// Starts the command and guards it. Returns the code with which to end.
pub fn run_guard(args: &GuardArgs, place: &Place<'_>) -> u8 {
    on_this_thread(guard(args, place))
}

/// The latest moment at which everything must be dead; half a margin is left of the claim.
pub(super) fn dead_by(claim: &leasehold_exec::Claim) -> Duration {
    claim.valid_until.saturating_sub(margin(claim.duration) / 2)
}

async fn guard(args: &GuardArgs, place: &Place<'_>) -> io::Result<u8> {
    // Before anything is started: what is received from here on does not end this process.
    let mut signals = Signals::new()?;
    let mut child_ended = signal(SignalKind::child())?;
    let alarm = Alarm::new()?;
    set_child_subreaper(Some(getpid()))?;
    set_parent_process_death_signal(Some(Signal::TERM))?;
    let mut dead_by = Duration::from_nanos(args.dead_by_ns);
    if is_orphan(args) || now() >= dead_by {
        return Ok(FAILED_CODE);
    }
    terminal::wait_for_foreground().await;
    let mut start = place.ourselves();
    start.arg("exec-start").arg(getpid().as_raw_nonzero().to_string()).arg("--").args(&args.command);
    let mut early = signals.arrived().await;
    let command = start.spawn()?;
    let command = i32::try_from(command.id()).ok().and_then(Pid::from_raw);
    // What was sent to the group before CMD was in it. It is not CMD yet, so it makes no difference if it gets one twice.
    early.extend(signals.arrived().await);
    for signal in early {
        let _ = command.map(|command| kill_process(command, signal));
    }
    let mut code = None;
    // The signal that says so may be among the early ones.
    let mut kills = is_orphan(args);
    let mut pause = KILL_AGAIN;
    loop {
        if kills || code.is_some() {
            kill_descendants(getpid(), None);
            alarm.set(Some(now() + pause))?;
            pause = (pause + pause / 4).min(KILL_SELDOM);
        } else {
            alarm.set(Some(dead_by))?;
        }
        tokio::select! {
            signal = signals.next() => {
                let is_orphan = is_orphan(args);
                if is_orphan && !kills {
                    warn!("exec is dead: killing the command and all its descendants");
                }
                kills |= is_orphan;
                if let Some(command) = command.filter(|_| !is_orphan && code.is_none()) {
                    pass_on(signal, command);
                }
            }
            _ = child_ended.recv() => loop {
                match reap() {
                    Reaped::Child(pid, its_code) if Some(pid) == command => code = Some(its_code),
                    Reaped::Child(..) => {}
                    Reaped::Rest => break,
                    Reaped::None => {
                        if let Some(exec) = getppid().filter(|_| !is_orphan(args)) {
                            terminal::give_back_to(exec);
                        }
                        return Ok(code.unwrap_or(FAILED_CODE));
                    }
                }
            },
            rung = alarm.rings() => {
                rung?;
                if !kills && code.is_none() && now() >= dead_by {
                    match renewed(place.directory, args.term) {
                        Some(later) if now() < later => dead_by = later,
                        _ => {
                            warn!(term = args.term, "the claim is over and exec is silent: killing the command");
                            kills = true;
                        }
                    }
                }
            }
        }
    }
}

/// The process that started this one is dead.
fn is_orphan(args: &GuardArgs) -> bool {
    getppid().map(|parent| parent.as_raw_nonzero().get()) != Some(args.parent)
}

/// What is sent to the group does not reach a command that left it (setsid).
fn pass_on(signal: Signal, command: Pid) {
    if getpgid(Some(command)).is_ok_and(|group| group != getpgrp()) {
        // It may have ended since.
        let _ = kill_process(command, signal);
    }
}

/// By when everything must be dead by the claim that role.json has now.
fn renewed(directory: &Path, term: u64) -> Option<Duration> {
    let role: RoleFile = read_json(&directory.join(ROLE_FILE)).ok()?;
    match sight(&role) {
        Sight::Leading(claim) if claim.term == term => Some(dead_by(&claim)),
        Sight::Leading(_) | Sight::NotLeading { .. } | Sight::Nothing => None,
    }
}
