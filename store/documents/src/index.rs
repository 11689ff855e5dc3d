//! One index: where each record stands among the others.
//!
//! A persistent set of (key, creation number), so a clone costs nothing, like that of the records. Every record stands in it
//! once, also one that has none of the fields. It is a function of the records and never stored.

use crate::definition::IndexDefinition;
use crate::value::IndexKey;
use imbl::OrdSet;
use std::ops::Bound;
use std::sync::Arc;

/// What an entry uses in memory beside the bytes of its key: its place in the tree, the counts of its `Arc`, the allocator's
/// overhead.
const ENTRY_MEMORY_BYTES: u64 = 72;

/// See the module. A clone shares all but what changes later.
#[derive(Clone, Debug)]
pub struct Index {
    definition: Arc<IndexDefinition>,
    entries: OrdSet<Entry>,
    /// Bytes of all keys.
    key_bytes: u64,
}

/// A record in it: its key, and its creation number.
pub(crate) type Entry = (IndexKey, u64);

impl Index {
    /// Of no records yet.
    pub fn new(definition: IndexDefinition) -> Index {
        Index { definition: Arc::new(definition), entries: OrdSet::new(), key_bytes: 0 }
    }

    /// What it is of.
    pub fn definition(&self) -> &IndexDefinition {
        &self.definition
    }

    /// Enters a record. Nothing changes if it is there under that key.
    pub fn insert(&mut self, key: IndexKey, number: u64) {
        let bytes = key.as_bytes().len() as u64;
        if self.entries.insert((key, number)).is_none() {
            self.key_bytes += bytes;
        }
    }

    /// Takes a record out. Nothing changes if it is not there under that key.
    pub fn remove(&mut self, key: &IndexKey, number: u64) {
        if self.entries.remove(&(key.clone(), number)).is_some() {
            self.key_bytes -= key.as_bytes().len() as u64;
        }
    }

    /// Of a unique index: another record than `own` (0: any) with the same key. None for a key with a none, and for an index
    /// that is not unique.
    pub fn other(&self, key: &IndexKey, own: u64) -> Option<u64> {
        if !self.definition.unique || key.has_none() {
            return None;
        }
        let same = self.entries.range((key.clone(), 0)..=(key.clone(), u64::MAX));
        same.map(|(_, number)| *number).find(|number| *number != own)
    }

    /// How many records are in it.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// No record is in it.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The memory that it uses, approximately.
    pub fn memory_bytes(&self) -> u64 {
        self.key_bytes + self.entries.len() as u64 * ENTRY_MEMORY_BYTES
    }

    /// The entries between these, in order. From what is not below what is excluded at the end, there are none.
    pub(crate) fn range(
        &self,
        from: Bound<Entry>,
        to: Bound<Entry>,
    ) -> impl DoubleEndedIterator<Item = &Entry> + use<'_> {
        self.entries.range((from, to))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::definition::{Definition, Field, FieldKind, Path};
    use crate::value::Shape;

    fn definition(unique: bool) -> IndexDefinition {
        let fields = vec![Field { path: Path::from_pointer("/a").unwrap(), kind: FieldKind::Number }];
        IndexDefinition { fields, unique }
    }

    fn key(a: &str) -> IndexKey {
        let definition = Definition { indexes: vec![definition(false)], ..Definition::persons() };
        Shape::of(&definition).read(&format!("{{\"a\":{a}}}")).unwrap().keys.remove(0)
    }

    #[test]
    fn a_unique_index_finds_the_other_record_with_the_same_key_but_none_with_none() {
        let mut index = Index::new(definition(true));
        for (a, number) in [("1", 5), ("2", 3), ("null", 7), ("\"x\"", 8)] {
            index.insert(key(a), number);
        }
        assert_eq!(index.other(&key("1.0"), 0), Some(5));
        assert_eq!(index.other(&key("1.0"), 5), None);
        assert_eq!(index.other(&key("1.0"), 6), Some(5));
        assert_eq!(index.other(&key("3"), 0), None);
        assert_eq!(index.other(&key("null"), 0), None);
        index.insert(key("1"), 9);
        assert_eq!(index.other(&key("1"), 5), Some(9));
        let mut plain = Index::new(definition(false));
        plain.insert(key("1"), 5);
        assert_eq!(plain.other(&key("1"), 0), None);
    }

    #[test]
    fn every_record_stands_in_it_in_order_and_its_memory_goes_with_the_records() {
        let mut index = Index::new(definition(false));
        let empty = index.memory_bytes();
        let all = [("true", 1), ("10", 2), ("-1", 3), ("2", 4), ("10", 5)];
        for (a, number) in all {
            index.insert(key(a), number);
            index.insert(key(a), number);
        }
        let order: Vec<u64> = index.range(Bound::Unbounded, Bound::Unbounded).map(|(_, number)| *number).collect();
        assert_eq!(order, [3, 4, 2, 5, 1]);
        assert_eq!(index.len(), 5);
        let before = index.clone();
        for (a, number) in all {
            index.remove(&key("77"), number);
            index.remove(&key(a), number);
            index.remove(&key(a), number);
        }
        assert!(index.is_empty() && before.len() == 5);
        assert_eq!(index.memory_bytes(), empty);
    }
}
