//! `e2e backup-figures`: what backups cost, how long they and restores take, and what is lost when everything is.
//!
//! Each part has a cluster of three pods of its own, on loopback, and an archive in a folder beside it (TMPDIR says where). The
//! figures of one run are in docs/bench.md.

mod clients;
mod cost;
mod losses;
mod processor;
mod setting;

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use http::Method;
use serde_json::{Value, json};

use self::setting::{LONG, cluster_of, until_metric};
use crate::{
    archive::Archive,
    cluster::{Cluster, Config, Part, Signal},
};

/// What is measured.
#[derive(Clone, Debug, clap::Args)]
pub struct Figures {
    /// How many records are backed up and restored
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    records: u64,
    /// How often a cluster is lost with all its volumes
    #[arg(long, value_name = "N", default_value_t = 20)]
    losses: u32,
    /// How often changes are uploaded, where clusters are lost
    #[arg(long, value_name = "TIME", default_value = "10s")]
    changes_every: String,
    /// How many times 64 clients write without an agent, and with one, in several ways
    #[arg(long, value_name = "N", default_value_t = 5)]
    rounds: u32,
    /// For how many seconds each time
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    seconds: u64,
}

/// Measures, and prints as it goes.
///
/// # Errors
/// Something does not work.
pub async fn run(figures: Figures) -> anyhow::Result<()> {
    if figures.records > 0 {
        size(&figures).await?;
    }
    if figures.rounds > 0 {
        cost::run(figures.rounds, Duration::from_secs(figures.seconds)).await?;
    }
    losses::run(figures.losses, &figures.changes_every).await
}

/// A backup of many records, and restores of it.
async fn size(figures: &Figures) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let archive = Archive::at(&folder.path().join("archive"))?;
    let mut config = Config::for_tests(3)?;
    config.lease_duration = "15s".into();
    let cluster = cluster_of(config).await?;
    let leader = cluster.wait_for_leader().await?;
    let began = Instant::now();
    fill(&cluster, leader, figures.records).await?;
    println!("{} records of 128 bytes written in {:.1} s", figures.records, began.elapsed().as_secs_f64());
    let store = cluster.pid(leader, Part::Store).context("the leader's store does not run")?;
    let before = memory(store, "VmRSS");

    let began = Instant::now();
    let agent = archive.agent(&cluster, 0, &[])?;
    until_metric(&agent, "leasehold_backup_verified_timestamp_seconds", |time| time > 0.0).await?;
    let took = began.elapsed().as_secs_f64();
    let pid = agent.process().pid().context("the agent does not run")?;
    println!("backed up, read back and verified in {took:.1} s");
    println!(
        "  memory: the agent {} MiB at most; the leader's store {before} MiB before, {} at most",
        memory(pid, "VmHWM"),
        memory(store, "VmHWM")
    );
    println!("  in the archive: {} bytes", bytes_below(archive.folder())?);
    for operation in ["list", "put", "get", "head", "delete"] {
        let name = format!("leasehold_backup_requests_total{{operation=\"{operation}\"}}");
        println!("  requests {operation}: {}", agent.metric(&name).await.unwrap_or(0.0));
    }
    agent.end(Signal::TERM)?;
    drop((agent, cluster));

    let (took, most) = drill(&archive).await?;
    println!("backup drill: {took:.1} s, {most} MiB at most");
    for replicas in [1, 3] {
        let mut config = Config::for_tests(replicas)?;
        config.lease_duration = "15s".into();
        config.restore = Some(archive.prepares("latest")?);
        let began = Instant::now();
        let cluster = cluster_of(config).await?;
        let took = began.elapsed().as_secs_f64();
        let count = cluster.http().get_json(cluster.store(replicas - 1), "/api/collections/records").await?;
        ensure!(count["count"] == figures.records, "restored: {count}");
        println!("restored into a new cluster of {replicas}, until all pods are ready: {took:.1} s");
    }
    Ok(())
}

/// `backup drill`: seconds, and its memory at most in MiB.
async fn drill(archive: &Archive) -> anyhow::Result<(f64, u64)> {
    let began = Instant::now();
    let mut child = archive.command("drill").stdout(std::process::Stdio::null()).spawn()?;
    let mut most = 0;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        most = most.max(memory(child.id(), "VmHWM"));
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    ensure!(status.success(), "backup drill: {status}");
    Ok((began.elapsed().as_secs_f64(), most))
}

/// So many records of 128 bytes, a thousand in a request, eight requests at a time.
async fn fill(cluster: &Cluster, leader: u16, records: u64) -> anyhow::Result<()> {
    let (http, store) = (cluster.http().clone(), cluster.store(leader));
    let definition = json!({"id": "string"});
    let defined = http.send(Method::PUT, store, "/api/collections/records", Some(&definition), LONG).await?;
    ensure!(defined.status < 300, "{}", defined.text());
    let next = Arc::new(AtomicU64::new(0));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let (http, next) = (http.clone(), Arc::clone(&next));
        tasks.spawn(async move {
            loop {
                let first = next.fetch_add(1000, Ordering::Relaxed);
                if first >= records {
                    return Ok(());
                }
                let made: Vec<Value> = (first..records.min(first + 1000))
                    .map(|number| json!({"op": "create", "record": clients::record(&format!("record-{number:09}"))}))
                    .collect();
                let body = json!({"operations": made});
                let answer = http.send(Method::POST, store, "/records:batch", Some(&body), LONG).await?;
                ensure!(answer.status == 200, "{} {}", answer.status, answer.text());
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    Ok(())
}

/// A figure of a process' memory in MiB; 0: it has gone.
fn memory(pid: u32, what: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(what)?.strip_prefix(':'));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) / 1024
}

fn bytes_below(folder: &Path) -> anyhow::Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        bytes += if metadata.is_dir() { bytes_below(&entry.path())? } else { metadata.len() };
    }
    Ok(bytes)
}
