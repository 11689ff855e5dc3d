//! The next step of a pending definition: records are checked by its schema.

use crate::schema::Schemas;
use leasehold_documents::steward::{Misfit, Step, new_schema};
use leasehold_documents::{Collection, DefinitionError};

/// The step for such a collection; none if nothing is pending. It may take long: it reads records, and may compile a schema.
///
/// # Errors
/// This build cannot read the schema: another one accepted it.
pub(super) fn step(collection: &Collection, schemas: &Schemas) -> Result<Option<Step>, DefinitionError> {
    let schema = new_schema(collection).map(|schema| schemas.of(schema)).transpose()?;
    let check = |record: &str| {
        let violation = schema.as_ref()?.check(record).err()?;
        Some(Misfit { pointer: violation.pointer, rule: violation.rule })
    };
    Ok(Step::of(collection, check))
}
