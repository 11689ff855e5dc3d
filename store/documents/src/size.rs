//! The size of the documents: in memory, and as `snapshot.json`; and how much larger a command would make them.

use super::command::{Action, Command, Condition, Work};
use super::{Documents, merge};
use crate::id::IdRef;
use std::collections::HashMap;
use std::sync::{Arc, Weak};

/// What a record uses in memory beside its bytes: its places in two trees, and the allocator's overhead.
pub const RECORD_MEMORY_BYTES: u64 = 144;
/// What a record uses in `snapshot.json` beside its bytes: the end of its line.
const RECORD_STORED_BYTES: u64 = 6;
/// What surrounds the records there.
const STORED_BYTES: u64 = 4096;

impl Documents {
    /// The memory that they use, approximately. Bytes that older views share with them are counted once.
    pub fn memory_bytes(&self) -> u64 {
        let of_records: u64 =
            self.collections.values().map(|one| one.bytes + one.len() as u64 * RECORD_MEMORY_BYTES).sum();
        of_records + self.keys.bytes() as u64
    }

    /// The approximate length of `snapshot.json`.
    pub fn stored_bytes(&self) -> u64 {
        let of_records: u64 =
            self.collections.values().map(|one| one.bytes + one.len() as u64 * RECORD_STORED_BYTES).sum();
        of_records + self.keys.bytes() as u64 + STORED_BYTES
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

    /// By how many bytes the memory would grow; `None`: nothing would be written. It ignores earlier log entries that are
    /// not applied yet: a leader that is short of room needs no exact figure.
    pub fn growth(&self, command: &[u8]) -> Option<i64> {
        let command = Command::decode(command).ok()?;
        if command.key.is_some_and(|key| self.keys.get(key.name).is_some()) {
            // It gets the first one's answer.
            return None;
        }
        let (on, operations) = match &command.work {
            Work::One(on, operation) => (on, std::slice::from_ref(operation)),
            Work::Batch(on, operations) => (on, &**operations),
            other => panic!("format 1 has no {other:?}"),
        };
        let collection = self.collection(on.collection);
        // The lengths of records that earlier operations of the batch change.
        let mut changed: HashMap<IdRef<'_>, Option<i64>> = HashMap::new();
        let (mut growth, mut writes) = (0, false);
        for operation in operations {
            let found = collection.and_then(|collection| collection.get(operation.id));
            let before = changed.get(&operation.id).copied();
            let before = before.unwrap_or_else(|| found.map(|record| record.as_str().len() as i64));
            let holds = match operation.condition {
                Condition::None => true,
                Condition::Exists => before.is_some(),
                Condition::Absent => before.is_none(),
                Condition::Tag(tag) => found.is_some_and(|record| record.tag() == tag),
            };
            let after = match (operation.action, before) {
                _ if !holds => before,
                (Action::Create { record }, None) | (Action::Put { record }, _) => Some(record.len() as i64),
                (Action::Create { .. }, Some(_)) | (Action::Patch { .. }, None) | (Action::Check, _) => before,
                (Action::Delete, _) => None,
                (Action::Patch { patch }, Some(before)) => {
                    let merged = found.filter(|_| !changed.contains_key(&operation.id));
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
            let memory = |length: Option<i64>| length.map_or(0, |length| length + RECORD_MEMORY_BYTES as i64);
            growth += memory(after) - memory(before);
            changed.insert(operation.id, after);
        }
        writes.then_some(growth)
    }
}
