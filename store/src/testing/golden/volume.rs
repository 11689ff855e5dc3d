//! A whole small volume, as a store of that release left it: it opens, and has its records.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use leasehold_replication::{Payload, Position, Record, ReplicaId, SnapshotMeta};
use uuid::Uuid;

use super::files::describe_segment;
use super::golden;
use crate::testing::rig::{CLUSTER, Folder, Rig, folder, open, open_with_segments_of, person, segments, state, voters};
use crate::volume::journal::JournalEvent;
use crate::volume::journal::segment::{self, Head};
use leasehold_documents::{Action, Command, Condition, Key, On, Operation, Work};

/// A segment is stored as text, and up to its last byte that is not zero.
pub(super) const NAMES: [&str; 5] = [
    "volume/replica.json",
    "volume/committed.json",
    "volume/snapshot.json",
    "volume/journal/0000000000000003.segment.hex",
    "volume/journal/0000000000000004.segment.hex",
];

/// Small, so that the journal has more than one.
const SEGMENT_BYTES: u64 = 1024;
/// In the voters: not the volume's own name, which is random.
const VOTER: ReplicaId = ReplicaId(Uuid::from_u128(0xa1));
const KEYED: u128 = 3;
const PERSONS: [&str; 9] = ["1", "2", "3", "4", "5", "6", "7", "8", "9"];

/// Files by name.
type Files = BTreeMap<String, Vec<u8>>;

/// What a volume consists of beside what is random: the numbers of its segments' heads, the records of its batches, and the
/// text of its files.
type Shape = (Vec<(Head, Vec<(u64, Record)>)>, Vec<(String, String)>);

/// A command that is done once, and its answer remembered.
fn keyed() -> bytes::Bytes {
    let id = Uuid::from_u128(KEYED);
    let record = format!(r#"{{"id":"{id}","firstName":"Person","lastName":"{KEYED}"}}"#);
    let work = Work::One(On::name("persons"), Operation::new(id, Action::Create { record: &record }, Condition::None));
    Command { time_ms: 0, key: Some(Key { name: "a key", request: 0x0a }), work }.encode(1)
}

/// A voter's life: three persons, a snapshot, and six persons more, for which one segment is too short.
fn live(path: &Path) {
    let mut rig = open_with_segments_of(path, SEGMENT_BYTES).unwrap();
    let voters = rig.entry(Payload::Voters(voters(VOTER)));
    rig.append(vec![Record::State(state(1)), voters]);
    let write = |rig: &mut Rig, command| {
        let record = rig.entry(Payload::Command(command));
        rig.append(vec![record]);
    };
    write(&mut rig, person(1));
    write(&mut rig, person(2));
    write(&mut rig, keyed());
    let meta = SnapshotMeta { cluster_id: CLUSTER, position: rig.last, voters: crate::testing::rig::voters(VOTER) };
    assert!(rig.journal().take_snapshot(meta, rig.documents.clone()));
    rig.wait_for(|event| matches!(event, JournalEvent::SnapshotTaken { .. }));
    for number in 4..=9 {
        write(&mut rig, person(number));
    }
    rig.journal().note_committed(rig.last);
    rig.close();
}

/// The files of a volume that golden files keep.
fn kept(path: &Path) -> Files {
    let journal = segments(path).into_iter().map(|file| format!("journal/{}", file.file_name().unwrap().display()));
    let notes = ["replica.json", "committed.json", "snapshot.json"].map(str::to_owned);
    let read = |name: String| {
        let mut bytes = fs::read(path.join(&name)).unwrap();
        if !name.ends_with(".segment") {
            return (format!("volume/{name}"), bytes);
        }
        bytes.truncate(segment::read(&bytes, 1).unwrap().end as usize);
        (format!("volume/{name}.hex"), bytes)
    };
    notes.into_iter().chain(journal).map(read).collect()
}

fn shape(files: &Files) -> Shape {
    let (mut journal, mut texts) = (Vec::new(), Vec::new());
    for (name, bytes) in files {
        if name.ends_with(".hex") {
            let contents = segment::read(bytes, 1).unwrap();
            journal.push((Head { salt: [0; 16], ..contents.head }, contents.records));
            continue;
        }
        let mut text = String::from_utf8(bytes.clone()).unwrap();
        if name.ends_with("replica.json") {
            text.retain(|character| !character.is_ascii_hexdigit());
        }
        texts.push((name.clone(), text));
    }
    (journal, texts)
}

/// The volume of each version.
fn stored() -> BTreeMap<String, Files> {
    let mut volumes: BTreeMap<String, Files> = BTreeMap::new();
    for name in NAMES {
        for (version, bytes) in golden().stored(name) {
            volumes.entry(version).or_default().insert(name.to_owned(), bytes);
        }
    }
    volumes
}

/// The files as a store expects them.
fn lay_out(files: &Files) -> Folder {
    let folder = folder();
    fs::create_dir(folder.path().join("journal")).unwrap();
    for (name, bytes) in files {
        let name = name.strip_prefix("volume/").unwrap();
        let (name, length) = match name.strip_suffix(".hex") {
            Some(segment) => (segment, bytes.len().max(SEGMENT_BYTES as usize)),
            None => (name, bytes.len()),
        };
        let mut bytes = bytes.clone();
        bytes.resize(length, 0);
        fs::write(folder.path().join(name), bytes).unwrap();
    }
    folder
}

#[test]
fn golden_volumes_open_and_have_their_records() {
    for (version, files) in stored() {
        let folder = lay_out(&files);
        let mut rig = open(folder.path()).unwrap();
        assert_eq!(rig.persons(), PERSONS, "{version}");
        assert_eq!(rig.last, Position::new(1, 10), "{version}");
        let recovered = &rig.opened.recovered;
        assert_eq!((recovered.state, recovered.committed), (state(1), Position::new(1, 10)), "{version}");
        let meta = SnapshotMeta { cluster_id: CLUSTER, position: Position::new(1, 4), voters: voters(VOTER) };
        assert_eq!(recovered.snapshot, Some(meta), "{version}");
        assert_eq!((recovered.entries.len(), recovered.format), (6, 1), "{version}");
        let replica = String::from_utf8(files["volume/replica.json"].clone()).unwrap();
        assert!(replica.contains(&rig.opened.replica.to_string()), "{version}: {replica}");
        // It goes on where it ended: a write under a known key is not done again, another one is.
        for (command, persons) in [(keyed(), 9), (person(10), 10)] {
            let record = rig.entry(Payload::Command(command));
            rig.append(vec![record]);
            assert_eq!(rig.persons().len(), persons, "{version}");
        }
        assert_eq!(rig.reopen().persons().len(), 10, "{version}");
    }
}

#[test]
fn golden_volumes_are_what_a_store_writes_today() {
    let folder = folder();
    live(folder.path());
    let today = kept(folder.path());
    let newest: Files = NAMES.into_iter().filter_map(|name| Some((name.to_owned(), golden().newest(name)?))).collect();
    if !golden().is_update() {
        assert_eq!(shape(&newest), shape(&today));
    } else if newest.len() < NAMES.len() || shape(&newest) != shape(&today) {
        // One volume, so all of it; names and salts are random.
        for (name, bytes) in &today {
            match name.ends_with(".hex") {
                true => golden().is_written_in_parts(name, bytes, describe_segment),
                false => golden().is_written(name, bytes),
            }
        }
    }
}
