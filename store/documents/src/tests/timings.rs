//! How long the worst entries take. By hand, in release: `cargo test --release -p leasehold-documents worst -- --ignored --nocapture`
//! The bounds of the work itself are in `bounds`.

use super::world::{record, text};
use crate::*;
use leasehold_replication::Position;
use std::sync::Arc;
use std::time::Duration;

struct Timed {
    documents: Documents,
}

impl Timed {
    fn with(definition: &str) -> Timed {
        let mut timed = Timed { documents: Documents::new() };
        timed.define(definition);
        timed
    }

    fn define(&mut self, definition: &str) {
        let (condition, unless_expired_ms) = (DefinitionCondition::None, None);
        self.run(Work::Define(Define { collection: "orders", definition, condition, unless_expired_ms }));
    }

    fn on(&self) -> On<'static> {
        On { collection: "orders", epoch: self.documents.collection("orders").and_then(Collection::epoch) }
    }

    fn run(&mut self, work: Work<'_>) -> (Outcome, Duration) {
        let command = Command::new(work).encode(2);
        let position = Position::new(1, self.documents.applied().seq.0 + 1);
        let mut changes = Vec::new();
        let before = on_cpu();
        let answer = self.documents.apply(position, &command, &mut changes).unwrap();
        (answer.outcome, on_cpu() - before)
    }

    fn batch(&mut self, operations: &[Operation<'_>]) -> (Outcome, Duration) {
        self.run(Work::Batch(self.on(), operations.to_vec()))
    }

    fn put(&mut self, id: &str, members: &str) {
        let json = record(id, members);
        let outcome = self.batch(&[Operation::new(text(id), Action::Put { record: &json }, Condition::None)]).0;
        assert_eq!(outcome, Outcome::BatchDone);
    }
}

fn operation<'a>(id: &'a str, action: Action<'a>) -> Operation<'a> {
    Operation::new(text(id), action, Condition::None)
}

/// How long this thread has run: on a busy machine that says more than a clock.
fn on_cpu() -> Duration {
    let schedule = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(schedule.split(' ').next().unwrap().parse().unwrap())
}

