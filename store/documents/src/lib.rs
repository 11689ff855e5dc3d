//! The data: collections of JSON records, as the entries of the log up to one position leave them.
//!
//! ```text
//!   log ──apply(position, command)──▶ Documents ──clone, O(1)──▶ readers (a consistent view at `applied`)
//!                                               ──clone, O(1)──▶ snapshot.json (without stopping writes)
//! ```
//!
//! Pure: what a command does depends on the documents and the command alone, so every replica decides the same. Each record
//! has a creation number, counted per collection from 1 and never used twice. It is the order of every list, it stays when
//! the record is replaced, and it survives a snapshot exactly. The maps are persistent (a B+ tree that shares what did not
//! change), so a clone costs nothing and a write costs O(log n), whatever holds old clones.

mod check;
mod collection;
mod command;
mod definition;
mod format;
mod id;
mod index;
mod keys;
mod merge;
mod moment;
mod number;
mod outcome;
mod record;
mod size;
mod stored;
mod sums;
mod value;

pub use check::FalseSum;
pub use collection::{Collection, Defined, LastRefused, Pending, WhyRefused};
pub use command::{
    Action, BATCH_OPERATIONS_MAX, Command, CommandError, Condition, Define, DefinitionCondition, KEY_BYTES_MAX, Key,
    On, Operation, STEP_BYTES_MAX, STEP_RECORDS_MAX, Seen, UnknownCommand, Work,
};
pub use definition::{
    Definition, DefinitionChange, DefinitionError, FIELDS_MAX, Field, FieldKind, Form, INDEXES_MAX, IndexDefinition,
    NAME_BYTES_MAX, PATH_STEPS_MAX, Path, RESERVED_NAMES, SCHEMA_BYTES_MAX, is_name,
};
pub use format::{FORMAT, FORMAT_MIN, MADE_UP_KEY, readable};
pub use id::{ID_BYTES_MAX, Id, IdKind, IdRef};
pub use index::Index;
pub use keys::{KEY_ENTRIES_MAX, KEYS_BYTES_MAX, KEYS_MAX};
pub use number::{DIGITS_MAX, EXPONENT_MAX};
pub use outcome::{Applied, Change, ChangeKind, Operated, Outcome, RecordChange};
pub use record::{Record, tag_of};
pub use size::RECORD_MEMORY_BYTES;
pub use stored::{StoredCollections, StoredError, StoredKey, StoredOrder};
pub use value::{BadValue, IndexKey, Read, STRING_BYTES_MAX, Shape};

use command::record_id;
use imbl::OrdMap;
use keys::Keys;
use leasehold_replication::Position;
use std::sync::Arc;
use sums::Name;

/// What is wrong with what a patch would make.
const PATCH_TAKES_ID: &str = "the patch does not result in a record with the same id";
const TRUNCATED: &str = "the command is truncated";

/// The longest record, in bytes (since format 2).
pub const RECORD_BYTES_MAX: usize = 1024 * 1024;
/// What one entry may read and write of records, in bytes (since format 2).
pub const ENTRY_BYTES_MAX: usize = 4 * 1024 * 1024;
/// How many collections there may be.
pub const COLLECTIONS_MAX: usize = 1_000;
/// The collection that each cluster begins with.
pub const PERSONS: &str = "persons";

/// All collections at one position of the log. A clone is cheap and never changes.
#[derive(Clone, Debug, Default)]
pub struct Documents {
    /// The last entry that this includes.
    applied: Position,
    collections: OrdMap<String, Collection>,
    /// The sum of all collections, as each write changes it (`sums`). The keys have one of their own.
    sum: u128,
    /// The answers to writes with a key.
    keys: Keys,
    /// Bytes of records and their places that were dropped since the start: a reader of an older view still holds them.
    given_up: u64,
    /// Alive as long as a clone of this view is; see [`Documents::renew`].
    view: Arc<()>,
}

impl Documents {
    /// No data, before the first entry.
    pub fn new() -> Documents {
        Documents::default()
    }

    /// The last entry that this includes.
    pub fn applied(&self) -> Position {
        self.applied
    }

    /// The records of that kind; none if there never was one.
    pub fn collection(&self, name: &str) -> Option<&Collection> {
        self.collections.get(name)
    }

    /// Applies the command of the entry at `position`, which follows the last one, and adds its changes to `changes`.
    ///
    /// # Errors
    /// [`UnknownCommand`]: nothing was done, and this build must not go on \[C1\]. Anything else that is wrong with it is an
    /// outcome.
    ///
    /// # Panics
    /// When an entry is left out or comes twice: the log is broken, and going on would make replicas differ.
    pub fn apply(
        &mut self,
        position: Position,
        command: &[u8],
        changes: &mut Vec<Change>,
    ) -> Result<Applied, UnknownCommand> {
        let command = match Command::decode(command) {
            Err(CommandError::Unknown(unknown)) => return Err(unknown),
            known => known,
        };
        self.skip(position);
        Ok(match command {
            Ok(command) => self.decide(&command, changes),
            Err(CommandError::Content(what)) => self.answer(Outcome::Invalid(what)),
            Err(CommandError::Short | CommandError::Unknown(_)) => self.answer(Outcome::Invalid(TRUNCATED)),
        })
    }

    /// Notes an entry that is not a command (a term's first one, a change of the voters).
    ///
    /// # Panics
    /// As [`Documents::apply`].
    pub fn skip(&mut self, position: Position) {
        let applied = self.applied;
        assert!(
            position.seq == applied.seq.next() && position.term >= applied.term,
            "entry {position} does not follow {applied}, the last one applied"
        );
        self.applied = position;
    }

