//! The format of a write in the replicated log.
//!
//! ```text
//!   command   = version u8 (the format in force, 1) | kind u8 | condition | name length u8 | collection (UTF-8) | rest       little-endian
//!   kind      = 1 create | 2 put | 3 delete | 4 patch | 5 batch
//!   condition = 0u8 none | 1u8 exists | 2u8 absent | 3u8, tag u128: the record's tag is `tag`
//!             | 4u8, key length u8, key (UTF-8), request u128, condition (0 to 3): with an idempotency key
//!   rest      = id 16 | record                      kinds 1 to 4
//!             | count u16 | operations              kind 5, whose own condition is 0, or 4 with 0
//!   operation = kind u8 (1 to 4) | condition (0 to 3) | id 16 | length u32 | record
//!   record    = a JSON object in UTF-8 whose `id` is `id`; none in a delete; in a patch a JSON Merge Patch
//! ```
//!
//! Decoding is strict, so that every replica reads the same command or refuses the same bytes. A new kind or condition
//! needs a higher format number in the voters entry before a leader may write it. So a version, kind or condition that is
//! not known ends the process \[C1\]; anything else that is wrong with a command is an outcome, the same on every replica.

use crate::format::{FORMAT, FORMAT_MIN, MADE_UP, MADE_UP_KEY};
use crate::id::IdRef;
use crate::merge;
use bytes::{BufMut, Bytes, BytesMut};
use leasehold_replication::Seq;
use serde::Deserialize;
use uuid::Uuid;

/// The longest key.
pub const KEY_BYTES_MAX: usize = 255;

