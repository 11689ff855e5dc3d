//! The data as docs/design.md describes them in sections 4 and 10, with lists that are searched from end to end.
//!
//! What is bounded by bytes or by thousands (10.8, how many keys are kept) is not in it: histories are short. The tests of the
//! crate look at that.

use crate::definition::Definition;
use crate::json::Json;
use crate::order::{Action, Condition, OfDefinition, On, Operation, Order, POINTER, RULE, Seen, Work, is_uuid};
use std::collections::BTreeMap;

#[derive(Clone, Debug, Default)]
pub(crate) struct Model {
    pub(crate) seq: u64,
    pub(crate) has_collections: bool,
    pub(crate) time: u64,
    pub(crate) is_paused: bool,
    pub(crate) file: Option<u128>,
    pub(crate) collections: BTreeMap<String, Collection>,
    /// Space, key, hash of the request, answer.
    kept: Vec<(String, String, u128, Answer)>,
}

#[derive(Clone, Debug)]
pub(crate) struct Collection {
    pub(crate) definition: Definition,
    pub(crate) created: u64,
    pub(crate) revision: u64,
    pub(crate) epoch: u64,
    pub(crate) pending: Option<Pending>,
    /// The entry that brought the change, and why it was refused.
    pub(crate) refused: Option<(u64, String)>,
    pub(crate) last: u64,
    pub(crate) records: Vec<Record>,
}

#[derive(Clone, Debug)]
pub(crate) struct Pending {
    pub(crate) definition: Definition,
    pub(crate) since: u64,
    pub(crate) cursor: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) number: u64,
    pub(crate) id: String,
    pub(crate) text: String,
}

/// What a client gets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) seq: u64,
    pub(crate) outcome: String,
    pub(crate) id: Option<String>,
    pub(crate) record: Option<String>,
    /// Outcome, id and tag of each.
    pub(crate) operations: Vec<(String, String, Option<u128>)>,
}

/// What watchers get: what became of which record or definition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Record { collection: String, kind: &'static str, id: String, number: u64, text: Option<String> },
    Definition { collection: String, created: u64, definition: Option<String> },
}

impl Record {
    fn json(&self) -> Json {
        Json::parse(&self.text)
    }
}

/// FNV-1a of 128 bits.
pub(crate) fn tag(text: &str) -> u128 {
    let mut hash = 0x6c62272e07bb014262b821756295c58d_u128;
    for byte in text.bytes() {
        hash ^= u128::from(byte);
        hash = hash.wrapping_mul((1 << 88) + 0x13b);
    }
    hash
}

fn is_done(outcome: &str) -> bool {
    let done = [
        "Created",
        "Same",
        "Replaced",
        "Deleted",
        "BatchDone",
        "Checked",
        "Unchanged",
        "Pending",
        "Dropped",
        "Stepped",
    ];
    done.contains(&outcome) || outcome.starts_with("Defined")
}

impl Collection {
    fn new(definition: Definition, seq: u64) -> Collection {
        let (records, pending, refused) = (Vec::new(), None, None);
        Collection { definition, created: seq, revision: seq, epoch: seq, pending, refused, last: 0, records }
    }

    pub(crate) fn get(&self, id: &str) -> Option<&Record> {
        self.records.iter().find(|record| record.id == id)
    }

    fn has_schema(&self) -> bool {
        self.definition.schema.is_some()
            || self.pending.as_ref().is_some_and(|pending| pending.definition.schema.is_some())
    }

    fn end_pending(&mut self, seq: u64, why: String) {
        if let Some(pending) = self.pending.take() {
            self.refused = Some((pending.since, why));
            self.epoch = seq;
        }
    }

    /// The index and the id of a record that stands against this one.
    fn conflict(&self, id: &str, json: &Json) -> Option<(usize, String)> {
        self.definition.indexes.iter().enumerate().find_map(|(place, index)| {
            let other = self.records.iter().find(|other| other.id != id && index.clash(json, &other.json()))?;
            Some((place, other.id.clone()))
        })
    }

    /// The same in what is built so far.
    fn clash(&self, number: u64, json: &Json) -> Option<(usize, String)> {
        let pending = self.pending.as_ref()?;
        let indexes = pending.definition.indexes.iter().enumerate();
        indexes.filter(|(_, index)| !self.definition.indexes.contains(index)).find_map(|(place, index)| {
            let built = self.records.iter().filter(|other| other.number <= pending.cursor && other.number != number);
            let other = built.into_iter().find(|other| index.clash(json, &other.json()))?;
            Some((place, other.id.clone()))
        })
    }
}

