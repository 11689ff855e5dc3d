//! First starts from a backup, on disks that fail, and files that are not what a restore writes.

#![allow(clippy::unwrap_used)]

use super::cluster_of;
use crate::testing::fault_disk::{Fault, FaultDisk};
use crate::testing::rig::{CLUSTER, Rig, folder, open, open_as, state, voters};
use crate::volume::disk::{Disk, RealDisk};
use crate::volume::files::RESTORE;
use crate::volume::journal::JournalEvent;
use crate::volume::{VolumeError, snapshot};
use leasehold_documents::{Documents, FORMAT};
use leasehold_replication::{
    ClusterId, DurableState, Entry, Payload, Position, Record, Restore, Seq, SnapshotMeta, Term, Voters,
};
use leasehold_testkit::until_seen_blocking;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use uuid::Uuid;

/// The cluster that the backup is of, and its last sequence.
const OLD: ClusterId = ClusterId(Uuid::from_u128(0xc0));
const RESTORED: Position = Position { term: Term(0), seq: Seq(812) };

/// The data of some cluster.
fn data() -> Documents {
    let folder = folder();
    let mut rig = open(folder.path()).unwrap();
    rig.fill(1..40);
    let documents = rig.documents.clone();
    rig.close();
    documents
}

fn put_file(disk: &dyn Disk, position: Position, format: u32) {
    let meta = SnapshotMeta { cluster_id: OLD, position, voters: Voters { format, ..Voters::none() } };
    snapshot::write(disk, RESTORE, &meta, &data()).unwrap();
    disk.sync_folder("").unwrap();
}

fn put_file_in(folder: &Path) {
    put_file(&RealDisk::new(folder).unwrap(), RESTORED, 1);
}

/// The journal's thread removes it after it has said that all is durable.
fn wait_until_it_is_gone(folder: &Path) {
    until_seen_blocking("restore.json is removed", || folder.join(RESTORE).exists(), |exists| !exists);
}

impl Rig {
    /// As the replica does: it founds a cluster with what restore.json holds.
    fn begin_with_restored(&mut self) -> Entry {
        let restored = self.opened.restored.take().expect("there is a restore.json");
        let nobody = Voters { format: restored.restore.format, ..Voters::none() };
        let meta = SnapshotMeta { cluster_id: CLUSTER, position: restored.restore.position, voters: nobody };
        let entry = Entry::new(meta.position, Term(0), Payload::Voters(voters(self.opened.replica)));
        let state = DurableState { cluster_id: Some(CLUSTER), bootstrapping: true, ..DurableState::EMPTY };
        let ticket = self.next_ticket();
        self.journal().restore(ticket, (meta, restored.documents), (state, 1), entry.clone()).unwrap();
        entry
    }
}

#[test]
fn the_data_of_the_file_become_the_snapshot_of_a_new_cluster_and_the_file_goes() {
    let folder = folder();
    put_file_in(folder.path());
    let mut rig = open(folder.path()).unwrap();
    let restored = rig.opened.restored.as_ref().unwrap();
    assert_eq!(restored.restore, Restore { position: RESTORED, format: 1 });
    assert_eq!(restored.documents.applied(), RESTORED);
    assert_eq!(rig.opened.recovered.snapshot, None, "nothing is restored yet");
    let entry = rig.begin_with_restored();
    rig.wait_for(|event| matches!(event, JournalEvent::Persisted { .. }));
    assert_eq!(rig.journal().open_snapshot().unwrap().unwrap().position(), RESTORED, "others get it");
    wait_until_it_is_gone(folder.path());

    let mut rig = rig.reopen();
    assert!(rig.opened.restored.is_none());
    assert_eq!(rig.opened.recovered.state.cluster_id, Some(CLUSTER));
    let found = rig.opened.recovered.snapshot.clone().unwrap();
    assert_eq!((found.cluster_id, found.position), (CLUSTER, RESTORED));
    assert_eq!(rig.opened.recovered.entries, std::slice::from_ref(&entry));
    assert_eq!(rig.persons().len(), 39);
    assert_eq!(rig.opened.false_sum, None);
    assert_eq!(cluster_of(folder.path()).unwrap(), Some(CLUSTER));

    // The log goes on where it ended, in a term of the new cluster.
    rig.last = entry.position;
    rig.append(vec![Record::State(state(1))]);
    rig.fill(100..103);
    let rig = rig.reopen();
    assert_eq!((rig.last, rig.persons().len()), (Position::new(1, 816), 42));
}

