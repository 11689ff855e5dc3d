//! What a write looks like in the replicated log.
//!
//! ```text
//!   command   = version 1u8 | kind u8 | condition u8 [tag u128] | name length u8 | collection (UTF-8) | id 16 | record
//!   kind      = 1 create | 2 put | 3 delete                              little-endian
//!   condition = 0 none | 1 exists | 2 absent | 3 the record's tag is `tag` | 4 idempotency key (reserved)
//!   record    = a JSON object in UTF-8 whose `id` is `id`; the rest of the command. None in a delete
//! ```
//!
//! Decoding is strict, so that every replica reads the same command or refuses the same bytes. A new kind or condition
//! needs a higher format number in the voters entry before a leader may write it.

use bytes::{BufMut, Bytes, BytesMut};
use serde::Deserialize;
use uuid::Uuid;

const VERSION: u8 = 1;
const KIND_CREATE: u8 = 1;
const KIND_PUT: u8 = 2;
const KIND_DELETE: u8 = 3;
const CONDITION_NONE: u8 = 0;
const CONDITION_EXISTS: u8 = 1;
const CONDITION_ABSENT: u8 = 2;
const CONDITION_TAG: u8 = 3;

/// A client's write, as it stands in the log. What it does is decided where it is applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command<'a> {
    /// The collection, such as `persons`. At most 255 bytes.
    pub collection: &'a str,
    /// The record that is meant.
    pub id: Uuid,
    /// What to do with it.
    pub action: Action<'a>,
    /// Only if this holds when the command is applied.
    pub condition: Condition,
}

/// What a command does. A `record` is a JSON object that carries the command's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action<'a> {
    /// Add the record; one with other content under the same id is a conflict.
    Create {
        /// Its JSON.
        record: &'a str,
    },
    /// Add the record, or put it in the place of the one that is there.
    Put {
        /// Its JSON.
        record: &'a str,
    },
    /// Remove the record.
    Delete,
}

/// What must hold for a command to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Nothing.
    None,
    /// The record is there (`If-Match: *`).
    Exists,
    /// The record is not there (`If-None-Match: *`).
    Absent,
    /// The record is there with this tag (`If-Match: "<tag>"`).
    Tag(u128),
}

/// Why bytes are no command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// The bytes end too early.
    #[error("the command is cut short")]
    Short,
    /// It was written by a newer version.
    #[error("the command has format {0}, this version reads {VERSION}")]
    Version(u8),
    /// The kind is not known.
    #[error("the command is of kind {0}, which this version does not know")]
    Kind(u8),
    /// The condition is not known.
    #[error("the command has condition {0}, which this version does not know")]
    Condition(u8),
    /// The collection or the record is not what it must be.
    #[error("{0}")]
    Content(&'static str),
}

impl<'a> Command<'a> {
    /// The bytes that go into the log.
    ///
    /// # Panics
    /// When the name of the collection is longer than 255 bytes: names are ours, not a client's.
    pub fn encode(&self) -> Bytes {
        let name_bytes = u8::try_from(self.collection.len()).expect("a collection's name has at most 255 bytes");
        let (kind, record) = match self.action {
            Action::Create { record } => (KIND_CREATE, record),
            Action::Put { record } => (KIND_PUT, record),
            Action::Delete => (KIND_DELETE, ""),
        };
        let mut bytes = BytesMut::with_capacity(4 + 16 + 16 + self.collection.len() + record.len());
        bytes.put_u8(VERSION);
        bytes.put_u8(kind);
        match self.condition {
            Condition::None => bytes.put_u8(CONDITION_NONE),
            Condition::Exists => bytes.put_u8(CONDITION_EXISTS),
            Condition::Absent => bytes.put_u8(CONDITION_ABSENT),
            Condition::Tag(tag) => {
                bytes.put_u8(CONDITION_TAG);
                bytes.put_u128_le(tag);
            }
        }
        bytes.put_u8(name_bytes);
        bytes.put_slice(self.collection.as_bytes());
        bytes.put_slice(self.id.as_bytes());
        bytes.put_slice(record.as_bytes());
        bytes.freeze()
    }

