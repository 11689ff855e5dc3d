//! The steps of the updates that were made, each with what it cost.

use std::{fmt::Write as _, sync::Mutex, time::Duration};

use leasehold_api::lock;

use super::timeline::TimeLine;

/// All of a run.
#[derive(Debug, Default)]
pub(super) struct Steps(Mutex<Vec<Step>>);

/// One that is over: the cluster is whole again.
#[derive(Clone, Debug)]
pub(super) struct Step {
    pub(super) words: String,
    /// What else was broken meanwhile.
    pub(super) beside: usize,
    pub(super) from: Duration,
    pub(super) to: Duration,
    /// Writes that were acknowledged meanwhile.
    pub(super) acknowledged: u64,
}

impl Steps {
    pub(super) fn made(&self, step: Step) {
        lock(&self.0).push(step);
    }

    /// Lines for the summary; none without steps. To be asked when clients have stopped: a gap is known when it is over.
    pub(super) fn lines(&self, line: &TimeLine) -> String {
        let (steps, mut out) = (lock(&self.0), String::new());
        if steps.is_empty() {
            return out;
        }
        let faults = line.faults_so_far().saturating_sub(steps.len());
        let _ = writeln!(out, "{} steps of updates, {faults} other faults; of each step:", steps.len());
        let _ = writeln!(out, "         took   writes   longest pause");
        for step in steps.iter() {
            let _ = write!(
                out,
                "    {:7.2} s  {:7}       {:7.2} s   {}",
                (step.to - step.from).as_secs_f64(),
                step.acknowledged,
                line.longest_gap_between(step.from, step.to).as_secs_f64(),
                step.words
            );
            let _ = match step.beside {
                0 => writeln!(out),
                1 => writeln!(out, " (and another fault)"),
                more => writeln!(out, " (and {more} other faults)"),
            };
        }
        out
    }
}
