//! The sum of the state, by which replicas check each other and a snapshot is checked against its own bytes.
//!
//! ```text
//!   sum   = the hashes of all items, added up, modulo 2^128               hash = XXH3 with 128 bits and seed 0
//!   item  = format u32 | 1u8 | hash(collection) | id 16 | creation number u64 | hash(record)     each record
//!         | format u32 | 2u8 | hash(collection) | last creation number u64                       each collection
//!         | format u32 | 3u8 | hash(key) | request u128 | sequence u64 | outcome u8 | id 16      each key that is
//!           | has a record u8 | hash(record) | operations u32 | hash(operations)                 remembered
//!
//!   since format 2:
//!         | format u32 | 4u8 | as 1u8; the id by its hash                                        each record with a text id
//!         | format u32 | 5u8 | as 3u8 | hash(space) | hash(detail of the outcome)                a key of another collection
//!                                                                                                than persons, or with detail
//!         | format u32 | 6u8 | hash(collection) | created u64 | revision u64 | hash(definition)  each definition in force
//!         | format u32 | 7u8 | hash(collection) | epoch u64 | hash(its pending and refused change)
//!         | format u32 | 8u8 | time u64                                                          unless it is 0
//!         | format u32 | 9u8                                                                     expiry is paused
//!         | format u32 | 10u8 | hash of the file of definitions u128                             if one was noted
//! ```
//!
//! In each of them the format is 1: data that format 1 can say have the sum that they had there.
//!
//! All numbers are little-endian. Texts of any length enter by their hash, so an item of a kind has one length, and no two
//! items have the same bytes. Operations are chained: each is hashed behind the hash of those before it.
//!
//! A write subtracts what it replaces and adds what it stores, whatever the size of the data. The order of the records does
//! not matter for the sum, but their creation numbers are part of it. What is subtracted is hashed anew, from the bytes as
//! they are now: if they were damaged in memory, the running sum is wrong from then on, and the other replicas see that. A
//! damaged record that nobody writes shows only when the sum is computed from all bytes ([`recomputed_sum`](super::Documents::recomputed_sum)).
//!
//! Not promised: defence against an attacker. The hash has no secret.
//!
//! Format 2 only adds items, with the number 1 like all others, so one sum serves both formats. A format that changes what an
//! item consists of would be a sum of its own, with its number in each item, and a build that reads both formats would have to
//! keep both sums as long as either may be in force \[D2\].

use crate::defined::Defined;
use crate::definition::PERSONS;
use crate::id::IdRef;
use crate::outcome::{Applied, Operated};
use crate::stored::definitions::progress_text;
use crate::stored::detail::detail;
use twox_hash::XxHash3_128;

/// The format of this sum: the first one that had it.
const FORMAT: u32 = 1;
const RECORD: u8 = 1;
const NUMBER: u8 = 2;
const KEY: u8 = 3;
const TEXT_RECORD: u8 = 4;
const KEY_WITH_MORE: u8 = 5;
const DEFINITION: u8 = 6;
const PROGRESS: u8 = 7;
const TIME: u8 = 8;
const PAUSE: u8 = 9;
const FILE: u8 = 10;
/// The longest item is that of a key.
const ITEM_BYTES_MAX: usize = 160;

/// A collection's name, as its items contain it.
#[derive(Clone, Copy)]
pub(crate) struct Name(u128);

impl Name {
    pub(crate) fn of(collection: &str) -> Name {
        Name(hash(collection.as_bytes()))
    }
}

pub(crate) fn of_record(name: Name, id: IdRef<'_>, number: u64, record: &str) -> u128 {
    let mut item = Item::new(match id {
        IdRef::Uuid(_) => RECORD,
        IdRef::Text(_) => TEXT_RECORD,
    });
    item.put(&name.0.to_le_bytes());
    item.put(&id_bytes(id));
    item.put(&number.to_le_bytes());
    item.put(&hash(record.as_bytes()).to_le_bytes());
    item.hash()
}

/// 0 for a collection that does not exist yet.
pub(crate) fn of_number(name: Name, last_number: u64) -> u128 {
    if last_number == 0 {
        return 0;
    }
    let mut item = Item::new(NUMBER);
    item.put(&name.0.to_le_bytes());
    item.put(&last_number.to_le_bytes());
    item.hash()
}

