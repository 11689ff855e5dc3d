//! The outcomes of commands, and what they changed.

use leasehold_replication::Seq;
use uuid::Uuid;

use super::command::CommandError;
use super::record::Record;

/// What became of a command, or of one operation of a batch. The same on every replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The record is new.
    Created,
    /// The record was there with the same content; nothing changed.
    Same,
    /// Another record stood under that id and is replaced or changed.
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
    /// All operations of the batch are done.
    BatchDone,
    /// Nothing of the batch is done, because of its last operation that was looked at.
    BatchNotDone,
    /// Not done: another command came under the same key.
    KeyReused,
}

impl Outcome {
    /// What was asked for is the case now.
    pub fn is_done(self) -> bool {
        match self {
            Outcome::Created | Outcome::Same | Outcome::Replaced | Outcome::Deleted | Outcome::BatchDone => true,
            Outcome::Conflict
            | Outcome::Missing
            | Outcome::PreconditionFailed
            | Outcome::Unreadable(_)
            | Outcome::BatchNotDone
            | Outcome::KeyReused => false,
        }
    }
}

/// All that the client of a command receives. For a repeated key it is the first answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The entry that did it (or decided not to).
    pub seq: Seq,
    /// What became of it.
    pub outcome: Outcome,
    /// The record that was meant; nil for a batch.
    pub id: Uuid,
    /// The record as it was then; none where there is none, and for a batch.
    pub record: Option<Record>,
    /// The operations of a batch that were looked at: all that were done, or all up to the one that could not be.
    pub operations: Vec<Operated>,
}

/// One operation of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operated {
    /// What became of it; if the batch was not done: what would have.
    pub outcome: Outcome,
    /// The record.
    pub id: Uuid,
    /// Its tag then; none where there is no record.
    pub tag: Option<u128>,
}

/// What an entry changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The collection.
    pub collection: Box<str>,
    /// The record.
    pub id: Uuid,
    /// `Created`, `Replaced` or `Deleted`.
    pub outcome: Outcome,
    /// The record as it is now; none if it is gone.
    pub record: Option<Record>,
}
