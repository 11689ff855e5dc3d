//! What must not be accepted or written when memory or the disk run short.

use crate::model::cluster::Cluster;
use leasehold_replication::{Entry, Level, Payload, Phase, Term};

impl Cluster {
    /// A replica that knows that its disk is full writes a client's entry.
    pub(crate) fn writes_to_full_disk(&self, pod: usize, entry: &Entry) -> Option<String> {
        let up = self.pods[pod].store.up()?;
        // A leader that has not opened yet pulls what it lacks, even if it is full, and even if it drains.
        let status = &up.status;
        let leads = status.following.as_ref().is_some_and(|claim| claim.incarnation == up.incarnation);
        let recovers = status.phase == Phase::Recovering || leads && !status.open;
        let is_full = status.room.disk == Level::Full && !recovers;
        // A cluster's first data come from no client, and before there is a leader.
        let is_write = matches!(entry.payload, Payload::Command(_)) && entry.position.term > Term(0);
        (is_full && is_write).then(|| format!("{} writes {} to a full disk", self.pods[pod].name, entry.position))
    }

    /// A leader that is far over accepts a write that makes the data larger.
    pub(crate) fn grows_far_over(&self, pod: usize) -> Option<String> {
        let room = self.pods[pod].store.up()?.status.room;
        let is_far = room.memory >= Level::Far || room.disk >= Level::Far;
        is_far.then(|| format!("{} is far over its limits, and takes what grows", self.pods[pod].name))
    }
}
