//! (plain apps) Whether an app is fit to lead, by what it answers or writes: a small state machine of its own, because only
//! some sidecars look at their app. What follows from it decides the election (`Input::FitnessSeen`).
//!
//! ```text
//!   looked at always ──▶ unfit before the first success; three failures in a row: unfit; one success: fit
//!
//!   under exec, where a command runs only where its pod leads:
//!   no leadership yet ──▶ fit (nothing is known against it)
//!   it leads ──────────▶ looked at: not judged before its first success, or before a Lease's duration has passed;
//!                        then as above
//!   another one leads ──▶ as it was, and fit again once that one has led well for longer than such a trial takes
//! ```
//!
//! So a check that fails everywhere moves the leadership to each pod once: the one that takes it when all are unfit keeps it
//! \[A9\]. Without all this, every pod but the leader would be unfit, and whoever follows an unfit leader would wait for a
//! whole duration.

use std::time::Duration;

use crate::lease::Term;
use crate::plants::unfit_ones_wait;

/// So many failures in a row make the app unfit.
pub const FAILURES_MAX: u32 = 3;

/// What is to be seen of the leadership at a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Leadership {
    /// This pod's, in that term.
    Own(Term),
    /// Another pod's.
    Another {
        /// Its term.
        term: Term,
        /// That one says that it is unfit.
        is_unfit: bool,
        /// The duration in the Lease, which is its time to start: not that of this pod during a rolling change.
        duration: Duration,
    },
    /// Nobody's, or none that is known.
    None,
}

/// See the module. Times are on one clock that only goes forward.
#[derive(Clone, Debug, Hash)]
pub struct Fitness {
    /// Failures in a row.
    failures: u32,
    /// None: it is looked at always.
    trial: Option<Trial>,
}

/// What is known of a command under `exec`.
#[derive(Clone, Debug, Hash)]
struct Trial {
    /// How long it has to start.
    lease_duration: Duration,
    /// The time between two looks.
    period: Duration,
    /// The present or last leadership of this pod that was looked at, and since when.
    own: Option<(Term, Duration)>,
    /// It has succeeded in that leadership.
    has_succeeded: bool,
    /// The leadership of another pod, and since when it is seen.
    another: Option<(Term, Duration)>,
}

impl Fitness {
    /// Of an app that is always looked at: unfit, until the first success.
    pub fn of_an_app() -> Fitness {
        Fitness { failures: FAILURES_MAX, trial: None }
    }

    /// Of a command that runs only where its pod leads: nothing is known against it.
    pub fn under_exec(lease_duration: Duration, period: Duration) -> Fitness {
        let trial = Trial { lease_duration, period, own: None, has_succeeded: false, another: None };
        Fitness { failures: 0, trial: Some(trial) }
    }

    /// Whether it is fit, by all that is known.
    pub fn is_fit(&self) -> bool {
        self.failures < FAILURES_MAX
    }

    /// A look is due: is there anything to look at?
    pub fn begins(&mut self, now: Duration, seen: Leadership) -> bool {
        let Some(trial) = &mut self.trial else { return true };
        match seen {
            Leadership::Own(term) => {
                trial.another = None;
                if trial.own.is_none_or(|(last, _)| last != term) {
                    trial.own = Some((term, now));
                    trial.has_succeeded = false;
                }
                return true;
            }
            Leadership::Another { term, is_unfit: false, duration } => {
                let since = match trial.another {
                    Some((last, since)) if last == term => since,
                    Some(_) | None => now,
                };
                trial.another = Some((term, since));
                if now >= since + trial.of_another(duration) || !unfit_ones_wait() {
                    self.failures = 0;
                }
            }
            Leadership::Another { is_unfit: true, .. } | Leadership::None => trial.another = None,
        }
        false
    }

    /// It was looked at.
    pub fn note(&mut self, now: Duration, is_success: bool) {
        if let Some(trial) = &mut self.trial {
            let has_had_time = trial.own.is_some_and(|(_, since)| now >= since + trial.lease_duration);
            trial.has_succeeded |= is_success;
            if !is_success && !trial.has_succeeded && !has_had_time {
                return;
            }
        }
        self.failures = if is_success { 0 } else { self.failures.saturating_add(1) };
    }
}

