//! What every part of the figures needs: clusters that are ready, and agents that have come so far.

use std::time::Duration;

use anyhow::ensure;

use crate::{
    archive::Agent,
    cluster::{Cluster, Config},
};

/// Patience for what takes long with a million records.
pub(super) const LONG: Duration = Duration::from_secs(600);

/// Three pods that are ready.
pub(super) async fn cluster_of(config: Config) -> anyhow::Result<Cluster> {
    let cluster = Cluster::start(config)?;
    cluster.wait_for_leader().await?;
    all_ready(&cluster, LONG).await?;
    Ok(cluster)
}

async fn all_ready(cluster: &Cluster, patience: Duration) -> anyhow::Result<()> {
    let ready = || async {
        for i in 0..cluster.wanted() {
            cluster.http().get(cluster.store(i), "/readyz").await?;
        }
        Ok(())
    };
    leasehold_testkit::ask_until("all pods are ready", patience, Duration::from_millis(20), ready).await
}

/// Until the agent's metric is there, and what it should be.
pub(super) async fn until_metric(agent: &Agent, name: &str, enough: impl Fn(f64) -> bool) -> anyhow::Result<()> {
    let asked = || async {
        let value = agent.metric(name).await?;
        ensure!(enough(value), "{name} is {value}");
        Ok(())
    };
    leasehold_testkit::ask_until(name, LONG, Duration::from_millis(50), asked).await
}

/// The value in the middle.
pub(super) fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
