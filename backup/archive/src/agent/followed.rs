//! The pod that is followed, and what the archive has where a pod begins to tell.

use super::plants::{Fault, is_planted};
use super::step::{Order, Pod};
use crate::changes::Mark;
use crate::time::Time;
use leasehold_replication::{Seq, Sum};
use std::time::Duration;

/// A pod that is older than this has lost its leader, or is far behind.
pub(super) const STALE_MAX: Duration = Duration::from_secs(5);

/// What the archive has there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Expected {
    pub(super) seq: Seq,
    pub(super) time: Time,
    /// None: what has it is encrypted. Two histories that parted have other times at the same sequence.
    pub(super) hash: Option<Sum>,
}

impl Expected {
    pub(super) fn of(mark: Mark) -> Expected {
        Expected { seq: mark.seq, time: mark.time, hash: Some(mark.hash) }
    }

    pub(super) fn is(&self, mark: &Mark) -> bool {
        self.seq == mark.seq
            && (is_planted(Fault::AcceptsAnyHash) || self.hash.map_or(self.time == mark.time, |hash| hash == mark.hash))
    }
}

/// The pod that is followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Followed {
    pub(super) pod: Pod,
    /// As its last bookmark had it.
    leads: bool,
    pub(super) look: Look,
}

/// For a pod that does not lead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Look {
    Idle,
    /// Where are the pods?
    Resolving,
    /// The pod is being asked for what follows that, beside.
    Asking {
        pod: Pod,
        expected: Expected,
        open: Vec<Pod>,
    },
}

impl Followed {
    pub(super) fn new(pod: Pod, leads: bool) -> Followed {
        Followed { pod, leads, look: Look::Idle }
    }

    /// In what order pods are asked for something large.
    pub(super) fn order(&self) -> Order {
        let pod = Pod::clone(&self.pod);
        if self.leads { Order::Last(pod) } else { Order::First(pod) }
    }

    pub(super) fn says(&mut self, leads: bool) {
        self.leads = leads;
    }

    pub(super) fn may_look(&self) -> bool {
        self.leads && self.look == Look::Idle && !is_planted(Fault::StaysWithTheLeader)
    }
}
