//! Checks the whole history, and explains its violations so that a person can follow.

use std::collections::BTreeSet;
use std::fmt;

use super::collections::{self, Collections};
use super::linear::{BUDGET, Linear, Step, check};
use super::operation::{Call, Effect, Operation, Outcome};
use super::recorder::Recorded;
use super::sequences;
use super::smallest::smallest;
use super::writes::Told;

/// The result.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// What can never be right, each with the operations that show it.
    pub violations: Vec<String>,
    /// Records whose acknowledged writes are not there in the end.
    pub lost: usize,
    /// Records that could not be decided within the budget.
    pub undecided: usize,
    /// How many of what.
    pub counts: Counts,
}

/// How many operations got which answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Writes that were done, or declined for good (409, 412, 404 of a DELETE): decided in the log.
    pub acknowledged: usize,
    /// Writes that were refused: not done.
    pub refused: usize,
    /// Writes that may be done or not.
    pub unknown: usize,
    /// Strong reads that were answered.
    pub reads: usize,
    /// Local reads that were answered.
    pub local_reads: usize,
    /// Records that were written to.
    pub records: usize,
    /// Writes to other collections that were done.
    pub others: usize,
    /// Commits of those that watchers saw.
    pub commits: usize,
    /// Lists of those.
    pub lists: usize,
}

/// The client of the reads at the end, when all replicas agree.
pub const LAST_LOOK: u16 = u16::MAX;

/// At most this many violations are reported in full.
const TOLD: usize = 10;

impl Recorded {
    /// Checks everything: each record's order, the sequence numbers, the local reads.
    pub fn verdict(&self) -> Verdict {
        let mut verdict = Verdict { violations: self.violations.clone(), ..Verdict::default() };
        verdict.counts = self.counts();
        verdict.violations.extend(collections::wrong(&self.collections));
        for (what, operations) in sequences::numbers(&self.operations) {
            verdict.violations.push(self.tell(&what, &operations));
        }
        let mut by_key: Vec<Vec<&Operation>> = vec![Vec::new(); self.keys.len()];
        for operation in &self.operations {
            if let Some(list) = by_key.get_mut(operation.key as usize) {
                list.push(operation);
            }
        }
        for list in &by_key {
            for (what, operations) in sequences::local_reads(list) {
                verdict.violations.push(self.tell(&what, &operations));
            }
            self.judge(list, &mut verdict);
        }
        verdict
    }

    /// One record.
    fn judge(&self, list: &[&Operation], verdict: &mut Verdict) {
        let counting: Vec<&Operation> = list.iter().copied().filter(|operation| counts(operation)).collect();
        let steps: Vec<Step> = counting.iter().map(|operation| step(operation)).collect();
        match check(&steps, BUDGET) {
            Linear::Yes => return,
            Linear::Undecided => {
                verdict.undecided += 1;
                return;
            }
            Linear::No => {}
        }
        let without: Vec<Step> =
            counting.iter().filter(|operation| operation.client != LAST_LOOK).map(|o| step(o)).collect();
        let is_lost = check(&without, BUDGET) == Linear::Yes;
        verdict.lost += usize::from(is_lost);
        if verdict.violations.len() >= TOLD {
            verdict.violations.push("another record whose history no order explains".to_owned());
            return;
        }
        let mut shown: Vec<&Operation> = smallest(&steps).into_iter().map(|i| counting[i]).collect();
        // A refused write that is seen anyway is no step, but it is the story.
        let seen = |operation: &&Operation| match operation.effect() {
            Some(Effect::Found(content)) => content,
            _ => None,
        };
        let values: Vec<_> = shown.iter().filter_map(seen).collect();
        let is_the_story = |operation: &&Operation| {
            matches!(operation.outcome, Outcome::Refused(_))
                && operation.call.leaves().flatten().is_some_and(|value| values.contains(&value))
        };
        shown.extend(list.iter().copied().filter(is_the_story));
        let rest = counting.len().saturating_sub(shown.len());
        let what = match is_lost {
            true => "a write is lost: the final data contradict the answers that clients received",
            false => "no order of these operations explains the answers that clients received",
        };
        let what = format!("{what} ({rest} other operations of the record do not matter for it)");
        verdict.violations.push(self.tell(&what, &shown));
    }

    fn tell(&self, what: &str, operations: &[&Operation]) -> String {
        let mut operations = operations.to_vec();
        operations.sort_by_key(|operation| (operation.invoked, operation.returned));
        operations.dedup();
        let key = operations.first().and_then(|operation| self.keys.get(operation.key as usize));
        let mut text = format!("record {}: {what}", key.map_or("?", String::as_str));
        for operation in operations {
            text.push_str(&format!("\n    {operation}"));
        }
        text
    }

    fn counts(&self) -> Counts {
        let Collections { commits, writes, looks, .. } = &self.collections;
        let mut counts = Counts {
            records: self.keys.len(),
            others: writes.iter().filter(|write| matches!(write.told, Told::Done(_))).count(),
            commits: commits.iter().map(|commit| commit.sequence).collect::<BTreeSet<u64>>().len(),
            lists: looks.len(),
            ..Counts::default()
        };
        for operation in self.operations.iter().filter(|operation| operation.client != LAST_LOOK) {
            let counter = match (&operation.outcome, operation.call) {
                (Outcome::Done(_), Call::Read) => &mut counts.reads,
                (Outcome::Done(_), Call::LocalRead) => &mut counts.local_reads,
                (_, Call::Read | Call::LocalRead) => continue,
                (Outcome::Done(_), _) => &mut counts.acknowledged,
                (Outcome::Refused(_), _) => &mut counts.refused,
                (Outcome::Unknown(_), _) => &mut counts.unknown,
            };
            *counter += 1;
        }
        counts
    }
}

/// Local reads are judged by their sequence; what was refused is not there; a read without an answer says nothing.
fn counts(operation: &Operation) -> bool {
    let is_answered = matches!(operation.outcome, Outcome::Done(_));
    match operation.call {
        Call::LocalRead => false,
        Call::Read => is_answered,
        Call::Create(_) | Call::Put(..) | Call::Delete(_) => is_answered || operation.is_open(),
    }
}

fn step(operation: &Operation) -> Step {
    let effect = operation.effect();
    let returned = effect.map(|_| operation.returned);
    // A strong read's number says only how far it saw at least.
    let rank = operation.sequence.filter(|_| operation.call.is_write());
    Step { invoked: operation.invoked, returned, call: operation.call, effect, rank }
}

impl Verdict {
    /// Nothing is wrong.
    pub fn is_fine(&self) -> bool {
        self.violations.is_empty()
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, violation) in self.violations.iter().take(TOLD).enumerate() {
            writeln!(f, "VIOLATION {}: {violation}", i + 1)?;
        }
        if self.violations.len() > TOLD {
            writeln!(f, "and {} violations more", self.violations.len() - TOLD)?;
        }
        if self.undecided > 0 {
            let budget = BUDGET;
            writeln!(f, "{} records were not decided within {budget} visited pairs", self.undecided)?;
        }
        let Counts { acknowledged, refused, unknown, reads, local_reads, records, others, commits, lists } =
            self.counts;
        if commits > 0 {
            writeln!(f, "collections: {others} writes acknowledged, {commits} commits seen, {lists} lists")?;
        }
        write!(
            f,
            "writes: {acknowledged} acknowledged, {} lost, {refused} refused, {unknown} unknown; \
             {reads} strong reads, {local_reads} local reads; {records} records",
            self.lost
        )
    }
}

#[cfg(test)]
mod tests;
