//! What an operator may do to one volume while no store runs on it: `store recover --force-new-cluster` and
//! `store bootstrap --force`.
//!
//! ```text
//!   a majority lost for good:  volume of cluster A ──force_new_cluster──▶ new cluster-id, new replica, sole voter
//!                              sidecar adopt --cluster-id <new>;  the other volumes are wiped and join
//!   all volumes lost:          empty volume ──force_bootstrap──▶ a mark, which the next start obeys
//! ```
//!
//! Not promised: that nothing is lost. Both are for cases in which the protocol cannot continue without giving something
//! up, and both name what that is.

use crate::volume::disk::{Disk, RealDisk};
use crate::volume::files::{FOLDER, SNAPSHOT_TAKEN};
use crate::volume::identity;
use crate::volume::journal::{self, Writer};
use crate::volume::snapshot;
use crate::volume::{self, Found, VolumeError, recover};
use leasehold_documents::FORMAT;
use leasehold_documents::FalseSum;
use leasehold_replication::{
    ClusterId, DurableState, Entry, Payload, Position, ReplicaId, SnapshotMeta, Voter, Voters,
};
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use uuid::Uuid;

/// The assumed port for a voter whose address was never in the log.
const PEER_PORT: u16 = 8090;

/// Why nothing was done.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    /// A store runs on this volume.
    #[error(
        "a store is running on this volume; stop it first (kubectl scale statefulset … --replicas=0, then a pod of \
         your own)"
    )]
    Held,
    /// There is nothing to recover.
    #[error("this volume holds no data, so nothing can be recovered from it")]
    Empty,
    /// It is not empty.
    #[error("this volume holds data of cluster {0}; only an empty one can make a new cluster")]
    NotEmpty(ClusterId),
    /// The volume cannot be read or written.
    #[error(transparent)]
    Volume(#[from] VolumeError),
}

impl RecoverError {
    /// The exit code of a process that ends because of it.
    pub fn exit_code(&self) -> u8 {
        match self {
            RecoverError::Held | RecoverError::Empty | RecoverError::NotEmpty(_) => 2,
            RecoverError::Volume(error) => error.exit_code(),
        }
    }
}

/// What `recover --force-new-cluster` did. Its text is for the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewCluster {
    /// The cluster from now on.
    pub cluster_id: ClusterId,
    /// The cluster before.
    pub old_cluster_id: ClusterId,
    /// The volume from now on: its sole voter.
    pub replica: ReplicaId,
    /// The volume before.
    pub old_replica: ReplicaId,
    /// The last entry that was found here.
    pub last: Position,
    /// The names of the old voters.
    pub old_voters: Vec<String>,
    /// Some of the data that it holds are damaged.
    pub false_sum: Option<FalseSum>,
}

/// Makes this volume the only voter of a new cluster, with everything that it holds. `name`: the pod that it belongs to.
/// After an interruption, the operator can run it again.
///
/// # Errors
/// `Held`, `Empty`, and the errors of [`volume::Volume::open`].
pub fn force_new_cluster(folder: &Path, name: &str) -> Result<NewCluster, RecoverError> {
    force_new_cluster_on(open(folder)?, name)
}

fn force_new_cluster_on(disk: Arc<dyn Disk>, name: &str) -> Result<NewCluster, RecoverError> {
    let io = |source| VolumeError::io(&*disk, "", source);
    let Some(_lock) = disk.try_lock().map_err(io)? else { return Err(RecoverError::Held) };
    // Checked before anything is created: an empty folder stays empty.
    if identity::read(&*disk)?.is_none() {
        return Err(RecoverError::Empty);
    }
    let options = volume::Options::new(|_| {});
    let Found { replica: old_replica, replay, snapshot, documents, writer, false_sum } =
        recover(&disk, options.segment_bytes, options.on_fsync.clone(), options.format_build)?;
    let Some(replay) = replay else { return Err(RecoverError::Empty) };
    let (Some(old_cluster_id), true) = (replay.state.cluster_id, replay.last() > Position::ZERO) else {
        return Err(RecoverError::Empty);
    };
    let old_voters = voters(&replay, snapshot.as_ref());
    let (cluster_id, replica) = (ClusterId(Uuid::new_v4()), identity::fresh());
    let known = old_voters.voters.iter().find(|voter| voter.replica == old_replica).or(old_voters.named(name));
    let voter = Voter {
        replica,
        name: name.to_owned(),
        peer_address: known.map_or_else(|| format!("{name}:{PEER_PORT}"), |voter| voter.peer_address.clone()),
    };
    // What the volume holds needs its format, also in the new cluster.
    let sole = Voters { format: old_voters.format, floor: 1, voters: vec![voter] };
    let format = replay.newest.format.max(sole.format);

    let mark = match snapshot {
        Some(snapshot) => {
            let voters = Voters { format: snapshot.voters.format, ..sole.clone() };
            let meta = SnapshotMeta { cluster_id, position: snapshot.position, voters };
            let mark = snapshot::write(&*disk, SNAPSHOT_TAKEN, &meta, &documents).map_err(io)?;
            journal::stage(&*disk, SNAPSHOT_TAKEN).map_err(io)?;
            Some(mark)
        }
        None => None,
    };
    // The promise stays: terms continue from it, also for this name at the API server.
    let state = DurableState { promise: replay.state.promise, cluster_id: Some(cluster_id), bootstrapping: false };
    let last = replay.last();
    let mut entries: Vec<Entry> = replay.chain.iter().map(|live| live.entry.clone()).collect();
    entries.push(Entry::new(last, last.term, Payload::Voters(sole)));
    let number = writer.segments().last().map_or(1, |number| number + 1);
    let mut writer = Writer::replace_all(disk.clone(), options.segment_bytes, (format, number), state, mark, &entries)
        .map_err(io)?;
    if mark.is_some() {
        journal::name_snapshot(&*disk).map_err(io)?;
    }
    identity::write(&*disk, replica).map_err(io)?;
    volume::clean(&*disk, &mut writer);
    let old_voters = old_voters.voters.into_iter().map(|voter| voter.name).collect();
    Ok(NewCluster { cluster_id, old_cluster_id, replica, old_replica, last, old_voters, false_sum })
}

