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
//! In format 2 these precede them:
//!
//! ```text
//!   "definitions": {
//!     "orders": {"definition":{…},"created":3,"revision":9,"epoch":12,     one collection a line
//!                "pending":{"definition":{…},"since":12,"cursor":4000},
//!                "lastRefused":{"since":7,"why":{"doesNotFit":{…}}}}
//!   },
//!   "time": 1700000000000,
//!   "expiryPaused": false,
//!   "file": "0…",                                                          if one was noted
//! ```
//!
//! A key of another collection than `persons` names it as its `"space"`; that of a transaction is empty. A UUID is a string, an
//! id that is a text `{"text": …}`. Indexes, and the times at which records go, are made of the records when they are read;
//! those of a pending change of the records up to its cursor.
//!
//! `last` is the highest creation number ever given; each run is (first number, how many): here the five records have the
//! numbers 1, 2, 3, 6, 7. `"keys"` is omitted if there are none. [`snapshot`](crate::snapshot) writes and reads what surrounds
//! these members.

pub(crate) mod definitions;
pub(crate) mod detail;
mod ids;
mod keys;

use definitions::StoredDefined;
pub use definitions::StoredDefinitions;
pub use keys::StoredKey;

use crate::collection::id_in;
use crate::defined::Defined;
use crate::format::COLLECTIONS;
use crate::ids::Ids;
use crate::plants::{Fault, holds};
use crate::settings::Settings;
use crate::sums::Name;
use crate::tables::{Building, Tables};
use crate::value::BadValue;
use crate::{Collection, Documents, IdKind, Key, Record};
use leasehold_replication::{Position, Seq};
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Write};
use std::sync::Arc;

/// The value of `"collections"`: by name, in the order of the file.
#[derive(Debug, Default)]
pub struct StoredCollections(Vec<(String, Vec<Record>)>);

/// The members of format 2: all absent in a file of format 1.
#[derive(Debug, Default)]
pub struct StoredState {
    /// The value of `"definitions"`; it is always there in format 2.
    pub definitions: Option<StoredDefinitions>,
    /// The value of `"time"`.
    pub time: u64,
    /// The value of `"expiryPaused"`.
    pub expiry_paused: bool,
    /// The value of `"file"`.
    pub file: Option<String>,
}

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
    /// A definition is not one, or the records do not fit it.
    #[error("{collection}: {why}")]
    Definition {
        /// The collection.
        collection: String,
        /// How it differs.
        why: String,
    },
    /// The hash of the file of definitions is not a number.
    #[error("the hash of the file of definitions is not a number")]
    File,
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
    /// The members of format 2 that precede the collections; nothing in format 1.
    fn write_definitions(&self, out: &mut dyn Write) -> io::Result<()> {
        out.write_all(b"\"definitions\": {")?;
        let mut before = "\n  ";
        for (name, collection) in self.collections() {
            let Some(defined) = collection.defined() else { continue };
            let defined = serde_json::to_string(&StoredDefined::of(defined))?;
            write!(out, "{before}{}: {defined}", serde_json::to_string(name)?)?;
            before = ",\n  ";
        }
        out.write_all(if before.starts_with(',') { b"\n},\n" } else { b"},\n" })?;
        write!(out, "\"time\": {},\n\"expiryPaused\": {},\n", self.time_ms(), self.expiry_paused())?;
        match self.noted_file() {
            Some(file) => writeln!(out, "\"file\": \"{file:032x}\","),
            None => Ok(()),
        }
    }

    /// Writes the members `"collections": …,\n"order": …` (and `"keys"`) of a JSON object, without the surrounding braces
    /// and without a comma or line end after them.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write_collections(&self, out: &mut dyn Write) -> io::Result<()> {
        if self.format >= COLLECTIONS {
            self.write_definitions(out)?;
        }
        out.write_all(b"\"collections\": {")?;
        let mut before_name = "\n  ";
        for (name, collection) in self.collections.iter() {
            write!(out, "{before_name}{}: [", serde_json::to_string(&**name)?)?;
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
        let order =
            self.collections.iter().map(|(name, collection)| ((**name).to_owned(), collection.numbers())).collect();
        write!(out, "\"order\": {}", serde_json::to_string(&StoredOrder(order))?)?;
        if self.keys.is_empty() {
            return Ok(());
        }
        out.write_all(b",\n\"keys\": [")?;
        let mut before = "\n  ";
        for (space, key, kept) in self.keys.iter() {
            write!(out, "{before}{}", serde_json::to_string(&StoredKey::new(space, key, kept)?)?)?;
            before = ",\n  ";
        }
        out.write_all(b"\n]")
    }

    /// The documents at `applied`, from what [`Documents::write_collections`] wrote. Their sum, their indexes and the times at
    /// which records go are made of what was read, which takes longer than [`Documents::recomputed_sum`].
    ///
    /// # Errors
    /// [`StoredError`]: nobody wrote it like that.
    pub fn restore(
        applied: Position,
        collections: StoredCollections,
        mut order: StoredOrder,
        keys: Vec<StoredKey>,
        state: StoredState,
    ) -> Result<Documents, StoredError> {
        let mut documents = Documents { applied, ..Documents::default() };
        if state.definitions.is_some() {
            documents.format = COLLECTIONS;
        }
        let mut definitions = state.definitions.unwrap_or_default().0;
        for (name, records) in collections.0 {
            let numbers = order.0.remove(&name).ok_or_else(|| StoredError::Order {
                collection: name.clone(),
                why: "the order lacks this collection",
            })?;
            let defined = definitions.remove(&name).map(|defined| defined.read()).transpose();
            let defined = defined.map_err(|why| StoredError::Definition { collection: name.clone(), why })?;
            let collection = restore_collection(&name, records, &numbers, defined)?;
            documents.data_sum = documents.data_sum.wrapping_add(collection.data_sum);
            documents.progress_sum = documents.progress_sum.wrapping_add(collection.progress_sum);
            if documents.collections.insert(name.as_str().into(), Arc::new(collection)).is_some() {
                return Err(StoredError::Twice { collection: name, what: "the collection".to_owned() });
            }
        }
        documents.restore_keys(keys)?;
        if let Some(collection) = order.0.into_keys().next() {
            return Err(StoredError::Order { collection, why: "only the order has it" });
        }
        if let Some(collection) = definitions.into_keys().next() {
            return Err(StoredError::Definition { collection, why: "only the definitions have it".to_owned() });
        }
        let file = state.file.map(|digits| u128::from_str_radix(&digits, 16)).transpose();
        let file = file.map_err(|_| StoredError::File)?;
        documents.settings = Settings { time_ms: state.time, expiry_paused: state.expiry_paused, file };
        Ok(documents)
    }

    fn restore_keys(&mut self, keys: Vec<StoredKey>) -> Result<(), StoredError> {
        let mut newest = Seq(0);
        for stored in keys {
            let wrong = |why| StoredError::Key { key: stored.key.clone(), why };
            let (request, answer) = stored.answer().map_err(wrong)?;
            if answer.seq <= newest || answer.seq > self.applied.seq {
                return Err(wrong("its sequence is not between the previous one and the snapshot's"));
            }
            newest = answer.seq;
            if self.keys.get(&stored.space, &stored.key).is_some() {
                return Err(wrong("it occurs twice"));
            }
            self.keys.keep(&stored.space, Key { name: &stored.key, request }, answer);
        }
        Ok(())
    }
}

