//! The progress of something that may take long: a start, a join, writing a snapshot.
//!
//! ```text
//!   who does it ──bytes──▶ Meter ──amount──▶ Progress::look(now) ──▶ nothing | say it | it is over
//!   replica's positions ──▶ Lag ──amount──▶                     └──▶ ProgressInfo: handle, status.json
//! ```
//!
//! What takes less than the time that counts as long is never mentioned. [`Progress`] has no clock: the shells pass in the
//! time and the amounts. The total may be an estimate, and it may grow.

use leasehold_contract::{Doing, ProgressInfo};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tracing::info;

/// What takes longer than this reports its progress, and repeats that at this interval.
pub const LONG: Duration = Duration::from_secs(5);

/// Now, in milliseconds since 1970, as the shells pass it in.
pub(crate) fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// The unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Of files.
    Bytes,
    /// Of the log.
    Entries,
}

/// The finished amount, and the total.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Amount {
    /// In this unit.
    pub unit: Unit,
    /// The finished amount.
    pub done: u64,
    /// The total.
    pub of: u64,
}

/// Counts bytes on one thread for a reader on another. Clones count together.
#[derive(Clone, Debug, Default)]
pub struct Meter(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    done: AtomicU64,
    of: AtomicU64,
}

impl Meter {
    /// Something new begins, of about this many bytes.
    pub fn begin(&self, of: u64) {
        self.0.done.store(0, Ordering::Relaxed);
        self.0.of.store(of, Ordering::Relaxed);
    }

    /// This many more are done.
    pub fn add(&self, bytes: u64) {
        self.0.done.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Its progress.
    pub fn amount(&self) -> Amount {
        Amount { unit: Unit::Bytes, done: self.0.done.load(Ordering::Relaxed), of: self.0.of.load(Ordering::Relaxed) }
    }
}

/// The entries of its leader's log that a replica lacks, counted from where it was when it began to lack some.
#[derive(Clone, Debug, Default)]
pub struct Lag {
    from: Option<u64>,
}

impl Lag {
    /// Its progress from where it was to `wanted`; none if it `has` all of that.
    pub fn amount(&mut self, has: u64, wanted: u64) -> Option<Amount> {
        if has >= wanted {
            self.from = None;
            return None;
        }
        // A log that was cut begins further back.
        let from = self.from.map_or(has, |from| from.min(has));
        self.from = Some(from);
        Some(Amount { unit: Unit::Entries, done: has - from, of: wanted - from })
    }
}

/// See the module. One for each thing that may be under way.
#[derive(Clone, Debug)]
pub struct Progress {
    what: Doing,
    long: Duration,
    run: Option<Run>,
}

#[derive(Clone, Debug)]
struct Run {
    /// By the looks' clock, and in milliseconds since 1970.
    begun: Duration,
    begun_unix_ms: u64,
    said: Option<Duration>,
    amount: Amount,
    is_long: bool,
}

/// The result of a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// Nothing to report.
    Quiet,
    /// To report now: it takes long, and this is its progress.
    Say(Amount),
    /// Something that took long is over, after this time.
    Over(Duration),
}

impl Progress {
    /// Nothing is under way. What takes `long` is reported.
    pub fn new(what: Doing, long: Duration) -> Progress {
        Progress { what, long, run: None }
    }

    /// Looks at what is under way: `amount` of it is done; none: nothing is under way. `now` is of any clock that does not
    /// go back.
    pub fn look(&mut self, now: Duration, unix_ms: u64, amount: Option<Amount>) -> Look {
        let Some(amount) = amount else {
            return match self.run.take() {
                Some(run) if run.is_long => Look::Over(now.saturating_sub(run.begun)),
                Some(_) | None => Look::Quiet,
            };
        };
        let first = Run { begun: now, begun_unix_ms: unix_ms, said: None, amount, is_long: false };
        let run = self.run.get_or_insert(first);
        run.amount = amount;
        run.is_long = now >= run.begun + self.long;
        if run.is_long && run.said.is_none_or(|said| now >= said + self.long) {
            run.said = Some(now);
            return Look::Say(amount);
        }
        Look::Quiet
    }

