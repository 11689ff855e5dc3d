//! The data again, from a state and what each later entry changed: without the commands, so whatever build they were made by.
//!
//! ```text
//!   a full snapshot ──new──▶ Replay ──apply (each entry's changes, as a watch of all has them)──▶ data_sum: the watch's `hash`
//!                                   ──into_restored──▶ what a new cluster begins with
//! ```
//!
//! Changes are enough for all that the sum of the data covers: records, their creation numbers, and the definitions in force. They
//! say nothing of what is pending, of the answers that are kept under keys, of the pause of expiry, and of the file of
//! definitions that was noted: that is forgotten.
//!
//! Each change must fit the data as they are: one that was left out, or that belongs to other data, is an error, mostly long before
//! the sums are compared. No index is kept meanwhile; [`Replay::into_restored`] makes them.

use crate::collection::Reads;
use crate::defined::Defined;
use crate::format::COLLECTIONS;
use crate::keys::Keys;
use crate::settings::Settings;
use crate::stored::{StoredError, enter};
use crate::sums::Name;
use crate::tables::Tables;
use crate::{Change, ChangeKind, Collection, Definition, Documents, Id, IdKind, IdRef, PERSONS, RecordChange, is_name};
use leasehold_replication::{Position, Seq, Sum};
use std::sync::Arc;

/// See the module.
#[derive(Clone, Debug)]
pub struct Replay {
    /// Without indexes, and without anything pending. The term of their position is 0.
    documents: Documents,
}

/// Why an entry does not follow. What was replayed is useless from then on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplayError {
    /// Its sequence is not behind that of the last one.
    #[error("entry {seq} does not follow entry {position}")]
    Order {
        /// Its sequence.
        seq: Seq,
        /// The last one's.
        position: Seq,
    },
    /// A change does not fit the data before it: a change is missing, or it belongs to other data.
    #[error("entry {seq}: a change of {collection} does not fit the data: {why}")]
    Misfit {
        /// The entry.
        seq: Seq,
        /// The collection.
        collection: String,
        /// What is wrong.
        why: Misfit,
    },
}

/// Why a change does not fit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Misfit {
    /// There is no such collection.
    #[error("there is no such collection")]
    NoCollection,
    /// It is defined, and so is an earlier one of that name; or what is dropped was defined at another time.
    #[error("the definition was made at {said}, and that of the data at {found:?}")]
    Created {
        /// What the change says.
        said: Seq,
        /// What the data say; none where there is no definition.
        found: Option<Seq>,
    },
    /// Its name, or the kind of its ids.
    #[error("the collection cannot be defined so")]
    Definition,
    /// It is not one of the collection's kind.
    #[error("{0} is not an id of this collection's kind")]
    Id(Id),
    /// The record has another creation number, or exists though it is created, or does not exist.
    #[error("the record {id} has the creation number {found:?} (the highest ever is {last}), not {said}")]
    Number {
        /// The record.
        id: Id,
        /// What the change says.
        said: u64,
        /// What the data say; none where there is no such record.
        found: Option<u64>,
        /// The highest creation number of the collection.
        last: u64,
    },
    /// A record that is written lacks, or one that goes has, its content.
    #[error("the record {0} lacks its content, or has one though it goes")]
    Content(Id),
}

impl Replay {
    /// From these data on. Pending changes of definitions are given up, and the answers under keys are forgotten.
    pub fn new(mut documents: Documents) -> Replay {
        let names: Vec<String> = documents.collections().map(|(name, _)| name.to_owned()).collect();
        for name in names {
            documents.with(&name, |collection, hashed| {
                collection.tables = Tables::of(&Definition::persons());
                collection.building = None;
                if let Some(defined) = collection.defined.clone() {
                    let (epoch, pending, last_refused) = (defined.revision, None, None);
                    let given_up = Defined { epoch, pending, last_refused, ..Defined::clone(&defined) };
                    collection.set_defined(hashed, given_up);
                }
            });
        }
        documents.keys = Keys::default();
        // Format 1 has neither; a definition is what begins format 2.
        let expiry_paused = documents.format >= COLLECTIONS;
        documents.settings = Settings { time_ms: documents.time_ms(), expiry_paused, file: None };
        documents.applied = Position::new(0, documents.applied.seq.0);
        documents.discarded = Vec::new();
        Replay { documents }
    }

    /// Applies all that one entry changed, in order. `time_ms`: of the data after it, in milliseconds since 1970; 0: nobody said
    /// one. An id may be a text also where the collection's are UUIDs.
    ///
    /// # Errors
    /// [`ReplayError`]: some of it may be done; this replay is useless.
    pub fn apply(&mut self, seq: Seq, time_ms: u64, changes: &[Change]) -> Result<(), ReplayError> {
        let position = self.position();
        if seq <= position {
            return Err(ReplayError::Order { seq, position });
        }
        for change in changes {
            let done = match change {
                Change::Record(change) => self.record(change),
                Change::Definition { collection, created, definition: Some(definition) } => {
                    self.define(seq, collection, *created, definition)
                }
                Change::Definition { collection, created, definition: None } => {
                    self.drop_collection(collection, *created)
                }
            };
            done.map_err(|why| ReplayError::Misfit { seq, collection: change.collection().to_owned(), why })?;
        }
        self.pass(seq, time_ms);
        Ok(())
    }

    /// Notes that the entries up to this one changed nothing more. One that is passed already is ignored.
    pub fn pass(&mut self, seq: Seq, time_ms: u64) {
        self.documents.applied = Position::new(0, self.position().max(seq).0);
        if self.documents.format >= COLLECTIONS {
            self.documents.settings.note_time(time_ms);
        }
    }

    /// The last entry that is included.
    pub fn position(&self) -> Seq {
        self.documents.applied.seq
    }

