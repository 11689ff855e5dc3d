//! What is next for the change of a definition that is pending.

use super::turn::after;
use crate::schema::{Schema, Schemas};
use leasehold_documents::{Collection, DefinitionError, Documents, Id, Pending, STEP_BYTES_MAX, STEP_RECORDS_MAX};
use leasehold_replication::Seq;
use std::sync::Arc;

/// The step that comes next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The records up to this number fit the schema. Apply enters as many of them into new indexes as a step may.
    Advance {
        /// `u64::MAX`: all that are there fit, and those that come are checked before they are written.
        upto: u64,
    },
    /// This record does not.
    DoesNotFit { id: Id, tag: u128, pointer: String, rule: String },
}

/// How far a change is: the same twice means that a step did nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) collection: String,
    pub(super) epoch: Seq,
    cursor: u64,
}

impl Mark {
    /// None: nothing is pending.
    pub(super) fn of(name: &str, collection: &Collection) -> Option<Mark> {
        let defined = collection.defined()?;
        let cursor = defined.pending.as_ref()?.cursor;
        Some(Mark { collection: name.to_owned(), epoch: defined.epoch, cursor })
    }
}

/// A collection whose change is pending, in turn: the first one behind that name, without those that are stuck.
pub(super) fn next(documents: &Documents, behind: &str, stuck: &[Mark]) -> Option<(Mark, Collection)> {
    after(documents, behind).find_map(|(name, collection)| {
        let mark = Mark::of(name, collection).filter(|mark| !stuck.contains(mark))?;
        Some((mark, collection.clone()))
    })
}

/// The step for such a collection; none if nothing is pending. It may take long: it reads records, and may compile a schema.
///
/// # Errors
/// This build cannot read the schema: another one accepted it.
pub(super) fn step(collection: &Collection, schemas: &Schemas) -> Result<Option<Step>, DefinitionError> {
    let Some(defined) = collection.defined() else { return Ok(None) };
    let Some(pending) = &defined.pending else { return Ok(None) };
    // What is in force already was checked when the records were written.
    let schema =
        pending.definition.schema.as_ref().filter(|schema| Some(*schema) != defined.definition.schema.as_ref());
    let Some(schema) = schema else { return Ok(Some(Step::Advance { upto: u64::MAX })) };
    let schema = schemas.of(schema)?;
    Ok(Some(examine(collection, pending, &schema)))
}

/// Looks at the records behind the cursor, as many as a step may.
fn examine(collection: &Collection, pending: &Pending, schema: &Arc<Schema>) -> Step {
    let (mut records, mut bytes, mut upto) = (0, 0, pending.cursor);
    for (number, record) in collection.after(pending.cursor) {
        bytes += record.as_str().len();
        if records == STEP_RECORDS_MAX || records > 0 && bytes > STEP_BYTES_MAX {
            return Step::Advance { upto };
        }
        if let Err(violation) = schema.check(record.as_str()) {
            let (id, tag) = (collection.id_of(record).unwrap_or(Id::NONE), record.tag());
            return Step::DoesNotFit { id, tag, pointer: violation.pointer, rule: violation.rule };
        }
        (records, upto) = (records + 1, number);
    }
    Step::Advance { upto: u64::MAX }
}
