//! The loop around [`Wrapper`]: signals, role.json, children and time go in, and its effects are carried out.

use std::collections::VecDeque;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::time::Duration;

use leasehold_contract::{LeadLock, ROLE_FILE, RoleFile, StatusLock, Watch, WatchEvent, read_json};
use leasehold_exec::{Claim, Effect, Input, Saying, Settings, Sight, Wrapper};
use rustix::process::{Pid, Signal, getpid, kill_process_group, set_child_subreaper};
use tokio::signal::unix::{SignalKind, signal};
use tracing::{error, info, warn};

use super::alarm::Alarm;
use super::place::{FAILED_CODE, Place, now, sight};
use super::processes::{Reaped, kill_descendants, reap};
use super::signals::Signals;
use super::{environment, guard, terminal};
use crate::args::ExecArgs;

/// So often the guard is spared when everything is killed: it then reaps, gives the terminal back, and ends by itself.
const SPARED: u32 = 10;

struct Shell<'a> {
    args: &'a ExecArgs,
    place: &'a Place<'a>,
    wrapper: Wrapper,
    /// Held until this process ends.
    status_lock: Option<StatusLock>,
    lead_lock: Option<LeadLock>,
    /// role.json as it was read while `lead.lock` was held.
    checked: Option<RoleFile>,
    /// The guard, whose process group is CMD's, and how often everything was killed since its start.
    guard: Option<(Pid, u32)>,
    exit: Option<u8>,
}

pub(super) async fn run(args: &ExecArgs, place: &Place<'_>, settings: Settings) -> io::Result<u8> {
    let mut signals = Signals::new()?;
    let mut child_ended = signal(SignalKind::child())?;
    let alarm = Alarm::new()?;
    set_child_subreaper(Some(getpid()))?;
    let mut watch = Watch::<RoleFile>::new(place.directory, ROLE_FILE);
    let mut shell = Shell {
        args,
        place,
        wrapper: Wrapper::new(settings),
        status_lock: None,
        lead_lock: None,
        checked: None,
        guard: None,
        exit: None,
    };
    shell.step(Input::Wake);
    loop {
        if let Some(code) = shell.exit {
            return Ok(code);
        }
        alarm.set(shell.wrapper.deadline())?;
        tokio::select! {
            signal = signals.next() => {
                let ends = signal == Signal::TERM || signal == Signal::INT;
                shell.step(Input::Signalled { signal: signal.as_raw(), ends });
            }
            _ = child_ended.recv() => shell.reap(),
            event = watch.next() => shell.step(Input::RoleSeen(shell.seen(event))),
            rung = alarm.rings() => {
                rung?;
                shell.step(Input::Wake);
            }
        }
    }
}

