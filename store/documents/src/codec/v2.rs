//! Version 2: collections of all kinds, their definitions, and the leader's steps.
//!
//! ```text
//!   command   = 2u8 | kind u8 | time u64 | key | rest                      little-endian; nothing follows the rest
//!   key       = 0u8 | length u8, key (UTF-8), request u128
//!   rest      = on | operation                                              1 one operation
//!             | on | count u16 | operations                                 2 batch
//!             | count u16 | each on | count u16 | each index u16, operation 3 transaction; no collection twice
//!             | on | flag | text                                            4 refuse: a problem's JSON; with a key; flag 1: of a transaction
//!             | name | definition condition | clock | text                  5 define: a definition's JSON
//!             | name | definition condition | flag                          6 drop: flag 1: with its records
//!             | name                                                        7 give up
//!             | on | number u64                                             8 advance: up to this creation number
//!             | on | id | tag u128 | text | text                            9 does not fit: pointer, rule
//!             | on | time u64                                               10 expire: what is over then
//!             | flag                                                        11 pause expiry: flag 1: it is paused
//!             | hash u128                                                   12 note file
//!   on        = name | epoch u64                                            0: none
//!   name      = length u8 | UTF-8                                           at least one byte
//!   operation = action u8 | condition | seen | id | text
//!   action    = 1 create | 2 put | 3 delete | 4 patch | 5 check
//!   condition = 0u8 none | 1u8 exists | 2u8 absent | 3u8, tag u128          as in version 1
//!   seen      = 0u8 any | 1u8 absent | 2u8, tag u128
//!   id        = 1u8, UUID 16 | 2u8, length u8, UTF-8
//!   text      = length u32 | UTF-8: the record of a create and a put, the patch of a patch, else none
//!   clock     = 0u8 | 1u8, time u64
//!   definition condition = 0u8 none | 1u8 exists | 2u8 absent | 3u8, revision u64
//! ```
//!
//! Times are milliseconds since 1970. A record is a JSON object whose `id` is the operation's, in its one form, without white
//! space around it. The texts of its operations have at most [`ENTRY_BYTES_MAX`] bytes: longer ones are not looked at.

use super::bytes::{
    put_condition, put_short, take, take_condition, take_count, take_short, take_text, take_u8, take_u16, take_u64,
    take_u128,
};
use crate::command::{
    Action, BATCH_OPERATIONS_MAX, Command, CommandError, Condition, Define, DefinitionCondition, ENTRY_BYTES_MAX, Key,
    On, Operation, Seen, UnknownCommand, Work,
};
use crate::id::{IdKind, IdRef};
use crate::merge;
use crate::record::is_record_of;
use ::bytes::{BufMut, BytesMut};
use leasehold_replication::Seq;
use std::collections::BTreeSet;
use uuid::Uuid;

const ONE: u8 = 1;
const BATCH: u8 = 2;
const TRANSACTION: u8 = 3;
const REFUSE: u8 = 4;
const DEFINE: u8 = 5;
const DROP: u8 = 6;
const GIVE_UP: u8 = 7;
const ADVANCE: u8 = 8;
const DOES_NOT_FIT: u8 = 9;
const EXPIRE: u8 = 10;
const PAUSE_EXPIRY: u8 = 11;
const NOTE_FILE: u8 = 12;

const CREATE: u8 = 1;
const PUT: u8 = 2;
const DELETE: u8 = 3;
const PATCH: u8 = 4;
const CHECK: u8 = 5;

const SEEN_ANY: u8 = 0;
const SEEN_ABSENT: u8 = 1;
const SEEN_TAG: u8 = 2;

const ID_UUID: u8 = 1;
const ID_TEXT: u8 = 2;

const NAME: &str = "the name of the collection is empty or not valid UTF-8";

