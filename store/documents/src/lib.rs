//! The data: collections of JSON records, as the entries of the log up to one position leave them.
//!
//! ```text
//!   log ──apply(position, command)──▶ Documents ──clone, O(1)──▶ readers (a consistent view at `applied`)
//!                                               ──clone, O(1)──▶ snapshot.json (without stopping writes)
//! ```
//!
//! Where to read: what there is (`definition`, `collection`, `command`, `outcome`), what an entry does (`apply`, `operate`, `define`,
//! `step`), what a leader does by itself ([`steward`]) and for a file of definitions (`file`), what is made of the records (`value`,
//! `index`, `tables`), how it is kept and checked (`stored`, [`snapshot`], `sums`, `check`, `size`), and how it is made again of changes
//! ([`replay`]).
//!
//! Pure: what a command does depends on the documents and the command alone, so every replica decides the same. Each record
//! has a creation number, counted per collection from 1 and never used twice. It is the order of every list, it stays when
//! the record is replaced, and it survives a snapshot exactly. The maps are persistent (a B+ tree that shares what did not
//! change), so a clone costs nothing and a write costs O(log n), whatever holds old clones.

mod apply;
mod check;
mod codec;
mod collection;
mod command;
mod define;
mod defined;
mod definition;
mod file;
mod format;
mod id;
mod ids;
mod index;
mod keys;
mod letters;
mod merge;
mod moment;
mod number;
mod operate;
mod outcome;
mod plants;
mod query;
mod record;
pub mod replay;
mod settings;
mod size;
pub mod snapshot;
mod step;
pub mod steward;
mod stored;
mod sums;
mod tables;
mod value;

pub use check::FalseSum;
pub use collection::Collection;
pub use command::{
    Action, BATCH_OPERATIONS_MAX, Command, CommandError, Condition, Define, DefinitionCondition, ENTRY_BYTES_MAX,
    GONE_BYTES_MAX, KEY_BYTES_MAX, Key, MERGED_BYTES_MAX, On, Operation, STEP_BYTES_MAX, STEP_RECORDS_MAX, Seen,
    UnknownCommand, Work,
};
pub use defined::{Defined, LastRefused, Pending, WhyRefused};
pub use definition::{
    COLLECTIONS_MAX, Definition, DefinitionChange, DefinitionError, FIELDS_MAX, Field, FieldKind, Form, INDEXES_MAX,
    IndexDefinition, NAME_BYTES_MAX, PATH_BYTES_MAX, PATH_STEPS_MAX, PERSONS, Path, RESERVED_NAMES, SCHEMA_BYTES_MAX,
    is_name,
};
pub use file::{CollectionsFile, FileStep, NO_FILE, Standing};
pub use format::{COLLECTIONS, FORMAT, FORMAT_MIN, MADE_UP_KEY, readable};
pub use id::{ID_BYTES_MAX, Id, IdKind, IdRef};
pub use index::Index;
pub use keys::{KEY_ENTRIES_MAX, KEYS_BYTES_MAX, KEYS_MAX};
pub use merge::{MergeError, merge};
pub use number::{DIGITS_MAX, EXPONENT_MAX};
pub use outcome::{Applied, Change, ChangeKind, Operated, Outcome, RecordChange};
pub use plants::Fault;
#[cfg(feature = "plants")]
pub use plants::plant;
pub use query::{Budget, Counted, Filter, Page, Place, Plan, PlanError, Query, Side, Test, VALUES_MAX};
pub use record::{RECORD_BYTES_MAX, Record, tag_of};
pub use size::RECORD_MEMORY_BYTES;
pub use stored::{StoredCollections, StoredDefinitions, StoredError, StoredKey, StoredOrder, StoredState};
pub use value::{BadValue, IndexKey, Read, STRING_BYTES_MAX, Shape};

use imbl::OrdMap;
use keys::Keys;
use leasehold_replication::Position;
use settings::Settings;
use std::sync::Arc;

