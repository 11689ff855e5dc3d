//! The documents that describe the API, as long as the definitions that they are made from are in force.

use bytes::Bytes;
use leasehold_documents::{Collection, Definition};
use leasehold_replication::Seq;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// Documents that are kept: clients that see different collections have different ones.
const KEPT_MAX: usize = 4;

/// A collection, and the state of its definition.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) name: String,
    /// What is in force.
    pub(super) definition: Arc<Definition>,
    /// The entries that defined it first and last; none in format 1, where nothing has defined `persons`.
    revision: Option<(Seq, Seq)>,
}

impl Seen {
    /// The collection of this name.
    pub(super) fn new(name: &str, collection: &Collection) -> Seen {
        let defined = collection.defined();
        let own = || Arc::new(collection.definition().clone());
        Seen {
            name: name.to_owned(),
            definition: defined.map_or_else(own, |defined| Arc::clone(&defined.definition)),
            revision: defined.map(|defined| (defined.created, defined.revision)),
        }
    }
}

#[cfg(test)]
impl Seen {
    /// Of no cluster.
    pub(super) fn of_definition(name: String, definition: Arc<Definition>) -> Seen {
        Seen { name, definition, revision: None }
    }
}

/// Equal ones are described alike: a revision is that of one definition.
impl PartialEq for Seen {
    fn eq(&self, other: &Seen) -> bool {
        self.name == other.name && self.revision == other.revision
    }
}

/// The newest documents, the one that was asked for last first.
#[derive(Default)]
pub(super) struct Described(Mutex<Vec<(Vec<Seen>, Bytes)>>);

impl Described {
    /// The document of these collections, if it is there.
    pub(super) fn get(&self, collections: &[Seen]) -> Option<Bytes> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at = kept.iter().position(|(of, _)| of == collections)?;
        kept[..=at].rotate_right(1);
        kept.first().map(|(_, text)| text.clone())
    }

    /// Keeps it, instead of the one that nobody asked for the longest.
    pub(super) fn put(&self, collections: Vec<Seen>, text: Bytes) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.insert(0, (collections, text));
        kept.truncate(KEPT_MAX);
    }
}

impl fmt::Debug for Described {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Described").finish_non_exhaustive()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn seen(name: &str, revision: u64) -> Seen {
        let revision = Some((Seq(1), Seq(revision)));
        Seen { name: name.to_owned(), definition: Arc::new(Definition::persons()), revision }
    }

    #[test]
    fn a_document_is_that_of_the_same_revisions_and_the_oldest_is_forgotten() {
        let kept = Described::default();
        let text = |number: u64| Bytes::from(number.to_string());
        for number in 1..=4 {
            kept.put(vec![seen("orders", number)], text(number));
        }
        assert_eq!(kept.get(&[seen("orders", 1)]), Some(text(1)));
        kept.put(vec![seen("orders", 5)], text(5));
        assert_eq!(kept.get(&[seen("orders", 2)]), None, "1 was asked for after it");
        for number in [1, 3, 4, 5] {
            assert_eq!(kept.get(&[seen("orders", number)]), Some(text(number)));
        }
        for other in [&[seen("users", 1)][..], &[], &[seen("orders", 1), seen("users", 1)]] {
            assert_eq!(kept.get(other), None);
        }
    }
}
