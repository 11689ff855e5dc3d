//! What commands of all versions are made of. Little-endian.

use crate::command::{BATCH_OPERATIONS_MAX, CommandError, Condition, KEY_BYTES_MAX, UnknownCommand};
use bytes::{BufMut, BytesMut};

const CONDITION_NONE: u8 = 0;
const CONDITION_EXISTS: u8 = 1;
const CONDITION_ABSENT: u8 = 2;
const CONDITION_TAG: u8 = 3;

pub(super) fn put_condition(to: &mut BytesMut, condition: Condition) {
    match condition {
        Condition::None => to.put_u8(CONDITION_NONE),
        Condition::Exists => to.put_u8(CONDITION_EXISTS),
        Condition::Absent => to.put_u8(CONDITION_ABSENT),
        Condition::Tag(tag) => {
            to.put_u8(CONDITION_TAG);
            to.put_u128_le(tag);
        }
    }
}

pub(super) fn take_condition(condition: u8, from: &mut &[u8]) -> Result<Condition, CommandError> {
    match condition {
        CONDITION_NONE => Ok(Condition::None),
        CONDITION_EXISTS => Ok(Condition::Exists),
        CONDITION_ABSENT => Ok(Condition::Absent),
        CONDITION_TAG => Ok(Condition::Tag(take_u128(from)?)),
        other => Err(UnknownCommand::Condition(other).into()),
    }
}

pub(super) fn put_short(to: &mut BytesMut, text: &str) {
    const { assert!(KEY_BYTES_MAX == u8::MAX as usize) };
    to.put_u8(u8::try_from(text.len()).expect("names, keys and ids have at most 255 bytes"));
    to.put_slice(text.as_bytes());
}

/// Not empty.
pub(super) fn take_short<'a>(bytes: &mut &'a [u8], wrong: &'static str) -> Result<&'a str, CommandError> {
    let length = usize::from(take_u8(bytes)?);
    match std::str::from_utf8(take(bytes, length)?) {
        Ok(text) if !text.is_empty() => Ok(text),
        _ => Err(CommandError::Content(wrong)),
    }
}

/// How many operations, or collections.
pub(super) fn take_count(from: &mut &[u8]) -> Result<usize, CommandError> {
    let count = usize::from(u16::from_le_bytes(take(from, 2)?.try_into().expect("two bytes were taken")));
    if count > BATCH_OPERATIONS_MAX {
        return Err(CommandError::Content("a batch of too many operations"));
    }
    Ok(count)
}

/// The bytes of a text of any length.
pub(super) fn take_text<'a>(from: &mut &'a [u8]) -> Result<&'a [u8], CommandError> {
    let length = u32::from_le_bytes(take(from, 4)?.try_into().expect("four bytes were taken"));
    take(from, usize::try_from(length).map_err(|_| CommandError::Short)?)
}

pub(super) fn take_u8(bytes: &mut &[u8]) -> Result<u8, CommandError> {
    Ok(take(bytes, 1)?[0])
}

pub(super) fn take_u16(bytes: &mut &[u8]) -> Result<u16, CommandError> {
    Ok(u16::from_le_bytes(take(bytes, 2)?.try_into().expect("two bytes were taken")))
}

pub(super) fn take_u64(bytes: &mut &[u8]) -> Result<u64, CommandError> {
    Ok(u64::from_le_bytes(take(bytes, 8)?.try_into().expect("eight bytes were taken")))
}

pub(super) fn take_u128(bytes: &mut &[u8]) -> Result<u128, CommandError> {
    Ok(u128::from_le_bytes(take(bytes, 16)?.try_into().expect("sixteen bytes were taken")))
}

pub(super) fn take<'a>(bytes: &mut &'a [u8], count: usize) -> Result<&'a [u8], CommandError> {
    let (taken, rest) = bytes.split_at_checked(count).ok_or(CommandError::Short)?;
    *bytes = rest;
    Ok(taken)
}