/// The version is the format in force where the command was written.
const VERSION_MIN: u8 = FORMAT_MIN as u8;
const VERSION_MAX: u8 = FORMAT as u8;
const KIND_CREATE: u8 = 1;
const KIND_PUT: u8 = 2;
const KIND_DELETE: u8 = 3;
const KIND_PATCH: u8 = 4;
const KIND_BATCH: u8 = 5;
const CONDITION_NONE: u8 = 0;
const CONDITION_EXISTS: u8 = 1;
const CONDITION_ABSENT: u8 = 2;
const CONDITION_TAG: u8 = 3;
const CONDITION_KEY: u8 = 4;

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
    Refuse(On<'a>, &'a str),
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
        /// Of its bytes.
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

    /// The lowest format whose builds know all of it: before that is in force no leader may write it.
    pub fn needs(&self) -> u32 {
        let is_there = cfg!(any(feature = "made-up-format", feature = "testing", test));
        let is_made_up = |key: &Key<'_>| is_there && key.name.starts_with(MADE_UP_KEY);
        if self.key.as_ref().is_some_and(is_made_up) { MADE_UP } else { FORMAT_MIN }
    }

    /// The bytes that go into the log where this format is in force.
    ///
    /// # Panics
    /// When the name of the collection or a key is longer than 255 bytes, a batch has too many operations, or the format has
    /// no such command: the API lets none of that in.
    pub fn encode(&self, format: u32) -> Bytes {
        let mut to = BytesMut::with_capacity(64 + self.room());
        // None is in force that this build does not read.
        to.put_u8(u8::try_from(format).unwrap_or(VERSION_MAX).clamp(VERSION_MIN, VERSION_MAX));
        let (on, operations) = match &self.work {
            Work::One(on, operation) => (on, std::slice::from_ref(operation)),
            Work::Batch(on, operations) => (on, &**operations),
            other => panic!("format 1 has no {other:?}"),
        };
        let one = matches!(self.work, Work::One(..)).then(|| operations[0]);
        to.put_u8(one.map_or(KIND_BATCH, |operation| operation.action.kind()));
        if let Some(key) = self.key {
            to.put_u8(CONDITION_KEY);
            put_short(&mut to, key.name);
            to.put_u128_le(key.request);
        }
        one.map_or(Condition::None, |operation| operation.condition).encode(&mut to);
        put_short(&mut to, on.collection);
        match one {
            Some(operation) => {
                put_uuid(&mut to, operation.id);
                to.put_slice(operation.action.record().as_bytes());
            }
            None => {
                assert!(operations.len() <= BATCH_OPERATIONS_MAX, "a batch of {} was let in", operations.len());
                to.put_u16_le(operations.len() as u16);
                for operation in operations {
                    let record = operation.action.record();
                    to.put_u8(operation.action.kind());
                    operation.condition.encode(&mut to);
                    put_uuid(&mut to, operation.id);
                    to.put_u32_le(u32::try_from(record.len()).expect("a record fits into an entry"));
                    to.put_slice(record.as_bytes());
                }
            }
        }
        to.freeze()
    }

    /// About how long its operations are.
    fn room(&self) -> usize {
        match &self.work {
            Work::One(_, operation) => operation.action.record().len(),
            Work::Batch(_, operations) => operations.iter().map(|one| 40 + one.action.record().len()).sum(),
            Work::Transaction(_, operations) => operations.iter().map(|(_, one)| 60 + one.action.record().len()).sum(),
            Work::Refuse(_, problem) => problem.len(),
            Work::Define(define) => define.definition.len(),
            Work::Drop { .. }
            | Work::GiveUp { .. }
            | Work::Advance { .. }
            | Work::DoesNotFit { .. }
            | Work::Expire { .. }
            | Work::PauseExpiry { .. }
            | Work::NoteFile { .. } => 0,
        }
    }

    /// Does this build know all that the command consists of? Without a look at its content.
    ///
    /// # Errors
    /// [`UnknownCommand`]: exactly where [`Command::decode`] gives that.
    pub fn check_known(mut bytes: &[u8]) -> Result<(), UnknownCommand> {
        let known = |found| match found {
            Err(CommandError::Unknown(unknown)) => Err(unknown),
            // Content is for whoever applies it.
            Err(CommandError::Short | CommandError::Content(_)) | Ok(()) => Ok(()),
        };
        let from = &mut bytes;
        let walk = |from: &mut &[u8]| {
            let kind = take_version_and_kind(from)?;
            let (condition, _) = take_condition_and_key(from)?;
            take_short(from, "the name of the collection is empty or not valid UTF-8")?;
            if kind == KIND_BATCH {
                // As `decode_batch` does it, without the records.
                return if condition == Condition::None { walk_batch(from) } else { Ok(()) };
            }
            Ok(())
        };
        known(walk(from))
    }

    /// Reads what [`Command::encode`] wrote.
    ///
    /// # Errors
    /// [`CommandError`] for anything else. The answer depends on the bytes alone, so it is the same on every replica.
    pub fn decode(mut bytes: &'a [u8]) -> Result<Command<'a>, CommandError> {
        let from = &mut bytes;
        let kind = take_version_and_kind(from)?;
        let (condition, key) = take_condition_and_key(from)?;
        let collection = take_short(from, "the name of the collection is empty or not valid UTF-8")?;
        let work = if kind == KIND_BATCH {
            if condition != Condition::None {
                return Err(CommandError::Content("a batch with a condition of its own"));
            }
            Work::Batch(On::name(collection), decode_batch(from)?)
        } else {
            let id = take_id(from)?;
            let record = take(from, from.len())?;
            let action = Action::decode(kind, id, record)?;
            Work::One(On::name(collection), Operation::new(id, action, condition))
        };
        Ok(Command { time_ms: 0, key, work })
    }
}

fn take_version_and_kind(from: &mut &[u8]) -> Result<u8, CommandError> {
    let version = take_u8(from)?;
    if !(VERSION_MIN..=VERSION_MAX).contains(&version) {
        return Err(UnknownCommand::Version(version).into());
    }
    match take_u8(from)? {
        kind @ (KIND_CREATE | KIND_PUT | KIND_DELETE | KIND_PATCH | KIND_BATCH) => Ok(kind),
        kind => Err(UnknownCommand::Kind(kind).into()),
    }
}

