//! `bench crowd-electors`: one member of each of many apps, by our electors, in a process of its own.
//!
//! Each elector has a client of its own (connections, TLS, token) and its own watches, as in a pod of its own: nothing is
//! shared but the program, its threads and this process' memory. It reports as e2e/bench/peers/cmd/crowd does.

use std::{
    io::Write as _,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::Context;
use leasehold_contract::Moment;
use leasehold_sidecar::{Config, Elector, State, connect};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
};

use super::stage::{lease_name, member_name};

/// Which electors, and where.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Electors {
    /// The folder with a kubeconfig for each member
    #[arg(long)]
    kubeconfigs: PathBuf,
    /// The Leases' namespace
    #[arg(long)]
    namespace: String,
    /// How many apps there are
    #[arg(long)]
    apps: usize,
    /// Which member of each of them this is
    #[arg(long)]
    member: usize,
    /// The Leases' duration in seconds
    #[arg(long)]
    lease_seconds: u64,
}

/// Contends until "stop" is read, or the input ends.
///
/// # Errors
/// An elector cannot be started, or one ended by itself.
pub(crate) async fn run(args: Electors) -> anyhow::Result<()> {
    let (stop, stopped) = watch::channel(false);
    let ready = Arc::new(AtomicUsize::new(0));
    let mut electors = JoinSet::new();
    for app in 0..args.apps {
        electors.spawn(one(args.clone(), app, stopped.clone(), ready.clone()));
    }
    let mut lines = lines();
    loop {
        tokio::select! {
            line = lines.recv() => match line {
                Some(line) if line == "stop" => { stop.send_replace(true); }
                Some(_) => {}
                // Whoever started this is gone.
                None => return Ok(()),
            },
            ended = electors.join_next() => match ended {
                Some(ended) => ended??,
                None => return Ok(()),
            },
        }
    }
}

/// What is read from standard input. On a thread of its own, which may wait there for ever.
fn lines() -> mpsc::Receiver<String> {
    let (sender, lines) = mpsc::channel(1);
    std::thread::spawn(move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            if sender.blocking_send(line).is_err() {
                return;
            }
        }
    });
    lines
}

async fn one(
    args: Electors,
    app: usize,
    mut stopped: watch::Receiver<bool>,
    ready: Arc<AtomicUsize>,
) -> anyhow::Result<()> {
    let name = member_name(app, args.member);
    let mut config = Config::plain(&args.namespace, &lease_name(app), &name, "127.0.0.1:1")?;
    config.lease_duration = Duration::from_secs(args.lease_seconds);
    config.kubeconfig = Some(args.kubeconfigs.join(format!("{name}.kubeconfig")));
    let client = connect(&config).await?;
    let elector = Elector::start(config, client).await?;
    let (mut state, stopper) = (elector.state(), elector.stopper());
    let mut ended = std::pin::pin!(elector.ended());
    let (mut told, mut is_ready) = (0, false);
    loop {
        tokio::select! {
            ended = &mut ended => {
                tell(app, &mut told, 0)?;
                return ended.with_context(|| format!("the elector {name} ended"));
            }
            _ = stopped.wait_for(|stopped| *stopped), if !stopper.is_cancelled() => stopper.cancel(),
            Ok(()) = state.changed() => {
                let (until, sees_a_leader) = {
                    let state = state.borrow_and_update();
                    (valid_until(&state), state.leader().is_some())
                };
                tell(app, &mut told, until)?;
                if sees_a_leader && !is_ready {
                    is_ready = true;
                    if ready.fetch_add(1, Ordering::Relaxed) + 1 == args.apps {
                        say("{\"ready\":true}")?;
                    }
                }
            }
        }
    }
}

/// Until when this pod may lead; 0: it does not.
fn valid_until(state: &State) -> u64 {
    let role = state.role.as_ref().filter(|role| role.role.as_str() == "leader");
    role.and_then(|role| role.lease.valid_until_boottime_ns).unwrap_or(0)
}

fn tell(app: usize, told: &mut u64, until: u64) -> anyhow::Result<()> {
    if *told != until {
        *told = until;
        say(&format!("{{\"app\":{app},\"at\":{},\"until\":{until}}}", Moment::now().boottime_ns))?;
    }
    Ok(())
}

/// At once and whole: this process may be killed at any time.
fn say(line: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).context("nobody reads the reports")
}
