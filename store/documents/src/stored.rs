//! The documents in `snapshot.json`: readable JSON for the records, and beside it the data for their order.
//!
//! ```text
//!   "collections": {
//!     "persons": [
//!       {"firstName":"Niklas",…},        one record a line, as stored, in order of creation
//!       …
//!     ]
//!   },
//!   "order": {"persons":{"last":7,"runs":[[1,3],[6,2]]}},
//!   "keys": [
//!     {"key":"a1","request":"0…","sequence":9,"outcome":"created","id":"…","record":{…}},    the answers to writes with
//!     {"key":"a2","request":"0…","sequence":12,"outcome":"batchDone",                         an idempotency key, the
//!      "operations":[["created","…","<tag>"],["deleted","…",null]]}                           oldest first
//!   ]
//! ```
//!
//! `last` is the highest creation number ever given; each run is (first number, how many): here the five records have the
//! numbers 1, 2, 3, 6, 7. `"keys"` is omitted if there are none. `snapshot.rs` writes and reads what surrounds these
//! members.

use super::command::record_id;
use super::keys::Kept;
use super::{Applied, Collection, Documents, Id, Key, Operated, Outcome, Record};
use leasehold_replication::{Position, Seq};
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Write};
use uuid::Uuid;

/// The value of `"collections"`: by name, in the order of the file.
#[derive(Debug, Default)]
pub struct StoredCollections(Vec<(String, Vec<(Uuid, Record)>)>);

/// The value of `"order"`: by the collection's name.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StoredOrder(BTreeMap<String, Numbers>);

/// The creation numbers of one collection.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Numbers {
    last: u64,
    runs: Vec<(u64, u64)>,
}

/// One of the value of `"keys"`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StoredKey {
    key: String,
    /// A hash, in hexadecimal digits.
    request: String,
    sequence: u64,
    outcome: StoredOutcome,
    #[serde(default, skip_serializing_if = "Uuid::is_nil")]
    id: Uuid,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    record: Option<Box<RawValue>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    operations: Vec<(StoredOutcome, Uuid, Option<String>)>,
}

/// The outcomes that are remembered.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum StoredOutcome {
    Created,
    Same,
    Replaced,
    Deleted,
    Conflict,
    Missing,
    PreconditionFailed,
    BatchDone,
    BatchNotDone,
    /// For an operation in a batch.
    Unreadable,
}

/// Why `"collections"` and `"order"` do not make documents: the file is damaged.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoredError {
    /// A name or an id appears twice.
    #[error("{collection}: {what} occurs twice")]
    Twice {
        /// The collection.
        collection: String,
        /// The duplicate.
        what: String,
    },
    /// The order does not match the records.
    #[error("{collection}: {why}")]
    Order {
        /// The collection.
        collection: String,
        /// How it does not match.
        why: &'static str,
    },
    /// A key differs from what is ever written.
    #[error("the key {key:?}: {why}")]
    Key {
        /// The key.
        key: String,
        /// How it differs.
        why: &'static str,
    },
}

