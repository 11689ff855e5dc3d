//! The machine: enter, wait, check, run, and wait again.

use std::time::Duration;

use crate::claim::{Claim, Sight};
use crate::effect::{Effect, Saying};
use crate::input::Input;
use crate::run::Run;

/// The code of a wrapper that ends because its pod no longer leads (`EX_TEMPFAIL`: try again).
pub const LOST_CODE: u8 = 75;
/// The code where CMD could not be started at all.
const START_FAILED_CODE: u8 = 125;
/// How often a lock is tried again that somebody holds.
const RETRY: Duration = Duration::from_millis(50);
/// How long role.json may be missing before that is said.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the user chose.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// How long CMD has after the stop signal. None: a fifth of the Lease's duration.
    pub stop_grace: Option<Duration>,
    /// What follows when CMD was ended because its pod no longer leads.
    pub on_lost: OnLost,
}

/// What follows when CMD was ended because its pod no longer leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnLost {
    /// Wait until it leads again.
    Wait,
    /// End with [`LOST_CODE`].
    Exit,
}

/// Decides. See the crate's documentation for the rules.
#[derive(Debug)]
pub struct Wrapper {
    settings: Settings,
    phase: Phase,
    /// role.json as it was last seen.
    sight: Sight,
    /// What was said last of each kind, so that it is said once.
    said: Said,
}

#[derive(Debug)]
enum Phase {
    /// `status.lock` is not ours yet; when it is tried next. None: an answer is due.
    Entering(Option<Duration>),
    /// `lead.lock` is not ours; when it is tried next, if that is sensible then.
    Waiting(Option<Duration>),
    /// `lead.lock` was asked for; the answer is due.
    Locking,
    /// `lead.lock` is ours; what role.json says now is due.
    Checking,
    /// CMD may run.
    Running(Run),
    /// `Exit` was given.
    Over,
}

#[derive(Debug, Default)]
struct Said {
    directory_taken: bool,
    lead_lock_held: bool,
    no_role: bool,
    waiting: Option<(u64, Option<String>)>,
    /// When role.json began to be missed.
    missed_since: Option<Duration>,
}

impl Wrapper {
    /// A wrapper that has done nothing yet: step it by `Wake`.
    pub fn new(settings: Settings) -> Wrapper {
        Wrapper { settings, phase: Phase::Entering(None), sight: Sight::Nothing, said: Said::default() }
    }

    /// One step at `now` (CLOCK_BOOTTIME, since the machine's start). Carry the effects out in order, and give their answers
    /// before anything else.
    pub fn step(&mut self, now: Duration, input: Input) -> Vec<Effect> {
        let mut effects = Vec::new();
        if let Input::RoleSeen(sight) | Input::RoleChecked(sight) = &input {
            self.sight = sight.clone();
        }
        match &mut self.phase {
            Phase::Over => {}
            Phase::Entering(retry) => match input {
                Input::Entered(true) => self.wait(now, &mut effects),
                Input::Entered(false) => {
                    *retry = Some(now + RETRY);
                    say_once(&mut self.said.directory_taken, Saying::DirectoryTaken, &mut effects);
                }
                Input::Signalled { signal, ends: true } => self.end(128 + signal, &mut effects),
                Input::Wake if retry.is_none_or(|at| now >= at) => {
                    *retry = None;
                    effects.push(Effect::TryEnter);
                }
                Input::Wake
                | Input::RoleSeen(_)
                | Input::RoleChecked(_)
                | Input::Locked(_)
                | Input::StartFailed
                | Input::Ended { .. }
                | Input::Gone
                | Input::Signalled { .. } => {}
            },
            Phase::Waiting(retry) => match input {
                Input::RoleSeen(_) | Input::Wake if retry.is_none_or(|at| now >= at) => self.wait(now, &mut effects),
                Input::Signalled { signal, ends: true } => self.end(128 + signal, &mut effects),
                Input::RoleSeen(_)
                | Input::Wake
                | Input::Entered(_)
                | Input::RoleChecked(_)
                | Input::Locked(_)
                | Input::StartFailed
                | Input::Ended { .. }
                | Input::Gone
                | Input::Signalled { .. } => {}
            },
            Phase::Locking => match input {
                Input::Locked(true) => {
                    self.phase = Phase::Checking;
                    effects.push(Effect::CheckRole);
                }
                Input::Locked(false) => {
                    self.phase = Phase::Waiting(Some(now + RETRY));
                    say_once(&mut self.said.lead_lock_held, Saying::LeadLockHeld, &mut effects);
                }
                Input::Entered(_)
                | Input::RoleSeen(_)
                | Input::RoleChecked(_)
                | Input::StartFailed
                | Input::Ended { .. }
                | Input::Gone
                | Input::Signalled { .. }
                | Input::Wake => {}
            },
            Phase::Checking => match input {
                Input::RoleChecked(_) => self.checked(now, &mut effects),
                Input::Entered(_)
                | Input::RoleSeen(_)
                | Input::Locked(_)
                | Input::StartFailed
                | Input::Ended { .. }
                | Input::Gone
                | Input::Signalled { .. }
                | Input::Wake => {}
            },
            Phase::Running(run) => {
                if let Input::StartFailed = input {
                    effects.push(Effect::Unlock);
                    self.end(i32::from(START_FAILED_CODE), &mut effects);
                } else if let Some(over) = run.step(now, input, &mut effects) {
                    effects.push(Effect::Unlock);
                    match (over.was_lost, self.settings.on_lost) {
                        (false, _) => self.end(i32::from(over.code), &mut effects),
                        (true, OnLost::Exit) => self.end(i32::from(LOST_CODE), &mut effects),
                        (true, OnLost::Wait) => {
                            effects.push(Effect::Say(Saying::Ended { code: over.code }));
                            self.said = Said::default();
                            self.wait(now, &mut effects);
                        }
                    }
                }
            }
        }
        effects
    }

