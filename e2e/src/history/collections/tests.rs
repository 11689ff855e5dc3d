#![allow(clippy::unwrap_used)]
use serde_json::{Value, json};

use super::super::writes::{Does, Expected, Step};
use super::*;

/// A history of two collections, written down by hand: each write is one commit.
struct Story {
    told: Collections,
    now: u64,
}

fn step(collection: &str, id: &str, does: Does) -> Step {
    Step { collection: collection.into(), id: id.into(), only_if: Expected::Anything, does }
}

fn put(id: &str, record: Value) -> Step {
    step("orders", id, Does::Put(record))
}

impl Story {
    fn new() -> Story {
        let mut told = Collections { upto: 100, ..Collections::default() };
        let definition =
            json!({"id": "string", "indexes": [{"fields": ["/number"], "unique": true}], "expires": "/goes"});
        for (sequence, name) in [(1, "orders"), (2, "accounts")] {
            let definition = if name == "orders" { definition.clone() } else { json!({"id": "string"}) };
            let changes = vec![Change::Definition { collection: name.into(), definition }];
            told.commits.push(Commit { sequence, time: Some(0), changes });
        }
        Story { told, now: 2 }
    }

    fn at(&self) -> u64 {
        self.now * 1_000
    }

    /// A write, and what became of it.
    fn write(mut self, steps: Vec<Step>, told: Told) -> Story {
        self.now += 1;
        let (invoked, returned) = (self.at(), self.at() + 500);
        self.told.writes.push(Write { client: 1, pod: 0, invoked, returned, steps, told });
        self
    }

    fn done(self, steps: Vec<Step>) -> Story {
        let sequence = self.now + 1;
        self.write(steps, Told::Done(sequence))
    }

    /// The commit of the last write.
    fn shown(self, changes: &[(&str, Kind, &str, u64, Value)]) -> Story {
        let sequence = self.now;
        self.commit(sequence, 0, changes)
    }

    fn commit(mut self, sequence: u64, time: i64, changes: &[(&str, Kind, &str, u64, Value)]) -> Story {
        let changes = changes.iter().map(|(collection, kind, id, number, record)| Change::Record {
            collection: (*collection).into(),
            kind: *kind,
            id: (*id).into(),
            number: *number,
            record: record.clone(),
        });
        self.told.commits.push(Commit { sequence, time: Some(time), changes: changes.collect() });
        self.now = self.now.max(sequence);
        self
    }

    /// A record of `orders` is made, and seen.
    fn made(self, id: &str, number: u64, record: &Value) -> Story {
        self.done(vec![put(id, record.clone())]).shown(&[("orders", Kind::Created, id, number, record.clone())])
    }

    fn look(mut self, sequence: u64, is_strong: bool, sort: Option<&str>, records: &[Value]) -> Story {
        self.now += 1;
        let (collection, filter) = ("orders".to_owned(), None);
        let (records, sort) = (records.to_vec(), sort.map(str::to_owned));
        let invoked = self.at();
        self.told.looks.push(Look { pod: 2, invoked, is_strong, collection, filter, sort, sequence, records });
        self
    }

    fn judged_fine(self) {
        assert_eq!(wrong(&self.told), Vec::<String>::new());
    }

    fn judged_wrong(self, what: &str) {
        let wrong = wrong(&self.told);
        assert!(wrong.iter().any(|said| said.contains(what)), "{what:?} is not in {wrong:#?}");
    }
}

fn order(v: u64, number: &str) -> Value {
    json!({"v": v, "number": number})
}

#[test]
fn two_live_records_never_have_equal_unique_values() {
    let (a, b) = (order(1, "x"), order(2, "x"));
    Story::new().made("a", 1, &a).made("b", 2, &order(2, "y")).judged_fine();
    Story::new().made("a", 1, &a).made("b", 2, &b).judged_wrong("equal values in the unique index");
    // One after the other is right; and what is none does not count.
    let gone = |story: Story| {
        let changes = [("orders", Kind::Deleted, "a", 1, Value::Null)];
        story.done(vec![step("orders", "a", Does::Delete)]).shown(&changes)
    };
    gone(Story::new().made("a", 1, &a)).made("b", 2, &b).judged_fine();
    Story::new().made("a", 1, &json!({"v": 1})).made("b", 2, &json!({"v": 2, "number": 7})).judged_fine();
    // Without the index nothing is wrong with it.
    let mut story = Story::new();
    story.told.commits.clear();
    story.made("a", 1, &a).made("b", 2, &b).judged_fine();
}