fn take_condition_and_key<'a>(from: &mut &'a [u8]) -> Result<(Condition, Option<Key<'a>>), CommandError> {
    let (mut condition, mut key) = (take_u8(from)?, None);
    if condition == CONDITION_KEY {
        let name = take_short(from, "the key is empty or not valid UTF-8")?;
        key = Some(Key { name, request: take_u128(from)? });
        condition = take_u8(from)?;
    }
    Ok((Condition::decode(condition, from)?, key))
}

fn take_operation_kind(from: &mut &[u8]) -> Result<u8, CommandError> {
    match take_u8(from)? {
        kind @ (KIND_CREATE | KIND_PUT | KIND_DELETE | KIND_PATCH) => Ok(kind),
        kind => Err(UnknownCommand::Kind(kind).into()),
    }
}

/// All kinds and conditions of a batch; what its records are does not matter here.
fn walk_batch(from: &mut &[u8]) -> Result<(), CommandError> {
    let count = take_count(from)?;
    for _ in 0..count {
        take_operation_kind(from)?;
        let condition = take_u8(from)?;
        Condition::decode(condition, from)?;
        take_id(from)?;
        take_record(from)?;
    }
    Ok(())
}

fn take_count(from: &mut &[u8]) -> Result<usize, CommandError> {
    let count = usize::from(u16::from_le_bytes(take(from, 2)?.try_into().expect("two bytes were taken")));
    if count > BATCH_OPERATIONS_MAX {
        return Err(CommandError::Content("a batch of too many operations"));
    }
    Ok(count)
}

fn take_record<'a>(from: &mut &'a [u8]) -> Result<&'a [u8], CommandError> {
    let length = u32::from_le_bytes(take(from, 4)?.try_into().expect("four bytes were taken"));
    take(from, usize::try_from(length).map_err(|_| CommandError::Short)?)
}

fn decode_batch<'a>(from: &mut &'a [u8]) -> Result<Vec<Operation<'a>>, CommandError> {
    // What is not known comes before what is wrong: whatever stands in a batch, every build of a format says the same of it.
    walk_batch(&mut &**from).or_else(|error| match error {
        CommandError::Unknown(_) => Err(error),
        CommandError::Short | CommandError::Content(_) => Ok(()),
    })?;
    let count = take_count(from)?;
    let mut operations = Vec::with_capacity(count);
    for _ in 0..count {
        let kind = take_operation_kind(from)?;
        let condition = take_u8(from)?;
        let condition = Condition::decode(condition, from)?;
        let id = take_id(from)?;
        let record = take_record(from)?;
        operations.push(Operation::new(id, Action::decode(kind, id, record)?, condition));
    }
    if from.is_empty() { Ok(operations) } else { Err(CommandError::Content("bytes after the last operation")) }
}

impl<'a> Action<'a> {
    fn kind(&self) -> u8 {
        match self {
            Action::Create { .. } => KIND_CREATE,
            Action::Put { .. } => KIND_PUT,
            Action::Delete => KIND_DELETE,
            Action::Patch { .. } => KIND_PATCH,
            Action::Check => panic!("format 1 has no checks"),
        }
    }

    fn record(&self) -> &'a str {
        match self {
            Action::Create { record } | Action::Put { record } => record,
            Action::Patch { patch } => patch,
            Action::Delete | Action::Check => "",
        }
    }

    fn decode(kind: u8, id: Uuid, record: &'a [u8]) -> Result<Action<'a>, CommandError> {
        match kind {
            KIND_CREATE => Ok(Action::Create { record: record_of(record, id)? }),
            KIND_PUT => Ok(Action::Put { record: record_of(record, id)? }),
            KIND_DELETE if record.is_empty() => Ok(Action::Delete),
            KIND_DELETE => Err(CommandError::Content("a delete that carries a record")),
            KIND_PATCH => match std::str::from_utf8(record) {
                Ok(patch) if merge::is_object(patch) => Ok(Action::Patch { patch }),
                _ => Err(CommandError::Content("the patch is not a JSON object")),
            },
            other => Err(UnknownCommand::Kind(other).into()),
        }
    }
}

