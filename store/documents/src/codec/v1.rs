//! Version 1: what builds before the collections wrote, and what is written as long as format 1 is in force.
//!
//! ```text
//!   command   = 1u8 | kind u8 | condition | name length u8 | collection (UTF-8) | rest       little-endian
//!   kind      = 1 create | 2 put | 3 delete | 4 patch | 5 batch
//!   condition = 0u8 none | 1u8 exists | 2u8 absent | 3u8, tag u128: the record's tag is `tag`
//!             | 4u8, key length u8, key (UTF-8), request u128, condition (0 to 3): with an idempotency key
//!   rest      = id 16 | record                      kinds 1 to 4
//!             | count u16 | operations              kind 5, whose own condition is 0, or 4 with 0
//!   operation = kind u8 (1 to 4) | condition (0 to 3) | id 16 | length u32 | record
//!   record    = a JSON object in UTF-8 whose `id` is `id`; none in a delete; in a patch a JSON Merge Patch
//! ```

use super::bytes::{
    put_condition, put_short, take, take_condition, take_count, take_short, take_text, take_u8, take_u128,
};
use crate::command::{
    Action, BATCH_OPERATIONS_MAX, Command, CommandError, Condition, Key, On, Operation, UnknownCommand, Work,
};
use crate::id::IdRef;
use crate::merge;
use crate::record::record_id;
use ::bytes::{BufMut, BytesMut};
use uuid::Uuid;

pub(super) const KIND_CREATE: u8 = 1;
pub(super) const KIND_PUT: u8 = 2;
pub(super) const KIND_DELETE: u8 = 3;
pub(super) const KIND_PATCH: u8 = 4;
pub(super) const KIND_BATCH: u8 = 5;
const CONDITION_KEY: u8 = 4;

const NAME: &str = "the name of the collection is empty or not valid UTF-8";

/// Everything behind the version.
///
/// # Panics
/// When format 1 has no such command.
pub(super) fn encode(command: &Command<'_>, to: &mut BytesMut) {
    let (on, operations) = match &command.work {
        Work::One(on, operation) => (on, std::slice::from_ref(operation)),
        Work::Batch(on, operations) => (on, &**operations),
        other => panic!("format 1 has no {other:?}"),
    };
    let one = matches!(command.work, Work::One(..)).then(|| operations[0]);
    to.put_u8(one.map_or(KIND_BATCH, |operation| kind_of(&operation.action)));
    if let Some(key) = command.key {
        to.put_u8(CONDITION_KEY);
        put_short(to, key.name);
        to.put_u128_le(key.request);
    }
    put_condition(to, one.map_or(Condition::None, |operation| operation.condition));
    put_short(to, on.collection);
    match one {
        Some(operation) => {
            put_uuid(to, operation.id);
            to.put_slice(operation.action.text().as_bytes());
        }
        None => {
            assert!(operations.len() <= BATCH_OPERATIONS_MAX, "a batch of {} was let in", operations.len());
            to.put_u16_le(operations.len() as u16);
            for operation in operations {
                let record = operation.action.text();
                to.put_u8(kind_of(&operation.action));
                put_condition(to, operation.condition);
                put_uuid(to, operation.id);
                to.put_u32_le(u32::try_from(record.len()).expect("a record fits into an entry"));
                to.put_slice(record.as_bytes());
            }
        }
    }
}

/// Are all of its kinds and conditions known? Behind the version.
pub(super) fn walk(from: &mut &[u8]) -> Result<(), CommandError> {
    let kind = take_kind(from)?;
    let (condition, _) = take_condition_and_key(from)?;
    take_short(from, NAME)?;
    // As `decode_batch` does it, without the records.
    if kind == KIND_BATCH && condition == Condition::None { walk_batch(from) } else { Ok(()) }
}

/// Behind the version.
pub(super) fn decode<'a>(from: &mut &'a [u8]) -> Result<Command<'a>, CommandError> {
    let kind = take_kind(from)?;
    let (condition, key) = take_condition_and_key(from)?;
    let collection = take_short(from, NAME)?;
    let work = if kind == KIND_BATCH {
        if condition != Condition::None {
            return Err(CommandError::Content("a batch with a condition of its own"));
        }
        Work::Batch(On::name(collection), decode_batch(from)?)
    } else {
        let id = take_uuid(from)?;
        let record = take(from, from.len())?;
        let action = decode_action(kind, id, record)?;
        Work::One(On::name(collection), Operation::new(id, action, condition))
    };
    Ok(Command { time_ms: 0, key, work })
}

fn take_kind(from: &mut &[u8]) -> Result<u8, CommandError> {
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
    Ok((take_condition(condition, from)?, key))
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
        take_condition(condition, from)?;
        take_uuid(from)?;
        take_text(from)?;
    }
    Ok(())
}

fn decode_batch<'a>(from: &mut &'a [u8]) -> Result<Vec<Operation<'a>>, CommandError> {
    // What is not known comes before what is wrong: whatever stands in a batch, every build of a format says the same of it.
    walk_batch(&mut &**from).or_else(|error| match error {
        CommandError::Unknown(_) => Err(error),
        CommandError::Short | CommandError::Content(_) | CommandError::TooLarge => Ok(()),
    })?;
    let count = take_count(from)?;
    let mut operations = Vec::with_capacity(count);
    for _ in 0..count {
        let kind = take_operation_kind(from)?;
        let condition = take_u8(from)?;
        let condition = take_condition(condition, from)?;
        let id = take_uuid(from)?;
        let record = take_text(from)?;
        operations.push(Operation::new(id, decode_action(kind, id, record)?, condition));
    }
    if from.is_empty() { Ok(operations) } else { Err(CommandError::Content("bytes after the last operation")) }
}

fn kind_of(action: &Action<'_>) -> u8 {
    match action {
        Action::Create { .. } => KIND_CREATE,
        Action::Put { .. } => KIND_PUT,
        Action::Delete => KIND_DELETE,
        Action::Patch { .. } => KIND_PATCH,
        Action::Check => panic!("format 1 has no checks"),
    }
}

fn decode_action(kind: u8, id: Uuid, record: &[u8]) -> Result<Action<'_>, CommandError> {
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

fn take_uuid(bytes: &mut &[u8]) -> Result<Uuid, CommandError> {
    Ok(Uuid::from_bytes(take(bytes, 16)?.try_into().expect("sixteen bytes were taken")))
}
