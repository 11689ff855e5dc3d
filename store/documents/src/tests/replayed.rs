//! [`Replay`]: the changes of entries are enough for all that the sum of the data covers.

use super::histories::{command, old_command, steps};
use super::world::{World, record};
use super::{read, write};
use crate::replay::{Misfit, Replay, ReplayError};
use crate::*;
use leasehold_replication::{Position, Seq, Sum};
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

/// What a restored cluster has of the data, and what the real ones have.
fn comparable(documents: &Documents) -> Vec<String> {
    let of = |(name, collection): (&str, &Collection)| {
        let defined = collection.defined.as_ref().map(|of| (of.definition.to_json(), of.created, of.revision));
        let records: Vec<_> = collection.after(0).map(|(number, record)| (number, record.as_str())).collect();
        let ids: Vec<_> = collection.by_id.iter().collect();
        let indexes: Vec<_> = collection.tables.indexes.iter().map(entries).collect();
        let (expiry, last) = (&collection.tables.expiry, collection.last_number);
        format!("{name} {defined:?} {last} {records:?} {ids:?} {indexes:?} {expiry:?}")
    };
    documents.collections().map(of).collect()
}

fn entries(index: &Index) -> Vec<String> {
    use std::ops::Bound::Unbounded;
    index.range(Unbounded, Unbounded).map(|entry| format!("{:?} {entry:?}", index.definition())).collect()
}

/// A restored cluster is what the real one was, and continues from there.
fn assert_restored(replay: Replay, real: &Documents) -> Result<(), TestCaseError> {
    let (time_ms, seq) = (replay.time_ms(), replay.position());
    let restored = replay.into_restored().unwrap();
    prop_assert_eq!(comparable(&restored), comparable(real));
    prop_assert_eq!((restored.data_sum(), restored.check_sum()), (real.data_sum(), Ok(())));
    prop_assert_eq!((restored.format(), restored.time_ms()), (real.format(), real.time_ms()));
    prop_assert_eq!((time_ms, seq), (real.time_ms(), real.applied().seq));
    prop_assert_eq!(restored.applied(), Position::new(0, seq.0));
    prop_assert!(restored.expiry_paused() == (real.format() == 2) && restored.noted_file().is_none());
    let is_quiet =
        |(_, of): (&str, &Collection)| of.pending().is_none() && of.epoch() == of.defined().map(|of| of.revision);
    prop_assert!(restored.collections().all(is_quiet));
    let read_again = read(restored.applied(), &write(&restored)).unwrap();
    prop_assert_eq!(read_again.sum(), restored.sum());
    prop_assert_eq!(comparable(&read_again), comparable(real));
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn changes_make_the_data_from_any_snapshot(
        steps in steps(),
        raised_at in 0usize..10,
        begun_at in proptest::collection::vec(0usize..90, 0..4),
    ) {
        let mut real = Documents::new();
        let mut replays = vec![Replay::new(Documents::new())];
        for (at, step) in steps.into_iter().enumerate() {
            if begun_at.contains(&at) {
                replays.push(Replay::new(read(real.applied(), &write(&real)).unwrap()));
            }
            let (position, mut changes) = (Position::new(1, real.applied().seq.0 + 1), Vec::new());
            if at == raised_at {
                real.voters(position, 2, &mut changes);
            } else {
                let bytes = if at < raised_at { old_command(step) } else { command(&real, step) };
                real.apply(position, &bytes, &mut changes).unwrap();
            }
            for replay in &mut replays {
                if changes.is_empty() {
                    replay.pass(position.seq, real.time_ms());
                } else {
                    replay.apply(position.seq, real.time_ms(), &changes).unwrap();
                }
                prop_assert_eq!(replay.data_sum(), real.data_sum(), "{:?}", changes);
            }
        }
        for replay in replays {
            assert_restored(replay, &real)?;
        }
    }
}

fn replay_of(world: &World) -> Replay {
    Replay::new(world.documents.clone())
}

fn misfit(replay: &mut Replay, seq: u64, change: Change) -> Misfit {
    match replay.apply(Seq(seq), 0, &[change]).unwrap_err() {
        ReplayError::Misfit { why, .. } => why,
        other => panic!("{other:?}"),
    }
}

fn change(id: &str, number: u64, kind: ChangeKind, content: Option<&str>) -> Change {
    let record = content.map(|content| Record::from(record(id, content)));
    Change::Record(RecordChange { collection: "orders".into(), id: Id::Text(id.into()), number, kind, record })
}

