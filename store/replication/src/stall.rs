//! A disk that hangs (5.7 in docs/design.md): a write or an fsync that neither succeeds nor fails.
//!
//! ```text
//!   Disk { stalled } ─▶ not eligible, not caught up, by a flag in each echo and in `GET /v1/state` \[B3\]
//!     a leader, while the others are a majority without it, connected and not stalled themselves \[B4\]:
//!        ─▶ hands over to the best of them, as in a drain (`draining`), but without ending
//!        ─▶ nobody took over within the lost-time: falls silent \[B1\]
//!   Disk { not stalled } ─▶ speaks again; counts as stalled for ten bounds longer
//! ```
//!
//! Silence means: all connections closed, hellos refused, nobody invited, and "I hear no majority". Stopping only its
//! heartbeats would not make it lost: any frame counts as heard, and a follower that lost it is welcomed when it dials
//! again. A closed connection counts as lost at once, so the others campaign, and the promises do the rest.
//!
//! A promise of this replica cannot become durable meanwhile, so it says no hello and does not count; that needs no rule of
//! its own. It keeps listening to peers \[B2\]: it refuses only what needs the disk.

use crate::disk::Stall;
use crate::plants::{hung_leaders_fall_silent, hung_replicas_lag, needed_hung_leaders_stay};
use crate::replica::Replica;
use crate::stance::{Link, Stance};
use crate::{Body, Effect, ReplicaId};
use std::time::Duration;

/// After the end a replica counts as stalled for this many bounds: a disk that hangs, answers and hangs again would
/// otherwise get the leadership again and again.
const DOUBTED_BOUNDS: u32 = 10;
/// A leader lets go this many heartbeats after the report: if one storage hangs for all, the others have reported it by
/// then.
const HEARTBEATS_BEFORE: u32 = 3;

impl Replica {
    pub(crate) fn on_disk(&mut self, stalled: bool, full: bool) {
        let hung = self.disk.hangs;
        (self.disk.hangs, self.disk.full) = (stalled, stalled && full);
        if stalled {
            self.disk.doubted_until = None;
        } else if hung {
            self.disk.doubted_until = Some(self.clock.now() + self.config.disk_stall * DOUBTED_BOUNDS);
            self.ask_for_what_was_missed();
            if let Stance::Leading(leading) = &mut self.stance {
                leading.next_invitations = self.clock.now();
            }
        }
    }

    /// What was not accepted is sent again to a replica that reports that it lacks it \[B2\].
    fn ask_for_what_was_missed(&mut self) {
        if std::mem::take(&mut self.disk.missed)
            && let Stance::Following(following) = &self.stance
            && let Link::Up(conn) = following.link
        {
            self.send(conn, Body::Mismatch { hint: self.volume.log().last() });
        }
    }

    /// Its disk hangs, or did so a moment ago.
    pub(crate) fn is_stalled(&self) -> bool {
        self.disk.hangs || self.disk.doubted_until.is_some_and(|until| self.clock.now() < until)
    }

    /// It may become leader, as reported to its sidecar: a doubtful one only if no sound one would.
    pub(crate) fn may_contend(&self) -> bool {
        let Some(lost) = self.lost.as_ref().filter(|_| self.is_stalled() && !self.disk.hangs) else {
            return self.is_eligible();
        };
        let is_sound =
            |replica: ReplicaId| replica != self.config.replica && self.volume.log().voters().contains(replica);
        self.is_eligible_but_for_its_disk()
            && !self.peers.since(lost.since).any(|state| state.eligible && is_sound(state.replica))
    }

    /// Its disk hangs before it has stored the promise to the leader that it is to follow: until then it can say no hello.
    pub(crate) fn waits_to_promise(&self) -> bool {
        let Stance::Following(following) = &self.stance else { return false };
        self.disk.hangs && !self.volume.writes().is_durable(following.promised_by)
    }

