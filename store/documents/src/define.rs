//! What collections are: they are defined, changed, given up and dropped.
//!
//! A change that no record matters for is in force at once. Any other is pending: the leader's steps (`step`) look at the
//! records, and end it or bring it into force.
//!
//! `unless_expired_ms` is for the leader to count before it proposes: a count over all records is not bounded. Apply counts,
//! too, where the records are as few as a step may read, so there the answer is exact.

use crate::collection::Collection;
use crate::command::Define;
use crate::defined::{Defined, LastRefused, Pending, WhyRefused};
use crate::tables::{Building, Clash};
use crate::value::Shape;
use crate::{
    COLLECTIONS_MAX, Change, Definition, DefinitionChange, DefinitionCondition, Documents, Outcome,
    RECORD_MEMORY_BYTES, STEP_BYTES_MAX, STEP_RECORDS_MAX, is_name,
};
use leasehold_replication::Seq;
use std::sync::Arc;

impl Documents {
    pub(crate) fn define(&mut self, define: &Define<'_>, changes: &mut Vec<Change>) -> Outcome {
        let Define { collection: name, definition, condition, unless_expired_ms } = *define;
        if !is_name(name) {
            return Outcome::Invalid("the name is not that of a collection");
        }
        let Ok(definition) = Definition::parse_stored(definition) else {
            return Outcome::Invalid("the definition is not one");
        };
        let seq = self.seq();
        let found = self.collection(name).and_then(|collection| Some((collection, collection.defined.as_ref()?)));
        if !condition.holds(found.map(|(_, defined)| defined.revision)) {
            return Outcome::PreconditionFailed;
        }
        let Some((collection, defined)) = found else {
            if self.collections.len() >= COLLECTIONS_MAX {
                return Outcome::TooManyCollections;
            }
            // Of format 1, whose API knew only `persons`: it would have records that no index has.
            if self.collections.contains_key(name) {
                return Outcome::Immutable;
            }
            self.collections.entry(name.into()).or_default();
            return self.bring_into_force(name, Arc::new(definition), seq, changes);
        };
        if let Some(pending) = &defined.pending {
            return if *pending.definition == definition { Outcome::Pending } else { Outcome::DefinitionPending };
        }
        match defined.definition.change_to(&definition) {
            DefinitionChange::None => Outcome::Unchanged,
            DefinitionChange::Immutable => Outcome::Immutable,
            DefinitionChange::Examine if !collection.is_empty() => {
                let by_ms = unless_expired_ms.filter(|_| is_a_step(collection));
                let expired = by_ms.map_or(0, |by_ms| collection.would_expire(&definition, by_ms));
                if expired > 0 {
                    return Outcome::WouldExpire(expired);
                }
                self.begin_change(name, Arc::new(definition), seq)
            }
            DefinitionChange::AtOnce | DefinitionChange::Examine => {
                self.bring_into_force(name, Arc::new(definition), defined.created, changes)
            }
        }
    }

    fn begin_change(&mut self, name: &str, definition: Arc<Definition>, since: Seq) -> Outcome {
        self.with(name, |collection, hashed| {
            collection.building = Some(Building::of(&definition, collection.definition()));
            if let Some(defined) = collection.defined.clone() {
                let pending = Some(Pending { definition, since, cursor: 0 });
                collection.set_defined(hashed, Defined { epoch: since, pending, ..Defined::clone(&defined) });
            }
        });
        Outcome::Pending
    }

    /// The definition is in force from this entry on; what is made of the records already is as it needs it.
    fn bring_into_force(
        &mut self,
        name: &str,
        definition: Arc<Definition>,
        created: Seq,
        changes: &mut Vec<Change>,
    ) -> Outcome {
        let seq = self.seq();
        let before = self.with(name, |collection, hashed| {
            let tables = collection.tables.change_to(&definition);
            let before = Collection { tables, building: collection.building.take(), ..Collection::default() };
            let definition = definition.clone();
            let defined = Defined { definition, created, revision: seq, epoch: seq, pending: None, last_refused: None };
            collection.set_defined(hashed, defined);
            before
        });
        self.discard(before);
        let definition = Some(definition);
        changes.push(Change::Definition { collection: name.into(), created, definition });
        Outcome::Defined { created: created == seq }
    }

