//! The data: collections of JSON records, as they are after the entries of the log up to one position.
//!
//! ```text
//!   log ──apply(position, command)──▶ Documents ──clone, O(1)──▶ readers (a consistent view at `applied`)
//!                                               ──clone, O(1)──▶ snapshot.json (without stopping writes)
//! ```
//!
//! Pure: what a command does depends on the documents and the command alone, so every replica decides the same. Each
//! record has a creation number, counted per collection from 1 and never used twice; it is the order of every list, it
//! stays when the record is replaced, and it survives a snapshot exactly. The maps are persistent (a B+ tree that
//! shares what did not change), so a clone costs nothing and a write costs O(log n), whatever holds old clones.

mod command;
mod stored;

pub use command::{Action, Command, CommandError, Condition};
pub use stored::{StoredCollections, StoredError, StoredOrder};

use imbl::OrdMap;
use leasehold_replication::Position;
use std::sync::Arc;
use uuid::Uuid;

/// All collections at one position of the log. A clone is cheap and never changes.
#[derive(Clone, Debug, Default)]
pub struct Documents {
    /// The last entry that is in here.
    applied: Position,
    collections: OrdMap<String, Collection>,
}

/// The records of one kind.
#[derive(Clone, Debug, Default)]
pub struct Collection {
    /// The highest creation number that was ever given; that record may be gone.
    last_number: u64,
    by_number: OrdMap<u64, Record>,
    /// The creation number of each id. Always the same records as `by_number`.
    by_id: OrdMap<Uuid, u64>,
}

/// One record: the bytes of its JSON, as they were stored. A clone shares them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record(Arc<str>);

/// What became of a command. The same on every replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The record is new.
    Created,
    /// The record was there with the same content; nothing changed.
    Same,
    /// Another record stood under that id and is replaced.
    Replaced,
    /// The record is gone.
    Deleted,
    /// Not done: a record with other content has that id.
    Conflict,
    /// Not done: no record has that id.
    Missing,
    /// Not done: the condition does not hold.
    PreconditionFailed,
    /// Not done: the bytes are no command that this version knows.
    Unreadable(CommandError),
}

impl Documents {
    /// No data, before the first entry.
    pub fn new() -> Documents {
        Documents::default()
    }

    /// The last entry that is in here.
    pub fn applied(&self) -> Position {
        self.applied
    }

    /// The records of that kind; none when there never was one.
    pub fn collection(&self, name: &str) -> Option<&Collection> {
        self.collections.get(name)
    }

    /// Applies the command of the entry at `position`, which follows the last one.
    ///
    /// # Panics
    /// When an entry is left out or comes twice: the log is broken, and going on would make replicas differ.
    pub fn apply(&mut self, position: Position, command: &[u8]) -> Outcome {
        self.skip(position);
        match Command::decode(command) {
            Ok(command) => self.decide(&command),
            Err(error) => Outcome::Unreadable(error),
        }
    }

    /// Takes note of an entry that is no command (a term's first one, a change of the voters).
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

    fn decide(&mut self, command: &Command<'_>) -> Outcome {
        let found = self.collection(command.collection).and_then(|collection| collection.get(command.id));
        let holds = match command.condition {
            Condition::None => true,
            Condition::Exists => found.is_some(),
            Condition::Absent => found.is_none(),
            Condition::Tag(tag) => found.is_some_and(|record| record.tag() == tag),
        };
        if !holds {
            return Outcome::PreconditionFailed;
        }
        let outcome = match (command.action, found) {
            (Action::Create { .. } | Action::Put { .. }, None) => Outcome::Created,
            (Action::Create { record } | Action::Put { record }, Some(found)) if found.as_str() == record => {
                Outcome::Same
            }
            (Action::Create { .. }, Some(_)) => Outcome::Conflict,
            (Action::Put { .. }, Some(_)) => Outcome::Replaced,
            (Action::Delete, Some(_)) => Outcome::Deleted,
            (Action::Delete, None) => Outcome::Missing,
        };
        match (outcome, command.action) {
            (Outcome::Created | Outcome::Replaced, Action::Create { record } | Action::Put { record }) => {
                let collection = self.collections.entry(command.collection.to_owned()).or_default();
                collection.put(command.id, Record(record.into()));
            }
            (Outcome::Deleted, _) => {
                if let Some(collection) = self.collections.get_mut(command.collection) {
                    collection.remove(command.id);
                }
            }
            _ => {}
        }
        outcome
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

    /// The record with that id.
    pub fn get(&self, id: Uuid) -> Option<&Record> {
        self.by_id.get(&id).and_then(|number| self.by_number.get(number))
    }

    /// The records that were created after the one with this creation number (0: all), in order of creation.
    pub fn after(&self, number: u64) -> impl Iterator<Item = (u64, &Record)> {
        use std::ops::Bound::{Excluded, Unbounded};
        self.by_number.range((Excluded(number), Unbounded)).map(|(number, record)| (*number, record))
    }

    fn put(&mut self, id: Uuid, record: Record) {
        let number = match self.by_id.get(&id) {
            Some(number) => *number,
            None => {
                self.last_number += 1;
                self.by_id.insert(id, self.last_number);
                self.last_number
            }
        };
        self.by_number.insert(number, record);
    }

    fn remove(&mut self, id: Uuid) {
        if let Some(number) = self.by_id.remove(&id) {
            self.by_number.remove(&number);
        }
    }
}

impl Record {
    /// Its JSON.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A hash of its bytes, for `ETag` and `If-Match`. Part of the log's format: every replica must find the same.
    pub fn tag(&self) -> u128 {
        tag_of(&self.0)
    }
}

/// FNV-1a with 128 bits. Nobody is defended against by it: whoever could make two records collide may write both.
pub fn tag_of(record: &str) -> u128 {
    const OFFSET: u128 = 0x6c62272e07bb014262b821756295c58d;
    const PRIME: u128 = 0x0000000001000000000000000000013b;
    record.bytes().fold(OFFSET, |hash, byte| (hash ^ u128::from(byte)).wrapping_mul(PRIME))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
