//! The size of the documents: in memory, and as `snapshot.json`; and how much larger a command would make them.

use super::command::{Action, Command, Condition, Work};
use super::{Definition, Documents, ENTRY_BYTES_MAX, IndexDefinition, MERGED_BYTES_MAX, Operation, merge};
use crate::collection::Collection;
use crate::id::IdRef;
use std::collections::HashMap;
use std::sync::{Arc, Weak};

/// What a record uses in memory beside its bytes: its places in two trees, and the allocator's overhead.
pub const RECORD_MEMORY_BYTES: u64 = 144;
/// What a record uses in `snapshot.json` beside its bytes: the end of its line.
const RECORD_STORED_BYTES: u64 = 6;
/// What a record uses in an index, as a rule.
const INDEX_ENTRY_BYTES: i64 = 104;
/// What surrounds the records there.
const STORED_BYTES: u64 = 4096;

impl Documents {
    /// The memory that they use, approximately. Bytes that older views share with them are counted once.
    pub fn memory_bytes(&self) -> u64 {
        let of_records = |one: &Collection| one.bytes + one.len() as u64 * RECORD_MEMORY_BYTES;
        let of_collections = self.collections.values().map(|one| of_records(one) + one.tables_bytes());
        of_collections.sum::<u64>() + self.keys.bytes() as u64
    }

    /// The approximate length of `snapshot.json`.
    pub fn stored_bytes(&self) -> u64 {
        let of_records = |one: &Collection| one.bytes + one.len() as u64 * RECORD_STORED_BYTES;
        let of_collections = self.collections.values().map(|one| of_records(one) + one.definitions_bytes());
        of_collections.sum::<u64>() + self.keys.bytes() as u64 + STORED_BYTES
    }

    /// Bytes that were dropped since the start, but that older views still hold.
    pub fn given_up_bytes(&self) -> u64 {
        self.given_up
    }

    /// Separates later clones from earlier ones: the returned token tells whether any of the earlier ones is left.
    pub fn renew(&mut self) -> Weak<()> {
        let before = std::mem::take(&mut self.view);
        Arc::downgrade(&before)
    }

    /// By how many bytes the memory would grow; `None`: nothing would be written, or it must never be refused (a step, a drop).
    /// It ignores earlier log entries that are not applied yet: a leader that is short of room needs no exact figure.
    pub fn growth(&self, command: &[u8]) -> Option<i64> {
        let command = Command::decode(command).ok()?;
        let space = self.space(&command.work);
        if command.key.is_some_and(|key| self.keys.get(space, key.name).is_some()) {
            // It gets the first one's answer.
            return None;
        }
        match &command.work {
            Work::One(on, operation) => self.growth_of(std::iter::once((on.collection, operation))),
            Work::Batch(on, operations) => self.growth_of(operations.iter().map(|one| (on.collection, one))),
            Work::Transaction(collections, operations) => {
                self.growth_of(operations.iter().map(|(at, one)| (collections[usize::from(*at)].collection, one)))
            }
            Work::Refuse { problem, .. } => Some(problem.len() as i64),
            Work::Define(define) => Some(self.growth_of_definition(define.collection, define.definition)),
            Work::Drop { .. }
            | Work::GiveUp { .. }
            | Work::Advance { .. }
            | Work::DoesNotFit { .. }
            | Work::Expire { .. }
            | Work::PauseExpiry { .. }
            | Work::NoteFile { .. } => None,
        }
    }

    /// A new index has an entry of each record.
    fn growth_of_definition(&self, name: &str, definition: &str) -> i64 {
        let Ok(new) = Definition::parse_stored(definition) else { return 0 };
        let records = self.collection(name).map_or(0, Collection::len) as i64;
        let known = |index: &&IndexDefinition| {
            !self.collection(name).is_some_and(|collection| collection.definition().indexes.contains(index))
        };
        definition.len() as i64 + new.indexes.iter().filter(known).count() as i64 * records * INDEX_ENTRY_BYTES
    }

    fn growth_of<'a>(&self, operations: impl Iterator<Item = (&'a str, &'a Operation<'a>)>) -> Option<i64> {
        // The lengths of records that earlier operations of the batch change.
        let mut changed: HashMap<(&str, IdRef<'_>), Option<i64>> = HashMap::new();
        // What apply would refuse is not worth more work here.
        let mut looked_at = 0;
        let (mut growth, mut writes) = (0, false);
        for (name, operation) in operations {
            let collection = self.collection(name);
            let place = (name, operation.id);
            let found = collection.and_then(|collection| collection.get(operation.id));
            let before = changed.get(&place).copied();
            let before = before.unwrap_or_else(|| found.map(|record| record.as_str().len() as i64));
            let holds = match operation.condition {
                Condition::None => true,
                Condition::Exists => before.is_some(),
                Condition::Absent => before.is_none(),
                Condition::Tag(tag) => found.is_some_and(|record| {
                    looked_at += record.as_str().len();
                    looked_at <= ENTRY_BYTES_MAX && record.tag() == tag
                }),
            };
            let after = match (operation.action, before) {
                _ if !holds => before,
                (Action::Create { record }, None) | (Action::Put { record }, _) => Some(record.len() as i64),
                (Action::Create { .. }, Some(_)) | (Action::Patch { .. }, None) | (Action::Check, _) => before,
                (Action::Delete, _) => None,
                (Action::Patch { patch }, Some(before)) => {
                    let bytes = before as usize + patch.len();
                    looked_at += bytes;
                    let is_merged = bytes <= MERGED_BYTES_MAX && looked_at <= ENTRY_BYTES_MAX;
                    let merged = found.filter(|_| is_merged && !changed.contains_key(&place));
                    let merged = merged.and_then(|record| merge::merge(record.as_str(), patch).ok());
                    Some(merged.map_or(before + patch.len() as i64, |merged| merged.len() as i64))
                }
            };
            let is_same = match operation.action {
                Action::Put { record } => found.is_some_and(|found| found.as_str() == record),
                Action::Patch { .. } => before.is_none(),
                Action::Create { .. } | Action::Delete | Action::Check => before == after,
            };
            writes |= holds && !is_same;
            let entries = collection.map_or(0, |collection| collection.indexes().len() as i64 * INDEX_ENTRY_BYTES);
            let memory = |length: Option<i64>| length.map_or(0, |length| length + RECORD_MEMORY_BYTES as i64 + entries);
            growth += memory(after) - memory(before);
            changed.insert(place, after);
        }
        writes.then_some(growth)
    }
}
