//! What format 2 adds: commands of version 2, and snapshot.json with definitions.

use leasehold_replication::{ClusterId, Position, ReplicaId, Seq, SnapshotMark, SnapshotMeta, Voter, Voters};
use leasehold_testkit::golden::Parts;
use uuid::Uuid;

use super::golden;
use crate::testing::rig::folder;
use crate::volume::disk::RealDisk;
use crate::volume::snapshot;
use leasehold_documents::{
    Action, Command, Condition, Define, DefinitionCondition, Documents, IdRef, Key, On, Operation, Outcome, Seen, Work,
};

const ID: Uuid = Uuid::from_u128(0xe956b5d0_fa0c_40e8_9da9_333c214dcaf7);
const PERSON: &str = r#"{"firstName":"Johanna","lastName":"Köster","id":"e956b5d0-fa0c-40e8-9da9-333c214dcaf7"}"#;
const ORDER: &str = r#"{"id":"2026-7","total":1.50}"#;
const TAG: u128 = 0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10;
const TIME_MS: u64 = 1_700_000_000_123;
const KEY: Key<'_> = Key { name: "8e03978e-40d5", request: TAG };
const DEFINITION: &str =
    r#"{"id":"string","schema":{"type":"object"},"indexes":[{"fields":["/x"],"unique":true}],"expires":"/t"}"#;
const PERSONS: On<'_> = On { collection: "persons", epoch: Some(Seq(7)) };
const ORDERS: On<'_> = On { collection: "orders", epoch: Some(Seq(9)) };

const SNAPSHOT: &str = "snapshot-of-collections.json";

