//! Whether the clocks of a majority agree (5.12 in docs/design.md). Only then may the leader's time of day remove records
//! \[T1\].
//!
//! ```text
//!   shell ──TimeOfDay──▶ every replica, about once a second
//!   leader ──heartbeat, begun at s──▶ follower ──echo, its time of day t──▶ leader, received at r
//!              t was read between s and r: the follower's clock is ahead by something from t - ours(r) to t - ours(s)
//! ```
//!
//! There is no clock in this crate. The shell says what time of day it is, and the replica counts on from there by the time
//! of its steps. What was measured is kept against the time of the steps, too: so when somebody sets the leader's clock,
//! it is compared anew with the next word of the shell, without a new echo.
//!
//! An echo carries the time only where format 2 is in force on the connection: a build of format 1 takes nine bytes and no
//! more. Nothing expires in format 1, so there it is not missed. In format 2 every build sends it: a replica without one does
//! not know its own time, and does not count.
//!
//! Not promised: that the majority is right.

use crate::plants::clocks_of_a_majority_agree;
use crate::replica::Replica;
use crate::stance::Stance;
use std::time::Duration;

/// How far the clocks of two replicas may differ.
pub const CLOCKS_APART_MAX: Duration = Duration::from_secs(5);
/// A word of the shell is good for this long: it speaks every second, unless it was stopped.
const TOLD_MAX: Duration = Duration::from_secs(5);
/// An echo that took longer than this says too little.
const ROUND_TRIP_MAX: Duration = Duration::from_secs(5);
/// What was measured is good for this long. Each heartbeat brings more.
const MEASURED_MAX: Duration = Duration::from_secs(10);

/// What a leader knows of the clocks of all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Clocks {
    /// It leads, and those of a majority of the voters, its own among them, are within [`CLOCKS_APART_MAX`] of its own.
    pub agree: bool,
    /// How far the one that is worst is from its own, of all replicas that are heard, voters or not; at least, as messages
    /// take time. None: nothing is known, or it does not lead.
    pub apart: Option<Duration>,
}

/// By how much a clock is ahead of the time of the leader's steps, in milliseconds. May be below zero.
type Ahead = i128;

/// The time of day, as the shell said it last.
#[derive(Clone, Copy, Debug, Default, Hash)]
pub(crate) struct TimeOfDay(Option<(Ahead, Duration)>);

impl TimeOfDay {
    fn tell(&mut self, ms: u64, now: Duration) {
        self.0 = Some((ahead(ms, now), now));
    }

    fn ahead(&self, now: Duration) -> Option<Ahead> {
        self.0.filter(|(_, told_at)| now < *told_at + TOLD_MAX).map(|(ahead, _)| ahead)
    }

    /// In milliseconds since 1970; none where it is not known now.
    pub(crate) fn at(&self, now: Duration) -> Option<u64> {
        u64::try_from(self.ahead(now)? + millis(now)).ok()
    }
}

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
    fn apart_from(&self, own: Ahead, now: Duration) -> Option<Duration> {
        let (least, most, _) = self.ahead.filter(|(_, _, known_at)| now < *known_at + MEASURED_MAX)?;
        let apart = (least - own).max(own - most).max(0);
        Some(Duration::from_millis(u64::try_from(apart).unwrap_or(u64::MAX)))
    }
}

fn millis(time: Duration) -> Ahead {
    i128::try_from(time.as_millis()).unwrap_or(i128::MAX / 2)
}

fn ahead(ms: u64, now: Duration) -> Ahead {
    Ahead::from(ms) - millis(now)
}

impl Replica {
    /// The shell has looked at its clock.
    pub(crate) fn on_time_of_day(&mut self, ms: u64) {
        self.time_of_day.tell(ms, self.clock.now());
    }

    /// (an open leader) Whether the clocks of a majority agree with its own \[T1\], as of its last step.
    pub fn clocks(&self) -> Clocks {
        let (now, lost_time, replica) = (self.clock.now(), self.config.lost_time, self.config.replica);
        let Stance::Leading(leading) = &self.stance else { return Clocks::default() };
        let Some(own) = self.time_of_day.ahead(now) else { return Clocks::default() };
        if !self.says_open() || self.lost.is_some() {
            return Clocks::default();
        }
        let apart = |other| {
            let follower = leading.followers.get(&other).filter(|_| leading.hears(other, now, lost_time))?;
            follower.clock.apart_from(own, now)
        };
        let is_near = |other| other == replica || apart(other).is_some_and(|apart| apart <= CLOCKS_APART_MAX);
        let agree = self.volume.log().voters().is_majority(is_near) || !clocks_of_a_majority_agree();
        Clocks { agree, apart: leading.followers.keys().filter_map(|other| apart(*other)).max() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn the_time_of_day_goes_on_by_the_time_of_the_steps_until_it_is_too_old() {
        let mut own = TimeOfDay::default();
        assert_eq!(own.at(1000 * MS), None);
        own.tell(5_000_000, 1000 * MS);
        assert_eq!(own.at(1000 * MS), Some(5_000_000));
        assert_eq!(own.at(5999 * MS), Some(5_004_999));
        assert_eq!(own.at(6000 * MS), None);
        own.tell(7, 6000 * MS);
        assert_eq!(own.at(6001 * MS), Some(8));
    }

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
