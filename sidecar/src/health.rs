//! Whether a plain app is fit to lead, by what it answers or writes.
//!
//! ```text
//!   GET --health-url ──2xx?──────────┐
//!   stat --health-file ──young? ─────┴─▶ Count (three failures in a row: unfit; one success: fit) ──▶ FitnessSeen
//! ```
//!
//! It is unfit until the first success: an app that still starts must not be chosen. What follows from it decides the
//! election: an unfit pod lets go and contends last \[A9\].

use std::path::Path;
use std::time::{Duration, SystemTime};

use tokio::sync::watch;
use tokio::time::MissedTickBehavior;
use tracing::{info, warn};

use crate::args::{HealthCheck, HealthProbe};
use crate::client::Question;
use crate::state::Health;
use crate::telemetry::Metrics;

/// So many failures in a row make the app unfit.
pub(crate) const FAILURES_MAX: u32 = 3;

/// Counts failures in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Count {
    failures: u32,
}

impl Count {
    fn new() -> Count {
        Count { failures: FAILURES_MAX }
    }

    fn note(&mut self, is_success: bool) {
        self.failures = if is_success { 0 } else { self.failures.saturating_add(1) };
    }

    fn is_fit(self) -> bool {
        self.failures < FAILURES_MAX
    }
}

/// What is known before the first look.
pub(crate) fn before(check: &HealthCheck) -> Health {
    Health { check: words(&check.probe), fit: false, failure: Some("not checked yet".to_owned()) }
}

/// What the program that embeds the elector says of itself. An error says why it is unfit.
pub(crate) fn own_word(fitness: Result<(), String>) -> Health {
    Health { check: "the program's own word".to_owned(), fit: fitness.is_ok(), failure: fitness.err() }
}

/// Looks forever, once a period.
pub(crate) async fn run(check: HealthCheck, metrics: Metrics, shown: watch::Sender<Option<Health>>) {
    let mut count = Count::new();
    let mut is_known = false;
    let mut ticks = tokio::time::interval(check.period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let failure = look(&check).await.err();
        let was_fit = count.is_fit();
        count.note(failure.is_none());
        let (is_fit, check) = (count.is_fit(), words(&check.probe));
        match &failure {
            None if !was_fit => info!(%check, "the app is fit to lead"),
            Some(reason) if was_fit && !is_fit => {
                warn!(%check, %reason, "the app is unfit to lead: it failed {FAILURES_MAX} times in a row");
            }
            Some(reason) if !is_known => info!(%check, %reason, "the app is not fit to lead yet"),
            None | Some(_) => {}
        }
        is_known = true;
        metrics.app_fit(is_fit);
        let health = Some(Health { check, fit: is_fit, failure });
        shown.send_if_modified(|shown| {
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
    fn three_failures_in_a_row_make_it_unfit_and_one_success_fit() {
        let mut count = Count::new();
        assert!(!count.is_fit(), "unfit until the first success");
        let looks = [
            (false, false),
            (true, true),
            (false, true),
            (false, true),
            (true, true),
            (false, true),
            (false, true),
            (false, false),
            (false, false),
            (true, true),
        ];
        for (number, (is_success, is_fit)) in looks.into_iter().enumerate() {
            count.note(is_success);
            assert_eq!(count.is_fit(), is_fit, "after look {number}");
        }
    }

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
