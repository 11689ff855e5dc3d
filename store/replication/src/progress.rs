//! How far it is: what is committed, and what of that was given out for application.
//!
//! Invariants: neither goes down; nothing is applied that is not committed.

use crate::replica::Replica;
use crate::{Effect, Seq};

/// See the module.
#[derive(Clone, Copy, Debug, Hash)]
pub(crate) struct Progress {
    /// Committed, as far as this replica knows.
    commit: Seq,
    /// Given out for application.
    applied: Seq,
    /// Caught up once with a leader.
    caught_up: bool,
}

impl Progress {
    /// A start: the snapshot is committed and applied, and what the volume proves is committed.
    pub(crate) fn new(snapshot: Seq, proven: Option<Seq>) -> Progress {
        let commit = proven.map_or(snapshot, |proven| proven.max(snapshot));
        Progress { commit, applied: snapshot, caught_up: false }
    }

    pub(crate) fn commit(&self) -> Seq {
        self.commit
    }

    pub(crate) fn applied(&self) -> Seq {
        self.applied
    }

    /// It has caught up with a leader since its start.
    pub(crate) fn has_caught_up_once(&self) -> bool {
        self.caught_up
    }

    pub(crate) fn note_caught_up(&mut self, now: bool) {
        self.caught_up |= now;
    }

    /// Committed up to here. Less than is known is no news.
    pub(crate) fn commit_up_to(&mut self, seq: Seq) {
        self.commit = self.commit.max(seq);
    }

    /// A snapshot was installed, in which everything up to here is applied.
    pub(crate) fn begin_after(&mut self, snapshot: Seq) {
        self.commit = snapshot;
        self.applied = snapshot;
    }
}

impl Replica {
    pub(crate) fn give_out_committed(&mut self) {
        let Progress { applied, commit, .. } = self.progress;
        if applied == commit {
            return;
        }
        // What is not applied is in memory.
        let mut entries = self.volume.log().range(applied.next(), self.config.apply_bytes_max).unwrap_or_default();
        entries.truncate((commit.0 - applied.0) as usize);
        if let Some(last) = entries.last() {
            self.progress.applied = last.position.seq;
            self.effects.push(Effect::Apply { entries });
        }
    }

    /// Committed entries wait to be applied by the next steps, of which one is due now: how far it is, and how far it goes.
    pub fn applies(&self) -> Option<(Seq, Seq)> {
        let Progress { applied, commit, .. } = self.progress;
        (applied < commit).then_some((applied, commit))
    }

    /// Bytes of records that are not applied, committed or not.
    pub fn unapplied_bytes(&self) -> u64 {
        self.volume.log().bytes_after(self.progress.applied).unwrap_or_default()
    }

    /// All that is committed will be applied when this step ends.
    pub(crate) fn applies_the_rest_now(&self) -> bool {
        let bytes = |seq| self.volume.log().bytes_after(seq).unwrap_or_default();
        bytes(self.progress.applied).saturating_sub(bytes(self.progress.commit)) <= self.config.apply_bytes_max as u64
    }
}
