//! `e2e`: the demo, chaos, updates and the bench, on a cluster of processes; and the embedded API compared with a real one.

use std::{ffi::OsString, os::unix::process::CommandExt as _, path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};
use leasehold_api::conformance;
use leasehold_e2e::{chaos, cluster, demo, figures, service};

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
    #[command(disable_help_flag = true)]
    Bench {
        /// Flags and workloads: see `e2e bench --help`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
    /// Measure what backups cost and how long restores take. Use a release build.
    BackupFigures(figures::Figures),
    /// Break everything while clients read and write, and check their answers.
    Chaos(chaos::Chaos),
    /// Update from the last release and back, one program after the other, while clients read and write, and check what they
    /// were told.
    Skew(chaos::Skew),
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
    if let Command::Bench { args } = &command {
        return Err(become_bench(args));
    }
    if let Command::Chaos(args) = &command {
        chaos::prepare(args);
    }
    if let Command::Skew(args) = &command {
        chaos::prepare_skew(args);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        match command {
            Command::Demo(demo) => demo::run(demo).await?,
            Command::BackupFigures(args) => figures::run(args).await?,
            Command::Chaos(args) => return chaos::run(args).await,
            Command::Skew(args) => return chaos::run_skew(args).await,
            Command::Conformance(args) => return conformance::run(args).await,
            Command::Writers(args) => service::run(args).await?,
            Command::Guard { .. } | Command::Bench { .. } => {}
        }
        Ok(ExitCode::SUCCESS)
    })
}

/// The bench is a program of its own, which lies beside this one: nobody who tests compiles it. Returns only if it
/// cannot be started.
fn become_bench(args: &[OsString]) -> anyhow::Error {
    let program = match std::env::current_exe() {
        Ok(this) => this.with_file_name("bench"),
        Err(error) => return anyhow::Error::new(error).context("this executable has no path"),
    };
    let error = std::process::Command::new(&program).args(args).exec();
    let what = format!("cannot start {}: run `cargo build --locked --release --bins` first", program.display());
    anyhow::Error::new(error).context(what)
}
