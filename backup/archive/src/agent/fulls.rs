//! When a full is due. By the leaders' time, which may jump: never by it alone, in either direction.

use super::step::Config;
use crate::changes::Mark;
use crate::time::Time;
use leasehold_replication::{Seq, Sum};
use std::time::Duration;

/// After a full that failed; doubled for each one that follows.
const PAUSE_MIN: Duration = Duration::from_secs(5);
const PAUSE_MAX: Duration = Duration::from_secs(600);
/// A full that is older than what must be covered came from a pod that is behind: it will be there soon.
const BEHIND_PAUSE: Duration = Duration::from_secs(1);

/// The newest verified full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Verified {
    pub(super) seq: Seq,
    pub(super) time: Time,
    /// None: known by its name alone.
    pub(super) hash: Option<Sum>,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct Fulls {
    verified: Option<Verified>,
    /// The chain of files begins there: only a full behind it leads into it.
    needed_from: Seq,
    state: State,
    /// When this run had its last one.
    last: Option<Duration>,
    failures: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Idle,
    Taking,
    /// It is on its way into the bucket.
    Keeping(Mark),
    Pausing(Duration),
}

impl Fulls {
    pub(super) fn verified(&self) -> Option<Verified> {
        self.verified
    }

    /// What the archive has, as its names tell.
    pub(super) fn found(&mut self, seq: Seq, time: Time) {
        if self.verified.is_none_or(|known| known.seq != seq) {
            self.verified = Some(Verified { seq, time, hash: None });
        }
    }

    /// The chain of files leads on from that one, as their names tell.
    pub(super) fn leads_from(&mut self, seq: Seq, time: Time) {
        self.needed_from = Seq(0);
        self.found(seq, time);
    }

    /// The archive has none.
    pub(super) fn none_found(&mut self) {
        self.verified = None;
    }

    /// Only a full at or behind that entry leads on.
    pub(super) fn need_from(&mut self, seq: Seq) {
        self.needed_from = seq;
        if let State::Pausing(_) = self.state {
            self.state = State::Idle;
        }
    }

    /// Does a full lead into the chain of files?
    pub(super) fn leads_on(&self) -> bool {
        self.verified.is_some_and(|verified| self.needed_from <= verified.seq)
    }

    /// Whether one is to be taken now. `files`: of changes since the last one.
    pub(super) fn is_due(&self, now: Duration, config: &Config, at: &Mark, files: usize) -> bool {
        match self.state {
            State::Taking | State::Keeping(_) => return false,
            State::Pausing(until) if now < until => return false,
            State::Idle | State::Pausing(_) => {}
        }
        let Some(verified) = self.verified.filter(|_| self.leads_on()) else { return true };
        if verified.seq == at.seq || verified.hash == Some(at.hash) {
            return false; // nothing changed since
        }
        let by_clock = self.last.is_none_or(|last| now.saturating_sub(last) >= config.full_every);
        let leaders = Duration::from_millis(at.time.ms().saturating_sub(verified.time.ms()));
        // The leaders' time does not fall, so after a jump forward it stands still until the clocks have caught up: then
        // this run's clock counts, and for runs that are shorter than that, the files.
        let files_max = 2 * config.full_every.as_millis() / config.changes_every.as_millis().max(1) + 100;
        by_clock && (leaders >= config.full_every || self.last.is_some() || files as u128 > files_max)
    }

    /// When it may be due again, if nothing else happens first.
    pub(super) fn deadline(&self, config: &Config) -> Option<Duration> {
        match self.state {
            State::Taking | State::Keeping(_) => None,
            State::Pausing(until) => Some(until),
            State::Idle => self.last.map(|last| last + config.full_every),
        }
    }

    pub(super) fn taking(&mut self) {
        self.state = State::Taking;
    }

    pub(super) fn keeping(&mut self, mark: Mark) {
        self.state = State::Keeping(mark);
    }

    pub(super) fn needed_from(&self) -> Seq {
        self.needed_from
    }

    pub(super) fn is_taking(&self) -> bool {
        self.state == State::Taking
    }

    /// The one that was taken does not reach the chain.
    pub(super) fn is_behind(&mut self, now: Duration) {
        self.state = State::Pausing(now + BEHIND_PAUSE);
    }