impl Documents {
    /// Writes the members `"collections": …,\n"order": …` (and `"keys"`) of a JSON object, without the surrounding braces
    /// and without a comma or line end after them.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write_collections(&self, out: &mut dyn Write) -> io::Result<()> {
        out.write_all(b"\"collections\": {")?;
        let mut before_name = "\n  ";
        for (name, collection) in self.collections.iter() {
            write!(out, "{before_name}{}: [", serde_json::to_string(name)?)?;
            before_name = ",\n  ";
            let mut before_record = "\n    ";
            for record in collection.by_number.values() {
                out.write_all(before_record.as_bytes())?;
                out.write_all(record.as_str().as_bytes())?;
                before_record = ",\n    ";
            }
            out.write_all(if collection.is_empty() { b"]" } else { b"\n  ]" })?;
        }
        out.write_all(if self.collections.is_empty() { b"},\n" } else { b"\n},\n" })?;
        let order = self.collections.iter().map(|(name, collection)| (name.clone(), collection.numbers())).collect();
        write!(out, "\"order\": {}", serde_json::to_string(&StoredOrder(order))?)?;
        if self.keys.is_empty() {
            return Ok(());
        }
        out.write_all(b",\n\"keys\": [")?;
        let mut before = "\n  ";
        for (key, kept) in self.keys.iter() {
            write!(out, "{before}{}", serde_json::to_string(&StoredKey::new(key, kept)?)?)?;
            before = ",\n  ";
        }
        out.write_all(b"\n]")
    }

    /// The documents at `applied`, from what [`Documents::write_collections`] wrote. Their sum is computed from what was
    /// read, which takes as long as [`Documents::recomputed_sum`].
    ///
    /// # Errors
    /// [`StoredError`]: nobody wrote it like that.
    pub fn restore(
        applied: Position,
        collections: StoredCollections,
        mut order: StoredOrder,
        keys: Vec<StoredKey>,
    ) -> Result<Documents, StoredError> {
        let mut documents = Documents { applied, ..Documents::default() };
        for (name, records) in collections.0 {
            let wrong = |why| StoredError::Order { collection: name.clone(), why };
            let numbers = order.0.remove(&name).ok_or_else(|| wrong("the order lacks this collection"))?;
            let mut number_of = numbers.iter();
            let mut collection = Collection { last_number: numbers.last, ..Collection::default() };
            let mut last = 0;
            for (id, record) in records {
                let number = number_of.next().ok_or_else(|| wrong("the order has fewer numbers than records"))?;
                if number <= last || number > numbers.last {
                    return Err(wrong("the order's numbers do not increase up to the last one"));
                }
                last = number;
                if collection.by_id.insert(Id::Uuid(id), number).is_some() {
                    return Err(StoredError::Twice { collection: name, what: format!("the id {id}") });
                }
                collection.insert(number, record);
            }
            if number_of.next().is_some() {
                return Err(wrong("the order has more numbers than records"));
            }
            if documents.collections.insert(name.clone(), collection).is_some() {
                return Err(StoredError::Twice { collection: name, what: "the collection".to_owned() });
            }
        }
        let mut newest = Seq(0);
        for stored in keys {
            let wrong = |why| StoredError::Key { key: stored.key.clone(), why };
            let (request, answer) = stored.answer().map_err(wrong)?;
            if answer.seq <= newest || answer.seq > applied.seq {
                return Err(wrong("its sequence is not between the previous one and the snapshot's"));
            }
            newest = answer.seq;
            if documents.keys.get(&stored.key).is_some() {
                return Err(wrong("it occurs twice"));
            }
            documents.keys.keep(Key { name: &stored.key, request }, answer);
        }
        match order.0.into_keys().next() {
            Some(collection) => Err(StoredError::Order { collection, why: "only the order has it" }),
            None => {
                documents.sum = documents.recomputed_sum_of_collections();
                Ok(documents)
            }
        }
    }
}

impl StoredKey {
    fn new(key: &str, kept: &Kept) -> Result<StoredKey, serde_json::Error> {
        let answer = &kept.answer;
        let record = answer.record.as_ref().map(|record| RawValue::from_string(record.as_str().to_owned()));
        let operation =
            |one: &Operated| ((&one.outcome).into(), uuid_of(&one.id), one.tag.map(|tag| format!("{tag:032x}")));
        Ok(StoredKey {
            key: key.to_owned(),
            request: format!("{:032x}", kept.request),
            sequence: answer.seq.0,
            outcome: (&answer.outcome).into(),
            id: uuid_of(&answer.id),
            record: record.transpose()?,
            operations: answer.operations.iter().map(operation).collect(),
        })
    }

    fn answer(&self) -> Result<(u128, Applied), &'static str> {
        let hash = |digits: &str| u128::from_str_radix(digits, 16).map_err(|_| "a hash in it is not a number");
        let mut operations = Vec::with_capacity(self.operations.len());
        for (outcome, id, tag) in &self.operations {
            let tag = tag.as_deref().map(hash).transpose()?;
            operations.push(Operated { outcome: (*outcome).into(), id: Id::Uuid(*id), tag });
        }
        if self.key.is_empty() || self.key.len() > super::KEY_BYTES_MAX {
            return Err("it is empty or too long");
        }
        let record = self.record.as_ref().map(|raw| Record::from(raw.get()));
        let (seq, outcome) = (Seq(self.sequence), self.outcome.into());
        Ok((hash(&self.request)?, Applied { seq, outcome, id: Id::Uuid(self.id), record, operations }))
    }
}