impl Shell<'_> {
    fn step(&mut self, input: Input) {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            for effect in self.wrapper.step(now(), input) {
                match self.carry_out(effect) {
                    Ok(answer) => inputs.extend(answer),
                    Err(reason) => {
                        error!("{reason}");
                        self.exit = Some(FAILED_CODE);
                        return;
                    }
                }
            }
        }
    }

    fn carry_out(&mut self, effect: Effect) -> Result<Option<Input>, String> {
        match effect {
            Effect::TryEnter => {
                self.status_lock = StatusLock::try_acquire(self.place.directory).map_err(|e| self.cannot_lock(&e))?;
                return Ok(Some(Input::Entered(self.status_lock.is_some())));
            }
            Effect::TryLock => {
                self.lead_lock = LeadLock::try_acquire(self.place.directory).map_err(|e| self.cannot_lock(&e))?;
                return Ok(Some(Input::Locked(self.lead_lock.is_some())));
            }
            Effect::CheckRole => {
                self.checked = read_json(&self.place.directory.join(ROLE_FILE)).ok();
                return Ok(Some(Input::RoleChecked(self.checked.as_ref().map_or(Sight::Nothing, sight))));
            }
            Effect::Start(claim) => match self.start(&claim) {
                Ok(guard) => {
                    terminal::give_to(guard);
                    self.guard = Some((guard, 0));
                }
                Err(reason) => {
                    error!(%reason, "cannot start the command's guard");
                    return Ok(Some(Input::StartFailed));
                }
            },
            Effect::Stop => self.signal(self.args.stop_signal.0),
            Effect::Forward(signal) => {
                if let Some(signal) = Signal::from_named_raw(signal) {
                    self.signal(signal);
                }
            }
            Effect::Kill => self.kill(),
            // Closed, not unlocked: that would free it for whatever has inherited it.
            Effect::Unlock => self.lead_lock = None,
            Effect::Exit(code) => self.exit = Some(code),
            Effect::Say(saying) => say(&saying),
        }
        Ok(None)
    }

    fn start(&self, claim: &Claim) -> io::Result<Pid> {
        let mut command = self.place.ourselves();
        command.arg("exec-guard").arg(getpid().as_raw_nonzero().to_string()).arg(claim.term.to_string());
        command.arg(guard::dead_by(claim).as_nanos().to_string()).arg("--").args(&self.args.command);
        for (name, value) in self.checked.iter().flat_map(|role| environment::of(role, self.place.directory)) {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        let child = command.process_group(0).spawn()?;
        // Not waited for by its handle: `reap` waits for all children.
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        pid.ok_or_else(|| io::Error::other("the guard has no process id"))
    }

    fn signal(&self, signal: Signal) {
        if let Some((guard, _)) = self.guard {
            // It may have ended since.
            let _ = kill_process_group(guard, signal);
        }
    }

    fn kill(&mut self) {
        let Some((guard, times)) = &mut self.guard else { return };
        *times += 1;
        let spared = (*times <= SPARED).then_some(*guard);
        kill_descendants(getpid(), spared);
    }

    fn reap(&mut self) {
        loop {
            match reap() {
                Reaped::Child(pid, code) => {
                    if self.guard.is_some_and(|(guard, _)| guard == pid) {
                        self.step(Input::Ended { code });
                    }
                }
                Reaped::Rest => return,
                Reaped::None => {
                    if self.guard.take().is_some() {
                        self.step(Input::Gone);
                    }
                    return;
                }
            }
        }
    }

    fn seen(&self, event: WatchEvent<RoleFile>) -> Sight {
        match event {
            WatchEvent::Value(role) => sight(&role),
            WatchEvent::Missing => Sight::Nothing,
            WatchEvent::Unreadable(reason) => {
                warn!(%reason, "cannot read role.json; what it said before holds until its time is over");
                Sight::Nothing
            }
        }
    }

    fn cannot_lock(&self, reason: &io::Error) -> String {
        let what = match reason.kind() {
            io::ErrorKind::NotFound => "mount the volume there that the sidecar shares, or set --directory",
            _ => "it must be writable for this user: set the pod's fsGroup, and mount it without readOnly",
        };
        format!("cannot lock a file in {}: {reason}; {what}", self.place.directory.display())
    }
}

fn say(saying: &Saying) {
    let milliseconds = |time: &Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    match saying {
        Saying::DirectoryTaken => {
            warn!("status.lock is held: another exec, or an app, uses this directory; waiting for its end");
        }
        Saying::LeadLockHeld => {
            warn!(
                "this pod leads, but lead.lock is held: something of an earlier leadership still runs; waiting for its end"
            );
        }
        Saying::NoRole => {
            warn!("there is no role.json: does the sidecar run, with --exec, and share this directory? Waiting for it");
        }
        Saying::Waiting { term, leader: Some(leader) } => {
            info!("waiting until this pod leads ({leader} leads in term {term})");
        }
        Saying::Waiting { term, leader: None } => {
            info!("waiting until this pod leads (nobody leads after term {term})")
        }
        Saying::Starting { term } => info!(term, "this pod leads: starting the command"),
        Saying::Lost { term, grace } => {
            warn!(term, grace_ms = milliseconds(grace), "this pod no longer leads: ending the command");
        }
        Saying::NotRenewed { term, grace } => {
            warn!(term, grace_ms = milliseconds(grace), "the claim was not renewed in time: ending the command");
        }
        Saying::Killing { term } => warn!(term, "the command's time is over: killing it and all its descendants"),
        Saying::CannotKill => {
            error!(
                "processes of the command survive SIGKILL (uninterruptible sleep?): lead.lock stays held, the Lease runs out"
            );
        }
        Saying::Ended { code } => info!(code, "the command and all its descendants have ended"),
    }
}
