//! The outcome of a run.

use std::fmt;
use std::time::Duration;

/// What happened in a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Steps of both cores.
    pub steps: u64,
    /// Virtual time.
    pub time: Duration,
    /// Writes that were acknowledged.
    pub acknowledged: u64,
    /// Writes that were refused.
    pub refused: u64,
    /// Writes with an unknown outcome.
    pub unknown: u64,
    /// Strong reads that were answered.
    pub strong_reads: u64,
    /// Entries that were committed.
    pub committed: u64,
    /// (with collections) Records that expired, and transactions that were done.
    pub expired: u64,
    /// See there.
    pub transactions: u64,
    /// Terms that were opened for writes.
    pub terms: u64,
    /// Leaderships that sidecars wrote into the Lease.
    pub takes: u64,
    /// The most leaderships that one settling took.
    pub settling_takes: u64,
    /// How long it took to settle after everything was healed.
    pub settled: Duration,
    /// The lines of the trace, if it was asked for.
    pub trace: Vec<String>,
}

/// A run in which something was wrong.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The run.
    pub seed: u64,
    /// What was wrong.
    pub what: String,
    /// The last lines of what happened.
    pub trace: Vec<String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {}", self.seed)?;
        for line in &self.trace {
            writeln!(f, "{line}")?;
        }
        write!(f, "seed {}: {}", self.seed, self.what)
    }
}

impl std::error::Error for Failure {}