/// Everything behind the version.
pub(super) fn encode(command: &Command<'_>, to: &mut BytesMut) {
    to.put_u8(kind_of(&command.work));
    to.put_u64_le(command.time_ms);
    match command.key {
        None => to.put_u8(0),
        Some(key) => {
            put_short(to, key.name);
            to.put_u128_le(key.request);
        }
    }
    match &command.work {
        Work::One(on, operation) => {
            put_on(to, on);
            put_operation(to, operation);
        }
        Work::Batch(on, operations) => {
            put_on(to, on);
            put_count(to, operations.len());
            operations.iter().for_each(|operation| put_operation(to, operation));
        }
        Work::Transaction(collections, operations) => {
            put_count(to, collections.len());
            collections.iter().for_each(|on| put_on(to, on));
            put_count(to, operations.len());
            for (index, operation) in operations {
                to.put_u16_le(*index);
                put_operation(to, operation);
            }
        }
        Work::Refuse { on, is_transaction, problem } => {
            put_on(to, on);
            to.put_u8(u8::from(*is_transaction));
            put_text(to, problem);
        }
        Work::Define(Define { collection, definition, condition, unless_expired_ms }) => {
            put_short(to, collection);
            put_definition_condition(to, *condition);
            to.put_u8(u8::from(unless_expired_ms.is_some()));
            if let Some(clock_ms) = unless_expired_ms {
                to.put_u64_le(*clock_ms);
            }
            put_text(to, definition);
        }
        Work::Drop { collection, condition, with_records } => {
            put_short(to, collection);
            put_definition_condition(to, *condition);
            to.put_u8(u8::from(*with_records));
        }
        Work::GiveUp { collection } => put_short(to, collection),
        Work::Advance { on, upto } => {
            put_on(to, on);
            to.put_u64_le(*upto);
        }
        Work::DoesNotFit { on, id, tag, pointer, rule } => {
            put_on(to, on);
            put_id(to, *id);
            to.put_u128_le(*tag);
            put_text(to, pointer);
            put_text(to, rule);
        }
        Work::Expire { on, upto_ms } => {
            put_on(to, on);
            to.put_u64_le(*upto_ms);
        }
        Work::PauseExpiry { paused } => to.put_u8(u8::from(*paused)),
        Work::NoteFile { hash } => to.put_u128_le(*hash),
    }
}

fn kind_of(work: &Work<'_>) -> u8 {
    match work {
        Work::One(..) => ONE,
        Work::Batch(..) => BATCH,
        Work::Transaction(..) => TRANSACTION,
        Work::Refuse { .. } => REFUSE,
        Work::Define(_) => DEFINE,
        Work::Drop { .. } => DROP,
        Work::GiveUp { .. } => GIVE_UP,
        Work::Advance { .. } => ADVANCE,
        Work::DoesNotFit { .. } => DOES_NOT_FIT,
        Work::Expire { .. } => EXPIRE,
        Work::PauseExpiry { .. } => PAUSE_EXPIRY,
        Work::NoteFile { .. } => NOTE_FILE,
    }
}

/// Are all kinds, actions, conditions and what was seen known? Behind the version. What lies behind wrong content is not
/// looked at. Gives how long all texts are.
pub(super) fn walk(from: &mut &[u8]) -> Result<usize, CommandError> {
    let kind = take_u8(from)?;
    if !(ONE..=NOTE_FILE).contains(&kind) {
        return Err(UnknownCommand::Kind(kind).into());
    }
    take_u64(from)?;
    let key = usize::from(take_u8(from)?);
    if key > 0 {
        take(from, key + 16)?;
    }
    let mut texts = 0;
    match kind {
        ONE => {
            walk_on(from)?;
            texts += walk_operation(from)?;
        }
        BATCH => {
            walk_on(from)?;
            for _ in 0..take_count(from)? {
                texts += walk_operation(from)?;
            }
        }
        TRANSACTION => {
            for _ in 0..take_count(from)? {
                walk_on(from)?;
            }
            for _ in 0..take_count(from)? {
                take_u16(from)?;
                texts += walk_operation(from)?;
            }
        }
        DEFINE | DROP => {
            walk_name(from)?;
            take_definition_condition(from)?;
        }
        _ => {}
    }
    Ok(texts)
}

fn walk_name(from: &mut &[u8]) -> Result<(), CommandError> {
    let length = take_u8(from)?;
    take(from, length.into()).map(|_| ())
}

fn walk_on(from: &mut &[u8]) -> Result<(), CommandError> {
    walk_name(from)?;
    take_u64(from).map(|_| ())
}

fn walk_operation(from: &mut &[u8]) -> Result<usize, CommandError> {
    take_action(from)?;
    let condition = take_u8(from)?;
    take_condition(condition, from)?;
    take_seen(from)?;
    match take_u8(from)? {
        ID_UUID => take(from, 16).map(|_| ())?,
        ID_TEXT => walk_name(from)?,
        _ => return Err(CommandError::Content("the id is of no kind")),
    }
    Ok(take_text(from)?.len())
}