    /// (a leader) That follower reports that its disk hangs.
    pub(crate) fn is_known_stalled(&self, replica: ReplicaId) -> bool {
        let Stance::Leading(leading) = &self.stance else { return false };
        leading.followers.get(&replica).is_some_and(|one| one.stalled) && hung_replicas_lag()
    }

    /// (a leader) The other voters are a majority without it, connected and not stalled.
    fn is_dispensable(&self) -> bool {
        let Stance::Leading(leading) = &self.stance else { return false };
        let own = self.config.replica;
        let goes_on = |replica: ReplicaId| {
            leading.hears(replica, self.clock.now(), self.config.lost_time)
                && leading.followers.get(&replica).is_some_and(|one| !one.stalled)
        };
        self.volume.log().voters().is_majority(|replica| replica != own && goes_on(replica))
            || !needed_hung_leaders_stay()
    }

    /// A write that is accepted now would wait for a disk that hangs.
    pub(crate) fn write_needs_hung_disk(&self) -> bool {
        self.disk.hangs && (self.disk.full || !self.is_dispensable())
    }

    /// (a leader) It hands over because its disk hangs.
    pub(crate) fn lets_go_for_its_disk(&self) -> bool {
        let Stance::Leading(leading) = &self.stance else { return false };
        leading.stall.dispensable_since.is_some_and(|since| self.clock.now() >= since + self.patience())
    }

    fn patience(&self) -> Duration {
        (self.config.heartbeat * HEARTBEATS_BEFORE).min(self.config.lost_time / 2)
    }

    /// The leader's part: falls silent, and speaks again.
    pub(crate) fn tend_stall(&mut self) {
        let is_dispensable = self.disk.hangs && self.is_dispensable();
        let late = self.patience() + self.config.lost_time;
        let stays_silent = self.checks.end_leading();
        let Stance::Leading(leading) = &mut self.stance else { return };
        let stall = &mut leading.stall;
        if !self.disk.hangs {
            *stall = Stall::default();
            leading.is_silent &= stays_silent;
        } else if leading.is_silent {
        } else if !is_dispensable {
            stall.dispensable_since = None;
        } else if self.clock.now() >= *stall.dispensable_since.get_or_insert(self.clock.now()) + late
            && hung_leaders_fall_silent()
        {
            self.fall_silent();
        }
    }

    /// Ends all contact, without ending its leadership.
    pub(crate) fn fall_silent(&mut self) {
        let Stance::Leading(leading) = &mut self.stance else { return };
        leading.stall = Stall::default();
        leading.is_silent = true;
        leading.hand_over = None;
        for conn in leading.followers.values_mut().filter_map(|follower| follower.conn.take()) {
            self.effects.push(Effect::Close { conn });
        }
        self.effects.push(Effect::GiveUp);
        self.lose();
    }

    /// What it waits for, for people.
    pub fn waits_for_disk(&self) -> Option<String> {
        let what = match &self.stance {
            Stance::Leading(leading) if leading.is_silent => "it keeps silent, so that another replica can lead",
            Stance::Leading(_) if self.is_dispensable() => "it hands over to another replica, or else keeps silent",
            Stance::Leading(_) => "it continues to lead, because the others are not a majority without it",
            Stance::Following(_) | Stance::Idle => "it will not lead, and acknowledges nothing",
        };
        self.disk.hangs.then(|| format!("the disk, which hangs: until it answers, {what}"))
    }

    pub(crate) fn stall_deadline(&self) -> Option<Duration> {
        let sound = self.disk.doubted_until.filter(|until| *until > self.clock.now());
        let since = match &self.stance {
            Stance::Leading(leading) => leading.stall.dispensable_since,
            Stance::Idle | Stance::Following(_) => None,
        };
        let patient = since.map(|since| since + self.patience());
        let silent = since.map(|since| since + self.patience() + self.config.lost_time);
        [sound, patient, silent].into_iter().flatten().filter(|at| *at > self.clock.now()).min()
    }
}
