//! Do the data have the sum that they should? Their sum from the bytes of everything, beside the one that each write changes.

use super::sums::{self, Name};
use super::{Collection, Documents};
use leasehold_replication::{Position, Sum};

/// What data say of themselves is not what their bytes make: one of the two was damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the data at {position} should have the sum {said}, and have {found}")]
pub struct FalseSum {
    /// Of the data.
    pub position: Position,
    /// What was written beside them, or kept while they were written.
    pub said: Sum,
    /// What their bytes make.
    pub found: Sum,
}

impl Documents {
    /// The sum of the state, as each write has changed it. Costs nothing.
    pub fn sum(&self) -> Sum {
        let rest = self.progress_sum.wrapping_add(self.settings.sum());
        Sum(self.data_sum.wrapping_add(rest).wrapping_add(self.keys.sum()))
    }

    /// Of records, creation numbers and the definitions in force alone: what the changes of entries make of it follows from
    /// them.
    pub fn data_sum(&self) -> Sum {
        Sum(self.data_sum)
    }

    /// Of the kept answers to writes with a key alone.
    pub fn keys_sum(&self) -> Sum {
        Sum(self.keys.sum())
    }

    /// The sum of the state, from the bytes of everything. About 0.2 s for a million records: never on the driver.
    pub fn recomputed_sum(&self) -> Sum {
        let all = self.collections.iter().map(|(name, collection)| collection.recomputed_sums(Name::of(name)));
        let all = all.fold(0, |sum: u128, (data, progress)| sum.wrapping_add(data).wrapping_add(progress));
        Sum(all.wrapping_add(self.settings.sum()).wrapping_add(self.keys.recomputed_sum()))
    }

    /// Do the data have the sum that they should? As long as [`Documents::recomputed_sum`].
    ///
    /// # Errors
    /// [`FalseSum`]
    pub fn check_sum(&self) -> Result<(), FalseSum> {
        let (position, said, found) = (self.applied(), self.sum(), self.recomputed_sum());
        if said == found { Ok(()) } else { Err(FalseSum { position, said, found }) }
    }
}

impl Collection {
    /// Of the data, and of the rest. By the index of ids, so that a damaged index shows, too.
    pub(crate) fn recomputed_sums(&self, name: Name) -> (u128, u128) {
        let records = self.by_id.iter().filter_map(|(id, number)| {
            let record = self.by_number.get(&number)?;
            Some(sums::of_record(name, id, number, record.as_str()))
        });
        let (definition, progress) = self.defined.as_deref().map_or((0, 0), |defined| sums::of_defined(name, defined));
        let data = records.fold(sums::of_number(name, self.last_number), u128::wrapping_add);
        (data.wrapping_add(definition), progress)
    }
}
