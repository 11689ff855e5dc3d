//! Documents of format 2, and commands as a leader makes them of what it sees.

use super::{read, write};
use crate::*;
use leasehold_replication::{Position, Seq};
use std::ops::Bound;

/// Applies commands at rising positions. After each the running sum is that of the bytes, and a restored snapshot is equal.
#[derive(Default)]
pub(super) struct World {
    pub(super) documents: Documents,
    /// Of the last command.
    pub(super) changes: Vec<Change>,
}

pub(super) fn text(id: &str) -> IdRef<'_> {
    IdRef::Text(id)
}

/// A record with these members beside its id.
pub(super) fn record(id: &str, members: &str) -> String {
    let comma = if members.is_empty() { "" } else { "," };
    format!(r#"{{"id":"{id}"{comma}{members}}}"#)
}

impl World {
    /// With one collection of that definition, `orders`.
    pub(super) fn with(definition: &str) -> World {
        let mut world = World::default();
        assert_eq!(world.define("orders", definition), Outcome::Defined { created: true });
        world
    }

    pub(super) fn apply(&mut self, command: &[u8]) -> Applied {
        let position = Position::new(1, self.documents.applied().seq.0 + 1);
        self.changes.clear();
        let applied = self.documents.apply(position, command, &mut self.changes).unwrap();
        assert_eq!(self.documents.check_sum(), Ok(()), "after {applied:?}");
        self.assert_indexes_are_right();
        applied
    }

    pub(super) fn run(&mut self, work: Work<'_>) -> Applied {
        let command = Command::new(work).encode(2);
        self.apply(&command)
    }

    pub(super) fn keyed(&mut self, name: &str, work: Work<'_>) -> Applied {
        let command = Command::new(work).with_key(Some(Key { name, request: 1 })).encode(2);
        self.apply(&command)
    }

    pub(super) fn epoch(&self, collection: &str) -> Option<Seq> {
        self.documents.collection(collection).and_then(Collection::epoch)
    }

    pub(super) fn on<'a>(&self, collection: &'a str) -> On<'a> {
        On { collection, epoch: self.epoch(collection) }
    }

    pub(super) fn orders(&self) -> &Collection {
        self.documents.collection("orders").unwrap()
    }

    pub(super) fn define(&mut self, collection: &str, definition: &str) -> Outcome {
        self.define_if(collection, definition, DefinitionCondition::None, None)
    }

    pub(super) fn define_if(
        &mut self,
        collection: &str,
        definition: &str,
        condition: DefinitionCondition,
        unless_expired_ms: Option<u64>,
    ) -> Outcome {
        self.run(Work::Define(Define { collection, definition, condition, unless_expired_ms })).outcome
    }

    pub(super) fn one(&mut self, id: &str, action: Action<'_>) -> Outcome {
        self.run(Work::One(self.on("orders"), Operation::new(text(id), action, Condition::None))).outcome
    }

    pub(super) fn put(&mut self, id: &str, members: &str) -> Outcome {
        self.one(id, Action::Put { record: &record(id, members) })
    }

    pub(super) fn create(&mut self, id: &str, members: &str) -> Outcome {
        self.one(id, Action::Create { record: &record(id, members) })
    }

    pub(super) fn advance(&mut self, upto: u64) -> Outcome {
        self.run(Work::Advance { on: self.on("orders"), upto }).outcome
    }

    pub(super) fn expire(&mut self, upto_ms: u64) -> Outcome {
        self.run(Work::Expire { on: self.on("orders"), upto_ms }).outcome
    }

    /// The ids of `orders`, in order of creation.
    pub(super) fn ids(&self) -> Vec<String> {
        let orders = self.orders();
        orders.after(0).map(|(_, record)| orders.id_of(record).unwrap().to_string()).collect()
    }

    /// What a replica has that loads a snapshot now.
    pub(super) fn restored(&self) -> Documents {
        let restored = read(self.documents.applied(), &write(&self.documents)).unwrap();
        assert_eq!(write(&restored), write(&self.documents));
        assert_eq!(restored.sum(), self.documents.sum());
        assert_eq!(tables(&restored), tables(&self.documents));
        restored
    }

    /// Indexes are a function of the records: those of a snapshot are made of them.
    fn assert_indexes_are_right(&self) {
        self.restored();
    }
}

/// All that is made of the records, to compare it.
pub(super) fn tables(documents: &Documents) -> Vec<String> {
    let index = |index: &Index| {
        let entries: Vec<_> = index.range(Bound::Unbounded, Bound::Unbounded).collect();
        format!("{:?} {entries:?}", index.definition())
    };
    let of = |(name, collection): (&str, &Collection)| {
        let tables = &collection.tables;
        let building = collection.building.as_ref().map(|building| building.describe(index));
        let indexes: Vec<String> = tables.indexes.iter().map(index).collect();
        format!("{name} {indexes:?} {:?} {building:?} {:?}", tables.expiry, collection.defined)
    };
    documents.collections().map(of).collect()
}