    /// When to step by `Wake` if nothing else happens first.
    pub fn deadline(&self) -> Option<Duration> {
        match &self.phase {
            Phase::Entering(retry) => *retry,
            Phase::Waiting(Some(retry)) => Some(*retry),
            Phase::Waiting(None) if self.said.no_role => None,
            Phase::Waiting(None) => self.said.missed_since.map(|since| since + PATIENCE),
            Phase::Running(run) => Some(run.deadline()),
            Phase::Locking | Phase::Checking | Phase::Over => None,
        }
    }

    /// Looks at what is known of role.json, and tries to lead or waits.
    fn wait(&mut self, now: Duration, effects: &mut Vec<Effect>) {
        self.phase = Phase::Waiting(None);
        if self.sight != Sight::Nothing {
            self.said.missed_since = None;
        }
        match &self.sight {
            Sight::Nothing => {
                let since = *self.said.missed_since.get_or_insert(now);
                if now >= since + PATIENCE {
                    say_once(&mut self.said.no_role, Saying::NoRole, effects);
                }
            }
            Sight::NotLeading { term, leader } => {
                let seen = Some((*term, leader.clone()));
                if self.said.waiting != seen {
                    self.said.waiting = seen;
                    effects.push(Effect::Say(Saying::Waiting { term: *term, leader: leader.clone() }));
                }
            }
            Sight::Leading(claim) if self.may_start(now, claim) => {
                self.phase = Phase::Locking;
                effects.push(Effect::TryLock);
            }
            // Too late for this claim: the renewal, or its end, changes role.json.
            Sight::Leading(_) => {}
        }
    }

    fn checked(&mut self, now: Duration, effects: &mut Vec<Effect>) {
        match &self.sight {
            Sight::Leading(claim) if self.may_start(now, claim) => {
                let claim = *claim;
                self.phase = Phase::Running(Run::new(claim, self.settings.stop_grace));
                self.said = Said::default();
                effects.push(Effect::Say(Saying::Starting { term: claim.term }));
                effects.push(Effect::Start(claim));
            }
            Sight::Leading(_) | Sight::Nothing | Sight::NotLeading { .. } => {
                effects.push(Effect::Unlock);
                self.wait(now, effects);
            }
        }
    }

    /// Not in the last part of a claim: CMD would be stopped at once.
    fn may_start(&self, now: Duration, claim: &Claim) -> bool {
        now < claim.stop_at(self.settings.stop_grace.unwrap_or(claim.usual_grace()))
    }

    fn end(&mut self, code: i32, effects: &mut Vec<Effect>) {
        self.phase = Phase::Over;
        effects.push(Effect::Exit(u8::try_from(code).unwrap_or(u8::MAX)));
    }
}

fn say_once(said: &mut bool, saying: Saying, effects: &mut Vec<Effect>) {
    if !std::mem::replace(said, true) {
        effects.push(Effect::Say(saying));
    }
}
