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

use super::merge;
use crate::format::{FORMAT, FORMAT_MIN, MADE_UP, MADE_UP_KEY};
use bytes::{BufMut, Bytes, BytesMut};
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

/// A client's write as the log contains it. Its effect is decided when it is applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command<'a> {
    /// The collection, such as `persons`. At most 255 bytes.
    pub collection: &'a str,
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

/// One operation, or many of which all are done or none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Work<'a> {
    /// One.
    One(Operation<'a>),
    /// At most [`BATCH_OPERATIONS_MAX`], done in this order.
    Batch(Vec<Operation<'a>>),
}

/// What to do with one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operation<'a> {
    /// The record.
    pub id: Uuid,
    /// What to do with it.
    pub action: Action<'a>,
    /// Only if this holds when the command is applied.
    pub condition: Condition,
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

impl<'a> Command<'a> {
    /// One operation without a key.
    pub fn one(collection: &'a str, id: Uuid, action: Action<'a>, condition: Condition) -> Command<'a> {
        Command { collection, key: None, work: Work::One(Operation { id, action, condition }) }
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
    /// When the name of the collection or a key is longer than 255 bytes, or a batch has too many operations: the API
    /// lets none of that in.
    pub fn encode(&self, format: u32) -> Bytes {
        let room = match &self.work {
            Work::One(operation) => operation.action.record().len(),
            Work::Batch(operations) => operations.iter().map(|one| 40 + one.action.record().len()).sum(),
        };
        let mut to = BytesMut::with_capacity(64 + self.collection.len() + room);
        // None is in force that this build does not read.
        to.put_u8(u8::try_from(format).unwrap_or(VERSION_MAX).clamp(VERSION_MIN, VERSION_MAX));
        to.put_u8(match &self.work {
            Work::One(operation) => operation.action.kind(),
            Work::Batch(_) => KIND_BATCH,
        });
        if let Some(key) = self.key {
            to.put_u8(CONDITION_KEY);
            put_short(&mut to, key.name);
            to.put_u128_le(key.request);
        }
        match &self.work {
            Work::One(operation) => operation.condition.encode(&mut to),
            Work::Batch(_) => Condition::None.encode(&mut to),
        }
        put_short(&mut to, self.collection);
        match &self.work {
            Work::One(operation) => {
                to.put_slice(operation.id.as_bytes());
                to.put_slice(operation.action.record().as_bytes());
            }
            Work::Batch(operations) => {
                assert!(operations.len() <= BATCH_OPERATIONS_MAX, "a batch of {} was let in", operations.len());
                to.put_u16_le(operations.len() as u16);
                for operation in operations {
                    let record = operation.action.record();
                    to.put_u8(operation.action.kind());
                    operation.condition.encode(&mut to);
                    to.put_slice(operation.id.as_bytes());
                    to.put_u32_le(u32::try_from(record.len()).expect("a record fits into an entry"));
                    to.put_slice(record.as_bytes());
                }
            }
        }
        to.freeze()
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
            Work::Batch(decode_batch(from)?)
        } else {
            let id = take_id(from)?;
            let record = take(from, from.len())?;
            Work::One(Operation { id, action: Action::decode(kind, id, record)?, condition })
        };
        Ok(Command { collection, key, work })
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
        operations.push(Operation { id, action: Action::decode(kind, id, record)?, condition });
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
        }
    }

    fn record(&self) -> &'a str {
        match self {
            Action::Create { record } | Action::Put { record } => record,
            Action::Patch { patch } => patch,
            Action::Delete => "",
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
