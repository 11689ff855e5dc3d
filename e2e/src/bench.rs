//! `e2e bench`: the figures that the project promises, measured on a cluster of processes with fsync on.
//!
//! A table for people, and one line of JSON for programs. Only ratios of one run on one machine mean anything.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use hdrhistogram::Histogram;
use http::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::{
    api::Verb,
    client::Http,
    cluster::{Cluster, Config, Part, Signal},
    history::History,
    load::{Told, tell},
    service::Clients,
};

/// What is measured.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum Bench {
    /// From the death of the leader's store to the next acknowledged write; the same for a frozen store.
    Failover {
        /// How many times each
        #[arg(long, default_value_t = 20)]
        times: u32,
    },
    /// Failed requests and the longest pause of writes when a pod leaves as planned, under load through every pod.
    Handover {
        /// How many graceful deletions of the leader's pod, and how many switchovers
        #[arg(long, default_value_t = 20)]
        times: u32,
        /// How many rolling updates
        #[arg(long, default_value_t = 3)]
        updates: u32,
        /// How many clients write meanwhile
        #[arg(long, default_value_t = 6)]
        clients: u16,
    },
    /// Durable writes a second with many clients, latency with one, memory and API requests when idle.
    Writes {
        /// How many clients write at once
        #[arg(long, default_value_t = 64)]
        clients: usize,
        /// For how long each part is measured, in seconds
        #[arg(long, default_value_t = 10)]
        seconds: u64,
        /// How long the idle cluster is watched, in seconds
        #[arg(long, default_value_t = 60)]
        idle_seconds: u64,
    },
}

/// Runs one bench on a fresh cluster of three.
///
/// # Errors
/// The cluster does not work, or data is wrong afterwards.
pub async fn run(bench: Bench) -> anyhow::Result<()> {
    if cfg!(debug_assertions) {
        eprintln!("note: this is a debug build; its figures say nothing");
    }
    let mut config = Config::for_tests(3)?;
    config.lease_duration = "15s".into();
    if let Bench::Handover { .. } = bench {
        config.store_args = vec!["--follower-writes".into(), "forward".into()];
    }
    let cluster = Cluster::start(config)?;
    let figures = match &bench {
        Bench::Failover { times } => failover(&cluster, *times).await,
        Bench::Handover { times, updates, clients } => handover(&cluster, *times, *updates, *clients).await,
        Bench::Writes { clients, seconds, idle_seconds } => {
            writes(&cluster, *clients, Duration::from_secs(*seconds), Duration::from_secs(*idle_seconds)).await
        }
    };
    let figures = match figures {
        Ok(figures) => figures,
        Err(error) => {
            eprintln!("{}", cluster.report());
            return Err(error);
        }
    };
    for (name, value) in figures.as_object().into_iter().flatten() {
        println!("{name:<44} {value:>12}");
    }
    println!("{figures}");
    Ok(())
}

async fn failover(cluster: &Cluster, times: u32) -> anyhow::Result<Value> {
    let history = History::default();
    let http = Http::default();
    let mut figures = json!({});
    for (name, signal) in [("killedMs", Signal::KILL), ("frozenMs", Signal::STOP)] {
        let mut samples = Vec::new();
        for _ in 0..times {
            settle(cluster, &history).await?;
            let leader = cluster.wait_for_leader().await?;
            ensure!(cluster.signal(leader, Part::Store, signal), "the leader's store does not run");
            let begin = Instant::now();
            let successor = first_write(cluster, &http, &history, leader).await;
            samples.push(begin.elapsed());
            if signal == Signal::STOP {
                cluster.signal(leader, Part::Store, Signal::CONT);
            }
            successor?;
        }
        samples.sort();
        let ms = |d: Duration| (d.as_secs_f64() * 10_000.0).round() / 10.0;
        figures[format!("{name}Median")] = ms(samples[samples.len() / 2]).into();
        figures[format!("{name}Worst")] = ms(samples[samples.len() - 1]).into();
        figures[format!("{name}Samples")] = samples.len().into();
    }
    cluster.converges(&history).await?;
    Ok(figures)
}

