//! `store`: reads its flags, and runs a [`Node`] until it ends.
//!
//! Two runtimes. The core (driver, peers, files) has this process's first thread: what circulates between driver,
//! connections and journal wakes no other thread on the way, and no client's long list delays a heartbeat. Clients have
//! `--worker-threads` threads.
//!
//! Exit codes: 0 drained, 1 fatal IO (or a part that ended unexpectedly), 2 invalid flags or initial data, or a
//! volume or log of a format that this build does not read, 3 damage.

use std::process::ExitCode;

use leasehold_daemon::{flags, logs, signals};
use leasehold_store::args::{Args, Config, Task};
use leasehold_store::node::Node;
use leasehold_store::volume::recover;
use tokio::runtime::Builder;
use tracing::{error, warn};

/// A write's bytes are allocated on one thread and freed on another: mimalloc does that without a lock.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const FATAL: u8 = 1;
const MISUSE: u8 = 2;

/// Why the process ends, and with which code.
struct Failure {
    code: u8,
    error: Box<dyn std::error::Error>,
}

fn main() -> ExitCode {
    let args: Args = flags::of_process();
    if let Err(error) = logs::start(args.log_format, &args.log, &[]) {
        eprintln!("store: {}", logs::in_words(&error));
        return ExitCode::from(MISUSE);
    }
    let config = match args.validate() {
        Ok(config) => config,
        Err(error) => {
            error!("{error}");
            return ExitCode::from(MISUSE);
        }
    };
    let done = match config.task {
        Task::Run => run(config),
        Task::Bootstrap => recover::force_bootstrap(&config.data)
            .map(|done| println!("{done}"))
            .map_err(|error| Failure { code: error.exit_code(), error: error.into() }),
        Task::Recover => recover::force_new_cluster(&config.data, &config.name)
            .map(|done| println!("{done}"))
            .map_err(|error| Failure { code: error.exit_code(), error: error.into() }),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure { code, error }) => {
            error!(code, "the store stops: {}", logs::in_words(error.as_ref()));
            ExitCode::from(code)
        }
    }
}

fn run(config: Config) -> Result<(), Failure> {
    let no_runtime = |error| Failure { code: FATAL, error: format!("cannot start the tokio runtime: {error}").into() };
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(config.worker_threads).thread_name("clients").enable_all();
    let clients = builder.build().map_err(no_runtime)?;
    let core = Builder::new_current_thread().enable_all().build().map_err(no_runtime)?;
    let done = core.block_on(async {
        let no_signals = |error| Failure { code: FATAL, error: format!("cannot listen for signals: {error}").into() };
        let stop = signals::stop_token(end_at_once).map_err(no_signals)?;
        let failed = |error: leasehold_store::node::NodeError| Failure { code: error.exit_code(), error: error.into() };
        Node::start(config, clients.handle(), stop).await.map_err(failed)?.ended().await.map_err(failed)
    });
    // Blocking threads that wait for a lock, or a name server, do not keep the process alive.
    clients.shutdown_background();
    core.shutdown_background();
    done
}

/// For an operator who does not want to wait for the hand-over.
fn end_at_once() {
    warn!("received a second signal to end: ending without a hand-over");
    std::process::exit(i32::from(FATAL));
}
