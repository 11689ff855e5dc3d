//! Clusters that begin with a backup, in runs of their own (`--restores`).
//!
//! ```text
//!   a backup: some data up to a random sequence ─▶ pod-0 is created: an init container leaves restore.json on its volume,
//!   as long as that has no cluster ─▶ chaos, during the first start and after ─▶ heal ─▶ settled, with these data?
//! ```
//!
//! The init container runs for each new pod, and for each emptied volume: the backup stays set for good, as in a chart. So
//! restore.json also lies on volumes of clusters that have long begun.

use crate::model::cluster::Cluster;
use crate::model::data::stored;
use crate::model::disk::Volume;
use crate::model::facts::Applied;
use crate::model::rng::Rng;
use crate::model::settings::Settings;
use crate::plant::{Plant, Shell};
use leasehold_documents::Documents;
use leasehold_replication::{Config, DurableState, Position, Recovered, Restore, Seq, Term, begins_anew};
use std::rc::Rc;
use std::time::Duration;

/// The last sequence of a backup.
const SEQUENCES: (u64, u64) = (5, 300);

impl Settings {
    /// With random numbers of its own, so that seeds mean the same with a backup and without.
    pub(crate) fn choose_backup(&mut self, seed: u64) {
        let mut own = Rng::new(seed ^ 0x4e57);
        let position = Position { term: Term(0), seq: Seq(own.between(SEQUENCES.0, SEQUENCES.1)) };
        let format = match (self.collections, self.two_builds) {
            (true, _) => 2,
            (false, true) => 1 + own.below(2) as u32,
            (false, false) => 1,
        };
        self.restores = Some(Restore { position, format });
    }
}

impl Cluster {
    /// Another cluster has committed the data of the backup, long ago.
    pub(crate) fn prepare_backup(&mut self) {
        let Some(restore) = self.settings.restores else { return };
        let mut documents = Documents::new();
        for seq in 1..=restore.position.seq.0 {
            let position = Position { term: Term(0), seq: Seq(seq) };
            let digest = self.rng.bits();
            self.facts.applied.push(Applied { position, by: Term(0), digest });
            self.facts.applied_at.push(Duration::ZERO);
            if self.settings.collections {
                self.commit_to_backup(&mut documents, position, restore.format);
            }
        }
        if self.settings.collections {
            self.books.stored.insert(restore.position.seq, Rc::new(stored(&documents)));
        }
        self.facts.restored_format = restore.format;
        self.run_init_container(0);
    }

    /// What an init container of that pod does, before its store starts.
    pub(crate) fn run_init_container(&mut self, pod: usize) {
        let found = &mut self.pods[pod];
        if found.ordinal != Some(0) || found.volume.has_cluster() {
            return;
        }
        found.volume.restore = self.settings.restores;
        found.volume.restores_at_once = self.settings.plant != Some(Plant::Shell(Shell::RestoreInTwoWrites));
    }
}

impl Volume {
    /// A store starts: what the shell does about restore.json. Returns what was found for the replica.
    pub(crate) fn offer_restore(
        &mut self,
        recovered: Recovered,
        config: &mut Config,
        plant: Option<Plant>,
    ) -> Recovered {
        let is_first = begins_anew(&recovered, config.force_bootstrap);
        let at_any_start = plant == Some(Plant::Shell(Shell::RestoreAtAnyStart));
        if !is_first && !at_any_start {
            self.restore = None;
        }
        config.restore = self.restore;
        if plant == Some(Plant::Shell(Shell::RestoreTermKept))
            && let Some(restore) = &mut config.restore
        {
            restore.position.term = Term(7);
        }
        if plant == Some(Plant::Shell(Shell::RestoreDeletedEarly)) {
            self.restore = None;
        }
        if is_first || self.restore.is_none() {
            return recovered;
        }
        // (planted) The file is believed more than the volume.
        let state = DurableState { promise: recovered.state.promise, ..DurableState::EMPTY };
        Recovered { state, snapshot: None, entries: Vec::new(), ..recovered }
    }
}
