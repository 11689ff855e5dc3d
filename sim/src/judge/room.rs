//! What may not be taken or written where memory or the disk run short.

use crate::model::cluster::Cluster;
use leasehold_replication::{Entry, Level, Payload, Phase, Term};

impl Cluster {
    /// A replica that was told that its disk is full writes an entry of a client's.
    pub(crate) fn writes_to_full_disk(&self, pod: usize, entry: &Entry) -> Option<String> {
        let up = self.pods[pod].store.up()?;
        // A leader that has not opened yet pulls what it lacks, even if it is full, and even if it drains.
        let status = &up.status;
        let leads = status.following.as_ref().is_some_and(|claim| claim.incarnation == up.incarnation);
        let recovers = status.phase == Phase::Recovering || leads && !status.open;
        let is_full = status.room.disk == Level::Full && !recovers;
        // A cluster's first data come of no client, and before anybody leads.
        let is_write = matches!(entry.payload, Payload::Command(_)) && entry.position.term > Term(0);
        (is_full && is_write).then(|| format!("{} writes {} to a full disk", self.pods[pod].name, entry.position))
    }

    /// A leader that is far over takes what makes the data larger.
    pub(crate) fn grows_far_over(&self, pod: usize) -> Option<String> {
        let room = self.pods[pod].store.up()?.status.room;
        let is_far = room.memory >= Level::Far || room.disk >= Level::Far;
        is_far.then(|| format!("{} is far over its limits, and takes what grows", self.pods[pod].name))
    }
}
