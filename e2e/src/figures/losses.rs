//! What is lost when a cluster is, with all its volumes and its agent, at any moment.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::Context;
use leasehold_api::lock;

use super::{
    clients::write,
    setting::{cluster_of, median, until_metric},
};
use crate::{
    archive::Archive,
    client::Http,
    cluster::{Cluster, Config, Part, Signal},
};

/// The sequences that were acknowledged, and when.
type Acknowledged = Arc<Mutex<BTreeMap<u64, Instant>>>;

/// Loses so many clusters, and prints each time what was acknowledged and is not in the archive.
pub(super) async fn run(losses: u32, changes_every: &str) -> anyhow::Result<()> {
    let mut ages = Vec::new();
    let mut counts = Vec::new();
    for number in 0..losses {
        let (lost, oldest) = one(number, changes_every).await?;
        println!("loss {number}: {lost} acknowledged writes, the oldest {:.2} s old", oldest.as_secs_f64());
        ages.push(oldest.as_secs_f64());
        counts.push(lost);
    }
    counts.sort_unstable();
    let worst = ages.iter().copied().fold(0.0, f64::max);
    if let Some(most) = counts.last() {
        println!("{losses} losses with changes every {changes_every}:");
        println!("  age of the oldest lost write: median {:.2} s, worst {worst:.2} s", median(&mut ages));
        println!("  lost writes: median {}, most {most}", counts[counts.len() / 2]);
    }
    Ok(())
}

async fn one(number: u32, changes_every: &str) -> anyhow::Result<(usize, Duration)> {
    let folder = tempfile::tempdir()?;
    let archive = Archive::at(&folder.path().join("archive"))?;
    let cluster = cluster_of(Config::for_tests(3)?).await?;
    let leader = cluster.wait_for_leader().await?;
    let status = cluster.http().get_json(cluster.store(0), "/api/status").await?;
    let cluster_id = status["clusterId"].as_str().context("no clusterId")?.to_owned();
    let agent = archive.agent(&cluster, 0, &["--changes-every", changes_every])?;
    until_metric(&agent, "leasehold_backup_recoverable_sequence", |at| at > 0.0).await?;
    let (acknowledged, over) = (Acknowledged::default(), Arc::new(AtomicBool::new(false)));
    let clients = writers(&cluster, leader, &acknowledged, &over);
    // Behind two uploads, at another point of the third's time in each round.
    let end = archive.end(&cluster_id)?;
    for turn in 1..=2 {
        let upto = lock(&acknowledged).keys().next_back().copied().unwrap_or(end) + turn;
        #[allow(clippy::cast_precision_loss)] // not so many
        until_metric(&agent, "leasehold_backup_recoverable_sequence", |at| at >= upto as f64).await?;
    }
    tokio::time::sleep(Duration::from_millis(u64::from(number) * 7919 % 10_000)).await;

    let lost_at = Instant::now();
    agent.process().unwant();
    agent.kill();
    for i in 0..cluster.wanted() {
        cluster.signal(i, Part::Store, Signal::KILL);
    }
    for i in 0..cluster.wanted() {
        cluster.kill_and_hold(i, Part::Store)?;
    }
    over.store(true, Ordering::Relaxed);
    clients.join_all().await;
    let end = archive.end(&cluster_id)?;
    let acknowledged = lock(&acknowledged);
    let lost = acknowledged.range(end + 1..);
    let oldest = lost.clone().next().map_or(Duration::ZERO, |(_, at)| lost_at.saturating_duration_since(*at));
    Ok((lost.count(), oldest))
}

/// Four clients, a hundred writes a second each at most: it is about time, and the machine has other things to do.
fn writers(
    cluster: &Cluster,
    leader: u16,
    acknowledged: &Acknowledged,
    over: &Arc<AtomicBool>,
) -> tokio::task::JoinSet<()> {
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let (acknowledged, over, store) = (Arc::clone(acknowledged), Arc::clone(over), cluster.store(leader));
        tasks.spawn(async move {
            let http = Http::default();
            while !over.load(Ordering::Relaxed) {
                if let Some(sequence) = write(&http, store).await {
                    lock(&acknowledged).insert(sequence, Instant::now());
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
    }
    tasks
}
