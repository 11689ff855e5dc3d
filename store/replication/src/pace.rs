//! How fast a replica absorbs what it is sent: bytes that it acknowledged per second in which something was under way.
//!
//! ```text
//!   sent ─────────▶ on its way ─────────▶ acked      bytes / (time in which something was on its way)
//!        idle time does not count: a link is not slow because nobody writes
//! ```
//!
//! An acknowledgement means durable, so disk and link count alike. Old measurements fade: after [`WINDOW`] of busy time
//! they weigh half as much. A stalled link gets slower while we wait for it, not only when it answers.

use std::time::Duration;

/// Measurements older than this much busy time count half.
const WINDOW: Duration = Duration::from_secs(2);
/// The shortest time to compute a rate from: the tick of most clocks.
const TICK: Duration = Duration::from_millis(1);
/// A replica that lacks no more than this has caught up at any pace: one network packet or two.
const NEXT_TO_NOTHING: u64 = 4 * 1024;

/// See the module.
#[derive(Clone, Debug, Default, Hash)]
pub(crate) struct Pace {
    /// Since when something has been under way, or the last acknowledgement while something still is.
    busy_since: Option<Duration>,
    /// The acknowledged bytes, and the busy time that they took.
    bytes: u64,
    time: Duration,
}

impl Pace {
    /// Something is under way.
    pub(crate) fn sent(&mut self, now: Duration) {
        self.busy_since.get_or_insert(now);
    }

    /// This many bytes were acknowledged; `more`: others are still under way.
    pub(crate) fn acked(&mut self, now: Duration, bytes: u64, more: bool) {
        let Some(since) = self.busy_since else { return };
        self.time += now.saturating_sub(since);
        self.bytes += bytes;
        self.busy_since = more.then_some(now);
        while self.time > WINDOW {
            self.time /= 2;
            self.bytes /= 2;
        }
    }

    /// What was under way does not count: it never arrived, or nobody knows how long it took.
    pub(crate) fn forget_flight(&mut self) {
        self.busy_since = None;
    }

    /// The bytes that it absorbs in this time, as far as is known.
    pub(crate) fn within(&self, now: Duration, time: Duration) -> u64 {
        let waited = self.busy_since.map_or(Duration::ZERO, |since| now.saturating_sub(since));
        let measured = (self.time + waited).max(TICK).as_micros();
        let bytes = u128::from(self.bytes) * time.as_micros() / measured;
        u64::try_from(bytes).unwrap_or(u64::MAX)
    }

    /// Can it absorb `lacks` bytes within that time?
    pub(crate) fn takes(&self, now: Duration, lacks: u64, time: Duration) -> bool {
        lacks <= self.within(now, time).max(NEXT_TO_NOTHING)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const SECOND: Duration = Duration::from_secs(1);

    /// A link that delivers that many bytes in each of `acks` steps of `step`, always with more under way.
    fn busy(bytes: u64, step: Duration, acks: u32) -> (Pace, Duration) {
        let mut pace = Pace::default();
        pace.sent(Duration::ZERO);
        for ack in 1..=acks {
            pace.acked(step * ack, bytes, true);
        }
        (pace, step * acks)
    }

    #[test]
    fn a_busy_link_is_as_fast_as_its_acknowledgements() {
        for acks in [1, 3, 100] {
            let (pace, now) = busy(40_000, 100 * MS, acks);
            assert_eq!(pace.within(now, SECOND), 400_000, "{acks} acks");
        }
    }

    #[test]
    fn time_in_which_nothing_is_on_its_way_does_not_make_a_link_slow() {
        let mut pace = Pace::default();
        for hour in 0..10 {
            let now = SECOND * 3600 * hour;
            pace.sent(now);
            pace.acked(now + MS, 1_000, false);
        }
        assert_eq!(pace.within(SECOND * 100_000, SECOND), 1_000_000);
    }

    #[test]
    fn a_link_that_stalls_gets_slower_before_it_answers() {
        let (pace, now) = busy(40_000, 100 * MS, 20);
        assert_eq!(pace.within(now, SECOND), 400_000);
        assert_eq!(pace.within(now + 8 * SECOND, SECOND), 80_000);
    }

    #[test]
    fn a_link_that_became_slow_or_fast_is_known_as_that_within_seconds() {
        let (mut pace, mut now) = busy(40_000, 100 * MS, 100);
        for _ in 0..100 {
            now += 100 * MS;
            pace.acked(now, 4_000, true);
        }
        let slow = pace.within(now, SECOND);
        assert!((40_000..60_000).contains(&slow), "{slow}");
    }

    #[test]
    fn next_to_nothing_is_taken_at_any_pace_and_more_only_at_a_known_one() {
        let unknown = Pace::default();
        assert!(unknown.takes(SECOND, NEXT_TO_NOTHING, SECOND) && !unknown.takes(SECOND, NEXT_TO_NOTHING + 1, SECOND));
        let (pace, now) = busy(40_000, 100 * MS, 10);
        assert!(pace.takes(now, 400_000, SECOND) && !pace.takes(now, 400_001, SECOND));
    }
}
