//! `e2e bench crowd`: many electors at one real API server; what they cost it, and how they behave when everything
//! happens to all of them at once.
//!
//! ```text
//!   for each system and duration: etcd, kube-apiserver (control_plane) ─▶ Leases, pods, tokens (stage)
//!        ─▶ a process for the first members of all apps, one for the second … (group: electors, or client-go's crowd)
//!        ─▶ start, steady, graceful, kill, restart (trial) ─▶ a column of figures (column)
//!
//!   the processes report their claims (claims)     the API server counts (prometheus) and logs requests (audit)
//! ```
//!
//! docs/scale.md says what the figures mean, and what is real for pods but not here.

mod audit;
mod certificates;
mod claims;
mod column;
mod control_plane;
mod electors;
mod group;
mod kubeconfig;
mod plan;
mod prometheus;
mod stage;
mod trial;

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, ensure};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    machine,
    system::{self, Peers},
};
use column::{Column, table};
use control_plane::ControlPlane;
pub(crate) use electors::{Electors, run as run_electors};
use group::System;
use plan::Plan;
use stage::Stage;
use trial::Trial;

/// How many, how long, and where.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Crowd {
    /// How many apps there are, each with a Lease of its own
    #[arg(long, value_name = "N")]
    apps: Option<usize>,
    /// How many electors each app has
    #[arg(long, default_value_t = 2, value_name = "N", value_parser = clap::value_parser!(u8).range(2..=10))]
    members: u8,
    /// The durations of the Leases, in seconds [default: 15,60; quick: 6]
    #[arg(long, value_delimiter = ',', value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(3..=3600))]
    durations: Vec<u64>,
    /// Only these systems
    #[arg(long, value_enum, value_delimiter = ',')]
    systems: Vec<System>,
    /// For how long nothing happens while it is measured what that costs
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: Option<u64>,
    /// A first look in some minutes: 50 apps, a Lease of 6 s
    #[arg(long)]
    quick: bool,
    /// All figures as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Where programs of peers are, before PATH (default: e2e/bench/peers/bin, e2e/cluster/bin)
    #[arg(long, value_name = "FOLDER")]
    peers: Vec<PathBuf>,
    /// Use this API server instead of one of the bench's own. Makes one namespace, and deletes it
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
}

/// Measures, and prints the table.
///
/// # Errors
/// A program is missing, a crowd does not work, or two claims of an app of ours were valid at once.
pub(crate) async fn run(args: Crowd) -> anyhow::Result<()> {
    let plan = Plan {
        apps: args.apps.unwrap_or(if args.quick { 50 } else { 1_000 }),
        members: usize::from(args.members),
        window: Duration::from_secs(args.seconds.unwrap_or(if args.quick { 10 } else { 60 })),
        warm_up: Duration::from_secs(if args.quick { 2 } else { 10 }),
    };
    ensure!((1..=20_000).contains(&plan.apps), "--apps {}: choose 1 to 20000", plan.apps);
    let mut folders = args.peers.clone();
    folders.extend([system::beside("peers/bin"), system::beside("../cluster/bin")]);
    let peers = Peers { folders };
    match &args.kubeconfig {
        Some(file) => group::check_file(file)?,
        None => {
            if let Some(why) = control_plane::missing(&peers) {
                anyhow::bail!("{why}");
            }
        }
    }
    group::raise_open_files(plan.apps, plan.members)?;
    let systems =
        if args.systems.is_empty() { vec![System::Leasehold, System::ClientGo] } else { args.systems.clone() };
    let durations = match (args.durations.as_slice(), args.quick) {
        ([], true) => vec![6],
        ([], false) => vec![15, 60],
        (named, _) => named.to_vec(),
    };
    let mut columns = Vec::new();
    for seconds in durations {
        for system in &systems {
            if let Some(why) = system.missing(&peers) {
                eprintln!("skipped: {}: {why}", system.name());
                continue;
            }
            eprintln!("  {} with Leases of {seconds} s, {} apps of {}", system.name(), plan.apps, plan.members);
            columns.push(one(&plan, &peers, (*system, seconds), &args).await?);
        }
    }
    println!("{} apps of {} electors, {}", plan.apps, plan.members, machine::describe());
    println!("{}", table(&columns));
    if let Some(file) = &args.json {
        let all = json!({"version": 1, "machine": machine::describe(), "apps": plan.apps, "members": plan.members,
            "seconds": plan.window.as_secs(), "began": jiff::Timestamp::now().to_string(), "columns": columns});
        let text = serde_json::to_string_pretty(&all)?;
        std::fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))?;
    }
    let wrong = |column: &&Column| {
        column.system == System::Leasehold.name()
            && column.value("whole run", "two valid claims at once").is_some_and(|times| times > 0.0)
    };
    ensure!(
        !columns.iter().any(|column| wrong(&column)),
        "two electors of ours had valid claims at once: see the table"
    );
    Ok(())
}

/// One column. Whatever happens, also an interrupt, everything is ended and removed.
async fn one(plan: &Plan, peers: &Peers, what: (System, u64), args: &Crowd) -> anyhow::Result<Column> {
    let mut terminated = signal(SignalKind::terminate())?;
    let mut interrupted = signal(SignalKind::interrupt())?;
    let mut ended = async || {
        tokio::select! {
            _ = terminated.recv() => anyhow::anyhow!("terminated"),
            _ = interrupted.recv() => anyhow::anyhow!("interrupted"),
        }
    };
    let start = async {
        match &args.kubeconfig {
            Some(file) => ControlPlane::of(file).await,
            None => ControlPlane::start(peers).await,
        }
    };
    let plane = tokio::select! {
        plane = start => plane?,
        ended = ended() => return Err(ended),
    };
    let stage = Stage::new(&plane)?;
    let mut trial = Trial::new(plan, peers, what, plane, &stage);
    let outcome = tokio::select! {
        outcome = trial.run() => outcome.with_context(|| format!("{} with Leases of {} s", what.0.name(), what.1)),
        ended = ended() => Err(ended),
    };
    let column = trial.end();
    // An API server of our own has ended by now, with all that it had.
    if args.kubeconfig.is_some() {
        stage.clear().await?;
    }
    outcome.map(|()| column)
}