impl Trial {
    /// For how long another one must have led. If its check fails from the start, it is unfit a duration and a few looks after it
    /// began, and lets go when the API server answers. Who counted as fit before that would take the Lease from it, and so on,
    /// round and round.
    fn of_another(&self, duration: Duration) -> Duration {
        2 * duration.max(self.lease_duration) + 8 * self.period
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DURATION: Duration = Duration::from_secs(15);

    fn under_exec() -> Fitness {
        Fitness::under_exec(DURATION, Duration::from_secs(1))
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(1000 + seconds)
    }

    /// Looks once a second, for so long.
    fn leads(fitness: &mut Fitness, term: u64, seconds: std::ops::Range<u64>, is_success: bool) {
        for second in seconds {
            assert!(fitness.begins(at(second), Leadership::Own(Term(term))));
            fitness.note(at(second), is_success);
        }
    }

    fn another(term: u64, is_unfit: bool) -> Leadership {
        Leadership::Another { term: Term(term), is_unfit, duration: DURATION }
    }

    #[test]
    fn three_failures_in_a_row_make_an_app_unfit_and_one_success_fit() {
        let mut fitness = Fitness::of_an_app();
        assert!(!fitness.is_fit(), "unfit until the first success");
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
            assert!(fitness.begins(at(0), Leadership::None), "it is always looked at");
            fitness.note(at(0), is_success);
            assert_eq!(fitness.is_fit(), is_fit, "after look {number}");
        }
    }

    #[test]
    fn who_never_led_is_fit_and_who_starts_has_a_duration_for_it() {
        let mut fitness = under_exec();
        assert!(!fitness.begins(at(0), Leadership::None));
        assert!(fitness.is_fit());
        leads(&mut fitness, 1, 0..15, false);
        assert!(fitness.is_fit() && fitness.failures == 0);
        leads(&mut fitness, 1, 15..17, false);
        assert!(fitness.is_fit());
        leads(&mut fitness, 1, 17..18, false);
        assert!(!fitness.is_fit());
    }

    #[test]
    fn who_has_succeeded_is_unfit_after_three_failures() {
        let mut fitness = under_exec();
        leads(&mut fitness, 1, 0..1, true);
        leads(&mut fitness, 1, 1..3, false);
        assert!(fitness.is_fit());
        leads(&mut fitness, 1, 3..4, false);
        assert!(!fitness.is_fit());
        // Another leadership of this pod, which took it unfit: one success.
        leads(&mut fitness, 2, 4..9, false);
        assert!(!fitness.is_fit());
        leads(&mut fitness, 2, 9..10, true);
        assert!(fitness.is_fit());
    }

    #[test]
    fn an_unfit_one_stays_so_until_another_has_led_well_for_long_enough() {
        let mut fitness = under_exec();
        leads(&mut fitness, 1, 0..1, true);
        leads(&mut fitness, 1, 1..4, false);
        assert!(!fitness.begins(at(4), Leadership::None));
        let enough = fitness.trial.as_ref().map_or(0, |trial| trial.of_another(DURATION).as_secs());
        // One after the other, and one that says that it is unfit: that is a check that fails everywhere.
        for (second, seen) in [
            (5, another(2, false)),
            (4 + enough, another(2, false)),
            (5 + enough, another(3, false)),
            (4 + 2 * enough, another(3, false)),
        ] {
            assert!(!fitness.begins(at(second), seen));
            assert!(!fitness.is_fit(), "{second}");
        }
        for second in 0..60 {
            assert!(!fitness.begins(at(5 + 2 * enough + second), another(4, true)));
        }
        assert!(!fitness.is_fit());
        assert!(!fitness.begins(at(200), another(4, false)));
        assert!(!fitness.is_fit());
        assert!(!fitness.begins(at(200 + enough), another(4, false)));
        assert!(fitness.is_fit());
    }

    /// The next one's command fails from its start, and is given its time before it counts.
    #[test]
    fn another_that_is_still_given_time_to_start_makes_nobody_fit() {
        let (mut one, mut other) = (under_exec(), under_exec());
        leads(&mut one, 1, 0..18, false);
        assert!(!one.is_fit());
        for second in 18.. {
            assert!(!one.begins(at(second), another(2, false)));
            leads(&mut other, 2, second..second + 1, false);
            if !other.is_fit() {
                break;
            }
        }
        assert!(!one.is_fit(), "the leadership would go round for ever");
    }
}
