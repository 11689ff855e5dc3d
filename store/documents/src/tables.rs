//! What is made of the records of a collection by its definition: indexes, and when records go. A function of the records, the
//! definition and, for a pending change, its cursor; never stored.

use crate::definition::{Definition, IndexDefinition};
use crate::index::Index;
use crate::value::{BadValue, Read, Shape};
use imbl::OrdSet;

/// What an entry of the times uses in memory.
const EXPIRY_MEMORY_BYTES: u64 = 32;

/// When records go, in milliseconds since 1970, and their creation numbers.
pub(crate) type Expiry = OrdSet<(i64, u64)>;

/// Of the definition in force: all records.
#[derive(Clone, Debug)]
pub(crate) struct Tables {
    shape: Shape,
    /// In the order of the definition.
    pub(crate) indexes: Vec<Index>,
    pub(crate) expiry: Expiry,
}

/// Of a pending change: the records up to its cursor. What the definition in force has, too, is not made anew.
#[derive(Clone, Debug)]
pub(crate) struct Building {
    shape: Shape,
    /// In the order of the pending definition; none: one of those in force.
    indexes: Vec<Option<Index>>,
    /// None: that in force.
    expiry: Option<Expiry>,
}

/// A unique index in which another record has the same values: the index, and the other record's creation number.
pub(crate) type Clash = (u8, u64);

impl Tables {
    /// Of no records.
    pub(crate) fn of(definition: &Definition) -> Tables {
        let indexes = definition.indexes.iter().cloned().map(Index::new).collect();
        Tables { shape: Shape::of(definition), indexes, expiry: Expiry::new() }
    }

    /// There is nothing to read in records.
    pub(crate) fn is_trivial(&self) -> bool {
        self.shape.is_empty()
    }

    pub(crate) fn read(&self, record: &str) -> Result<Read, BadValue> {
        self.shape.read(record)
    }

    /// Another record than `own` (0: any) with the same values in a unique index.
    pub(crate) fn clash(&self, read: &Read, own: u64) -> Option<Clash> {
        (0..).zip(self.indexes.iter().zip(&read.keys)).find_map(|(at, (index, key))| Some((at, index.other(key, own)?)))
    }

    pub(crate) fn enter(&mut self, read: &Read, number: u64) {
        for (index, key) in self.indexes.iter_mut().zip(&read.keys) {
            index.insert(key.clone(), number);
        }
        if let Some(expires_ms) = read.expires_ms {
            self.expiry.insert((expires_ms, number));
        }
    }

    pub(crate) fn leave(&mut self, read: &Read, number: u64) {
        for (index, key) in self.indexes.iter_mut().zip(&read.keys) {
            index.remove(key, number);
        }
        if let Some(expires_ms) = read.expires_ms {
            self.expiry.remove(&(expires_ms, number));
        }
    }

    /// For a definition that needs no look at the records: what it has was there before, if there are records at all. Gives
    /// what there was: to free it may take long.
    pub(crate) fn change_to(&mut self, definition: &Definition) -> Tables {
        let is_kept = definition.expires.is_some();
        let before = std::mem::replace(self, Tables::of(definition));
        if is_kept {
            self.expiry = before.expiry.clone();
        }
        for index in &mut self.indexes {
            if let Some(known) = before.indexes.iter().find(|known| known.definition() == index.definition()) {
                *index = known.clone();
            }
        }
        before
    }

    pub(crate) fn memory_bytes(&self) -> u64 {
        self.indexes.iter().map(Index::memory_bytes).sum::<u64>() + expiry_bytes(&self.expiry)
    }
}

impl Building {
    /// Of no records.
    pub(crate) fn of(pending: &Definition, in_force: &Definition) -> Building {
        let index = |index: &IndexDefinition| (!in_force.indexes.contains(index)).then(|| Index::new(index.clone()));
        Building {
            shape: Shape::of(pending),
            indexes: pending.indexes.iter().map(index).collect(),
            expiry: (pending.expires != in_force.expires).then(Expiry::new),
        }
    }

    /// There is nothing to read in records.
    pub(crate) fn is_trivial(&self) -> bool {
        self.shape.is_empty()
    }

    pub(crate) fn read(&self, record: &str) -> Result<Read, BadValue> {
        self.shape.read(record)
    }

    /// As [`Tables::clash`].
    pub(crate) fn clash(&self, read: &Read, own: u64) -> Option<Clash> {
        let mut indexes = (0..).zip(self.indexes.iter().zip(&read.keys));
        indexes.find_map(|(at, (index, key))| Some((at, index.as_ref()?.other(key, own)?)))
    }

    pub(crate) fn enter(&mut self, read: &Read, number: u64) {
        for (index, key) in self.indexes.iter_mut().zip(&read.keys) {
            if let Some(index) = index {
                index.insert(key.clone(), number);
            }
        }
        if let (Some(expiry), Some(expires_ms)) = (&mut self.expiry, read.expires_ms) {
            expiry.insert((expires_ms, number));
        }
    }

    pub(crate) fn leave(&mut self, read: &Read, number: u64) {
        for (index, key) in self.indexes.iter_mut().zip(&read.keys) {
            if let Some(index) = index {
                index.remove(key, number);
            }
        }
        if let (Some(expiry), Some(expires_ms)) = (&mut self.expiry, read.expires_ms) {
            expiry.remove(&(expires_ms, number));
        }
    }

    /// All records are in it: it takes the place of what was in force.
    pub(crate) fn finish(self, pending: &Definition, before: &Tables) -> Tables {
        let mut tables = Tables::of(pending);
        for (index, built) in tables.indexes.iter_mut().zip(self.indexes) {
            let known = || before.indexes.iter().find(|known| known.definition() == index.definition()).cloned();
            if let Some(index_of_all) = built.or_else(known) {
                *index = index_of_all;
            }
        }
        tables.expiry = self.expiry.unwrap_or_else(|| before.expiry.clone());
        tables
    }

    pub(crate) fn memory_bytes(&self) -> u64 {
        let indexes: u64 = self.indexes.iter().flatten().map(Index::memory_bytes).sum();
        indexes + self.expiry.as_ref().map_or(0, expiry_bytes)
    }
}

fn expiry_bytes(expiry: &Expiry) -> u64 {
    expiry.len() as u64 * EXPIRY_MEMORY_BYTES
}

#[cfg(test)]
impl Building {
    pub(crate) fn describe(&self, index: impl Fn(&Index) -> String) -> String {
        let indexes: Vec<String> = self.indexes.iter().flatten().map(index).collect();
        format!("{indexes:?} {:?}", self.expiry)
    }
}