    /// All records fit the pending definition, and are in its indexes.
    pub(crate) fn finish_change(&mut self, name: &str, changes: &mut Vec<Change>) {
        let seq = self.seq();
        let finished = self.with(name, |collection, hashed| {
            let defined = collection.defined.clone()?;
            let definition = defined.pending.as_ref()?.definition.clone();
            let built = collection.building.take()?;
            let in_force = built.finish(&definition, &collection.tables);
            let tables = std::mem::replace(&mut collection.tables, in_force);
            let created = defined.created;
            let defined = Defined {
                definition: definition.clone(),
                created,
                revision: seq,
                epoch: seq,
                pending: None,
                last_refused: None,
            };
            collection.set_defined(hashed, defined);
            Some((created, definition, Collection { tables, ..Collection::default() }))
        });
        if let Some(Some((created, definition, before))) = finished {
            self.discard(Some(before));
            let definition = Some(definition);
            changes.push(Change::Definition { collection: name.into(), created, definition });
        }
    }

    /// The pending change ends: the definition is as before. False: there was none.
    pub(crate) fn end_change(&mut self, name: &str, why: Option<WhyRefused>) -> bool {
        let seq = self.seq();
        let ended = self.with(name, |collection, hashed| {
            let defined = collection.defined.clone()?;
            let since = defined.pending.as_ref()?.since;
            let building = collection.building.take();
            let last_refused = match why {
                Some(why) => Some(LastRefused { since, why }),
                None => defined.last_refused.clone(),
            };
            let defined = Defined { epoch: seq, pending: None, last_refused, ..Defined::clone(&defined) };
            collection.set_defined(hashed, defined);
            Some(Collection { building, ..Collection::default() })
        });
        let ended = ended.flatten();
        let has_ended = ended.is_some();
        self.discard(ended);
        has_ended
    }

    /// An index of very many records takes long to free: not here.
    fn discard(&mut self, gone: Option<Collection>) {
        self.discarded.extend(gone.filter(|gone| gone.tables_bytes() > 0).map(Arc::new));
    }

    /// The record with this creation number has the values of another one in a pending unique index.
    pub(crate) fn refuse_clash(&mut self, name: &str, number: u64, (index, other): Clash) {
        let ids = self.collection(name).map(|collection| [collection.id_at(other), collection.id_at(number)]);
        self.end_change(name, ids.map(|ids| WhyRefused::UniqueConflict { index, ids }));
    }

    pub(crate) fn give_up(&mut self, name: &str) -> Outcome {
        match self.collection(name).and_then(Collection::epoch) {
            None => Outcome::NoCollection,
            Some(_) if self.end_change(name, None) => Outcome::Dropped,
            Some(_) => Outcome::Missing,
        }
    }

    /// However many records it has, this costs the same: what was discarded is freed elsewhere.
    pub(crate) fn drop_collection(
        &mut self,
        name: &str,
        condition: DefinitionCondition,
        with_records: bool,
        changes: &mut Vec<Change>,
    ) -> Outcome {
        let found = self.collection(name).and_then(|collection| Some((collection, collection.defined.as_ref()?)));
        if !condition.holds(found.map(|(_, defined)| defined.revision)) {
            return Outcome::PreconditionFailed;
        }
        let Some((collection, defined)) = found else { return Outcome::NoCollection };
        if !collection.is_empty() && !with_records {
            return Outcome::NotEmpty(collection.len() as u64);
        }
        let created = defined.created;
        if let Some(gone) = self.collections.remove(name) {
            self.data_sum = self.data_sum.wrapping_sub(gone.data_sum);
            self.progress_sum = self.progress_sum.wrapping_sub(gone.progress_sum);
            self.given_up += gone.bytes() + gone.len() as u64 * RECORD_MEMORY_BYTES + gone.tables_bytes();
            self.discarded.push(gone);
        }
        changes.push(Change::Definition { collection: name.into(), created, definition: None });
        Outcome::Dropped
    }
}

/// Its records are as few as a step may read.
fn is_a_step(collection: &Collection) -> bool {
    collection.len() <= STEP_RECORDS_MAX && collection.bytes() <= STEP_BYTES_MAX as u64
}

impl Collection {
    /// How many records would go at once, because their times begin to count with this definition.
    pub fn would_expire(&self, definition: &Definition, by_ms: u64) -> u64 {
        if definition.expires.is_none() || definition.expires == self.definition().expires {
            return 0;
        }
        let times = Shape::of(&Definition { indexes: Vec::new(), ..definition.clone() });
        let is_over = |record: &str| {
            let time = times.read(record).ok().and_then(|read| read.expires_ms);
            time.is_some_and(|time| i128::from(time) <= i128::from(by_ms))
        };
        self.after(0).filter(|(_, record)| is_over(record.as_str())).count() as u64
    }
}