fn transfer(to: i64, of: i64) -> [Step; 2] {
    let account = |v: u64, balance: i64| json!({"v": v, "balance": balance});
    [step("accounts", "a", Does::Put(account(5, to))), step("accounts", "b", Does::Put(account(6, of)))]
}

/// Two accounts with 10 each; then a transaction, told so, that left these.
fn transferred(told: Option<Told>, left: &[(i64, u64, &str, u64)]) -> Story {
    let account = |v: u64, balance: i64| json!({"v": v, "balance": balance});
    let steps = ["a", "b"].map(|id| step("accounts", id, Does::Put(account(if id == "a" { 1 } else { 2 }, 10))));
    let mut story = Story::new();
    story.told.sums.push(("accounts".into(), "balance".into(), 20));
    let story = story.done(steps.to_vec()).shown(&[
        ("accounts", Kind::Created, "a", 1, account(1, 10)),
        ("accounts", Kind::Created, "b", 2, account(2, 10)),
    ]);
    let steps = transfer(3, 17).to_vec();
    let story = match told {
        None => story.done(steps),
        Some(told) => story.write(steps, told),
    };
    let changes =
        left.iter().map(|(balance, v, id, number)| ("accounts", Kind::Replaced, *id, *number, account(*v, *balance)));
    let changes: Vec<_> = changes.collect();
    if changes.is_empty() { story } else { story.shown(&changes) }
}

const ALL: [(i64, u64, &str, u64); 2] = [(3, 5, "a", 1), (17, 6, "b", 2)];

#[test]
fn a_transaction_is_done_at_one_sequence_or_not_at_all() {
    let unknown = || Some(Told::Unknown("504".into()));
    transferred(None, &ALL).judged_fine();
    transferred(unknown(), &ALL).judged_fine();
    transferred(unknown(), &[]).judged_fine();
    transferred(Some(Told::Not("409".into())), &[]).judged_fine();
    transferred(None, &ALL[..1]).judged_wrong("it should have left");
    transferred(unknown(), &ALL[1..]).judged_wrong("it should have left");
    transferred(unknown(), &ALL[1..]).judged_wrong("balance of accounts is 27 together, not 20");
    transferred(None, &[]).judged_wrong("no commit 4, which was acknowledged");
    transferred(Some(Told::Not("409".into())), &ALL).judged_wrong("it is not done, its client was told");
    transferred(Some(Told::Done(9)), &ALL).judged_wrong("it was acknowledged under 9");
    transferred(unknown(), &ALL)
        .commit(5, 0, &[("accounts", Kind::Replaced, "a", 1, json!({"v": 5, "balance": 3}))])
        .judged_wrong("a second time");
}

#[test]
fn a_check_held_at_the_sequence_of_its_transaction() {
    let checked = |only_if: Expected| {
        let check = Step { only_if, ..step("orders", "a", Does::Check) };
        let write = step("accounts", "c", Does::Put(json!({"v": 9})));
        let story = Story::new().made("a", 1, &order(1, "x")).done(vec![check, write]);
        story.shown(&[("accounts", Kind::Created, "c", 1, json!({"v": 9}))])
    };
    checked(Expected::Exists).judged_fine();
    checked(Expected::Is(order(1, "x"))).judged_fine();
    checked(Expected::Absent).judged_wrong("had to be Absent");
    checked(Expected::Is(order(7, "x"))).judged_wrong("had to be Is");
    let alone = |only_if: Expected| {
        let check = Step { only_if, ..step("orders", "a", Does::Check) };
        Story::new().made("a", 1, &order(1, "x")).done(vec![check])
    };
    alone(Expected::Exists).judged_fine();
    alone(Expected::Exists).made("b", 2, &order(2, "y")).judged_fine();
    alone(Expected::Absent).judged_wrong("had to be Absent");
    alone(Expected::Absent).made("b", 2, &order(2, "y")).judged_wrong("had to be Absent");
}

#[test]
fn a_record_expires_after_its_time_and_soon() {
    let record = json!({"v": 1, "number": "x", "goes": 60});
    let expired = [("orders", Kind::Expired, "a", 1, Value::Null)];
    let story = || Story::new().made("a", 1, &record);
    story().commit(4, 60_000, &expired).judged_fine();
    story().commit(4, 60_000 - CLOCKS, &expired).judged_fine();
    story().commit(4, 59_000 - CLOCKS, &expired).judged_wrong("orders/a expired at");
    Story::new().made("a", 1, &order(1, "x")).commit(4, 60_000, &expired).judged_wrong("its time is None");
    // Clients delete, or its time is over: nothing else takes a record away.
    story().commit(4, 60_000, &[("orders", Kind::Deleted, "a", 1, Value::Null)]).judged_wrong("nobody wrote");
    let calm = |from, to| {
        let mut story = story();
        story.told.calm = Some((from, to));
        story
    };
    calm(0, 60_000 + LATE).judged_fine();
    calm(0, 60_001 + LATE).judged_wrong("orders/a is still there");
    calm(80_000, 80_000 + LATE).judged_fine();
    calm(80_000, 80_001 + LATE).judged_wrong("orders/a is still there");
}

