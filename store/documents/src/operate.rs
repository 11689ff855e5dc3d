//! One operation on one record.
//!
//! In this order: the client's condition, what the leader saw, the action; then whether the record fits the definitions, and
//! whether a unique index has another one with its values.

use crate::collection::Reads;
use crate::format::COLLECTIONS;
use crate::outcome::PATCH_TAKES_ID;
use crate::record::{TAG_KEPT_FROM_BYTES, is_form_of, record_id};
use crate::{
    Action, Change, ChangeKind, Collection, Condition, Documents, ENTRY_BYTES_MAX, GONE_BYTES_MAX, Id, IdRef,
    MERGED_BYTES_MAX, Operation, Outcome, RECORD_BYTES_MAX, RECORD_MEMORY_BYTES, Record, Seen, merge,
};

use std::collections::BTreeSet;
use std::sync::Arc;

const OTHER_KIND: &str = "the ids of this collection are of another kind";

/// A byte that is merged is as much work as so many that are written.
const MERGING: usize = 3;

/// How many bytes of records an entry may still read and write.
pub(crate) enum Budget {
    /// Format 1 has no bounds.
    Endless,
    /// As many; as many of records that go; and as many of records whose tags are computed, which records those were already.
    Bytes { left: usize, gone_left: usize, tags_left: usize, tagged: BTreeSet<(String, Id)> },
}

impl Budget {
    pub(crate) fn of_entry() -> Budget {
        let (left, gone_left, tags_left) = (ENTRY_BYTES_MAX, GONE_BYTES_MAX, ENTRY_BYTES_MAX);
        Budget::Bytes { left, gone_left, tags_left, tagged: BTreeSet::new() }
    }

    fn take(&mut self, bytes: usize) -> Result<(), Outcome> {
        if let Budget::Bytes { left, .. } = self {
            *left = left.checked_sub(bytes).ok_or(Outcome::EntryTooLarge)?;
        }
        Ok(())
    }

    /// A record that goes is hashed once more, for the sum: a tenth of the work of reading it.
    fn take_gone(&mut self, record: &Record) -> Result<(), Outcome> {
        if let Budget::Bytes { gone_left, .. } = self {
            *gone_left = gone_left.checked_sub(record.as_str().len()).ok_or(Outcome::EntryTooLarge)?;
        }
        Ok(())
    }

    /// The tag of a long record is computed once. Whether it was before this entry is not the same on every replica, so each
    /// entry pays for it.
    fn take_tag(&mut self, name: &str, id: IdRef<'_>, record: &Record) -> Result<(), Outcome> {
        let length = record.as_str().len();
        if let Budget::Bytes { tags_left, tagged, .. } = self
            && length > TAG_KEPT_FROM_BYTES
            && tagged.insert((name.to_owned(), id.to_owned()))
        {
            *tags_left = tags_left.checked_sub(length).ok_or(Outcome::EntryTooLarge)?;
        }
        Ok(())
    }
}

/// What becomes of a record.
enum Next {
    Written(Record),
    Removed,
}

impl Documents {
    /// One operation, and the record after it.
    pub(crate) fn operate(
        &mut self,
        name: &str,
        operation: &Operation<'_>,
        budget: &mut Budget,
        changes: &mut Vec<Change>,
    ) -> (Outcome, Option<Record>) {
        let found = self.collection(name).and_then(|collection| collection.numbered(operation.id));
        let found = found.map(|(number, record)| (number, record.clone()));
        let before = found.as_ref().map(|(_, record)| record);
        match self.decide_operation(name, operation, before, budget) {
            Err(outcome) => (outcome, found.map(|(_, record)| record)),
            Ok(Next::Removed) => {
                self.give_up_bytes(before);
                if let Some(Some(number)) = self.with(name, |collection, name| collection.remove(name, operation.id)) {
                    changes.push(Change::record(
                        self.shared_name(name),
                        operation.id,
                        number,
                        ChangeKind::Deleted,
                        None,
                    ));
                }
                (Outcome::Deleted, None)
            }
            Ok(Next::Written(record)) => {
                let (outcome, kind) = match before {
                    Some(_) => (Outcome::Replaced, ChangeKind::Replaced),
                    None => (Outcome::Created, ChangeKind::Created),
                };
                let replaced = found.as_ref().map(|(number, record)| (*number, record));
                match self.write(name, operation.id, replaced, &record, budget) {
                    Err(outcome) => (outcome, found.map(|(_, record)| record)),
                    Ok(number) => {
                        self.give_up_bytes(before);
                        let name = self.shared_name(name);
                        changes.push(Change::record(name, operation.id, number, kind, Some(record.clone())));
                        (outcome, Some(record))
                    }
                }
            }
        }
    }

