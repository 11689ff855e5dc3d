//! The same questions to a sidecar whose app fences by terms, which here is our store: it need not wait for the Lease to
//! run out. On the embedded API.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use leasehold_api::Verb;
use leasehold_e2e::cluster::{Cluster, Config, Part};
use leasehold_testkit::ask_until;

use super::api::{LOOK, PATIENCE};
use crate::{machine, machine::Look, run::Run, sample::Figure};

/// As tables name it.
pub(super) const NAME: &str = "Leasehold, fencing app";

pub(super) async fn run(run: &mut Run, round: u32) -> anyhow::Result<()> {
    let mut config = Config::for_tests(3)?;
    config.lease_duration = "15s".into();
    let cluster = Cluster::start(config)?;
    let mut leader = settle(&cluster).await?;
    if run.wants("election-requests") {
        tokio::time::sleep(Duration::from_secs(2)).await;
        let (look, before, begin) = (Look::now(), cluster.api().log().len(), Instant::now());
        tokio::time::sleep(Duration::from_secs_f64(run.settings.idle_seconds)).await;
        let minutes = begin.elapsed().as_secs_f64() / 60.0;
        let log = cluster.api().log();
        #[allow(clippy::cast_precision_loss)]
        let rate = |i: u16| {
            let own = log[before..].iter().filter(|r| r.client == cluster.pod_name(i) && r.verb != Verb::Watch);
            own.count() as f64 / minutes
        };
        let others = (0..3).filter(|i| *i != leader).map(rate).fold(0.0, f64::max);
        let requests = Figure::RequestsPerMinute;
        run.note_value("election-requests-holder", NAME, requests, round, rate(leader), look);
        run.note_value("election-requests-others", NAME, requests, round, others, look);
    }
    if run.wants("election-memory") {
        let sidecars = (0..3).filter_map(|i| cluster.pid(i, Part::Sidecar)).map(machine::resident_bytes);
        let mib = sidecars.fold(0.0, f64::max) / 1024.0 / 1024.0;
        run.note_value("election-memory", NAME, Figure::Mib, round, mib, Look::now());
    }
    if run.wants("election-graceful") {
        let (look, begin) = (Look::now(), Instant::now());
        cluster.delete_pod(leader).map_err(|failure| anyhow::anyhow!(failure.message))?;
        let at = told(&cluster, leader).await?;
        run.note_value("election-graceful", NAME, Figure::Ms, round, (at - begin).as_secs_f64() * 1e3, look);
        leader = settle(&cluster).await?;
    }
    if run.wants("election-kill") {
        // The node is gone: both programs, and they do not return by themselves.
        let (look, begin) = (Look::now(), Instant::now());
        cluster.kill_and_hold(leader, Part::Sidecar)?;
        cluster.kill_and_hold(leader, Part::Store)?;
        let at = told(&cluster, leader).await?;
        run.note_value("election-kill", NAME, Figure::Ms, round, (at - begin).as_secs_f64() * 1e3, look);
    }
    Ok(())
}

async fn settle(cluster: &Cluster) -> anyhow::Result<u16> {
    cluster
        .until("all pods are ready and one leads", || async move {
            for i in 0..cluster.wanted() {
                cluster.http().get(cluster.store(i), "/readyz").await.with_context(|| format!("pod {i}"))?;
            }
            cluster.leader().await.map(|(leader, _)| leader).context("nobody leads")
        })
        .await
}

/// When the role file of another pod says that it leads.
async fn told(cluster: &Cluster, not: u16) -> anyhow::Result<Instant> {
    let role = |i: u16| std::fs::read_to_string(cluster.shared_directory(i).join("role"));
    let told = ask_until("another pod is told that it leads", PATIENCE, LOOK, async || {
        let mut others = (0..cluster.wanted()).filter(|i| *i != not);
        ensure!(others.any(|i| role(i).is_ok_and(|word| word.trim() == "leader")), "none was");
        Ok(Instant::now())
    });
    told.await.with_context(|| cluster.report())
}