impl Model {
    /// The first entry of format 2 defines `persons`.
    fn begin(&mut self, changes: &mut Vec<Change>) {
        if !self.has_collections {
            self.has_collections = true;
            let persons = Definition::persons();
            changes.push(defined("persons", self.seq, &persons));
            self.collections.insert("persons".into(), Collection::new(persons, self.seq));
        }
    }

    /// A change of the voters, of format 2.
    pub(crate) fn voters(&mut self, changes: &mut Vec<Change>) {
        self.seq += 1;
        self.begin(changes);
    }

    pub(crate) fn apply(&mut self, order: &Order, changes: &mut Vec<Change>) -> Answer {
        self.seq += 1;
        self.begin(changes);
        self.time = self.time.max(order.time);
        let space = match &order.work {
            Work::Transaction(..) | Work::Refuse { is_transaction: true, .. } => String::new(),
            Work::One(on, _) | Work::Batch(on, _) | Work::Refuse { on, .. } => on.name.clone(),
            _ => return self.decide(&order.work, changes),
        };
        let Some((key, request)) = order.key else { return self.decide(&order.work, changes) };
        if let Some((.., first, answer)) = self.kept.iter().find(|(one, name, ..)| *one == space && name == key) {
            return if *first == request { answer.clone() } else { self.answer("KeyReused") };
        }
        let answer = self.decide(&order.work, changes);
        let is_kept = !["DefinitionChanged", "NoCollection", "Contention", "Invalid", "InvalidPatch"]
            .contains(&answer.outcome.as_str());
        if is_kept {
            self.kept.push((space, key.to_owned(), request, answer.clone()));
        }
        answer
    }

    fn answer(&self, outcome: &str) -> Answer {
        Answer { seq: self.seq, outcome: outcome.to_owned(), ..Answer::default() }
    }

    fn decide(&mut self, work: &Work, changes: &mut Vec<Change>) -> Answer {
        let ons: &[On] = match work {
            Work::One(on, _) | Work::Batch(on, _) | Work::Refuse { on, .. } => std::slice::from_ref(on),
            Work::Advance { on, .. } | Work::DoesNotFit { on, .. } | Work::Expire { on, .. } => {
                std::slice::from_ref(on)
            }
            Work::Transaction(ons, _) => ons,
            _ => &[],
        };
        for on in ons {
            let outcome = match self.collections.get(&on.name) {
                // The leader saw none either, and refused because of that.
                None if on.epoch == 0 && matches!(work, Work::Refuse { .. }) => continue,
                None => "NoCollection",
                Some(collection) if collection.epoch != on.epoch => "DefinitionChanged",
                Some(_) => continue,
            };
            let id = match work {
                Work::One(_, operation) => Some(operation.id.clone()),
                _ => None,
            };
            return Answer { id, ..self.answer(outcome) };
        }
        let outcome = match work {
            Work::One(on, operation) => return self.one(on, operation, changes),
            Work::Batch(on, all) => {
                let all = all.iter().map(|operation| (&*on.name, operation)).collect();
                return self.all_or_none(all, changes);
            }
            Work::Transaction(ons, all) => {
                let name = |place: u16| ons[usize::from(place)].name.as_str();
                let all = all.iter().map(|(place, operation)| (name(*place), operation)).collect();
                return self.all_or_none(all, changes);
            }
            Work::Refuse { problem, .. } => format!("Refused {problem}"),
            Work::Define { name, definition, condition, unless_expired } => {
                self.define(name, definition, *condition, *unless_expired, changes)
            }
            Work::Drop { name, condition, with_records } => self.drop(name, *condition, *with_records, changes),
            Work::GiveUp { name } => self.give_up(name),
            Work::Advance { on, upto } => self.advance(&on.name, *upto, changes),
            Work::DoesNotFit { on, id, tag } => self.does_not_fit(&on.name, id, *tag),
            Work::Expire { on, upto } => self.expire(&on.name, *upto, changes),
            Work::Pause(paused) => {
                self.is_paused = *paused;
                "Stepped".into()
            }
            Work::Note(hash) => {
                self.file = Some(*hash);
                "Stepped".into()
            }
        };
        self.answer(&outcome)
    }

    fn one(&mut self, on: &On, operation: &Operation, changes: &mut Vec<Change>) -> Answer {
        let outcome = self.operate(&on.name, operation, changes);
        let record = self.collections[&on.name].get(&operation.id).map(|record| record.text.clone());
        Answer { id: Some(operation.id.clone()), record, ..self.answer(&outcome) }
    }

