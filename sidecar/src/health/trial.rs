//! What may be said of a command's fitness that runs only where its pod leads (`exec`).
//!
//! ```text
//!   no leadership yet ──▶ fit (nothing is known against it)
//!   it leads ──────────▶ looked at: not judged before its first success, or before a Lease's duration has passed;
//!                        then three failures in a row: unfit; one success: fit
//!   another one leads ──▶ as it was, and fit again once that one has led for a Lease's duration without being unfit
//! ```
//!
//! So a check that fails everywhere moves the leadership to each pod once: the one that takes it when all are unfit keeps it \[A9\].
//! Without all this, every pod but the leader would be unfit, and whoever follows an unfit leader would wait for a whole
//! duration.

use std::time::Duration;

use tokio::time::Instant;

use super::count::Count;

/// What is to be seen of the leadership at a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leadership {
    /// This pod's, in that term.
    Own(u64),
    /// Another pod's, in that term, and whether that one says that it is unfit.
    Another { term: u64, is_unfit: bool },
    /// Nobody's, or none that is known.
    None,
}

#[derive(Debug)]
pub(super) struct Trial {
    lease_duration: Duration,
    count: Count,
    /// The present or last leadership of this pod that was looked at, and since when.
    own: Option<(u64, Instant)>,
    /// It has succeeded in that leadership.
    has_succeeded: bool,
    /// The leadership of another pod, and since when it is seen.
    another: Option<(u64, Instant)>,
}

impl Trial {
    pub(super) fn new(lease_duration: Duration) -> Trial {
        let count = Count::fit();
        Trial { lease_duration, count, own: None, has_succeeded: false, another: None }
    }

    pub(super) fn is_fit(&self) -> bool {
        self.count.is_fit()
    }

    /// Is there a command to look at?
    pub(super) fn begins(&mut self, now: Instant, seen: Leadership) -> bool {
        match seen {
            Leadership::Own(term) => {
                self.another = None;
                if self.own.is_none_or(|(last, _)| last != term) {
                    self.own = Some((term, now));
                    self.has_succeeded = false;
                }
                return true;
            }
            Leadership::Another { term, is_unfit: false } => {
                let since = match self.another {
                    Some((last, since)) if last == term => since,
                    Some(_) | None => now,
                };
                self.another = Some((term, since));
                if now.duration_since(since) >= self.lease_duration {
                    self.count = Count::fit();
                }
            }
            Leadership::Another { is_unfit: true, .. } | Leadership::None => self.another = None,
        }
        false
    }

    /// The command was looked at.
    pub(super) fn note(&mut self, now: Instant, is_success: bool) {
        let has_had_time = self.own.is_some_and(|(_, since)| now.duration_since(since) >= self.lease_duration);
        self.has_succeeded |= is_success;
        if is_success || self.has_succeeded || has_had_time {
            self.count.note(is_success);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DURATION: Duration = Duration::from_secs(15);

    fn at(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    /// Looks once a second, for so long.
    fn leads(trial: &mut Trial, start: Instant, term: u64, seconds: std::ops::Range<u64>, is_success: bool) {
        for second in seconds {
            assert!(trial.begins(at(start, second), Leadership::Own(term)));
            trial.note(at(start, second), is_success);
        }
    }

    #[test]
    fn who_never_led_is_fit_and_who_starts_has_a_duration_for_it() {
        let (mut trial, start) = (Trial::new(DURATION), Instant::now());
        assert!(!trial.begins(start, Leadership::None));
        assert!(trial.is_fit());
        leads(&mut trial, start, 1, 0..15, false);
        assert!(trial.is_fit() && trial.count.failures == 0);
        leads(&mut trial, start, 1, 15..17, false);
        assert!(trial.is_fit());
        leads(&mut trial, start, 1, 17..18, false);
        assert!(!trial.is_fit());
    }

    #[test]
    fn who_has_succeeded_is_unfit_after_three_failures() {
        let (mut trial, start) = (Trial::new(DURATION), Instant::now());
        leads(&mut trial, start, 1, 0..1, true);
        leads(&mut trial, start, 1, 1..3, false);
        assert!(trial.is_fit());
        leads(&mut trial, start, 1, 3..4, false);
        assert!(!trial.is_fit());
        // Another leadership of this pod, which took it unfit: one success.
        leads(&mut trial, start, 2, 4..9, false);
        assert!(!trial.is_fit());
        leads(&mut trial, start, 2, 9..10, true);
        assert!(trial.is_fit());
    }

    #[test]
    fn an_unfit_one_stays_so_until_another_has_led_well_for_a_duration() {
        let (mut trial, start) = (Trial::new(DURATION), Instant::now());
        leads(&mut trial, start, 1, 0..1, true);
        leads(&mut trial, start, 1, 1..4, false);
        assert!(!trial.begins(at(start, 4), Leadership::None));
        let another = |term, is_unfit| Leadership::Another { term, is_unfit };
        // One after the other, and one that says that it is unfit: that is a check that fails everywhere.
        for (second, seen) in
            [(5, another(2, false)), (19, another(2, false)), (20, another(3, false)), (34, another(3, false))]
        {
            assert!(!trial.begins(at(start, second), seen));
            assert!(!trial.is_fit(), "{second}");
        }
        for second in 35..60 {
            assert!(!trial.begins(at(start, second), another(4, true)));
        }
        assert!(!trial.is_fit());
        assert!(!trial.begins(at(start, 60), another(4, false)));
        assert!(!trial.is_fit());
        assert!(!trial.begins(at(start, 75), another(4, false)));
        assert!(trial.is_fit());
    }
}
