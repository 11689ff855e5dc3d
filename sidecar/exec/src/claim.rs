//! A claim to lead, as role.json has it, and the moments that follow from it.

use std::time::Duration;

/// A valid claim that names this pod. Times are on CLOCK_BOOTTIME, since the machine's start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The term that was issued for it.
    pub term: u64,
    /// Until when nobody else can have taken the Lease.
    pub valid_until: Duration,
    /// The duration of the Lease.
    pub duration: Duration,
}

impl Claim {
    /// When everything of this claim must be dead: [`margin`] before its end.
    pub(crate) fn kill_at(&self) -> Duration {
        self.valid_until.saturating_sub(margin(self.duration))
    }

    /// When CMD is stopped if no renewal comes before. The grace that is kept free is a third of the duration at most:
    /// a claim that was just renewed would otherwise end.
    pub(crate) fn stop_at(&self, grace: Duration) -> Duration {
        self.kill_at().saturating_sub(grace.min(self.duration / 3))
    }

    /// How long CMD has after the stop signal, unless the user says otherwise.
    pub(crate) fn usual_grace(&self) -> Duration {
        self.duration / 5
    }
}

/// What is kept free before the end of a claim, to kill and to reap: a tenth of the Lease's duration.
pub fn margin(duration: Duration) -> Duration {
    duration / 10
}

/// What was seen of role.json.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sight {
    /// There is none, or it cannot be read. What was read before stays in force, until its time is over.
    Nothing,
    /// It does not say, in a way that is valid now, that this pod leads.
    NotLeading {
        /// The term of the leader that it names, or the highest seen.
        term: u64,
        /// The pod that leads; None if nobody does.
        leader: Option<String>,
    },
    /// This pod leads.
    Leading(Claim),
}
