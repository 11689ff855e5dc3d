//! [`Measured`]: how far a follower's clock is from its leader's, by its echoes (5.12 in docs/design.md).

use std::time::Duration;

/// An echo that took longer than this says too little.
const ROUND_TRIP_MAX: Duration = Duration::from_secs(5);
/// What was measured is good for this long. Each heartbeat brings more.
const MEASURED_MAX: Duration = Duration::from_secs(10);

/// By how much a clock is ahead of the time of the leader's steps, in milliseconds. May be below zero.
pub(crate) type Ahead = i128;

/// A follower's clock, as its leader knows it.
#[derive(Clone, Debug, Default, Hash)]
pub(crate) struct Measured {
    /// The heartbeat round that is to be echoed, and when it began. One at a time.
    begun: Option<(u64, Duration)>,
    /// The least and the most by which the clock may be ahead, and when that was known.
    ahead: Option<(Ahead, Ahead, Duration)>,
}

impl Measured {
    /// That round is sent to it now.
    pub(crate) fn begin(&mut self, round: u64, now: Duration) {
        self.begun.get_or_insert((round, now));
    }

    /// It echoes that round, or a later one, and says what time it was then. The echo of an earlier one may be older than the
    /// round that is waited for.
    pub(crate) fn echoed(&mut self, round: u64, time_ms: Option<u64>, now: Duration) {
        let Some((_, begun)) = self.begun.take_if(|(begun, _)| *begun <= round) else { return };
        let took = now.saturating_sub(begun);
        self.ahead = time_ms.filter(|_| took <= ROUND_TRIP_MAX).map(|ms| (ahead(ms, now), ahead(ms, begun), now));
    }

    /// The least by which it may differ from such a clock.
    pub(crate) fn apart_from(&self, own: Ahead, now: Duration) -> Option<Duration> {
        let (least, most, _) = self.ahead.filter(|(_, _, known_at)| now < *known_at + MEASURED_MAX)?;
        let apart = (least - own).max(own - most).max(0);
        Some(Duration::from_millis(u64::try_from(apart).unwrap_or(u64::MAX)))
    }
}

pub(crate) fn millis(time: Duration) -> Ahead {
    i128::try_from(time.as_millis()).unwrap_or(i128::MAX / 2)
}

pub(crate) fn ahead(ms: u64, now: Duration) -> Ahead {
    Ahead::from(ms) - millis(now)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::CLOCKS_APART_MAX;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn the_way_there_and_back_counts_in_favour_of_the_other_clock() {
        let own = ahead(1_000_000, 1000 * MS);
        // It was read somewhere in these 300 ms, in which our clock went from 1,000,000 to 1,000,300.
        for (theirs, apart) in [(1_000_000, 0), (1_000_300, 0), (1_000_301, 1), (999_999, 1), (999_300, 700)] {
            let mut clock = Measured::default();
            clock.begin(4, 1000 * MS);
            clock.echoed(4, Some(theirs), 1300 * MS);
            let found = clock.apart_from(own, 1300 * MS).map(|apart| apart.as_millis());
            assert_eq!(found, Some(apart), "{theirs}");
        }
    }

    #[test]
    fn only_an_echo_of_the_round_that_is_waited_for_or_a_later_one_measures() {
        let own = ahead(1_000_000, 1000 * MS);
        let mut clock = Measured::default();
        clock.begin(4, 1000 * MS);
        clock.begin(5, 1100 * MS);
        clock.echoed(3, Some(0), 1150 * MS);
        assert_eq!(clock.apart_from(own, 1150 * MS), None);
        clock.echoed(6, Some(1_000_200), 1200 * MS);
        assert_eq!(clock.apart_from(own, 1200 * MS), Some(Duration::ZERO));
        // No round is waited for.
        clock.echoed(6, Some(0), 1200 * MS);
        assert_eq!(clock.apart_from(own, 11_199 * MS), Some(Duration::ZERO));
        assert_eq!(clock.apart_from(own, 11_200 * MS), None, "too old");
    }

    #[test]
    fn an_echo_without_a_clock_or_after_too_long_a_time_says_that_nothing_is_known() {
        let own = ahead(1_000_000, 1000 * MS);
        let mut clock = Measured::default();
        for (time_ms, took, is_known) in [
            (Some(1_000_000), 5000, true),
            (Some(1_000_000), 5001, false),
            (Some(1_000_000), 1, true),
            (None, 1, false),
        ] {
            clock.begin(1, 1000 * MS);
            clock.echoed(1, time_ms, (1000 + took) * MS);
            assert_eq!(clock.apart_from(own, (1000 + took) * MS).is_some(), is_known, "{time_ms:?} after {took} ms");
        }
    }

    #[test]
    fn absurd_times_of_a_peer_are_far_away() {
        let own = ahead(1_000_000, 1000 * MS);
        for time in [0, u64::MAX] {
            let mut clock = Measured::default();
            clock.begin(1, 1000 * MS);
            clock.echoed(1, Some(time), 1001 * MS);
            assert!(clock.apart_from(own, 1001 * MS).is_some_and(|apart| apart > CLOCKS_APART_MAX));
        }
    }
}
