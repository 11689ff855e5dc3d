#![allow(clippy::unwrap_used)]

mod file;

use super::*;
use crate::api::tests::status;
use crate::handle::{HandleServer, WriteError, Written, handle};
use leasehold_documents::{
    Action, Command, Condition, Define, DefinitionCondition, Id, Operation, StoredCollections, StoredDefinitions,
    StoredKey, StoredOrder, StoredState, WhyRefused,
};
use leasehold_replication::{Clocks, FormatStatus, Incarnation, Phase, Position, Refusal, ReplicaId, Status};
use serde::Deserialize;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use uuid::Uuid;

/// The data of a replica, and the log that makes them.
struct Data {
    documents: Documents,
    /// The steps that were applied.
    steps: Vec<String>,
}

impl Data {
    fn new() -> Data {
        Data { documents: Documents::new(), steps: Vec::new() }
    }

    fn apply(&mut self, command: &[u8]) -> Written {
        let position = Position::new(1, self.documents.applied().seq.0 + 1);
        let answer = self.documents.apply(position, command, &mut Vec::new()).unwrap();
        Written { position, answer }
    }

    fn done(&mut self, work: Work<'_>) -> Outcome {
        self.apply(&Command::new(work).encode(2)).answer.outcome
    }

    fn define(&mut self, collection: &str, definition: &str) -> Outcome {
        let condition = DefinitionCondition::None;
        self.done(Work::Define(Define { collection, definition, condition, unless_expired_ms: None }))
    }

