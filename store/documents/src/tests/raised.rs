//! The way from format 1 to format 2.

use super::{Log, id, list, read, record, write};
use crate::*;
use leasehold_replication::{Position, Seq, Sum};

/// What it changed.
fn raise(log: &mut Log) -> Vec<Change> {
    let position = Position::new(1, log.documents.applied().seq.0 + 1);
    let mut changes = Vec::new();
    log.documents.voters(position, 2, &mut changes);
    assert_eq!(log.documents.check_sum(), Ok(()));
    changes
}

fn put(log: &mut Log, epoch: u64, number: u8) -> Outcome {
    let json = record(number, "Z");
    let put = Operation::new(id(number), Action::Put { record: &json }, Condition::None);
    let work = Work::One(On::at("persons", Seq(epoch)), put);
    log.raw(&Command::new(work).encode(2))
}

#[test]
fn the_voters_entry_of_format_2_defines_persons_and_leaves_its_records() {
    let mut log = Log::default();
    log.create(1, "A");
    let before = log.list();
    let position = Position::new(1, 2);
    let mut changes = Vec::new();
    log.documents.voters(position, 1, &mut changes);
    assert_eq!(changes, []);
    assert_eq!((log.documents.format(), log.documents.collection("persons").unwrap().defined()), (1, None));
    let definition = Some(Definition::persons().into());
    let told = Change::Definition { collection: "persons".into(), created: Seq(3), definition };
    assert_eq!(raise(&mut log), [told]);
    assert_eq!((log.documents.format(), log.list()), (2, before));
    let persons = log.documents.collection("persons").unwrap();
    let defined = persons.defined().unwrap();
    assert_eq!((defined.created, defined.revision, defined.epoch), (Seq(3), Seq(3), Seq(3)));
    assert_eq!(persons.definition(), &Definition::persons());
    assert_eq!(put(&mut log, 3, 1), Outcome::Replaced);
    assert_eq!(raise(&mut log), [], "only the first one counts");
    assert_eq!(log.documents.collection("persons").unwrap().epoch(), Some(Seq(3)));
}

#[test]
fn a_first_start_s_command_of_version_2_does_so_before_the_voters_entry() {
    let mut log = Log::default();
    assert_eq!(put(&mut log, 1, 1), Outcome::Created);
    assert_eq!(log.documents.collection("persons").unwrap().epoch(), Some(Seq(1)));
    raise(&mut log);
    assert_eq!(log.documents.collection("persons").unwrap().epoch(), Some(Seq(1)));
    let mut empty = Log::default();
    raise(&mut empty);
    assert_eq!(empty.documents.collection("persons").map(Collection::len), Some(0));
}

#[test]
fn a_command_of_version_1_behind_the_raising_entry_is_tried_again_by_the_leader() {
    let mut log = Log::default();
    let json = record(1, "A");
    let first = log.keyed("k", 1, Action::Create { record: &json });
    raise(&mut log);
    assert_eq!(log.create(2, "B"), Outcome::DefinitionChanged);
    assert_eq!(log.keyed("k", 1, Action::Create { record: &json }).outcome, Outcome::DefinitionChanged);
    assert_eq!(log.keyed("new", 1, Action::Create { record: &json }).outcome, Outcome::DefinitionChanged);
    let create = |name| {
        let operation = Operation::new(id(1), Action::Create { record: &json }, Condition::None);
        let command = Command::new(Work::One(On::at("persons", Seq(2)), operation));
        command.with_key(Some(Key { name, request: 1 })).encode(2)
    };
    assert_eq!(log.answer(&create("k")), first, "the keys of format 1 belong to persons");
    assert_eq!(log.answer(&create("new")).outcome, Outcome::Same, "nothing was kept under it");
    assert_eq!(list(&log.documents).len(), 1);
}

#[test]
fn data_of_format_1_have_no_member_of_format_2_and_the_sum_that_they_had() {
    let mut log = Log::default();
    log.create(1, "A");
    assert_eq!(log.documents.sum().to_string(), "e9cdfc0583399306da821b9f8a5c7ecc");
    assert!(write(&log.documents).starts_with("{\"collections\""));
    let data = log.documents.sum();
    raise(&mut log);
    assert_ne!(log.documents.sum(), data);
    let restored = read(log.documents.applied(), &write(&log.documents)).unwrap();
    assert_eq!((restored.format(), restored.sum()), (2, log.documents.sum()));
    assert_ne!(restored.sum(), Sum(0));
}

#[test]
fn format_1_s_commands_need_it_and_all_others_the_second() {
    let json = record(1, "A");
    let create = Action::Create { record: &json };
    let old = Operation::new(id(1), create, Condition::Exists);
    let needs = |work| Command::new(work).needs();
    let persons = On::name("persons");
    assert_eq!(needs(Work::One(persons, old)), 1);
    assert_eq!(needs(Work::Batch(persons, vec![old, old])), 1);
    for work in [
        Work::One(On::name("orders"), old),
        Work::One(On::at("persons", Seq(1)), old),
        Work::One(persons, Operation { seen: Seen::Absent, ..old }),
        Work::One(persons, Operation { action: Action::Check, ..old }),
        Work::One(persons, Operation { id: IdRef::Text("a"), ..old }),
        Work::Batch(persons, vec![old, Operation { action: Action::Check, ..old }]),
        Work::Transaction(vec![persons], vec![(0, old)]),
        Work::NoteFile { hash: 1 },
    ] {
        assert_eq!(needs(work.clone()), 2, "{work:?}");
    }
    let made_up = Command::new(Work::One(persons, old)).with_key(Some(Key { name: MADE_UP_KEY, request: 1 }));
    assert_eq!(made_up.needs(), leasehold_replication::FORMAT + 1);
}
