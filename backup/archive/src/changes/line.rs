//! The lines of a file, as JSON.

use super::Mark;
use crate::time::Time;
use leasehold_documents::{Change, ChangeKind, Definition, Id, Record, RecordChange};
use leasehold_replication::{ClusterId, Seq, Sum};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The first line: whose changes these are, and the data before the first entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Begin {
    /// The cluster.
    pub cluster_id: ClusterId,
    /// The data before the first entry: its sequence is one less than that entry's.
    #[serde(flatten)]
    pub mark: Mark,
}

/// The last line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Ending {
    #[serde(flatten)]
    pub(super) mark: Mark,
    pub(super) events: u64,
}

/// Any line, with what decides which it is.
#[derive(Deserialize)]
pub(super) struct Line {
    pub(super) begin: Option<Begin>,
    pub(super) end: Option<Ending>,
    pub(super) sequence: Option<Seq>,
    #[serde(default)]
    pub(super) time: Time,
    pub(super) hash: Option<Sum>,
}

impl Line {
    /// The mark of an event; none: it is not one.
    pub(super) fn event(&self) -> Option<Mark> {
        match (self.sequence, self.hash) {
            (Some(seq), Some(hash)) if self.begin.is_none() && self.end.is_none() => {
                Some(Mark { seq, time: self.time, hash })
            }
            _ => None,
        }
    }
}

/// All that one entry changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The data after it.
    pub mark: Mark,
    /// Its events, in order.
    pub lines: Vec<Box<str>>,
}

/// An event that says nothing that could be applied.
#[derive(Debug, thiserror::Error)]
pub enum EntryError {
    /// Not the JSON of an event.
    #[error("entry {seq} is not an event of a watch: {source}")]
    Json {
        /// The entry.
        seq: Seq,
        /// Where.
        source: serde_json::Error,
    },
    /// It is JSON, but no change.
    #[error("entry {seq} cannot be applied: {what}")]
    Content {
        /// The entry.
        seq: Seq,
        /// What is wrong.
        what: String,
    },
}

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(borrow, default)]
    changes: Vec<Told<'a>>,
    #[serde(borrow)]
    definition: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Told<'a> {
    #[serde(borrow)]
    collection: Cow<'a, str>,
    #[serde(borrow)]
    change: Cow<'a, str>,
    #[serde(borrow)]
    id: Cow<'a, str>,
    number: u64,
    #[serde(borrow)]
    record: Option<&'a RawValue>,
    #[serde(borrow)]
    reason: Option<Cow<'a, str>>,
}

impl Entry {
    /// What it changed. All ids are texts: which of them are UUIDs, only the collections know.
    ///
    /// # Errors
    /// Bytes that are no event, or an event that cannot be true.
    pub fn changes(&self) -> Result<Vec<Change>, EntryError> {
        let seq = self.mark.seq;
        let wrong = |what: String| EntryError::Content { seq, what };
        let mut changes = Vec::new();
        for line in &self.lines {
            let event: Event<'_> = serde_json::from_str(line).map_err(|source| EntryError::Json { seq, source })?;
            if let Some(definition) = event.definition {
                changes.push(definition_of(definition).map_err(wrong)?);
            }
            let mut last: Option<Arc<str>> = None;
            for told in event.changes {
                let collection = match last.take() {
                    Some(last) if *last == *told.collection => last,
                    _ => Arc::from(&*told.collection),
                };
                last = Some(Arc::clone(&collection));
                changes.push(Change::Record(told.record_change(collection).map_err(wrong)?));
            }
        }
        Ok(changes)
    }
}

impl Told<'_> {
    fn record_change(&self, collection: Arc<str>) -> Result<RecordChange, String> {
        let expired = self.reason.as_deref() == Some("expired");
        let (kind, record) = match (&*self.change, self.record) {
            ("created", Some(record)) => (ChangeKind::Created, Some(Record::from(record.get()))),
            ("replaced", Some(record)) => (ChangeKind::Replaced, Some(Record::from(record.get()))),
            ("deleted", None) if expired => (ChangeKind::Expired, None),
            ("deleted", None) => (ChangeKind::Deleted, None),
            (other, _) => return Err(format!("a record of {collection:?} cannot be {other:?} so")),
        };
        Ok(RecordChange { collection, id: Id::Text((&*self.id).into()), number: self.number, kind, record })
    }
}

/// `{"name", "change", "created"}`, and the members of the definition.
fn definition_of(json: &RawValue) -> Result<Change, String> {
    #[derive(Deserialize)]
    struct Head {
        name: Box<str>,
        change: Box<str>,
        created: Seq,
    }
    let head: Head = serde_json::from_str(json.get()).map_err(|error| error.to_string())?;
    let definition = match &*head.change {
        "dropped" => None,
        "defined" => {
            // The schema's text counts, down to the order of its members, so the definition's own members stay raw.
            let raw: BTreeMap<Box<str>, &RawValue> =
                serde_json::from_str(json.get()).map_err(|error| error.to_string())?;
            let own = raw.iter().filter(|(name, _)| !matches!(&***name, "name" | "change" | "created"));
            let texts: Vec<String> = own.map(|(name, value)| format!("{name:?}:{}", value.get())).collect();
            let json = format!("{{{}}}", texts.join(","));
            Some(Arc::new(Definition::parse_stored(&json).map_err(|error| error.to_string())?))
        }
        other => return Err(format!("a definition cannot be {other:?}")),
    };
    Ok(Change::Definition { collection: head.name, created: head.created, definition })
}
