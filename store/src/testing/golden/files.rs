//! The files of a volume, one by one.

use std::sync::Arc;

use leasehold_replication::{
    ClusterId, Diverged, DurableState, Entry, Incarnation, Payload, Position, Promise, Record, ReplicaId, Seq,
    SnapshotMark, SnapshotMeta, Sum, Term, Voter, Voters, WentBack,
};
use leasehold_testkit::golden::Parts;
use uuid::Uuid;

use super::{commands, described, golden};
use crate::testing::rig::{Folder, folder};
use crate::volume::disk::{Disk, RealDisk};
use crate::volume::identity;
use crate::volume::journal::segment::{self, Head};
use crate::volume::snapshot;
use leasehold_documents::{Action, Applied, Command, Condition, Documents, Key, On, Operation, Outcome, Work};

pub(super) const NAMES: [&str; 9] = [
    "segment.hex",
    "segment-continued.hex",
    "snapshot.json",
    "snapshot-empty.json",
    "replica.json",
    "committed.json",
    "went-back.json",
    "diverged.json",
    "diverged-by-itself.json",
];

const CLUSTER: ClusterId = ClusterId(Uuid::from_u128(0xc1));
const REPLICA: ReplicaId = ReplicaId(Uuid::from_u128(0xa1));
/// Beside this one: what a restored copy of another volume could have left.
const OTHER: ReplicaId = ReplicaId(Uuid::from_u128(0xa0));

/// Written to a disk, by one of the functions that the product calls.
fn written(name: &str, write: impl FnOnce(&dyn Disk)) -> Vec<u8> {
    let (folder, disk) = disk();
    write(&*disk);
    std::fs::read(folder.path().join(name)).unwrap()
}

/// A disk that holds that file alone.
fn holding(name: &str, bytes: &[u8]) -> (Folder, Arc<RealDisk>) {
    let (folder, disk) = disk();
    std::fs::write(folder.path().join(name), bytes).unwrap();
    (folder, disk)
}

fn disk() -> (Folder, Arc<RealDisk>) {
    let folder = folder();
    let disk = Arc::new(RealDisk::new(folder.path()).unwrap());
    (folder, disk)
}

fn state() -> DurableState {
    let promise = Promise { term: Term(5), incarnation: Incarnation(Uuid::from_u128(0x1a)) };
    DurableState { promise, cluster_id: Some(CLUSTER), bootstrapping: false }
}

/// The first one of a journal, and one that continues another and follows a snapshot; each batch with its records.
fn segments() -> Vec<(&'static str, Head, Vec<Vec<Record>>)> {
    let salt = *b"0123456789abcdef";
    let delete = Command::one("p", Uuid::from_u128(7), Action::Delete, Condition::None).encode(1);
    let opening = Entry::new(Position::ZERO, Term(5), Payload::Empty);
    let command = Entry::new(opening.position, Term(5), Payload::Command(delete));
    let first = vec![vec![Record::State(state())], vec![Record::Entry(opening), Record::Entry(command.clone())]];
    let mark = SnapshotMark { position: command.position, length_bytes: 1234, crc32: 0x89ab_cdef };
    let next = Entry::new(command.position, Term(6), Payload::Empty);
    let continued = vec![vec![Record::State(state()), Record::Snapshot(mark)], vec![Record::Entry(next)]];
    vec![
        ("segment.hex", Head { format: 1, number: 1, first: 1, previous: 0, previous_bytes: 0, salt }, first),
        (
            "segment-continued.hex",
            Head { format: 1, number: 9, first: 6, previous: 7, previous_bytes: 4096, salt },
            continued,
        ),
    ]
}

/// One segment, from its head to its last batch.
pub(super) fn describe_segment(parts: &mut Parts<'_>) {
    parts.heading("head");
    parts.text(8, "magic");
    parts.u32("format");
    parts.u32("zero");
    parts.u64("number of this segment");
    parts.u64("first segment of the chain");
    parts.u64("previous segment in it (0: none)");
    parts.u64("how much of that one belongs to the chain, bytes");
    parts.bytes(16, "salt");
    parts.sum("CRC-32 of the 64 bytes before");
    while parts.left() > 0 {
        parts.heading("batch");
        parts.text(4, "magic");
        let length = parts.u32("length of the records") as usize;
        parts.u64("number of the batch");
        parts.sum("CRC-32 of the salt and the 16 bytes before");
        parts.sum("CRC-32 of the salt, the number (u64) and the records");
        let end = parts.left() - length;
        while parts.left() > end {
            parts.heading("record");
            described::record(parts, commands::describe);
        }
    }
}

#[test]
fn golden_segments_are_read_as_these_values() {
    for (name, head, batches) in segments() {
        for (version, bytes) in golden().stored(name) {
            let padded = [&bytes[..], &[0; 100]].concat();
            let contents = segment::read(&padded, 1).unwrap();
            assert_eq!(contents.head, head, "{version}/{name}");
            let records: Vec<Record> = contents.records.into_iter().map(|(_, record)| record).collect();
            assert_eq!(records, batches.concat(), "{version}/{name}");
            assert_eq!((contents.end as usize, contents.torn), (bytes.len(), false), "{version}/{name}");
        }
    }
}

