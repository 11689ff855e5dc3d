//! [`Clock`]: whether the time of day may be trusted to remove records.

use std::collections::VecDeque;
use std::time::Duration;

/// For how long both clocks must have agreed.
pub const AGREED_MIN: Duration = Duration::from_secs(60);
/// How far they may differ, in milliseconds.
const APART_MAX_MS: i128 = 5_000;
/// More looks than this in a minute are none of ours: it begins anew.
const LOOKS_MAX: usize = 1_000;

/// Compares the time of day with the time since the process began. Somebody who sets the clock moves the first alone.
///
/// A clock that was wrong when the process began, and stays so, agrees with itself: that is what the other replicas' clocks
/// are for ([`Clocks`](leasehold_replication::Clocks)).
#[derive(Clone, Debug)]
pub struct Clock {
    /// For how long they must have agreed.
    agreed_min: Duration,
    /// When it was looked at (since the process began), and by how much the time of day was ahead of that, in milliseconds.
    /// The first look is older than `agreed_min`, if there is one that old.
    looks: VecDeque<(Duration, i128)>,
}

impl Default for Clock {
    fn default() -> Clock {
        Clock::agreeing_for(AGREED_MIN)
    }
}

impl Clock {
    /// One that is used after so much time.
    pub fn agreeing_for(agreed_min: Duration) -> Clock {
        Clock { agreed_min, looks: VecDeque::new() }
    }

    /// Looks at both clocks. The time of day, if it may be used: both have agreed within 5 seconds for [`AGREED_MIN`].
    pub fn look(&mut self, wall_ms: u64, since_begin: Duration) -> Option<u64> {
        if self.looks.len() >= LOOKS_MAX || self.looks.back().is_some_and(|(last, _)| *last > since_begin) {
            self.looks.clear();
        }
        self.looks.push_back((since_begin, i128::from(wall_ms) - since_begin.as_millis() as i128));
        let agreed_min = self.agreed_min;
        let is_old = |(then, _): &(Duration, i128)| since_begin.saturating_sub(*then) >= agreed_min;
        while self.looks.get(1).is_some_and(is_old) {
            self.looks.pop_front();
        }
        let ahead = self.looks.iter().map(|(_, ahead)| *ahead);
        let apart = ahead.clone().max()? - ahead.min()?;
        (self.looks.front().is_some_and(is_old) && apart <= APART_MAX_MS).then_some(wall_ms)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const DAY_MS: u64 = 1_800_000_000_000;

    /// Looks once a second, from `from` to `to`, with a time of day that is so much ahead: the last answer, and how often it
    /// was usable.
    fn look(clock: &mut Clock, from: u64, to: u64, ahead_ms: i64) -> (Option<u64>, usize) {
        let mut answers = (from..to).map(|second| {
            let wall_ms = (DAY_MS + second * 1_000).checked_add_signed(ahead_ms).unwrap_or(0);
            clock.look(wall_ms, Duration::from_secs(second))
        });
        let first = answers.next().flatten();
        answers.fold((first, usize::from(first.is_some())), |(_, count), answer| {
            (answer, count + usize::from(answer.is_some()))
        })
    }

    #[test]
    fn the_time_of_day_is_used_after_a_minute() {
        let mut clock = Clock::default();
        assert_eq!(look(&mut clock, 0, 60, 0), (None, 0));
        assert_eq!(look(&mut clock, 60, 61, 0), (Some(DAY_MS + 60_000), 1));
        assert_eq!(look(&mut clock, 61, 1_000, 0).1, 939);
        assert!(clock.looks.len() < 70, "{}", clock.looks.len());
    }

    #[test]
    fn a_jump_forward_or_back_is_no_time_for_a_minute() {
        for jump_ms in [5_001, -5_001, 3_600_000, -3_600_000, i64::MAX / 2] {
            let mut clock = Clock::default();
            assert!(look(&mut clock, 0, 100, 0).0.is_some());
            assert_eq!(look(&mut clock, 100, 160, jump_ms), (None, 0), "{jump_ms}");
            assert!(look(&mut clock, 160, 161, jump_ms).0.is_some(), "{jump_ms}");
            // And back again.
            assert_eq!(look(&mut clock, 161, 221, 0), (None, 0), "{jump_ms}");
        }
    }

    #[test]
    fn a_clock_that_is_a_little_off_is_used() {
        let mut clock = Clock::default();
        assert!(look(&mut clock, 0, 100, 0).0.is_some());
        assert_eq!(look(&mut clock, 100, 200, 5_000).1, 100);
        // Slowly, it may go anywhere: as time servers move it.
        let mut drifting = Clock::default();
        let used = (0..10_000_u64)
            .filter(|second| drifting.look(DAY_MS + second * 1_010, Duration::from_secs(*second)).is_some());
        assert_eq!(used.count(), 9_940);
    }

    #[test]
    fn a_process_that_slept_begins_with_what_it_has_seen() {
        let mut clock = Clock::default();
        assert!(look(&mut clock, 0, 100, 0).0.is_some());
        // An hour without a look: both clocks went on, or only one did.
        assert!(look(&mut clock, 3_700, 3_701, 0).0.is_some());
        let mut suspended = Clock::default();
        assert!(look(&mut suspended, 0, 100, 0).0.is_some());
        assert_eq!(look(&mut suspended, 100, 101, 3_600_000), (None, 0));
    }

    #[test]
    fn too_many_looks_begin_anew() {
        let mut clock = Clock::default();
        let look = |clock: &mut Clock, number: u64| clock.look(DAY_MS, Duration::from_nanos(number));
        assert!((0..10_000).all(|number| look(&mut clock, number).is_none()));
        assert!(clock.looks.len() <= LOOKS_MAX);
    }
}
