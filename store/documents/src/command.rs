//! A write as the log contains it, as a value. Its bytes are in `codec`.

use crate::id::IdRef;
use crate::record::Record;
use leasehold_replication::Seq;

/// What one entry may read and write of records, in bytes (since format 2).
pub const ENTRY_BYTES_MAX: usize = 4 * 1024 * 1024;
/// What the records that one entry removes or replaces may have, in bytes (since format 2): their hashes leave the sum.
pub const GONE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// A patch and the record that it is for, in bytes together: the most that is merged where it is applied (since format 2).
/// Merging is the dearest work that an entry can make; beyond this the leader makes a put of the patch.
pub const MERGED_BYTES_MAX: usize = 64 * 1024;
/// The longest key.
pub const KEY_BYTES_MAX: usize = 255;

/// The most operations in a batch.
pub const BATCH_OPERATIONS_MAX: usize = 1_000;

/// A write as the log contains it. Its effect is decided when it is applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command<'a> {
    /// When the leader made it, by its clock, in milliseconds since 1970: for people. 0 in format 1.
    pub time_ms: u64,
    /// Under this key it is done once, and gets the same answer every time.
    pub key: Option<Key<'a>>,
    /// What to do.
    pub work: Work<'a>,
}

/// A client's name for one of its writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key<'a> {
    /// As sent: 1 to 255 bytes.
    pub name: &'a str,
    /// A hash of the request: another request under the same key is the client's mistake.
    pub request: u128,
}

/// What a command does. From [`Work::Transaction`] on: since format 2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Work<'a> {
    /// One operation.
    One(On<'a>, Operation<'a>),
    /// At most [`BATCH_OPERATIONS_MAX`] on one collection, done in this order, all or none.
    Batch(On<'a>, Vec<Operation<'a>>),
    /// As a batch, over several collections: each operation with the place of its own among them. Each collection once.
    Transaction(Vec<On<'a>>, Vec<(u16, Operation<'a>)>),
    /// (only with a key) Nothing: the leader found the request wrong by what its data said, such as the schema. A key that is
    /// known gives its own answer; otherwise this one is kept, a problem's JSON.
    Refuse {
        /// The collection whose data said so.
        on: On<'a>,
        /// The request was a transaction, whose keys have a space of their own.
        is_transaction: bool,
        /// The problem.
        problem: &'a str,
    },
    /// Defines a collection, or changes its definition.
    Define(Define<'a>),
    /// The collection goes, with its records.
    Drop {
        /// Its name.
        collection: &'a str,
        /// Only if this holds.
        condition: DefinitionCondition,
        /// Also if it has records.
        with_records: bool,
    },
    /// The pending change of a definition is given up.
    GiveUp {
        /// The collection.
        collection: &'a str,
    },
    /// The pending change gets on: the leader has found that all records up to this number fit its schema.
    Advance {
        /// The collection, at the epoch of the pending change.
        on: On<'a>,
        /// The highest creation number that was examined. At most [`STEP_RECORDS_MAX`] records, or [`STEP_BYTES_MAX`], are
        /// entered into new indexes: the cursor may stay below it.
        upto: u64,
    },
    /// The leader has found a record that does not fit the schema of the pending change: that ends.
    DoesNotFit {
        /// The collection, at the epoch of the pending change.
        on: On<'a>,
        /// The record.
        id: IdRef<'a>,
        /// Its tag: if it is another one by now, it may fit.
        tag: u128,
        /// Where in it, as a JSON Pointer.
        pointer: &'a str,
        /// The rule of the schema, such as `minLength`.
        rule: &'a str,
    },
    /// Records whose time is over go, the oldest time first: at most [`STEP_RECORDS_MAX`], or [`STEP_BYTES_MAX`].
    Expire {
        /// The collection.
        on: On<'a>,
        /// Those whose time is at most this, in milliseconds since 1970.
        upto_ms: u64,
    },
    /// Nothing expires while it is paused.
    PauseExpiry {
        /// Whether it is.
        paused: bool,
    },
    /// The definitions of the file with this hash were applied.
    NoteFile {
        /// [`CollectionsFile::hash`](crate::CollectionsFile::hash).
        hash: u128,
    },
}

/// How many records one step may enter, or remove.
pub const STEP_RECORDS_MAX: usize = 1_000;
/// The bytes of the records that one step may look at, at least one.
pub const STEP_BYTES_MAX: usize = 1024 * 1024;

/// A collection, as the leader knew it when it checked the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct On<'a> {
    /// Its name. At most 255 bytes.
    pub collection: &'a str,
    /// [`Collection::epoch`](crate::Collection::epoch): if it has another one by now, nothing is done. None in format 1, whose
    /// commands mean the built-in `persons`.
    pub epoch: Option<Seq>,
}

/// See [`Work::Define`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Define<'a> {
    /// The name.
    pub collection: &'a str,
    /// [`Definition::to_json`](crate::Definition::to_json).
    pub definition: &'a str,
    /// Only if this holds.
    pub condition: DefinitionCondition,
    /// Also if records would expire at once, by this clock (milliseconds since 1970). None: they may.
    pub unless_expired_ms: Option<u64>,
}

/// What must hold for a definition to change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DefinitionCondition {
    /// Nothing.
    None,
    /// There is such a collection (`If-Match: *`).
    Exists,
    /// There is no such collection (`If-None-Match: *`).
    Absent,
    /// Its revision is this one (`If-Match: "<revision>"`).
    Revision(Seq),
}

