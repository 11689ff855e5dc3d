//! The outcomes of commands, and what they changed.

use leasehold_replication::Seq;

use crate::definition::Definition;
use crate::id::{Id, IdRef};
use crate::record::Record;
use std::borrow::Cow;
use std::sync::Arc;

/// What is wrong with what a patch would make.
pub(crate) const PATCH_TAKES_ID: &str = "the patch does not result in a record with the same id";

/// The outcome of a command, or of one operation of a batch. The same on every replica.
#[derive(Clone, Debug, PartialEq, Eq)]
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
    // ---- since format 2
    /// The condition of a check holds.
    Checked,
    /// Not done: another record has the same values in a unique index.
    UniqueConflict {
        /// The index, by its place in the definition.
        index: u8,
        /// The other record.
        id: Id,
    },
    /// Not done: the collection has as many records as it may have.
    TooManyRecords,
    /// Not done: the record would have more than [`RECORD_BYTES_MAX`](crate::RECORD_BYTES_MAX).
    RecordTooLarge,
    /// Not done: the records that it reads and writes have more than [`ENTRY_BYTES_MAX`](crate::ENTRY_BYTES_MAX) together, or
    /// those that it removes and replaces more than [`GONE_BYTES_MAX`](crate::GONE_BYTES_MAX).
    EntryTooLarge,
    /// Not done: a value of the record that the definition needs is not what it must be, such as its time of expiry.
    BadValue {
        /// Where, as a JSON Pointer into the record.
        pointer: Box<str>,
        /// For people.
        why: Cow<'static, str>,
    },
    /// Not done: there is no such collection. As [`Outcome::DefinitionChanged`]: of a transaction the leader then finds out which
    /// one it is.
    NoCollection,
    /// Not done, and no answer to a client: the collection is defined otherwise by now. The leader checks again, and tries
    /// again. Never kept under a key.
    DefinitionChanged,
    /// Not done, and no answer to a client: a record is not the one that the leader saw. As [`Outcome::DefinitionChanged`].
    Contention,
    /// Not done: what the leader found wrong, a problem's JSON.
    Refused(Arc<str>),
    /// The collection is defined so now.
    Defined {
        /// It is new.
        created: bool,
    },
    /// It was defined so already; nothing changed.
    Unchanged,
    /// The change is pending: its records are being examined.
    Pending,
    /// The collection is gone; or its pending change is.
    Dropped,
    /// A step was done: the pending change got on, a record was found not to fit, records expired, a pause began or ended, a
    /// file was noted.
    Stepped,
    /// Not done: another change of this definition is pending.
    DefinitionPending,
    /// Not done: what kind of ids a collection has never changes.
    Immutable,
    /// Not done: that many records would expire at once.
    WouldExpire(u64),
    /// Not done: the collection has that many records.
    NotEmpty(u64),
    /// Not done: there are as many collections as there may be.
    TooManyCollections,
}

impl Outcome {
    /// The requested state now exists.
    pub fn is_done(&self) -> bool {
        match self {
            Outcome::Created
            | Outcome::Same
            | Outcome::Replaced
            | Outcome::Deleted
            | Outcome::BatchDone
            | Outcome::Checked
            | Outcome::Defined { .. }
            | Outcome::Unchanged
            | Outcome::Pending
            | Outcome::Dropped
            | Outcome::Stepped => true,
            Outcome::Conflict
            | Outcome::Missing
            | Outcome::PreconditionFailed
            | Outcome::Invalid(_)
            | Outcome::BatchNotDone
            | Outcome::KeyReused
            | Outcome::UniqueConflict { .. }
            | Outcome::TooManyRecords
            | Outcome::RecordTooLarge
            | Outcome::EntryTooLarge
            | Outcome::BadValue { .. }
            | Outcome::NoCollection
            | Outcome::DefinitionChanged
            | Outcome::Contention
            | Outcome::Refused(_)
            | Outcome::DefinitionPending
            | Outcome::Immutable
            | Outcome::WouldExpire(_)
            | Outcome::NotEmpty(_)
            | Outcome::TooManyCollections => false,
        }
    }

    /// As the sum of the state contains it. What a snapshot does not tell apart has one number.
    pub(super) fn number(&self) -> u8 {
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
            Outcome::Checked => 11,
            Outcome::UniqueConflict { .. } => 12,
            Outcome::TooManyRecords => 13,
            Outcome::RecordTooLarge => 14,
            Outcome::EntryTooLarge => 15,
            Outcome::BadValue { .. } => 16,
            Outcome::NoCollection => 17,
            Outcome::DefinitionChanged => 18,
            Outcome::Contention => 19,
            Outcome::Refused(_) => 20,
            Outcome::Defined { .. } => 21,
            Outcome::Unchanged => 22,
            Outcome::Pending => 23,
            Outcome::Dropped => 24,
            Outcome::Stepped => 25,
            Outcome::DefinitionPending => 26,
            Outcome::Immutable => 27,
            Outcome::WouldExpire(_) => 28,
            Outcome::NotEmpty(_) => 29,
            Outcome::TooManyCollections => 30,
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
    /// The record; [`Id::NONE`] where it is about no single one.
    pub id: Id,
    /// The record at that time; none where there is none, and for a batch.
    pub record: Option<Record>,
    /// The operations of a batch that were examined: all that were done, or all up to the impossible one.
    pub operations: Vec<Operated>,
}

/// One operation of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operated {
    /// Its outcome; if the batch was not done: what it would have been.
    pub outcome: Outcome,
    /// The record.
    pub id: Id,
    /// Its tag then; none where there is no record.
    pub tag: Option<u128>,
}

/// What an entry changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A record.
    Record(RecordChange),
    /// What a collection is, or that it is gone, with all its records.
    Definition {
        /// The collection.
        collection: Box<str>,
        /// The entry that defined it first.
        created: Seq,
        /// None: the collection is gone.
        definition: Option<Arc<Definition>>,
    },
}

/// What became of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordChange {
    /// The collection.
    pub collection: Arc<str>,
    /// The record.
    pub id: Id,
    /// Its creation number.
    pub number: u64,
    /// What became of it.
    pub kind: ChangeKind,
    /// The record as it is now; none if it is gone.
    pub record: Option<Record>,
}

/// What becomes of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// It is new.
    Created,
    /// It has other content.
    Replaced,
    /// A client removed it.
    Deleted,
    /// Its time was over.
    Expired,
}

impl Change {
    pub(crate) fn record(
        collection: Arc<str>,
        id: IdRef<'_>,
        number: u64,
        kind: ChangeKind,
        record: Option<Record>,
    ) -> Change {
        Change::Record(RecordChange { collection, id: id.to_owned(), number, kind, record })
    }

    /// The collection that it is about.
    pub fn collection(&self) -> &str {
        match self {
            Change::Record(change) => &change.collection,
            Change::Definition { collection, .. } => collection,
        }
    }
}