    fn all_or_none(&mut self, all: Vec<(&str, &Operation)>, changes: &mut Vec<Change>) -> Answer {
        let (before, mut operations, mut made) = (self.collections.clone(), Vec::new(), Vec::new());
        for (name, operation) in all {
            let outcome = self.operate(name, operation, &mut made);
            let left = self.collections[name].get(&operation.id).map(|record| tag(&record.text));
            operations.push((outcome.clone(), operation.id.clone(), left));
            if !is_done(&outcome) {
                self.collections = before;
                // The one is no client's answer; the other is no command.
                if outcome == "Contention" || outcome == "Invalid" {
                    return self.answer(&outcome);
                }
                return Answer { operations, ..self.answer("BatchNotDone") };
            }
        }
        changes.append(&mut made);
        Answer { operations, ..self.answer("BatchDone") }
    }

    fn operate(&mut self, name: &str, operation: &Operation, changes: &mut Vec<Change>) -> String {
        let seq = self.seq;
        let collection = self.collections.get_mut(name).expect("it was looked for");
        let Operation { id, action, condition, seen } = operation;
        let found = collection.get(id).cloned();
        if is_uuid(id) != collection.definition.has_uuids {
            return "Invalid".into();
        }
        let has = |wanted: u128| found.as_ref().is_some_and(|record| tag(&record.text) == wanted);
        let holds = match condition {
            Condition::Always => true,
            Condition::Exists => found.is_some(),
            Condition::Absent => found.is_none(),
            Condition::Tag(wanted) => has(*wanted),
        };
        let is_as_seen = match seen {
            Seen::Any => true,
            Seen::Absent => found.is_none(),
            Seen::Tag(wanted) => has(*wanted),
        };
        if !holds {
            return "PreconditionFailed".into();
        }
        if !is_as_seen {
            return "Contention".into();
        }
        let new = match (action, &found) {
            (Action::Check, _) => return "Checked".into(),
            (Action::Delete | Action::Patch(_), None) => return "Missing".into(),
            (Action::Delete, Some(record)) => {
                let number = record.number;
                collection.records.retain(|record| record.number != number);
                changes.push(gone(name, "deleted", record));
                return "Deleted".into();
            }
            (Action::Patch(_), _) if collection.has_schema() => return "Contention".into(),
            (Action::Patch(patch), Some(record)) => {
                let new = record.json().merge(Json::parse(patch));
                if new.at("/id") != Some(&Json::Other(format!("{id:?}"))) {
                    return "InvalidPatch".into();
                }
                new.write()
            }
            (Action::Create(new), Some(record)) if record.text != *new => return "Conflict".into(),
            (Action::Create(new) | Action::Put(new), _) => new.clone(),
        };
        if found.as_ref().is_some_and(|record| record.text == new) {
            return "Same".into();
        }
        let most = collection.definition.records_max;
        if found.is_none() && most.is_some_and(|most| collection.records.len() >= most) {
            return "TooManyRecords".into();
        }
        let json = Json::parse(&new);
        let of_pending = collection.pending.as_ref().map_or(Ok(()), |pending| pending.definition.read(&json));
        if let Err(path) = of_pending.and_then(|()| collection.definition.read(&json)) {
            return format!("BadValue {path}");
        }
        if let Some((index, other)) = collection.conflict(id, &json) {
            return format!("UniqueConflict {index} {other}");
        }
        let (outcome, kind) = if found.is_some() { ("Replaced", "replaced") } else { ("Created", "created") };
        let number = found.map_or(collection.last + 1, |record| record.number);
        collection.last = collection.last.max(number);
        collection.records.retain(|record| record.number != number);
        collection.records.push(Record { number, id: id.clone(), text: new.clone() });
        collection.records.sort_by_key(|record| record.number);
        let is_built = collection.pending.as_ref().is_some_and(|pending| number <= pending.cursor);
        if let Some((index, other)) = collection.clash(number, &json).filter(|_| is_built) {
            collection.end_pending(seq, format!("UniqueConflict {index} {other} {id}"));
        }
        let text = Some(new);
        changes.push(Change::Record { collection: name.into(), kind, id: id.clone(), number, text });
        outcome.into()
    }

