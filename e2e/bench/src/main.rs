//! `e2e bench`: our store and sidecar beside their peers, in one run on one machine.
//!
//! ```text
//!   for each round: for each system, in a new order: start 3 nodes ─▶ load ─▶ samples ─▶ remove
//!
//!   system ── ours (cluster), etcd, redis, floor: processes in folders of their own (place)
//!   serve, failover, growth, election: the workloads        load, e2e/bench/peers: the load generators, processes too
//!   collections: the same of our store's collections
//!   handover: what clients notice when a pod leaves as planned; ours alone, a subcommand of its own
//!   crowd: a thousand apps' electors at one real API server, ours and client-go's; another subcommand
//!   sample ─▶ report (table, JSON), plot (SVG)               machine: whose processor time it was
//! ```
//!
//! Only ratios of one run mean anything, and only those that a run does not call too noisy. How each system is set up,
//! and why that is fair, is in docs/bench.md.

mod capability;
mod collections;
mod crowd;
mod election;
mod etcd;
mod failover;
mod floor;
mod generator;
mod growth;
mod handover;
mod job;
mod load;
mod machine;
mod ours;
mod place;
mod plot;
mod record;
mod redis;
mod report;
mod run;
mod sample;
mod serve;
mod system;

use std::{collections::BTreeMap, path::PathBuf, process::ExitCode, time::Instant};

use anyhow::{Context, ensure};

use clap::Parser as _;

use election::Contender;
use report::Report;
use run::{Run, Settings};
use system::{Kind, Peers};

/// Measure our store and sidecar beside their peers. Use a release build.
#[derive(Clone, Debug, clap::Parser)]
#[command(bin_name = "e2e bench", args_conflicts_with_subcommands = true)]
struct Bench {
    #[command(subcommand)]
    alone: Option<Alone>,
    /// Only these workloads: names or their beginnings, such as writes-64, failover, election (default: all)
    workloads: Vec<String>,
    /// A first look in some minutes, with little data; without it about an hour and a half
    #[arg(long)]
    quick: bool,
    /// Everything in less than half an hour: shorter, fewer rounds, 100,000 records
    #[arg(long, conflicts_with = "quick")]
    short: bool,
    /// Only these systems
    #[arg(long, value_enum, value_delimiter = ',')]
    systems: Vec<Kind>,
    /// How often everything is measured
    #[arg(long)]
    rounds: Option<u32>,
    /// For how many seconds a load is measured
    #[arg(long)]
    seconds: Option<f64>,
    /// The most records of the workloads about much data
    #[arg(long)]
    records: Option<u64>,
    /// Over how many connections etcd's clients go: whichever is best for it on this machine
    #[arg(long, default_value_t = 16)]
    etcd_connections: usize,
    /// All samples as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// SVG pictures for the README
    #[arg(long, value_name = "FOLDER")]
    plots: Option<PathBuf>,
    /// Where programs of peers are, before PATH (default: e2e/bench/peers/bin, e2e/cluster/bin)
    #[arg(long, value_name = "FOLDER")]
    peers: Vec<PathBuf>,
    /// Hold the elections on this API server instead of the embedded one. Makes Leases named leasehold-bench-*
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// The namespace of those Leases
    #[arg(long, default_value = "default")]
    namespace: String,
    /// Measure nothing: the table and pictures of an earlier run's JSON
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    /// Names the workloads, and measures nothing
    #[arg(long)]
    list: bool,
}

