//! `bench contender`: a contender for a Lease by the crate kube-leader-election, used as its documentation shows: a lease
//! of 15 s, a try every 5 s, and `step_down` at the end.
//!
//! It reports on standard output when it becomes leader and when it stops, as the elector in e2e/bench/peers does. An error
//! counts as "not leading": the crate leaves that to its user.

use std::{path::PathBuf, time::Duration};

use anyhow::Context;
use kube_leader_election::{LeaseLock, LeaseLockParams, LeaseLockResult};
use tokio::signal::unix::{SignalKind, signal};

/// One contender.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Contender {
    /// How the API server is reached
    #[arg(long)]
    kubeconfig: PathBuf,
    /// The Lease's namespace
    #[arg(long)]
    namespace: String,
    /// The Lease's name
    #[arg(long)]
    lease: String,
    /// This contender's name
    #[arg(long)]
    name: String,
}

const TTL: Duration = Duration::from_secs(15);
const EVERY: Duration = Duration::from_secs(5);

/// Contends until SIGTERM.
///
/// # Errors
/// The kubeconfig is unusable.
pub(crate) async fn contend(args: Contender) -> anyhow::Result<()> {
    let kubeconfig = kube::config::Kubeconfig::read_from(&args.kubeconfig)?;
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &kube::config::KubeConfigOptions::default()).await?;
    let client = kube::Client::try_from(config).context("no client")?;
    let params = LeaseLockParams { holder_id: args.name, lease_name: args.lease, lease_ttl: TTL };
    let lock = LeaseLock::new(client, &args.namespace, params);
    let mut end = signal(SignalKind::terminate())?;
    let mut leads = false;
    loop {
        let told = matches!(lock.try_acquire_or_renew().await, Ok(LeaseLockResult::Acquired(_)));
        if told != leads {
            leads = told;
            println!("{{\"leads\":{leads}}}");
        }
        tokio::select! {
            _ = end.recv() => break,
            () = tokio::time::sleep(EVERY) => {}
        }
    }
    if leads {
        lock.step_down().await?;
        println!("{{\"leads\":false}}");
    }
    Ok(())
}
