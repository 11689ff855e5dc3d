//! The one clock of the sidecar: `CLOCK_BOOTTIME`, which only goes forward and also counts while the machine sleeps.
//!
//! The election counts from the start of the process; `validUntil` in role.json is the same clock counted from boot, so
//! that another process on the machine can compare it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use leasehold_contract::Moment;

/// Time since the process began to look at it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    began: Duration,
}

impl Clock {
    pub(crate) fn start() -> Clock {
        Clock { began: boottime() }
    }

    /// The `now` for the election.
    pub(crate) fn now(&self) -> Duration {
        boottime().saturating_sub(self.began)
    }

    /// The same moment in nanoseconds of `CLOCK_BOOTTIME`, and in Unix milliseconds.
    pub(crate) fn stamps(&self, moment: Duration) -> (u64, u64) {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let (ahead, ago) = (moment.saturating_sub(self.now()), self.now().saturating_sub(moment));
        (nanos(self.began + moment), millis((unix + ahead).saturating_sub(ago)))
    }
}

/// Nanoseconds of `CLOCK_BOOTTIME`, as in role.json.
pub(crate) fn boottime_ns() -> u64 {
    Moment::now().boottime_ns
}

pub(crate) fn unix_ms() -> u64 {
    millis(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

fn boottime() -> Duration {
    Duration::from_nanos(boottime_ns())
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_of_the_election_is_the_same_moment_on_the_other_clocks() {
        let clock = Clock::start();
        let (ns, unix) = clock.stamps(clock.now() + Duration::from_secs(10));
        let ahead = Duration::from_nanos(ns - boottime_ns());
        assert!(ahead > Duration::from_secs(8) && ahead <= Duration::from_secs(10), "{ahead:?}");
        assert!((8_000..=10_500).contains(&(unix - unix_ms())));
    }
}
