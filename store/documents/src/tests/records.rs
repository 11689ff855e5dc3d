//! Operations on records of collections of any kind, one rule each.

use super::world::{World, record, text};
use crate::*;
use leasehold_replication::Seq;
use uuid::Uuid;

const PLAIN: &str = r#"{"id":"string"}"#;

fn operation<'a>(id: &'a str, action: Action<'a>) -> Operation<'a> {
    Operation::new(text(id), action, Condition::None)
}

#[test]
fn records_of_any_id_are_created_replaced_patched_and_deleted_in_order_of_creation() {
    let mut world = World::with(PLAIN);
    assert_eq!(world.create("Ä b", r#""x":1"#), Outcome::Created);
    assert_eq!(world.create("z", ""), Outcome::Created);
    assert_eq!(world.create("a", ""), Outcome::Created);
    assert_eq!(world.create("a", r#""x":1"#), Outcome::Conflict);
    assert_eq!(world.put("z", r#""x":2.50"#), Outcome::Replaced);
    assert_eq!(world.one("z", Action::Patch { patch: r#"{"y":[1, 2]}"# }), Outcome::Replaced);
    assert_eq!(world.orders().get(text("z")).unwrap().as_str(), r#"{"id":"z","x":2.50,"y":[1, 2]}"#);
    assert_eq!(world.one("Ä b", Action::Delete), Outcome::Deleted);
    assert_eq!(world.ids(), ["z", "a"]);
    let Change::Record(change) = &world.changes[0] else { panic!("{:?}", world.changes) };
    assert_eq!((change.number, change.kind), (1, ChangeKind::Deleted));
}

#[test]
fn a_write_that_was_checked_at_another_epoch_is_not_done() {
    let mut world = World::with(PLAIN);
    let epoch = world.epoch("orders").unwrap();
    let json = record("a", "");
    let create =
        |epoch| Work::One(On { collection: "orders", epoch }, operation("a", Action::Create { record: &json }));
    for wrong in [None, Some(Seq(epoch.0 + 1)), Some(Seq(epoch.0 - 1))] {
        assert_eq!(world.run(create(wrong)).outcome, Outcome::DefinitionChanged);
    }
    assert!(world.changes.is_empty() && world.orders().is_empty());
    let nowhere = Work::One(On::at("dogs", epoch), operation("a", Action::Delete));
    assert_eq!(world.run(nowhere).outcome, Outcome::NoCollection);
    assert_eq!(world.run(create(Some(epoch))).outcome, Outcome::Created);
}

#[test]
fn the_client_s_condition_comes_before_what_the_leader_saw_and_that_before_the_action() {
    let mut world = World::with(PLAIN);
    world.create("a", "");
    let tag = tag_of(&record("a", ""));
    let mut run = |condition, seen| {
        let operation =
            Operation { id: text("a"), action: Action::Create { record: &record("a", "\"x\":1") }, condition, seen };
        world.run(Work::One(world.on("orders"), operation)).outcome
    };
    assert_eq!(run(Condition::Absent, Seen::Absent), Outcome::PreconditionFailed);
    assert_eq!(run(Condition::Exists, Seen::Absent), Outcome::Contention);
    assert_eq!(run(Condition::None, Seen::Tag(tag + 1)), Outcome::Contention);
    assert_eq!(run(Condition::Tag(tag), Seen::Tag(tag)), Outcome::Conflict);
}

#[test]
fn a_check_changes_nothing_and_needs_a_condition() {
    let mut world = World::with(PLAIN);
    world.create("a", "");
    let check = |condition| Operation::new(text("a"), Action::Check, condition);
    let mut run = |condition| world.run(Work::One(world.on("orders"), check(condition)));
    assert_eq!(run(Condition::Exists).outcome, Outcome::Checked);
    assert_eq!(run(Condition::Exists).record.unwrap().as_str(), record("a", ""));
    assert_eq!(run(Condition::Absent).outcome, Outcome::PreconditionFailed);
    assert!(matches!(run(Condition::None).outcome, Outcome::Invalid(_)));
    assert!(world.changes.is_empty());
}

#[test]
fn a_record_under_another_id_or_of_another_kind_of_id_is_invalid() {
    let mut world = World::with(PLAIN);
    for (id, json) in [
        ("a", record("b", "")),
        ("a", format!("{} ", record("a", ""))),
        ("a", r#"{"id":1}"#.to_owned()),
        ("a", r#"["a"]"#.to_owned()),
        ("a", r#"{"id":"a","id":"a"}"#.to_owned()),
    ] {
        assert!(matches!(world.one(id, Action::Put { record: &json }), Outcome::Invalid(_)), "{json}");
    }
    let uuid = Uuid::from_bytes([7; 16]);
    let json = record(&uuid.to_string(), "");
    let put = Operation::new(uuid, Action::Put { record: &json }, Condition::None);
    assert!(matches!(world.run(Work::One(world.on("orders"), put)).outcome, Outcome::Invalid(_)));
    let delete = Operation::new(uuid, Action::Delete, Condition::None);
    assert!(matches!(world.run(Work::One(world.on("orders"), delete)).outcome, Outcome::Invalid(_)));
    let batch = world.run(Work::Batch(world.on("orders"), vec![delete]));
    assert!(matches!(batch.outcome, Outcome::Invalid(_)) && batch.operations.is_empty(), "{batch:?}");
    world.define("things", r#"{"id":"uuid"}"#);
    assert_eq!(world.run(Work::One(world.on("things"), put)).outcome, Outcome::Created);
    let upper = record(&uuid.to_string().to_uppercase().replace('7', "A"), "");
    let id = Uuid::from_bytes([0xa0 + 10; 16]);
    let put = Operation::new(id, Action::Put { record: &upper }, Condition::None);
    assert!(matches!(world.run(Work::One(world.on("things"), put)).outcome, Outcome::Invalid(_)));
}

#[test]
fn a_patch_may_not_change_the_id_and_no_record_may_be_too_large() {
    let mut world = World::with(PLAIN);
    world.create("a", "");
    for patch in [r#"{"x":1,"x":2}"#, r#"{"id":"b"}"#, r#"{"id":null}"#, r#"{"id":{"a":1}}"#] {
        assert!(matches!(world.one("a", Action::Patch { patch }), Outcome::Invalid(_)));
    }
    let long = "x".repeat(RECORD_BYTES_MAX);
    assert_eq!(world.put("a", &format!(r#""x":"{long}""#)), Outcome::RecordTooLarge);
    let fits = "x".repeat(RECORD_BYTES_MAX - record("a", r#""x":"""#).len());
    assert_eq!(world.put("a", &format!(r#""x":"{fits}""#)), Outcome::Replaced);
}

#[test]
fn a_collection_takes_no_more_records_than_it_may_have_but_replaces_those_it_has() {
    let mut world = World::with(r#"{"id":"string","maxRecords":2}"#);
    world.create("a", "");
    world.put("b", "");
    assert_eq!(world.create("c", ""), Outcome::TooManyRecords);
    assert_eq!(world.put("c", ""), Outcome::TooManyRecords);
    assert_eq!(world.put("b", r#""x":1"#), Outcome::Replaced);
    assert_eq!(world.define("orders", r#"{"id":"string","maxRecords":1}"#), Outcome::Defined { created: false });
    assert_eq!(world.one("a", Action::Delete), Outcome::Deleted);
    assert_eq!(world.create("c", ""), Outcome::TooManyRecords);
}

#[test]
fn with_a_schema_a_patch_is_for_the_leader_to_play_except_where_there_is_no_record() {
    let mut world = World::with(r#"{"id":"string","schema":{"type":"object"}}"#);
    let patch = Action::Patch { patch: r#"{"x":1}"# };
    assert_eq!(world.one("a", patch), Outcome::Missing);
    world.create("a", "");
    assert_eq!(world.one("a", patch), Outcome::Contention);
    let mut world = World::with(PLAIN);
    world.create("a", "");
    assert_eq!(world.one("a", patch), Outcome::Replaced);
    assert_eq!(world.define("orders", r#"{"id":"string","schema":{"type":"object"}}"#), Outcome::Pending);
    assert_eq!(world.one("a", Action::Patch { patch: r#"{"x":2}"# }), Outcome::Contention, "also while it is pending");
}

#[test]
fn a_unique_index_refuses_another_record_with_its_values_and_names_it() {
    let mut world = World::with(
        r#"{"id":"string","indexes":[{"fields":["/x"]},{"fields":["/mail",{"path":"/n","type":"number"}],"unique":true}]}"#,
    );
    assert_eq!(world.create("a", r#""mail":"m","n":1"#), Outcome::Created);
    let conflict = Outcome::UniqueConflict { index: 1, id: text("a").to_owned() };
    assert_eq!(world.create("b", r#""mail":"m","n":1.0"#), conflict);
    assert_eq!(world.create("b", r#""mail":"m""#), Outcome::Created, "a key with a none is nobody's");
    assert_eq!(world.create("c", r#""mail":"m","n":"1""#), Outcome::Created);
    assert_eq!(world.one("b", Action::Patch { patch: r#"{"n":1}"# }), conflict);
    assert_eq!(world.put("a", r#""mail":"m","n":1,"y":2"#), Outcome::Replaced, "itself is no other one");
    assert_eq!(world.put("a", r#""mail":"m","n":2"#), Outcome::Replaced);
    assert_eq!(world.one("b", Action::Patch { patch: r#"{"n":1}"# }), Outcome::Replaced);
    assert_eq!(world.one("b", Action::Delete), Outcome::Deleted);
    assert_eq!(world.create("d", r#""mail":"m","n":1"#), Outcome::Created);
}

#[test]
fn a_value_that_an_index_or_the_expiry_cannot_have_is_refused_with_its_place() {
    let mut world = World::with(r#"{"id":"string","indexes":[{"fields":["/a/b"]}],"expires":"/until"}"#);
    let long = format!(r#""a":{{"b":"{}"}}"#, "x".repeat(1025));
    for (members, place) in [(&*long, "/a/b"), (r#""until":"soon""#, "/until"), (r#""until":1.5"#, "/until")] {
        let Outcome::BadValue { pointer, .. } = world.put("a", members) else { panic!("{members} was accepted") };
        assert_eq!(&*pointer, place);
    }
    assert_eq!(world.put("a", r#""until":null,"a":{"b":"x"}"#), Outcome::Created);
}

#[test]
fn unique_is_checked_after_each_operation_of_a_batch_and_nothing_is_done_if_one_fails() {
    let mut world = World::with(r#"{"id":"string","indexes":[{"fields":["/x"],"unique":true}]}"#);
    world.create("a", r#""x":"1""#);
    let (swap_a, swap_b, moved) = (record("a", r#""x":"2""#), record("b", r#""x":"1""#), record("c", r#""x":"2""#));
    let batch = |world: &mut World, operations: &[Operation<'_>]| {
        world.run(Work::Batch(world.on("orders"), operations.to_vec()))
    };
    let put = |id, record| operation(id, Action::Put { record });
    let in_order = batch(&mut world, &[put("a", &swap_a), put("b", &swap_b)]);
    assert_eq!(in_order.outcome, Outcome::BatchDone, "the value is free by then");
    let before = world.documents.clone();
    let delete = operation("b", Action::Delete);
    let not_done = batch(&mut world, &[delete, put("c", &moved)]);
    assert_eq!(not_done.outcome, Outcome::BatchNotDone);
    let conflict = Outcome::UniqueConflict { index: 0, id: text("a").to_owned() };
    assert_eq!(not_done.operations[1].outcome, conflict);
    assert_eq!((world.documents.sum(), world.ids()), (before.sum(), vec!["a".to_owned(), "b".to_owned()]));
    assert!(world.changes.is_empty());
}

#[test]
fn a_transaction_is_done_in_all_of_its_collections_or_in_none() {
    let mut world = World::with(PLAIN);
    world.define("stock", r#"{"id":"string","indexes":[{"fields":["/x"],"unique":true}]}"#);
    let (a, b) = (record("a", r#""x":"1""#), record("b", r#""x":"1""#));
    let create = |id, record| operation(id, Action::Create { record });
    let check = |condition| Operation::new(text("a"), Action::Check, condition);
    let run = |world: &mut World, operations: Vec<(u16, Operation<'_>)>| {
        world.run(Work::Transaction(vec![world.on("orders"), world.on("stock")], operations))
    };
    let done = run(&mut world, vec![(0, create("a", &a)), (0, check(Condition::Exists)), (1, create("a", &a))]);
    assert_eq!(done.outcome, Outcome::BatchDone);
    assert_eq!(world.changes.iter().map(Change::collection).collect::<Vec<_>>(), ["orders", "stock"]);
    let before = world.documents.sum();
    let not_done = run(&mut world, vec![(0, create("b", &b)), (1, create("b", &b))]);
    assert_eq!((not_done.outcome, not_done.operations.len()), (Outcome::BatchNotDone, 2));
    assert_eq!(world.documents.sum(), before);
    let failed = run(&mut world, vec![(0, operation("a", Action::Delete)), (1, check(Condition::Absent))]);
    assert_eq!(failed.operations[1].outcome, Outcome::PreconditionFailed);
    let stale = Work::Transaction(vec![world.on("orders"), On::at("stock", Seq(1))], vec![]);
    assert_eq!(world.run(stale).outcome, Outcome::DefinitionChanged);
    let unknown = Work::Transaction(vec![world.on("orders"), On::at("dogs", Seq(1))], vec![]);
    assert_eq!(world.keyed("k", unknown).outcome, Outcome::NoCollection);
    assert_eq!(world.documents.sum(), before, "nor was it kept under the key");
}

#[test]
fn what_the_leader_must_try_again_is_the_outcome_of_the_whole_batch() {
    let mut world = World::with(PLAIN);
    world.create("a", "");
    let seen = Operation { seen: Seen::Absent, ..operation("a", Action::Delete) };
    let json = record("b", "");
    let work = Work::Batch(world.on("orders"), vec![operation("b", Action::Create { record: &json }), seen]);
    let answer = world.keyed("k", work.clone());
    assert_eq!((answer.outcome, answer.operations.len(), world.orders().len()), (Outcome::Contention, 0, 1));
    world.one("a", Action::Delete);
    let create = Work::Batch(world.on("orders"), vec![operation("b", Action::Create { record: &json })]);
    assert_eq!(world.keyed("k", create).outcome, Outcome::BatchDone, "it was not kept under the key");
}

#[test]
fn a_key_belongs_to_its_collection_and_a_refusal_is_kept_under_it() {
    let mut world = World::with(PLAIN);
    world.define("stock", PLAIN);
    let json = record("a", "");
    let create = |on| Work::One(on, operation("a", Action::Create { record: &json }));
    assert_eq!(world.keyed("k", create(world.on("orders"))).outcome, Outcome::Created);
    assert_eq!(world.keyed("k", create(world.on("stock"))).outcome, Outcome::Created, "another collection's key");
    let transaction = Work::Transaction(vec![world.on("orders")], vec![(0, operation("a", Action::Delete))]);
    assert_eq!(world.keyed("k", transaction.clone()).outcome, Outcome::BatchDone, "and transactions have their own");
    assert_eq!(world.keyed("k", create(world.on("orders"))).seq, Seq(3), "its first answer");
    let problem = r#"{"code":"invalid-record"}"#;
    let refused = world.keyed("l", Work::Refuse { on: world.on("orders"), is_transaction: false, problem });
    assert_eq!(refused.outcome, Outcome::Refused(problem.into()));
    assert_eq!(world.keyed("l", create(world.on("orders"))), refused);
    assert_eq!(
        world.keyed("l", transaction.clone()).outcome,
        Outcome::BatchNotDone,
        "transactions have a key of that name"
    );
    let of_transaction = Work::Refuse { on: world.on("orders"), is_transaction: true, problem };
    assert_eq!(world.keyed("k", of_transaction).outcome, Outcome::BatchDone, "its first answer");
    let stale = On::at("orders", Seq(99));
    assert_eq!(
        world.keyed("m", Work::Refuse { on: stale, is_transaction: false, problem }).outcome,
        Outcome::DefinitionChanged
    );
    assert_eq!(world.keyed("m", create(world.on("orders"))).outcome, Outcome::Created, "it was not kept");
}

#[test]
fn every_refusal_that_is_kept_comes_back_from_a_snapshot_as_it_was() {
    let mut world =
        World::with(r#"{"id":"string","indexes":[{"fields":["/x"],"unique":true}],"expires":"/until","maxRecords":1}"#);
    world.put("a", r#""x":"1""#);
    world.define("more", r#"{"id":"string","indexes":[{"fields":["/x"],"unique":true}],"expires":"/until"}"#);
    let (same, bad) = (record("b", r#""x":"1""#), record("a", r#""until":"x""#));
    let long = record("a", &format!(r#""x":"{}""#, "x".repeat(RECORD_BYTES_MAX)));
    let seed = record("a", r#""x":"1""#);
    let seed = operation("a", Action::Put { record: &seed });
    world.run(Work::One(world.on("more"), seed));
    let works = [
        ("more", operation("b", Action::Create { record: &same })),
        ("orders", operation("b", Action::Create { record: &same })),
        ("orders", operation("a", Action::Put { record: &bad })),
        ("orders", operation("a", Action::Put { record: &long })),
        ("orders", Operation::new(text("a"), Action::Check, Condition::Exists)),
        ("orders", Operation::new(text("a"), Action::Delete, Condition::Absent)),
    ];
    for (at, (collection, operation)) in works.into_iter().enumerate() {
        let (one, many) = (format!("one {at}"), format!("many {at}"));
        let first = world.keyed(&one, Work::One(world.on(collection), operation));
        let batch = world.keyed(&many, Work::Batch(world.on(collection), vec![operation]));
        world.documents = world.restored();
        assert_eq!(world.keyed(&one, Work::One(world.on(collection), operation)), first);
        assert_eq!(world.keyed(&many, Work::Batch(world.on(collection), vec![operation])), batch);
    }
}
