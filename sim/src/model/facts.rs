//! The true facts, from what was written to journals and applied to documents anywhere: no replica is believed. Each fact
//! is compared when it is added (`judge::invariants`), and the first violation is kept.

use super::disk::checksum;
use leasehold_replication::{ClusterId, Entry, Incarnation, Position, Promise, ReplicaId, Seq, Term, Voters};
use std::collections::BTreeMap;
use std::time::Duration;

/// One entry that was written somewhere.
#[derive(Clone, Debug)]
pub(crate) struct Written {
    pub(crate) position: Position,
    pub(crate) previous: Position,
    pub(crate) checksum: u32,
    /// The cluster of an entry of term 0: a failed bootstrap is repeated, as another cluster.
    pub(crate) cluster: Option<ClusterId>,
    /// The numbers of the volumes that had it durably at any time.
    pub(crate) durable: u64,
}

/// One entry that was applied somewhere.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Applied {
    pub(crate) position: Position,
    /// The lowest term in which a replica applied it.
    pub(crate) by: Term,
    /// The documents after it.
    pub(crate) digest: u64,
}

/// All true facts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    /// By sequence, then the few variants of it.
    pub(crate) written: Vec<Vec<Written>>,
    pub(crate) applied: Vec<Applied>,
    pub(crate) opened: BTreeMap<Term, Incarnation>,
    /// The number of each volume.
    pub(crate) volume_numbers: BTreeMap<ReplicaId, usize>,
    /// By volume number: a durable snapshot contains the whole committed log up to here.
    pub(crate) snapshots: Vec<Seq>,
    /// By volume number: the last promise that became durable.
    pub(crate) promises: Vec<Option<Promise>>,
    /// What was applied for the first time in the present step, and in which term.
    pub(crate) fresh: Vec<(Position, Term)>,
    /// When each entry was applied first.
    pub(crate) applied_at: Vec<Duration>,
    /// Every voters entry of a later format than the lowest: where it stands, the format, and the voters.
    pub(crate) raises: Vec<(Position, Voters)>,
    /// The format of the data that were restored; 0 without any.
    pub(crate) restored_format: u32,
    /// The first violation.
    pub(crate) violation: Option<String>,
}

impl Facts {
    /// The first violation, if there was one.
    pub(crate) fn take_violation(&mut self) -> Option<String> {
        self.violation.take()
    }

    /// Has there been a violation?
    pub(crate) fn is_violated(&self) -> bool {
        self.violation.is_some()
    }

    /// Something is wrong. Only the first violation is kept: the others follow from it.
    pub(crate) fn violated(&mut self, what: String) {
        self.violation.get_or_insert(what);
    }

    /// What was applied for the first time since the last call: (position, term of the replica).
    pub(crate) fn take_fresh(&mut self) -> Vec<(Position, Term)> {
        std::mem::take(&mut self.fresh)
    }

    /// How far any replica has applied.
    pub(crate) fn applied_seq(&self) -> Seq {
        Seq(self.applied.len() as u64)
    }

    /// How many terms were opened for writes.
    pub(crate) fn terms_opened(&self) -> usize {
        self.opened.len()
    }

    /// May there be one more volume?
    pub(crate) fn has_room_for_a_volume(&self) -> bool {
        // Some are left for replicas that empty themselves.
        self.snapshots.len() < 56
    }

    /// A new volume. At most 64 of them in a run.
    pub(crate) fn add_volume(&mut self, replica: ReplicaId) -> usize {
        assert!(self.snapshots.len() < 64, "a run has at most 64 volumes");
        self.volume_numbers.insert(replica, self.snapshots.len());
        self.snapshots.push(Seq(0));
        self.promises.push(None);
        self.snapshots.len() - 1
    }

    /// A digest of all documents when everything up to `seq` is applied.
    pub(crate) fn digest(&self, seq: Seq) -> Option<u64> {
        if seq == Seq(0) { Some(0) } else { self.applied.get(seq.0 as usize - 1).map(|applied| applied.digest) }
    }
}

/// The documents after one more entry. (Any mixing function will do: a wrong, missing or exchanged entry changes it.)
pub(crate) fn digest(before: u64, entry: &Entry) -> u64 {
    (before.rotate_left(5) ^ u64::from(checksum(entry))).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}