/// What is measured without peers, and what the bench starts of itself.
#[derive(Clone, Debug, clap::Subcommand)]
enum Alone {
    /// Failed requests and the longest pause of writes when a pod leaves as planned, under load through every pod.
    Handover(handover::Handover),
    /// Many electors at one real API server: requests, CPU and memory, and what happens when all fail over at once.
    Crowd(crowd::Crowd),
    /// Put load on one system (started by the bench).
    #[command(hide = true)]
    Load {
        /// The job, as JSON.
        job: String,
    },
    /// Serve one JSON file that is rewritten for each write (started by the bench).
    #[command(hide = true)]
    Floor {
        /// Where on loopback.
        #[arg(long)]
        port: u16,
        /// The file.
        #[arg(long)]
        file: PathBuf,
        /// How many records it begins with.
        #[arg(long)]
        records: u64,
    },
    /// Contend for a Lease by the crate kube-leader-election (started by the bench).
    #[command(hide = true)]
    Contender(Contender),
    /// Run one member of each of many apps by our electors (started by the bench).
    #[command(hide = true)]
    CrowdElectors(crowd::Electors),
}

impl Bench {
    fn settings(&self) -> Settings {
        let mut settings = if self.quick {
            Settings {
                rounds: 2,
                seconds: 1.0,
                warm_up: 0.3,
                etcd_connections: self.etcd_connections,
                faults: 1,
                growth_rounds: 1,
                records: 10_000,
                elections: 1,
                idle_seconds: 15.0,
                outage_seconds: 16.0,
            }
        } else if self.short {
            Settings {
                rounds: 3,
                seconds: 3.0,
                warm_up: 0.5,
                etcd_connections: self.etcd_connections,
                faults: 3,
                growth_rounds: 2,
                records: 100_000,
                elections: 3,
                idle_seconds: 30.0,
                outage_seconds: 20.0,
            }
        } else {
            Settings {
                rounds: 5,
                seconds: 5.0,
                warm_up: 1.0,
                etcd_connections: self.etcd_connections,
                faults: 7,
                growth_rounds: 2,
                records: 1_000_000,
                elections: 5,
                idle_seconds: 60.0,
                outage_seconds: 30.0,
            }
        };
        if let Some(rounds) = self.rounds {
            (settings.rounds, settings.faults) = (rounds, rounds);
            (settings.growth_rounds, settings.elections) = (rounds, rounds);
        }
        settings.seconds = self.seconds.unwrap_or(settings.seconds);
        settings.records = self.records.unwrap_or(settings.records).max(1_000);
        settings
    }
}

