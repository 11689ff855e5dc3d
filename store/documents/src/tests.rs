use super::*;
use leasehold_replication::{Position, Sum};
use proptest::prelude::*;
use serde::Deserialize;
use uuid::Uuid;

mod bounds;
mod definitions;
mod histories;
mod raised;
mod records;
mod replayed;
mod steps;
mod stored;
mod timings;
mod world;

/// What `snapshot.rs` wraps around the members.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct File {
    #[serde(default)]
    definitions: Option<StoredDefinitions>,
    #[serde(default)]
    time: u64,
    #[serde(default)]
    expiry_paused: bool,
    #[serde(default)]
    file: Option<String>,
    collections: StoredCollections,
    order: StoredOrder,
    #[serde(default)]
    keys: Vec<StoredKey>,
}

fn write(documents: &Documents) -> String {
    let mut out = b"{".to_vec();
    documents.write_collections(&mut out).unwrap();
    out.push(b'}');
    String::from_utf8(out).unwrap()
}

fn read(applied: Position, text: &str) -> Result<Documents, StoredError> {
    let File { definitions, time, expiry_paused, file, collections, order, keys } = serde_json::from_str(text).unwrap();
    let state = StoredState { definitions, time, expiry_paused, file };
    Documents::restore(applied, collections, order, keys, state)
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
    /// Of the last command.
    changes: Vec<Change>,
}

impl Log {
    fn run(&mut self, id: Uuid, action: Action<'_>, condition: Condition) -> Outcome {
        self.raw(&Command::one("persons", id, action, condition).encode(1))
    }

    fn changed(&self, at: usize) -> &RecordChange {
        match &self.changes[at] {
            Change::Record(change) => change,
            other => panic!("{other:?} is no change of a record"),
        }
    }

    fn raw(&mut self, command: &[u8]) -> Outcome {
        self.answer(command).outcome
    }

    /// Whatever is applied, the running sum stays that of the bytes.
    fn answer(&mut self, command: &[u8]) -> Applied {
        let position = Position::new(1, self.documents.applied().seq.0 + 1);
        self.changes.clear();
        let applied = self.documents.apply(position, command, &mut self.changes).unwrap();
        assert_eq!(self.documents.check_sum(), Ok(()), "after {applied:?}");
        applied
    }

