//! `e2e`: the demo and the benches, on a cluster of processes; and the embedded API compared with a real one.

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};
use leasehold_api::conformance;
use leasehold_e2e::{bench, chaos, cluster, demo, service};

/// A Leasehold cluster of processes on this machine.
#[derive(Debug, Parser)]
#[command(name = "e2e", version, about)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Three pods on fixed loopback ports, with a live view.
    Demo(demo::Demo),
    /// Measure our store and sidecar beside their peers. Use a release build.
    Bench(bench::Bench),
    /// Put load on one system (started by the bench).
    #[command(hide = true)]
    Load {
        /// What is to be done, as JSON.
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
    Contender(bench::Contender),
    /// Break everything while clients read and write, and check what they were told.
    Chaos(chaos::Chaos),
    /// Compare the embedded API, or a real one, with what a real API server was seen to answer.
    Conformance(conformance::Conformance),
    /// Write through a Service of a real Kubernetes, as clients do that keep their connections (for the tests there).
    #[command(hide = true)]
    Writers(service::Writers),
    /// Wait for the harness's end, and clean up after it (started by the harness).
    #[command(hide = true)]
    Guard {
        /// The cluster's folder.
        root: PathBuf,
        /// Remove the folder, too.
        #[arg(long)]
        remove: bool,
    },
}

fn main() -> ExitCode {
    match run(Args::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("e2e: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    if let Command::Guard { root, remove } = command {
        cluster::guard(&root, remove);
        return Ok(ExitCode::SUCCESS);
    }
    if let Command::Load { job } = &command {
        bench::load(job)?;
        return Ok(ExitCode::SUCCESS);
    }
    if let Command::Chaos(args) = &command {
        chaos::prepare(args);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        match command {
            Command::Demo(demo) => demo::run(demo).await?,
            Command::Bench(args) => bench::run(args).await?,
            Command::Floor { port, file, records } => bench::floor(port, &file, records).await?,
            Command::Contender(args) => bench::contend(args).await?,
            Command::Chaos(args) => return chaos::run(args).await,
            Command::Conformance(args) => return conformance::run(args).await,
            Command::Writers(args) => service::run(args).await?,
            Command::Guard { .. } | Command::Load { .. } => {}
        }
        Ok(ExitCode::SUCCESS)
    })
}
