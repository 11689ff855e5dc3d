use super::*;
use leasehold_replication::Position;
use proptest::prelude::*;
use serde::Deserialize;

/// What `snapshot.rs` wraps around the two members.
#[derive(Deserialize)]
struct File {
    collections: StoredCollections,
    order: StoredOrder,
}

fn write(documents: &Documents) -> String {
    let mut out = b"{".to_vec();
    documents.write_collections(&mut out).unwrap();
    out.push(b'}');
    String::from_utf8(out).unwrap()
}

fn read(applied: Position, text: &str) -> Result<Documents, StoredError> {
    let file: File = serde_json::from_str(text).unwrap();
    Documents::restore(applied, file.collections, file.order)
}

fn id(number: u8) -> Uuid {
    Uuid::from_bytes([number; 16])
}

fn record(number: u8, last_name: &str) -> String {
    format!(r#"{{"firstName":"N{number}","lastName":"{last_name}","id":"{}"}}"#, id(number))
}

/// Applies commands at rising positions.
#[derive(Default)]
struct Log {
    documents: Documents,
}

impl Log {
    fn run(&mut self, id: Uuid, action: Action<'_>, condition: Condition) -> Outcome {
        let command = Command { collection: "persons", id, action, condition };
        self.raw(&command.encode())
    }

    fn raw(&mut self, command: &[u8]) -> Outcome {
        let position = Position::new(1, self.documents.applied().seq.0 + 1);
        self.documents.apply(position, command)
    }

    fn create(&mut self, number: u8, name: &str) -> Outcome {
        self.run(id(number), Action::Create { record: &record(number, name) }, Condition::None)
    }

    fn put(&mut self, number: u8, name: &str, condition: Condition) -> Outcome {
        self.run(id(number), Action::Put { record: &record(number, name) }, condition)
    }

    fn delete(&mut self, number: u8, condition: Condition) -> Outcome {
        self.run(id(number), Action::Delete, condition)
    }

    fn list(&self) -> Vec<(u64, String)> {
        list(&self.documents)
    }
}

fn list(documents: &Documents) -> Vec<(u64, String)> {
    let collection = documents.collection("persons").cloned().unwrap_or_default();
    let all: Vec<_> = collection.after(0).map(|(number, record)| (number, record.as_str().to_owned())).collect();
    assert_eq!(all.len(), collection.len());
    all
}

#[test]
fn a_second_create_is_the_same_or_a_conflict_by_its_content() {
    let mut log = Log::default();
    assert_eq!(log.create(1, "A"), Outcome::Created);
    assert_eq!(log.create(1, "A"), Outcome::Same);
    assert_eq!(log.create(1, "B"), Outcome::Conflict);
    assert_eq!(log.list(), [(1, record(1, "A"))]);
    assert_eq!(log.documents.applied(), Position::new(1, 3), "refused commands are entries, too");
}

#[test]
fn a_put_creates_replaces_or_finds_the_same_and_keeps_the_place_in_the_list() {
    let mut log = Log::default();
    assert_eq!(log.put(1, "A", Condition::None), Outcome::Created);
    assert_eq!(log.put(2, "B", Condition::None), Outcome::Created);
    assert_eq!(log.put(1, "C", Condition::None), Outcome::Replaced);
    assert_eq!(log.put(1, "C", Condition::None), Outcome::Same);
    assert_eq!(log.list(), [(1, record(1, "C")), (2, record(2, "B"))]);
}

#[test]
fn a_deleted_record_is_missing_and_made_again_comes_last() {
    let mut log = Log::default();
    log.create(1, "A");
    log.create(2, "B");
    assert_eq!(log.delete(1, Condition::None), Outcome::Deleted);
    assert_eq!(log.delete(1, Condition::None), Outcome::Missing);
    assert_eq!(log.create(1, "A"), Outcome::Created);
    assert_eq!(log.list(), [(2, record(2, "B")), (3, record(1, "A"))]);
}

#[test]
fn conditions_are_decided_when_the_entry_is_applied() {
    let mut log = Log::default();
    assert_eq!(log.put(1, "A", Condition::Exists), Outcome::PreconditionFailed);
    assert_eq!(log.put(1, "A", Condition::Absent), Outcome::Created);
    assert_eq!(log.put(1, "B", Condition::Absent), Outcome::PreconditionFailed);
    let tag = tag_of(&record(1, "A"));
    assert_eq!(log.put(1, "B", Condition::Tag(tag)), Outcome::Replaced);
    assert_eq!(log.put(1, "C", Condition::Tag(tag)), Outcome::PreconditionFailed);
    assert_eq!(log.delete(1, Condition::Tag(tag)), Outcome::PreconditionFailed);
    assert_eq!(log.delete(1, Condition::Exists), Outcome::Deleted);
    assert_eq!(log.delete(1, Condition::Exists), Outcome::PreconditionFailed);
}

#[test]
fn unreadable_bytes_change_nothing_but_the_position() {
    let mut log = Log::default();
    log.create(1, "A");
    assert!(matches!(log.raw(b"{}"), Outcome::Unreadable(_)));
    assert_eq!(log.list().len(), 1);
    assert_eq!(log.documents.applied(), Position::new(1, 2));
}

#[test]
#[should_panic(expected = "does not follow")]
fn an_entry_that_was_left_out_ends_the_process() {
    Documents::new().skip(Position::new(1, 2));
}

#[test]
fn a_clone_is_a_view_that_later_writes_do_not_change() {
    let mut log = Log::default();
    log.create(1, "A");
    let view = log.documents.clone();
    log.put(1, "B", Condition::None);
    log.create(2, "B");
    assert_eq!(list(&view), [(1, record(1, "A"))]);
    assert_eq!(view.applied(), Position::new(1, 1));
}

#[test]
fn a_page_begins_after_a_number_even_when_that_record_is_gone() {
    let mut log = Log::default();
    for number in 1..=4 {
        log.create(number, "A");
    }
    log.delete(2, Condition::None);
    let persons = log.documents.collection("persons").unwrap();
    assert_eq!(persons.after(2).map(|(number, _)| number).collect::<Vec<_>>(), [3, 4]);
    assert_eq!(persons.after(4).count(), 0);
}

#[test]
fn the_tag_of_a_record_is_this_for_ever() {
    assert_eq!(tag_of(""), 0x6c62272e07bb014262b821756295c58d);
    assert_eq!(tag_of("foobar"), 0x343e1662793c64bf6f0d3597ba446f18);
}

#[test]
fn the_snapshot_reads_like_this() {
    let mut log = Log::default();
    for number in 1..=5 {
        log.create(number, "A");
    }
    log.delete(3, Condition::None);
    log.delete(5, Condition::None);
    let text = write(&log.documents);
    let expected = format!(
        "{{\"collections\": {{\n  \"persons\": [\n    {},\n    {},\n    {}\n  ]\n}},\n\"order\": {}}}",
        record(1, "A"),
        record(2, "A"),
        record(4, "A"),
        r#"{"persons":{"last":5,"runs":[[1,2],[4,1]]}}"#
    );
    assert_eq!(text, expected);
    assert_eq!(write(&Documents::new()), "{\"collections\": {},\n\"order\": {}}");
}

#[test]
fn a_snapshot_that_nobody_wrote_is_refused() {
    let bad = |collections: &str, order: &str| {
        read(Position::ZERO, &format!(r#"{{"collections":{collections},"order":{order}}}"#)).unwrap_err()
    };
    let one = format!(r#"{{"persons":[{}]}}"#, record(1, "A"));
    let twice = format!(r#"{{"persons":[{0},{0}]}}"#, record(1, "A"));
    for order in [
        "{}",
        r#"{"persons":{"last":1,"runs":[]}}"#,
        r#"{"persons":{"last":2,"runs":[[1,2]]}}"#,
        r#"{"persons":{"last":1,"runs":[[2,1]]}}"#,
        r#"{"persons":{"last":1,"runs":[[0,1]]}}"#,
        r#"{"persons":{"last":1,"runs":[[1,1]]},"dogs":{"last":0,"runs":[]}}"#,
        r#"{"persons":{"last":1,"runs":[[18446744073709551615,18446744073709551615]]}}"#,
    ] {
        assert!(matches!(bad(&one, order), StoredError::Order { .. }), "{order}");
    }
    assert!(matches!(bad(&twice, r#"{"persons":{"last":2,"runs":[[1,2]]}}"#), StoredError::Twice { .. }));
    for collections in [r#"{"persons":[1]}"#, r#"{"persons":[{}]}"#, r#"{"persons":{}}"#, "[]"] {
        assert!(serde_json::from_str::<StoredCollections>(collections).is_err(), "{collections}");
    }
}

/// A step of a random history: what, which id, which content, which condition.
fn steps() -> impl Strategy<Value = Vec<(u8, u8, u8, u8)>> {
    proptest::collection::vec((0u8..4, 0u8..6, 0u8..3, 0u8..4), 0..80)
}

fn run(log: &mut Log, (what, number, content, condition): (u8, u8, u8, u8)) -> Outcome {
    let name = ["A", "B", "C"][usize::from(content)];
    let condition =
        [Condition::None, Condition::Exists, Condition::Absent, Condition::Tag(tag_of(&record(number, name)))]
            [usize::from(condition)];
    match what {
        0 => log.create(number, name),
        1 => log.put(number, name, condition),
        2 => log.delete(number, condition),
        _ => log.raw(&[what, number, content]),
    }
}

proptest! {
    #[test]
    fn a_replica_that_restored_a_snapshot_anywhere_decides_as_the_others(steps in steps(), at in 0usize..80) {
        let mut one = Log::default();
        let mut other = Log::default();
        for (index, step) in steps.into_iter().enumerate() {
            if index == at {
                other.documents = read(other.documents.applied(), &write(&other.documents)).unwrap();
            }
            prop_assert_eq!(run(&mut one, step), run(&mut other, step));
        }
        prop_assert_eq!(one.list(), other.list());
        prop_assert_eq!(write(&one.documents), write(&other.documents));
        prop_assert_eq!(one.documents.applied(), other.documents.applied());
    }

    #[test]
    fn the_list_is_what_a_plain_vector_would_say(steps in steps()) {
        let mut log = Log::default();
        let mut plain: Vec<(u8, String)> = Vec::new();
        for (what, number, content, _) in steps {
            run(&mut log, (what, number, content, 0));
            let new = record(number, ["A", "B", "C"][usize::from(content)]);
            let found = plain.iter().position(|(id, _)| *id == number);
            match (what, found) {
                (0 | 1, None) => plain.push((number, new)),
                (1, Some(at)) => plain[at].1 = new,
                (2, Some(at)) => drop(plain.remove(at)),
                _ => {}
            }
        }
        let listed: Vec<String> = log.list().into_iter().map(|(_, record)| record).collect();
        prop_assert_eq!(listed, plain.into_iter().map(|(_, record)| record).collect::<Vec<_>>());
    }

    #[test]
    fn arbitrary_commands_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
        Log::default().raw(&bytes);
    }
}
