//! The documents that describe the API, as long as the definitions that they are made from are in force.

use bytes::Bytes;
use leasehold_documents::{Collection, Definition};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// Documents that are kept: clients that see different collections have different ones.
const KEPT_MAX: usize = 4;

/// A collection, as clients see it. Equal ones are described alike; as long as a definition stays, it is the same allocation, so
/// that few bytes are compared.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Seen {
    pub(super) name: String,
    /// What is in force.
    pub(super) definition: Arc<Definition>,
}

impl Seen {
    /// The collection of this name.
    pub(super) fn new(name: &str, collection: &Collection) -> Seen {
        let own = || Arc::new(collection.definition().clone());
        let definition = collection.defined().map_or_else(own, |defined| Arc::clone(&defined.definition));
        Seen { name: name.to_owned(), definition }
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

    fn seen(name: &str, most: u64) -> Seen {
        let definition = Definition { records_max: Some(most), ..Definition::persons() };
        Seen { name: name.to_owned(), definition: Arc::new(definition) }
    }

    #[test]
    fn a_document_is_that_of_equal_definitions_and_the_oldest_is_forgotten() {
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
