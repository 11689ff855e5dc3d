//! `backup`: reads its flags, and does what they say.
//!
//! Exit codes: 0 done, 1 something is wrong or failed, 2 invalid flags.

use leasehold_backup::archive::CommandError;
use leasehold_backup::args::{Args, Command};
use leasehold_backup::{agent, cat, crypto, drill, list, restore, verify};
use leasehold_daemon::{logs, signals};
use std::error::Error;
use std::io;
use std::process::ExitCode;

/// Reading a snapshot allocates millions of records.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const FAILURE: u8 = 1;
const MISUSE: u8 = 2;

fn main() -> ExitCode {
    let args = Args::of_process();
    // Commands speak for themselves; what libraries warn about is worth a line.
    let (format, filter) = match &args.command {
        Command::Agent(agent) => (agent.log_format, agent.log.as_str()),
        _ => (logs::LogFormat::Text, "error"),
    };
    if let Err(error) = logs::start(format, filter, &[]) {
        eprintln!("backup: {}", logs::in_words(&error));
        return ExitCode::from(MISUSE);
    }
    crypto::install();
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("backup: cannot start the tokio runtime: {error}");
            return ExitCode::from(FAILURE);
        }
    };
    let done = runtime.block_on(run(args.command));
    // A thread that still reads from the bucket must not delay the end.
    runtime.shutdown_background();
    match done {
        Ok(()) => ExitCode::SUCCESS,
        // The reader has what it wants, as with `backup cat | head`.
        Err(error) if is_broken_pipe(&*error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("backup: {}", logs::in_words(&*error));
            ExitCode::from(FAILURE)
        }
    }
}

async fn run(command: Command) -> Result<(), Box<dyn Error + Send + Sync>> {
    let mut out = io::stdout();
    match command {
        Command::Agent(args) => {
            // A second signal changes nothing: what is in the spool is uploaded by the next run.
            let stop = signals::stop_token(|| {})?;
            agent::run(&args, stop).await?;
        }
        Command::List(args) => list::run(&args, &mut out).await?,
        Command::Verify(args) => verify::run(args, &mut out).await?,
        Command::Cat(args) => cat::run(args, out).await?,
        Command::Restore(args) => restore::run(*args, &mut out).await?,
        Command::Drill(args) => drill::run(args, &mut out).await?,
    }
    Ok(())
}

fn is_broken_pipe(error: &(dyn Error + 'static)) -> bool {
    let is_one = |error: &io::Error| error.kind() == io::ErrorKind::BrokenPipe;
    matches!(error.downcast_ref(), Some(CommandError::Io { source, .. }) if is_one(source))
}
