//! Seeds that once failed, and thirty seconds of new ones.
//!
//! The new ones begin at a number that is fixed here, so a run of the tests says the same twice on one machine, and a
//! faster machine sees more. `LEASEHOLD_SIM_START` and `LEASEHOLD_SIM_SECONDS` ask for others.
#![allow(clippy::unwrap_used)]

use leasehold_sim::{Options, run};
use std::time::{Duration, Instant};

/// Seeds that failed once, each with what it found. A change of the simulator changes what a seed means; the list
/// keeps the stories and costs little.
const FOUND: &[(u64, &str)] = &[
    (1135, "a bootstrap torn by a power loss left a volume with the mark and without voters: no first start, for ever"),
    (5175, "a recovering leader pulled from a follower that said hello again, and waited for ever"),
    (11633, "the late hello of an emptied volume hid the new one of the same pod from the leader"),
    (8444, "what a torn bootstrap had left in the journal was no log (a finding in the simulator itself)"),
    (1381, "a term that was edited up and down by hand hid the true leader from role.json"),
    (100_760, "a leader sent a snapshot on that it had received and not yet written"),
    (100_793, "a switchover to a pod that may not lead, during a scale-down, was begun and undone without end"),
    (
        100_326,
        "a voter that died while it was scaled away took the majority with it (a finding in the simulator itself)",
    ),
];

fn options() -> Options {
    Options { trace_lines: 300, ..Options::default() }
}

#[test]
fn seeds_that_failed_once_do_not_fail_again() {
    for &(seed, story) in FOUND {
        if let Err(failure) = run(seed, &options()) {
            panic!("{failure}\nseed {seed}, which once found: {story}");
        }
    }
}

#[test]
fn thirty_seconds_of_seeds_hold_every_invariant_and_settle() {
    let number = |name: &str, default: u64| std::env::var(name).ok().map_or(default, |text| text.parse().unwrap());
    let start = number("LEASEHOLD_SIM_START", 100_000);
    let bound = Duration::from_secs(number("LEASEHOLD_SIM_SECONDS", 30));
    let begin = Instant::now();
    let (mut seeds, mut steps, mut acknowledged) = (0, 0, 0);
    while begin.elapsed() < bound {
        let seed = start + seeds;
        match run(seed, &options()) {
            Ok(summary) => {
                steps += summary.steps;
                acknowledged += summary.acknowledged;
            }
            Err(failure) => panic!("{failure}\nseed {seed}"),
        }
        seeds += 1;
    }
    let seconds = begin.elapsed().as_secs_f64();
    println!(
        "{seeds} seeds from {start}, {steps} steps, {acknowledged} writes acknowledged: {:.0} steps/s, {:.1} seeds/s",
        steps as f64 / seconds,
        seeds as f64 / seconds
    );
    assert!(seeds > 0 && acknowledged > 0, "nothing was tried");
}

#[test]
fn a_seed_gives_the_same_run_twice() {
    let options = Options { chaos: Some(Duration::from_secs(5)), trace_lines: 5000, always_trace: true, ..options() };
    for seed in 1..6 {
        let (first, second) = (run(seed, &options).unwrap(), run(seed, &options).unwrap());
        assert_eq!(first, second);
    }
}
