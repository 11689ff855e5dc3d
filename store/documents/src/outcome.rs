//! The outcomes of commands, and what they changed.

use leasehold_replication::Seq;
use uuid::Uuid;

use super::record::Record;

/// The outcome of a command, or of one operation of a batch. The same on every replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The record is new.
    Created,
    /// The record existed with the same content; nothing changed.
    Same,
    /// Another record existed under that id and is replaced or changed.
    Replaced,
    /// The record is gone.
    Deleted,
    /// Not done: a record with other content has that id.
    Conflict,
    /// Not done: no record has that id.
    Missing,
    /// Not done: the condition does not hold.
    PreconditionFailed,
    /// Not done: the bytes are not a command, or would not make a record. The same in every build of the format \[C1\].
    Invalid(&'static str),
    /// All operations of the batch are done.
    BatchDone,
    /// Nothing of the batch is done, because of the last operation that was examined.
    BatchNotDone,
    /// Not done: another command arrived under the same key.
    KeyReused,
}

impl Outcome {
    /// The requested state now exists.
    pub fn is_done(self) -> bool {
        match self {
            Outcome::Created | Outcome::Same | Outcome::Replaced | Outcome::Deleted | Outcome::BatchDone => true,
            Outcome::Conflict
            | Outcome::Missing
            | Outcome::PreconditionFailed
            | Outcome::Invalid(_)
            | Outcome::BatchNotDone
            | Outcome::KeyReused => false,
        }
    }

    /// As the sum of the state contains it. What a snapshot does not tell apart has one number.
    pub(super) fn number(self) -> u8 {
        match self {
            Outcome::Created => 1,
            Outcome::Same => 2,
            Outcome::Replaced => 3,
            Outcome::Deleted => 4,
            Outcome::Conflict => 5,
            Outcome::Missing => 6,
            Outcome::PreconditionFailed => 7,
            Outcome::BatchDone => 8,
            Outcome::BatchNotDone => 9,
            Outcome::Invalid(_) | Outcome::KeyReused => 10,
        }
    }
}

/// All that the client of a command receives. For a repeated key it is the first answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// The entry that did it (or decided not to).
    pub seq: Seq,
    /// Its outcome.
    pub outcome: Outcome,
    /// The record; nil for a batch.
    pub id: Uuid,
    /// The record at that time; none where there is none, and for a batch.
    pub record: Option<Record>,
    /// The operations of a batch that were examined: all that were done, or all up to the impossible one.
    pub operations: Vec<Operated>,
}

/// One operation of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operated {
    /// Its outcome; if the batch was not done: what it would have been.
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
