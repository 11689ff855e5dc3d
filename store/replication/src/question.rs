//! A replica's question how far it must have applied: at once, or at leisure.

use crate::{ConnId, Seq};

/// The bit that marks a question at leisure.
pub(crate) const AT_LEISURE: u64 = 1 << 63;

/// Is this the number of a question that waits for the next heartbeat?
pub(crate) fn is_at_leisure(number: u64) -> bool {
    number & AT_LEISURE != 0
}

/// A question that a leader has to answer.
#[derive(Clone, Copy, Debug, Hash)]
pub(crate) struct ReadAsk {
    /// The replica to answer; none: ourselves.
    pub(crate) from: Option<ConnId>,
    /// The asker's number for it.
    pub(crate) number: u64,
    /// Set as soon as the term is open: the commit at that time, and the first round that began later.
    pub(crate) at: Option<(Seq, u64)>,
}

impl ReadAsk {
    pub(crate) fn is_at_leisure(&self) -> bool {
        self.from.is_some() && is_at_leisure(self.number)
    }
}
