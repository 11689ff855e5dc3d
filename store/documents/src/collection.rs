//! One collection: its definition, its records in the order of their creation, and its indexes.

use crate::defined::{Defined, Pending};
use crate::definition::Definition;
use crate::id::{Id, IdKind, IdRef};
use crate::ids::Ids;
use crate::index::Index;
use crate::record::{Record, record_id, record_text_id};
use crate::sums::{self, Name};
use crate::tables::{Building, Clash, Tables};
use crate::value::{BadValue, Read};
use imbl::OrdMap;
use leasehold_replication::Seq;
use std::sync::{Arc, LazyLock};

/// The records of one kind.
#[derive(Clone, Debug)]
pub struct Collection {
    /// What it is; none in format 1.
    pub(crate) defined: Option<Arc<Defined>>,
    /// The highest creation number ever assigned; that record may be gone.
    pub(crate) last_number: u64,
    pub(crate) by_number: OrdMap<u64, Record>,
    /// The creation number of each id. Always the same records as `by_number`.
    pub(crate) by_id: Ids,
    /// Bytes of all records.
    pub(crate) bytes: u64,
    /// Memory of ids that are texts; a UUID is part of its place.
    pub(crate) id_bytes: u64,
    /// The sum of its records, its last number and its definition in force (`sums`).
    pub(crate) data_sum: u128,
    /// The sum of the rest of [`Defined`].
    pub(crate) progress_sum: u128,
    pub(crate) tables: Tables,
    /// Where a change is pending.
    pub(crate) building: Option<Building>,
}

/// What a collection is that nothing defines: in format 1.
static BUILT_IN: LazyLock<Definition> = LazyLock::new(Definition::persons);

/// What the definitions of a collection need of a record. By default nothing.
#[derive(Default)]
pub(crate) struct Reads {
    in_force: Option<Read>,
    /// By the pending definition.
    pending: Option<Read>,
}

impl Default for Collection {
    fn default() -> Collection {
        Collection {
            defined: None,
            last_number: 0,
            by_number: OrdMap::new(),
            by_id: Ids::of(BUILT_IN.id),
            bytes: 0,
            id_bytes: 0,
            data_sum: 0,
            progress_sum: 0,
            tables: Tables::of(&BUILT_IN),
            building: None,
        }
    }
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

    /// What is in force.
    pub fn definition(&self) -> &Definition {
        self.defined.as_ref().map_or(&*BUILT_IN, |defined| &defined.definition)
    }

    /// In the order of [`Collection::definition`].
    pub fn indexes(&self) -> &[Index] {
        &self.tables.indexes
    }

    /// The change of its definition that is pending.
    pub fn pending(&self) -> Option<&Pending> {
        self.defined.as_ref()?.pending.as_ref()
    }

    /// The creation number of each id, in the order of the ids.
    pub(crate) fn ids(&self) -> &Ids {
        &self.by_id
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
        let number = self.by_id.get(id)?;
        self.by_number.get(&number).map(|record| (number, record))
    }

    /// The records that were created after the one with this creation number (0: all), in order of creation.
    pub fn after(&self, number: u64) -> impl Iterator<Item = (u64, &Record)> {
        use std::ops::Bound::{Excluded, Unbounded};
        self.by_number.range((Excluded(number), Unbounded)).map(|(number, record)| (*number, record))
    }

    /// The id of one of its records; none of a text that is no record.
    pub fn id_of(&self, record: &Record) -> Option<Id> {
        id_in(self.definition().id, record.as_str())
    }

    /// Definitions need something of a record: it must be read before it is written.
    pub(crate) fn needs_reading(&self) -> bool {
        !self.tables.is_trivial() || self.building.as_ref().is_some_and(|building| !building.is_trivial())
    }

    /// A record as it is written: it must fit both definitions.
    pub(crate) fn read(&self, record: &str) -> Result<Reads, BadValue> {
        let pending = self.building.as_ref().map(|building| building.read(record)).transpose()?;
        Ok(Reads { in_force: Some(self.tables.read(record)?), pending })
    }

    /// A record as it is entered: the pending definition has not seen those behind its cursor.
    fn read_entered(&self, number: u64, record: &str) -> Reads {
        if !self.needs_reading() {
            return Reads { in_force: None, pending: None };
        }
        let is_examined = self.pending().is_some_and(|pending| number <= pending.cursor);
        let building = self.building.as_ref().filter(|_| is_examined);
        Reads {
            in_force: self.tables.read(record).ok(),
            pending: building.and_then(|building| building.read(record).ok()),
        }
    }

    /// Another record than `own` (0: any) with the same values in a unique index in force: the index, and the record.
    pub(crate) fn conflict(&self, reads: &Reads, own: u64) -> Option<(u8, Id)> {
        let (index, other) = self.tables.clash(reads.in_force.as_ref()?, own)?;
        Some((index, self.id_at(other)))
    }

    /// The id of the record with this creation number.
    pub(crate) fn id_at(&self, number: u64) -> Id {
        self.by_number.get(&number).and_then(|record| self.id_of(record)).unwrap_or(Id::NONE)
    }