    /// Notes a change of the voters. The first one of a format begins what that format adds to the data.
    ///
    /// # Panics
    /// As [`Documents::apply`].
    pub fn voters(&mut self, position: Position, _format: u32) {
        self.skip(position);
    }

    fn answer(&self, outcome: Outcome) -> Applied {
        Applied { seq: self.applied.seq, outcome, id: Id::NONE, record: None, operations: Vec::new() }
    }

    fn decide(&mut self, command: &Command<'_>, changes: &mut Vec<Change>) -> Applied {
        let Some(key) = command.key else { return self.work(command, changes) };
        self.keys.forget_before(self.applied.seq);
        match self.keys.get(key.name) {
            Some(kept) if kept.request == key.request => return kept.answer.clone(),
            Some(_) => return self.answer(Outcome::KeyReused),
            None => {}
        }
        let answer = self.work(command, changes);
        if !matches!(answer.outcome, Outcome::Invalid(_)) {
            self.keys.keep(key, answer.clone());
        }
        answer
    }

    fn work(&mut self, command: &Command<'_>, changes: &mut Vec<Change>) -> Applied {
        match &command.work {
            Work::One(on, operation) => {
                let (outcome, record) = self.operate(on.collection, operation, changes);
                Applied { id: operation.id.to_owned(), record, ..self.answer(outcome) }
            }
            Work::Batch(on, operations) => {
                let (before, sum, known) = (self.collections.clone(), self.sum, changes.len());
                let mut operated = Vec::with_capacity(operations.len());
                let mut is_done = true;
                for operation in operations {
                    let (outcome, record) = self.operate(on.collection, operation, changes);
                    is_done = outcome.is_done();
                    let (id, tag) = (operation.id.to_owned(), record.map(|record| record.tag()));
                    operated.push(Operated { outcome, id, tag });
                    if !is_done {
                        (self.collections, self.sum) = (before, sum);
                        changes.truncate(known);
                        break;
                    }
                }
                let outcome = if is_done { Outcome::BatchDone } else { Outcome::BatchNotDone };
                Applied { operations: operated, ..self.answer(outcome) }
            }
            other => panic!("format 1 has no {other:?}"),
        }
    }

    /// One operation, and the record after it.
    fn operate(
        &mut self,
        collection: &str,
        operation: &Operation<'_>,
        changes: &mut Vec<Change>,
    ) -> (Outcome, Option<Record>) {
        let Operation { id, action, condition, seen: _ } = *operation;
        let found = self.collection(collection).and_then(|collection| collection.get(id));
        let holds = match condition {
            Condition::None => true,
            Condition::Exists => found.is_some(),
            Condition::Absent => found.is_none(),
            Condition::Tag(tag) => found.is_some_and(|record| record.tag() == tag),
        };
        if !holds {
            return (Outcome::PreconditionFailed, found.cloned());
        }
        let wanted = match (action, found) {
            (Action::Create { record } | Action::Put { record }, Some(found)) if found.as_str() == record => {
                return (Outcome::Same, Some(found.clone()));
            }
            (Action::Create { .. }, Some(found)) => return (Outcome::Conflict, Some(found.clone())),
            (Action::Create { record } | Action::Put { record }, _) => Record::from(record),
            (Action::Patch { .. } | Action::Delete, None) => return (Outcome::Missing, None),
            (Action::Patch { patch }, Some(found)) => match merge::merge(found.as_str(), patch) {
                Ok(merged) if merged == found.as_str() => return (Outcome::Same, Some(found.clone())),
                Ok(merged) if record_id(&merged).map(IdRef::Uuid) == Some(id) => Record::from(merged),
                Ok(_) | Err(_) => {
                    return (Outcome::Invalid(PATCH_TAKES_ID), Some(found.clone()));
                }
            },
            (Action::Delete, Some(record)) => {
                let given_up = record.as_str().len() as u64 + RECORD_MEMORY_BYTES;
                self.given_up += given_up;
                if let Some(records) = self.collections.get_mut(collection)
                    && let Some((number, by)) = records.remove(Name::of(collection), id)
                {
                    self.sum = self.sum.wrapping_add(by);
                    changes.push(Change::record(collection, id, number, ChangeKind::Deleted, None));
                }
                return (Outcome::Deleted, None);
            }
            (Action::Check, found) => return (Outcome::Checked, found.cloned()),
        };
        let (outcome, kind) = match found {
            Some(_) => (Outcome::Replaced, ChangeKind::Replaced),
            None => (Outcome::Created, ChangeKind::Created),
        };
        let given_up = found.map_or(0, |record| record.as_str().len() as u64 + RECORD_MEMORY_BYTES);
        self.given_up += given_up;
        let records = self.collections.entry(collection.to_owned()).or_default();
        let (number, by) = records.put(Name::of(collection), id, wanted.clone());
        self.sum = self.sum.wrapping_add(by);
        changes.push(Change::record(collection, id, number, kind, Some(wanted.clone())));
        (outcome, Some(wanted))
    }
}

#[cfg(any(test, feature = "testing"))]
#[doc(hidden)]
#[allow(clippy::missing_panics_doc)]
impl Documents {
    /// Changes a record in memory alone, as a faulty machine does: nothing else notices.
    pub fn damage(&mut self, collection: &str, id: uuid::Uuid, from: &str, to: &str) {
        let records = self.collections.get_mut(collection).expect("the collection exists");
        let number = *records.by_id.get(&Id::Uuid(id)).expect("the record exists");
        let record = records.by_number.get_mut(&number).expect("each id has its record");
        let damaged = record.as_str().replacen(from, to, 1);
        assert_ne!(damaged, record.as_str(), "{from:?} is not in it");
        *record = Record::from(damaged);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