/// The voters by the volume's own log.
fn voters(replay: &journal::Replay, snapshot: Option<&SnapshotMeta>) -> Voters {
    let in_log = replay.chain.iter().rev().find_map(|live| match &live.entry.payload {
        Payload::Voters(voters) => Some(voters.clone()),
        Payload::Empty | Payload::Command(_) => None,
    });
    in_log.or_else(|| snapshot.map(|snapshot| snapshot.voters.clone())).unwrap_or_else(Voters::none)
}

/// Leaves a mark on an empty volume: the next start of the store on it founds a new cluster without asking the others. A
/// store may be running on it (waiting, because the Lease carries a cluster-id): it has to be restarted.
///
/// # Errors
/// `NotEmpty`, and the errors of reading the volume.
pub fn force_bootstrap(folder: &Path) -> Result<ForcedBootstrap, RecoverError> {
    force_bootstrap_on(&*open(folder)?)
}

/// What `bootstrap --force` did. Its text is for the operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ForcedBootstrap {
    /// A store runs on this volume and has to be restarted.
    pub running: bool,
}

fn force_bootstrap_on(disk: &dyn Disk) -> Result<ForcedBootstrap, RecoverError> {
    let io = |source| VolumeError::io(disk, "", source);
    let lock = disk.try_lock().map_err(io)?;
    identity::read(disk)?;
    let has_journal = disk.list("").map_err(io)?.iter().any(|name| name == FOLDER);
    if has_journal {
        // Where a store runs, a segment may go while it is read. On an empty volume that is rare, and an error then.
        let replay = journal::replay(disk, &journal::numbers(disk)?, FORMAT)?;
        if let Some(replay) = replay.filter(|replay| !replay.is_empty()) {
            return Err(RecoverError::NotEmpty(replay.state.cluster_id.unwrap_or(ClusterId(Uuid::nil()))));
        }
    }
    identity::force_bootstrap(disk).map_err(io)?;
    Ok(ForcedBootstrap { running: lock.is_none() })
}

fn open(folder: &Path) -> Result<Arc<dyn Disk>, RecoverError> {
    let io = |source| VolumeError::Io { path: folder.to_owned(), source };
    // A wrong path is reported, not created.
    std::fs::read_dir(folder).map_err(io)?;
    Ok(Arc::new(RealDisk::new(folder).map_err(io)?))
}

impl fmt::Display for NewCluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let NewCluster { cluster_id, old_cluster_id, replica, old_replica, last, old_voters, false_sum } = self;
        writeln!(f, "This volume is now the only voter of a new cluster, with everything that it held.")?;
        writeln!(f, "  cluster-id  {cluster_id}  (was {old_cluster_id})")?;
        writeln!(f, "  replica     {replica}  (was {old_replica})")?;
        writeln!(f, "  last entry  {last}  (term/sequence)")?;
        writeln!(f, "  old voters  {}", old_voters.join(", "))?;
        if let Some(wrong) = false_sum {
            writeln!(f)?;
            writeln!(f, "SOME OF THE DATA ARE DAMAGED: {wrong}, so records of the snapshot are not")?;
            writeln!(f, "what clients wrote. If another volume of the old cluster is sound, use that one.")?;
        }
        writeln!(f)?;
        writeln!(
            f,
            "What may be lost: every write after {last} that a majority of the old voters acknowledged without"
        )?;
        writeln!(f, "this volume. What may remain: writes at the end that were never acknowledged to a client.")?;
        writeln!(f)?;
        writeln!(f, "Now:")?;
        writeln!(f, "  1. sidecar adopt --cluster-id {cluster_id}")?;
        writeln!(f, "     (where this release has a Lease; one that is only now installed has none yet)")?;
        writeln!(f, "  2. empty the other volumes of this release (delete their claims): with data of")?;
        writeln!(f, "     {old_cluster_id} they never sync with this one. Emptied, they join by themselves.")?;
        write!(f, "  3. start the store on this volume.")
    }
}

