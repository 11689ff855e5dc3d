//! Letting go: a hand-over to a successor, and when a stopping replica may end (5.4 in docs/design.md).
//!
//! ```text
//!   Drain, or handOverTo in role.json ─▶ a fit successor is chosen ─▶ it has (nearly) everything
//!     ─▶ handOver in status.json; writes continue ─▶ the sidecar transfers the Lease
//!     ─▶ the successor's claim arrives: sent to the successor, and followed ─▶ it pulls what it lacks ─▶ it is open
//!     ─▶ no more clients arrive ─▶ drained
//!   not done in time: undone, and tried again later
//!   not done at all, and the pod is not wanted: the leader removes itself from the voters, shortly before it must end
//! ```
//!
//! The leader accepts writes until it has the successor's claim, so the time that the API server needs for the transfer is
//! no pause. What is in flight then is not lost: it is in this log, and the successor pulls it if it counts our hello. An
//! entry that is cut was never acknowledged, is known not to be done, and can be proposed again.

use crate::membership::CAUGHT_UP_TIME;
use crate::plants::{needed_replicas_stay, unwanted_leaders_remove_themselves};
use crate::replica::Replica;
use crate::stance::{Follower, HandingOver, Stage, Stance};
use crate::target::ordinal;
use crate::{Claim, Effect, Incarnation, ReplicaId};
use std::time::Duration;

/// After a failed hand-over, writes continue this long before the next attempt.
const HAND_OVER_PAUSE: Duration = Duration::from_secs(3);
/// If leaving would cost the majority, a wanted replica waits this long for the role.json that may explain the SIGTERM: one
/// in which it is no longer wanted \[L6\]. It does not wait longer, or a pod in a cluster of two could not be deleted.
const LAST_VOTER_WAITS: Duration = Duration::from_secs(5);
/// A leader that no longer counts for anything removes itself this long before it must end. One of the pauses between its
/// attempts to hand over begins within this time, for the voters do not change during an attempt.
const REMOVES_ITSELF_BEFORE: Duration = Duration::from_secs(5);
/// The sidecar learns of a successor once the successor lacks no more than it can pull within this time, because writes
/// wait meanwhile.
const NEARLY_ALL_TIME: Duration = Duration::from_millis(100);
/// A chosen successor may fall behind for this long: a burst of writes does not undo a hand-over.
const BEHIND_MAX: Duration = Duration::from_secs(1);

/// It received a signal to end, or has failed.
#[derive(Clone, Copy, Debug, Default, Hash)]
pub(crate) struct Ending {
    draining_since: Option<Duration>,
    failed: bool,
}

impl Ending {
    /// A signal to end arrived, perhaps not the first one.
    pub(crate) fn drain(&mut self, now: Duration) {
        self.draining_since.get_or_insert(now);
    }

    /// When the first signal to end arrived.
    pub(crate) fn draining_since(&self) -> Option<Duration> {
        self.draining_since
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining_since.is_some()
    }

    /// Nothing more is done here.
    pub(crate) fn fail(&mut self) {
        self.failed = true;
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.failed
    }
}

