//! `e2e bench handover`: what clients notice when a pod leaves as planned. Nobody else's affair, so without peers.
//!
//! ```text
//!   service::Clients ──keyed writes, through every pod──▶ cluster      meanwhile, again and again:
//!                                                                      delete the leader's pod, switch over, update all
//! ```
//!
//! A table for people, and one line of JSON for programs: failed requests, the longest pause of writes, leaders an update took.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use leasehold_e2e::{
    cluster::{Cluster, Config, Part},
    history::History,
    service::Clients,
};
use serde_json::{Value, json};

/// How often what is planned is done.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Handover {
    /// How many graceful deletions of the leader's pod, and how many switchovers
    #[arg(long, default_value_t = 20)]
    times: u32,
    /// How many rolling updates
    #[arg(long, default_value_t = 3)]
    updates: u32,
    /// How many clients write meanwhile
    #[arg(long, default_value_t = 6)]
    clients: u16,
}

/// Measures on a fresh cluster of three.
pub(super) async fn run(args: &Handover) -> anyhow::Result<()> {
    let mut config = Config::for_tests(3)?;
    config.lease_duration = "15s".into();
    config.store_args = vec!["--follower-writes".into(), "forward".into()];
    let cluster = Cluster::start(config)?;
    let figures = match measure(&cluster, args).await {
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

async fn measure(cluster: &Cluster, args: &Handover) -> anyhow::Result<Value> {
    let history = History::default();
    let mut figures = json!({});
    let mut report = None;
    for (name, count) in [("deletion", args.times), ("switchover", args.times), ("update", args.updates)] {
        agree(cluster).await?;
        let load = Clients::start(cluster, &history, args.clients);
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