/// Of a definition in force, and of the rest.
pub(crate) fn of_defined(name: Name, defined: &Defined) -> (u128, u128) {
    let mut definition = Item::new(DEFINITION);
    definition.put(&name.0.to_le_bytes());
    definition.put(&defined.created.0.to_le_bytes());
    definition.put(&defined.revision.0.to_le_bytes());
    definition.put(&hash(defined.definition.to_json().as_bytes()).to_le_bytes());
    let mut progress = Item::new(PROGRESS);
    progress.put(&name.0.to_le_bytes());
    progress.put(&defined.epoch.0.to_le_bytes());
    progress.put(&hash(progress_text(defined).as_bytes()).to_le_bytes());
    (definition.hash(), progress.hash())
}

pub(crate) fn of_time(time_ms: u64) -> u128 {
    let mut item = Item::new(TIME);
    item.put(&time_ms.to_le_bytes());
    item.hash()
}

pub(crate) fn of_pause() -> u128 {
    Item::new(PAUSE).hash()
}

pub(crate) fn of_file(file: u128) -> u128 {
    let mut item = Item::new(FILE);
    item.put(&file.to_le_bytes());
    item.hash()
}

pub(crate) fn of_key(space: &str, key: &str, request: u128, answer: &Applied) -> u128 {
    let detail = detail(&answer.outcome);
    let has_more = space != PERSONS || detail.is_some();
    let record = answer.record.as_ref().map(|record| hash(record.as_str().as_bytes()));
    let operations = answer.operations.iter().fold(0, hash_operation);
    let mut item = Item::new(if has_more { KEY_WITH_MORE } else { KEY });
    item.put(&hash(key.as_bytes()).to_le_bytes());
    item.put(&request.to_le_bytes());
    item.put(&answer.seq.0.to_le_bytes());
    item.put(&[answer.outcome.number()]);
    item.put(&id_bytes(answer.id.as_ref()));
    item.put(&[u8::from(record.is_some())]);
    item.put(&record.unwrap_or(0).to_le_bytes());
    // A batch has at most a thousand.
    item.put(&u32::try_from(answer.operations.len()).unwrap_or(u32::MAX).to_le_bytes());
    item.put(&operations.to_le_bytes());
    if has_more {
        item.put(&hash(space.as_bytes()).to_le_bytes());
        item.put(&hash(detail.unwrap_or_default().as_bytes()).to_le_bytes());
    }
    item.hash()
}

/// `hash before | outcome u8 | id 16 | has a tag u8 | tag u128`; behind it the hash of the outcome's detail, if it has one
fn hash_operation(before: u128, operation: &Operated) -> u128 {
    let Operated { outcome, id, tag } = operation;
    let mut item = Item { bytes: [0; ITEM_BYTES_MAX], length: 0 };
    item.put(&before.to_le_bytes());
    item.put(&[outcome.number()]);
    item.put(&id_bytes(id.as_ref()));
    item.put(&[u8::from(tag.is_some())]);
    item.put(&tag.unwrap_or(0).to_le_bytes());
    if let Some(detail) = detail(outcome) {
        item.put(&hash(detail.as_bytes()).to_le_bytes());
    }
    item.hash()
}

/// A text enters by its hash.
fn id_bytes(id: IdRef<'_>) -> [u8; 16] {
    match id {
        IdRef::Uuid(uuid) => uuid.into_bytes(),
        IdRef::Text(text) => hash(text.as_bytes()).to_le_bytes(),
    }
}

fn hash(bytes: &[u8]) -> u128 {
    XxHash3_128::oneshot(bytes)
}

/// An item in the making. On the stack: a write allocates nothing for its sum.
struct Item {
    bytes: [u8; ITEM_BYTES_MAX],
    length: usize,
}

impl Item {
    fn new(kind: u8) -> Item {
        let mut item = Item { bytes: [0; ITEM_BYTES_MAX], length: 0 };
        item.put(&FORMAT.to_le_bytes());
        item.put(&[kind]);
        item
    }

    fn put(&mut self, bytes: &[u8]) {
        let end = self.length + bytes.len();
        self.bytes[self.length..end].copy_from_slice(bytes);
        self.length = end;
    }

    fn hash(&self) -> u128 {
        hash(&self.bytes[..self.length])
    }
}