/// All collections at one position of the log. A clone is cheap and never changes.
#[derive(Clone, Debug)]
pub struct Documents {
    /// The last entry that this includes.
    applied: Position,
    /// 1, or 2 from the first entry of format 2 on.
    format: u32,
    /// Shared, so that a copied node of the map is small.
    collections: OrdMap<Arc<str>, Arc<Collection>>,
    /// The sum of all collections' records, numbers and definitions, as each write changes it (`sums`).
    data_sum: u128,
    /// The sum of what else their definitions say.
    progress_sum: u128,
    /// What is about no collection. It has a sum of its own, as the keys have.
    settings: Settings,
    /// The answers to writes with a key.
    keys: Keys,
    /// Bytes of records and their places that were dropped since the start: a reader of an older view still holds them.
    given_up: u64,
    /// Collections that were dropped, and indexes as parts of such ones, until somebody frees them.
    discarded: Vec<Arc<Collection>>,
    /// Alive as long as a clone of this view is; see [`Documents::renew`].
    view: Arc<()>,
}

impl Default for Documents {
    fn default() -> Documents {
        Documents {
            applied: Position::default(),
            format: FORMAT_MIN,
            collections: OrdMap::new(),
            data_sum: 0,
            progress_sum: 0,
            settings: Settings::default(),
            keys: Keys::default(),
            given_up: 0,
            discarded: Vec::new(),
            view: Arc::default(),
        }
    }
}

impl Documents {
    /// No data, before the first entry.
    pub fn new() -> Documents {
        Documents::default()
    }

    /// The last entry that this includes.
    pub fn applied(&self) -> Position {
        self.applied
    }

    /// The format of the data: 2 from the first entry of that format on, which defines `persons`.
    pub fn format(&self) -> u32 {
        self.format
    }

    /// The records of that kind; none if there never was one.
    pub fn collection(&self, name: &str) -> Option<&Collection> {
        self.collections.get(name).map(|collection| &**collection)
    }

    /// Its name, shared.
    pub(crate) fn shared_name(&self, name: &str) -> Arc<str> {
        self.collections.get_key_value(name).map_or_else(|| name.into(), |(known, _)| Arc::clone(known))
    }

    /// Is there such a collection, for clients? In format 1 there is `persons`, also before its first record.
    pub fn has_collection(&self, name: &str) -> bool {
        self.collections.contains_key(name) || (name == PERSONS && self.format < COLLECTIONS)
    }

    /// All collections, by name.
    pub fn collections(&self) -> impl Iterator<Item = (&str, &Collection)> {
        self.collections.iter().map(|(name, collection)| (&**name, &**collection))
    }

    /// What was dropped since the last call: free it where nothing waits.
    pub fn take_discarded(&mut self) -> Vec<Arc<Collection>> {
        std::mem::take(&mut self.discarded)
    }

    /// The highest time of all commands, by the clocks of their leaders, in milliseconds since 1970; 0 before format 2.
    pub fn time_ms(&self) -> u64 {
        self.settings.time_ms
    }

    /// Nothing expires until somebody ends the pause.
    pub fn expiry_paused(&self) -> bool {
        self.settings.expiry_paused
    }

    /// The hash of the file of definitions that was applied last ([`CollectionsFile::hash`]).
    pub fn noted_file(&self) -> Option<u128> {
        self.settings.file
    }
}

#[cfg(any(test, feature = "testing"))]
#[doc(hidden)]
#[allow(clippy::missing_panics_doc)]
impl Documents {
    /// Changes a record in memory alone, as a faulty machine does: nothing else notices.
    pub fn damage(&mut self, collection: &str, id: uuid::Uuid, from: &str, to: &str) {
        let records = Arc::make_mut(self.collections.get_mut(collection).expect("the collection exists"));
        let number = records.by_id.get(IdRef::Uuid(id)).expect("the record exists");
        let record = records.by_number.get_mut(&number).expect("each id has its record");
        let damaged = record.as_str().replacen(from, to, 1);
        assert_ne!(damaged, record.as_str(), "{from:?} is not in it");
        *record = Record::from(damaged);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