    /// What becomes of the record, by the operation alone; or the outcome, if nothing does.
    fn decide_operation(
        &self,
        name: &str,
        operation: &Operation<'_>,
        found: Option<&Record>,
        budget: &mut Budget,
    ) -> Result<Next, Outcome> {
        let Operation { id, action, condition, seen } = *operation;
        let collection = self.collection(name);
        if self.format >= COLLECTIONS && collection.is_some_and(|known| known.definition().id != id.kind()) {
            return Err(Outcome::Invalid(OTHER_KIND));
        }
        let needs_tag =
            matches!((condition, seen), (Condition::Tag(_), _) | (_, Seen::Tag(_))) || matches!(action, Action::Check);
        if let Some(found) = found.filter(|_| needs_tag) {
            budget.take_tag(name, id, found)?;
        }
        if !condition.holds(found) {
            return Err(Outcome::PreconditionFailed);
        }
        let is_seen = match seen {
            Seen::Any => true,
            Seen::Absent => found.is_none(),
            Seen::Tag(tag) => found.is_some_and(|record| record.tag() == tag),
        };
        if !is_seen {
            return Err(Outcome::Contention);
        }
        match (action, found) {
            (Action::Create { record } | Action::Put { record }, Some(found)) if found.as_str() == record => {
                Err(Outcome::Same)
            }
            (Action::Create { .. }, Some(_)) => Err(Outcome::Conflict),
            (Action::Create { record } | Action::Put { record }, _) => {
                self.fits(record.len())?;
                budget.take(record.len())?;
                Ok(Next::Written(Record::from(record)))
            }
            (Action::Patch { .. } | Action::Delete, None) => Err(Outcome::Missing),
            (Action::Patch { patch }, Some(found)) => {
                let bytes = patch.len() + found.as_str().len();
                // The schema is not looked at here: the leader must have made a put of it, or of much that is to be merged.
                if collection.is_some_and(has_schema) || (self.format >= COLLECTIONS && bytes > MERGED_BYTES_MAX) {
                    return Err(Outcome::Contention);
                }
                budget.take(MERGING * bytes)?;
                let merged = merge::merge(found.as_str(), patch).map_err(|_| Outcome::Invalid(PATCH_TAKES_ID))?;
                if merged == found.as_str() {
                    return Err(Outcome::Same);
                }
                budget.take(merged.len())?;
                if !self.has_id(&merged, id) {
                    return Err(Outcome::Invalid(PATCH_TAKES_ID));
                }
                Ok(Next::Written(Record::from(merged)))
            }
            (Action::Delete, Some(found)) => {
                self.take_going(collection, Some(found), budget)?;
                Ok(Next::Removed)
            }
            (Action::Check, _) => Err(Outcome::Checked),
        }
    }

    /// `before`: the record that it replaces, and its creation number. Gives that, or the new one's.
    fn write(
        &mut self,
        name: &str,
        id: IdRef<'_>,
        before: Option<(u64, &Record)>,
        record: &Record,
        budget: &mut Budget,
    ) -> Result<u64, Outcome> {
        // Format 1 does not define its collection.
        if !self.collections.contains_key(name) {
            self.collections.insert(name.into(), Arc::default());
        }
        let own = before.map_or(0, |(number, _)| number);
        let reads = self.reads(name, before, record, budget)?;
        let written = self.with(name, |collection, name| collection.put(name, id, own, record.clone(), &reads));
        let (number, clash) = written.expect("the collection was entered above");
        if let Some(clash) = clash {
            self.refuse_clash(name, number, clash);
        }
        Ok(number)
    }

    /// What the definitions need of the record, if it may be written.
    fn reads(
        &self,
        name: &str,
        before: Option<(u64, &Record)>,
        record: &Record,
        budget: &mut Budget,
    ) -> Result<Reads, Outcome> {
        let collection = self.collection(name).ok_or(Outcome::NoCollection)?;
        let is_full = |most| collection.len() as u64 >= most;
        if before.is_none() && collection.definition().records_max.is_some_and(is_full) {
            return Err(Outcome::TooManyRecords);
        }
        self.take_going(Some(collection), before.map(|(_, before)| before), budget)?;
        if collection.needs_reading() {
            budget.take(record.as_str().len())?;
        }
        let reads = collection.read(record.as_str());
        let reads = reads.map_err(|bad| Outcome::BadValue { pointer: bad.pointer, why: bad.why.into() })?;
        match collection.conflict(&reads, before.map_or(0, |(number, _)| number)) {
            Some((index, id)) => Err(Outcome::UniqueConflict { index, id }),
            None => Ok(reads),
        }
    }

    /// The record that goes must be read, too, where definitions need something of it.
    fn take_going(
        &self,
        collection: Option<&Collection>,
        found: Option<&Record>,
        budget: &mut Budget,
    ) -> Result<(), Outcome> {
        let Some(found) = found else { return Ok(()) };
        budget.take_gone(found)?;
        if collection.is_some_and(Collection::needs_reading) { budget.take(found.as_str().len()) } else { Ok(()) }
    }

    fn fits(&self, length: usize) -> Result<(), Outcome> {
        if self.format >= COLLECTIONS && length > RECORD_BYTES_MAX { Err(Outcome::RecordTooLarge) } else { Ok(()) }
    }

    /// Has the merged record the same id? Format 1 accepts any form of its UUID.
    fn has_id(&self, merged: &str, id: IdRef<'_>) -> bool {
        if self.format < COLLECTIONS {
            return record_id(merged).map(IdRef::Uuid) == Some(id);
        }
        merge::id_of_merged(merged).is_some_and(|found| is_form_of(&found, id))
    }

    pub(crate) fn give_up_bytes(&mut self, record: Option<&Record>) {
        self.given_up += record.map_or(0, |record| record.as_str().len() as u64 + RECORD_MEMORY_BYTES);
    }
}

fn has_schema(collection: &Collection) -> bool {
    let is_pending = collection.pending().is_some_and(|pending| pending.definition.schema.is_some());
    collection.definition().schema.is_some() || is_pending
}