#[test]
fn a_list_is_what_was_there_at_its_sequence() {
    let (a, b) = (json!({"v": 1, "n": 2}), json!({"v": 2, "n": 1}));
    let story = || Story::new().made("a", 1, &a).made("b", 2, &b);
    story().look(2, false, None, &[]).look(3, false, None, std::slice::from_ref(&a)).judged_fine();
    story()
        .look(4, true, None, &[a.clone(), b.clone()])
        .look(4, false, Some("n"), &[b.clone(), a.clone()])
        .judged_fine();
    story().look(4, false, Some("-n"), &[a.clone(), b.clone()]).judged_fine();
    story().look(4, false, Some("n"), &[a.clone(), b.clone()]).judged_wrong("not in the order of n");
    story().look(4, false, None, &[b.clone(), a.clone()]).judged_wrong("the order is not that of creation");
    story().look(4, false, None, &[a.clone(), a.clone(), b.clone()]).judged_wrong("comes twice");
    story().look(3, false, None, &[a.clone(), b.clone()]).judged_wrong("not there at all");
    story().look(4, false, None, std::slice::from_ref(&a)).judged_wrong("missing");
    story().look(3, true, None, std::slice::from_ref(&a)).judged_wrong("and 4 was acknowledged before");
}

#[test]
fn every_pod_tells_the_same_and_creation_numbers_are_never_given_again() {
    let a = order(1, "x");
    let story = || Story::new().made("a", 1, &a);
    story().commit(3, 0, &[("orders", Kind::Created, "a", 1, a.clone())]).judged_fine();
    story().commit(3, 7, &[("orders", Kind::Created, "a", 1, a.clone())]).judged_wrong("told in two ways");
    story().made("b", 1, &order(2, "y")).judged_wrong("as number 1");
    story().commit(4, 0, &[("orders", Kind::Created, "s", 2, order(77, "y"))]).judged_wrong("nobody wrote");
}

#[test]
fn the_later_write_has_the_higher_sequence() {
    let mut story = Story::new().made("a", 1, &order(1, "x")).made("b", 2, &order(2, "y"));
    story.told.writes[0].invoked = 1_000_000;
    story.told.writes[0].returned = 2_000_000;
    story.judged_wrong("the later write has the lower sequence");
}

#[test]
fn a_patch_leaves_what_was_there_with_its_changes() {
    let patch = |left: Value| {
        let story = Story::new().made("a", 1, &json!({"v": 1, "number": "x", "n": 1}));
        let steps = vec![step("orders", "a", Does::Patch(json!({"v": 2, "n": null})))];
        story.done(steps).shown(&[("orders", Kind::Replaced, "a", 1, left)])
    };
    patch(json!({"number": "x", "v": 2})).judged_fine();
    patch(json!({"v": 2})).judged_wrong("it should have left");
}

#[test]
fn events_are_read_as_commits() {
    let commit = Commit::of_event(
        r#"{"sequence":9,"time":"1970-01-01T00:00:01.500Z","hash":"0","changes":[
           {"collection":"orders","change":"deleted","id":"a","number":4,"record":null,"reason":"expired"}]}"#,
    );
    let (kind, record) = (Kind::Expired, Value::Null);
    let change = Change::Record { collection: "orders".into(), kind, id: "a".into(), number: 4, record };
    assert_eq!(commit.unwrap(), Commit { sequence: 9, time: Some(1_500), changes: vec![change] });
    let dropped =
        r#"{"sequence":9,"time":null,"hash":"0","definition":{"name":"orders","change":"dropped","created":2}}"#;
    let change = Change::Definition { collection: "orders".into(), definition: Value::Null };
    assert_eq!(Commit::of_event(dropped).unwrap(), Commit { sequence: 9, time: None, changes: vec![change] });
    for bad in ["", "{}", r#"{"sequence":1,"changes":[{"change":"moved"}]}"#] {
        assert!(Commit::of_event(bad).is_err(), "{bad}");
    }
}
