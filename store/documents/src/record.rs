//! One record.

use crate::id::IdRef;
use serde::Deserialize;
use std::borrow::Cow;
use std::sync::{Arc, OnceLock};
use uuid::Uuid;

/// The longest record, in bytes (since format 2).
pub const RECORD_BYTES_MAX: usize = 1024 * 1024;
/// A record longer than this keeps its tag once it was computed: a thousand conditions on one such record cost little.
pub(crate) const TAG_KEPT_FROM_BYTES: usize = 1024;

/// One record: the bytes of its JSON as stored. A clone shares them.
#[derive(Clone, Debug)]
pub struct Record(Bytes);

#[derive(Clone, Debug)]
enum Bytes {
    Short(Arc<str>),
    Long(Arc<Long>),
}

#[derive(Debug)]
struct Long {
    json: Box<str>,
    tag: OnceLock<u128>,
}

impl Record {
    /// Its JSON.
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Bytes::Short(json) => json,
            Bytes::Long(long) => &long.json,
        }
    }

    /// A hash of its bytes, for `ETag` and `If-Match`. Part of the log's format: every replica must compute the same.
    pub fn tag(&self) -> u128 {
        match &self.0 {
            Bytes::Short(json) => tag_of(json),
            Bytes::Long(long) => *long.tag.get_or_init(|| tag_of(&long.json)),
        }
    }
}

impl PartialEq for Record {
    fn eq(&self, other: &Record) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Record {}

impl From<&str> for Record {
    fn from(json: &str) -> Record {
        if json.len() <= TAG_KEPT_FROM_BYTES {
            return Record(Bytes::Short(json.into()));
        }
        Record(Bytes::Long(Arc::new(Long { json: json.into(), tag: OnceLock::new() })))
    }
}

impl From<String> for Record {
    fn from(json: String) -> Record {
        if json.len() <= TAG_KEPT_FROM_BYTES {
            return Record(Bytes::Short(json.into()));
        }
        Record(Bytes::Long(Arc::new(Long { json: json.into(), tag: OnceLock::new() })))
    }
}

/// FNV-1a with 128 bits. It defends against no attacker: a client that could make two records collide may write both.
pub fn tag_of(record: &str) -> u128 {
    const OFFSET: u128 = 0x6c62272e07bb014262b821756295c58d;
    const PRIME: u128 = 0x0000000001000000000000000000013b;
    record.bytes().fold(OFFSET, |hash, byte| (hash ^ u128::from(byte)).wrapping_mul(PRIME))
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

/// The text in a record's member `id`, if it is a JSON object with one that is a string, and nothing after it.
pub(crate) fn record_text_id(record: &str) -> Option<Cow<'_, str>> {
    #[derive(Deserialize)]
    struct Identified<'a> {
        #[serde(borrow)]
        id: Cow<'a, str>,
    }
    if !record.trim_ascii_start().starts_with('{') {
        return None;
    }
    serde_json::from_str::<Identified<'_>>(record).ok().map(|identified| identified.id)
}

/// Is it the text of a record with this id, in the one form of ids? Records go into `snapshot.json` as they are, so anything
/// else is never stored; nor is one with white space around it, which a snapshot would lose.
pub(crate) fn is_record_of(record: &str, id: IdRef<'_>) -> bool {
    let is_bare = record.trim_ascii().len() == record.len();
    is_bare && record_text_id(record).is_some_and(|found| is_form_of(&found, id))
}

/// Is it the one form of this id?
pub(crate) fn is_form_of(text: &str, id: IdRef<'_>) -> bool {
    match id {
        IdRef::Uuid(uuid) => *text == *uuid.hyphenated().encode_lower(&mut Uuid::encode_buffer()),
        IdRef::Text(id) => text == id,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tag_of_a_record_is_that_of_its_bytes_however_long_it_is() {
        for length in [0, TAG_KEPT_FROM_BYTES, TAG_KEPT_FROM_BYTES + 1] {
            let json = "x".repeat(length);
            let (borrowed, owned) = (Record::from(&*json), Record::from(json.clone()));
            assert_eq!((borrowed.tag(), owned.tag(), owned.tag()), (tag_of(&json), tag_of(&json), tag_of(&json)));
            assert_eq!((borrowed.as_str(), owned.as_str()), (&*json, &*json));
            assert_eq!(borrowed, owned);
        }
    }
}
