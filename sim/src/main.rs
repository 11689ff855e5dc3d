//! `leasehold-sim`: runs seeds and says what it found.
//!
//! ```text
//!   --seeds N      how many (default 100)         --start S    the first one (default 0)
//!   --seed X       only this one                  --trace      show what happened in it
//!   --lines N      how many lines of trace (default 200)       --go-on  do not stop at the first failure
//!   --plant NAME   with this fault built in (feature `plants`) --chaos S  so many seconds of faults
//!   --plain        plain apps                    --mixes      seeds are mixes of lasting troubles
//!   --room         memory and disks run short
//!   --walks        seeds of the small world instead            --small MAX  all of the small world, up to MAX states
//! ```

use leasehold_sim::{Base, Options, Plant, Summary, run, small};
use std::process::ExitCode;
use std::time::{Duration, Instant};

const USAGE: &str = "usage: sim [--seeds N] [--start S] [--seed X] [--trace] [--lines N] [--go-on] [--plant NAME] \
                     [--chaos SECONDS] [--plain] [--strangers] [--room] [--mixes] \
                     [--walks] [--small STATES]";

fn main() -> ExitCode {
    match arguments(std::env::args().skip(1)) {
        Ok(arguments) if arguments.small > 0 => exhaust(&arguments),
        Ok(arguments) => play(&arguments),
        Err(what) => {
            eprintln!("{what}\n{USAGE}");
            ExitCode::from(2)
        }
    }
}

#[derive(Default)]
struct Arguments {
    start: u64,
    seeds: u64,
    trace: bool,
    lines: usize,
    go_on: bool,
    plant: Option<Plant>,
    chaos: Option<Duration>,
    walks: bool,
    plain: bool,
    strangers: bool,
    room: bool,
    mixes: bool,
    small: usize,
}

fn arguments(mut given: impl Iterator<Item = String>) -> Result<Arguments, String> {
    let mut arguments = Arguments { seeds: 100, lines: 200, ..Arguments::default() };
    while let Some(name) = given.next() {
        let mut text = || given.next().ok_or(format!("{name} needs a value"));
        let number = |value: String| value.parse::<u64>().map_err(|_| format!("{name}: {value} is no number"));
        match name.as_str() {
            "--seeds" => arguments.seeds = number(text()?)?,
            "--start" => arguments.start = number(text()?)?,
            "--seed" => (arguments.start, arguments.seeds) = (number(text()?)?, 1),
            "--lines" => arguments.lines = number(text()?)? as usize,
            "--trace" => arguments.trace = true,
            "--go-on" => arguments.go_on = true,
            "--walks" => arguments.walks = true,
            "--plain" => arguments.plain = true,
            "--strangers" => arguments.strangers = true,
            "--room" => arguments.room = true,
            "--mixes" => arguments.mixes = true,
            "--small" => arguments.small = number(text()?)? as usize,
            "--chaos" => arguments.chaos = Some(Duration::from_secs(number(text()?)?)),
            "--plant" => {
                let wanted = text()?;
                let found = Plant::all().into_iter().find(|plant| plant.name() == wanted);
                arguments.plant = Some(found.ok_or(format!("{wanted} is no fault that can be planted"))?);
            }
            other => return Err(format!("{other} is no option")),
        }
    }
    Ok(arguments)
}

fn exhaust(arguments: &Arguments) -> ExitCode {
    let begin = Instant::now();
    let mut is_good = true;
    for (what, bounds) in small::Bounds::usual(arguments.small) {
        match small::exhaust(&bounds, arguments.plant) {
            Ok(count) => println!("{what}: {count:?}, {:.1} s in all", begin.elapsed().as_secs_f64()),
            Err(failure) => {
                println!("{what}: {failure}");
                is_good = false;
            }
        }
    }
    let bounds = small::LeaseBounds { sidecars: 3, ticks: 14, lost: 1, deaths: 1, namesakes: 1 };
    match small::exhaust_leases(bounds, arguments.small, arguments.plant) {
        Ok(count) => println!("{bounds:?}: {count:?}, {:.1} s in all", begin.elapsed().as_secs_f64()),
        Err(failure) => {
            println!("{bounds:?}: {failure}");
            is_good = false;
        }
    }
    if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn one(seed: u64, arguments: &Arguments, base: Option<&Base>) -> Result<Summary, leasehold_sim::Failure> {
    if let Some(base) = base {
        return base.mix(seed, arguments.plant).map(|burnt| Summary {
            terms: u64::from(burnt.is_some()),
            settling_takes: burnt.unwrap_or_default(),
            ..Summary::default()
        });
    }
    if arguments.walks {
        let walk = small::walk(seed, arguments.plant)?;
        return Ok(Summary {
            steps: walk.steps as u64,
            committed: walk.applied,
            terms: walk.terms as u64,
            ..Summary::default()
        });
    }
    let options = Options {
        trace_lines: arguments.lines,
        always_trace: arguments.trace,
        plant: arguments.plant,
        chaos: arguments.chaos,
        plain: arguments.plain,
        strangers: arguments.strangers,
        room: arguments.room,
    };
    run(seed, &options)
}

fn play(arguments: &Arguments) -> ExitCode {
    let begin = Instant::now();
    let base = match arguments.mixes.then(|| Base::new(arguments.lines)).transpose() {
        Ok(base) => base,
        Err(failure) => {
            println!("{failure}");
            return ExitCode::FAILURE;
        }
    };
    let (mut sum, mut failures, mut ran) = (Summary::default(), 0u64, 0);
    let mut slowest = (Duration::ZERO, 0);
    for seed in arguments.start..arguments.start.saturating_add(arguments.seeds) {
        ran += 1;
        match one(seed, arguments, base.as_ref()) {
            Ok(summary) => {
                sum.steps += summary.steps;
                sum.acknowledged += summary.acknowledged;
                sum.committed += summary.committed;
                sum.strong_reads += summary.strong_reads;
                sum.terms += summary.terms;
                sum.settling_takes = sum.settling_takes.max(summary.settling_takes);
                slowest = slowest.max((summary.settled, seed));
                summary.trace.iter().for_each(|line| println!("{line}"));
                if arguments.seeds == 1 {
                    println!("{:?}", Summary { trace: Vec::new(), ..summary });
                }
            }
            Err(failure) => {
                failures += 1;
                if arguments.go_on || arguments.lines == 0 {
                    println!("seed {}: {}", failure.seed, failure.what.lines().next().unwrap_or_default());
                } else {
                    println!("{failure}");
                }
                if !arguments.go_on {
                    break;
                }
            }
        }
    }
    let seconds = begin.elapsed().as_secs_f64();
    println!(
        "{ran} seeds, {failures} failed; {} steps, {} writes acknowledged, {} strong reads, {} entries committed, {} terms; \
         {:.0} steps/s, {:.1} seeds/s; slowest to settle: {:.1} s (seed {}), \
         at most {} terms for it",
        sum.steps,
        sum.acknowledged,
        sum.strong_reads,
        sum.committed,
        sum.terms,
        sum.steps as f64 / seconds,
        ran as f64 / seconds,
        slowest.0.as_secs_f64(),
        slowest.1,
        sum.settling_takes
    );
    if failures == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