/// A record of 1 MiB with very many members.
fn wide(id: &str, value: &str) -> String {
    let mut members = String::new();
    let mut at = 0;
    while members.len() < 1024 * 1024 - 100 {
        members.push_str(&format!(r#","{at:x}":{value}"#));
        at += 1;
    }
    format!(r#"{{"id":"{id}"{members}}}"#)
}

/// A record of nearly 1 MiB, 60 deep, whose weight is at the bottom.
fn deep(id: &str) -> String {
    let bottom = wide(id, "1")[..1024 * 1024 - 600].rsplit_once(',').unwrap().0.to_owned() + "}";
    let bottom = bottom.replace(r#""id""#, r#""di""#);
    let bottom = &bottom[..bottom.len() - 1];
    format!("{{\"id\":\"{id}\",\"a\":{}{bottom}{}}}", "{\"a\":".repeat(57), "}".repeat(58))
}

fn say(what: &str, (outcome, took): (Outcome, Duration)) {
    println!("{:>9.2} ms  {what}: {outcome:?}", took.as_secs_f64() * 1000.0);
}

#[test]
#[ignore = "measures time: by hand, in release"]
fn worst_entries() {
    const PLAIN: &str = r#"{"id":"string"}"#;
    const INDEXED: &str = r#"{"id":"string","indexes":[{"fields":["/x"]},{"fields":["/y","/z"]}],"expires":"/t"}"#;
    for definition in [PLAIN, INDEXED] {
        println!("{definition}");
        let mut timed = Timed::with(definition);
        let mib = "x".repeat(1024 * 1024);
        let before = on_cpu();
        let tag = tag_of(&mib);
        println!("{:>9.2} ms  the tag of 1 MiB ({tag:x})", (on_cpu() - before).as_secs_f64() * 1000.0);
        let (one, other) = (wide("a", "1"), wide("a", "2"));
        say("put 1 MiB of 90,000 members", timed.batch(&[operation("a", Action::Put { record: &one })]));
        let patch = r#"{"5":7}"#;
        say("patch one member of it", timed.batch(&[operation("a", Action::Patch { patch })]));
        let all = other.replacen(r#""id":"a","#, "", 1);
        say("patch all members of it", timed.batch(&[operation("a", Action::Patch { patch: &all })]));
        let two = [operation("a", Action::Patch { patch }), operation("a", Action::Patch { patch: r#"{"6":7}"# })];
        say("two patches of it", timed.batch(&two));
        let tag = timed.documents.collection("orders").unwrap().get(text("a")).unwrap().tag();
        let check = Operation::new(text("a"), Action::Check, Condition::Tag(tag));
        say("1,000 tag checks of it", timed.batch(&vec![check; 1000]));
        let patches: Vec<String> = (0..1000).map(|number| format!(r#"{{"5":{number}}}"#)).collect();
        let patches: Vec<_> = patches.iter().map(|patch| operation("a", Action::Patch { patch })).collect();
        say("1,000 patches of it", timed.batch(&patches));
        let four: Vec<String> = (0..4).map(|number| wide(&number.to_string(), "1")).collect();
        let ids: Vec<String> = (0..4).map(|number| number.to_string()).collect();
        let creates: Vec<_> = ids.iter().zip(&four).map(|(id, record)| operation(id, Action::Put { record })).collect();
        let created = timed.batch(&creates);
        say("create 4 MiB of wide records", created);
        let strings: Vec<String> =
            ids.iter().map(|id| record(id, &format!(r#""s":"{}""#, "x".repeat(1024 * 1024 - 40)))).collect();
        let puts: Vec<_> = ids.iter().zip(&strings).map(|(id, record)| operation(id, Action::Put { record })).collect();
        say("replace 4 MiB by strings", timed.batch(&puts));
        say("replace 2 MiB by strings", timed.batch(&puts[..2]));
        let again: Vec<_> = ids.iter().zip(&four).map(|(id, record)| operation(id, Action::Put { record })).collect();
        say("replace 2 MiB by wide records", timed.batch(&again[..2]));
        let small: Vec<String> = (0..1000).map(|number| format!("s{number}")).collect();
        let records: Vec<String> =
            small.iter().map(|id| record(id, &format!(r#""x":"{id}","y":"{}","t":1"#, "y".repeat(1000)))).collect();
        let puts: Vec<_> =
            small.iter().zip(&records).map(|(id, record)| operation(id, Action::Put { record })).collect();
        say("create 1,000 records of 1 KB", timed.batch(&puts));
        let tags: Vec<u128> = records.iter().map(|record| tag_of(record)).collect();
        let checks: Vec<_> = small
            .iter()
            .zip(&tags)
            .map(|(id, tag)| Operation::new(text(id), Action::Check, Condition::Tag(*tag)))
            .collect();
        say("1,000 tag checks of them", timed.batch(&checks));
        say("expire 1,000 of them", timed.run(Work::Expire { on: timed.on(), upto_ms: u64::MAX }));
        let mib: Vec<String> = (0..200).map(|number| format!("m{number}")).collect();
        for id in &mib {
            timed.put(id, &format!(r#""s":"{}""#, "x".repeat(1024 * 1024 - 60)));
        }
        for (from, many) in [(0, 4), (4, 16), (20, 180)] {
            let deletes: Vec<_> = mib[from..from + many].iter().map(|id| operation(id, Action::Delete)).collect();
            say(&format!("delete {many} records of 1 MiB"), timed.batch(&deletes));
        }
        let deep = deep("d");
        say("put 1 MiB, 60 deep", timed.batch(&[operation("d", Action::Put { record: &deep })]));
        let patch = format!("{}{{\"0\":9}}{}", "{\"a\":".repeat(58), "}".repeat(58));
        say("patch it at the bottom", timed.batch(&[operation("d", Action::Patch { patch: &patch })]));
    }
    let mut timed = Timed::with(PLAIN);
    for number in 0..1000 {
        timed.put(&number.to_string(), &format!(r#""x":"{number}","y":"{}""#, "y".repeat(900)));
    }
    timed.define(INDEXED);
    say("a step over 1 MiB of records of 1 KB", timed.run(Work::Advance { on: timed.on(), upto: u64::MAX }));
    let mut timed = Timed::with(INDEXED);
    for number in 0..200_000_u32 {
        timed.put(&number.to_string(), &format!(r#""x":"{number}""#));
    }
    let drop = Work::Drop { collection: "orders", condition: DefinitionCondition::None, with_records: true };
    say("drop 200,000 records", timed.run(drop));
    let before = on_cpu();
    drop_all(timed.documents.take_discarded());
    println!("{:>9.2} ms  free them, elsewhere", (on_cpu() - before).as_secs_f64() * 1000.0);
}

fn drop_all(discarded: Vec<Arc<Collection>>) {
    drop(discarded);
}
