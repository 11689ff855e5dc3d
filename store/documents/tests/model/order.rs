//! What the log contains, in the model's words; and the same as a command of the store.

use crate::definition::Definition;
use leasehold_documents as real;
use leasehold_replication::Seq;

#[derive(Clone, Debug)]
pub(crate) struct Order {
    pub(crate) time: u64,
    pub(crate) key: Option<(&'static str, u128)>,
    pub(crate) work: Work,
}

#[derive(Clone, Debug)]
pub(crate) enum Work {
    One(On, Operation),
    Batch(On, Vec<Operation>),
    Transaction(Vec<On>, Vec<(u16, Operation)>),
    Refuse { on: On, is_transaction: bool, problem: &'static str },
    Define { name: String, definition: Definition, condition: OfDefinition, unless_expired: Option<u64> },
    Drop { name: String, condition: OfDefinition, with_records: bool },
    GiveUp { name: String },
    Advance { on: On, upto: u64 },
    DoesNotFit { on: On, id: String, tag: u128 },
    Expire { on: On, upto: u64 },
    Pause(bool),
    Note(u128),
}

/// A collection at an epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct On {
    pub(crate) name: String,
    pub(crate) epoch: u64,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum OfDefinition {
    Always,
    Exists,
    Absent,
    Revision(u64),
}

#[derive(Clone, Debug)]
pub(crate) struct Operation {
    /// A UUID, or a text that is none.
    pub(crate) id: String,
    pub(crate) action: Action,
    pub(crate) condition: Condition,
    pub(crate) seen: Seen,
}

#[derive(Clone, Debug)]
pub(crate) enum Action {
    Create(String),
    Put(String),
    Patch(String),
    Delete,
    Check,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Condition {
    Always,
    Exists,
    Absent,
    Tag(u128),
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Seen {
    Any,
    Absent,
    Tag(u128),
}

pub(crate) const POINTER: &str = "/x";
pub(crate) const RULE: &str = "type";

pub(crate) fn is_uuid(id: &str) -> bool {
    uuid::Uuid::try_parse(id).is_ok()
}

impl Order {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let definition = match &self.work {
            Work::Define { definition, .. } => definition.to_json(),
            _ => String::new(),
        };
        let work = match &self.work {
            Work::One(on, operation) => real::Work::One(on.real(), operation.real()),
            Work::Batch(on, all) => real::Work::Batch(on.real(), all.iter().map(Operation::real).collect()),
            Work::Transaction(on, all) => real::Work::Transaction(
                on.iter().map(On::real).collect(),
                all.iter().map(|(place, operation)| (*place, operation.real())).collect(),
            ),
            Work::Refuse { on, is_transaction, problem } => {
                real::Work::Refuse { on: on.real(), is_transaction: *is_transaction, problem }
            }
            Work::Define { name, condition, unless_expired, .. } => real::Work::Define(real::Define {
                collection: name,
                definition: &definition,
                condition: condition.real(),
                unless_expired_ms: *unless_expired,
            }),
            Work::Drop { name, condition, with_records } => {
                real::Work::Drop { collection: name, condition: condition.real(), with_records: *with_records }
            }
            Work::GiveUp { name } => real::Work::GiveUp { collection: name },
            Work::Advance { on, upto } => real::Work::Advance { on: on.real(), upto: *upto },
            Work::DoesNotFit { on, id, tag } => {
                real::Work::DoesNotFit { on: on.real(), id: id_of(id), tag: *tag, pointer: POINTER, rule: RULE }
            }
            Work::Expire { on, upto } => real::Work::Expire { on: on.real(), upto_ms: *upto },
            Work::Pause(paused) => real::Work::PauseExpiry { paused: *paused },
            Work::Note(hash) => real::Work::NoteFile { hash: *hash },
        };
        let key = self.key.map(|(name, request)| real::Key { name, request });
        real::Command { time_ms: self.time, key, work }.encode(2).to_vec()
    }
}

impl On {
    fn real(&self) -> real::On<'_> {
        real::On { collection: &self.name, epoch: (self.epoch > 0).then_some(Seq(self.epoch)) }
    }
}

impl OfDefinition {
    pub(crate) fn holds(self, revision: Option<u64>) -> bool {
        match self {
            OfDefinition::Always => true,
            OfDefinition::Exists => revision.is_some(),
            OfDefinition::Absent => revision.is_none(),
            OfDefinition::Revision(wanted) => revision == Some(wanted),
        }
    }

    fn real(self) -> real::DefinitionCondition {
        match self {
            OfDefinition::Always => real::DefinitionCondition::None,
            OfDefinition::Exists => real::DefinitionCondition::Exists,
            OfDefinition::Absent => real::DefinitionCondition::Absent,
            OfDefinition::Revision(revision) => real::DefinitionCondition::Revision(Seq(revision)),
        }
    }
}

impl Operation {
    fn real(&self) -> real::Operation<'_> {
        let action = match &self.action {
            Action::Create(record) => real::Action::Create { record },
            Action::Put(record) => real::Action::Put { record },
            Action::Patch(patch) => real::Action::Patch { patch },
            Action::Delete => real::Action::Delete,
            Action::Check => real::Action::Check,
        };
        let condition = match self.condition {
            Condition::Always => real::Condition::None,
            Condition::Exists => real::Condition::Exists,
            Condition::Absent => real::Condition::Absent,
            Condition::Tag(tag) => real::Condition::Tag(tag),
        };
        let seen = match self.seen {
            Seen::Any => real::Seen::Any,
            Seen::Absent => real::Seen::Absent,
            Seen::Tag(tag) => real::Seen::Tag(tag),
        };
        real::Operation { id: id_of(&self.id), action, condition, seen }
    }
}

fn id_of(id: &str) -> real::IdRef<'_> {
    uuid::Uuid::try_parse(id).map_or(real::IdRef::Text(id), real::IdRef::Uuid)
}
