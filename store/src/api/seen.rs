//! The collections that a client sees: what `/openapi.json` and `GET /` speak of.

use super::context::Context;
use super::described::Seen;
use super::rights::Rights;
use leasehold_documents::{COLLECTIONS, Collection, PERSONS};

/// Those that this client may read, by name. In format 1 `persons` is there before its first record.
pub(super) fn seen(context: &Context, rights: &Rights) -> Vec<Seen> {
    let documents = context.handle.documents();
    let mut all: Vec<Seen> = documents.collections().map(|(name, collection)| Seen::new(name, collection)).collect();
    if all.is_empty() && documents.format() < COLLECTIONS {
        all.push(Seen::new(PERSONS, &Collection::default()));
    }
    all.retain(|one| rights.reads(&one.name));
    all
}