    /// For status.json and the API; none while nothing takes long.
    pub fn info(&self) -> Option<ProgressInfo> {
        let run = self.run.as_ref().filter(|run| run.is_long)?;
        let Amount { unit, done, of } = run.amount;
        let (bytes, entries) = match unit {
            Unit::Bytes => (Some((done, of)), None),
            Unit::Entries => (None, Some((done, of))),
        };
        Some(ProgressInfo {
            what: self.what,
            done_bytes: bytes.map(|(done, _)| done),
            of_bytes: bytes.map(|(_, of)| of),
            done_entries: entries.map(|(done, _)| done),
            of_entries: entries.map(|(_, of)| of),
            since_unix_ms: run.begun_unix_ms,
        })
    }

    /// As [`Progress::look`]; reports go to the log.
    pub fn look_and_say(&mut self, now: Duration, unix_ms: u64, amount: Option<Amount>) {
        let look = self.look(now, unix_ms, amount);
        let percent = self.info().and_then(|info| info.percent());
        let what = match self.what {
            Doing::Start => "start",
            Doing::Join => "join",
            Doing::Snapshot => "snapshot",
        };
        match look {
            Look::Quiet => {}
            Look::Say(Amount { unit: Unit::Bytes, done, of }) => {
                info!(what, done_bytes = done, of_bytes = of, percent, "under way");
            }
            Look::Say(Amount { unit: Unit::Entries, done, of }) => {
                info!(what, done_entries = done, of_entries = of, percent, "under way");
            }
            Look::Over(took) => info!(what, seconds = took.as_secs(), "no longer under way"),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const NOON: u64 = 1_700_000_000_000;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn bytes(done: u64, of: u64) -> Amount {
        Amount { unit: Unit::Bytes, done, of }
    }

    #[test]
    fn what_takes_long_is_said_every_five_seconds_and_that_it_is_over() {
        let mut progress = Progress::new(Doing::Start, LONG);
        let mut said = Vec::new();
        for second in 0..=12 {
            if let Look::Say(amount) = progress.look(seconds(100 + second), NOON + second, Some(bytes(second, 20))) {
                said.push(amount.done);
            }
            assert_eq!(progress.info().is_some(), second >= 5, "after {second} s");
        }
        assert_eq!(said, [5, 10]);
        let info = progress.info().unwrap();
        assert_eq!((info.done_bytes, info.of_bytes, info.done_entries), (Some(12), Some(20), None));
        assert_eq!((info.percent(), info.since_unix_ms), (Some(60), NOON), "since it began, not since it is long");
        assert_eq!(progress.look(seconds(113), NOON, None), Look::Over(seconds(13)));
        assert_eq!((progress.info(), progress.look(seconds(114), NOON, None)), (None, Look::Quiet));
    }

    #[test]
    fn what_is_short_is_never_mentioned_and_the_next_one_has_its_own_time() {
        let mut progress = Progress::new(Doing::Snapshot, LONG);
        for begun in [0, 10, 20] {
            assert_eq!(progress.look(seconds(begun), NOON, Some(bytes(0, 9))), Look::Quiet);
            assert_eq!(progress.look(seconds(begun + 4), NOON, Some(bytes(8, 9))), Look::Quiet);
            assert_eq!((progress.look(seconds(begun + 5), NOON, None), progress.info()), (Look::Quiet, None));
        }
    }

    #[test]
    fn a_lag_is_counted_from_where_it_began_towards_an_end_that_moves() {
        let mut lag = Lag::default();
        let entries = |done, of| Some(Amount { unit: Unit::Entries, done, of });
        assert_eq!(lag.amount(100, 100), None);
        assert_eq!(lag.amount(100, 300), entries(0, 200));
        assert_eq!(lag.amount(200, 400), entries(100, 300));
        assert_eq!(lag.amount(50, 400), entries(0, 350), "its log was cut");
        assert_eq!(lag.amount(400, 400), None);
        assert_eq!(lag.amount(400, 500), entries(0, 100), "another one");
    }

    #[test]
    fn a_meter_begins_anew_with_each_thing() {
        let meter = Meter::default();
        meter.begin(10);
        let other = meter.clone();
        other.add(3);
        other.add(4);
        assert_eq!(meter.amount(), bytes(7, 10));
        meter.begin(5);
        assert_eq!(meter.amount(), bytes(0, 5));
    }
}
