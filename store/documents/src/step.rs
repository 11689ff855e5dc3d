//! The leader's steps: each looks at a bounded number of records, and the next leader continues.

use crate::collection::Collection;
use crate::defined::WhyRefused;
use crate::tables::Clash;
use crate::value::BadValue;
use crate::{Change, ChangeKind, Documents, Id, IdRef, Outcome, Record, STEP_BYTES_MAX, STEP_RECORDS_MAX};
use std::sync::Arc;

/// What the records of a step come to.
enum Examined {
    /// All up to here fit.
    Upto(u64),
    Clash(u64, Clash),
    Bad(u64, BadValue),
}

/// How much a step may still look at.
struct Room {
    records: usize,
    bytes: usize,
}

impl Room {
    fn new() -> Room {
        Room { records: STEP_RECORDS_MAX, bytes: STEP_BYTES_MAX }
    }

    /// One more record; the first one always fits.
    fn take(&mut self, record: &Record) -> bool {
        let is_first = self.records == STEP_RECORDS_MAX;
        let length = record.as_str().len();
        if self.records == 0 || length > self.bytes && !is_first {
            return false;
        }
        (self.records, self.bytes) = (self.records - 1, self.bytes.saturating_sub(length));
        true
    }
}

impl Documents {
    /// The pending change gets on: the leader has found that the records up to that number fit its schema.
    pub(crate) fn advance(&mut self, name: &str, upto: u64, changes: &mut Vec<Change>) -> Outcome {
        match self.with(name, |collection, _| examine(collection, upto)).flatten() {
            None => return Outcome::Missing,
            Some(Examined::Upto(cursor)) => {
                let is_last = self.collection(name).is_some_and(|collection| cursor >= collection.last_number);
                if is_last {
                    self.finish_change(name, changes);
                } else {
                    self.move_cursor(name, cursor);
                }
            }
            Some(Examined::Clash(number, clash)) => self.refuse_clash(name, number, clash),
            Some(Examined::Bad(number, bad)) => {
                let id = self.collection(name).map_or(Id::NONE, |collection| collection.id_at(number));
                let why = WhyRefused::BadValue { id, pointer: (*bad.pointer).into(), why: bad.why.into() };
                self.end_change(name, Some(why));
            }
        }
        Outcome::Stepped
    }

    fn move_cursor(&mut self, name: &str, cursor: u64) {
        self.with(name, |collection, hashed| {
            let mut defined = (**collection.defined.as_ref()?).clone();
            defined.pending.as_mut()?.cursor = cursor;
            collection.set_defined(hashed, defined);
            Some(())
        });
    }

    /// The pending change ends, if the record is still what the leader saw: what was written since then fits.
    pub(crate) fn does_not_fit(
        &mut self,
        name: &str,
        (id, tag): (IdRef<'_>, u128),
        pointer: &str,
        rule: &str,
    ) -> Outcome {
        let Some(collection) = self.collection(name) else { return Outcome::NoCollection };
        if collection.pending().is_none() {
            return Outcome::Missing;
        }
        if collection.get(id).is_some_and(|record| record.tag() == tag) {
            let why = WhyRefused::DoesNotFit { id: id.to_owned(), pointer: pointer.into(), rule: rule.into() };
            self.end_change(name, Some(why));
        }
        Outcome::Stepped
    }

    /// The records whose time is over go, the oldest time first.
    pub(crate) fn expire(&mut self, name: &str, upto_ms: u64, changes: &mut Vec<Change>) -> Outcome {
        let Some(collection) = self.collection(name) else { return Outcome::NoCollection };
        if self.settings.expiry_paused {
            return Outcome::Stepped;
        }
        let mut room = Room::new();
        let over = collection.overdue(upto_ms).map_while(|number| {
            let record = collection.by_number.get(&number)?;
            room.take(record).then(|| (collection.id_of(record), record.clone()))
        });
        let over: Vec<(Option<Id>, Record)> = over.collect();
        let shared = self.shared_name(name);
        for (id, record) in over {
            let Some(id) = id else { continue };
            self.give_up_bytes(Some(&record));
            if let Some(Some(number)) = self.with(name, |collection, name| collection.remove(name, id.as_ref())) {
                changes.push(Change::record(Arc::clone(&shared), id.as_ref(), number, ChangeKind::Expired, None));
            }
        }
        Outcome::Stepped
    }

    /// How many records of the collection are over by then, as far as `count`.
    pub fn overdue(&self, collection: &str, upto_ms: u64, count: usize) -> usize {
        self.collection(collection).map_or(0, |collection| collection.overdue(upto_ms).take(count).count())
    }
}

impl Collection {
    /// The creation numbers of the records that are over by then, the oldest time first.
    fn overdue(&self, upto_ms: u64) -> impl Iterator<Item = u64> {
        let upto_ms = i64::try_from(upto_ms).unwrap_or(i64::MAX);
        self.tables.expiry.range(..=(upto_ms, u64::MAX)).map(|(_, number)| *number)
    }
}

/// Enters records behind the cursor into what is being built. None: nothing is pending.
fn examine(collection: &mut Collection, upto: u64) -> Option<Examined> {
    use std::ops::Bound::{Excluded, Included};
    let cursor = collection.pending()?.cursor;
    let upto = upto.min(collection.last_number);
    let building = collection.building.as_mut()?;
    if upto <= cursor || building.is_trivial() {
        return Some(Examined::Upto(upto.max(cursor)));
    }
    let (mut room, mut at) = (Room::new(), cursor);
    for (number, record) in collection.by_number.range((Excluded(cursor), Included(upto))) {
        if !room.take(record) {
            return Some(Examined::Upto(at));
        }
        match building.read(record.as_str()) {
            Err(bad) => return Some(Examined::Bad(*number, bad)),
            Ok(read) => match building.clash(&read, *number) {
                Some(clash) => return Some(Examined::Clash(*number, clash)),
                None => building.enter(&read, *number),
            },
        }
        at = *number;
    }
    Some(Examined::Upto(upto))
}
