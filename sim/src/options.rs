//! The options of a run.

use crate::plant::Plant;
use std::time::Duration;

/// The options of a run.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// How long faults happen, in virtual time; none: by the seed.
    pub chaos: Option<Duration>,
    /// How many lines of trace a failure carries. 0: the run is not repeated for it.
    pub trace_lines: usize,
    /// Keep the trace from the start: then a successful run has one, too.
    pub always_trace: bool,
    /// What is broken on purpose.
    pub plant: Option<Plant>,
    /// The apps are plain ones: only sidecars.
    pub plain: bool,
    /// Addresses lead to other pods at times, and to those of another cluster.
    pub strangers: bool,
    /// Memory and disks run short.
    pub room: bool,
    /// Pods are of two builds, and change between them with their restarts.
    pub formats: bool,
    /// Stores have collections, and some wall clocks are wrong.
    pub collections: bool,
    /// The first start is one from a backup.
    pub restores: bool,
    /// Data of single replicas differ.
    pub diverging: bool,
}
