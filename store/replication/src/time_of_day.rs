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

use crate::measured::{Ahead, ahead, millis};
use crate::plants::clocks_of_a_majority_agree;
use crate::replica::Replica;
use crate::stance::Stance;
use std::time::Duration;

/// How far the clocks of two replicas may differ.
pub const CLOCKS_APART_MAX: Duration = Duration::from_secs(5);
/// A word of the shell is good for this long: it speaks every second, unless it was stopped.
const TOLD_MAX: Duration = Duration::from_secs(5);

/// What a leader knows of the clocks of all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Clocks {
    /// It leads, and those of a majority of the voters, its own among them, are within [`CLOCKS_APART_MAX`] of its own.
    pub agree: bool,
    /// How far the one that is worst is from its own, of all replicas that are heard, voters or not; at least, as messages
    /// take time. None: nothing is known, or it does not lead.
    pub apart: Option<Duration>,
}

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
}
