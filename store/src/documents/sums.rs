//! The sum of the state, by which replicas check each other and a snapshot is checked against its own bytes.
//!
//! ```text
//!   sum   = the hashes of all items, added up, modulo 2^128               hash = XXH3 with 128 bits and seed 0
//!   item  = format u32 | 1u8 | hash(collection) | id 16 | creation number u64 | hash(record)     each record
//!         | format u32 | 2u8 | hash(collection) | last creation number u64                       each collection
//!         | format u32 | 3u8 | hash(key) | request u128 | sequence u64 | outcome u8 | id 16      each key that is
//!           | has a record u8 | hash(record) | operations u32 | hash(operations)                 remembered
//! ```
//!
//! All numbers are little-endian. Texts of any length enter by their hash, so an item of a kind has one length, and no two
//! items have the same bytes. Operations are chained: each is hashed behind the hash of those before it.
//!
//! A write subtracts what it replaces and adds what it stores, whatever the size of the data. The order of the records does
//! not matter for the sum, but their creation numbers are part of it. What is subtracted is hashed anew, from the bytes as
//! they are now: if they were damaged in memory, the running sum is wrong from then on, and the other replicas see that. A
//! damaged record that nobody writes shows only when the sum is computed from all bytes ([`Documents::recomputed_sum`]).
//!
//! Not promised: defence against an attacker. The hash has no secret.
//!
//! The sum belongs to the format, whose number is in every item: a format that changes what is hashed is a sum of its own,
//! and a build that reads both formats must keep both sums as long as either may be in force \[D2\].

use super::outcome::{Applied, Operated};
use super::{Collection, Documents};
use leasehold_replication::{Position, Sum};
use twox_hash::XxHash3_128;
use uuid::Uuid;

/// The format of this sum. It is also that of the `made-up-format`, whose data are the same.
const FORMAT: u32 = 1;
const RECORD: u8 = 1;
const NUMBER: u8 = 2;
const KEY: u8 = 3;
/// The longest item is that of a key.
const ITEM_BYTES_MAX: usize = 128;

/// What data say of themselves is not what their bytes make: one of the two was damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the data at {position} should have the sum {said}, and have {found}")]
pub struct FalseSum {
    /// Of the data.
    pub position: Position,
    /// What was written beside them, or kept while they were written.
    pub said: Sum,
    /// What their bytes make.
    pub found: Sum,
}

/// A collection's name, as its items contain it.
#[derive(Clone, Copy)]
pub(super) struct Name(u128);

impl Name {
    pub(super) fn of(collection: &str) -> Name {
        Name(hash(collection.as_bytes()))
    }
}

impl Documents {
    /// The sum of the state, as each write has changed it. Costs nothing.
    pub fn sum(&self) -> Sum {
        Sum(self.sum.wrapping_add(self.keys.sum()))
    }

    /// The sum of the state, from the bytes of everything. About 0.2 s for a million records: never on the driver.
    pub fn recomputed_sum(&self) -> Sum {
        Sum(self.recomputed_sum_of_collections().wrapping_add(self.keys.recomputed_sum()))
    }

    /// Do the data have the sum that they should? As long as [`Documents::recomputed_sum`].
    ///
    /// # Errors
    /// [`FalseSum`]
    pub fn check_sum(&self) -> Result<(), FalseSum> {
        let (position, said, found) = (self.applied(), self.sum(), self.recomputed_sum());
        if said == found { Ok(()) } else { Err(FalseSum { position, said, found }) }
    }

    pub(super) fn recomputed_sum_of_collections(&self) -> u128 {
        let all = self.collections.iter().map(|(name, collection)| recomputed(Name::of(name), collection));
        all.fold(0, u128::wrapping_add)
    }
}

/// By the index of ids, so that a damaged index shows, too.
fn recomputed(name: Name, collection: &Collection) -> u128 {
    let records = collection.by_id.iter().filter_map(|(id, number)| {
        let record = collection.by_number.get(number)?;
        Some(of_record(name, *id, *number, record.as_str()))
    });
    records.fold(of_number(name, collection.last_number), u128::wrapping_add)
}

pub(super) fn of_record(name: Name, id: Uuid, number: u64, record: &str) -> u128 {
    let mut item = Item::new(RECORD);
    item.put(&name.0.to_le_bytes());
    item.put(id.as_bytes());
    item.put(&number.to_le_bytes());
    item.put(&hash(record.as_bytes()).to_le_bytes());
    item.hash()
}

/// 0 for a collection that does not exist yet.
pub(super) fn of_number(name: Name, last_number: u64) -> u128 {
    if last_number == 0 {
        return 0;
    }
    let mut item = Item::new(NUMBER);
    item.put(&name.0.to_le_bytes());
    item.put(&last_number.to_le_bytes());
    item.hash()
}

pub(super) fn of_key(key: &str, request: u128, answer: &Applied) -> u128 {
    let record = answer.record.as_ref().map(|record| hash(record.as_str().as_bytes()));
    let operations = answer.operations.iter().fold(0, |before, operation| hash_operation(before, operation));
    let mut item = Item::new(KEY);
    item.put(&hash(key.as_bytes()).to_le_bytes());
    item.put(&request.to_le_bytes());
    item.put(&answer.seq.0.to_le_bytes());
    item.put(&[answer.outcome.number()]);
    item.put(answer.id.as_bytes());
    item.put(&[u8::from(record.is_some())]);
    item.put(&record.unwrap_or(0).to_le_bytes());
    // A batch has at most a thousand.
    item.put(&u32::try_from(answer.operations.len()).unwrap_or(u32::MAX).to_le_bytes());
    item.put(&operations.to_le_bytes());
    item.hash()
}

/// `hash before | outcome u8 | id 16 | has a tag u8 | tag u128`
fn hash_operation(before: u128, operation: &Operated) -> u128 {
    let Operated { outcome, id, tag } = operation;
    let mut item = Item { bytes: [0; ITEM_BYTES_MAX], length: 0 };
    item.put(&before.to_le_bytes());
    item.put(&[outcome.number()]);
    item.put(id.as_bytes());
    item.put(&[u8::from(tag.is_some())]);
    item.put(&tag.unwrap_or(0).to_le_bytes());
    item.hash()
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
