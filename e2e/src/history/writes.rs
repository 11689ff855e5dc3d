//! What clients wrote to collections, and what they found there.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::commits::{Shelf, World};

/// A write: one operation, or a transaction of several. Times as in [`Operation`](super::Operation).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs)]
pub struct Write {
    pub client: u16,
    pub pod: u16,
    pub invoked: u64,
    pub returned: u64,
    pub steps: Vec<Step>,
    pub told: Told,
}

/// One operation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    /// The collection.
    pub collection: String,
    /// The record.
    pub id: String,
    /// Only if the record is this.
    pub only_if: Expected,
    /// What becomes of it.
    pub does: Does,
}

/// What becomes of a record. What is written carries a number that nobody else writes, as the member [`MARK`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs)]
pub enum Does {
    Put(Value),
    Patch(Value),
    Delete,
    Check,
}

/// The member that tells who wrote a record.
pub const MARK: &str = "v";

/// What a record must be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs)]
pub enum Expected {
    Anything,
    Exists,
    Absent,
    Is(Value),
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Told {
    /// Done, under this sequence.
    Done(u64),
    /// Not done, and never will be: declined (409, 412 …), or refused (421, 503, no connection).
    Not(String),
    /// It may be done, once.
    Unknown(String),
}

/// A list that a client got.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Look {
    /// Which pod was asked.
    pub pod: u16,
    /// Before it was asked.
    pub invoked: u64,
    /// It must contain all that was acknowledged before.
    pub is_strong: bool,
    /// All records of this collection …
    pub collection: String,
    /// … in which this member is that, if there is a filter …
    pub filter: Option<(String, Value)>,
    /// … by this member (a number), and `-` before its name for the other direction; else in the order of creation, if
    /// there is no filter.
    pub sort: Option<String>,
    /// `Leasehold-Sequence`.
    pub sequence: u64,
    /// What was found.
    pub records: Vec<Value>,
}

impl Expected {
    fn holds(&self, found: Option<&Value>) -> bool {
        match self {
            Expected::Anything => true,
            Expected::Exists => found.is_some(),
            Expected::Absent => found.is_none(),
            Expected::Is(value) => found == Some(value),
        }
    }
}

/// Collection, id, and the record; null: gone.
pub(super) type Left = (String, String, Value);

impl Write {
    /// What it makes of these data, step by step.
    ///
    /// # Errors
    /// A condition does not hold.
    pub(super) fn play(&self, world: &World) -> Result<Vec<Left>, String> {
        let mut left: Vec<Left> = Vec::new();
        for Step { collection, id, only_if, does } in &self.steps {
            let earlier = left.iter().rev().find(|(name, one, _)| name == collection && one == id);
            let found = match earlier {
                Some((.., record)) => Some(record).filter(|record| !record.is_null()),
                None => world.get(collection).and_then(|shelf| shelf.get(id)),
            };
            if !only_if.holds(found) {
                return Err(format!("{collection}/{id} had to be {only_if:?}, and was {found:?}"));
            }
            let record = match does {
                Does::Put(record) => record.clone(),
                Does::Patch(patch) => merged(found.cloned().unwrap_or_default(), patch),
                Does::Delete => Value::Null,
                Does::Check => continue,
            };
            left.push((collection.clone(), id.clone(), record));
        }
        Ok(left)
    }

    /// Does it change anything if it is done?
    pub fn changes(&self) -> bool {
        self.steps.iter().any(|step| step.does != Does::Check)
    }

    /// The numbers of what it writes.
    pub(super) fn marks(&self) -> impl Iterator<Item = u64> {
        self.steps.iter().filter_map(|step| match &step.does {
            Does::Put(record) | Does::Patch(record) => record[MARK].as_u64(),
            Does::Delete | Does::Check => None,
        })
    }
}

/// RFC 7396.
fn merged(record: Value, patch: &Value) -> Value {
    let Value::Object(changes) = patch else { return patch.clone() };
    let mut members = match record {
        Value::Object(members) => members,
        _ => serde_json::Map::new(),
    };
    for (name, change) in changes {
        match members.remove(name) {
            _ if change.is_null() => {}
            before => drop(members.insert(name.clone(), merged(before.unwrap_or_default(), change))),
        }
    }
    Value::Object(members)
}

impl Look {
    /// Why these data cannot have been answered so.
    pub(super) fn contradicts(&self, shelf: Option<&Shelf>) -> Option<String> {
        let mut all: Vec<(u64, Value)> = shelf.into_iter().flat_map(|shelf| shelf.records.values().cloned()).collect();
        all.sort_by_key(|(number, _)| *number);
        let fits = |record: &Value| self.filter.as_ref().is_none_or(|(name, value)| record[name] == *value);
        let mut expected: Vec<Value> = all.into_iter().map(|(_, record)| record).filter(fits).collect();
        let mut found = self.records.clone();
        if let Some(sort) = &self.sort {
            let (name, is_descending) = sort.strip_prefix('-').map_or((sort.as_str(), false), |name| (name, true));
            let key = |record: &Value| record[name].as_i64().unwrap_or(i64::MAX);
            let is_right = |two: &[Value]| match is_descending {
                true => key(&two[0]) >= key(&two[1]),
                false => key(&two[0]) <= key(&two[1]),
            };
            if !found.windows(2).all(is_right) {
                return Some(format!("they are not in the order of {sort}"));
            }
        }
        if self.filter.is_some() || self.sort.is_some() {
            let by_text = |record: &Value| record.to_string();
            expected.sort_by_key(by_text);
            found.sort_by_key(by_text);
        }
        let missing = expected.iter().find(|record| !found.contains(record));
        let strange = found.iter().find(|record| !expected.contains(record));
        match (found == expected, missing, strange) {
            (true, ..) => None,
            (_, None, None) => Some("a record comes twice, or the order is not that of creation".to_owned()),
            (_, missing, strange) => Some(format!("missing: {missing:?}, and not there at all: {strange:?}")),
        }
    }
}

impl fmt::Display for Write {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Write { client, pod, invoked, returned, steps, told } = self;
        let seconds = |nanoseconds: u64| nanoseconds as f64 / 1e9;
        let (from, to) = (seconds(*invoked), seconds(*returned));
        write!(f, "{from:10.4} s .. {to:10.4} s  client {client} at pod {pod} -> {told:?}")?;
        for Step { collection, id, only_if, does } in steps {
            write!(f, "\n        {does:?} {collection}/{id} if {only_if:?}")?;
        }
        Ok(())
    }
}
