//! The whole cluster in one thread, from one seed: both real cores, a made-up network, disk, clock and Lease.
//!
//! ```text
//!   seed ─▶ settings ─▶ chaos: faults, writes, invariants at every step ─▶ heal ─▶ liveness ─▶ Summary, or Failure
//! ```
//!
//! A run is a function of its seed: a failing one is repeated with its trace switched on, and gives the seed, what is
//! wrong and the last lines of what happened. `cargo run -p leasehold-sim -- --seed X --trace` shows it.
//!
//! Where to read: [`model`] is the made-up world, and [`model::cluster`] all of it; [`play`] drives the cores as the
//! production shells do, and breaks what they stand on; [`judge`] judges.

mod judge;
mod model;
mod plant;
mod play;
pub mod small;

use crate::model::cluster::Cluster;
use crate::model::rng::Rng;
use crate::model::settings::Settings;
use crate::model::trace::Trace;
pub use crate::plant::{Plant, Shell};
pub use crate::play::products::{Base, PRODUCTS};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
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
    /// Writes whose outcome nobody was told.
    pub unknown: u64,
    /// Strong reads that were answered.
    pub strong_reads: u64,
    /// Entries that were committed.
    pub committed: u64,
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

/// Runs the cluster of this seed.
///
/// # Errors
/// A violated invariant, a cluster that does not come right, or a panic of a core.
pub fn run(seed: u64, options: &Options) -> Result<Summary, Failure> {
    let lines = if options.always_trace { options.trace_lines } else { 0 };
    let first = run_traced(seed, options, lines);
    match first {
        Err(_) if lines == 0 && options.trace_lines > 0 => run_traced(seed, options, options.trace_lines),
        result => result,
    }
}

fn run_traced(seed: u64, options: &Options, trace_lines: usize) -> Result<Summary, Failure> {
    let _planted = plant::Planted::new(options.plant);
    let mut rng = Rng::new(seed);
    let mut settings = Settings::new(&mut rng, options);
    // By the seed's own number: what the others meant before there was this fault, they mean still.
    settings.goes_back = seed % 4 == 3 && !options.plain;
    let mut cluster = Cluster::new(seed, settings, rng, Trace::new(trace_lines));
    let judged = catch_unwind(AssertUnwindSafe(|| if options.plain { cluster.play_plain() } else { cluster.play() }));
    let violation = cluster.checker.take_violation();
    let at = cluster.now;
    let wrong = match (violation, judged) {
        (Some(what), _) => Err(what),
        (None, Ok(result)) => result,
        (None, Err(panic)) => {
            let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
            Err(format!("a core panicked: {}", text.unwrap_or("(no text)")))
        }
    };
    match wrong {
        Ok(settled) => Ok(Summary {
            steps: cluster.steps,
            time: cluster.now,
            acknowledged: cluster.clients.acknowledged,
            refused: cluster.clients.refused,
            unknown: cluster.clients.unknown,
            strong_reads: cluster.clients.strong_reads,
            committed: cluster.checker.applied_seq().0,
            terms: cluster.checker.terms_opened() as u64,
            takes: cluster.api.takes,
            settling_takes: cluster.settling_takes,
            settled,
            trace: cluster.trace.into_lines(),
        }),
        Err(what) => {
            let what = format!("at {:.6} s: {}", at.as_secs_f64(), model::trace::shorten_ids(&what));
            Err(Failure { seed, what, trace: cluster.trace.into_lines() })
        }
    }
}
