//! The durations that the rules name, derived from two (the Lease's duration, the lost-time), and the pauses between
//! failed requests.

use std::time::Duration;

use crate::lease::Term;

/// A Lease's term that is this far above the known ones is an edit by hand \[L8\].
pub(crate) const TERM_LEAP_MAX: u64 = 1_000_000;

/// How long a Lease must have been void before another sidecar writes it for the leader.
const FOR_LEADER_AFTER: Duration = Duration::from_secs(10);
/// How long a switchover may take before its request is removed: one that succeeds hours later helps nobody.
const SWITCHOVER_BOUND: Duration = Duration::from_secs(60);
/// The upper bound for believing a Lease's own duration (it may be an edit by hand).
const EXPIRY_MAX: Duration = Duration::from_secs(3600);
/// How long those wait at most who see that a Lease was released: enough that not all of them write at once.
const RELEASED_SPREAD: Duration = Duration::from_millis(50);
/// By this part of their period the renewals of pods differ.
const RENEWAL_SPREAD: u32 = 8;
const RANK_STEP: Duration = Duration::from_millis(100);
const RANK_DELAY_MAX: Duration = Duration::from_secs(1);
const PAUSE_FIRST: Duration = Duration::from_millis(250);
const PAUSE_MAX: Duration = Duration::from_secs(2);
const PATIENT_PAUSE_MAX: Duration = Duration::from_secs(5);

/// All durations.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Timing {
    pub(crate) duration: Duration,
    pub(crate) lost_time: Duration,
    pub(crate) seed: u64,
    /// Expiry matters: the app is a plain one.
    pub(crate) is_plain: bool,
}

impl Timing {
    /// The holder renews this long after the start of its last renewal: a third of the duration, less (plain apps, of which
    /// there may be thousands) up to an eighth of that, by pod. So those who renewed in the same moment, as after an outage of
    /// the API server, soon no longer do.
    pub(crate) fn renew_after(&self) -> Duration {
        let third = self.duration / 3;
        if !self.is_plain {
            return third;
        }
        third - third / RENEWAL_SPREAD * (mix(self.seed) % 1024) as u32 / 1024
    }

    /// A plain app's sidecar writes `follower` this long after the start of its last renewal.
    pub(crate) fn lapse_after(&self) -> Duration {
        self.duration * 2 / 3
    }

    /// How long the Lease may show no sign before we ask \[L13\]. Where expiry matters it is half a duration: one answered
    /// GET in the middle shows that the API server was there while the holder did not renew.
    pub(crate) fn silence(&self) -> Duration {
        if self.is_plain { self.duration / 2 } else { self.duration }
    }

    /// From one look to the next while the watch is lost. Nothing that a plain app's sidecar does then is urgent but the
    /// holder's own writes, and a thousand of them ask an API server that has just started.
    pub(crate) fn looks_apart(&self) -> Duration {
        if self.is_plain { self.duration / 3 } else { self.lost_time.min(self.silence()) }
    }

    /// A longer time than this without any answer is as blind as a failed request: the process stood still, or the answer
    /// took too long.
    pub(crate) fn gap(&self) -> Duration {
        self.silence() + self.duration / 3
    }

    /// When a holder that does not renew loses the Lease. Its sidecar may run with another duration than ours (during a
    /// rolling change), so the longer one counts.
    pub(crate) fn expiry(&self, of_lease: Option<Duration>) -> Duration {
        self.duration.max(of_lease.unwrap_or_default().min(EXPIRY_MAX))
    }

    /// The duration as objects have it.
    pub(crate) fn seconds(&self) -> u32 {
        u32::try_from(self.duration.as_secs()).unwrap_or(u32::MAX).max(1)
    }

    /// Likewise the longest of this one and that of the record of terms.
    pub(crate) fn seconds_for_record(&self, of_record: Option<Duration>) -> u32 {
        let longest = self.expiry(of_record).as_secs();
        u32::try_from(longest).unwrap_or(u32::MAX).max(self.seconds())
    }

    /// How long a plain app's sidecar waits after the holder was cleared.
    pub(crate) fn cleared_wait(&self) -> Duration {
        self.lost_time * 2
    }

    /// How long a plain app's sidecar waits after the holder let go and its app has certainly stopped: a random time.
    pub(crate) fn released_wait(&self, term: Term) -> Duration {
        RELEASED_SPREAD * (mix(self.seed ^ term.0.rotate_left(32)) % 1024) as u32 / 1024
    }

    /// Health makes a leader let go only while the API server answers: an answer must be younger than this.
    pub(crate) fn answer_age_max(&self) -> Duration {
        self.duration / 3
    }

    /// How long a stopping sidecar whose app is gone tries to let go of the Lease.
    pub(crate) fn let_go_max(&self) -> Duration {
        self.lost_time * 5
    }

