//! One run of CMD, from its start until nothing of it is left.

use std::time::Duration;

use crate::claim::{Claim, Sight};
use crate::effect::{Effect, Saying};
use crate::input::Input;

/// How soon everything that is left is killed again: what is forked meanwhile must die, too.
const KILL_AGAIN: Duration = Duration::from_millis(20);
/// How seldom that happens at last, where SIGKILL does not help.
const KILL_SELDOM: Duration = Duration::from_secs(1);
/// How long SIGKILL may take before that is said.
const KILL_PATIENCE: Duration = Duration::from_secs(2);
/// The code of what was killed.
const KILLED: u8 = 128 + 9;

/// A run of CMD.
#[derive(Debug)]
pub(crate) struct Run {
    /// The claim by which it runs, as it was last renewed. Not renewed after the stop.
    claim: Claim,
    /// How long CMD has after the stop signal.
    grace: Duration,
    /// Set once: CMD got the stop signal, and is killed at that moment.
    stopped: Option<Duration>,
    /// Set once: CMD ended by itself or by a signal.
    ended: Option<u8>,
    /// Somebody asked the wrapper to end: it does, with CMD's code.
    asked_to_end: bool,
    killing: Option<Killing>,
}

#[derive(Debug)]
struct Killing {
    since: Duration,
    again_at: Duration,
    said: bool,
}

/// How a run ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Over {
    /// CMD's code.
    pub(crate) code: u8,
    /// CMD was ended because the leadership was over, and nobody asked the wrapper to end.
    pub(crate) was_lost: bool,
}

impl Run {
    pub(crate) fn new(claim: Claim, grace: Option<Duration>) -> Run {
        let grace = grace.unwrap_or(claim.usual_grace());
        Run { claim, grace, stopped: None, ended: None, asked_to_end: false, killing: None }
    }

    pub(crate) fn step(&mut self, now: Duration, input: Input, effects: &mut Vec<Effect>) -> Option<Over> {
        match input {
            Input::RoleSeen(sight) | Input::RoleChecked(sight) => self.see(now, sight, effects),
            Input::Ended { code } => {
                // So late it was ended, whoever did it while this machine did not run.
                if self.stopped.is_none() && now >= self.claim.kill_at() {
                    self.stopped = Some(now);
                }
                self.ended = Some(code);
            }
            Input::Gone => {
                let was_lost = self.stopped.is_some() && !self.asked_to_end;
                return Some(Over { code: self.ended.unwrap_or(KILLED), was_lost });
            }
            Input::Signalled { signal, ends } => {
                self.asked_to_end |= ends;
                effects.push(Effect::Forward(signal));
            }
            // StartFailed is the wrapper's.
            Input::StartFailed | Input::Entered(_) | Input::Locked(_) | Input::Wake => {}
        }
        self.tick(now, effects);
        None
    }

    pub(crate) fn deadline(&self) -> Duration {
        match (&self.killing, self.stopped) {
            (Some(killing), _) => killing.again_at,
            (None, Some(kill_at)) => kill_at,
            (None, None) => self.claim.stop_at(self.grace),
        }
    }

    fn see(&mut self, now: Duration, sight: Sight, effects: &mut Vec<Effect>) {
        // A CMD that ended by itself is not lost to a change that came later; and nothing undoes a stop.
        if self.stopped.is_some() || self.ended.is_some() {
            return;
        }
        match sight {
            Sight::Leading(claim) if claim.term == self.claim.term => self.claim = claim,
            Sight::Leading(_) | Sight::NotLeading { .. } => {
                let grace = self.stop(now);
                effects.push(Effect::Say(Saying::Lost { term: self.claim.term, grace }));
                effects.push(Effect::Stop);
            }
            Sight::Nothing => {}
        }
    }

    /// How long CMD has from now on.
    fn stop(&mut self, now: Duration) -> Duration {
        let kill_at = self.claim.kill_at().min(now + self.grace);
        self.stopped = Some(kill_at);
        kill_at.saturating_sub(now)
    }

    fn tick(&mut self, now: Duration, effects: &mut Vec<Effect>) {
        if self.stopped.is_none() && self.ended.is_none() && now >= self.claim.stop_at(self.grace) {
            let grace = self.stop(now);
            effects.push(Effect::Say(Saying::NotRenewed { term: self.claim.term, grace }));
            effects.push(Effect::Stop);
        }
        let is_over = self.stopped.is_some_and(|kill_at| now >= kill_at);
        if self.killing.is_none() && (is_over || self.ended.is_some()) {
            self.killing = Some(Killing { since: now, again_at: now, said: false });
            if self.ended.is_none() {
                effects.push(Effect::Say(Saying::Killing { term: self.claim.term }));
            }
        }
        if let Some(killing) = self.killing.as_mut().filter(|killing| now >= killing.again_at) {
            effects.push(Effect::Kill);
            let so_far = now.saturating_sub(killing.since);
            killing.again_at = now + (so_far / 8).clamp(KILL_AGAIN, KILL_SELDOM);
            if so_far >= KILL_PATIENCE && !std::mem::replace(&mut killing.said, true) {
                effects.push(Effect::Say(Saying::CannotKill));
            }
        }
    }
}