/// Behind the version.
pub(super) fn decode<'a>(from: &mut &'a [u8]) -> Result<Command<'a>, CommandError> {
    // What is not known comes before what is wrong: every build of a format says the same of all bytes.
    match walk(&mut &**from) {
        Err(error @ CommandError::Unknown(_)) => return Err(error),
        Ok(texts) if texts > ENTRY_BYTES_MAX => return Err(CommandError::TooLarge),
        Ok(_) | Err(_) => {}
    }
    let kind = take_u8(from)?;
    let time_ms = take_u64(from)?;
    let key = take_key(from)?;
    let work = match kind {
        ONE => Work::One(take_on(from)?, take_operation(from)?),
        BATCH => {
            let on = take_on(from)?;
            let operations = (0..take_count(from)?).map(|_| take_operation(from)).collect::<Result<_, _>>()?;
            Work::Batch(on, operations)
        }
        TRANSACTION => take_transaction(from)?,
        REFUSE => Work::Refuse { on: take_on(from)?, is_transaction: take_flag(from)?, problem: take_str(from)? },
        DEFINE => {
            let collection = take_short(from, NAME)?;
            let condition = take_definition_condition(from)?;
            let unless_expired_ms = take_flag(from)?.then(|| take_u64(from)).transpose()?;
            Work::Define(Define { collection, definition: take_str(from)?, condition, unless_expired_ms })
        }
        DROP => {
            let collection = take_short(from, NAME)?;
            let condition = take_definition_condition(from)?;
            Work::Drop { collection, condition, with_records: take_flag(from)? }
        }
        GIVE_UP => Work::GiveUp { collection: take_short(from, NAME)? },
        ADVANCE => Work::Advance { on: take_on(from)?, upto: take_u64(from)? },
        DOES_NOT_FIT => {
            let (on, id) = (take_on(from)?, take_id(from)?);
            Work::DoesNotFit { on, id, tag: take_u128(from)?, pointer: take_str(from)?, rule: take_str(from)? }
        }
        EXPIRE => Work::Expire { on: take_on(from)?, upto_ms: take_u64(from)? },
        PAUSE_EXPIRY => Work::PauseExpiry { paused: take_flag(from)? },
        NOTE_FILE => Work::NoteFile { hash: take_u128(from)? },
        other => return Err(UnknownCommand::Kind(other).into()),
    };
    if matches!(work, Work::Refuse { .. }) && key.is_none() {
        return Err(CommandError::Content("a refusal without a key"));
    }
    if from.is_empty() {
        Ok(Command { time_ms, key, work })
    } else {
        Err(CommandError::Content("bytes after the command"))
    }
}

fn take_transaction<'a>(from: &mut &'a [u8]) -> Result<Work<'a>, CommandError> {
    let collections = (0..take_count(from)?).map(|_| take_on(from)).collect::<Result<Vec<_>, _>>()?;
    let names: BTreeSet<&str> = collections.iter().map(|on| on.collection).collect();
    if names.len() < collections.len() {
        return Err(CommandError::Content("a transaction that names a collection twice"));
    }
    let mut operations = Vec::new();
    for _ in 0..take_count(from)? {
        let index = take_u16(from)?;
        if usize::from(index) >= collections.len() {
            return Err(CommandError::Content("an operation on a collection that the transaction does not name"));
        }
        operations.push((index, take_operation(from)?));
    }
    Ok(Work::Transaction(collections, operations))
}

fn take_key<'a>(from: &mut &'a [u8]) -> Result<Option<Key<'a>>, CommandError> {
    if from.first() == Some(&0) {
        take_u8(from)?;
        return Ok(None);
    }
    let name = take_short(from, "the key is not valid UTF-8")?;
    Ok(Some(Key { name, request: take_u128(from)? }))
}

fn put_on(to: &mut BytesMut, on: &On<'_>) {
    put_short(to, on.collection);
    to.put_u64_le(on.epoch.map_or(0, |epoch| epoch.0));
}

fn take_on<'a>(from: &mut &'a [u8]) -> Result<On<'a>, CommandError> {
    let collection = take_short(from, NAME)?;
    let epoch = Some(Seq(take_u64(from)?)).filter(|epoch| epoch.0 > 0);
    Ok(On { collection, epoch })
}

fn put_count(to: &mut BytesMut, count: usize) {
    assert!(count <= BATCH_OPERATIONS_MAX, "a batch of {count} was let in");
    to.put_u16_le(count as u16);
}

fn put_operation(to: &mut BytesMut, operation: &Operation<'_>) {
    to.put_u8(match operation.action {
        Action::Create { .. } => CREATE,
        Action::Put { .. } => PUT,
        Action::Delete => DELETE,
        Action::Patch { .. } => PATCH,
        Action::Check => CHECK,
    });
    put_condition(to, operation.condition);
    match operation.seen {
        Seen::Any => to.put_u8(SEEN_ANY),
        Seen::Absent => to.put_u8(SEEN_ABSENT),
        Seen::Tag(tag) => {
            to.put_u8(SEEN_TAG);
            to.put_u128_le(tag);
        }
    }
    put_id(to, operation.id);
    put_text(to, operation.action.text());
}