    pub(crate) fn rank_delay(&self, rank: u32) -> Duration {
        RANK_STEP.saturating_mul(rank).min(RANK_DELAY_MAX)
    }

    pub(crate) fn for_leader_after(&self) -> Duration {
        FOR_LEADER_AFTER
    }

    pub(crate) fn switchover_bound(&self) -> Duration {
        SWITCHOVER_BOUND
    }

    /// The pause after that many consecutive failures: doubling, bounded, and spread by a quarter to both sides, so that a
    /// thousand sidecars do not return to the API server in step.
    fn pause(&self, failures: u32, patience: Patience) -> Duration {
        let doubled = PAUSE_FIRST.saturating_mul(1 << failures.saturating_sub(1).min(8));
        let most = match patience {
            Patience::Short => PAUSE_MAX,
            Patience::Long => PATIENT_PAUSE_MAX,
        };
        let bounded = doubled.min(most).min(self.duration / 3);
        bounded * 3 / 4 + bounded / 2 * (mix(self.seed ^ u64::from(failures)) % 1024) as u32 / 1024
    }
}

/// The mixing step of splitmix64: enough for a spread.
fn mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// How long the pauses between failed requests may become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Patience {
    Short,
    Long,
}

/// Keeps failed requests of one kind apart.
#[derive(Clone, Debug, Default, Hash)]
pub(crate) struct Pacer {
    failures: u32,
    /// No request of the kind before this.
    pub(crate) not_before: Duration,
}

impl Pacer {
    pub(crate) fn succeeded(&mut self) {
        *self = Pacer::default();
    }

    pub(crate) fn failed(&mut self, now: Duration, timing: &Timing, patience: Patience) {
        self.failures = self.failures.saturating_add(1);
        self.not_before = now + timing.pause(self.failures, patience);
    }

    /// Another sidecar wrote first. The first conflict costs no pause, because the next look decides; back off when
    /// conflicts repeat.
    pub(crate) fn outrun(&mut self, now: Duration, timing: &Timing) {
        if self.failures > 0 {
            self.failed(now, timing, Patience::Short);
        } else {
            self.failures = 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timing() -> Timing {
        Timing { duration: Duration::from_secs(15), lost_time: Duration::from_secs(1), seed: 7, is_plain: true }
    }

    #[test]
    fn pauses_grow_and_stay_bounded() {
        let pauses: Vec<_> = (1..=40).map(|n| timing().pause(n, Patience::Short)).collect();
        assert!(pauses[0] >= PAUSE_FIRST * 3 / 4 && pauses[0] <= PAUSE_FIRST * 5 / 4, "{:?}", pauses[0]);
        assert!(pauses[39] >= PAUSE_MAX * 3 / 4 && pauses[39] <= PAUSE_MAX * 5 / 4, "{:?}", pauses[39]);
        let patient = timing().pause(40, Patience::Long);
        assert!(patient >= PATIENT_PAUSE_MAX * 3 / 4 && patient <= PATIENT_PAUSE_MAX * 5 / 4, "{patient:?}");
    }

    /// A thousand holders who renewed at once after an outage: ten periods later no tenth of a second of the third has more
    /// than three times its share.
    #[test]
    fn renewals_that_began_together_spread_out_and_are_never_late() {
        let periods = (0..1_000).map(|seed| Timing { seed, ..timing() }.renew_after());
        let mut crowd = [0; 50];
        for period in periods {
            assert!(period <= Duration::from_secs(5) && period >= Duration::from_millis(4_375), "{period:?}");
            let moment = (period * 10).as_millis() % 5_000;
            crowd[moment as usize / 100] += 1;
        }
        assert!(crowd.iter().all(|share| *share <= 60), "{crowd:?}");
    }

    #[test]
    fn the_first_lost_race_costs_no_pause_and_the_second_does() {
        let mut pacer = Pacer::default();
        pacer.outrun(Duration::from_secs(5), &timing());
        assert_eq!(pacer.not_before, Duration::ZERO);
        pacer.outrun(Duration::from_secs(5), &timing());
        assert!(pacer.not_before > Duration::from_secs(5));
    }

    #[test]
    fn the_longer_duration_decides_about_expiry_but_not_a_nonsense_one() {
        assert_eq!(timing().expiry(None), Duration::from_secs(15));
        assert_eq!(timing().expiry(Some(Duration::from_secs(1))), Duration::from_secs(15));
        assert_eq!(timing().expiry(Some(Duration::from_secs(60))), Duration::from_secs(60));
        assert_eq!(timing().expiry(Some(Duration::from_secs(u64::from(u32::MAX)))), EXPIRY_MAX);
    }
}