impl Condition {
    fn encode(self, to: &mut BytesMut) {
        match self {
            Condition::None => to.put_u8(CONDITION_NONE),
            Condition::Exists => to.put_u8(CONDITION_EXISTS),
            Condition::Absent => to.put_u8(CONDITION_ABSENT),
            Condition::Tag(tag) => {
                to.put_u8(CONDITION_TAG);
                to.put_u128_le(tag);
            }
        }
    }

    fn decode(condition: u8, from: &mut &[u8]) -> Result<Condition, CommandError> {
        match condition {
            CONDITION_NONE => Ok(Condition::None),
            CONDITION_EXISTS => Ok(Condition::Exists),
            CONDITION_ABSENT => Ok(Condition::Absent),
            CONDITION_TAG => Ok(Condition::Tag(take_u128(from)?)),
            other => Err(UnknownCommand::Condition(other).into()),
        }
    }
}

/// The id in a record's JSON, if it is a JSON object with one `id` that is a UUID, and nothing after it.
pub(crate) fn record_id(record: &str) -> Option<Uuid> {
    #[derive(Deserialize)]
    struct Identified {
        id: Uuid,
    }
    // A derived struct would accept a JSON array, too.
    if !record.trim_ascii_start().starts_with('{') {
        return None;
    }
    serde_json::from_str::<Identified>(record).ok().map(|identified| identified.id)
}

/// Records go into `snapshot.json` as they are, so invalid JSON, or a record under another id, is never stored. Nor is one with
/// white space around it: a snapshot would lose that, and a replica that loads it would differ from the others.
fn record_of(bytes: &[u8], id: Uuid) -> Result<&str, CommandError> {
    let record = std::str::from_utf8(bytes).map_err(|_| CommandError::Content("the record is not valid UTF-8"))?;
    if record.trim_ascii().len() != record.len() {
        return Err(CommandError::Content("the record has white space around it"));
    }
    match record_id(record) {
        Some(found) if found == id => Ok(record),
        Some(_) => Err(CommandError::Content("the id of the record differs from that of the command")),
        None => Err(CommandError::Content("the record is not a JSON object with an id")),
    }
}

fn put_uuid(to: &mut BytesMut, id: IdRef<'_>) {
    match id {
        IdRef::Uuid(uuid) => to.put_slice(uuid.as_bytes()),
        IdRef::Text(text) => panic!("format 1 has no id {text:?}"),
    }
}

fn put_short(to: &mut BytesMut, text: &str) {
    const { assert!(KEY_BYTES_MAX == u8::MAX as usize) };
    to.put_u8(u8::try_from(text.len()).expect("names and keys have at most 255 bytes"));
    to.put_slice(text.as_bytes());
}

fn take_short<'a>(bytes: &mut &'a [u8], wrong: &'static str) -> Result<&'a str, CommandError> {
    let length = usize::from(take_u8(bytes)?);
    match std::str::from_utf8(take(bytes, length)?) {
        Ok(text) if !text.is_empty() => Ok(text),
        _ => Err(CommandError::Content(wrong)),
    }
}

fn take_u8(bytes: &mut &[u8]) -> Result<u8, CommandError> {
    Ok(take(bytes, 1)?[0])
}

fn take_u128(bytes: &mut &[u8]) -> Result<u128, CommandError> {
    Ok(u128::from_le_bytes(take(bytes, 16)?.try_into().expect("sixteen bytes were taken")))
}

fn take_id(bytes: &mut &[u8]) -> Result<Uuid, CommandError> {
    Ok(Uuid::from_bytes(take(bytes, 16)?.try_into().expect("sixteen bytes were taken")))
}

fn take<'a>(bytes: &mut &'a [u8], count: usize) -> Result<&'a [u8], CommandError> {
    let (taken, rest) = bytes.split_at_checked(count).ok_or(CommandError::Short)?;
    *bytes = rest;
    Ok(taken)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