fn take_operation<'a>(from: &mut &'a [u8]) -> Result<Operation<'a>, CommandError> {
    let action = take_action(from)?;
    let condition = take_u8(from)?;
    let condition = take_condition(condition, from)?;
    let seen = take_seen(from)?;
    let id = take_id(from)?;
    let text = take_str(from)?;
    let action = match action {
        CREATE | PUT if !is_record_of(text, id) => {
            return Err(CommandError::Content(
                "the record is not a JSON object with the id of the operation, without white space around it",
            ));
        }
        CREATE => Action::Create { record: text },
        PUT => Action::Put { record: text },
        PATCH if merge::is_json_object(text) => Action::Patch { patch: text },
        PATCH => return Err(CommandError::Content("the patch is not a JSON object")),
        _ if !text.is_empty() => return Err(CommandError::Content("a delete or a check that carries a record")),
        CHECK if condition == Condition::None => return Err(CommandError::Content("a check without a condition")),
        CHECK => Action::Check,
        _ => Action::Delete,
    };
    Ok(Operation { id, action, condition, seen })
}

fn take_action(from: &mut &[u8]) -> Result<u8, CommandError> {
    match take_u8(from)? {
        action @ (CREATE | PUT | DELETE | PATCH | CHECK) => Ok(action),
        action => Err(UnknownCommand::Kind(action).into()),
    }
}

fn take_seen(from: &mut &[u8]) -> Result<Seen, CommandError> {
    match take_u8(from)? {
        SEEN_ANY => Ok(Seen::Any),
        SEEN_ABSENT => Ok(Seen::Absent),
        SEEN_TAG => Ok(Seen::Tag(take_u128(from)?)),
        other => Err(UnknownCommand::Seen(other).into()),
    }
}

fn put_id(to: &mut BytesMut, id: IdRef<'_>) {
    match id {
        IdRef::Uuid(uuid) => {
            to.put_u8(ID_UUID);
            to.put_slice(uuid.as_bytes());
        }
        IdRef::Text(text) => {
            to.put_u8(ID_TEXT);
            put_short(to, text);
        }
    }
}

fn take_id<'a>(from: &mut &'a [u8]) -> Result<IdRef<'a>, CommandError> {
    const WRONG: &str = "the id is not one";
    match take_u8(from)? {
        ID_UUID => {
            let bytes = take(from, 16)?.try_into().expect("sixteen bytes were taken");
            Ok(IdRef::Uuid(Uuid::from_bytes(bytes)))
        }
        ID_TEXT => IdKind::Text.parse(take_short(from, WRONG)?).ok_or(CommandError::Content(WRONG)),
        _ => Err(CommandError::Content("the id is of no kind")),
    }
}

fn put_text(to: &mut BytesMut, text: &str) {
    to.put_u32_le(u32::try_from(text.len()).expect("a text fits into an entry"));
    to.put_slice(text.as_bytes());
}

fn take_str<'a>(from: &mut &'a [u8]) -> Result<&'a str, CommandError> {
    std::str::from_utf8(take_text(from)?).map_err(|_| CommandError::Content("a text is not valid UTF-8"))
}

fn take_flag(from: &mut &[u8]) -> Result<bool, CommandError> {
    match take_u8(from)? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(CommandError::Content("a flag is neither 0 nor 1")),
    }
}

fn put_definition_condition(to: &mut BytesMut, condition: DefinitionCondition) {
    match condition {
        DefinitionCondition::None => to.put_u8(0),
        DefinitionCondition::Exists => to.put_u8(1),
        DefinitionCondition::Absent => to.put_u8(2),
        DefinitionCondition::Revision(revision) => {
            to.put_u8(3);
            to.put_u64_le(revision.0);
        }
    }
}

fn take_definition_condition(from: &mut &[u8]) -> Result<DefinitionCondition, CommandError> {
    match take_u8(from)? {
        0 => Ok(DefinitionCondition::None),
        1 => Ok(DefinitionCondition::Exists),
        2 => Ok(DefinitionCondition::Absent),
        3 => Ok(DefinitionCondition::Revision(Seq(take_u64(from)?))),
        other => Err(UnknownCommand::Condition(other).into()),
    }
}
