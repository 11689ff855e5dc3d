//! Why a pod did not give what it was asked for.

use leasehold_archive::agent::Ended;

/// A pod did not give what it was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    /// What follows from it.
    pub ended: Ended,
    /// For people.
    pub what: String,
}

impl Failed {
    pub(super) fn broken(what: impl Into<String>) -> Failed {
        Failed { ended: Ended::Broken, what: what.into() }
    }
}
