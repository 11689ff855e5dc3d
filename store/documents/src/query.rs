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
mod question;
mod source;

pub use page::{Budget, Counted, Page, Place};
pub use plan::Plan;
pub use question::{Filter, PlanError, Query, Side, Test, VALUES_MAX};

use crate::collection::Collection;
use source::Source;

impl Query {
    /// How to answer it from this collection, as it is now. None: from `persons` before it has its first record.
    ///
    /// # Errors
    /// [`PlanError`]
    pub fn plan(&self, collection: Option<&Collection>) -> Result<Plan, PlanError> {
        plan::plan(self, Source::of(collection))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
