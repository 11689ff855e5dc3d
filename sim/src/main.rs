//! `leasehold-sim`: runs seeds and reports what it found.

use clap::Parser;
use leasehold_sim::{Base, Options, Plant, Summary, run, small};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Runs the cluster of one seed after the other, in virtual time, and says what it found.
#[derive(Parser)]
#[command(name = "sim")]
struct Arguments {
    /// How many seeds.
    #[arg(long, value_name = "N", default_value_t = 100)]
    seeds: u64,
    /// The first one.
    #[arg(long, value_name = "S", default_value_t = 0)]
    start: u64,
    /// Only this seed.
    #[arg(long, value_name = "X", conflicts_with_all = ["seeds", "start"])]
    seed: Option<u64>,
    /// Show what happened, also where nothing was wrong.
    #[arg(long)]
    trace: bool,
    /// How many lines of trace; 0: of a failure only what was wrong.
    #[arg(long, value_name = "N", default_value_t = 200)]
    lines: usize,
    /// Do not stop at the first failure.
    #[arg(long)]
    go_on: bool,
    /// With this fault built in; one of a core needs the feature `plants`.
    #[arg(long, value_name = "NAME", value_parser = plant)]
    plant: Option<Plant>,
    /// So many seconds of faults; by the seed without it.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    chaos: Option<Duration>,
    /// Plain apps: sidecars alone.
    #[arg(long)]
    plain: bool,
    /// Addresses lead to other pods at times, and to those of another cluster.
    #[arg(long)]
    strangers: bool,
    /// Memory and disks run short.
    #[arg(long)]
    room: bool,
    /// Pods are of two builds, which read one format and two, and change between them with their restarts.
    #[arg(long)]
    formats: bool,
    /// Stores have collections: definitions, transactions, expiry by clocks of which some are wrong.
    #[arg(long)]
    collections: bool,
    /// The first start is one from a backup.
    #[arg(long)]
    restores: bool,
    /// Bits flip in the data of single replicas, or they apply otherwise than the others.
    #[arg(long)]
    diverging: bool,
    /// Seeds are mixes of lasting troubles.
    #[arg(long)]
    mixes: bool,
    /// Seeds are walks through the small world.
    #[arg(long)]
    walks: bool,
    /// All of the small world instead, up to so many states.
    #[arg(long, value_name = "STATES", default_value_t = 0, hide_default_value = true)]
    small: usize,
}

fn plant(name: &str) -> Result<Plant, String> {
    let found = Plant::all().into_iter().find(|plant| plant.name() == name);
    found.ok_or(format!("{name} is not a fault that can be planted"))
}

fn seconds(text: &str) -> Result<Duration, String> {
    text.parse().map(Duration::from_secs).map_err(|_| format!("{text} is not a whole number of seconds"))
}

fn main() -> ExitCode {
    let mut arguments = Arguments::parse();
    if let Some(seed) = arguments.seed {
        (arguments.start, arguments.seeds) = (seed, 1);
    }
    if arguments.small > 0 { exhaust(&arguments) } else { play(&arguments) }
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
        formats: arguments.formats,
        collections: arguments.collections,
        restores: arguments.restores,
        diverging: arguments.diverging,
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
                sum.expired += summary.expired;
                sum.transactions += summary.transactions;
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
    if arguments.collections {
        println!("{} transactions done, {} records expired", sum.transactions, sum.expired);
    }
    if failures == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