#[test]
fn golden_segments_are_what_these_values_are_written_as() {
    for (name, head, batches) in segments() {
        let mut bytes = head.encode();
        for (number, records) in (1..).zip(&batches) {
            head.batch(number, &mut bytes, |to| {
                records.iter().for_each(|record| to.extend_from_slice(&record.encode()));
            });
        }
        golden().is_written_in_parts(name, &bytes, describe_segment);
    }
    golden().is_shown_in("docs/design.md", "segment.hex");
}

fn person(number: u128) -> String {
    format!(r#"{{"firstName":"Person","lastName":"{number}","id":"{}"}}"#, Uuid::from_u128(number))
}

/// With a gap in the order, a record that was replaced, and an answer of each kind to a write with a key.
fn documents() -> Documents {
    let mut documents = Documents::new();
    keyed_commands(|key, work| {
        let key = key.as_deref().map(|name| Key { name, request: 0x0a });
        let command = Command { time_ms: 0, key, work }.encode(1);
        let seq = documents.applied().seq.0 + 1;
        documents.apply(Position::new(5, seq), &command, &mut Vec::new()).unwrap();
    });
    documents
}

/// What is done in [`documents`], in this order.
fn keyed_commands(mut apply: impl FnMut(Option<String>, Work<'_>)) {
    let key = |name: &str| Some(name.to_owned());
    let one = |number: u128, action, condition| Operation::new(Uuid::from_u128(number), action, condition);
    let records: Vec<String> = (0..7).map(person).collect();
    let create = |number: usize| one(number as u128, Action::Create { record: &records[number] }, Condition::None);
    let other = person(1).replace("Person", "Other");
    for number in 1..=4 {
        apply(None, Work::One(On::name("persons"), create(number)));
    }
    apply(key("created"), Work::One(On::name("persons"), create(5)));
    apply(key("same"), Work::One(On::name("persons"), create(5)));
    apply(key("conflict"), Work::One(On::name("persons"), one(1, Action::Create { record: &other }, Condition::None)));
    apply(key("replaced"), Work::One(On::name("persons"), one(1, Action::Put { record: &other }, Condition::Exists)));
    apply(key("deleted"), Work::One(On::name("persons"), one(3, Action::Delete, Condition::None)));
    apply(key("missing"), Work::One(On::name("persons"), one(3, Action::Delete, Condition::None)));
    apply(key("failed"), Work::One(On::name("persons"), one(1, Action::Delete, Condition::Absent)));
    apply(key("done"), Work::Batch(On::name("persons"), vec![create(6), one(2, Action::Delete, Condition::None)]));
    apply(key("not done"), Work::Batch(On::name("persons"), vec![create(6), one(3, Action::Delete, Condition::None)]));
    let taken = r#"{"id":"00000000-0000-0000-0000-000000000009"}"#;
    apply(
        key("unreadable"),
        Work::Batch(On::name("persons"), vec![one(1, Action::Patch { patch: taken }, Condition::None)]),
    );
}

/// The outcomes in that order, of those with a key.
const OUTCOMES: [Outcome; 10] = [
    Outcome::Created,
    Outcome::Same,
    Outcome::Conflict,
    Outcome::Replaced,
    Outcome::Deleted,
    Outcome::Missing,
    Outcome::PreconditionFailed,
    Outcome::BatchDone,
    Outcome::BatchNotDone,
    Outcome::BatchNotDone,
];

fn snapshots() -> Vec<(&'static str, SnapshotMeta, Documents)> {
    let voter = |replica, name: &str| Voter { replica, name: name.to_owned(), peer_address: format!("{name}:8090") };
    let voters = Voters { format: 1, floor: 2, voters: vec![voter(OTHER, "db-0"), voter(REPLICA, "db-1")] };
    let documents = documents();
    let meta = SnapshotMeta { cluster_id: CLUSTER, position: documents.applied(), voters };
    let mut empty = Documents::new();
    empty.skip(Position::new(5, 1));
    let empty_meta = SnapshotMeta { position: empty.applied(), ..meta.clone() };
    vec![("snapshot.json", meta, documents), ("snapshot-empty.json", empty_meta, empty)]
}

/// The answers to the commands of [`keyed_commands`] that have a key, when they are sent again.
fn answers(documents: &Documents) -> Vec<Applied> {
    let (mut documents, mut answers) = (documents.clone(), Vec::new());
    keyed_commands(|key, work| {
        let Some(name) = key else { return };
        let command = Command { time_ms: 0, key: Some(Key { name: &name, request: 0x0a }), work }.encode(1);
        let seq = documents.applied().seq.next().0;
        answers.push(documents.apply(Position::new(5, seq), &command, &mut Vec::new()).unwrap());
    });
    answers
}

/// All records, with their creation numbers.
fn records(documents: &Documents) -> Vec<(u64, String)> {
    let persons = documents.collection("persons").into_iter().flat_map(|persons| persons.after(0));
    persons.map(|(number, record)| (number, record.as_str().to_owned())).collect()
}

#[test]
fn golden_snapshots_are_read_as_these_values() {
    for (name, meta, documents) in snapshots() {
        for (version, bytes) in golden().stored(name) {
            let (_folder, disk) = holding("snapshot.json", &bytes);
            let mark = SnapshotMark {
                position: meta.position,
                length_bytes: bytes.len() as u64,
                crc32: crc32fast::hash(&bytes),
            };
            let loaded = snapshot::read(&*disk, "snapshot.json", Some(&mark), 1).unwrap();
            let read = loaded.documents;
            assert_eq!((&loaded.meta, read.applied()), (&meta, meta.position), "{version}/{name}");
            assert_eq!((loaded.false_sum, read.sum()), (None, documents.sum()), "{version}/{name}");
            assert_eq!(records(&read), records(&documents), "{version}/{name}");
            if name == "snapshot.json" {
                let given = answers(&read);
                assert_eq!(
                    given.iter().map(|answer| answer.outcome.clone()).collect::<Vec<_>>(),
                    OUTCOMES,
                    "{version}/{name}"
                );
                assert_eq!(given, answers(&documents), "{version}/{name}");
                let numbers: Vec<u64> = records(&read).into_iter().map(|(number, _)| number).collect();
                assert_eq!(numbers, [1, 4, 5, 6], "{version}/{name}");
            }
        }
    }
}

#[test]
fn golden_snapshots_are_what_these_values_are_written_as() {
    for (name, meta, documents) in snapshots() {
        let bytes = written("snapshot.json", |disk| {
            snapshot::write(disk, "snapshot.json", &meta, &documents).unwrap();
        });
        golden().is_written(name, &bytes);
    }
}

fn went_back() -> WentBack {
    WentBack {
        replica: REPLICA,
        known_by: "db-0".to_owned(),
        known_term: Term(6),
        known: Position::new(6, 90),
        found_term: Term(5),
        found: Position::new(5, 80),
    }
}

fn diverged() -> Diverged {
    Diverged {
        replica: REPLICA,
        name: "db-1".to_owned(),
        sequence: Seq(90),
        own: Sum(0x0001_0203_0405_0607_0809_0a0b_0c0d_0e0f),
        agreed: Some(Sum(0xff)),
        agreeing: vec!["db-0".to_owned(), "db-2".to_owned()],
    }
}

fn diverged_by_itself() -> Diverged {
    Diverged { agreed: None, agreeing: Vec::new(), ..diverged() }
}

#[test]
fn golden_notes_on_a_volume_are_read_as_these_values() {
    for (version, bytes) in golden().stored("replica.json") {
        let (_folder, disk) = holding("replica.json", &bytes);
        assert_eq!(identity::read(&*disk).unwrap(), Some(REPLICA), "{version}");
    }
    for (version, bytes) in golden().stored("committed.json") {
        let (_folder, disk) = holding("committed.json", &bytes);
        assert_eq!(identity::committed(&*disk), Position { term: Term(5), seq: Seq(812) }, "{version}");
    }
    for (version, bytes) in golden().stored("went-back.json") {
        let (_folder, disk) = holding("went-back.json", &bytes);
        assert_eq!(identity::went_back(&*disk, REPLICA).unwrap(), Some(went_back()), "{version}");
        assert_eq!(identity::went_back(&*disk, OTHER).unwrap(), None, "{version}");
    }
    for (name, mark) in [("diverged.json", diverged()), ("diverged-by-itself.json", diverged_by_itself())] {
        for (version, bytes) in golden().stored(name) {
            let (_folder, disk) = holding("diverged.json", &bytes);
            assert_eq!(identity::diverged(&*disk, REPLICA).unwrap().as_ref(), Some(&mark), "{version}/{name}");
            assert_eq!(identity::diverged(&*disk, OTHER).unwrap(), None, "{version}/{name}");
        }
    }
}

#[test]
fn golden_notes_on_a_volume_are_what_these_values_are_written_as() {
    let replica = written("replica.json", |disk| identity::write(disk, REPLICA).unwrap());
    golden().is_written("replica.json", &replica);
    let noted = Position { term: Term(5), seq: Seq(812) };
    let committed = written("committed.json", |disk| identity::note_committed(disk, noted).unwrap());
    golden().is_written("committed.json", &committed);
    let mark = written("went-back.json", |disk| identity::mark_went_back(disk, &went_back()).unwrap());
    golden().is_written("went-back.json", &mark);
    for (name, mark) in [("diverged.json", diverged()), ("diverged-by-itself.json", diverged_by_itself())] {
        let mark = written("diverged.json", |disk| identity::mark_diverged(disk, &mark).unwrap());
        golden().is_written(name, &mark);
    }
}
