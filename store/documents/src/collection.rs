//! One collection: its definition, its records in the order of their creation, and its indexes.

use crate::definition::Definition;
use crate::id::{Id, IdRef};
use crate::record::Record;
use crate::sums::{self, Name};
use imbl::OrdMap;
use leasehold_replication::Seq;
use std::sync::Arc;

/// The records of one kind.
#[derive(Clone, Debug, Default)]
pub struct Collection {
    /// What it is; none in format 1.
    pub(crate) defined: Option<Arc<Defined>>,
    /// The highest creation number ever assigned; that record may be gone.
    pub(crate) last_number: u64,
    pub(crate) by_number: OrdMap<u64, Record>,
    /// The creation number of each id. Always the same records as `by_number`.
    pub(crate) by_id: OrdMap<Id, u64>,
    /// Bytes of all records.
    pub(crate) bytes: u64,
}

/// A definition in force, and where it comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Defined {
    /// What is in force.
    pub definition: Arc<Definition>,
    /// The entry that defined it first: a collection that was dropped and defined again is another one.
    pub created: Seq,
    /// The entry that last changed the definition in force. Also the definition's `ETag`.
    pub revision: Seq,
    /// The last entry after which records must be checked otherwise than before: it defined, changed, or refused a change.
    pub epoch: Seq,
    /// The change that records are being examined for.
    pub pending: Option<Pending>,
    /// Why the last change that was not possible was not.
    pub last_refused: Option<LastRefused>,
}

/// A change of a definition that records are being examined for. New writes must fit both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pending {
    /// The new definition.
    pub definition: Arc<Definition>,
    /// The entry that brought it.
    pub since: Seq,
    /// Every record up to this creation number fits, and is in the new indexes; no other one is in them.
    pub cursor: u64,
}

/// A change that was not possible.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastRefused {
    /// The entry that brought it.
    pub since: Seq,
    /// Why.
    pub why: WhyRefused,
}

/// Why a change of a definition is not possible.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WhyRefused {
    /// A record does not fit its schema.
    DoesNotFit {
        /// The record.
        id: Id,
        /// Where in it, as a JSON Pointer.
        pointer: Arc<str>,
        /// The rule of the schema.
        rule: Arc<str>,
    },
    /// Two records have the same values in a unique index.
    UniqueConflict {
        /// The index, by its place in the new definition.
        index: u8,
        /// The records.
        ids: [Id; 2],
    },
    /// A value that the definition needs is not what it must be.
    BadValue {
        /// The record.
        id: Id,
        /// Where in it, as a JSON Pointer.
        pointer: Arc<str>,
        /// For people.
        why: Arc<str>,
    },
}

impl Collection {
    /// How many records there are.
    pub fn len(&self) -> usize {
        self.by_number.len()
    }

    /// There is no record.
    pub fn is_empty(&self) -> bool {
        self.by_number.is_empty()
    }

    /// The bytes of all records.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The highest creation number ever assigned.
    pub fn last_number(&self) -> u64 {
        self.last_number
    }

    /// What it is; none in format 1, where it is [`Definition::persons`].
    pub fn defined(&self) -> Option<&Arc<Defined>> {
        self.defined.as_ref()
    }

    /// See [`Defined::epoch`]; none in format 1.
    pub fn epoch(&self) -> Option<Seq> {
        self.defined.as_ref().map(|defined| defined.epoch)
    }

    /// The record with that id.
    pub fn get<'a>(&self, id: impl Into<IdRef<'a>>) -> Option<&Record> {
        self.numbered(id.into()).map(|(_, record)| record)
    }

    /// The record with that id, and its creation number.
    pub fn numbered(&self, id: IdRef<'_>) -> Option<(u64, &Record)> {
        let number = *self.by_id.get(&id.to_owned())?;
        self.by_number.get(&number).map(|record| (number, record))
    }

    /// The records that were created after the one with this creation number (0: all), in order of creation.
    pub fn after(&self, number: u64) -> impl Iterator<Item = (u64, &Record)> {
        use std::ops::Bound::{Excluded, Unbounded};
        self.by_number.range((Excluded(number), Unbounded)).map(|(number, record)| (*number, record))
    }

    /// Its creation number, and by how much the sum changes.
    pub(crate) fn put(&mut self, name: Name, id: IdRef<'_>, record: Record) -> (u64, u128) {
        let id = id.to_owned();
        let (number, numbered) = match self.by_id.get(&id) {
            Some(number) => (*number, 0),
            None => {
                let before = sums::of_number(name, self.last_number);
                self.last_number += 1;
                self.by_id.insert(id.clone(), self.last_number);
                (self.last_number, sums::of_number(name, self.last_number).wrapping_sub(before))
            }
        };
        let added = sums::of_record(name, id.as_ref(), number, record.as_str());
        let before = self.insert(number, record);
        let taken = before.map_or(0, |before| sums::of_record(name, id.as_ref(), number, before.as_str()));
        (number, numbered.wrapping_add(added).wrapping_sub(taken))
    }

    /// The record that was there before.
    pub(crate) fn insert(&mut self, number: u64, record: Record) -> Option<Record> {
        self.bytes += record.as_str().len() as u64;
        let before = self.by_number.insert(number, record)?;
        self.bytes -= before.as_str().len() as u64;
        Some(before)
    }

    /// Its creation number, and by how much the sum changes; none if there is none.
    pub(crate) fn remove(&mut self, name: Name, id: IdRef<'_>) -> Option<(u64, u128)> {
        let number = self.by_id.remove(&id.to_owned())?;
        let before = self.by_number.remove(&number)?;
        self.bytes -= before.as_str().len() as u64;
        Some((number, 0_u128.wrapping_sub(sums::of_record(name, id, number, before.as_str()))))
    }
}
