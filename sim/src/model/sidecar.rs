//! The sidecar's process: the election, and what its shell keeps beside it.

use super::life::Life;
use leasehold_election::Election;
use std::time::Duration;
use uuid::Uuid;

/// The sidecar process of a pod.
#[derive(Clone, Debug)]
pub(crate) struct Sidecar {
    pub(crate) life: Life,
    /// It is not scheduled before this moment.
    pub(crate) frozen_until: Duration,
    pub(crate) up: Option<Box<Up>>,
}

/// A sidecar that runs.
#[derive(Clone, Debug)]
pub(crate) struct Up {
    pub(crate) election: Election,
    /// The run of the store whose lock it waits for.
    pub(crate) waits_for: Option<Uuid>,
    pub(crate) wake_at: Option<Duration>,
    /// The last moment of a step, and the number of steps at it.
    pub(crate) busy: (Duration, u32),
}

impl Sidecar {
    /// Not started yet.
    pub(crate) fn new(pod: usize) -> Sidecar {
        Sidecar { life: Life { pod, run: 1 }, frozen_until: Duration::ZERO, up: None }
    }

    /// There is a process.
    pub(crate) fn is_up(&self) -> bool {
        self.up.is_some()
    }

    /// What it waits for, for a report.
    pub(crate) fn waits(&self) -> String {
        self.up.as_ref().map_or_else(|| "down".to_owned(), |up| format!("{:?}", up.election.waits()))
    }
}