#[test]
fn a_first_start_that_did_not_come_to_it_finds_the_file_again() {
    let folder = folder();
    put_file_in(folder.path());
    for _ in 0..3 {
        let rig = open(folder.path()).unwrap();
        assert!(rig.opened.restored.is_some());
        assert_eq!(cluster_of(folder.path()).unwrap(), None);
        rig.close();
    }
}

#[test]
fn wherever_the_power_goes_the_next_start_has_all_of_it_or_restores_again() {
    let (mut again, mut done) = (0, 0);
    for calls in 0.. {
        let disk = FaultDisk::new(calls + 1);
        put_file(&disk, RESTORED, 1);
        disk.fail_after(calls, Fault::Power);
        let is_whole = match Rig::open_on(Arc::new(disk.clone())) {
            Ok(mut rig) => {
                rig.begin_with_restored();
                let ended =
                    rig.wait_for(|event| matches!(event, JournalEvent::Persisted { .. } | JournalEvent::Failed { .. }));
                rig.close();
                matches!(ended, JournalEvent::Persisted { .. })
            }
            Err(VolumeError::Io { .. }) => false,
            Err(other) => panic!("call {calls}: {other}"),
        };
        disk.power_loss();
        let rig = Rig::open_on(Arc::new(disk)).unwrap();
        match &rig.opened.restored {
            Some(restored) => {
                assert!(!is_whole, "call {calls}: it was durable, and is restored once more");
                assert_eq!(rig.opened.recovered.state, DurableState::EMPTY, "call {calls}");
                assert_eq!(restored.documents.applied(), RESTORED);
                again += 1;
            }
            None => {
                let recovered = &rig.opened.recovered;
                assert_eq!(recovered.snapshot.as_ref().map(|meta| meta.position), Some(RESTORED), "call {calls}");
                assert_eq!((recovered.entries.len(), rig.persons().len()), (1, 39), "call {calls}");
                done += 1;
            }
        }
        rig.close();
        if is_whole && done > 5 {
            break;
        }
    }
    assert!(again > 10, "only {again} power losses came before it was durable");
}

#[test]
fn a_volume_without_room_for_the_data_twice_says_so_and_restores_when_there_is_room() {
    let disk = FaultDisk::new(3);
    put_file(&disk, RESTORED, 1);
    let mut rig = Rig::open_on(Arc::new(disk.clone())).unwrap();
    disk.set_room(Some(disk.used() + 1000));
    rig.begin_with_restored();
    let ended = rig.wait_for(|event| matches!(event, JournalEvent::Persisted { .. } | JournalEvent::Failed { .. }));
    let JournalEvent::Failed { error } = ended else { panic!("there is no room for it") };
    assert!(error.to_string().contains("the volume needs room for them twice"), "{error}");
    rig.close();
    disk.set_room(None);
    disk.restart();
    let mut rig = Rig::open_on(Arc::new(disk.clone())).unwrap();
    rig.begin_with_restored();
    rig.wait_for(|event| matches!(event, JournalEvent::Persisted { .. }));
    rig.close();
    assert_eq!(Rig::open_on(Arc::new(disk)).unwrap().persons().len(), 39);
}

#[test]
fn a_start_of_a_volume_with_a_cluster_removes_the_file_unread() {
    let folder = folder();
    let mut rig = open(folder.path()).unwrap();
    rig.fill(1..5);
    let root = rig.close();
    fs::write(root.join(RESTORE), b"not even JSON").unwrap();
    let rig = open(&root).unwrap();
    assert!(rig.opened.restored.is_none() && !root.join(RESTORE).exists());
    assert_eq!(rig.persons().len(), 4);
}

#[test]
fn a_volume_that_gets_its_data_from_others_does_not_keep_the_file() {
    let folder = folder();
    put_file_in(folder.path());
    let mut rig = open(folder.path()).unwrap();
    rig.fill(1..3);
    wait_until_it_is_gone(folder.path());
    rig.close();
}

#[test]
fn a_volume_that_is_emptied_loses_the_file() {
    let folder = folder();
    put_file_in(folder.path());
    let rig = open(folder.path()).unwrap();
    rig.journal().wipe().unwrap();
    rig.wait_for(|event| matches!(event, JournalEvent::Wiped));
    assert!(!folder.path().join(RESTORE).exists(), "it belongs to a cluster that lost");
}

