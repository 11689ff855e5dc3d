//! Volumes of two formats, and builds that read one or both (5.10 in docs/design.md).
#![allow(clippy::unwrap_used)]

use crate::testing::rig::{self, Rig, folder, open_as, segments, voters};
use crate::volume::VolumeError;
use crate::volume::journal::JournalEvent;
use bytes::Bytes;
use leasehold_replication::{Payload, Position, SnapshotMeta, Voters};
use std::collections::BTreeMap;
use std::path::Path;

/// The formats in the heads of the segments, oldest first.
fn formats(folder: &Path) -> Vec<u32> {
    let of = |bytes: Vec<u8>| u32::from_le_bytes(bytes[8..12].try_into().unwrap());
    segments(folder).into_iter().map(|file| of(std::fs::read(file).unwrap())).collect()
}

/// All files, byte by byte.
fn bytes_of(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut all = BTreeMap::new();
    for place in [folder.to_owned(), folder.join("journal")] {
        for file in std::fs::read_dir(place).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file()) {
            all.insert(file.display().to_string(), std::fs::read(&file).unwrap());
        }
    }
    all
}

fn raise(rig: &mut Rig) {
    let raised = Voters { format: 2, ..voters(rig.opened.replica) };
    let record = rig.entry(Payload::Voters(raised));
    rig.append(vec![record]);
}

/// What that build says of the volume, and that it leaves all as it is.
fn refusal(folder: &Path, build: u32) -> String {
    let before = bytes_of(folder);
    let error = open_as(folder, build).map(|_| ()).unwrap_err();
    assert_eq!(error.exit_code(), 2, "{error}");
    assert!(bytes_of(folder) == before, "the volume was touched");
    error.to_string()
}

#[test]
fn a_segment_begins_before_the_first_record_of_a_format_and_the_raise_stays_in_the_one_before() {
    let folder = folder();
    let mut rig = open_as(folder.path(), 2).unwrap();
    rig.fill(1..3);
    raise(&mut rig);
    assert_eq!(formats(folder.path()), [1], "nothing of the new format before the raise is committed");
    rig.format = 2;
    rig.fill(3..5);
    assert_eq!(formats(folder.path()), [1, 2]);
    // Never back.
    rig.format = 1;
    rig.fill(5..6);
    assert_eq!(formats(folder.path()), [1, 2]);
    let (last, persons) = (rig.last, rig.persons());
    rig.close();
    let rig = open_as(folder.path(), 2).unwrap();
    assert_eq!((rig.last, rig.persons(), rig.opened.recovered.format), (last, persons, 2));
    assert_eq!(formats(folder.path()).last(), Some(&2));
    rig.close();
}

#[test]
fn without_a_raise_a_later_build_writes_what_the_earlier_one_reads() {
    let folder = folder();
    let mut rig = open_as(folder.path(), 2).unwrap();
    rig.fill(1..6);
    rig.close();
    let replica = std::fs::read_to_string(folder.path().join("replica.json")).unwrap();
    assert!(replica.starts_with(r#"{"format":1,"#), "{replica}");
    let mut rig = open_as(folder.path(), 1).unwrap();
    assert_eq!(rig.persons().len(), 5);
    rig.fill(6..8);
    rig.close();
    open_as(folder.path(), 2).unwrap().close();
}

#[test]
fn an_earlier_build_refuses_a_raise_that_it_finds_and_a_segment_of_the_new_format_and_touches_neither() {
    let folder = folder();
    let mut rig = open_as(folder.path(), 2).unwrap();
    rig.fill(1..3);
    raise(&mut rig);
    rig.close();
    let said = refusal(folder.path(), 1);
    assert!(said.contains("entry 1/4 has voters of format 2; this build reads only format 1"), "{said}");
    let mut rig = open_as(folder.path(), 2).unwrap();
    rig.format = 2;
    rig.fill(3..4);
    rig.close();
    let said = refusal(folder.path(), 1);
    assert!(
        said.contains(
            "has format 2, and this build reads only format 1: run a build that reads format 2; the volume is unchanged"
        ),
        "{said}"
    );
    open_as(folder.path(), 2).unwrap().close();
}

#[test]
fn a_command_of_an_unknown_version_is_found_before_the_volume_is_touched() {
    let folder = folder();
    let mut rig = rig::open(folder.path()).unwrap();
    rig.fill(1..3);
    let command = Bytes::from_static(b"\x09\x01\x00\x01p");
    let entry = leasehold_replication::Entry::new(rig.last, leasehold_replication::Term(1), Payload::Command(command));
    rig.append(vec![leasehold_replication::Record::Entry(entry)]);
    rig.close();
    let said = refusal(folder.path(), 1);
    assert!(said.contains("entry 1/4 has a command of version 9, which this build does not know"), "{said}");
}

#[test]
fn a_snapshot_is_of_the_format_in_force_at_its_position_and_its_segment_no_lower() {
    let folder = folder();
    let mut rig = open_as(folder.path(), 2).unwrap();
    rig.fill(1..3);
    let before = (rig.last, rig.documents.clone(), voters(rig.opened.replica));
    raise(&mut rig);
    let after = (rig.last, rig.documents.clone(), Voters { format: 2, ..before.2.clone() });
    for ((position, documents, voters), format) in [(before, 1), (after, 2)] {
        let cluster_id = rig::CLUSTER;
        assert!(rig.journal().take_snapshot(SnapshotMeta { cluster_id, position, voters }, documents));
        rig.wait_for(|event| matches!(event, JournalEvent::SnapshotTaken { .. }));
        let text = std::fs::read_to_string(folder.path().join("snapshot.json")).unwrap();
        assert!(text.starts_with(&format!(r#"{{"format":{format},"#)), "{text}");
        assert_eq!(formats(folder.path()).last(), Some(&format));
    }
    assert!(rig.last > Position::ZERO);
    rig.close();
    assert!(matches!(open_as(folder.path(), 1).map(|_| ()), Err(VolumeError::Format { found: 2, .. })));
    let rig = open_as(folder.path(), 2).unwrap();
    assert_eq!(rig.opened.recovered.snapshot.as_ref().unwrap().voters.format, 2);
    rig.close();
}
