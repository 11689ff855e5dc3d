//! What is next for the change of a definition that is pending.

use super::turn::after;
use crate::{Collection, Documents, Id, On, STEP_BYTES_MAX, STEP_RECORDS_MAX, Work};
use leasehold_replication::Seq;
use std::sync::Arc;

/// The step that comes next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// The records up to this number fit the schema. Apply enters as many of them into new indexes as a step may.
    Advance {
        /// `u64::MAX`: all that are there fit, and those that come are checked before they are written.
        upto: u64,
    },
    /// This record does not.
    DoesNotFit {
        /// The record.
        id: Id,
        /// Its tag: another one may fit.
        tag: u128,
        /// Where it does not, and why.
        misfit: Misfit,
    },
}

/// Why a record does not fit a schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misfit {
    /// Where, as a JSON Pointer into the record.
    pub pointer: String,
    /// The rule of the schema, such as `minLength`.
    pub rule: String,
}

/// How far a change is: the same twice means that a step did nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The collection.
    pub collection: String,
    /// The epoch that the change began.
    pub epoch: Seq,
    cursor: u64,
}

impl Mark {
    /// None: nothing is pending.
    pub fn of(name: &str, collection: &Collection) -> Option<Mark> {
        let defined = collection.defined()?;
        let cursor = defined.pending.as_ref()?.cursor;
        Some(Mark { collection: name.to_owned(), epoch: defined.epoch, cursor })
    }
}

/// A collection whose change is pending, in turn: the first one behind that name, without those that are stuck.
pub fn next_change(documents: &Documents, behind: &str, stuck: &[Mark]) -> Option<(Mark, Collection)> {
    after(documents, behind).find_map(|(name, collection)| {
        let mark = Mark::of(name, collection).filter(|mark| !stuck.contains(mark))?;
        Some((mark, collection.clone()))
    })
}

/// The schema by which records must be examined. What is in force already was checked when they were written: then, and where
/// nothing is pending, there is none.
pub fn new_schema(collection: &Collection) -> Option<&Arc<str>> {
    let defined = collection.defined()?;
    let schema = defined.pending.as_ref()?.definition.schema.as_ref()?;
    (Some(schema) != defined.definition.schema.as_ref()).then_some(schema)
}

impl Step {
    /// The next step of the change that is pending there; none if none is. `check` says what is wrong with a record by
    /// [`new_schema`]; without one nothing is asked. It looks at as many records as a step may.
    pub fn of(collection: &Collection, mut check: impl FnMut(&str) -> Option<Misfit>) -> Option<Step> {
        let cursor = collection.pending()?.cursor;
        if new_schema(collection).is_none() {
            return Some(Step::Advance { upto: u64::MAX });
        }
        let (mut records, mut bytes, mut upto) = (0, 0, cursor);
        for (number, record) in collection.after(cursor) {
            bytes += record.as_str().len();
            if records == STEP_RECORDS_MAX || records > 0 && bytes > STEP_BYTES_MAX {
                return Some(Step::Advance { upto });
            }
            if let Some(misfit) = check(record.as_str()) {
                let (id, tag) = (collection.id_of(record).unwrap_or(Id::NONE), record.tag());
                return Some(Step::DoesNotFit { id, tag, misfit });
            }
            (records, upto) = (records + 1, number);
        }
        Some(Step::Advance { upto: u64::MAX })
    }

    /// As the log has it.
    pub fn work<'a>(&'a self, on: On<'a>) -> Work<'a> {
        match self {
            Step::Advance { upto } => Work::Advance { on, upto: *upto },
            Step::DoesNotFit { id, tag, misfit } => {
                let Misfit { pointer, rule } = misfit;
                Work::DoesNotFit { on, id: id.as_ref(), tag: *tag, pointer, rule }
            }
        }
    }
}
