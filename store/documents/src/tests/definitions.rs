//! Definitions: made, changed at once or after a look at the records, given up, dropped.

use super::world::{World, record, text};
use crate::*;
use leasehold_replication::Seq;

const PLAIN: &str = r#"{"id":"string"}"#;
const UNIQUE: &str = r#"{"id":"string","indexes":[{"fields":["/x"],"unique":true}]}"#;
const SCHEMA: &str = r#"{"id":"string","schema":{"type":"object"}}"#;

fn definition(json: &str) -> Definition {
    Definition::parse_stored(json).unwrap()
}

#[test]
fn a_definition_is_created_changed_at_once_or_unchanged_and_every_change_is_told() {
    let mut world = World::with(PLAIN);
    let created = Seq(1);
    let told = |definition: Option<&str>| Change::Definition {
        collection: "orders".into(),
        created,
        definition: definition.map(|json| definition_of(json).into()),
    };
    fn definition_of(json: &str) -> Definition {
        Definition::parse(json).unwrap()
    }
    // The first command of format 2 also defines `persons`.
    let definition = Some(Definition::persons().into());
    let persons = Change::Definition { collection: "persons".into(), created, definition };
    assert_eq!(world.changes, [persons, told(Some(PLAIN))]);
    assert_eq!(world.define("orders", PLAIN), Outcome::Unchanged);
    assert!(world.changes.is_empty());
    let more = r#"{"id":"string","maxRecords":5}"#;
    assert_eq!(world.define("orders", more), Outcome::Defined { created: false });
    assert_eq!(world.changes, [told(Some(more))]);
    let defined = world.orders().defined().unwrap();
    assert_eq!((defined.created, defined.revision, defined.epoch), (Seq(1), Seq(3), Seq(3)));
    assert_eq!(world.define("orders", r#"{"id":"uuid"}"#), Outcome::Immutable);
    assert_eq!(world.define("orders", UNIQUE), Outcome::Defined { created: false }, "there is no record to look at");
    for name in ["Orders", "api", "", "a_b"] {
        let define = Define {
            collection: name,
            definition: PLAIN,
            condition: DefinitionCondition::None,
            unless_expired_ms: None,
        };
        assert!(matches!(world.run(Work::Define(define)).outcome, Outcome::Invalid(_)), "{name}");
    }
    assert!(matches!(world.define("dogs", "{}"), Outcome::Invalid(_)));
}

#[test]
fn a_definition_changes_only_under_its_condition() {
    let mut world = World::with(PLAIN);
    let more = r#"{"id":"string","maxRecords":5}"#;
    for wrong in [DefinitionCondition::Absent, DefinitionCondition::Revision(Seq(9))] {
        assert_eq!(world.define_if("orders", more, wrong, None), Outcome::PreconditionFailed);
    }
    for wrong in [DefinitionCondition::Exists, DefinitionCondition::Revision(Seq(1))] {
        assert_eq!(world.define_if("dogs", more, wrong, None), Outcome::PreconditionFailed);
    }
    let revision = DefinitionCondition::Revision(Seq(1));
    assert_eq!(world.define_if("orders", more, revision, None), Outcome::Defined { created: false });
    let drop = |condition| Work::Drop { collection: "orders", condition, with_records: true };
    assert_eq!(world.run(drop(revision)).outcome, Outcome::PreconditionFailed);
    assert_eq!(world.run(drop(DefinitionCondition::Exists)).outcome, Outcome::Dropped);
    assert_eq!(world.run(drop(DefinitionCondition::Exists)).outcome, Outcome::PreconditionFailed);
    assert_eq!(world.run(drop(DefinitionCondition::None)).outcome, Outcome::NoCollection);
}

#[test]
fn a_change_that_records_must_be_examined_for_is_pending_until_the_last_of_them() {
    let mut world = World::with(PLAIN);
    for id in ["a", "b", "c"] {
        world.create(id, &format!(r#""x":"{id}""#));
    }
    assert_eq!(world.define("orders", UNIQUE), Outcome::Pending);
    assert!(world.changes.is_empty(), "it is not in force");
    let since = world.documents.applied().seq;
    let defined = world.orders().defined().unwrap();
    assert_eq!((defined.revision, defined.epoch, world.orders().definition()), (Seq(1), since, &definition(PLAIN)));
    assert_eq!(world.define("orders", UNIQUE), Outcome::Pending, "the same change again");
    assert_eq!(world.define("orders", SCHEMA), Outcome::DefinitionPending);
    assert_eq!(world.define("orders", PLAIN), Outcome::DefinitionPending);
    assert_eq!(world.advance(2), Outcome::Stepped);
    assert_eq!((world.orders().pending().unwrap().cursor, world.orders().indexes().len()), (2, 0));
    world.create("d", r#""x":"d""#);
    assert_eq!(world.advance(3), Outcome::Stepped);
    assert!(world.orders().pending().is_some(), "a record came meanwhile");
    assert_eq!(world.advance(u64::MAX), Outcome::Stepped);
    let defined = world.orders().defined().unwrap();
    assert_eq!((defined.revision, defined.epoch), (world.documents.applied().seq, world.documents.applied().seq));
    assert!(
        matches!(&world.changes[..], [Change::Definition { definition: Some(now), .. }] if **now == definition(UNIQUE))
    );
    assert_eq!(world.orders().indexes()[0].len(), 4);
    assert!(matches!(world.create("e", r#""x":"d""#), Outcome::UniqueConflict { .. }));
    assert_eq!(world.advance(9), Outcome::Missing);
}

#[test]
fn a_step_that_finds_two_equal_keys_ends_the_change_and_says_which() {
    let mut world = World::with(PLAIN);
    for id in ["a", "b", "c"] {
        world.create(id, r#""x":"same""#);
    }
    world.define("orders", UNIQUE);
    let since = world.documents.applied().seq;
    assert_eq!(world.advance(9), Outcome::Stepped);
    let defined = world.orders().defined().unwrap();
    assert_eq!((&*defined.definition, &defined.pending), (&definition(PLAIN), &None));
    assert_eq!((defined.revision, defined.epoch), (Seq(1), world.documents.applied().seq));
    let ids = [text("a").to_owned(), text("b").to_owned()];
    let why = WhyRefused::UniqueConflict { index: 0, ids };
    assert_eq!(defined.last_refused, Some(LastRefused { since, why }));
    assert!(world.changes.is_empty());
    assert_eq!(world.create("d", r#""x":"same""#), Outcome::Created);
}

#[test]
fn a_write_below_the_cursor_that_makes_two_equal_keys_is_done_and_ends_the_change() {
    let mut world = World::with(PLAIN);
    for id in ["a", "b", "c"] {
        world.create(id, &format!(r#""x":"{id}""#));
    }
    world.define("orders", UNIQUE);
    world.advance(2);
    assert_eq!(world.put("c", r#""x":"a""#), Outcome::Replaced);
    assert!(world.orders().pending().is_some(), "it is behind the cursor: a step will find it");
    assert_eq!(world.put("b", r#""x":"a""#), Outcome::Replaced);
    let defined = world.orders().defined().unwrap();
    let ids = [text("a").to_owned(), text("b").to_owned()];
    assert_eq!(defined.last_refused.as_ref().unwrap().why, WhyRefused::UniqueConflict { index: 0, ids });
    assert_eq!((defined.epoch, &defined.pending), (world.documents.applied().seq, &None));
    assert_eq!(world.orders().get(text("b")).unwrap().as_str(), record("b", r#""x":"a""#));
}

#[test]
fn an_index_under_construction_is_the_same_on_a_replica_that_loaded_a_snapshot() {
    let mut world = World::with(PLAIN);
    for number in 1..=5 {
        world.create(&number.to_string(), &format!(r#""x":"{number}""#));
    }
    world.define("orders", UNIQUE);
    world.advance(3);
    assert_eq!(world.create("9", r#""x":"5""#), Outcome::Created, "behind the cursor: not entered");
    let mut other = World { documents: world.restored(), ..World::default() };
    assert_eq!(other.create("10", r#""x":"9""#), world.create("10", r#""x":"9""#));
    assert_eq!(other.one("2", Action::Delete), world.one("2", Action::Delete));
    assert_eq!(other.advance(99), world.advance(99));
    assert_eq!(other.documents.sum(), world.documents.sum());
    assert!(world.orders().pending().is_none() && world.orders().defined().unwrap().last_refused.is_some());
}

#[test]
fn a_new_write_must_fit_the_pending_definition_too_and_an_old_record_that_does_not_ends_the_change() {
    let mut world = World::with(PLAIN);
    world.create("a", r#""until":"soon""#);
    let expires = r#"{"id":"string","expires":"/until"}"#;
    world.define("orders", expires);
    assert!(matches!(world.put("b", r#""until":"soon""#), Outcome::BadValue { .. }));
    assert_eq!(world.advance(9), Outcome::Stepped);
    let why = &world.orders().defined().unwrap().last_refused.as_ref().unwrap().why;
    assert!(
        matches!(why, WhyRefused::BadValue { id, pointer, .. } if *id == text("a").to_owned() && &**pointer == "/until")
    );
    assert_eq!(world.put("b", r#""until":"soon""#), Outcome::Created);
    world.put("a", "");
    world.put("b", r#""until":5"#);
    assert_eq!(world.define("orders", expires), Outcome::Pending);
    world.advance(9);
    assert_eq!(world.documents.overdue("orders", 5_000, 9), 1);
}

#[test]
fn the_leader_ends_a_change_whose_schema_a_record_does_not_fit() {
    let mut world = World::with(PLAIN);
    world.create("a", "");
    let tag = world.orders().get(text("a")).unwrap().tag();
    let does_not_fit = |on, id| Work::DoesNotFit { on, id: text(id), tag, pointer: "/x", rule: "required" };
    assert_eq!(world.run(does_not_fit(world.on("orders"), "a")).outcome, Outcome::Missing);
    let before = world.on("orders");
    world.define("orders", SCHEMA);
    assert_eq!(world.run(does_not_fit(before, "a")).outcome, Outcome::DefinitionChanged);
    assert_eq!(world.run(does_not_fit(world.on("orders"), "gone")).outcome, Outcome::Stepped);
    assert!(world.orders().pending().is_some(), "a record that is gone is no reason");
    let (on, id) = (world.on("orders"), text("a"));
    let other = Work::DoesNotFit { on, id, tag: !tag, pointer: "/x", rule: "required" };
    assert_eq!(world.run(other).outcome, Outcome::Stepped);
    assert!(world.orders().pending().is_some(), "nor is one that was written since the leader looked");
    assert_eq!(world.run(does_not_fit(world.on("orders"), "a")).outcome, Outcome::Stepped);
    let defined = world.orders().defined().unwrap();
    let why = WhyRefused::DoesNotFit { id: text("a").to_owned(), pointer: "/x".into(), rule: "required".into() };
    assert_eq!((&defined.pending, &defined.last_refused.as_ref().unwrap().why), (&None, &why));
}

#[test]
fn a_pending_change_is_given_up_and_the_definition_is_as_before() {
    let mut world = World::with(PLAIN);
    world.create("a", "");
    let give_up = Work::GiveUp { collection: "orders" };
    assert_eq!(world.run(give_up.clone()).outcome, Outcome::Missing);
    world.define("orders", UNIQUE);
    let stale = world.on("orders");
    assert_eq!(world.run(give_up).outcome, Outcome::Dropped);
    assert_eq!(world.run(Work::Advance { on: stale, upto: 1 }).outcome, Outcome::DefinitionChanged);
    let defined = world.orders().defined().unwrap();
    assert_eq!((defined.revision, defined.epoch, &defined.pending), (Seq(1), Seq(5), &None));
    assert_eq!(world.run(Work::GiveUp { collection: "dogs" }).outcome, Outcome::NoCollection);
}

#[test]
fn a_change_keeps_the_indexes_that_both_definitions_have() {
    let two = r#"{"id":"string","indexes":[{"fields":["/x"]},{"fields":["/y"]}],"expires":"/t"}"#;
    let mut world = World::with(two);
    world.create("a", r#""x":"1","y":"2","t":3"#);
    let other = r#"{"id":"string","indexes":[{"fields":["/z"]},{"fields":["/y"]}],"expires":"/t","maxRecords":9}"#;
    assert_eq!(world.define("orders", other), Outcome::Pending);
    world.put("a", r#""x":"3","y":"4","t":5"#);
    world.advance(1);
    assert_eq!(world.orders().definition(), &definition(other));
    assert_eq!(
        world.define("orders", r#"{"id":"string","indexes":[{"fields":["/y"]}]}"#),
        Outcome::Defined { created: false }
    );
    assert_eq!(world.documents.overdue("orders", u64::MAX, 9), 0, "nothing expires any longer");
}

#[test]
fn a_collection_that_is_dropped_goes_whole_and_comes_back_as_another_one() {
    let mut world = World::with(UNIQUE);
    let before = world.documents.clone();
    world.create("a", r#""x":"1""#);
    let stale = world.on("orders");
    let drop = |with_records| Work::Drop { collection: "orders", condition: DefinitionCondition::None, with_records };
    assert_eq!(world.run(drop(false)).outcome, Outcome::NotEmpty(1));
    assert_eq!(world.run(drop(true)).outcome, Outcome::Dropped);
    let gone = Change::Definition { collection: "orders".into(), created: Seq(1), definition: None };
    assert_eq!(world.changes, [gone], "one event, whatever it had");
    assert!(world.documents.collection("orders").is_none());
    assert_eq!(world.documents.take_discarded().iter().map(|gone| gone.len()).collect::<Vec<_>>(), [1]);
    assert!(world.documents.take_discarded().is_empty());
    assert_eq!(world.define("orders", UNIQUE), Outcome::Defined { created: true });
    assert_ne!(world.documents.sum(), before.sum(), "created is another entry");
    assert_eq!((world.orders().len(), world.orders().last_number()), (0, 0));
    let json = record("a", "");
    let create = Operation::new(text("a"), Action::Create { record: &json }, Condition::None);
    assert_eq!(world.run(Work::One(stale, create)).outcome, Outcome::DefinitionChanged);
}

#[test]
fn a_change_that_would_expire_records_at_once_says_how_many() {
    let mut world = World::with(PLAIN);
    for (id, seconds) in [("a", 1), ("b", 2), ("c", 3)] {
        world.create(id, &format!(r#""t":{seconds}"#));
    }
    let expires = r#"{"id":"string","expires":"/t"}"#;
    let define = |world: &mut World, unless| world.define_if("orders", expires, DefinitionCondition::None, unless);
    assert_eq!(define(&mut world, Some(2_000)), Outcome::WouldExpire(2));
    assert_eq!(define(&mut world, Some(999)), Outcome::Pending);
    world.run(Work::GiveUp { collection: "orders" });
    assert_eq!(define(&mut world, None), Outcome::Pending);
}

#[test]
fn there_are_no_more_collections_than_there_may_be() {
    let mut documents = Documents::new();
    let mut seq = 0;
    let mut define = |name: &str| {
        seq += 1;
        let (condition, unless_expired_ms) = (DefinitionCondition::None, None);
        let define = Define { collection: name, definition: PLAIN, condition, unless_expired_ms };
        let command = Command::new(Work::Define(define)).encode(2);
        documents.apply(leasehold_replication::Position::new(1, seq), &command, &mut Vec::new()).unwrap().outcome
    };
    // `persons` is one of them.
    for number in 1..COLLECTIONS_MAX {
        assert_eq!(define(&format!("c{number}")), Outcome::Defined { created: true });
    }
    assert_eq!(define("one-more"), Outcome::TooManyCollections);
    assert_eq!(define("c7"), Outcome::Unchanged);
}
