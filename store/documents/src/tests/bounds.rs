//! The work of one entry is bounded, whatever it is: counted in records and bytes, not in time.

use super::world::{World, record, text};
use crate::*;
use leasehold_replication::Position;

const INDEXED: &str = r#"{"id":"string","indexes":[{"fields":["/x"]}]}"#;

/// Members that make a record of about that many bytes.
fn long(bytes: usize) -> String {
    format!(r#""y":"{}""#, "x".repeat(bytes))
}

fn batch(world: &mut World, operations: &[Operation<'_>]) -> Outcome {
    world.run(Work::Batch(world.on("orders"), operations.to_vec())).outcome
}

fn operation<'a>(id: &'a str, action: Action<'a>) -> Operation<'a> {
    Operation::new(text(id), action, Condition::None)
}

#[test]
fn an_entry_with_more_bytes_of_records_than_it_may_have_is_not_even_read() {
    let mut world = World::with(r#"{"id":"string"}"#);
    let record = record("a", &long(RECORD_BYTES_MAX - 100));
    let put = operation("a", Action::Put { record: &record });
    assert_eq!(batch(&mut world, &[put; 5]), Outcome::EntryTooLarge);
    let broken = operation("a", Action::Put { record: &record[1..] });
    assert_eq!(batch(&mut world, &[broken; 5]), Outcome::EntryTooLarge, "however wrong it is");
    assert!(matches!(batch(&mut world, &[broken]), Outcome::Invalid(_)));
    assert_eq!(batch(&mut world, &[put; 4]), Outcome::BatchDone);
}

#[test]
fn patches_count_what_they_read_and_what_they_write() {
    let mut world = World::with(r#"{"id":"string"}"#);
    world.create("a", &long(60_000));
    let patches: Vec<String> = (0..1000).map(|number| format!(r#"{{"x":{number}}}"#)).collect();
    let operations = |count: usize| -> Vec<Operation<'_>> {
        patches[..count].iter().map(|patch| operation("a", Action::Patch { patch })).collect()
    };
    let before = world.documents.sum();
    assert_eq!(batch(&mut world, &operations(1000)), Outcome::EntryTooLarge);
    assert_eq!(batch(&mut world, &operations(18)), Outcome::EntryTooLarge, "each merges it, and writes it once");
    assert_eq!((world.documents.sum(), world.changes.len()), (before, 0));
    assert_eq!(batch(&mut world, &operations(17)), Outcome::BatchDone);
}

#[test]
fn what_is_much_to_merge_is_left_to_the_leader() {
    let mut world = World::with(r#"{"id":"string"}"#);
    world.create("a", &long(MERGED_BYTES_MAX));
    assert_eq!(world.one("a", Action::Patch { patch: r#"{"x":1}"# }), Outcome::Contention);
    world.create("b", "");
    let patch = format!("{{{}}}", long(MERGED_BYTES_MAX));
    assert_eq!(world.one("b", Action::Patch { patch: &patch }), Outcome::Contention);
    assert_eq!(world.one("c", Action::Patch { patch: &patch }), Outcome::Missing);
}

#[test]
fn records_that_indexes_read_count_twice() {
    let mut world = World::with(r#"{"id":"string","indexes":[{"fields":["/x"]}]}"#);
    let records: Vec<String> = ["a", "b", "c"].iter().map(|id| record(id, &long(900_000))).collect();
    let puts: Vec<Operation<'_>> =
        ["a", "b", "c"].iter().zip(&records).map(|(id, record)| operation(id, Action::Put { record })).collect();
    assert_eq!(batch(&mut world, &puts), Outcome::EntryTooLarge);
    assert_eq!(batch(&mut world, &puts[..2]), Outcome::BatchDone);
}

#[test]
fn records_that_go_count_wherever_they_are() {
    let mut world = World::with(r#"{"id":"string"}"#);
    let ids: Vec<String> = (0..18).map(|number| number.to_string()).collect();
    for id in &ids {
        world.create(id, &long(1_000_000));
    }
    let deletes: Vec<Operation<'_>> = ids.iter().map(|id| operation(id, Action::Delete)).collect();
    let short: Vec<String> = ids.iter().map(|id| record(id, "")).collect();
    let puts: Vec<_> = ids.iter().zip(&short).map(|(id, record)| operation(id, Action::Put { record })).collect();
    let before = world.documents.sum();
    for operations in [&deletes, &puts] {
        assert_eq!(batch(&mut world, operations), Outcome::EntryTooLarge);
        assert_eq!((world.documents.sum(), world.changes.len()), (before, 0));
    }
    assert_eq!(batch(&mut world, &puts[..8]), Outcome::BatchDone);
    assert_eq!(batch(&mut world, &deletes), Outcome::BatchDone, "eight are short by now");
}

#[test]
fn old_records_count_where_an_index_must_lose_them() {
    for (definition, outcome) in [(INDEXED, Outcome::EntryTooLarge), (r#"{"id":"string"}"#, Outcome::BatchDone)] {
        let mut world = World::with(definition);
        let ids: Vec<String> = (0..6).map(|number| number.to_string()).collect();
        for id in &ids {
            world.create(id, &long(900_000));
        }
        let deletes: Vec<Operation<'_>> = ids.iter().map(|id| operation(id, Action::Delete)).collect();
        assert_eq!(batch(&mut world, &deletes), outcome);
        let records: Vec<String> = ids.iter().map(|id| record(id, "")).collect();
        world.documents = {
            let mut again = World::with(definition);
            for id in &ids {
                again.create(id, &long(900_000));
            }
            again.documents
        };
        let puts = ids.iter().zip(&records).map(|(id, record)| operation(id, Action::Put { record }));
        assert_eq!(batch(&mut world, &puts.collect::<Vec<_>>()), outcome);
    }
}

/// Adds records without the checks of a world, which look at all of them each time.
fn fill(world: &mut World, count: usize, members: &str) {
    for number in 0..count {
        let id = format!("r{number}");
        let record = record(&id, members);
        let create = operation(&id, Action::Create { record: &record });
        let command = Command::new(Work::One(world.on("orders"), create)).encode(2);
        let position = Position::new(1, world.documents.applied().seq.0 + 1);
        world.documents.apply(position, &command, &mut Vec::new()).unwrap();
    }
}

#[test]
fn a_step_of_a_pending_change_ends_at_its_bounds_in_records_or_bytes() {
    let mut world = World::with(r#"{"id":"string"}"#);
    fill(&mut world, STEP_RECORDS_MAX + 5, "");
    world.define("orders", INDEXED);
    world.advance(u64::MAX);
    assert_eq!(world.orders().pending().unwrap().cursor, STEP_RECORDS_MAX as u64);
    world.advance(u64::MAX);
    assert!(world.orders().pending().is_none());

    let mut world = World::with(r#"{"id":"string"}"#);
    fill(&mut world, 4, &long(400_000));
    world.define("orders", INDEXED);
    world.advance(u64::MAX);
    assert_eq!(world.orders().pending().unwrap().cursor, 2);
    let mut world = World::with(r#"{"id":"string"}"#);
    fill(&mut world, 3, &long(RECORD_BYTES_MAX - 100));
    world.define("orders", INDEXED);
    world.advance(u64::MAX);
    assert_eq!(world.orders().pending().unwrap().cursor, 1, "one record always");
}

#[test]
fn a_step_of_expiry_ends_at_its_bounds_in_records_or_bytes() {
    let expires = r#"{"id":"string","expires":"/t"}"#;
    let mut world = World::with(expires);
    fill(&mut world, STEP_RECORDS_MAX + 5, r#""t":1"#);
    world.expire(u64::MAX);
    assert_eq!((world.changes.len(), world.orders().len()), (STEP_RECORDS_MAX, 5));
    let mut world = World::with(expires);
    fill(&mut world, 4, &format!(r#""t":1,{}"#, long(400_000)));
    world.expire(u64::MAX);
    assert_eq!(world.orders().len(), 2);
}

#[test]
fn a_change_without_an_index_needs_no_look_at_records_by_the_state_machine() {
    let mut world = World::with(r#"{"id":"string"}"#);
    fill(&mut world, STEP_RECORDS_MAX + 5, "");
    world.define("orders", r#"{"id":"string","schema":{}}"#);
    world.advance(u64::MAX);
    assert!(world.orders().pending().is_none(), "the leader looked: the step costs nothing");
}
