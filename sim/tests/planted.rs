//! Every fault that can be planted is found: by a seed that is named here. With the fault the run ends in what it says,
//! without it the same run ends well. (`traces` has those that need messages in one certain order.)
//!
//! A change of the cores or of the simulator changes what a seed means. When a fault is not found any more, look for
//! another seed: `cargo run --release -p leasehold-sim --features plants -- --plant NAME --lines 0` (`--walks`, `--mixes`,
//! `--plain`, `--start`, `--chaos`). If there is none, the simulator has become worse.
#![allow(clippy::unwrap_used)]

use How::{Large, Mix, Plain, Walk};
use leasehold_election::Fault as E;
use leasehold_replication::Fault as R;
use leasehold_sim::{Base, Failure, Options, Plant, Shell, run, small};
use std::time::{Duration, Instant};

/// Where it is looked for, and by which seed.
#[derive(Clone, Copy, Debug)]
enum How {
    /// In the whole cluster.
    Large(u64),
    /// In the whole cluster, of plain apps.
    Plain(u64),
    /// In the small world.
    Walk(u64),
    /// In a mix of lasting troubles.
    Mix(u64),
    /// Not by chance: `tests/traces.rs`.
    Trace,
}

const CHAOS: Duration = Duration::from_secs(12);

const TABLE: &[(Plant, How)] = &[
// TABLE
];

fn tried(how: How, plant: Option<Plant>, base: &Base) -> Result<(), Failure> {
    let options = Options { plant, chaos: Some(CHAOS), ..Options::default() };
    match how {
        Large(seed) => run(seed, &options).map(|_| ()),
        Plain(seed) => run(seed, &Options { plain: true, ..options }).map(|_| ()),
        Walk(seed) => small::walk(seed, plant).map(|_| ()),
        Mix(number) => base.mix(number, plant).map(|_| ()),
        How::Trace => Ok(()),
    }
}

#[test]
fn every_planted_fault_is_found_by_its_seed_which_is_clean_without_it() {
    std::panic::set_hook(Box::new(|_| {})); // A fault may end in an assertion of a core.
    let base = Base::new(0).unwrap();
    let mut missed = Vec::new();
    for (plant, how) in TABLE.iter().copied().filter(|(_, how)| !matches!(how, How::Trace)) {
        let begin = Instant::now();
        let clean = tried(how, None, &base).err();
        let found = tried(how, Some(plant), &base).err();
        let took = begin.elapsed().as_millis();
        match (&clean, &found) {
            (None, Some(found)) => {
                let what = found.what.lines().next().unwrap_or_default();
                println!("{:<28} {how:?}, {took} ms: {what}", plant.name());
            }
            (Some(clean), _) => missed.push(format!("{} {how:?}: not clean without it: {}", plant.name(), clean.what)),
            (None, None) => missed.push(format!("{} {how:?}: not found", plant.name())),
        }
    }
    assert!(missed.is_empty(), "{}", missed.join("\n"));
}

#[test]
fn the_table_names_every_fault() {
    let missing: Vec<_> =
        Plant::all().into_iter().filter(|plant| !TABLE.iter().any(|(known, _)| known == plant)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}
