//! What must hold where the first start is one from a backup (5.5 in docs/design.md): by what is on the volumes.
//!
//! ```text
//!   R1  it is a first start: no wanted pod has data, nor has the volume         check_restore()
//!   R2  it begins with the backup, and with all of it                           check_restore(), check_first_start()
//!   R3  everybody who is wanted has allowed the format of the data              check_restore()
//! ```

use crate::model::cluster::Cluster;
use leasehold_replication::{Record, Restore, SnapshotMeta};

impl Cluster {
    /// A store is about to begin with restored data.
    pub(crate) fn check_restore(&mut self, pod: usize, meta: &SnapshotMeta) {
        let (position, format) = (meta.position, meta.voters.format);
        if self.settings.restores != Some(Restore { position, format }) {
            return self.violation(format!("pod-{pod} restores data of format {format} up to {position} [R2]"));
        }
        let found = &self.pods[pod];
        if found.volume.has_data() {
            return self.violation(format!("pod-{pod} restores a backup, and its volume has data [R1]"));
        }
        let Some(up) = found.store.up() else { return };
        let wanted = up.members.iter().filter_map(|name| self.find_pod(name));
        let has_data = |other: &usize| *other != pod && self.pods[*other].volume.has_data();
        if let Some(other) = wanted.clone().find(has_data) {
            return self.violation(format!("pod-{pod} restores a backup, and pod-{other} has data [R1]"));
        }
        let is_against = |other: &usize| self.pods[*other].ever_allowed < format;
        if let Some(other) = wanted.chain([pod]).find(is_against) {
            self.violation(format!("pod-{pod} restores data of format {format}, which pod-{other} never allowed [R3]"));
        }
    }

    /// A store writes these records.
    pub(crate) fn check_first_start(&mut self, pod: usize, records: &[Record]) {
        let founds = |record: &Record| matches!(record, Record::State(state) if state.bootstrapping);
        if self.settings.restores.is_some() && records.iter().any(founds) {
            self.violation(format!("pod-{pod} begins a cluster without the backup [R2]"));
        }
    }
}
