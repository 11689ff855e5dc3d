//! What happens round after round: chaos alone, or rolling updates with chaos in between.

use super::plan::{Kind, Plan, Round};
use super::updates::Updates;

/// What a run is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum About {
    Chaos,
    /// Updates from the last release and back to it.
    Skew {
        /// Forward and back once, and nothing breaks.
        quick: bool,
    },
}

/// The rounds of a run.
#[derive(Debug)]
pub(super) enum Course {
    Chaos(Plan),
    Skew(Updates),
}

impl Course {
    /// With these kinds of faults, which last so many times longer than on processes.
    pub(super) fn new(about: About, seed: u64, kinds: &[Kind], stretch: u32) -> Course {
        match about {
            About::Chaos => Course::Chaos(Plan::new(seed, kinds, stretch)),
            About::Skew { quick: true } => Course::Skew(Updates::quick()),
            About::Skew { quick: false } => {
                // The updates are steps of their own.
                let kinds: Vec<Kind> = kinds.iter().copied().filter(|kind| *kind != Kind::Rolling).collect();
                Course::Skew(Updates::new(seed, Plan::new(seed, &kinds, stretch)))
            }
        }
    }

    /// The next round; none: it is over. When the time is up chaos ends, and an update that was begun is ended first.
    pub(super) fn next(&mut self, time_is_up: bool) -> Option<Round> {
        match self {
            Course::Chaos(plan) => (!time_is_up).then(|| plan.next()),
            Course::Skew(updates) => updates.next(time_is_up),
        }
    }
}