    fn batch(&mut self, key: Option<Key<'_>>, operations: &[Operation<'_>]) -> Applied {
        self.answer(&Command { time_ms: 0, key, work: Work::Batch(On::name("persons"), operations.to_vec()) }.encode(1))
    }

    fn keyed(&mut self, name: &str, request: u128, action: Action<'_>) -> Applied {
        let work = Work::One(On::name("persons"), Operation::new(id(1), action, Condition::None));
        self.answer(&Command { time_ms: 0, key: Some(Key { name, request }), work }.encode(1))
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
fn a_patch_changes_what_it_names_and_nothing_else() {
    let mut log = Log::default();
    let patch = Action::Patch { patch: r#"{"lastName":"B"}"# };
    assert_eq!(log.run(id(1), patch, Condition::None), Outcome::Missing);
    log.create(1, "A");
    assert_eq!(log.run(id(1), patch, Condition::Tag(7)), Outcome::PreconditionFailed);
    assert_eq!(log.run(id(1), patch, Condition::Tag(tag_of(&record(1, "A")))), Outcome::Replaced);
    assert_eq!(log.list(), [(1, record(1, "B"))]);
    assert_eq!(log.changed(0).record.as_ref().unwrap().as_str(), record(1, "B"));
    assert_eq!(log.run(id(1), patch, Condition::None), Outcome::Same);
    assert!(log.changes.is_empty());
    let other = format!(r#"{{"id":"{}"}}"#, id(2));
    for bad in [&*other, r#"{"id":null}"#, r#"{"id":1}"#] {
        assert!(matches!(log.run(id(1), Action::Patch { patch: bad }, Condition::None), Outcome::Invalid(_)));
    }
    assert_eq!(log.list(), [(1, record(1, "B"))]);
}

#[test]
fn a_batch_is_done_whole_or_not_at_all() {
    let mut log = Log::default();
    log.create(1, "A");
    let (two, three, new) = (record(2, "B"), record(3, "C"), record(1, "Z"));
    let operation = |number, action| Operation::new(id(number), action, Condition::None);
    let create_two = operation(2, Action::Create { record: &two });
    let done = log.batch(
        None,
        &[create_two, operation(2, Action::Patch { patch: r#"{"lastName":"P"}"# }), operation(1, Action::Delete)],
    );
    assert_eq!(done.outcome, Outcome::BatchDone);
    let outcomes: Vec<Outcome> = done.operations.iter().map(|one| one.outcome.clone()).collect();
    assert_eq!(outcomes, [Outcome::Created, Outcome::Replaced, Outcome::Deleted]);
    assert_eq!(done.operations[1].tag, Some(tag_of(&record(2, "P"))));
    assert_eq!(log.list(), [(2, record(2, "P"))]);
    assert_eq!(log.changes.len(), 3);
    let not_done = log.batch(
        None,
        &[
            operation(3, Action::Create { record: &three }),
            operation(2, Action::Delete),
            operation(9, Action::Delete),
            operation(1, Action::Put { record: &new }),
        ],
    );
    assert_eq!((not_done.outcome, not_done.operations.len()), (Outcome::BatchNotDone, 3));
    assert_eq!(not_done.operations[2].outcome, Outcome::Missing);
    assert!(log.changes.is_empty());
    assert_eq!(log.list(), [(2, record(2, "P"))]);
    assert_eq!(log.create(4, "D"), Outcome::Created);
    assert_eq!(log.list()[1].0, 3, "numbers of a batch that was not done are not used up");
    assert_eq!(log.batch(None, &[]).outcome, Outcome::BatchDone);
}

#[test]
fn a_key_that_comes_again_gets_the_first_answer_and_does_nothing() {
    let mut log = Log::default();
    let (first, second) = (record(1, "A"), record(1, "B"));
    let created = log.keyed("k", 1, Action::Create { record: &first });
    assert_eq!((created.outcome.clone(), created.seq.0), (Outcome::Created, 1));
    log.put(1, "X", Condition::None);
    assert_eq!(log.keyed("k", 1, Action::Create { record: &second }), created, "whatever the new attempt carries");
    assert!(log.changes.is_empty());
    assert_eq!(log.keyed("k", 2, Action::Create { record: &first }).outcome, Outcome::KeyReused);
    assert_eq!(log.list(), [(1, record(1, "X"))]);
    let conflict = log.keyed("l", 1, Action::Create { record: &second });
    assert_eq!(conflict.outcome, Outcome::Conflict);
    log.delete(1, Condition::None);
    assert_eq!(log.keyed("l", 1, Action::Create { record: &second }), conflict, "what was decided stays decided");
    let missing = log.keyed("m", 1, Action::Delete);
    assert_eq!(missing.outcome, Outcome::Missing);
    let before = log.documents.clone();
    log.documents = read(before.applied(), &write(&before)).unwrap();
    assert_eq!(log.keyed("k", 1, Action::Delete), created, "a snapshot carries the keys");
    log.put(1, "X", Condition::None);
    assert_eq!(log.keyed("m", 1, Action::Delete), missing, "also of what was not there then and is there now");
    assert_eq!(log.list().len(), 1);
}

#[test]
fn keys_in_the_snapshot_read_like_this_and_spoilt_ones_are_refused() {
    let mut log = Log::default();
    log.keyed("a \"key\"", 10, Action::Create { record: &record(1, "A") });
    let operation = Operation::new(id(1), Action::Delete, Condition::None);
    log.batch(Some(Key { name: "b", request: 1 }), &[operation]);
    let text = write(&log.documents);
    let keys = &text[text.find("\"keys\"").unwrap()..];
    let one = format!(
        r#"{{"key":"a \"key\"","request":"0000000000000000000000000000000a","sequence":1,"outcome":"created","id":"{}","record":{}}}"#,
        id(1),
        record(1, "A")
    );
    let two = format!(
        r#"{{"key":"b","request":"00000000000000000000000000000001","sequence":2,"outcome":"batchDone","operations":[["deleted","{}",null]]}}"#,
        id(1)
    );
    assert_eq!(keys, format!("\"keys\": [\n  {one},\n  {two}\n]}}"));
    let applied = log.documents.applied();
    for (from, to) in [
        ("\"sequence\":2", "\"sequence\":1"),
        ("\"sequence\":2", "\"sequence\":3"),
        ("\"b\"", "\"\""),
        ("000a\"", "000x\""),
    ] {
        assert!(matches!(read(applied, &text.replace(from, to)), Err(StoredError::Key { .. })), "{from} {to}");
    }
}

#[test]
fn unreadable_bytes_change_nothing_but_the_position() {
    let mut log = Log::default();
    log.create(1, "A");
    let unknown = Documents::new().apply(Position::new(1, 1), b"{}", &mut Vec::new());
    assert_eq!(unknown, Err(UnknownCommand::Version(b'{')));
    assert!(matches!(log.raw(b"\x01\x03"), Outcome::Invalid(_)));
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
    for record in ["1", "{}", r#"{"id":"x"}"#] {
        let error = bad(&format!(r#"{{"persons":[{record}]}}"#), r#"{"persons":{"last":1,"runs":[[1,1]]}}"#);
        assert!(matches!(error, StoredError::Order { .. }), "{record}");
    }
    for collections in [r#"{"persons":{}}"#, "[]"] {
        assert!(serde_json::from_str::<StoredCollections>(collections).is_err(), "{collections}");
    }
}

#[test]
fn the_sum_of_a_state_is_this_for_ever() {
    assert_eq!(Documents::new().sum(), Sum(0));
    let mut log = Log::default();
    log.create(1, "A");
    assert_eq!(log.documents.sum().to_string(), "e9cdfc0583399306da821b9f8a5c7ecc");
    log.keyed("k", 1, Action::Create { record: &record(1, "B") });
    log.batch(Some(Key { name: "b", request: 2 }), &[Operation::new(id(1), Action::Delete, Condition::None)]);
    assert_eq!(log.documents.sum().to_string(), "5127a1f3b534d284eaf856b18ee2bcc1");
}

#[test]
fn all_that_two_replicas_must_have_in_common_is_in_the_sum() {
    let mut sums = Vec::new();
    let mut sum_of = |what: &dyn Fn(&mut Log)| {
        let mut log = Log::default();
        what(&mut log);
        sums.push(log.documents.sum());
    };
    sum_of(&|_| {});
    sum_of(&|log| {
        log.create(1, "A");
    });
    sum_of(&|log| {
        log.create(1, "B");
    });
    sum_of(&|log| {
        log.create(2, "A");
    });
    let one = record(1, "A");
    let create = Action::Create { record: &one };
    sum_of(&|log| {
        log.raw(&Command::one("dogs", id(1), create, Condition::None).encode(1));
    });
    // Another creation number, or another last one.
    sum_of(&|log| {
        log.create(1, "A");
        log.delete(1, Condition::None);
        log.create(1, "A");
    });
    sum_of(&|log| {
        log.create(1, "A");
        log.create(2, "A");
        log.delete(2, Condition::None);
    });
    // Keys: their name, their request, their sequence, and each part of their answers.
    sum_of(&|log| {
        log.keyed("k", 1, create);
    });
    sum_of(&|log| {
        log.keyed("l", 1, create);
    });
    sum_of(&|log| {
        log.keyed("k", 2, create);
    });
    sum_of(&|log| {
        log.create(1, "A");
        log.keyed("k", 1, create);
    });
    sum_of(&|log| {
        log.create(1, "A");
        log.keyed("k", 1, Action::Create { record: &record(1, "B") });
    });
    sum_of(&|log| {
        log.create(1, "A");
        log.keyed("k", 1, Action::Patch { patch: r#"{"id":null}"# });
    });
    for tag in [None, Some(7)] {
        let condition = tag.map_or(Condition::None, Condition::Tag);
        let operation = |number| Operation::new(id(number), Action::Delete, condition);
        let key = Some(Key { name: "k", request: 1 });
        sum_of(&|log| {
            log.batch(key, &[operation(1)]);
        });
        sum_of(&|log| {
            log.batch(key, &[operation(2)]);
        });
    }
    let count = sums.len();
    sums.sort_unstable();
    sums.dedup();
    // A patch that is refused is not kept under its key: that state is the one of a plain create.
    assert_eq!(sums.len(), count - 1);
}

#[test]
fn the_way_to_a_state_does_not_matter_for_its_sum() {
    let (mut one, mut other) = (Log::default(), Log::default());
    one.create(1, "A");
    one.create(2, "B");
    other.create(1, "X");
    other.create(2, "Y");
    other.put(2, "B", Condition::None);
    other.run(id(1), Action::Patch { patch: r#"{"lastName":"A"}"# }, Condition::None);
    assert_eq!(one.documents.sum(), other.documents.sum());
}

#[test]
fn a_batch_that_is_not_done_leaves_the_sum_as_it_was() {
    let mut log = Log::default();
    log.create(1, "A");
    let before = log.documents.sum();
    let two = record(2, "B");
    let operation = |number, action| Operation::new(id(number), action, Condition::None);
    let operations =
        [operation(2, Action::Create { record: &two }), operation(1, Action::Delete), operation(9, Action::Delete)];
    assert_eq!(log.batch(None, &operations).outcome, Outcome::BatchNotDone);
    assert_eq!(log.documents.sum(), before);
}

#[test]
fn damage_shows_in_the_bytes_at_once_and_in_the_running_sum_when_the_record_is_written() {
    let mut log = Log::default();
    log.create(1, "A");
    log.create(2, "B");
    let good = log.documents.clone();
    log.documents.damage("persons", id(1), r#""A""#, r#""Q""#);
    let FalseSum { said, found, .. } = log.documents.check_sum().unwrap_err();
    assert_eq!((said, found), (good.sum(), log.documents.recomputed_sum()));
    assert_ne!(said, found);
    let put = record(1, "C");
    let command = Command::one("persons", id(1), Action::Put { record: &put }, Condition::None).encode(1);
    let mut sound = good;
    for documents in [&mut log.documents, &mut sound] {
        documents.apply(Position::new(1, 3), &command, &mut Vec::new()).unwrap();
    }
    assert_eq!(write(&log.documents), write(&sound), "the bytes are sound again");
    assert_ne!(log.documents.sum(), sound.sum(), "and it is remembered that they were not");
}

/// A step of a random history: what, which id, which content, which condition.
fn steps() -> impl Strategy<Value = Vec<(u8, u8, u8, u8)>> {
    proptest::collection::vec((0u8..7, 0u8..6, 0u8..3, 0u8..4), 0..80)
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
        4 => log.run(id(number), Action::Patch { patch: &format!(r#"{{"lastName":"{name}"}}"#) }, condition),
        5 => log.keyed(name, u128::from(number), Action::Create { record: &record(1, name) }).outcome,
        6 => {
            let (one, two) = (record(number, name), record(number + 1, name));
            let put = Operation::new(id(number), Action::Put { record: &one }, condition);
            let create = Operation::new(id(number + 1), Action::Create { record: &two }, Condition::None);
            log.batch(Some(Key { name: "batch", request: u128::from(number) }).filter(|_| content == 0), &[put, create])
                .outcome
        }
        _ => log.raw(&[1, 3, 0, what, number, content]),
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
        prop_assert_eq!(one.documents.sum(), other.documents.sum());
        prop_assert_eq!(one.documents.applied(), other.documents.applied());
    }

    #[test]
    fn the_list_is_what_a_plain_vector_would_say(steps in steps()) {
        let mut log = Log::default();
        let mut plain: Vec<(u8, String)> = Vec::new();
        for (what, number, content, _) in steps {
            let what = what % 4;
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
        // One of an unknown version ends the process; nothing is done then.
        let mut documents = Documents::new();
        let applied = documents.apply(Position::new(1, 1), &bytes, &mut Vec::new());
        prop_assert_eq!(documents.applied() == Position::ZERO, applied.is_err());
        let mut known = bytes;
        known.iter_mut().zip([1, 1, 0]).for_each(|(to, from)| *to = from);
        Log::default().raw(&known);
    }
}