fn restore_collection(
    name: &str,
    records: Vec<Record>,
    numbers: &Numbers,
    defined: Option<Defined>,
) -> Result<Collection, StoredError> {
    let wrong = |why| StoredError::Order { collection: name.to_owned(), why };
    let spoilt = |why: String| StoredError::Definition { collection: name.to_owned(), why };
    let mut collection = Collection { last_number: numbers.last, ..Collection::default() };
    let mut kind = IdKind::Uuid;
    if let Some(defined) = &defined {
        kind = defined.definition.id;
        collection.by_id = Ids::of(kind);
        collection.tables = Tables::of(&defined.definition);
        collection.building =
            defined.pending.as_ref().map(|pending| Building::of(&pending.definition, &defined.definition));
    }
    let cursor = defined.as_ref().and_then(|defined| defined.pending.as_ref()).map_or(0, |pending| pending.cursor);
    if cursor > numbers.last {
        return Err(spoilt("the pending change is beyond the last record".to_owned()));
    }
    let mut number_of = numbers.iter();
    let mut last = 0;
    for record in records {
        let number = number_of.next().ok_or_else(|| wrong("the order has fewer numbers than records"))?;
        if number <= last || number > numbers.last {
            return Err(wrong("the order's numbers do not increase up to the last one"));
        }
        last = number;
        let id = id_in(kind, record.as_str());
        let id = id.ok_or_else(|| wrong("a record is not a JSON object with an id of the collection's kind"))?;
        enter(&mut collection, number, &record, cursor).map_err(|what| spoilt(format!("{id}: {what}")))?;
        if !collection.enter_id(id.as_ref(), number) {
            return Err(StoredError::Twice { collection: name.to_owned(), what: format!("the id {id}") });
        }
        collection.insert(number, record);
    }
    if number_of.next().is_some() {
        return Err(wrong("the order has more numbers than records"));
    }
    collection.defined = defined.map(Arc::new);
    (collection.data_sum, collection.progress_sum) = collection.recomputed_sums(Name::of(name));
    Ok(collection)
}

/// Enters a record into what is made of the records.
pub(crate) fn enter(collection: &mut Collection, number: u64, record: &Record, cursor: u64) -> Result<(), String> {
    const CLASH: &str = "a unique index has another record with its values";
    let bad = |bad: BadValue| format!("{}: {}", bad.pointer, bad.why);
    if !collection.tables.is_trivial() {
        let read = collection.tables.read(record.as_str()).map_err(bad)?;
        if collection.tables.clash(&read, number).is_some() {
            return Err(CLASH.to_owned());
        }
        collection.tables.enter(&read, number);
    }
    if let Some(building) = &mut collection.building
        && (number <= cursor || !holds(Fault::RestoredIndexIsWhole))
    {
        let read = building.read(record.as_str()).map_err(bad)?;
        if building.clash(&read, number).is_some() {
            return Err(CLASH.to_owned());
        }
        building.enter(&read, number);
    }
    Ok(())
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
struct Records(Vec<Record>);

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
                    all.push(Record::from(raw.get()));
                }
                Ok(Records(all))
            }
        }
        deserializer.deserialize_seq(Each)
    }
}