impl Replica {
    /// The leader's part: begins, finishes and undoes a hand-over.
    pub(crate) fn tend_draining(&mut self) {
        let asked = self.sidecar.view().and_then(|view| view.hand_over_to.clone());
        let asked = asked.filter(|name| *name != self.config.name);
        let own_gone = !self.is_voter() || !self.sidecar.is_wanted(&self.config.name);
        let Stance::Leading(leading) = &self.stance else { return };
        if !matches!(leading.stage, Stage::Open(_)) {
            return;
        }
        let hangs = self.lets_go_for_its_disk();
        let is_short = self.wants_room_elsewhere();
        let diverged = self.checks.end_leading();
        let wish = self.ending.is_draining() || own_gone || hangs || diverged || asked.is_some() || is_short;
        match &leading.hand_over {
            Some(hand_over) => {
                let caught_up_at = if self.is_fit(hand_over.to) { self.clock.now() } else { hand_over.caught_up_at };
                let fit = self.is_in_shape(hand_over.to) && self.clock.now() < caught_up_at + BEHIND_MAX;
                let late = self.clock.now() >= hand_over.since + self.config.hand_over_max;
                // One that is asked for and not fit does not count: the next one chosen would be the same again.
                let other = !self.ending.is_draining()
                    && asked.is_some_and(|name| name != hand_over.to_name && self.successor(Some(&name)).is_some());
                let successor = leading.followers.get(&hand_over.to);
                // Where writes take longer than that to become durable it never lacks so little.
                let time = if self.clock.now() < hand_over.since + self.config.hand_over_max / 2 {
                    NEARLY_ALL_TIME
                } else {
                    CAUGHT_UP_TIME
                };
                let has_nearly_all = successor.is_some_and(|one| self.lacks_little(one, time));
                let Stance::Leading(leading) = &mut self.stance else { return };
                if !wish || !fit || late || other {
                    // Undone, so the sidecar renews the Lease again, and abandons a switchover that is impossible.
                    leading.hand_over = None;
                    leading.hand_over_not_before =
                        if late { self.clock.now() + HAND_OVER_PAUSE } else { self.clock.now() };
                    if wish && !late {
                        self.tend_draining();
                    }
                } else if let Some(hand_over) = &mut leading.hand_over {
                    hand_over.caught_up_at = caught_up_at;
                    hand_over.ready |= has_nearly_all;
                }
            }
            None if wish && self.clock.now() >= leading.hand_over_not_before => {
                let forced = self.ending.is_draining() || own_gone || hangs || diverged;
                let named = asked.as_deref().and_then(|name| self.successor(Some(name)));
                let found = match named {
                    None if forced => self.successor(None),
                    None if is_short => self.successor_with_room(),
                    named => named,
                };
                let Some((to, follower)) = found else { return };
                let hand_over = HandingOver {
                    to,
                    to_name: follower.name.clone(),
                    to_incarnation: follower.incarnation,
                    since: self.clock.now(),
                    caught_up_at: self.clock.now(),
                    ready: false,
                };
                let Stance::Leading(leading) = &mut self.stance else { return };
                leading.hand_over = Some(hand_over);
                self.tend_draining();
            }
            None => {}
        }
    }

    /// The best successor (or the requested one, if it is fit): caught up, on the newest revision, of the lowest ordinal
    /// \[L10\]. An update begins at the highest ordinal, so of the pods not yet updated it reaches the lowest last.
    fn successor(&self, name: Option<&str>) -> Option<(ReplicaId, &Follower)> {
        let Stance::Leading(leading) = &self.stance else { return None };
        let fit = leading
            .followers
            .iter()
            .filter(|(replica, follower)| name.is_none_or(|name| follower.name == name) && self.is_fit(**replica));
        let newest = self.sidecar.view().and_then(|view| view.newest_revision.as_deref());
        fit.min_by_key(|(_, follower)| {
            let is_newest = match newest {
                Some(newest) => follower.revision == newest,
                // Not known: during an update it is the revision that is not ours.
                None => follower.revision != self.config.revision || follower.revision.is_empty(),
            };
            // One that would have to refuse writes is better than none.
            (follower.room.limit().is_some(), !is_newest, ordinal(&follower.name))
        })
        .map(|(replica, follower)| (*replica, follower))
    }

    /// The best successor, if it is short of nothing.
    pub(crate) fn successor_with_room(&self) -> Option<(ReplicaId, &Follower)> {
        self.successor(None).filter(|(_, follower)| follower.has_room())
    }

    /// In shape to lead, and lacks at most what it can absorb within a second \[L10\].
    fn is_fit(&self, replica: ReplicaId) -> bool {
        let Stance::Leading(leading) = &self.stance else { return false };
        let follower = leading.followers.get(&replica);
        self.is_in_shape(replica) && follower.is_some_and(|one| self.lacks_little(one, CAUGHT_UP_TIME))
    }

    /// Wanted, a voter, eligible, heard, and neither draining nor stalled itself \[L10\]; with the data of the majority if
    /// this leader's have diverged \[D4\].
    fn is_in_shape(&self, replica: ReplicaId) -> bool {
        let Stance::Leading(leading) = &self.stance else { return false };
        leading.followers.get(&replica).is_some_and(|one| {
            self.volume.log().voters().contains(replica)
                && self.sidecar.is_wanted(&one.name)
                && one.eligible
                && !one.draining
                && !self.is_known_stalled(replica)
                && !one.room.full
                && !one.diverged
                && self.checks.allow_successor(replica)
                && leading.hears(replica, self.clock.now(), self.config.lost_time)
        })
    }

    /// The hand-over as published: to this pod and incarnation. None while no pod is fit for it.
    pub(crate) fn published_hand_over(&self) -> Option<(String, Incarnation)> {
        let Stance::Leading(leading) = &self.stance else { return None };
        let hand_over = leading.hand_over.as_ref().filter(|hand_over| hand_over.ready)?;
        Some((hand_over.to_name.clone(), hand_over.to_incarnation))
    }

