//! Whether a plain app is fit to lead, by what it answers or writes.
//!
//! ```text
//!   GET --health-url ──2xx?──────────┐
//!   stat --health-file ──young? ─────┴─▶ leasehold_election::Fitness ──▶ FitnessSeen
//! ```
//!
//! Here is only the looking. Whether there is anything to look at, and what a look means, decides `Fitness`; what follows from it
//! decides the election: an unfit pod lets go and contends last \[A9\].

use std::path::Path;
use std::time::{Duration, SystemTime};

use leasehold_contract::Role;
pub(crate) use leasehold_election::FAILURES_MAX;
use leasehold_election::{Fitness, Leadership, Term, annotation};
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;
use tracing::{info, warn};

use crate::args::{HealthCheck, HealthProbe};
use crate::client::Question;
use crate::clock::Clock;
use crate::state::{Health, State};

/// What is known before the first look.
pub(crate) fn before(check: &HealthCheck, is_exec: bool) -> Health {
    let failure = (!is_exec).then(|| "not checked yet".to_owned());
    Health { check: words(&check.probe), fit: is_exec, failure }
}

/// What the program that embeds the elector says of itself. An error says why it is unfit.
pub(crate) fn own_word(fitness: Result<(), String>) -> Health {
    Health { check: "the program's own word".to_owned(), fit: fitness.is_ok(), failure: fitness.err() }
}

fn leadership(state: &State) -> Leadership {
    let Some(role) = &state.role else { return Leadership::None };
    let lease = state.lease.as_ref();
    let is_unfit = lease.is_some_and(|lease| lease.annotations.contains_key(annotation::UNFIT));
    let seconds = lease.and_then(|lease| lease.duration_seconds).unwrap_or_default();
    let duration = Duration::from_secs(seconds.into());
    match role.role {
        Role::Leader => Leadership::Own(Term(role.term)),
        Role::Follower if role.leader.is_some() => Leadership::Another { term: Term(role.term), is_unfit, duration },
        Role::Follower | Role::None => Leadership::None,
    }
}

/// Looks forever, once a period. `state` under `exec`, where a command runs only while its pod leads; `lease_duration` is the time
/// that it has to start.
pub(crate) async fn run(
    check: HealthCheck,
    state: Option<watch::Receiver<State>>,
    lease_duration: Duration,
    shown: watch::Sender<Option<Health>>,
) {
    let mut fitness = match &state {
        Some(_) => Fitness::under_exec(lease_duration, check.period),
        None => Fitness::of_an_app(),
    };
    let clock = Clock::start();
    let mut is_known = false;
    let mut ticks = tokio::time::interval(check.period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let was_fit = fitness.is_fit();
        let seen = state.as_ref().map_or(Leadership::None, |state| leadership(&state.borrow()));
        let looked = if fitness.begins(clock.now(), seen) { Some(look(&check).await) } else { None };
        if let Some(looked) = &looked {
            fitness.note(clock.now(), looked.is_ok());
        }
        let has_looked = looked.is_some();
        let failure = looked.and_then(Result::err);
        let (is_fit, check) = (fitness.is_fit(), words(&check.probe));
        match &failure {
            None if !was_fit && is_fit => info!(%check, "the app is fit to lead"),
            Some(reason) if was_fit && !is_fit => {
                warn!(%check, %reason, "the app is unfit to lead: it failed {FAILURES_MAX} times in a row");
            }
            Some(reason) if !is_known => info!(%check, %reason, "the app is not fit to lead yet"),
            None | Some(_) => {}
        }
        is_known |= has_looked;
        shown.send_if_modified(|shown| {
            // An unfit one is not looked at where its pod does not lead: then it says why it was.
            let last = shown.as_ref().and_then(|last| last.failure.clone()).filter(|_| !is_fit);
            let health = Some(Health { check, fit: is_fit, failure: failure.or(last) });
            let is_new = *shown != health;
            *shown = health;
            is_new
        });
    }
}

fn words(probe: &HealthProbe) -> String {
    match probe {
        HealthProbe::Url(url) => format!("GET {url}"),
        HealthProbe::File { path, age_max } => format!("{}, at most {age_max:?} old", path.display()),
    }
}

/// One look, which takes a period at most. An error says why the app did not pass.
async fn look(check: &HealthCheck) -> Result<(), String> {
    match &check.probe {
        HealthProbe::Url(url) => {
            let answer = Question::get().ask(url, check.period, 0).await.map_err(|error| error.to_string())?;
            if answer.is_success() { Ok(()) } else { Err(format!("status {}", answer.status)) }
        }
        HealthProbe::File { path, age_max } => {
            let modified = tokio::time::timeout(check.period, modified(path)).await;
            let modified = modified.map_err(|_| format!("it cannot be looked at within {:?}", check.period))?;
            judge_age(modified.map_err(|error| error.to_string())?, SystemTime::now(), *age_max)
        }
    }
}

async fn modified(path: &Path) -> std::io::Result<SystemTime> {
    tokio::fs::metadata(path).await?.modified()
}

fn judge_age(modified: SystemTime, now: SystemTime, age_max: Duration) -> Result<(), String> {
    match now.duration_since(modified) {
        Ok(age) if age <= age_max => Ok(()),
        Ok(age) => Err(format!("it was written {} ms ago", age.as_millis())),
        // Clocks are set back by a little at times. But a file of next year would pass for a year.
        Err(ahead) if ahead.duration() <= age_max => Ok(()),
        Err(ahead) => Err(format!("its time is {} ms ahead of the clock", ahead.duration().as_millis())),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_file_must_be_young_and_not_of_the_future() {
        let (now, max) = (SystemTime::now(), Duration::from_secs(10));
        for (seconds, is_young) in [(0, true), (10, true), (11, false)] {
            let age = Duration::from_secs(seconds);
            assert_eq!(judge_age(now - age, now, max).is_ok(), is_young, "{seconds} s ago");
            assert_eq!(judge_age(now + age, now, max).is_ok(), is_young, "in {seconds} s");
        }
    }

    #[tokio::test]
    async fn a_missing_file_is_unfit_and_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("alive");
        let probe = HealthProbe::File { path: path.clone(), age_max: Duration::from_secs(60) };
        let check = HealthCheck { probe, period: Duration::from_secs(20) };
        assert!(look(&check).await.unwrap_err().contains("No such file"), "{:?}", look(&check).await);
        std::fs::write(&path, "").unwrap();
        assert_eq!(look(&check).await, Ok(()));
    }
}
