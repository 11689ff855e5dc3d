//! Replicas that check each other (5.11 in docs/design.md): the sums of their data are compared every second, and the
//! majority decides.

use crate::replica::Replica;
use crate::{Agreement, Diverged, Position, Seq, Sum};

/// What is known of this replica's data, and of those of the others.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Checks {
    /// The data here have diverged \[D5\].
    mark: Option<Diverged>,
    /// The last verdict.
    verdict: Option<Agreement>,
}

impl Checks {
    /// As the volume shows it at the start.
    pub(crate) fn new(mark: Option<Diverged>) -> Checks {
        Checks { mark, verdict: None }
    }

    pub(crate) fn mark(&self) -> Option<&Diverged> {
        self.mark.as_ref()
    }

    pub(crate) fn verdict(&self) -> Option<&Agreement> {
        self.verdict.as_ref()
    }

    pub(crate) fn have_diverged(&self) -> bool {
        self.mark.is_some()
    }
}

impl Replica {
    /// The shell tells the sum that it was asked for.
    pub(crate) fn on_sum(&mut self, _sequence: Seq, _sum: Option<Sum>) {}

    /// The shell found data that do not have the sum that they should have \[D3\].
    pub(crate) fn on_false_sum(&mut self, _position: Position, _said: Sum, _found: Sum) {}
}
