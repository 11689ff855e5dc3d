//! What `GET /api/watch` says: all commits of some collections, so that what was there after each of them is known.

use std::collections::BTreeMap;

use anyhow::Context;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One entry of the log that changed something.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Commit {
    /// Its sequence.
    pub sequence: u64,
    /// The leader's clock when it made it, in milliseconds since 1970.
    pub time: Option<i64>,
    /// What changed, in order.
    pub changes: Vec<Change>,
}

/// What a commit changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Change {
    /// A record.
    Record {
        /// Its collection.
        collection: String,
        /// What became of it.
        kind: Kind,
        /// Its id.
        id: String,
        /// Its creation number.
        number: u64,
        /// As it is then; null if it is gone.
        record: Value,
    },
    /// What a collection is.
    Definition {
        /// Its name.
        collection: String,
        /// The definition; null if the collection is gone.
        definition: Value,
    },
}

/// What became of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs)]
pub enum Kind {
    Created,
    Replaced,
    Deleted,
    Expired,
}

/// A collection after some commit.
#[derive(Clone, Debug, Default)]
pub(super) struct Shelf {
    pub(super) definition: Value,
    /// By id: creation number and record.
    pub(super) records: BTreeMap<String, (u64, Value)>,
    last: u64,
}

/// All collections after some commit.
pub(super) type World = BTreeMap<String, Shelf>;

impl Commit {
    /// Of the data of one event.
    ///
    /// # Errors
    /// It is none; says why.
    pub fn of_event(data: &str) -> anyhow::Result<Commit> {
        let said: Value = serde_json::from_str(data).with_context(|| format!("no JSON: {data}"))?;
        let sequence = said["sequence"].as_u64().with_context(|| format!("no sequence: {data}"))?;
        let time = said["time"].as_str().map(str::parse::<jiff::Timestamp>).transpose()?;
        let time = time.map(jiff::Timestamp::as_millisecond);
        let text = |value: &Value| value.as_str().map(str::to_owned).with_context(|| format!("no text in {data}"));
        let mut changes = Vec::new();
        if let Some(definition) = said.get("definition") {
            let is_gone = definition["change"] == "dropped";
            let collection = text(&definition["name"])?;
            let definition = if is_gone { Value::Null } else { definition.clone() };
            changes.push(Change::Definition { collection, definition });
        }
        for change in said["changes"].as_array().into_iter().flatten() {
            let kind = match (change["change"].as_str(), change["reason"].as_str()) {
                (Some("created"), None) => Kind::Created,
                (Some("replaced"), None) => Kind::Replaced,
                (Some("deleted"), None) => Kind::Deleted,
                (Some("deleted"), Some("expired")) => Kind::Expired,
                _ => anyhow::bail!("an unknown change in {data}"),
            };
            changes.push(Change::Record {
                collection: text(&change["collection"])?,
                kind,
                id: text(&change["id"])?,
                number: change["number"].as_u64().with_context(|| format!("no number in {data}"))?,
                record: change["record"].clone(),
            });
        }
        Ok(Commit { sequence, time, changes })
    }
}

/// Carries a commit out. Says what cannot be.
pub(super) fn apply(world: &mut World, commit: &Commit) -> Vec<String> {
    let mut wrong = Vec::new();
    for change in &commit.changes {
        match change {
            Change::Definition { collection, definition } if definition.is_null() => {
                world.remove(collection);
            }
            Change::Definition { collection, definition } => {
                world.entry(collection.clone()).or_default().definition = definition.clone();
            }
            Change::Record { collection, kind, id, number, record } => {
                let shelf = world.entry(collection.clone()).or_default();
                let found = shelf.records.get(id).map(|(number, _)| *number);
                let is_right = match kind {
                    Kind::Created => found.is_none() && *number > shelf.last,
                    Kind::Replaced | Kind::Deleted | Kind::Expired => found == Some(*number),
                };
                if !is_right {
                    wrong.push(format!("{kind:?} {collection}/{id} as number {number}, where {found:?} was"));
                }
                shelf.last = shelf.last.max(*number);
                match kind {
                    Kind::Created | Kind::Replaced => shelf.records.insert(id.clone(), (*number, record.clone())),
                    Kind::Deleted | Kind::Expired => shelf.records.remove(id),
                };
            }
        }
    }
    wrong
}

impl Shelf {
    pub(super) fn get(&self, id: &str) -> Option<&Value> {
        self.records.get(id).map(|(_, record)| record)
    }

    /// When the record goes, in milliseconds since 1970. Here times are whole seconds.
    pub(super) fn expires(&self, record: &Value) -> Option<i64> {
        record.pointer(self.definition["expires"].as_str()?)?.as_i64().map(|seconds| seconds * 1000)
    }

    /// Two records with equal values in a unique index.
    pub(super) fn clash(&self) -> Option<(String, String, String)> {
        let indexes = self.definition["indexes"].as_array().into_iter().flatten();
        for index in indexes.filter(|index| index["unique"] == true) {
            let mut seen: BTreeMap<Vec<String>, &String> = BTreeMap::new();
            for (id, (_, record)) in &self.records {
                let fields = index["fields"].as_array().into_iter().flatten();
                let key: Option<Vec<String>> = fields.map(|field| value_in(field, record)).collect();
                if let Some(key) = key
                    && let Some(other) = seen.insert(key, id)
                {
                    return Some((index["fields"].to_string(), other.clone(), id.clone()));
                }
            }
        }
        None
    }
}

/// What an index sees; none does not count.
fn value_in(field: &Value, record: &Value) -> Option<String> {
    let (path, kind) = match field {
        Value::String(path) => (path.as_str(), "string"),
        other => (other["path"].as_str()?, other["type"].as_str().unwrap_or("string")),
    };
    let value = record.pointer(path)?;
    let fits = match kind {
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        _ => value.is_string(),
    };
    fits.then(|| value.to_string())
}
