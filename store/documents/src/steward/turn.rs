//! Whose turn it is, so that no collection waits for another's many steps.

use crate::{Collection, Documents};

/// All collections, in turn: first those behind that name.
pub(super) fn after<'a>(documents: &'a Documents, behind: &'a str) -> impl Iterator<Item = (&'a str, &'a Collection)> {
    let later = documents.collections().filter(move |(name, _)| *name > behind);
    later.chain(documents.collections().filter(move |(name, _)| *name <= behind))
}