fn main() -> ExitCode {
    match begin(Bench::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("e2e bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn begin(mut args: Bench) -> anyhow::Result<()> {
    let alone = args.alone.take();
    if let Some(Alone::Load { job }) = &alone {
        return load::run(job);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        match alone {
            None => run(args).await,
            Some(Alone::Handover(handover)) => {
                warn_of_debug_build();
                handover::run(&handover).await
            }
            Some(Alone::Crowd(crowd)) => {
                warn_of_debug_build();
                crowd::run(crowd).await
            }
            Some(Alone::CrowdElectors(electors)) => crowd::run_electors(electors).await,
            Some(Alone::Floor { port, file, records }) => floor::run(port, &file, records).await,
            Some(Alone::Contender(contender)) => election::contend(contender).await,
            Some(Alone::Load { .. }) => Ok(()),
        }
    })
}

fn warn_of_debug_build() {
    if cfg!(debug_assertions) {
        eprintln!("note: this is a debug build; its figures say nothing");
    }
}

/// Measures what was requested, and reports the results.
///
/// # Errors
/// A system does not work, or a file cannot be written.
async fn run(args: Bench) -> anyhow::Result<()> {
    let known: Vec<&str> =
        [serve::names(), failover::names(), growth::names(), collections::names(), election::names()].concat();
    if args.list {
        println!("{}", known.join("\n"));
        return Ok(());
    }
    if let Some(file) = &args.from {
        let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        let report: Report = serde_json::from_str(&text).with_context(|| format!("{} is no report", file.display()))?;
        return finish(&args, &report);
    }
    warn_of_debug_build();
    let only = named(&args.workloads, &known)?;
    let mut folders = args.peers.clone();
    folders.extend([system::beside("peers/bin"), system::beside("../cluster/bin")]);
    let peers = Peers { folders };
    let asked = if args.systems.is_empty() { Kind::ALL.to_vec() } else { args.systems.clone() };
    let mut run =
        Run { settings: args.settings(), systems: Vec::new(), peers, only, samples: Vec::new(), skipped: Vec::new() };
    for kind in asked {
        match run.peers.missing(kind) {
            Some(why) => run.skip("everything", kind.name(), why),
            None => run.systems.push(kind),
        }
    }
    let (began, begin) = (jiff::Timestamp::now().to_string(), Instant::now());
    let versions = versions(&run);
    let outcome = all(&mut run, &args).await;
    let preset = match (args.quick, args.short) {
        (true, _) => "quick",
        (_, true) => "short",
        _ => "full",
    };
    let report = Report {
        version: 1,
        versions,
        machine: machine::describe(),
        began,
        preset: format!("{preset} run, {} rounds of {} s", run.settings.rounds, run.settings.seconds),
        record_bytes: record::BYTES,
        samples: run.samples,
        skipped: run.skipped,
    };
    // What was measured before something failed is not lost.
    let finished = finish(&args, &report);
    outcome?;
    finished?;
    eprintln!("took {:.0} s", begin.elapsed().as_secs_f64());
    Ok(())
}

async fn all(run: &mut Run, args: &Bench) -> anyhow::Result<()> {
    serve::run(run).await?;
    failover::run(run).await?;
    growth::run(run).await?;
    collections::run(run).await?;
    election::run(run, args.kubeconfig.as_deref(), &args.namespace).await
}

fn finish(args: &Bench, report: &Report) -> anyhow::Result<()> {
    println!("{}", report.table());
    if let Some(file) = &args.json {
        std::fs::write(file, serde_json::to_string_pretty(report)?)
            .with_context(|| format!("cannot write {}", file.display()))?;
        println!("all samples: {}", file.display());
    }
    if let Some(folder) = &args.plots {
        println!("pictures: {}", plot::draw(report, folder)?.join(", "));
    }
    Ok(())
}

/// The workloads that these words name: a whole name selects that one, a prefix all that start with it, no word all.
fn named(words: &[String], known: &[&'static str]) -> anyhow::Result<Vec<&'static str>> {
    let mut named = Vec::new();
    for word in words {
        let begins = |name: &&&'static str| name.starts_with(word.as_str());
        let exact = known.iter().find(|name| **name == word.as_str());
        let found: Vec<&'static str> = match exact {
            Some(exact) => vec![exact],
            None => known.iter().filter(begins).copied().collect(),
        };
        ensure!(!found.is_empty(), "no workload {word:?}: see --list");
        named.extend(found);
    }
    Ok(if words.is_empty() { known.to_vec() } else { named })
}

/// What the programs say that they are.
fn versions(run: &Run) -> BTreeMap<String, String> {
    let say = |program: Result<PathBuf, String>, word: usize| {
        let output = std::process::Command::new(program.ok()?).arg("--version").output().ok()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        Some(text.split_whitespace().nth(word)?.trim_start_matches("v=").to_owned())
    };
    let mut versions = BTreeMap::from([("Leasehold".to_owned(), env!("CARGO_PKG_VERSION").to_owned())]);
    let peers = [("etcd", say(run.peers.etcd(), 2)), ("Redis", say(run.peers.redis(), 2))];
    versions.extend(peers.into_iter().filter_map(|(name, version)| Some((name.to_owned(), version?))));
    versions
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::named;

    #[test]
    fn a_whole_name_is_one_workload_and_a_beginning_is_many() {
        let known = ["writes-1", "writes-16", "reads"];
        let named = |words: &[&str]| named(&words.iter().map(ToString::to_string).collect::<Vec<_>>(), &known);
        assert_eq!(named(&["writes-1"]).unwrap(), ["writes-1"]);
        assert_eq!(named(&["writes"]).unwrap(), ["writes-1", "writes-16"]);
        assert_eq!(named(&[]).unwrap(), known);
        assert!(named(&["wirtes"]).is_err());
    }
}