async fn handover(cluster: &Cluster, times: u32, updates: u32, clients: u16) -> anyhow::Result<Value> {
    let history = History::default();
    let mut figures = json!({});
    let mut report = None;
    for (name, count) in [("deletion", times), ("switchover", times), ("update", updates)] {
        agree(cluster).await?;
        let load = Clients::start(cluster, &history, clients);
        load.progress(cluster, 200).await?;
        let (mut pauses, mut moves_most) = (Vec::new(), 0);
        for turn in 0..count {
            // The first leader of an update is another pod each time.
            let leader = cluster.wait_for_leader().await?;
            let (begin, term) = (Instant::now(), term_of(cluster));
            match name {
                "deletion" => delete_and_wait(cluster, leader).await?,
                "switchover" => switch_and_wait(cluster, (leader + 1) % cluster.wanted()).await?,
                _ => cluster.update(&format!("e2e-{}", turn + 2)).await?,
            }
            agree(cluster).await?;
            load.progress(cluster, 50).await?;
            pauses.push(load.longest_pause(begin));
            moves_most = moves_most.max(term_of(cluster) - term);
            if name == "update" && turn + 1 < count {
                switch_and_wait(cluster, u16::try_from(turn % 3).unwrap_or(0)).await?;
                agree(cluster).await?;
            }
        }
        let seen = load.stop().await?;
        cluster.converges(&history).await?;
        pauses.sort();
        let ms = |d: Duration| (d.as_secs_f64() * 10_000.0).round() / 10.0;
        if let (Some(worst), Some(median)) = (pauses.last(), pauses.get(pauses.len() / 2)) {
            figures[format!("{name}PauseMsMedian")] = ms(*median).into();
            figures[format!("{name}PauseMsWorst")] = ms(*worst).into();
        }
        figures[format!("{name}SlowestRequestMs")] = ms(seen.slowest).into();
        figures[format!("{name}Failed")] = seen.failures.len().into();
        figures[format!("{name}Acknowledged")] = seen.acknowledged.into();
        figures[format!("{name}MovesMost")] = moves_most.into();
        for failure in &seen.failures {
            eprintln!("{name}: {failure}");
        }
        report = Some(seen);
    }
    report.context("nothing was measured")?;
    Ok(figures)
}

fn term_of(cluster: &Cluster) -> i64 {
    cluster.lease().and_then(|lease| lease["spec"]["leaseTransitions"].as_i64()).unwrap_or(0)
}

async fn delete_and_wait(cluster: &Cluster, pod: u16) -> anyhow::Result<()> {
    let store = cluster.pid(pod, Part::Store);
    cluster.delete_pod(pod).map_err(|failure| anyhow::anyhow!(failure.message))?;
    cluster
        .until("the pod is there again", || async move {
            ensure!(cluster.pid(pod, Part::Store).is_some_and(|pid| Some(pid) != store), "not yet");
            Ok(())
        })
        .await
}

async fn switch_and_wait(cluster: &Cluster, to: u16) -> anyhow::Result<()> {
    if cluster.leader().await.is_some_and(|(leader, _)| leader == to) {
        return Ok(());
    }
    cluster.ask_switchover(to).map_err(|failure| anyhow::anyhow!(failure.message))?;
    cluster
        .until("the switchover is done", || async move {
            let (leader, _) = cluster.leader().await.context("nobody leads")?;
            ensure!(leader == to, "pod {leader} leads");
            let lease = cluster.lease().context("no Lease")?;
            ensure!(lease["metadata"]["annotations"]["leasehold.dev/preferred-holder"].is_null(), "still asked for");
            Ok(())
        })
        .await
}

/// All three are there, caught up and agree on a leader, and it takes writes.
async fn settle(cluster: &Cluster, history: &History) -> anyhow::Result<()> {
    cluster.converges(history).await?;
    agree(cluster).await
}

async fn agree(cluster: &Cluster) -> anyhow::Result<()> {
    cluster
        .until("all pods follow one leader", || async move {
            let mut terms = Vec::new();
            for i in 0..cluster.wanted() {
                let state = cluster.http().get_json(cluster.store(i), "/api/leader").await?;
                let ready = cluster.http().get(cluster.store(i), "/readyz").await;
                ready.with_context(|| format!("pod {i} is not ready"))?;
                terms.push((state["name"].clone(), state["term"].clone()));
            }
            ensure!(terms.iter().all(|term| *term == terms[0] && !term.0.is_null()), "{terms:?}");
            Ok(())
        })
        .await
}