#[test]
fn changes_of_other_data_are_refused() {
    use ChangeKind::{Created, Deleted, Replaced};
    let mut world = World::with(r#"{"id":"string"}"#);
    world.put("a", "");
    world.put("b", "");
    let replay = replay_of(&world);
    let refused = |change| misfit(&mut replay.clone(), 9, change);
    let number = |id: &str, said, found| Misfit::Number { id: Id::Text(id.into()), said, found, last: 2 };
    assert_eq!(refused(change("c", 2, Created, Some(""))), number("c", 2, None));
    assert_eq!(refused(change("c", 4, Created, Some(""))), number("c", 4, None));
    assert_eq!(refused(change("a", 3, Created, Some(""))), number("a", 3, Some(1)));
    assert_eq!(refused(change("a", 2, Replaced, Some(""))), number("a", 2, Some(1)));
    assert_eq!(refused(change("c", 3, Deleted, None)), number("c", 3, None));
    assert_eq!(refused(change("a", 1, Deleted, Some(""))), Misfit::Content(Id::Text("a".into())));
    assert_eq!(refused(change("a", 1, Replaced, None)), Misfit::Content(Id::Text("a".into())));
    let uuid = Id::Uuid(uuid::Uuid::nil());
    let record = RecordChange { collection: "orders".into(), id: uuid.clone(), number: 3, kind: Deleted, record: None };
    assert_eq!(refused(Change::Record(record.clone())), Misfit::Id(uuid));
    assert_eq!(refused(Change::Record(RecordChange { collection: "none".into(), ..record })), Misfit::NoCollection);
    let mut done = replay.clone();
    done.apply(Seq(9), 5, &[change("c", 3, Created, Some(""))]).unwrap();
    assert_eq!(done.apply(Seq(9), 5, &[]), Err(ReplayError::Order { seq: Seq(9), position: Seq(9) }));
}

#[test]
fn definitions_of_other_data_are_refused() {
    let mut world = World::with(r#"{"id":"string"}"#);
    world.put("a", "");
    let replay = replay_of(&world);
    let defined = |name: &str, created, definition: Option<&str>| Change::Definition {
        collection: name.into(),
        created: Seq(created),
        definition: definition.map(|json| Definition::parse(json).unwrap().into()),
    };
    let refused = |change| misfit(&mut replay.clone(), 9, change);
    let text = Some(r#"{"id":"string"}"#);
    let created = |said, found: Option<u64>| Misfit::Created { said: Seq(said), found: found.map(Seq) };
    assert_eq!(refused(defined("orders", 9, text)), created(9, Some(1)));
    assert_eq!(refused(defined("orders", 9, None)), created(9, Some(1)));
    assert_eq!(refused(defined("others", 8, text)), created(8, None));
    assert_eq!(refused(defined("others", 8, None)), Misfit::NoCollection);
    assert_eq!(refused(defined("orders", 1, Some(r#"{"id":"uuid"}"#))), Misfit::Definition);
    assert_eq!(refused(defined("api", 9, text)), Misfit::Definition);
    replay.clone().apply(Seq(9), 0, &[defined("orders", 1, None), defined("orders", 9, text)]).unwrap();
}

#[test]
fn a_uuid_may_come_as_a_text_because_a_watch_does_not_say_which_it_is() {
    let mut world = World::with(r#"{"id":"uuid"}"#);
    let mut replay = replay_of(&world);
    let id = "e956b5d0-fa0c-40e8-9da9-333c214dcaf7";
    let json = record(id, "");
    let IdRef::Uuid(uuid) = IdKind::Uuid.parse(id).unwrap() else { panic!() };
    let create = Operation::new(IdRef::Uuid(uuid), Action::Create { record: &json }, Condition::None);
    assert_eq!(world.run(Work::One(world.on("orders"), create)).outcome, Outcome::Created);
    replay.apply(Seq(2), 0, &[change(id, 1, ChangeKind::Created, Some(""))]).unwrap();
    assert_eq!(replay.data_sum(), world.documents.data_sum());
    let none = change("x", 2, ChangeKind::Created, Some(""));
    assert_eq!(misfit(&mut replay, 3, none), Misfit::Id(Id::Text("x".into())));
}

#[test]
fn records_that_no_index_would_have_are_found_when_indexes_are_made() {
    let world = World::with(r#"{"id":"string","indexes":[{"fields":["/x"],"unique":true}]}"#);
    let mut replay = replay_of(&world);
    let twice = [("a", 1), ("b", 2)].map(|(id, number)| change(id, number, ChangeKind::Created, Some(r#""x":"1""#)));
    replay.apply(Seq(2), 0, &twice).unwrap();
    let error = replay.into_restored().unwrap_err().to_string();
    assert!(error.contains("orders: b: a unique index"), "{error}");
}

#[test]
fn entries_without_a_change_move_position_and_time_and_never_back() {
    let empty = Replay::new(Documents::new());
    assert_eq!((empty.position(), empty.time_ms(), empty.data_sum()), (Seq(0), 0, Sum(0)));
    let mut replay = replay_of(&World::with(r#"{"id":"string"}"#));
    replay.pass(Seq(7), 1_000);
    replay.pass(Seq(6), 900);
    assert_eq!((replay.position(), replay.time_ms()), (Seq(7), 1_000));
    assert!(matches!(replay.apply(Seq(7), 0, &[]), Err(ReplayError::Order { .. })));
}

/// By hand, in release: `cargo test --release -p leasehold-documents a_million -- --ignored --nocapture`
#[test]
#[ignore = "by hand: it measures"]
fn a_million_records_are_replayed() {
    use std::time::Instant;
    const RECORDS: u64 = 1_000_000;
    let world = World::with(r#"{"id":"string","indexes":[{"fields":["/x"]}]}"#);
    let mut replay = replay_of(&world);
    let content = format!(r#""x":"1","y":"{}""#, "y".repeat(60));
    let begun = Instant::now();
    for number in 1..=RECORDS {
        let created = change(&number.to_string(), number, ChangeKind::Created, Some(&content));
        replay.apply(Seq(number + 1), 0, &[created]).unwrap();
    }
    println!("created: {:.0} changes/s", RECORDS as f64 / begun.elapsed().as_secs_f64());
    let begun = Instant::now();
    for number in 1..=RECORDS {
        let replaced = change(&number.to_string(), number, ChangeKind::Replaced, Some(r#""x":"2""#));
        replay.apply(Seq(RECORDS + number + 1), 0, &[replaced]).unwrap();
    }
    println!("replaced: {:.0} changes/s", RECORDS as f64 / begun.elapsed().as_secs_f64());
    let begun = Instant::now();
    assert_eq!(replay.into_restored().unwrap().check_sum(), Ok(()));
    println!("indexed and checked: {:.2} s", begun.elapsed().as_secs_f64());
}