fn of_person(action: Action<'static>, condition: Condition, seen: Seen) -> Operation<'static> {
    Operation { id: IdRef::Uuid(ID), action, condition, seen }
}

fn of_order(action: Action<'static>, condition: Condition, seen: Seen) -> Operation<'static> {
    Operation { id: IdRef::Text("2026-7"), action, condition, seen }
}

fn commands() -> Vec<(&'static str, Command<'static>)> {
    let create = of_person(Action::Create { record: PERSON }, Condition::Absent, Seen::Any);
    let put = of_order(Action::Put { record: ORDER }, Condition::None, Seen::Tag(TAG));
    let patch = of_order(Action::Patch { patch: r#"{"total":null}"# }, Condition::Exists, Seen::Absent);
    let delete = of_order(Action::Delete, Condition::Tag(TAG), Seen::Any);
    let check = of_person(Action::Check, Condition::Exists, Seen::Any);
    let define = Define {
        collection: "orders",
        definition: DEFINITION,
        condition: DefinitionCondition::Revision(Seq(9)),
        unless_expired_ms: Some(TIME_MS),
    };
    let free = Define { condition: DefinitionCondition::Absent, unless_expired_ms: None, ..define };
    let drop = |condition, with_records| Work::Drop { collection: "orders", condition, with_records };
    let one = |work| Command::new(work).at(TIME_MS);
    vec![
        ("command-v2-1-create.hex", one(Work::One(PERSONS, create))),
        ("command-v2-1-put-on-tag-with-key.hex", one(Work::One(ORDERS, put)).with_key(Some(KEY))),
        ("command-v2-2-batch.hex", one(Work::Batch(ORDERS, vec![put, patch, delete]))),
        (
            "command-v2-3-transaction-with-key.hex",
            one(Work::Transaction(vec![PERSONS, ORDERS], vec![(0, check), (1, delete)])).with_key(Some(KEY)),
        ),
        (
            "command-v2-4-refuse.hex",
            one(Work::Refuse { on: ORDERS, is_transaction: false, problem: r#"{"code":"invalid-record"}"# })
                .with_key(Some(KEY)),
        ),
        ("command-v2-5-define.hex", one(Work::Define(define))),
        ("command-v2-5-define-if-absent.hex", one(Work::Define(free))),
        ("command-v2-6-drop.hex", one(drop(DefinitionCondition::None, false))),
        ("command-v2-6-drop-with-records.hex", one(drop(DefinitionCondition::Exists, true))),
        ("command-v2-7-give-up.hex", one(Work::GiveUp { collection: "orders" })),
        ("command-v2-8-advance.hex", one(Work::Advance { on: ORDERS, upto: 4_000 })),
        (
            "command-v2-9-does-not-fit.hex",
            one(Work::DoesNotFit {
                on: ORDERS,
                id: IdRef::Text("2026-7"),
                tag: TAG,
                pointer: "/total",
                rule: "minimum",
            }),
        ),
        ("command-v2-10-expire.hex", one(Work::Expire { on: ORDERS, upto_ms: TIME_MS })),
        ("command-v2-11-pause-expiry.hex", one(Work::PauseExpiry { paused: true })),
        ("command-v2-12-note-file.hex", one(Work::NoteFile { hash: TAG })),
    ]
}

pub(super) fn names() -> Vec<&'static str> {
    commands().into_iter().map(|(name, _)| name).chain([SNAPSHOT]).collect()
}

/// A command behind its version.
pub(super) fn describe(parts: &mut Parts<'_>) {
    let kind = parts.u8("kind of the command (1 to 12)");
    parts.u64("when the leader made it, ms since 1970");
    let key = parts.u8("length of the idempotency key (0: none)");
    if key > 0 {
        parts.text(key.into(), "the key");
        parts.bytes(16, "hash of the request, u128");
    }
    match kind {
        1 => {
            describe_on(parts);
            describe_operation(parts);
        }
        2 => {
            describe_on(parts);
            for number in 1..=parts.u16("how many operations") {
                parts.heading(&format!("operation {number}"));
                describe_operation(parts);
            }
        }
        3 => {
            for number in 1..=parts.u16("how many collections") {
                parts.heading(&format!("collection {number}"));
                describe_on(parts);
            }
            for number in 1..=parts.u16("how many operations") {
                parts.heading(&format!("operation {number}"));
                parts.u16("which of the collections, from 0");
                describe_operation(parts);
            }
        }
        4 => {
            describe_on(parts);
            parts.u8("1: the request was a transaction");
            describe_text(parts, "a problem");
        }
        5 => {
            describe_name(parts);
            describe_definition_condition(parts);
            if parts.u8("1: only if nothing would expire at") == 1 {
                parts.u64("this time, ms since 1970");
            }
            describe_text(parts, "the definition");
        }
        6 => {
            describe_name(parts);
            describe_definition_condition(parts);
            parts.u8("1: with its records");
        }
        7 => describe_name(parts),
        8 => {
            describe_on(parts);
            parts.u64("up to this creation number");
        }
        9 => {
            describe_on(parts);
            describe_id(parts);
            parts.bytes(16, "tag of the record, u128");
            describe_text(parts, "where, a JSON Pointer");
            describe_text(parts, "the rule");
        }
        10 => {
            describe_on(parts);
            parts.u64("what is over then, ms since 1970");
        }
        11 => {
            parts.u8("1: it is paused");
        }
        _ => {
            parts.bytes(16, "hash of the file, u128");
        }
    }
}

fn describe_name(parts: &mut Parts<'_>) {
    let name = parts.u8("length of the collection's name");
    parts.text(name.into(), "collection");
}

fn describe_on(parts: &mut Parts<'_>) {
    describe_name(parts);
    parts.u64("its epoch");
}

fn describe_id(parts: &mut Parts<'_>) {
    if parts.u8("kind of the id (1 UUID, 2 text)") == 1 {
        parts.bytes(16, "id");
    } else {
        let length = parts.u8("length of the id");
        parts.text(length.into(), "id");
    }
}

fn describe_text(parts: &mut Parts<'_>, what: &str) {
    let length = parts.u32("length of the text");
    parts.text(length as usize, what);
}

fn describe_operation(parts: &mut Parts<'_>) {
    parts.u8("action (1 create, 2 put, 3 delete, 4 patch, 5 check)");
    if parts.u8("condition (0 none, 1 exists, 2 absent, 3 tag)") == 3 {
        parts.bytes(16, "tag, u128");
    }
    if parts.u8("what the leader saw (0 any, 1 absent, 2 tag)") == 2 {
        parts.bytes(16, "tag, u128");
    }
    describe_id(parts);
    describe_text(parts, "record");
}

fn describe_definition_condition(parts: &mut Parts<'_>) {
    if parts.u8("condition (0 none, 1 exists, 2 absent, 3 revision)") == 3 {
        parts.u64("revision");
    }
}

#[test]
fn golden_commands_of_version_2_are_read_as_these_values() {
    for (name, command) in commands() {
        for (version, bytes) in golden().stored(name) {
            assert_eq!(Command::decode(&bytes), Ok(command.clone()), "{version}/{name}");
            assert_eq!(Command::check_known(&bytes), Ok(()), "{version}/{name}");
        }
    }
}

#[test]
fn golden_commands_of_version_2_are_what_these_values_are_written_as() {
    for (name, command) in commands() {
        let bytes = command.encode(2);
        golden().is_written_in_parts(name, &bytes, |parts| super::commands::describe(parts, bytes.len()));
    }
}

/// What is done in the snapshot, in this order: each with the name of its key, if it has one.
fn history(mut apply: impl FnMut(Option<&str>, Work<'_>)) {
    let on = |collection, epoch| On::at(collection, Seq(epoch));
    let define = |collection, definition| {
        let (condition, unless_expired_ms) = (DefinitionCondition::None, None);
        Work::Define(Define { collection, definition, condition, unless_expired_ms })
    };
    let text = |id, action| Operation::new(IdRef::Text(id), action, Condition::None);
    let create = |id, record| text(id, Action::Create { record });
    let (a, b, again) = (r#"{"id":"a","x":"1"}"#, r#"{"id":"b ä","x":"2"}"#, r#"{"id":"c","x":"1"}"#);
    let person = Operation::new(ID, Action::Create { record: PERSON }, Condition::None);
    apply(None, define("orders", DEFINITION));
    apply(None, Work::One(on("persons", 1), person));
    apply(Some("created"), Work::One(on("orders", 1), create("a", a)));
    apply(None, Work::One(on("orders", 1), create("b ä", b)));
    apply(Some("conflict"), Work::One(on("orders", 1), create("c", again)));
    apply(Some("bad"), Work::One(on("orders", 1), create("c", r#"{"id":"c","t":"soon"}"#)));
    apply(
        Some("refused"),
        Work::Refuse { on: on("orders", 1), is_transaction: false, problem: r#"{"code":"invalid-record"}"# },
    );
    let check = Operation { condition: Condition::Exists, ..text("a", Action::Check) };
    apply(
        Some("transaction"),
        Work::Transaction(vec![on("orders", 1)], vec![(0, check), (0, text("b ä", Action::Delete))]),
    );
    apply(None, define("orders", r#"{"id":"string","indexes":[{"fields":[{"path":"/n","type":"number"}]}]}"#));
    apply(None, Work::GiveUp { collection: "orders" });
    apply(None, define("orders", r#"{"id":"string","schema":false}"#));
    let (id, pointer, rule) = (IdRef::Text("a"), "", "false");
    apply(None, Work::DoesNotFit { on: on("orders", 11), id, tag: leasehold_documents::tag_of(a), pointer, rule });
    apply(None, define("orders", r#"{"id":"string","maxRecords":9,"indexes":[{"fields":["/y"]}]}"#));
    apply(Some("gone"), Work::One(on("dogs", 1), text("a", Action::Delete)));
    apply(None, Work::NoteFile { hash: TAG });
    apply(None, Work::PauseExpiry { paused: true });
}

fn apply(documents: &mut Documents, key: Option<&str>, work: Work<'_>) -> Outcome {
    let key = key.map(|name| Key { name, request: 0x0a });
    let command = Command::new(work).with_key(key).at(TIME_MS).encode(2);
    let position = Position::new(5, documents.applied().seq.0 + 1);
    documents.apply(position, &command, &mut Vec::new()).unwrap().outcome
}

fn documents() -> Documents {
    let mut documents = Documents::new();
    history(|key, work| {
        let outcome = apply(&mut documents, key, work);
        assert!(key.is_some() || outcome.is_done(), "{outcome:?}");
    });
    documents
}

fn meta() -> SnapshotMeta {
    let replica = ReplicaId(Uuid::from_u128(0xa1));
    let voter = Voter { replica, name: "db-0".to_owned(), peer_address: "db-0:8090".to_owned() };
    let voters = Voters { format: 2, floor: 2, voters: vec![voter] };
    SnapshotMeta { cluster_id: ClusterId(Uuid::from_u128(0xc1)), position: documents().applied(), voters }
}

#[test]
fn a_golden_snapshot_of_collections_is_read_as_this_value() {
    for (version, bytes) in golden().stored(SNAPSHOT) {
        let folder = folder();
        let disk = RealDisk::new(folder.path()).unwrap();
        std::fs::write(folder.path().join("snapshot.json"), &bytes).unwrap();
        let (length_bytes, crc32) = (bytes.len() as u64, crc32fast::hash(&bytes));
        let mark = SnapshotMark { position: meta().position, length_bytes, crc32 };
        let loaded = snapshot::read(&disk, "snapshot.json", Some(&mark), 2).unwrap();
        assert_eq!((loaded.meta, loaded.false_sum), (meta(), None), "{version}");
        let (mut read, mut expected) = (loaded.documents, documents());
        assert_eq!((read.sum(), read.format()), (expected.sum(), 2), "{version}");
        for (name, collection) in expected.collections() {
            assert_eq!(
                read.collection(name).and_then(|read| read.defined()),
                collection.defined(),
                "{version}: {name}"
            );
        }
        history(|key, work| {
            if key.is_some() {
                assert_eq!(apply(&mut read, key, work.clone()), apply(&mut expected, key, work), "{version}: {key:?}");
            }
        });
    }
}

#[test]
fn a_golden_snapshot_of_collections_is_what_this_value_is_written_as() {
    let folder = folder();
    let disk = RealDisk::new(folder.path()).unwrap();
    snapshot::write(&disk, "snapshot.json", &meta(), &documents()).unwrap();
    golden().is_written(SNAPSHOT, &std::fs::read(folder.path().join("snapshot.json")).unwrap());
}