    pub(super) fn failed(&mut self, now: Duration) {
        let pause = PAUSE_MIN.saturating_mul(2_u32.saturating_pow(self.failures.min(16))).min(PAUSE_MAX);
        self.failures += 1;
        self.state = State::Pausing(now + pause);
    }

    /// It is in the bucket, and noted.
    pub(super) fn kept(&mut self, now: Duration) -> Option<Mark> {
        let State::Keeping(mark) = self.state else { return None };
        self.state = State::Idle;
        self.last = Some(now);
        self.failures = 0;
        if self.verified.is_none_or(|known| known.seq <= mark.seq) {
            self.verified = Some(Verified { seq: mark.seq, time: mark.time, hash: Some(mark.hash) });
        }
        Some(mark)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERY: Duration = Duration::from_secs(1000);
    const CONFIG: Config = Config {
        full_every: EVERY,
        changes_every: Duration::from_secs(10),
        file_bytes_max: 1000,
        spool_bytes_max: 10_000,
        encrypted: false,
        prune: true,
    };

    fn mark(seq: u64, seconds: u64) -> Mark {
        Mark { seq: Seq(seq), time: Time::from_ms(seconds * 1000), hash: Sum(seq.into()) }
    }

    fn take(fulls: &mut Fulls, now: Duration, mark: Mark) {
        fulls.taking();
        fulls.keeping(mark);
        assert_eq!(fulls.kept(now), Some(mark));
    }

    #[test]
    fn a_full_is_due_when_there_is_none_and_by_the_leaders_time() {
        let mut fulls = Fulls::default();
        assert!(fulls.is_due(Duration::ZERO, &CONFIG, &mark(1, 1), 0));
        fulls.found(Seq(1), Time::from_ms(1000));
        assert!(!fulls.is_due(Duration::ZERO, &CONFIG, &mark(2, 1000), 0));
        assert!(fulls.is_due(Duration::ZERO, &CONFIG, &mark(2, 1001), 0), "an earlier run took the last one");
        fulls.found(Seq(2), Time::from_ms(1_001_000));
        assert!(!fulls.is_due(EVERY * 5, &CONFIG, &mark(2, 9000), 0), "nothing changed");
    }

    #[test]
    fn leaders_whose_time_jumps_forward_get_one_full_and_are_not_without_one_afterwards() {
        let mut fulls = Fulls::default();
        take(&mut fulls, Duration::ZERO, mark(1, 1));
        let mut taken = 0;
        // The leaders' time jumps by a year, each time it may.
        for second in 1..=3000 {
            let (now, at) = (Duration::from_secs(second), mark(1 + second, second * 31_536_000));
            if fulls.is_due(now, &CONFIG, &at, 0) {
                take(&mut fulls, now, at);
                taken += 1;
            }
        }
        assert_eq!(taken, 3);
        // It stands still afterwards.
        let stands = 3000 * 31_536_000;
        assert!(!fulls.is_due(Duration::from_secs(3999), &CONFIG, &mark(9999, stands), 0));
        assert!(fulls.is_due(Duration::from_secs(4000), &CONFIG, &mark(9999, stands), 0));
    }

    #[test]
    fn many_files_make_a_full_due_in_runs_that_are_short_and_times_that_stand_still() {
        let mut fulls = Fulls::default();
        fulls.found(Seq(1), Time::from_ms(1000));
        assert!(!fulls.is_due(Duration::ZERO, &CONFIG, &mark(900, 1), 300));
        assert!(fulls.is_due(Duration::ZERO, &CONFIG, &mark(900, 1), 301));
    }

    #[test]
    fn failures_pause_longer_and_longer_and_a_gap_ends_the_pause() {
        let mut fulls = Fulls::default();
        fulls.taking();
        fulls.failed(Duration::ZERO);
        assert!(!fulls.is_due(Duration::from_secs(4), &CONFIG, &mark(1, 1), 0));
        assert!(fulls.is_due(Duration::from_secs(5), &CONFIG, &mark(1, 1), 0));
        (0..40).for_each(|_| fulls.failed(Duration::ZERO));
        assert_eq!(fulls.deadline(&CONFIG), Some(PAUSE_MAX));
        fulls.need_from(Seq(10));
        assert!(fulls.is_due(Duration::ZERO, &CONFIG, &mark(10, 1), 0));
        fulls.is_behind(Duration::ZERO);
        assert_eq!(fulls.deadline(&CONFIG), Some(BEHIND_PAUSE));
    }
}
