//! Seeds that once failed, and some seconds of new ones.
//!
//! The new ones start at a number that is fixed here, so two runs of the tests on one machine report the same, and a faster
//! machine sees more. `LEASEHOLD_SIM_START` and `LEASEHOLD_SIM_SECONDS` select others.
#![allow(clippy::unwrap_used)]

use leasehold_sim::{Base, Options, PRODUCTS, run, small};
use std::time::{Duration, Instant};

fn options() -> Options {
    Options { trace_lines: 300, ..Options::default() }
}

fn plain() -> Options {
    Options { plain: true, ..options() }
}

fn strangers() -> Options {
    Options { strangers: true, ..options() }
}

fn formats() -> Options {
    Options { formats: true, ..options() }
}

fn collections() -> Options {
    Options { collections: true, ..options() }
}

fn diverging() -> Options {
    Options { diverging: true, ..options() }
}

/// The first start is one from a backup.
fn restored() -> Options {
    Options { restores: true, ..options() }
}

/// The same: with collections, with two builds, or with neither.
fn restores(seed: u64) -> Options {
    Options { collections: seed % 3 == 1, formats: seed % 3 == 2, ..restored() }
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |text| text.parse().unwrap())
}

/// Tries seeds for a part of the time, and reports how many there were, how many steps, and the other totals.
fn for_a_while(share: f64, mut one: impl FnMut(u64) -> (u64, u64)) -> (u64, u64, u64, f64) {
    let start = number("LEASEHOLD_SIM_START", 100_000);
    let bound = Duration::from_secs(number("LEASEHOLD_SIM_SECONDS", 30)).mul_f64(share);
    let begin = Instant::now();
    let (mut seeds, mut steps, mut sum) = (0, 0, 0);
    while begin.elapsed() < bound {
        let (more_steps, more) = one(start + seeds);
        (seeds, steps, sum) = (seeds + 1, steps + more_steps, sum + more);
    }
    (seeds, steps, sum, begin.elapsed().as_secs_f64())
}

#[test]
fn seeds_that_failed_once_do_not_fail_again() {
    let base = Base::new(300).unwrap();
    for line in include_str!("seeds.txt").lines().filter(|line| !line.starts_with('#')) {
        let mut words = line.splitn(2, ' ');
        let (kind, rest) = (words.next().unwrap(), words.next().unwrap().trim());
        let (seed, story) = rest.split_once(' ').unwrap();
        let seed: u64 = seed.parse().unwrap();
        let result = match kind {
            "large" => run(seed, &options()).map(|_| ()),
            "strange" => run(seed, &strangers()).map(|_| ()),
            "formats" => run(seed, &formats()).map(|_| ()),
            "collections" => run(seed, &collections()).map(|_| ()),
            "diverging" => run(seed, &diverging()).map(|_| ()),
            "restores" => run(seed, &restores(seed)).map(|_| ()),
            "restored" => run(seed, &restored()).map(|_| ()),
            "plain" => run(seed, &plain()).map(|_| ()),
            "walk" => small::walk(seed, None).map(|_| ()),
            "mix" => base.mix(seed, None).map(|_| ()),
            other => panic!("{other} is no kind of seed"),
        };
        if let Err(failure) = result {
            panic!("{failure}\n{kind} {seed}, which once found: {}", story.trim());
        }
    }
}

