//! Expiry, its pause, and what commands say of time and files.

use super::world::{World, text};
use crate::*;

const EXPIRES: &str = r#"{"id":"string","indexes":[{"fields":["/x"]}],"expires":"/t"}"#;

#[test]
fn what_is_over_goes_the_oldest_time_first_and_says_that_it_expired() {
    let mut world = World::with(EXPIRES);
    for (id, members) in [("a", r#""t":3"#), ("b", r#""t":"1970-01-01T00:00:01.500Z""#), ("c", ""), ("d", r#""t":9"#)] {
        world.create(id, members);
    }
    assert_eq!(world.expire(1_499), Outcome::Stepped);
    assert_eq!((world.changes.len(), world.orders().len()), (0, 4));
    assert_eq!(world.documents.overdue("orders", 3_000, 1), 1, "no more than it was asked for");
    assert_eq!(world.expire(3_000), Outcome::Stepped);
    let gone: Vec<(String, ChangeKind)> = world
        .changes
        .iter()
        .map(|change| match change {
            Change::Record(change) => (change.id.to_string(), change.kind),
            Change::Definition { .. } => panic!("{change:?}"),
        })
        .collect();
    assert_eq!(gone, [("b".to_owned(), ChangeKind::Expired), ("a".to_owned(), ChangeKind::Expired)]);
    assert_eq!(world.ids(), ["c", "d"]);
}

#[test]
fn a_record_that_was_renewed_one_entry_before_does_not_go() {
    let mut world = World::with(EXPIRES);
    world.create("a", r#""t":1"#);
    let step = Work::Expire { on: world.on("orders"), upto_ms: 2_000 };
    world.one("a", Action::Patch { patch: r#"{"t":5}"# });
    world.run(step.clone());
    assert_eq!(world.ids(), ["a"]);
    world.put("a", "");
    world.expire(u64::MAX);
    assert_eq!(world.ids(), ["a"], "it has no time any longer");
}

#[test]
fn nothing_expires_while_it_is_paused_and_at_another_epoch() {
    let mut world = World::with(EXPIRES);
    world.create("a", r#""t":1"#);
    let before = world.documents.sum();
    world.run(Work::PauseExpiry { paused: true });
    assert!(world.documents.expiry_paused() && world.documents.sum() != before);
    assert_eq!(world.expire(u64::MAX), Outcome::Stepped);
    assert!(world.restored().expiry_paused());
    world.run(Work::PauseExpiry { paused: false });
    assert_eq!((world.documents.sum(), world.orders().len()), (before, 1));
    let stale = On::at("orders", leasehold_replication::Seq(99));
    assert_eq!(world.run(Work::Expire { on: stale, upto_ms: 9_000 }).outcome, Outcome::DefinitionChanged);
    assert_eq!(world.orders().len(), 1);
    world.expire(u64::MAX);
    assert!(world.orders().is_empty());
}

#[test]
fn the_file_and_the_highest_time_are_remembered_and_part_of_the_sum() {
    let mut world = World::with(EXPIRES);
    let before = world.documents.sum();
    world.run(Work::NoteFile { hash: 7 });
    assert_ne!(world.documents.sum(), before);
    assert_eq!(world.restored().noted_file(), Some(7));
    let noted = world.documents.sum();
    for (time_ms, highest) in [(5, 5), (3, 5), (9, 9)] {
        world.apply(&Command::new(Work::GiveUp { collection: "orders" }).at(time_ms).encode(2));
        assert_eq!((world.documents.time_ms(), world.restored().time_ms()), (highest, highest));
    }
    assert_ne!(world.documents.sum(), noted);
}

#[test]
fn the_sum_of_the_data_follows_from_records_and_definitions_in_force_alone() {
    let mut world = World::with(EXPIRES);
    world.create("a", "");
    let (data, keys) = (world.documents.data_sum(), world.documents.keys_sum());
    world.run(Work::NoteFile { hash: 7 });
    world.run(Work::PauseExpiry { paused: true });
    world.define("orders", r#"{"id":"string","schema":{}}"#);
    assert_eq!((world.documents.data_sum(), world.documents.keys_sum()), (data, keys));
    let missing = Work::One(world.on("orders"), Operation::new(text("z"), Action::Delete, Condition::None));
    world.keyed("k", missing);
    assert_eq!(world.documents.data_sum(), data);
    assert_ne!(world.documents.keys_sum(), keys);
    world.advance(9);
    assert_ne!(world.documents.data_sum(), data, "another definition is in force");
}
