//! What the sum contains of an outcome beside which one it is.

use crate::outcome::Outcome;
use crate::stored::ids::StoredId;

/// What an outcome says beside which one it is, as the sum contains it; without what is for people.
pub(crate) fn detail(outcome: &Outcome) -> Option<String> {
    let detail = match outcome {
        Outcome::UniqueConflict { index, id } => serde_json::to_string(&(index, StoredId::from(id))),
        Outcome::BadValue { pointer, .. } => Ok(pointer.to_string()),
        Outcome::Refused(problem) => Ok(problem.to_string()),
        Outcome::Defined { created } => Ok(created.to_string()),
        Outcome::WouldExpire(count) | Outcome::NotEmpty(count) => Ok(count.to_string()),
        _ => return None,
    };
    Some(detail.expect("texts and numbers have a JSON form"))
}