#[test]
fn a_file_that_no_restore_writes_ends_the_start_and_leaves_the_volume_empty() {
    let folder = folder();
    let file = folder.path().join(RESTORE);
    put_file_in(folder.path());
    let good = fs::read_to_string(&file).unwrap();
    let mut wrong = vec![
        (good.replacen("\"term\":0", "\"term\":7", 1), 3, "is of term 0"),
        (good.replacen("\"sequence\":812", "\"sequence\":0", 1), 3, "sequence 0"),
        (good.replacen("\"sequence\":812", &format!("\"sequence\":{}", Seq::MAX), 1), 3, "where no data end"),
        (good.replacen("\"sequence\":812", "\"sequence\":18446744073709551615", 1), 3, "restore.json"),
        (good.replacen("\"format\":1", "\"format\":77", 1), 2, "format 77"),
        (good[..good.len() / 2].to_owned(), 3, "EOF"),
        (String::new(), 3, "EOF"),
        ("[1,2]".to_owned(), 3, "restore.json"),
    ];
    wrong.push((good.replacen("\"lastName\":\"7\"", "\"lastName\":\"8\"", 1), 3, "sum"));
    for (text, code, says) in wrong {
        assert_ne!(text, good);
        fs::write(&file, &text).unwrap();
        let Err(error) = open(folder.path()) else { panic!("it starts with {text}") };
        let said = error.to_string();
        assert_eq!(error.exit_code(), code, "{said}");
        assert!(said.contains(says) && said.contains("restore.json"), "{said}");
        if code == 3 {
            assert!(said.contains("the volume is still empty: write the file again"), "{said}");
        }
        assert_eq!(cluster_of(folder.path()).unwrap(), None);
    }
    fs::write(&file, &good).unwrap();
    let rig = open(folder.path()).unwrap();
    assert!(rig.opened.restored.is_some(), "repaired, it is used");
    rig.close();
    fs::remove_file(&file).unwrap();
    assert!(open(folder.path()).unwrap().opened.restored.is_none(), "removed, and the start continues");
}

#[test]
fn a_build_does_not_begin_with_data_of_a_later_format() {
    let folder = folder();
    put_file(&RealDisk::new(folder.path()).unwrap(), RESTORED, 2);
    assert!(matches!(open_as(folder.path(), 1), Err(VolumeError::Format { found: 2, max: 1, .. })));
    assert_eq!(open_as(folder.path(), FORMAT).unwrap().opened.restored.unwrap().restore.format, 2);
}

#[test]
fn the_cluster_of_a_volume_is_read_beside_a_store_and_nothing_is_created() {
    let folder = folder();
    let nowhere = folder.path().join("nowhere");
    assert_eq!(cluster_of(&nowhere).unwrap(), None);
    assert!(!nowhere.exists());
    assert_eq!(cluster_of(folder.path()).unwrap(), None);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    let mut rig = open(folder.path()).unwrap();
    assert_eq!(cluster_of(folder.path()).unwrap(), None, "only promises were written");
    rig.fill(1..5);
    assert_eq!(cluster_of(folder.path()).unwrap(), Some(CLUSTER), "while a store runs on it");
    rig.take_snapshot();
    let root = rig.close();
    assert_eq!(cluster_of(&root).unwrap(), Some(CLUSTER));
    fs::write(root.join("wiping"), b"").unwrap();
    assert_eq!(cluster_of(&root).unwrap(), None, "the next start empties it");
}

#[test]
fn a_volume_whose_bootstrap_was_torn_has_no_cluster_yet() {
    let folder = folder();
    let mut rig = open(folder.path()).unwrap();
    let torn = DurableState { bootstrapping: true, cluster_id: Some(CLUSTER), ..DurableState::EMPTY };
    rig.append(vec![Record::State(torn)]);
    assert_eq!(cluster_of(folder.path()).unwrap(), None);
    let root = rig.close();
    put_file_in(&root);
    let mut rig = open(&root).unwrap();
    let other = DurableState { bootstrapping: true, cluster_id: Some(OLD), ..DurableState::EMPTY };
    rig.append(vec![Record::State(other)]);
    let mut rig = rig.reopen();
    assert_eq!(rig.opened.recovered.state, other, "nor is it bound to that id");
    rig.begin_with_restored();
    rig.wait_for(|event| matches!(event, JournalEvent::Persisted { .. }));
    assert_eq!(rig.reopen().persons().len(), 39, "it may begin with a backup");
}