/// What to do with one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operation<'a> {
    /// The record.
    pub id: IdRef<'a>,
    /// What to do with it.
    pub action: Action<'a>,
    /// Only if this holds when the command is applied: the client's condition.
    pub condition: Condition,
    /// What the leader saw when it made this of the client's request. If the record is another one by then, nothing is done,
    /// and the leader tries again ([`Outcome::Contention`](crate::Outcome::Contention)).
    pub seen: Seen,
}

/// What a leader saw of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// It does not matter. Always in format 1.
    Any,
    /// There was none.
    Absent,
    /// It had this tag.
    Tag(u128),
}

/// What an operation does. A `record` is a JSON object with the operation's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action<'a> {
    /// Add the record; a record with other content under the same id is a conflict.
    Create {
        /// Its JSON.
        record: &'a str,
    },
    /// Add the record, or replace the existing one.
    Put {
        /// Its JSON.
        record: &'a str,
    },
    /// Remove the record.
    Delete,
    /// Change the existing record. The result must have the same id.
    Patch {
        /// A JSON object with the changes (RFC 7396).
        patch: &'a str,
    },
    /// (since format 2) Nothing; its condition must hold.
    Check,
}

/// What must hold for an operation to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Nothing.
    None,
    /// The record exists (`If-Match: *`).
    Exists,
    /// The record does not exist (`If-None-Match: *`).
    Absent,
    /// The record exists with this tag (`If-Match: "<tag>"`).
    Tag(u128),
}

/// Why bytes are not a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// The bytes end too early.
    #[error("the command is truncated")]
    Short,
    /// It is of a format that this build does not know: it must not be skipped.
    #[error(transparent)]
    Unknown(#[from] UnknownCommand),
    /// The collection or the record is not what it must be.
    #[error("{0}")]
    Content(&'static str),
    /// Its records have more than [`ENTRY_BYTES_MAX`] together: they were not looked at.
    #[error("the records of the command are too large together")]
    TooLarge,
}

/// What this build does not know of a command. Every build that knows its format does: the process ends, and nothing is
/// skipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnknownCommand {
    /// Of another format.
    #[error("a command of version {0}, which this build does not know")]
    Version(u8),
    /// The kind of the command, or of one of its operations.
    #[error("a command of kind {0}, which this build does not know")]
    Kind(u8),
    /// The condition.
    #[error("a command with condition {0}, which this build does not know")]
    Condition(u8),
    /// What the leader saw of a record.
    #[error("a command with {0} as what the leader saw, which this build does not know")]
    Seen(u8),
}

impl DefinitionCondition {
    /// Does it hold where the definition has this revision, or there is none?
    pub fn holds(self, revision: Option<Seq>) -> bool {
        match self {
            DefinitionCondition::None => true,
            DefinitionCondition::Exists => revision.is_some(),
            DefinitionCondition::Absent => revision.is_none(),
            DefinitionCondition::Revision(wanted) => revision == Some(wanted),
        }
    }
}

impl Condition {
    /// Does it hold where this record is there, or none?
    pub fn holds(self, found: Option<&Record>) -> bool {
        match self {
            Condition::None => true,
            Condition::Exists => found.is_some(),
            Condition::Absent => found.is_none(),
            Condition::Tag(tag) => found.is_some_and(|record| record.tag() == tag),
        }
    }
}

impl<'a> On<'a> {
    /// In format 1.
    pub fn name(collection: &'a str) -> On<'a> {
        On { collection, epoch: None }
    }

    /// As it is at that epoch.
    pub fn at(collection: &'a str, epoch: Seq) -> On<'a> {
        On { collection, epoch: Some(epoch) }
    }
}

impl<'a> Operation<'a> {
    /// Whatever the record was when the leader looked.
    pub fn new(id: impl Into<IdRef<'a>>, action: Action<'a>, condition: Condition) -> Operation<'a> {
        Operation { id: id.into(), action, condition, seen: Seen::Any }
    }
}

impl<'a> Command<'a> {
    /// Without a key or a time.
    pub fn new(work: Work<'a>) -> Command<'a> {
        Command { time_ms: 0, key: None, work }
    }

    /// One operation without a key, as format 1 has it.
    pub fn one(collection: &'a str, id: impl Into<IdRef<'a>>, action: Action<'a>, condition: Condition) -> Command<'a> {
        Command::new(Work::One(On::name(collection), Operation::new(id, action, condition)))
    }

    /// A batch without a key, as format 1 has it.
    pub fn batch(collection: &'a str, operations: Vec<Operation<'a>>) -> Command<'a> {
        Command::new(Work::Batch(On::name(collection), operations))
    }

    /// The same under that key.
    pub fn with_key(self, key: Option<Key<'a>>) -> Command<'a> {
        Command { key, ..self }
    }

    /// The same, made at that time.
    pub fn at(self, time_ms: u64) -> Command<'a> {
        Command { time_ms, ..self }
    }
}

impl<'a> Action<'a> {
    /// The record or the patch; empty where there is none.
    pub(crate) fn text(&self) -> &'a str {
        match self {
            Action::Create { record } | Action::Put { record } => record,
            Action::Patch { patch } => patch,
            Action::Delete | Action::Check => "",
        }
    }
}