fn uuid_of(id: &Id) -> Uuid {
    match id {
        Id::Uuid(uuid) => *uuid,
        Id::Text(text) => panic!("format 1 has no id {text:?}"),
    }
}

impl From<&Outcome> for StoredOutcome {
    fn from(outcome: &Outcome) -> StoredOutcome {
        match outcome {
            Outcome::Created => StoredOutcome::Created,
            Outcome::Same => StoredOutcome::Same,
            Outcome::Replaced => StoredOutcome::Replaced,
            Outcome::Deleted => StoredOutcome::Deleted,
            Outcome::Conflict => StoredOutcome::Conflict,
            Outcome::Missing => StoredOutcome::Missing,
            Outcome::PreconditionFailed => StoredOutcome::PreconditionFailed,
            Outcome::BatchDone => StoredOutcome::BatchDone,
            Outcome::BatchNotDone => StoredOutcome::BatchNotDone,
            // The reason is not kept: the API lets no such operation in.
            Outcome::Invalid(_) | Outcome::KeyReused => StoredOutcome::Unreadable,
            other => panic!("format 1 has no {other:?}"),
        }
    }
}

impl From<StoredOutcome> for Outcome {
    fn from(outcome: StoredOutcome) -> Outcome {
        match outcome {
            StoredOutcome::Created => Outcome::Created,
            StoredOutcome::Same => Outcome::Same,
            StoredOutcome::Replaced => Outcome::Replaced,
            StoredOutcome::Deleted => Outcome::Deleted,
            StoredOutcome::Conflict => Outcome::Conflict,
            StoredOutcome::Missing => Outcome::Missing,
            StoredOutcome::PreconditionFailed => Outcome::PreconditionFailed,
            StoredOutcome::BatchDone => Outcome::BatchDone,
            StoredOutcome::BatchNotDone => Outcome::BatchNotDone,
            StoredOutcome::Unreadable => Outcome::Invalid(super::PATCH_TAKES_ID),
        }
    }
}

impl Collection {
    fn numbers(&self) -> Numbers {
        let mut runs: Vec<(u64, u64)> = Vec::new();
        for number in self.by_number.keys() {
            match runs.last_mut() {
                Some((first, count)) if *first + *count == *number => *count += 1,
                _ => runs.push((*number, 1)),
            }
        }
        Numbers { last: self.last_number, runs }
    }
}

impl Numbers {
    /// One by one. It stops before a number that does not fit, so a made-up run cannot overflow.
    fn iter(&self) -> impl Iterator<Item = u64> {
        self.runs.iter().flat_map(|(first, count)| (0..*count).map_while(|offset| first.checked_add(offset)))
    }
}

impl<'de> Deserialize<'de> for StoredCollections {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<StoredCollections, D::Error> {
        struct Names;
        impl<'de> Visitor<'de> for Names {
            type Value = StoredCollections;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of arrays of records")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<StoredCollections, A::Error> {
                let mut all = Vec::new();
                while let Some(name) = map.next_key::<String>()? {
                    let Records(records) = map.next_value()?;
                    all.push((name, records));
                }
                Ok(StoredCollections(all))
            }
        }
        deserializer.deserialize_map(Names)
    }
}

/// Streamed, so that a large collection is in memory once, not once as text and once as records.
struct Records(Vec<(Uuid, Record)>);

impl<'de> Deserialize<'de> for Records {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Records, D::Error> {
        struct Each;
        impl<'de> Visitor<'de> for Each {
            type Value = Records;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array of records")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Records, A::Error> {
                let mut all = Vec::new();
                while let Some(raw) = array.next_element::<Box<RawValue>>()? {
                    let id = record_id(raw.get())
                        .ok_or_else(|| serde::de::Error::custom("a record is not a JSON object with an id"))?;
                    all.push((id, Record::from(raw.get())));
                }
                Ok(Records(all))
            }
        }
        deserializer.deserialize_seq(Each)
    }
}