    /// The time of the data, in milliseconds since 1970; 0: nobody said one.
    pub fn time_ms(&self) -> u64 {
        self.documents.time_ms()
    }

    /// The `hash` that a watch's event or bookmark says of the data at this sequence.
    pub fn data_sum(&self) -> Sum {
        self.documents.data_sum()
    }

    /// The records and definitions. They have no indexes: only look up and list.
    pub fn documents(&self) -> &Documents {
        &self.documents
    }

    /// What a new cluster begins with: with the indexes of all definitions in force; expiry is paused (in format 1 there is
    /// none), sequences and creation numbers go on, and the term is 0. Takes time in proportion to the data.
    ///
    /// # Errors
    /// A record does not fit the definition: no cluster ever had these data.
    pub fn into_restored(self) -> Result<Documents, StoredError> {
        let mut documents = self.documents;
        let names: Vec<String> = documents.collections().map(|(name, _)| name.to_owned()).collect();
        for name in names {
            let entered = documents.with(&name, |collection, _| {
                collection.tables = Tables::of(collection.definition());
                if collection.tables.is_trivial() {
                    return Ok(());
                }
                // Nothing of it is changed, so this costs nothing.
                for (number, record) in &collection.by_number.clone() {
                    enter(collection, *number, record, 0).map_err(|what| match collection.id_of(record) {
                        Some(id) => format!("{id}: {what}"),
                        None => what,
                    })?;
                }
                Ok(())
            });
            entered.unwrap_or(Ok(())).map_err(|why| StoredError::Definition { collection: name, why })?;
        }
        Ok(documents)
    }

    fn record(&mut self, change: &RecordChange) -> Result<(), Misfit> {
        let name = &*change.collection;
        // Format 1 does not define its collection.
        if name == PERSONS && self.documents.format < COLLECTIONS && !self.documents.collections.contains_key(name) {
            self.documents.collections.insert(Arc::clone(&change.collection), Arc::default());
        }
        let done = self.documents.with(name, |collection, hashed| write(collection, hashed, change));
        done.unwrap_or(Err(Misfit::NoCollection))
    }

    /// It is in force, be it new or changed.
    fn define(&mut self, seq: Seq, name: &str, created: Seq, definition: &Arc<Definition>) -> Result<(), Misfit> {
        if !is_name(name) {
            return Err(Misfit::Definition);
        }
        let known = self.documents.collection(name);
        let found = known.and_then(Collection::defined).map(|defined| defined.created);
        if created != found.unwrap_or(seq) {
            return Err(Misfit::Created { said: created, found });
        }
        let keeps_ids = |known: &Collection| known.definition().id == definition.id;
        if !known.is_none_or(keeps_ids) {
            return Err(Misfit::Definition);
        }
        self.documents.format = self.documents.format.max(COLLECTIONS);
        self.documents.settings.expiry_paused = true;
        self.documents.collections.entry(name.into()).or_default();
        self.documents.with(name, |collection, hashed| {
            let definition = Arc::clone(definition);
            let (pending, last_refused) = (None, None);
            let defined = Defined { definition, created, revision: seq, epoch: seq, pending, last_refused };
            collection.set_defined(hashed, defined);
        });
        Ok(())
    }

    fn drop_collection(&mut self, name: &str, created: Seq) -> Result<(), Misfit> {
        let collection = self.documents.collection(name).ok_or(Misfit::NoCollection)?;
        let found = collection.defined().map(|defined| defined.created);
        if found != Some(created) {
            return Err(Misfit::Created { said: created, found });
        }
        if let Some(gone) = self.documents.collections.remove(name) {
            self.documents.data_sum = self.documents.data_sum.wrapping_sub(gone.data_sum);
            self.documents.progress_sum = self.documents.progress_sum.wrapping_sub(gone.progress_sum);
        }
        Ok(())
    }
}

/// One record is written, or goes.
fn write(collection: &mut Collection, hashed: Name, change: &RecordChange) -> Result<(), Misfit> {
    let RecordChange { id, number, kind, record, .. } = change;
    let id = of_kind(collection.by_id.kind(), id).ok_or_else(|| Misfit::Id(id.clone()))?;
    let (found, last) = (collection.by_id.get(id), collection.last_number);
    // Creation numbers have no gaps when they are given.
    let fits = match kind {
        ChangeKind::Created => found.is_none() && last.checked_add(1) == Some(*number),
        ChangeKind::Replaced | ChangeKind::Deleted | ChangeKind::Expired => found == Some(*number),
    };
    if !fits {
        return Err(Misfit::Number { id: id.to_owned(), said: *number, found, last });
    }
    match (kind, record) {
        (ChangeKind::Created | ChangeKind::Replaced, Some(record)) => {
            // There is no index that would need anything of it.
            collection.put(hashed, id, found.unwrap_or(0), record.clone(), &Reads::default());
            Ok(())
        }
        (ChangeKind::Deleted | ChangeKind::Expired, None) => {
            collection.remove(hashed, id);
            Ok(())
        }
        (ChangeKind::Created | ChangeKind::Replaced | ChangeKind::Deleted | ChangeKind::Expired, _) => {
            Err(Misfit::Content(id.to_owned()))
        }
    }
}

/// What only a collection knows: whether a text is that of a UUID.
fn of_kind(kind: IdKind, id: &Id) -> Option<IdRef<'_>> {
    match (kind, id.as_ref()) {
        (IdKind::Uuid, IdRef::Text(text)) => kind.parse(text),
        (IdKind::Uuid, uuid @ IdRef::Uuid(_)) => Some(uuid),
        (IdKind::Text, text @ IdRef::Text(_)) => Some(text),
        (IdKind::Text, IdRef::Uuid(_)) => None,
    }
}
