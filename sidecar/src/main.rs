//! The sidecar: `leasehold_sidecar` with flags. Exit codes: 0 released the Lease and ended, or a command is done; 1 a fault, or refused; 2
//! invalid flags. Those of `exec` are on docs/sidecar.md.

use std::io::{Read, Write as _};
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use leasehold_daemon::logs::{self, in_words};
use leasehold_daemon::{descriptors, signals};
use leasehold_sidecar::program::{
    Args, Command, Injection, Place, copy_program, inject, run_command, run_exec, run_guard, run_start,
};
use leasehold_sidecar::{Config, ConfigError, Elector, connect};
use tracing::{error, info, warn};

/// kube logs every failed request at level error itself; we report them ourselves, once.
const LOG_ALWAYS: &[&str] = &["kube_client=off"];
/// What `inject` reads at most: manifests are some kilobytes.
const STREAM_BYTES_MAX: u64 = 64 << 20;

fn main() -> ExitCode {
    let args = Args::of_process();
    let command = args.command.clone();
    let (format, filter) = args.log();
    if let Err(reason) = logs::start(format, filter, LOG_ALWAYS) {
        eprintln!("sidecar: {}", in_words(&reason));
        return ExitCode::from(2);
    }
    if let Some(Command::Inject(inject)) = &command {
        return inject_into(args.injection(inject));
    }
    if let Some(code) = without_config(&args) {
        return code;
    }
    let config = match args.config() {
        Ok(config) => config,
        Err(reason) => {
            eprintln!("sidecar: {reason}");
            return ExitCode::from(2);
        }
    };
    // One thread: the sidecar does little, and a pod's limit is not a node's number of cores.
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(reason) => {
            eprintln!("sidecar: cannot start the tokio runtime: {reason}");
            return ExitCode::from(1);
        }
    };
    let outcome = runtime.block_on(async {
        match command {
            None | Some(Command::Run) => {
                run(config).await.inspect_err(|reason| error!("{}", in_words(reason.as_ref())))
            }
            Some(command) => match run_command(&command, &config, &mut say).await {
                Ok(()) => Ok(()),
                // This reaches the operator whatever the log's filter is.
                Err(reason) => {
                    eprintln!("sidecar: {}", in_words(&reason));
                    Err(reason.into())
                }
            },
        }
    });
    // A thread that waits for the app's lock, or an HTTP connection, must not delay the end of the process.
    runtime.shutdown_background();
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::from(1),
    }
}

/// The commands that run beside an app, or before it, and know nothing of the Lease.
fn without_config(args: &Args) -> Option<ExitCode> {
    let (log_format, log) = args.log();
    let place = Place { directory: args.directory(), log_format, log };
    let code = match args.command.as_ref()? {
        Command::Exec(exec) => run_exec(exec, &place),
        Command::ExecGuard(guard) => run_guard(guard, &place),
        Command::ExecStart(start) => run_start(start),
        Command::Copy { to } => match copy_program(to) {
            Ok(path) => {
                say(&format!("copied this program to {}\n", path.display()));
                0
            }
            Err(reason) => {
                eprintln!("sidecar: {reason}");
                1
            }
        },
        Command::Run
        | Command::Inject(_)
        | Command::Status { .. }
        | Command::Switchover { .. }
        | Command::StepDown { .. }
        | Command::Pause
        | Command::Resume
        | Command::Adopt { .. } => return None,
    };
    Some(ExitCode::from(code))
}

/// Ends quietly when the reader has gone, as with `status --watch | head`.
fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    if out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_err() {
        std::process::exit(0);
    }
}

/// Nothing is printed before all of it is known to be right: a reader must not apply half of it.
fn inject_into(injection: Result<Injection, ConfigError>) -> ExitCode {
    let injection = match injection {
        Ok(injection) => injection,
        Err(reason) => {
            eprintln!("sidecar: {reason}");
            return ExitCode::from(2);
        }
    };
    match read(&injection.file).and_then(|text| Ok(inject(&text, &injection)?)) {
        Ok(text) => {
            say(&text);
            ExitCode::SUCCESS
        }
        Err(reason) => {
            let file = injection.file.display();
            eprintln!("sidecar: inject {file}: {}", in_words(reason.as_ref()));
            ExitCode::from(1)
        }
    }
}

/// A file, or standard input as `-`.
fn read(file: &Path) -> anyhow::Result<String> {
    let source: Box<dyn Read> = if file == Path::new("-") {
        Box::new(std::io::stdin().lock())
    } else {
        Box::new(std::fs::File::open(file).context("cannot open it; -f names the file, - is standard input")?)
    };
    let mut text = String::new();
    let count = source.take(STREAM_BYTES_MAX + 1).read_to_string(&mut text).context("cannot read it as UTF-8 text")?;
    anyhow::ensure!(count as u64 <= STREAM_BYTES_MAX, "more than {} MiB; pass less at once", STREAM_BYTES_MAX >> 20);
    Ok(text)
}

async fn run(config: Config) -> anyhow::Result<()> {
    // A hand-over takes well under a second: a second signal changes nothing.
    let stop = signals::stop_token(|| {}).context("cannot listen for signals")?;
    if let Err(error) = descriptors::raise() {
        warn!(%error, "cannot raise the limit of open files; it stays unchanged");
    }
    info!(pod = config.name, lease = config.lease, namespace = config.namespace, app = ?config.app, "starting");
    let client = connect(&config).await?;
    let elector = Elector::start(config, client).await?;
    let stopper = elector.stopper();
    let mut ended = std::pin::pin!(elector.ended());
    tokio::select! {
        ended = &mut ended => return ended.map_err(anyhow::Error::from),
        () = stop.cancelled() => stopper.cancel(),
    }
    ended.await.map_err(anyhow::Error::from)
}