    fn create(&mut self, collection: &str, id: &str, members: &str) {
        let epoch = self.documents.collection(collection).unwrap().epoch().unwrap();
        let record = format!(r#"{{"id":"{id}"{members}}}"#);
        let id = self.documents.collection(collection).unwrap().definition().id.parse(id).unwrap().to_owned();
        let operation = Operation::new(id.as_ref(), Action::Create { record: &record }, Condition::None);
        assert_eq!(self.done(Work::One(On::at(collection, epoch), operation)), Outcome::Created, "{record}");
    }

    /// One step of the pending change, as a leader with these data does it. False: nothing is pending.
    fn step(&mut self, schemas: &Schemas) -> bool {
        let Some((mark, collection)) = next_change(&self.documents, "", &[]) else { return false };
        let step = change::step(&collection, schemas).unwrap().unwrap();
        self.steps.push(format!("{step:?}"));
        let on = On::at(&mark.collection, mark.epoch);
        assert_eq!(self.done(step.work(on)), Outcome::Stepped);
        true
    }

    /// As another replica reads it from its disk.
    fn restored(&self) -> Data {
        #[derive(Deserialize)]
        struct Whole {
            definitions: Option<StoredDefinitions>,
            collections: StoredCollections,
            order: StoredOrder,
            #[serde(default)]
            keys: Vec<StoredKey>,
        }
        let mut text = b"{".to_vec();
        self.documents.write_collections(&mut text).unwrap();
        text.push(b'}');
        let Whole { definitions, collections, order, keys } = serde_json::from_slice(&text).unwrap();
        let state = StoredState { definitions, time: 0, expiry_paused: false, file: None };
        let documents = Documents::restore(self.documents.applied(), collections, order, keys, state).unwrap();
        assert_eq!(documents.sum(), self.documents.sum());
        Data { documents, steps: Vec::new() }
    }
}

fn of(data: &Documents, name: &str) -> Arc<leasehold_documents::Defined> {
    data.collection(name).unwrap().defined().unwrap().clone()
}

/// A collection of so many records, and a schema for them that is pending.
fn pending(count: usize, members: &str, schema: &str) -> Data {
    let mut data = Data::new();
    assert_eq!(data.define("orders", r#"{"id":"string"}"#), Outcome::Defined { created: true });
    for number in 0..count {
        data.create("orders", &format!("o{number}"), members);
    }
    assert_eq!(data.define("orders", &format!(r#"{{"id":"string","schema":{schema}}}"#)), Outcome::Pending);
    data
}

#[test]
fn records_are_examined_a_thousand_at_a_time() {
    let mut data = pending(2_500, r#","n":1"#, r#"{"properties":{"n":{"type":"integer"}}}"#);
    let schemas = Schemas::default();
    while data.step(&schemas) {}
    assert_eq!(
        data.steps,
        ["Advance { upto: 1000 }", "Advance { upto: 2000 }", &format!("Advance {{ upto: {} }}", u64::MAX)]
    );
    let defined = of(&data.documents, "orders");
    assert_eq!((defined.pending.is_none(), defined.last_refused.is_none()), (true, true));
    assert!(defined.definition.schema.is_some());
}

#[test]
fn large_records_are_examined_a_megabyte_at_a_time_and_one_at_least() {
    let long = format!(r#","x":"{}""#, "x".repeat(400_000));
    let mut data = pending(5, &long, r#"{"required":["x"]}"#);
    let longest = format!(r#","x":"{}""#, "x".repeat(1_048_500));
    data.create("orders", "longest", &longest);
    let schemas = Schemas::default();
    while data.step(&schemas) {}
    let upto = |upto: u64| format!("Advance {{ upto: {upto} }}");
    assert_eq!(data.steps, [upto(2), upto(4), upto(5), upto(u64::MAX)]);
    assert!(of(&data.documents, "orders").pending.is_none());
}

#[test]
fn a_record_that_does_not_fit_ends_the_change_with_its_id() {
    let mut data = pending(3, r#","n":1"#, r#"{"properties":{"n":{"maximum":5}}}"#);
    assert_eq!(data.done(Work::GiveUp { collection: "orders" }), Outcome::Dropped);
    data.create("orders", "ö", r#","n":6"#);
    assert_eq!(
        data.define("orders", r#"{"id":"string","schema":{"properties":{"n":{"maximum":5}}}}"#),
        Outcome::Pending
    );
    let schemas = Schemas::default();
    while data.step(&schemas) {}
    let defined = of(&data.documents, "orders");
    assert!(defined.definition.schema.is_none());
    match &defined.last_refused.as_ref().unwrap().why {
        WhyRefused::DoesNotFit { id, pointer, rule } => {
            assert_eq!((id, &**pointer, &**rule), (&Id::Text("ö".into()), "/n", "maximum"));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_change_without_a_new_schema_needs_no_look_by_the_leader() {
    let mut data = pending(1_500, r#","n":1"#, r#"{"required":["n"]}"#);
    let schemas = Schemas::default();
    while data.step(&schemas) {}
    data.steps.clear();
    let definition = r#"{"id":"string","schema":{"required":["n"]},"indexes":[{"fields":["/id"],"unique":true}]}"#;
    assert_eq!(data.define("orders", definition), Outcome::Pending);
    // A schema that this build could not read would not matter: it is in force.
    while data.step(&schemas) {}
    assert_eq!(data.steps, vec![format!("Advance {{ upto: {} }}", u64::MAX); 2]);
    assert_eq!(data.documents.collection("orders").unwrap().indexes()[0].len(), 1_500);
}

#[test]
fn the_next_leader_continues_at_the_cursor_of_what_it_has() {
    let mut data = pending(3_500, r#","n":1"#, r#"{"properties":{"n":{"type":"integer"}}}"#);
    let schemas = Schemas::default();
    assert!(data.step(&schemas) && data.step(&schemas));
    let mut next = data.restored();
    // Its own cache of schemas is empty.
    let schemas = Schemas::default();
    while next.step(&schemas) {}
    assert_eq!(next.steps, ["Advance { upto: 3000 }", &format!("Advance {{ upto: {} }}", u64::MAX)]);
    // A step of the old leader that arrives late: of an epoch that is over.
    let late = Work::Advance { on: On::at("orders", of(&data.documents, "orders").epoch), upto: 3_000 };
    assert_eq!(next.done(late), Outcome::DefinitionChanged);
    assert!(of(&next.documents, "orders").pending.is_none());
}

#[test]
fn collections_take_turns() {
    let mut data = Data::new();
    for name in ["a", "b", "c"] {
        data.define(name, r#"{"id":"string","expires":"/t"}"#);
        data.create(name, "x", r#","t":1000"#);
    }
    let turns = |mut behind: String| -> Vec<String> {
        (0..4)
            .map(|_| {
                behind = next_expiry(&data.documents, &behind, 2_000_000).unwrap().0;
                behind.clone()
            })
            .collect()
    };
    assert_eq!(turns(String::new()), ["a", "b", "c", "a"]);
    assert_eq!(turns("b".to_owned()), ["c", "a", "b", "c"]);
    assert_eq!(turns("bb".to_owned()), ["c", "a", "b", "c"]);
    assert_eq!(next_expiry(&data.documents, "", 999_999), None);
    data.done(Work::PauseExpiry { paused: true });
    assert_eq!(next_expiry(&data.documents, "", 2_000_000), None);
}

/// A leader whose log is [`Data`].
struct Leader {
    handle: Handle,
    served: Arc<Mutex<Served>>,
    task: tokio::task::JoinHandle<()>,
}

struct Served {
    data: Data,
    server: HandleServer,
    refuses: Option<Refusal>,
    writes: usize,
}

impl Leader {
    fn of(data: Data) -> Leader {
        let (handle, mut server) = handle("pod-0", Incarnation(Uuid::from_u128(7)));
        let mut writes = std::mem::replace(&mut server.writes, tokio::sync::mpsc::channel(1).1);
        let mut reads = std::mem::replace(&mut server.reads, tokio::sync::mpsc::channel(1).1);
        // All that was committed anywhere is applied here.
        tokio::spawn(async move {
            while let Some(reply) = reads.recv().await {
                let _ = reply.send(Ok(()));
            }
        });
        server.set_status(ReplicaId(Uuid::from_u128(1)), leading());
        server.set_documents(&data.documents);
        let served = Arc::new(Mutex::new(Served { data, server, refuses: None, writes: 0 }));
        let serving = served.clone();
        let task = tokio::spawn(async move {
            while let Some(request) = writes.recv().await {
                let mut served = serving.lock().unwrap();
                served.writes += 1;
                let answer = match served.refuses {
                    Some(refusal) => Err(WriteError::Refused(refusal)),
                    None => Ok(served.data.apply(&request.command)),
                };
                served.server.set_documents(&served.data.documents);
                let _ = request.reply.send(answer);
            }
        });
        Leader { handle, served, task }
    }

    fn steward(&self) -> Steward {
        Steward::new(self.handle.clone())
    }
}

impl Drop for Leader {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn leading() -> Status {
    let formats = FormatStatus { in_force: 2, ..FormatStatus::default() };
    Status { formats, ..status(Phase::Leading, "pod-0") }
}

const LONG: Duration = Duration::from_secs(30);

#[tokio::test]
async fn the_loop_brings_changes_into_force_and_survives_refusals() {
    let mut data = pending(1_200, r#","n":1"#, r#"{"required":["n"]}"#);
    assert_eq!(data.define("more", r#"{"id":"string"}"#), Outcome::Defined { created: true });
    data.create("more", "x", "");
    assert_eq!(data.define("more", r#"{"id":"string","schema":{"required":["n"]}}"#), Outcome::Pending);
    let leader = Leader::of(data);
    leader.served.lock().unwrap().refuses = Some(Refusal::NoMajority);
    let running = tokio::spawn(run(leader.handle.clone(), None));
    while leader.served.lock().unwrap().writes == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    leader.served.lock().unwrap().refuses = None;
    leader.handle.tell_change_begun();
    let is_over = |documents: &Documents| documents.collections().all(|(_, one)| one.pending().is_none());
    assert!(leader.handle.until(Instant::now() + LONG, is_over).await);
    let documents = leader.handle.documents();
    assert!(of(&documents, "orders").definition.schema.is_some());
    assert!(matches!(of(&documents, "more").last_refused.as_ref().unwrap().why, WhyRefused::DoesNotFit { .. }));
    assert!(!running.is_finished());
    running.abort();
}

#[tokio::test]
async fn a_replica_that_does_not_lead_does_no_step() {
    let leader = Leader::of(pending(3, "", "{}"));
    leader.served.lock().unwrap().server.set_status(ReplicaId(Uuid::from_u128(1)), status(Phase::Follower, "pod-1"));
    let mut steward = leader.steward();
    steward.change().await;
    steward.expire(Some(u64::MAX)).await;
    assert_eq!(leader.served.lock().unwrap().writes, 0);
}

#[tokio::test]
async fn what_is_over_goes_the_oldest_first_and_only_so_much_a_second() {
    let mut data = Data::new();
    data.define("sessions", r#"{"id":"string","expires":"/until"}"#);
    for number in 0..9_500 {
        data.create("sessions", &format!("s{number}"), &format!(r#","until":{}"#, 10_000 - number));
    }
    let leader = Leader::of(data);
    let mut steward = leader.steward();
    steward.expire(None).await;
    assert_eq!(leader.served.lock().unwrap().writes, 0, "no clock that agrees");
    steward.expire(Some(5_000_000_000)).await;
    // Eight steps of a thousand.
    let sessions = leader.handle.documents().collection("sessions").unwrap().clone();
    assert_eq!(sessions.len(), 1_500);
    let left: BTreeSet<u64> = sessions.after(0).map(|(number, _)| number).collect();
    assert_eq!(left, (1..=1_500).collect(), "the latest times are left");
    steward.expire(Some(9_000_000)).await;
    assert_eq!(leader.handle.documents().collection("sessions").unwrap().len(), 1_000);
    steward.expire(Some(9_000_000)).await;
    assert_eq!(leader.served.lock().unwrap().writes, 9, "nothing more is over");
}

#[tokio::test]
async fn nothing_expires_while_the_clocks_of_a_majority_are_not_known_to_agree() {
    let mut data = Data::new();
    data.define("sessions", r#"{"id":"string","expires":"/until"}"#);
    data.create("sessions", "old", r#","until":1000"#);
    let leader = Leader::of(data);
    let mut steward = leader.steward();
    let writes = || leader.served.lock().unwrap().writes;
    let hear = |agree, seconds| {
        let clocks = Clocks { agree, apart: Some(Duration::from_secs(seconds)) };
        leader.served.lock().unwrap().server.set_clocks(clocks);
    };
    steward.look_at_clocks(Some(2_000_000)).await;
    assert_eq!(writes(), 0, "no clock is known");
    hear(false, 6);
    steward.look_at_clocks(Some(2_000_000)).await;
    assert_eq!(writes(), 0, "they disagree");
    hear(true, 2);
    steward.look_at_clocks(None).await;
    assert_eq!(writes(), 0, "its own two clocks disagree");
    steward.look_at_clocks(Some(2_000_000)).await;
    assert_eq!((writes(), leader.handle.documents().collection("sessions").unwrap().len()), (1, 0));
}
