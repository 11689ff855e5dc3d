//! Which collection has records whose time is over.

use super::turn::after;
use crate::Documents;
use leasehold_replication::Seq;

/// A collection with a record whose time is over, in turn: the first one behind that name. Its name and epoch. `now_ms`: the time of
/// day, in milliseconds since 1970.
pub fn next_expiry(documents: &Documents, behind: &str, now_ms: u64) -> Option<(String, Seq)> {
    if documents.expiry_paused() {
        return None;
    }
    after(documents, behind).find_map(|(name, collection)| {
        let epoch = collection.epoch()?;
        let is_due = collection.definition().expires.is_some() && documents.overdue(name, now_ms, 1) > 0;
        is_due.then(|| (name.to_owned(), epoch))
    })
}