    /// `own`: the creation number of the record that it replaces, 0 if there is none. Its creation number; and the clash that
    /// it makes in a pending unique index, where it is not entered then.
    pub(crate) fn put(
        &mut self,
        name: Name,
        id: IdRef<'_>,
        own: u64,
        record: Record,
        reads: &Reads,
    ) -> (u64, Option<Clash>) {
        let number = if own == 0 { self.next_number(name, id) } else { own };
        self.data_sum = self.data_sum.wrapping_add(sums::of_record(name, id, number, record.as_str()));
        if let Some(before) = self.insert(number, record) {
            self.data_sum = self.data_sum.wrapping_sub(sums::of_record(name, id, number, before.as_str()));
            self.leave(number, &before);
        }
        if let Some(read) = &reads.in_force {
            self.tables.enter(read, number);
        }
        let cursor = self.pending().map_or(0, |pending| pending.cursor);
        let clash = match (&mut self.building, &reads.pending) {
            (Some(building), Some(read)) if number <= cursor => match building.clash(read, number) {
                None => {
                    building.enter(read, number);
                    None
                }
                clash => clash,
            },
            _ => None,
        };
        (number, clash)
    }

    /// That of a record which is created.
    fn next_number(&mut self, name: Name, id: IdRef<'_>) -> u64 {
        self.data_sum = self.data_sum.wrapping_sub(sums::of_number(name, self.last_number));
        self.last_number += 1;
        self.data_sum = self.data_sum.wrapping_add(sums::of_number(name, self.last_number));
        self.enter_id(id, self.last_number);
        self.last_number
    }

    /// False: it was there.
    pub(crate) fn enter_id(&mut self, id: IdRef<'_>, number: u64) -> bool {
        self.id_bytes += memory_of(id);
        self.by_id.insert(id, number)
    }

    /// The record that was there before.
    pub(crate) fn insert(&mut self, number: u64, record: Record) -> Option<Record> {
        self.bytes += record.as_str().len() as u64;
        let before = self.by_number.insert(number, record)?;
        self.bytes -= before.as_str().len() as u64;
        Some(before)
    }

    /// Its creation number; none if there is none.
    pub(crate) fn remove(&mut self, name: Name, id: IdRef<'_>) -> Option<u64> {
        let number = self.by_id.remove(id)?;
        self.id_bytes -= memory_of(id);
        let before = self.by_number.remove(&number)?;
        self.bytes -= before.as_str().len() as u64;
        self.data_sum = self.data_sum.wrapping_sub(sums::of_record(name, id, number, before.as_str()));
        self.leave(number, &before);
        Some(number)
    }

    fn leave(&mut self, number: u64, before: &Record) {
        let reads = self.read_entered(number, before.as_str());
        if let Some(read) = &reads.in_force {
            self.tables.leave(read, number);
        }
        if let (Some(building), Some(read)) = (&mut self.building, &reads.pending) {
            building.leave(read, number);
        }
    }

    /// Its definition is this from now on. What is made of the records is not touched.
    pub(crate) fn set_defined(&mut self, name: Name, defined: Defined) {
        let (data, progress) = self.defined.as_deref().map_or((0, 0), |before| sums::of_defined(name, before));
        let (new_data, new_progress) = sums::of_defined(name, &defined);
        self.data_sum = self.data_sum.wrapping_sub(data).wrapping_add(new_data);
        self.progress_sum = self.progress_sum.wrapping_sub(progress).wrapping_add(new_progress);
        // A definition of another kind of ids is that of a new collection.
        if defined.definition.id != self.by_id.kind() {
            self.by_id = Ids::of(defined.definition.id);
        }
        self.defined = Some(Arc::new(defined));
    }

    /// What ids, indexes, times and definitions use in memory, approximately.
    pub(crate) fn tables_bytes(&self) -> u64 {
        let building = self.building.as_ref().map_or(0, Building::memory_bytes);
        self.id_bytes + self.tables.memory_bytes() + building + self.definitions_bytes()
    }

    /// What its definitions use in memory or in a snapshot, approximately.
    pub(crate) fn definitions_bytes(&self) -> u64 {
        self.defined.as_ref().map_or(0, |defined| {
            let pending = defined.pending.as_ref().map_or(0, |pending| pending.definition.memory_bytes());
            defined.definition.memory_bytes() + pending
        })
    }
}

/// What an id uses beside its place, with the overhead of the allocator.
fn memory_of(id: IdRef<'_>) -> u64 {
    match id {
        IdRef::Uuid(_) => 0,
        IdRef::Text(text) => text.len() as u64 + 32,
    }
}

/// The id in a record's JSON, where ids are of that kind.
pub(crate) fn id_in(kind: IdKind, record: &str) -> Option<Id> {
    match kind {
        IdKind::Uuid => record_id(record).map(Id::Uuid),
        IdKind::Text => record_text_id(record).and_then(|text| IdKind::Text.parse(&text).map(IdRef::to_owned)),
    }
}
