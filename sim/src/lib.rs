//! The whole cluster in one thread, from one seed: both real cores, a made-up network, disk, clock and Lease.
//!
//! ```text
//!   seed ─▶ settings ─▶ chaos: faults, writes, invariants at every step ─▶ heal ─▶ liveness ─▶ Summary, or Failure
//! ```
//!
//! A run is a function of its seed: a failing one is repeated with its trace switched on, and reports the seed, the
//! violation and the last lines of the trace. `cargo run -p leasehold-sim -- --seed X --trace` shows it.
//!
//! ```text
//!   play ──▶ model ◀── judge        one object, `Cluster`: what it is, what happens to it, what must be true of it
//! ```
//!
//! Where to read: [`model`] is the simulated world, and [`model::cluster`] all of it; [`play`] drives the cores as the
//! production shells do, and breaks what they rely on; [`judge`] judges.

mod judge;
mod model;
mod options;
mod outcome;
mod plant;
mod play;
pub mod small;

pub use crate::options::Options;
pub use crate::outcome::{Failure, Summary};
pub use crate::plant::{Plant, Shell};
pub use crate::play::products::{Base, PRODUCTS};

use crate::model::cluster::Cluster;
use crate::model::rng::Rng;
use crate::model::settings::Settings;
use crate::model::trace::{self, Trace};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs the cluster of this seed.
///
/// # Errors
/// A violated invariant, a cluster that does not recover, or a panic of a core.
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
    // With its own random numbers: so the older seeds mean the same as before this fault existed.
    settings.goes_back = seed % 4 == 3 && !options.plain && !options.diverging;
    if options.collections {
        // A steward compares two clocks of its machine, and these must agree.
        settings.drift = settings.drift.min(100);
        settings.command_bytes = 8;
    }
    if options.restores {
        settings.choose_backup(seed);
    }
    let mut cluster = Cluster::new(seed, settings, rng, Trace::new(trace_lines));
    cluster.prepare_backup();
    let judged = catch_unwind(AssertUnwindSafe(|| if options.plain { cluster.play_plain() } else { cluster.play() }));
    let violation = cluster.facts.take_violation();
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
            steps: cluster.counts.steps,
            time: cluster.now,
            acknowledged: cluster.clients.acknowledged,
            refused: cluster.clients.refused,
            unknown: cluster.clients.unknown,
            strong_reads: cluster.clients.strong_reads,
            committed: cluster.facts.applied_seq().0,
            expired: cluster.books.expired,
            transactions: cluster.books.transactions,
            terms: cluster.facts.terms_opened() as u64,
            takes: cluster.api.takes,
            settling_takes: cluster.counts.settling_takes,
            settled,
            trace: cluster.trace.into_lines(),
        }),
        Err(what) => {
            let what = format!("at {:.6} s: {}", at.as_secs_f64(), trace::shorten_ids(&what));
            Err(Failure { seed, what, trace: cluster.trace.into_lines() })
        }
    }
}
