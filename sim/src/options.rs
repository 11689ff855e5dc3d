//! What a run may be asked for.

use crate::plant::Plant;
use std::time::Duration;

/// What a run may be asked for.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// How long faults are made, in virtual time; by the seed if none.
    pub chaos: Option<Duration>,
    /// How many lines of trace a failure carries. 0: the run is not repeated for it.
    pub trace_lines: usize,
    /// Keep the trace in the first place: a run that does not fail has one, too.
    pub always_trace: bool,
    /// What is broken on purpose.
    pub plant: Option<Plant>,
    /// The apps are plain ones: sidecars alone.
    pub plain: bool,
    /// Addresses lead to other pods at times, and to those of another cluster.
    pub strangers: bool,
    /// Memory and disks run short.
    pub room: bool,
}