    fn define(
        &mut self,
        name: &str,
        new: &Definition,
        condition: OfDefinition,
        unless_expired: Option<u64>,
        changes: &mut Vec<Change>,
    ) -> String {
        let seq = self.seq;
        let Some(collection) = self.collections.get_mut(name) else {
            if !condition.holds(None) {
                return "PreconditionFailed".into();
            }
            self.collections.insert(name.into(), Collection::new(new.clone(), seq));
            changes.push(defined(name, seq, new));
            return "Defined true".into();
        };
        if !condition.holds(Some(collection.revision)) {
            return "PreconditionFailed".into();
        }
        if let Some(pending) = &collection.pending {
            return if pending.definition == *new { "Pending" } else { "DefinitionPending" }.into();
        }
        if collection.definition == *new {
            return "Unchanged".into();
        }
        if (collection.definition.has_uuids, collection.definition.is_persons) != (new.has_uuids, new.is_persons) {
            return "Immutable".into();
        }
        if let Some(now) = unless_expired
            && collection.definition.expires != new.expires
        {
            let is_over = |record: &&Record| new.time(&record.json()).is_some_and(|time| time <= now as i64);
            let over = collection.records.iter().filter(is_over).count();
            if over > 0 {
                return format!("WouldExpire {over}");
            }
        }
        collection.epoch = seq;
        if collection.definition.must_examine(new) && !collection.records.is_empty() {
            collection.pending = Some(Pending { definition: new.clone(), since: seq, cursor: 0 });
            return "Pending".into();
        }
        (collection.definition, collection.revision, collection.refused) = (new.clone(), seq, None);
        changes.push(defined(name, collection.created, new));
        "Defined false".into()
    }

    fn drop(&mut self, name: &str, condition: OfDefinition, with_records: bool, changes: &mut Vec<Change>) -> String {
        let found = self.collections.get(name);
        if !condition.holds(found.map(|collection| collection.revision)) {
            return "PreconditionFailed".into();
        }
        let Some(collection) = found else { return "NoCollection".into() };
        if !with_records && !collection.records.is_empty() {
            return format!("NotEmpty {}", collection.records.len());
        }
        let created = collection.created;
        changes.push(Change::Definition { collection: name.into(), created, definition: None });
        self.collections.remove(name);
        "Dropped".into()
    }

    fn give_up(&mut self, name: &str) -> String {
        let Some(collection) = self.collections.get_mut(name) else { return "NoCollection".into() };
        if collection.pending.take().is_none() {
            return "Missing".into();
        }
        collection.epoch = self.seq;
        "Dropped".into()
    }

    fn advance(&mut self, name: &str, upto: u64, changes: &mut Vec<Change>) -> String {
        let seq = self.seq;
        let collection = self.collections.get_mut(name).expect("it was looked for");
        let Some(pending) = &collection.pending else { return "Missing".into() };
        let (new, cursor) = (pending.definition.clone(), pending.cursor);
        // It was done before.
        if upto <= cursor {
            return "Stepped".into();
        }
        let records = collection.records.clone();
        for record in records.iter().filter(|record| (cursor + 1..=upto).contains(&record.number)) {
            if let Err(path) = new.read(&record.json()) {
                collection.end_pending(seq, format!("BadValue {} {path}", record.id));
                return "Stepped".into();
            }
            if let Some((index, other)) = collection.clash(record.number, &record.json()) {
                collection.end_pending(seq, format!("UniqueConflict {index} {other} {}", record.id));
                return "Stepped".into();
            }
            collection.pending.as_mut().expect("it is").cursor = record.number;
        }
        // A number that no record has any more counts as examined, too.
        collection.pending.as_mut().expect("it is").cursor = upto;
        if upto >= collection.last {
            (collection.pending, collection.refused) = (None, None);
            (collection.definition, collection.revision, collection.epoch) = (new.clone(), seq, seq);
            changes.push(defined(name, collection.created, &new));
        }
        "Stepped".into()
    }

    fn does_not_fit(&mut self, name: &str, id: &str, found: u128) -> String {
        let seq = self.seq;
        let collection = self.collections.get_mut(name).expect("it was looked for");
        if collection.pending.is_none() {
            return "Missing".into();
        }
        if collection.get(id).is_some_and(|record| tag(&record.text) == found) {
            collection.end_pending(seq, format!("DoesNotFit {id} {POINTER} {RULE}"));
        }
        "Stepped".into()
    }

    fn expire(&mut self, name: &str, upto: u64, changes: &mut Vec<Change>) -> String {
        let collection = self.collections.get_mut(name).expect("it was looked for");
        if self.is_paused {
            return "Stepped".into();
        }
        let definition = collection.definition.clone();
        let time = |record: &Record| definition.time(&record.json()).filter(|time| *time <= upto as i64);
        let mut over: Vec<Record> =
            collection.records.iter().filter(|record| time(record).is_some()).cloned().collect();
        over.sort_by_key(|record| (time(record), record.number));
        collection.records.retain(|record| !over.contains(record));
        changes.extend(over.iter().map(|record| gone(name, "expired", record)));
        "Stepped".into()
    }
}

fn defined(name: &str, created: u64, definition: &Definition) -> Change {
    Change::Definition { collection: name.into(), created, definition: Some(definition.to_json()) }
}

fn gone(name: &str, kind: &'static str, record: &Record) -> Change {
    let Record { number, id, .. } = record.clone();
    Change::Record { collection: name.into(), kind, id, number, text: None }
}