/// Asks all pods but the dead one in turn, without a pause, until one acknowledges.
async fn first_write(cluster: &Cluster, http: &Http, history: &History, dead: u16) -> anyhow::Result<u16> {
    let deadline = Instant::now() + crate::cluster::PATIENCE;
    while Instant::now() < deadline {
        for i in (0..cluster.wanted()).filter(|i| *i != dead) {
            if let (Told::Acknowledged, _) = write_one(http, cluster, i, history).await {
                return Ok(i);
            }
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    anyhow::bail!("no write was acknowledged")
}

async fn write_one(http: &Http, cluster: &Cluster, i: u16, history: &History) -> (Told, Duration) {
    let id = uuid::Uuid::new_v4().to_string();
    let person = json!({"firstName": "Bench", "lastName": "Mark", "id": id});
    let begin = Instant::now();
    let patience = Duration::from_secs(10);
    let outcome = http.send(Method::POST, cluster.store(i), "/persons", Some(&person), patience).await;
    let took = begin.elapsed();
    let told = tell(&outcome);
    match told {
        Told::Acknowledged => history.acknowledged(i, &id, Some(person), outcome.ok().and_then(|a| a.sequence())),
        Told::Refused => history.refused(&id),
        Told::Unknown => history.unknown(&id, Some(person)),
    }
    (told, took)
}

async fn writes(cluster: &Cluster, clients: usize, span: Duration, idle: Duration) -> anyhow::Result<Value> {
    let history = History::default();
    settle(cluster, &history).await?;
    let leader = cluster.wait_for_leader().await?;
    let mut figures = json!({});
    // Idle first: nothing was written yet but the initial data.
    let (before, begin) = (cluster.api().log().len(), Instant::now());
    tokio::time::sleep(idle).await;
    let log = cluster.api().log();
    let minutes = begin.elapsed().as_secs_f64() / 60.0;
    let mut candidates = 0.0_f64;
    for i in 0..cluster.wanted() {
        let requests =
            log[before..].iter().filter(|r| r.client == cluster.pod_name(i) && r.verb != Verb::Watch).count();
        #[allow(clippy::cast_precision_loss)]
        let rate = ((requests as f64 / minutes) * 10.0).round() / 10.0;
        if i == leader {
            figures["holderApiRequestsPerMinute"] = rate.into();
        } else {
            candidates = candidates.max(rate);
        }
    }
    figures["candidateApiRequestsPerMinute"] = candidates.into();
    figures["sidecarRssMib"] = worst_rss(cluster, Part::Sidecar)?.into();
    figures["storeRssMib"] = worst_rss(cluster, Part::Store)?.into();

    for (name, clients) in [("oneClient", 1), ("manyClients", clients)] {
        let mut tasks = JoinSet::new();
        let (address, until) = (cluster.store(leader), Instant::now() + span);
        for _ in 0..clients {
            let (http, history) = (Http::default(), history.clone());
            tasks.spawn(async move {
                let mut took = Histogram::<u64>::new(3)?;
                while Instant::now() < until {
                    let id = uuid::Uuid::new_v4().to_string();
                    let person = json!({"firstName": "Bench", "lastName": "Mark", "id": id});
                    let begin = Instant::now();
                    let path = "/persons";
                    let answer = http.send(Method::POST, address, path, Some(&person), Duration::from_secs(10)).await?;
                    took.record(u64::try_from(begin.elapsed().as_micros()).unwrap_or(u64::MAX))?;
                    ensure!(answer.status == 201, "a write was answered {}: {}", answer.status, answer.text());
                    history.acknowledged(leader, &id, Some(person), answer.sequence());
                }
                Ok(took)
            });
        }
        let begin = Instant::now();
        let mut all = Histogram::<u64>::new(3)?;
        while let Some(done) = tasks.join_next().await {
            all.add(done??)?;
        }
        #[allow(clippy::cast_precision_loss)]
        let rate = all.len() as f64 / begin.elapsed().as_secs_f64();
        figures[format!("{name}WritesPerSecond")] = rate.round().into();
        figures[format!("{name}P50Us")] = all.value_at_quantile(0.5).into();
        figures[format!("{name}P99Us")] = all.value_at_quantile(0.99).into();
    }
    cluster.converges(&history).await?;
    Ok(figures)
}

/// The most resident memory of any pod's program, in MiB with one decimal.
fn worst_rss(cluster: &Cluster, part: Part) -> anyhow::Result<f64> {
    let mut worst = 0.0_f64;
    for i in 0..cluster.wanted() {
        let pid = cluster.pid(i, part).context("a program does not run")?;
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        let kib: f64 = line.trim().trim_end_matches(" kB").parse()?;
        worst = worst.max((kib / 102.4).round() / 10.0);
    }
    Ok(worst)
}