    /// Reads what [`Command::encode`] wrote.
    ///
    /// # Errors
    /// [`CommandError`] for anything else. The answer depends on the bytes alone, so it is the same on every replica.
    pub fn decode(mut bytes: &'a [u8]) -> Result<Command<'a>, CommandError> {
        let version = take(&mut bytes, 1)?[0];
        if version != VERSION {
            return Err(CommandError::Version(version));
        }
        let kind = take(&mut bytes, 1)?[0];
        let condition = match take(&mut bytes, 1)?[0] {
            CONDITION_NONE => Condition::None,
            CONDITION_EXISTS => Condition::Exists,
            CONDITION_ABSENT => Condition::Absent,
            CONDITION_TAG => {
                let tag = take(&mut bytes, 16)?;
                Condition::Tag(u128::from_le_bytes(tag.try_into().expect("sixteen bytes were taken")))
            }
            other => return Err(CommandError::Condition(other)),
        };
        let name_bytes = take(&mut bytes, 1)?[0];
        let collection = std::str::from_utf8(take(&mut bytes, usize::from(name_bytes))?)
            .map_err(|_| CommandError::Content("the name of the collection is not UTF-8"))?;
        if collection.is_empty() {
            return Err(CommandError::Content("the name of the collection is empty"));
        }
        let id = Uuid::from_bytes(take(&mut bytes, 16)?.try_into().expect("sixteen bytes were taken"));
        let action = match kind {
            KIND_CREATE => Action::Create { record: record_of(bytes, id)? },
            KIND_PUT => Action::Put { record: record_of(bytes, id)? },
            KIND_DELETE if bytes.is_empty() => Action::Delete,
            KIND_DELETE => return Err(CommandError::Content("a delete that carries a record")),
            other => return Err(CommandError::Kind(other)),
        };
        Ok(Command { collection, id, action, condition })
    }
}

/// The id in a record's JSON, if it is a JSON object with one `id` that is a UUID, and nothing after it.
pub(crate) fn record_id(record: &str) -> Option<Uuid> {
    #[derive(Deserialize)]
    struct Identified {
        id: Uuid,
    }
    // A derived struct would be read from a JSON array, too.
    if !record.trim_ascii_start().starts_with('{') {
        return None;
    }
    serde_json::from_str::<Identified>(record).ok().map(|identified| identified.id)
}

/// Records go into `snapshot.json` as they are, so what is no JSON, or stands under another id, is never stored.
fn record_of(bytes: &[u8], id: Uuid) -> Result<&str, CommandError> {
    let record = std::str::from_utf8(bytes).map_err(|_| CommandError::Content("the record is not UTF-8"))?;
    match record_id(record) {
        Some(found) if found == id => Ok(record),
        Some(_) => Err(CommandError::Content("the record carries another id than the command")),
        None => Err(CommandError::Content("the record is no JSON object with an id")),
    }
}

fn take<'a>(bytes: &mut &'a [u8], count: usize) -> Result<&'a [u8], CommandError> {
    let (taken, rest) = bytes.split_at_checked(count).ok_or(CommandError::Short)?;
    *bytes = rest;
    Ok(taken)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn id() -> Uuid {
        "e956b5d0-fa0c-40e8-9da9-333c214dcaf7".parse().unwrap()
    }

    fn record(id: Uuid) -> String {
        format!(r#"{{"firstName":"Johanna","lastName":"Köster","id":"{id}"}}"#)
    }

    #[test]
    fn the_bytes_of_a_command_are_these_for_ever() {
        let command =
            Command { collection: "persons", id: id(), action: Action::Delete, condition: Condition::Tag(0x0102) };
        let golden = b"\x01\x03\x03\x02\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x07persons\xe9\x56\xb5\xd0\xfa\x0c\x40\xe8\x9d\xa9\x33\x3c\x21\x4d\xca\xf7";
        assert_eq!(command.encode(), &golden[..]);
        let json = record(id());
        let put =
            Command { collection: "p", id: id(), action: Action::Put { record: &json }, condition: Condition::None };
        assert_eq!(put.encode()[..5], *b"\x01\x02\x00\x01p");
        assert!(put.encode().ends_with(json.as_bytes()));
    }

    #[test]
    fn every_kind_and_condition_comes_back_as_it_went_in() {
        let json = record(id());
        for action in [Action::Create { record: &json }, Action::Put { record: &json }, Action::Delete] {
            for condition in [Condition::None, Condition::Exists, Condition::Absent, Condition::Tag(u128::MAX)] {
                let command = Command { collection: "persons", id: id(), action, condition };
                assert_eq!(Command::decode(&command.encode()), Ok(command));
            }
        }
    }

    #[test]
    fn what_no_version_of_ours_wrote_is_refused_with_its_reason() {
        let json = record(id());
        let command = Command {
            collection: "persons",
            id: id(),
            action: Action::Create { record: &json },
            condition: Condition::None,
        };
        let good = command.encode();
        let spoilt = |at: usize, value: u8| {
            let mut bytes = good.to_vec();
            bytes[at] = value;
            Command::decode(&bytes).map(|_| ()).unwrap_err()
        };
        assert_eq!(spoilt(0, 2), CommandError::Version(2));
        assert_eq!(spoilt(1, 9), CommandError::Kind(9));
        assert_eq!(spoilt(2, 4), CommandError::Condition(4));
        assert!(matches!(spoilt(1, KIND_DELETE), CommandError::Content(_)));
        assert!(matches!(spoilt(12, 0), CommandError::Content(_)), "another id than the record's");
        assert!(matches!(spoilt(good.len() - 1, b' '), CommandError::Content(_)), "no JSON any more");
        assert_eq!(Command::decode(&good[..20]), Err(CommandError::Short));
        assert_eq!(Command::decode(&[]), Err(CommandError::Short));
        assert_eq!(record_id(&format!(r#"["{}"]"#, id())), None, "an array is no record");
        assert_eq!(record_id(&format!(r#"{{"id":"{0}","id":"{0}"}}"#, id())), None, "two ids");
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Command::decode(&bytes);
        }

        #[test]
        fn spoilt_commands_never_panic_and_what_is_read_encodes_to_the_same(at in 0usize..90, value in any::<u8>()) {
            let json = record(id());
            let command = Command { collection: "persons", id: id(), action: Action::Put { record: &json }, condition: Condition::Tag(7) };
            let mut bytes = command.encode().to_vec();
            let at = at % bytes.len();
            bytes[at] = value;
            if let Ok(read) = Command::decode(&bytes) {
                prop_assert_eq!(&read.encode()[..], &bytes[..]);
            }
        }
    }
}