    /// The chosen successor's claim has arrived: what to send to the successor. It need not wait until the API server has
    /// notified its sidecar.
    pub(crate) fn word_to_successor(&self, claim: &Claim) -> Option<Effect> {
        let Stance::Leading(leading) = &self.stance else { return None };
        let hand_over = leading.hand_over.as_ref()?;
        let is_successor = hand_over.to_name == claim.name && hand_over.to_incarnation == claim.incarnation;
        let invite = || Effect::Invite { to: claim.target(), claim: claim.clone() };
        is_successor.then(invite)
    }

    /// (a leader) It must end soon, for good, and nobody took over: its own sidecar is dead, or the API server is away. Were it
    /// a voter then, the others might never have a majority again \[L6\].
    pub(crate) fn goes_without_successor(&self) -> bool {
        let Some(since) = self.ending.draining_since() else { return false };
        self.clock.now() >= self.removes_itself_at(since)
            && !self.sidecar.is_wanted(&self.config.name)
            && unwanted_leaders_remove_themselves()
    }

    /// Where that time is short, the first half is for a hand-over.
    fn removes_itself_at(&self, since: Duration) -> Duration {
        since + self.config.drain_max - REMOVES_ITSELF_BEFORE.min(self.config.drain_max / 2)
    }

    /// It was asked to end, and nothing keeps it any longer.
    pub(crate) fn is_drained(&self) -> bool {
        let Some(since) = self.ending.draining_since() else { return false };
        if !needed_replicas_stay()
            || self.ending.has_failed()
            || self.past.has_gone_back()
            || self.sidecar.members().is_empty()
            || self.clock.now() >= since + self.config.drain_max
        {
            return true;
        }
        // Clients wait for entries that are not applied yet.
        if self.applies().is_some() {
            return false;
        }
        // Clients still come, until everybody knows that this pod's address is no good any more.
        if self.clock.now() < since + self.config.drain_min {
            return false;
        }
        let voters = self.volume.log().voters_at(self.progress.commit());
        let counts = voters.contains(self.config.replica) || self.is_voter();
        if !counts {
            return true;
        }
        if !self.sidecar.is_wanted(&self.config.name) {
            return false;
        }
        let patient = self.clock.now() < since + LAST_VOTER_WAITS;
        match &self.stance {
            // It leads on while a successor may still appear.
            Stance::Leading(_) => !patient && !self.others_are_a_majority(since) || self.is_alone(),
            // Its successor is open: it has committed an entry of its own term [L9].
            Stance::Following(following) => {
                let opened = self
                    .volume
                    .log()
                    .position_at(self.progress.commit())
                    .is_some_and(|at| at.term == following.claim.term);
                let succeeded = following.heard && opened;
                (succeeded && self.others_are_a_majority(since)) || !patient
            }
            Stance::Idle => !patient,
        }
    }

    fn is_alone(&self) -> bool {
        self.volume.log().voters().voters.iter().all(|voter| voter.replica == self.config.replica)
    }

    /// A majority is left without us: of voters that are heard, or that answered within the lost-time, and that neither end
    /// themselves nor wait for a hung disk. An older answer proves nothing: all of them may have been asked to end at once.
    fn others_are_a_majority(&self, since: Duration) -> bool {
        let fresh = since.max(self.clock.now().saturating_sub(self.config.lost_time));
        let stays = |replica: ReplicaId| match &self.stance {
            Stance::Leading(leading) => {
                leading.hears(replica, self.clock.now(), self.config.lost_time)
                    && leading.followers.get(&replica).is_some_and(|one| !one.draining)
                    && !self.is_known_stalled(replica)
            }
            Stance::Idle | Stance::Following(_) => {
                self.peers.since(fresh).any(|state| state.replica == replica && state.eligible)
            }
        };
        self.volume.log().voters().is_majority(|replica| replica != self.config.replica && stays(replica))
    }

    pub(crate) fn draining_deadline(&self) -> Option<Duration> {
        let since = self.ending.draining_since()?;
        let bounds = [
            since + self.config.drain_min,
            since + LAST_VOTER_WAITS,
            self.removes_itself_at(since),
            since + self.config.drain_max,
        ];
        bounds.into_iter().filter(|bound| *bound > self.clock.now()).min()
    }
}
