//! A cluster's history for tests: real documents, the events that a watch says of them, and objects made of both.

use crate::changes::{ChangesWriter, Mark};
use crate::name::Name;
use crate::time::Time;
use leasehold_documents::{
    Action, Change, ChangeKind, Command, Condition, Define, DefinitionCondition, Documents, FORMAT, IdRef, On,
    Operation, Work, snapshot,
};
use leasehold_replication::{ClusterId, Position, Seq, Voters};
use serde_json::{Value, json};
use uuid::Uuid;

/// The cluster of [`History::new`].
pub const CLUSTER: ClusterId = ClusterId(Uuid::from_u128(0x0c));
/// The leader's clock at the first entry: 2026-11-30T12:00:00Z.
pub const BEGAN_MS: u64 = 1_796_040_000_000;

/// All that happened in a cluster, from its first entry.
#[derive(Clone, Debug)]
pub struct History {
    /// Its id.
    pub cluster: ClusterId,
    /// The leader's clock.
    pub now_ms: u64,
    /// The data after each entry, from that before the first.
    states: Vec<Documents>,
    /// The events of each entry.
    events: Vec<Vec<String>>,
}

impl Default for History {
    fn default() -> History {
        History::new(CLUSTER)
    }
}

impl History {
    /// A new cluster: one collection, `orders`.
    pub fn new(cluster: ClusterId) -> History {
        let states = vec![Documents::new()];
        let mut history = History { cluster, now_ms: BEGAN_MS, states, events: vec![Vec::new()] };
        history.define("orders", r#"{"id":"string"}"#);
        history
    }

    /// Defines a collection.
    pub fn define(&mut self, collection: &str, definition: &str) -> Mark {
        let condition = DefinitionCondition::None;
        self.apply(Work::Define(Define { collection, definition, condition, unless_expired_ms: None }))
    }

    /// Writes `{"id": …, "n": …}`.
    pub fn put(&mut self, id: &str, n: u64) -> Mark {
        let record = json!({ "id": id, "n": n }).to_string();
        self.operate(id, Action::Put { record: &record })
    }

    /// Deletes it.
    pub fn delete(&mut self, id: &str) -> Mark {
        self.operate(id, Action::Delete)
    }

    /// An entry that changes nothing.
    pub fn idle(&mut self) -> Mark {
        let mut documents = self.now().clone();
        documents.skip(Position::new(1, self.last().0 + 1));
        self.note(documents, &[])
    }

    fn operate(&mut self, id: &str, action: Action<'_>) -> Mark {
        let collection = "orders";
        let epoch = self.now().collection(collection).and_then(|collection| collection.epoch());
        let operation = Operation::new(IdRef::Text(id), action, Condition::None);
        self.apply(Work::One(On { collection, epoch }, operation))
    }

    fn apply(&mut self, work: Work<'_>) -> Mark {
        self.now_ms += 1000;
        let command = Command::new(work).at(self.now_ms).encode(FORMAT);
        let (mut documents, mut changes) = (self.now().clone(), Vec::new());
        let applied = documents.apply(Position::new(1, self.last().0 + 1), &command, &mut changes);
        assert!(applied.is_ok(), "{applied:?}");
        self.note(documents, &changes)
    }

    fn note(&mut self, documents: Documents, changes: &[Change]) -> Mark {
        let mark = mark(&documents);
        self.events.push(events(mark, changes));
        self.states.push(documents);
        mark
    }

    fn now(&self) -> &Documents {
        &self.states[self.states.len() - 1]
    }

    /// The last entry.
    pub fn last(&self) -> Seq {
        self.now().applied().seq
    }

    /// The data after that entry.
    pub fn at(&self, seq: Seq) -> &Documents {
        &self.states[seq.0 as usize]
    }

    /// Their mark.
    pub fn mark(&self, seq: Seq) -> Mark {
        mark(self.at(seq))
    }

    /// The events of that entry.
    pub fn events(&self, seq: Seq) -> &[String] {
        &self.events[seq.0 as usize]
    }

    /// A full at that entry: its name, and `snapshot.json`.
    pub fn full(&self, seq: Seq) -> (Name, Vec<u8>) {
        let documents = self.at(seq);
        let (cluster_id, position) = (self.cluster, documents.applied());
        let voters = Voters { format: documents.format(), ..Voters::none() };
        let head = snapshot::Head { format: documents.format(), cluster_id, position, voters };
        let mut bytes = Vec::new();
        let written = snapshot::write(&mut bytes, &head, documents);
        assert!(written.is_ok(), "{written:?}");
        (Name::Full { seq, time: self.mark(seq).time, encrypted: false }, bytes)
    }

    /// A file of changes of these entries: its name, and its lines.
    pub fn changes(&self, first: Seq, last: Seq) -> (Name, Vec<u8>) {
        let begin = self.mark(Seq(first.0 - 1));
        let written = (|| {
            let mut writer = ChangesWriter::begin(Vec::new(), self.cluster, begin)?;
            for seq in first.0..=last.0 {
                for event in self.events(Seq(seq)) {
                    writer.event(event)?;
                }
            }
            writer.pass(self.mark(last))?;
            writer.end()
        })();
        let (bytes, written) = match written {
            Ok(written) => written,
            Err(error) => panic!("{error}"),
        };
        (Name::Changes { first, last, time: written.end.time, encrypted: false }, bytes)
    }
}

fn mark(documents: &Documents) -> Mark {
    Mark { seq: documents.applied().seq, time: Time::from_ms(documents.time_ms()), hash: documents.data_sum() }
}

/// As `/api/watch` says them: each definition alone, then all records.
fn events(mark: Mark, changes: &[Change]) -> Vec<String> {
    let (mut said, mut records) = (Vec::new(), Vec::new());
    let head = json!({ "sequence": mark.seq, "time": mark.time, "hash": mark.hash });
    let with = |name: &str, value: String| {
        let head = head.to_string();
        format!("{},\"{name}\":{value}}}", &head[..head.len() - 1])
    };
    for change in changes {
        match change {
            Change::Definition { collection, created, definition } => {
                let begin =
                    |change: &str| format!(r#"{{"name":"{collection}","change":"{change}","created":{created}"#);
                said.push(with(
                    "definition",
                    match definition {
                        Some(definition) => format!("{},{}", begin("defined"), &definition.to_json()[1..]),
                        None => begin("dropped") + "}",
                    },
                ));
            }
            Change::Record(change) => {
                let word = match change.kind {
                    ChangeKind::Created => "created",
                    ChangeKind::Replaced => "replaced",
                    ChangeKind::Deleted | ChangeKind::Expired => "deleted",
                };
                let record = change.record.as_ref().map_or("null", |record| record.as_str());
                records.push(format!(
                    r#"{{"collection":"{}","change":"{word}","id":{},"number":{},"record":{record}}}"#,
                    change.collection,
                    Value::from(change.id.to_string()),
                    change.number
                ));
            }
        }
    }
    if !records.is_empty() {
        said.push(with("changes", format!("[{}]", records.join(","))));
    }
    said
}
