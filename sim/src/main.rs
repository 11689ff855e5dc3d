//! `leasehold-sim`: runs seeds and says what it found.
//!
//! ```text
//!   --seeds N      how many (default 100)         --start S    the first one (default 0)
//!   --seed X       only this one                  --trace      show what happened in it
//!   --lines N      how many lines of trace (default 200)       --go-on  do not stop at the first failure
//! ```

use leasehold_sim::{Options, run};
use std::process::ExitCode;
use std::time::Instant;

fn main() -> ExitCode {
    match arguments(std::env::args().skip(1)) {
        Ok(arguments) => play(&arguments),
        Err(what) => {
            eprintln!("{what}\nusage: sim [--seeds N] [--start S] [--seed X] [--trace] [--lines N] [--go-on]");
            ExitCode::from(2)
        }
    }
}

struct Arguments {
    start: u64,
    seeds: u64,
    trace: bool,
    lines: usize,
    go_on: bool,
}

fn arguments(mut given: impl Iterator<Item = String>) -> Result<Arguments, String> {
    let mut arguments = Arguments { start: 0, seeds: 100, trace: false, lines: 200, go_on: false };
    while let Some(name) = given.next() {
        let mut number = || -> Result<u64, String> {
            let value = given.next().ok_or(format!("{name} needs a number"))?;
            value.parse().map_err(|_| format!("{name}: {value} is no number"))
        };
        match name.as_str() {
            "--seeds" => arguments.seeds = number()?,
            "--start" => arguments.start = number()?,
            "--seed" => (arguments.start, arguments.seeds) = (number()?, 1),
            "--lines" => arguments.lines = number()? as usize,
            "--trace" => arguments.trace = true,
            "--go-on" => arguments.go_on = true,
            other => return Err(format!("{other} is no option")),
        }
    }
    Ok(arguments)
}

fn play(arguments: &Arguments) -> ExitCode {
    let options = Options { trace_lines: arguments.lines, always_trace: arguments.trace, ..Options::default() };
    let begin = Instant::now();
    let (mut steps, mut acknowledged, mut committed, mut failures, mut ran) = (0, 0, 0, 0u64, 0);
    let mut slowest = (std::time::Duration::ZERO, 0);
    for seed in arguments.start..arguments.start.saturating_add(arguments.seeds) {
        ran += 1;
        match run(seed, &options) {
            Ok(summary) => {
                steps += summary.steps;
                acknowledged += summary.acknowledged;
                committed += summary.committed;
                slowest = slowest.max((summary.settled, seed));
                summary.trace.iter().for_each(|line| println!("{line}"));
                if arguments.seeds == 1 {
                    println!("{:?}", leasehold_sim::Summary { trace: Vec::new(), ..summary });
                }
            }
            Err(failure) => {
                failures += 1;
                if arguments.go_on {
                    println!("seed {}: {}", failure.seed, failure.what);
                } else {
                    println!("{failure}");
                    break;
                }
            }
        }
    }
    let seconds = begin.elapsed().as_secs_f64();
    println!(
        "{ran} seeds, {failures} failed; {steps} steps, {acknowledged} writes acknowledged, {committed} entries committed; \
         {:.0} steps/s, {:.1} seeds/s; slowest to settle: {:.1} s (seed {})",
        steps as f64 / seconds,
        ran as f64 / seconds,
        slowest.0.as_secs_f64(),
        slowest.1
    );
    if failures == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
