//! The results, on one page.

use std::{collections::BTreeMap, fmt::Write as _, sync::atomic::Ordering, time::Duration};

use super::scene::Scene;
use crate::history::{Outcome, Recorded, Verdict};

/// Answers that a client which asks for nothing strange never gets.
pub(super) fn odd_answers(recorded: &Recorded) -> Vec<String> {
    let mut odd: BTreeMap<&str, u64> = BTreeMap::new();
    for operation in &recorded.operations {
        if let Outcome::Refused(why) | Outcome::Unknown(why) = &operation.outcome {
            let status: String = why.chars().take_while(char::is_ascii_digit).collect();
            if !matches!(status.as_str(), "" | "421" | "503" | "504") {
                *odd.entry(why).or_default() += 1;
            }
        }
    }
    odd.into_iter().map(|(why, times)| format!("{times} times a good request was answered with {why}")).collect()
}

/// Why writes were refused or stayed unknown, most often first.
fn reasons(recorded: &Recorded) -> String {
    let mut reasons: BTreeMap<String, u64> = BTreeMap::new();
    for operation in recorded.operations.iter().filter(|operation| operation.call.is_write()) {
        let (what, why) = match &operation.outcome {
            Outcome::Done(_) => continue,
            Outcome::Refused(why) => ("refused", why),
            Outcome::Unknown(why) => ("unknown", why),
        };
        let why = why.split(": ").next().unwrap_or(why);
        *reasons.entry(format!("{what}, {why}")).or_default() += 1;
    }
    let mut list: Vec<(u64, String)> = reasons.into_iter().map(|(why, times)| (times, why)).collect();
    list.sort_unstable_by_key(|(times, _)| std::cmp::Reverse(*times));
    let shown: Vec<String> = list.iter().take(8).map(|(times, why)| format!("{times} {why}")).collect();
    shown.join("; ")
}

/// The page.
pub(super) fn page(scene: &Scene, recorded: &Recorded, verdict: &Verdict, rounds: u32, again: &str) -> String {
    let mut out = format!("{}\n{}{verdict}\n", "-".repeat(100), scene.steps.lines(&scene.line));
    let _ = writeln!(out, "not done or not known: {}", reasons(recorded));
    let count = |counter: &std::sync::atomic::AtomicU32| counter.load(Ordering::Relaxed);
    let (sent, known, same) = (&scene.keyed.sent_again, &scene.keyed.known, &scene.keyed.same);
    let _ = writeln!(
        out,
        "sent again under their Idempotency-Key: {}; {} learned an outcome that was unknown, {} got the same again",
        count(sent),
        count(known),
        count(same)
    );
    let terms = recorded.terms.len();
    let _ = writeln!(out, "{rounds} rounds of faults, {terms} terms; the longest times without an acknowledged write:");
    for gap in scene.line.longest_gaps(8) {
        let at = Duration::as_secs_f64(&gap.from);
        let _ = writeln!(out, "    {:7.2} s  at {at:8.2} s  {}", gap.length.as_secs_f64(), gap.cause);
    }
    let _ = write!(out, "the same faults again: {again}");
    out
}
