//! Who counts: the leader aligns the voters with the wanted members (5.5 in docs/design.md).
//!
//! One entry adds or removes exactly one; it takes effect when appended; the next one waits for its commit. It is made
//! only if a majority of the *resulting* voters is connected and has caught up, so a change cannot stop the cluster.
//! Order: it first removes dead volumes, then pods that are not wanted, and then adds wanted pods that have caught up
//! [S7, L6]. When no voter is to be added or removed, the format may rise ([`formats`](crate::formats)). A leader that is not
//! wanted hands over; it removes itself only where that came to nothing until shortly before it must end (`draining`).

use crate::plants::{
    distance_is_bytes_and_time, one_voter_an_entry, voters_change_one_by_one, voters_have_caught_up,
    voters_wait_for_own_entry,
};
use crate::replica::Replica;
use crate::stance::{Follower, Stage, Stance};
use crate::target::ordinal;
use crate::{Payload, ReplicaId, Voter, Voters};
use std::time::Duration;

/// A replica has caught up when it lacks no more than it absorbs within this time, at its measured pace.
pub(crate) const CAUGHT_UP_TIME: Duration = Duration::from_secs(1);

impl Replica {
    pub(crate) fn reconcile_voters(&mut self) {
        let Some(next) = self.next_voters() else { return };
        self.append_own([Payload::Voters(next)]);
    }

    /// The next set of voters, if it should change and may change now.
    fn next_voters(&self) -> Option<Voters> {
        let Stance::Leading(leading) = &self.stance else { return None };
        let is_open = matches!(leading.stage, Stage::Open(_))
            || !voters_wait_for_own_entry() && matches!(leading.stage, Stage::Opening(_));
        let is_settled = self.volume.log().voters_since() <= self.progress.commit()
            || !voters_change_one_by_one()
            || !voters_wait_for_own_entry();
        let settled = is_open && is_settled;
        if !settled || leading.hand_over.is_some() || self.checks.end_leading() || self.sidecar.members().is_empty() {
            return None;
        }
        let now = self.volume.log().voters();
        let wanted = self.sidecar.members().len();
        let is_dead = |voter: &&Voter| {
            leading.gone_back.contains(&voter.replica)
                || leading.seen.get(&voter.name).is_some_and(|id| *id != voter.replica)
        };
        let dead = now.voters.iter().find(is_dead);
        let unwanted = now
            .voters
            .iter()
            .filter(|voter| voter.replica != self.config.replica && !self.sidecar.is_wanted(&voter.name))
            // Who is gone already first: with it among those that are left there may be no majority to remove another.
            .max_by_key(|voter| (!self.has_caught_up(voter.replica), ordinal(&voter.name)));
        let own =
            || now.voters.iter().find(|voter| voter.replica == self.config.replica && self.goes_without_successor());
        if let Some(gone) = dead.or(unwanted).or_else(own) {
            let mut voters: Vec<Voter> = now.voters.iter().filter(|voter| *voter != gone).cloned().collect();
            if !one_voter_an_entry()
                && let Some(replica) = leading.connected_as(&gone.name)
            {
                voters.push(Voter { replica, ..gone.clone() });
            }
            let floor = if wanted == 1 && voters.len() == 1 { 1 } else { now.floor };
            return self.possible(Voters { format: now.format, floor, voters });
        }
        let comes = leading.followers.iter().filter(|(replica, follower)| {
            self.sidecar.is_wanted(&follower.name)
                && !now.contains(**replica)
                && now.named(&follower.name).is_none()
                && leading.seen.get(&follower.name) == Some(*replica)
                && !follower.diverged
                && self.has_caught_up(**replica)
        });
        if let Some((replica, follower)) = comes.min_by_key(|(_, follower)| ordinal(&follower.name)) {
            let peer_address = self.address_of(&follower.name)?;
            let mut voters = now.voters.clone();
            voters.push(Voter { replica: *replica, name: follower.name.clone(), peer_address });
            return self.possible(Voters { format: now.format, floor: now.floor.max(2), voters });
        }
        // Scaled to one before a second voter ever joined: only the floor changes.
        let alone = wanted == 1 && now.voters.len() == 1 && now.floor > 1;
        if alone {
            return Some(Voters { floor: 1, ..now.clone() });
        }
        self.possible(self.raised()?)
    }

    /// The set, if a majority of it is connected and has caught up.
    fn possible(&self, next: Voters) -> Option<Voters> {
        let own = self.config.replica;
        (!next.voters.is_empty() && next.is_majority(|replica| replica == own || self.has_caught_up(replica)))
            .then_some(next)
    }

    /// It can absorb all it lacks within that time. Bytes and time count: a thousand entries may be 300 MB.
    pub(crate) fn lacks_little(&self, follower: &Follower, time: Duration) -> bool {
        if !voters_have_caught_up() && time == CAUGHT_UP_TIME {
            return true;
        }
        if !distance_is_bytes_and_time() {
            return follower.outbound.verified.0 + 1_000 >= self.volume.log().last().seq.0;
        }
        follower.outbound.is_near(self.clock.now(), self.volume.log(), time)
    }

    /// Connected, heard, close to our end, and with a disk that answers.
    pub(crate) fn has_caught_up(&self, replica: ReplicaId) -> bool {
        let Stance::Leading(leading) = &self.stance else { return false };
        let (Stage::Opening(first) | Stage::Open(first)) = leading.stage else { return false };
        leading.hears(replica, self.clock.now(), self.config.lost_time)
            && !self.is_known_stalled(replica)
            && leading
                .followers
                .get(&replica)
                .is_some_and(|one| one.outbound.verified >= first && self.lacks_little(one, CAUGHT_UP_TIME))
    }
}