#[test]
fn half_a_minute_of_seeds_holds_every_invariant_and_settles() {
    let large = for_a_while(0.2, |seed| match run(seed, &options()) {
        Ok(summary) => (summary.steps, summary.acknowledged + summary.strong_reads),
        Err(failure) => panic!("{failure}\nseed {seed}"),
    });
    let plain = for_a_while(0.1, |seed| match run(seed, &plain()) {
        Ok(summary) => (summary.steps, summary.takes),
        Err(failure) => panic!("{failure}\nplain seed {seed}"),
    });
    let strange = for_a_while(0.1, |seed| match run(seed, &strangers()) {
        Ok(summary) => (summary.steps, summary.acknowledged),
        Err(failure) => panic!("{failure}\nseed {seed} with strangers"),
    });
    let formats = for_a_while(0.1, |seed| match run(seed, &formats()) {
        Ok(summary) => (summary.steps, summary.acknowledged),
        Err(failure) => panic!("{failure}\nseed {seed} with two builds"),
    });
    let collections = for_a_while(0.1, |seed| match run(seed, &collections()) {
        Ok(summary) => (summary.steps, summary.acknowledged + summary.transactions + summary.expired),
        Err(failure) => panic!("{failure}\nseed {seed} with collections"),
    });
    let diverging = for_a_while(0.1, |seed| match run(seed, &diverging()) {
        Ok(summary) => (summary.steps, summary.acknowledged),
        Err(failure) => panic!("{failure}\nseed {seed} with data that differ"),
    });
    let restored = for_a_while(0.1, |seed| match run(seed, &restores(seed)) {
        Ok(summary) => (summary.steps, summary.acknowledged),
        Err(failure) => panic!("{failure}\nseed {seed} with a backup"),
    });
    for (what, (seeds, steps, sum, seconds)) in [
        ("large, writes and strong reads answered", large),
        ("plain, leaderships", plain),
        ("with strangers, writes", strange),
        ("of two builds, writes", formats),
        ("with collections, writes, transactions and records that expired", collections),
        ("with data that differ, writes", diverging),
        ("that begin with a backup, writes", restored),
    ] {
        println!("{what}: {seeds} seeds, {steps} steps, {sum}: {:.0} steps/s", steps as f64 / seconds);
        assert!(seeds > 0 && sum > 0, "nothing was tried");
    }
}

#[test]
fn walks_of_the_small_world_hold_every_invariant() {
    let (seeds, steps, applied, seconds) = for_a_while(0.3, |seed| match small::walk(seed, None) {
        Ok(walk) => (walk.steps as u64, walk.applied),
        Err(failure) => panic!("{failure}\nwalk {seed}"),
    });
    println!("{seeds} walks, {steps} steps, {applied} entries applied: {:.0} steps/s", steps as f64 / seconds);
    assert!(applied > 0, "nothing was tried");
}

/// Everything within small bounds. (`--small 3000000` goes further.)
#[test]
fn a_search_of_everything_finds_nothing() {
    let states_max = number("LEASEHOLD_SIM_STATES", 30_000) as usize;
    let mut terms = 0;
    for (what, bounds) in small::Bounds::usual(states_max) {
        let count = small::exhaust(&bounds, None).unwrap_or_else(|failure| panic!("{what}: {failure}"));
        println!("{what}: {count:?}");
        terms = terms.max(count.terms);
    }
    assert_eq!(terms, 2, "no second leadership was reached");
    let bounds = small::LeaseBounds { sidecars: 3, ticks: 14, lost: 1, deaths: 1, namesakes: 1 };
    let count = small::exhaust_leases(bounds, states_max, None).unwrap_or_else(|failure| panic!("{failure}"));
    println!("{bounds:?}: {count:?}");
    assert!(count.terms > 0, "nobody ever led");
}

/// Every mix of lasting troubles: one in 29 here, all of them with `--mixes --seeds 13824`.
#[test]
fn three_voters_settle_after_every_mix_of_lasting_troubles() {
    let base = Base::new(300).unwrap();
    let (mut tried, mut settled) = (0, 0);
    for mix in (0..PRODUCTS).step_by(number("LEASEHOLD_SIM_MIX_STEP", 29) as usize) {
        tried += 1;
        settled += u64::from(base.mix(mix, None).unwrap_or_else(|failure| panic!("{failure}")).is_some());
    }
    println!("{tried} mixes, {settled} of them with a leader");
    assert!(settled * 2 > tried);
}

#[test]
fn a_seed_gives_the_same_run_twice() {
    let options = Options { chaos: Some(Duration::from_secs(5)), trace_lines: 5000, always_trace: true, ..options() };
    for seed in 1..6 {
        let (first, second) = (run(seed, &options).unwrap(), run(seed, &options).unwrap());
        assert_eq!(first, second);
    }
}
