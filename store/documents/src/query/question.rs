//! What a query asks for.

use crate::definition::{FieldKind, Path};

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

pub(super) fn is_id(path: &Path) -> bool {
    matches!(path.names(), [name] if **name == *"id")
}
