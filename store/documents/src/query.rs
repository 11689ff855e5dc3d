//! Questions to a collection: which records, in which order, page by page.
//!
//! ```text
//!   Query ──plan, at the definition──▶ Plan: one way through the records, and what is left to check on each of them
//!   Plan + Place ──page, with a budget──▶ records, and the Place behind them
//! ```
//!
//! *Ways.* By creation number; by id, which is always indexed; or by an index: fields that must be equal first, then one range
//! or one list of values or one direction of sort. Without a sort, the order is that of the way.
//!
//! *Types.* A path has the type that the first index which names it gives it (`id` is a string), and tests see values of that type
//! alone: an index that types it otherwise does not serve the path. A path of no index has no type: a value equals the
//! string of its letters, and the number or the boolean that it reads as.
//!
//! *What needs an index.* A sort; one of the ranges and prefixes where there is no sort; and any range or prefix needs a
//! type. Other tests are checked record by record. Where a plan leads to one record at most, all are.
//!
//! *Places.* A place is a position of the way, not a record: it stays good whatever is written. A record that keeps its key is
//! seen exactly once; one whose key moves may be seen twice or never.
//!
//! Null counts as absent, and what is absent differs from every value.

mod check;
mod page;
mod plan;

pub use page::{Budget, Counted, Page, Place};
pub use plan::Plan;

use crate::collection::Collection;
use crate::definition::{FieldKind, Path};
use crate::id::{Id, IdKind};
use crate::index::Index;
use crate::record::Record;
use imbl::OrdMap;
use std::sync::LazyLock;

/// The most values of one [`Test::OneOf`].
pub const VALUES_MAX: usize = 100;

/// Which records, in which order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// All of them must hold.
    pub filters: Vec<Filter>,
    /// Ordered by these; what is equal in them, in an order that stays. Empty: all in such an order.
    pub sort: Vec<Path>,
    /// The other way round: what is none comes first.
    pub descending: bool,
}

/// A condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// Of the value there. `/id` is the id of the record.
    pub path: Path,
    /// What it must be.
    pub test: Test,
}

/// What a value must be. The values are as a client writes them, in letters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Test {
    /// This.
    Equals(String),
    /// Not this; also if it is absent.
    Differs(String),
    /// One of these, at most [`VALUES_MAX`].
    OneOf(Vec<String>),
    /// On this side of that.
    Range(Side, String),
    /// A string that begins so.
    Prefix(String),
    /// There, and not null; or not.
    Exists(bool),
}

/// A side of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Greater.
    Above,
    /// Greater or equal.
    From,
    /// Less.
    Below,
    /// Less or equal.
    UpTo,
}

/// Why there is no plan.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// It needs an index that is not there.
    #[error("there is no index of {}", fields.join(", "))]
    NoIndex {
        /// Its fields, as JSON Pointers. They serve in this order; any index that begins so serves, too.
        fields: Vec<String>,
    },
    /// A value is not of the type that its path is indexed with.
    #[error("the path is indexed as {kind:?}")]
    WrongType {
        /// The filter, by its place.
        filter: usize,
        /// What it would have to be.
        kind: FieldKind,
    },
    /// A value for `id` is not an id of this collection, or no beginning of one.
    #[error("the ids of this collection are UUIDs")]
    NoId {
        /// The filter, by its place.
        filter: usize,
    },
}

impl Query {
    /// How to answer it from this collection, as it is now. None: from `persons` before it has its first record.
    ///
    /// # Errors
    /// [`PlanError`]
    pub fn plan(&self, collection: Option<&Collection>) -> Result<Plan, PlanError> {
        plan::plan(self, Source::of(collection))
    }
}

/// What a query sees of a collection.
#[derive(Clone, Copy)]
struct Source<'a> {
    kind: IdKind,
    indexes: &'a [Index],
    ids: &'a OrdMap<Id, u64>,
    records: &'a OrdMap<u64, Record>,
}

impl<'a> Source<'a> {
    fn of(collection: Option<&'a Collection>) -> Source<'a> {
        static NO_IDS: LazyLock<OrdMap<Id, u64>> = LazyLock::new(OrdMap::new);
        static NO_RECORDS: LazyLock<OrdMap<u64, Record>> = LazyLock::new(OrdMap::new);
        match collection {
            Some(collection) => Source {
                kind: collection.definition().id,
                indexes: collection.indexes(),
                ids: collection.ids(),
                records: &collection.by_number,
            },
            None => Source { kind: IdKind::Uuid, indexes: &[], ids: &NO_IDS, records: &NO_RECORDS },
        }
    }
}

fn is_id(path: &Path) -> bool {
    matches!(path.names(), [name] if **name == *"id")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