impl fmt::Display for ForcedBootstrap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "This empty volume makes a new cluster when the store next starts on it, without asking the other members."
        )?;
        writeln!(f, "If any other volume of the old cluster still holds data, that data will not be part of it.")?;
        write!(
            f,
            "{}",
            if self.running { "A store runs on it: start it again (delete its pod)." } else { "Start the store." }
        )
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::testing::rig::{CLUSTER, folder, open as open_rig};
    use leasehold_replication::Seq;

    #[test]
    fn one_volume_becomes_a_new_cluster_with_all_that_it_held() {
        for with_snapshot in [false, true] {
            let folder = folder();
            let mut rig = open_rig(folder.path()).unwrap();
            rig.fill(1..50);
            if with_snapshot {
                rig.take_snapshot();
            }
            rig.fill(50..60);
            let (persons, last, old) = (rig.persons(), rig.last, rig.opened.replica);
            assert!(matches!(force_new_cluster(folder.path(), "db-1"), Err(RecoverError::Held)));
            rig.close();

            let done = force_new_cluster(folder.path(), "db-1").unwrap();
            assert_eq!((done.old_cluster_id, done.old_replica, done.last), (CLUSTER, old, last));
            assert_eq!(done.old_voters, ["db-0", "db-1"]);
            assert!(done.to_string().contains(&format!("sidecar adopt --cluster-id {}", done.cluster_id)), "{done}");

            let rig = open_rig(folder.path()).unwrap();
            assert_eq!(rig.opened.replica, done.replica);
            assert_ne!(done.replica, old);
            let recovered = &rig.opened.recovered;
            assert_eq!(recovered.state.cluster_id, Some(done.cluster_id));
            assert_eq!(recovered.snapshot.is_some(), with_snapshot);
            assert!(recovered.snapshot.iter().all(|snapshot| snapshot.cluster_id == done.cluster_id));
            let Payload::Voters(voters) = &recovered.entries.last().unwrap().payload else { panic!("no voters") };
            assert_eq!(voters.voters.len(), 1);
            assert_eq!((voters.voters[0].replica, voters.floor), (done.replica, 1));
            assert_eq!(voters.voters[0].peer_address, "db-1.local:8090");
            assert_eq!(rig.last, Position { term: last.term, seq: Seq(last.seq.0 + 1) });
            assert_eq!(rig.persons(), persons);
            rig.close();

            // Run again (as after an interruption): another new cluster, nothing lost.
            force_new_cluster(folder.path(), "db-1").unwrap();
            assert_eq!(open_rig(folder.path()).unwrap().persons(), persons);
        }
    }

    #[test]
    fn a_new_cluster_of_damaged_data_says_that_they_are() {
        let folder = folder();
        let mut rig = open_rig(folder.path()).unwrap();
        rig.fill(1..20);
        rig.put_false_snapshot(7);
        rig.close();
        let done = force_new_cluster(folder.path(), "db-1").unwrap();
        assert!(done.false_sum.is_some() && done.to_string().contains("DAMAGED"), "{done}");
        assert_eq!(open_rig(folder.path()).unwrap().opened.false_sum, None, "it begins with what there is");
    }

    #[test]
    fn from_an_empty_volume_nothing_is_recovered() {
        let folder = folder();
        assert!(matches!(force_new_cluster(folder.path(), "db-0"), Err(RecoverError::Empty)));
        open_rig(folder.path()).unwrap().close();
        assert!(matches!(force_new_cluster(folder.path(), "db-0"), Err(RecoverError::Empty)));
        let nowhere = folder.path().join("nowhere");
        assert!(matches!(force_new_cluster(&nowhere, "db-0"), Err(RecoverError::Volume(_))));
        assert!(!nowhere.exists());
    }

    #[test]
    fn a_forced_bootstrap_is_seen_until_the_volume_is_not_empty() {
        let folder = folder();
        assert!(!force_bootstrap(folder.path()).unwrap().running);
        let rig = open_rig(folder.path()).unwrap();
        assert!(rig.opened.force_bootstrap);
        assert!(force_bootstrap(folder.path()).unwrap().running);
        let mut rig = rig.reopen();
        assert!(rig.opened.force_bootstrap, "an empty volume was started twice, and the word still counts");
        rig.fill(1..3);
        let rig = rig.reopen();
        assert!(!rig.opened.force_bootstrap);
        assert!(!folder.path().join("force-bootstrap").exists());
        assert!(matches!(force_bootstrap(folder.path()), Err(RecoverError::NotEmpty(CLUSTER))));
        rig.close();
        assert!(matches!(force_bootstrap(folder.path()), Err(RecoverError::NotEmpty(CLUSTER))));
    }

    #[test]
    fn a_forced_bootstrap_of_a_volume_with_data_is_forgotten() {
        let folder = folder();
        let mut rig = open_rig(folder.path()).unwrap();
        rig.fill(1..3);
        rig.close();
        std::fs::write(folder.path().join("force-bootstrap"), b"").unwrap();
        let rig = open_rig(folder.path()).unwrap();
        assert!(!rig.opened.force_bootstrap && !folder.path().join("force-bootstrap").exists());
    }
}
