//! What can be seen of the data from outside, in one form for the store and for the model.

use crate::model::{Answer, Change, Model};
use leasehold_documents as real;
use leasehold_documents::{ChangeKind, Documents, Outcome, StoredCollections, StoredDefinitions, StoredKey};
use leasehold_documents::{StoredOrder, StoredState, WhyRefused};
use leasehold_replication::Position;
use serde::Deserialize;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Look {
    time: u64,
    is_paused: bool,
    file: Option<u128>,
    collections: Vec<OfCollection>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct OfCollection {
    name: String,
    definition: String,
    created: u64,
    revision: u64,
    epoch: u64,
    /// Definition, since, cursor.
    pending: Option<(String, u64, u64)>,
    /// Since, why.
    refused: Option<(u64, String)>,
    last: u64,
    /// Number, id, JSON.
    records: Vec<(u64, String, String)>,
}

/// What an archive keeps of it: what is in force.
pub(crate) fn kept(documents: &Documents) -> Look {
    let mut look = of_store(documents);
    (look.is_paused, look.file) = (true, None);
    for of in &mut look.collections {
        (of.epoch, of.pending, of.refused) = (of.revision, None, None);
    }
    look
}

pub(crate) fn of_model(model: &Model) -> Look {
    let collections = model.collections.iter().map(|(name, of)| OfCollection {
        name: name.clone(),
        definition: of.definition.to_json(),
        created: of.created,
        revision: of.revision,
        epoch: of.epoch,
        pending: of.pending.as_ref().map(|p| (p.definition.to_json(), p.since, p.cursor)),
        refused: of.refused.clone(),
        last: of.last,
        records: of.records.iter().map(|r| (r.number, r.id.clone(), r.text.clone())).collect(),
    });
    Look { time: model.time, is_paused: model.is_paused, file: model.file, collections: collections.collect() }
}

pub(crate) fn of_store(documents: &Documents) -> Look {
    let collections = documents.collections().map(|(name, of)| {
        let defined = of.defined().expect("format 2");
        let record = |(number, record): (u64, &real::Record)| {
            let id = of.id_of(record).expect("a record has an id");
            assert_eq!(of.numbered(id.as_ref()).map(|(number, _)| number), Some(number), "where {id} is");
            (number, id.to_string(), record.as_str().to_owned())
        };
        let records: Vec<_> = of.after(0).map(record).collect();
        assert_eq!(of.len(), records.len());
        OfCollection {
            name: name.to_owned(),
            definition: defined.definition.to_json(),
            created: defined.created.0,
            revision: defined.revision.0,
            epoch: defined.epoch.0,
            pending: defined.pending.as_ref().map(|p| (p.definition.to_json(), p.since.0, p.cursor)),
            refused: defined.last_refused.as_ref().map(|refused| (refused.since.0, why(&refused.why))),
            last: of.last_number(),
            records,
        }
    });
    let (time, is_paused, file) = (documents.time_ms(), documents.expiry_paused(), documents.noted_file());
    Look { time, is_paused, file, collections: collections.collect() }
}

fn why(why: &WhyRefused) -> String {
    match why {
        WhyRefused::DoesNotFit { id, pointer, rule } => format!("DoesNotFit {id} {pointer} {rule}"),
        WhyRefused::UniqueConflict { index, ids: [one, other] } => format!("UniqueConflict {index} {one} {other}"),
        WhyRefused::BadValue { id, pointer, .. } => format!("BadValue {id} {pointer}"),
    }
}

fn outcome(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Invalid(what) if what.contains("patch") => "InvalidPatch".into(),
        Outcome::Invalid(_) => "Invalid".into(),
        Outcome::UniqueConflict { index, id } => format!("UniqueConflict {index} {id}"),
        Outcome::BadValue { pointer, .. } => format!("BadValue {pointer}"),
        Outcome::Refused(problem) => format!("Refused {problem}"),
        Outcome::Defined { created } => format!("Defined {created}"),
        Outcome::WouldExpire(count) => format!("WouldExpire {count}"),
        Outcome::NotEmpty(count) => format!("NotEmpty {count}"),
        other => format!("{other:?}"),
    }
}

pub(crate) fn answer(applied: &real::Applied) -> Answer {
    let operation = |of: &real::Operated| (outcome(&of.outcome), of.id.to_string(), of.tag);
    Answer {
        seq: applied.seq.0,
        outcome: outcome(&applied.outcome),
        id: (!applied.id.is_none()).then(|| applied.id.to_string()),
        record: applied.record.as_ref().map(|record| record.as_str().to_owned()),
        operations: applied.operations.iter().map(operation).collect(),
    }
}

pub(crate) fn change(change: &real::Change) -> Change {
    match change {
        real::Change::Record(of) => Change::Record {
            collection: of.collection.to_string(),
            kind: match of.kind {
                ChangeKind::Created => "created",
                ChangeKind::Replaced => "replaced",
                ChangeKind::Deleted => "deleted",
                ChangeKind::Expired => "expired",
            },
            id: of.id.to_string(),
            number: of.number,
            text: of.record.as_ref().map(|record| record.as_str().to_owned()),
        },
        real::Change::Definition { collection, created, definition } => Change::Definition {
            collection: collection.to_string(),
            created: created.0,
            definition: definition.as_ref().map(|definition| definition.to_json()),
        },
    }
}

/// The members of snapshot.json, as text.
pub(crate) fn stored(documents: &Documents) -> String {
    let mut out = b"{".to_vec();
    documents.write_collections(&mut out).expect("a Vec takes everything");
    out.push(b'}');
    String::from_utf8(out).expect("UTF-8")
}

/// What a replica has that begins with them.
pub(crate) fn restored(applied: Position, text: &str) -> Documents {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    struct File {
        definitions: Option<StoredDefinitions>,
        #[serde(default)]
        time: u64,
        #[serde(default)]
        expiry_paused: bool,
        file: Option<String>,
        collections: StoredCollections,
        order: StoredOrder,
        #[serde(default)]
        keys: Vec<StoredKey>,
    }
    let file: File = serde_json::from_str(text).expect("what was written");
    let state = StoredState {
        definitions: file.definitions,
        time: file.time,
        expiry_paused: file.expiry_paused,
        file: file.file,
    };
    Documents::restore(applied, file.collections, file.order, file.keys, state).expect("what was written")
}
