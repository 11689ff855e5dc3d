//! What a backup costs the pods while 64 clients write: without an agent, and with one that is placed in several ways, in turn.
//!
//! ```text
//!   round 0   without, with, at the leader alone, with at nice 19
//!   round 1            with, at the leader alone, with at nice 19, without
//!   …                                                      medians of all rounds
//! ```
//!
//! Writes per second are the machine's: the agent shares it with three stores and the clients. The processor time of the leader's
//! store for a write is what the backup costs the leader, on any machine.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};

use super::{
    clients, processor,
    setting::{LONG, cluster_of, median, until_metric},
};
use crate::{
    archive::{Agent, Archive, Place, watched},
    client::Http,
    cluster::{Cluster, Config, Part, Signal},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Setting {
    Without,
    /// It follows a pod that does not lead.
    With,
    /// It knows no other pod than the leader, as in a cluster of one.
    AtTheLeader,
    /// As `With`, and it gets what nobody else wants of the processors.
    Nice,
}

const SETTINGS: [Setting; 4] = [Setting::Without, Setting::With, Setting::AtTheLeader, Setting::Nice];

/// One measurement. Times are microseconds of a processor for a write.
#[derive(Clone, Copy, Debug)]
struct Measured {
    /// In a second.
    writes: f64,
    leader: f64,
    /// Without an agent, and where the leader is followed: the first of the others.
    followed: f64,
    /// The last pod.
    other: f64,
    agent: f64,
}

/// Measures so many rounds, each of so many seconds in each setting, and prints them.
pub(super) async fn run(rounds: u32, span: Duration) -> anyhow::Result<()> {
    let mut config = Config::for_tests(3)?;
    config.lease_duration = "15s".into();
    let cluster = cluster_of(config).await?;
    let mut all: Vec<(Setting, Measured)> = Vec::new();
    println!("64 clients write, for {} s each time; processor time for a write in microseconds:", span.as_secs());
    for round in 0..rounds {
        let mut settings = SETTINGS;
        settings.rotate_left(round as usize % SETTINGS.len());
        for setting in settings {
            let measured = measure(&cluster, setting, span).await?;
            println!("  round {round}: {}", line(setting, &measured));
            all.push((setting, measured));
        }
    }
    println!("medians (load {}):", std::fs::read_to_string("/proc/loadavg").unwrap_or_default().trim());
    let without = medians(&all, Setting::Without);
    for setting in SETTINGS {
        let these = medians(&all, setting);
        let more = |now: f64, before: f64| 100.0 * (now / before - 1.0);
        println!(
            "  {}; writes {:+.1} %, the leader's time {:+.1} %",
            line(setting, &these),
            more(these.writes, without.writes),
            more(these.leader, without.leader)
        );
    }
    Ok(())
}

fn line(setting: Setting, measured: &Measured) -> String {
    let Measured { writes, leader, followed, other, agent } = measured;
    let what = match setting {
        Setting::Without => "without an agent",
        Setting::With => "with one",
        Setting::AtTheLeader => "with one at the leader",
        Setting::Nice => "with one at nice 19",
    };
    format!(
        "{what}: {writes:.0} writes/s; leader {leader:.1}, followed {followed:.1}, other {other:.1}, agent {agent:.1}"
    )
}

fn medians(all: &[(Setting, Measured)], of: Setting) -> Measured {
    let median_of = |value: fn(&Measured) -> f64| {
        let mut values: Vec<f64> =
            all.iter().filter(|(setting, _)| *setting == of).map(|(_, measured)| value(measured)).collect();
        median(&mut values)
    };
    Measured {
        writes: median_of(|measured| measured.writes),
        leader: median_of(|measured| measured.leader),
        followed: median_of(|measured| measured.followed),
        other: median_of(|measured| measured.other),
        agent: median_of(|measured| measured.agent),
    }
}

async fn measure(cluster: &Cluster, setting: Setting, span: Duration) -> anyhow::Result<Measured> {
    let folder = tempfile::tempdir()?;
    let leader = cluster.wait_for_leader().await?;
    // An archive of its own: the full is in it before the clients begin.
    let archive = Archive::at(&folder.path().join("archive"))?;
    let place = match setting {
        Setting::Without => None,
        Setting::With => Some(Place::default()),
        Setting::AtTheLeader => Some(Place { pods: Some(vec![leader]), ..Place::default() }),
        Setting::Nice => Some(Place { niceness: Some(19), ..Place::default() }),
    };
    let agent = place.map(|place| archive.agent_at(cluster, 0, &place, &[])).transpose()?;
    let mut followed = None;
    if let Some(agent) = &agent {
        until_metric(agent, "leasehold_backup_recoverable_sequence", |sequence| sequence > 0.0).await?;
        followed = Some(until_followed(cluster, leader, setting == Setting::AtTheLeader).await?);
    }
    let measured = under_writes(cluster, leader, followed, agent.as_ref(), span).await?;
    ensure!(cluster.wait_for_leader().await? == leader, "the leader changed while it was measured");
    if let Some(agent) = agent {
        agent.end(Signal::TERM)?;
    }
    Ok(measured)
}

/// The pod that the agent follows, when it is the leader or is not, as it should.
async fn until_followed(cluster: &Cluster, leader: u16, is_leader: bool) -> anyhow::Result<u16> {
    let followed = || async {
        let watched = watched(cluster).await?;
        let [followed] = watched[..] else { bail!("{watched:?} are watched") };
        ensure!((followed == leader) == is_leader, "pod {followed} is followed, and {leader} leads");
        Ok(followed)
    };
    leasehold_testkit::ask_until("the right pod is followed", LONG, Duration::from_millis(50), followed).await
}

async fn under_writes(
    cluster: &Cluster,
    leader: u16,
    followed: Option<u16>,
    agent: Option<&Agent>,
    span: Duration,
) -> anyhow::Result<Measured> {
    let mut others: Vec<u16> = (0..cluster.wanted()).filter(|i| *i != leader).collect();
    others.sort_by_key(|i| followed != Some(*i));
    let mut pids = Vec::new();
    for i in [&[leader], &others[..]].concat() {
        pids.push(cluster.pid(i, Part::Store).context("a store does not run")?);
    }
    if let Some(agent) = agent {
        pids.push(agent.process().pid().context("the agent does not run")?);
    }
    let used = || pids.iter().map(|pid| processor::used(*pid)).collect::<anyhow::Result<Vec<Duration>>>();

    let (over, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..64 {
        let (over, done, store) = (Arc::clone(&over), Arc::clone(&done), cluster.store(leader));
        tasks.spawn(async move {
            let http = Http::default();
            while !over.load(Ordering::Relaxed) {
                if clients::write(&http, store).await.is_some() {
                    done.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
    }
    tokio::time::sleep(Duration::from_secs(1)).await; // connections are made
    let (began, written_before, used_before) = (Instant::now(), done.load(Ordering::Relaxed), used()?);
    tokio::time::sleep(span).await;
    let (took, written, used_after) = (began.elapsed(), done.load(Ordering::Relaxed) - written_before, used()?);
    over.store(true, Ordering::Relaxed);
    while let Some(ended) = tasks.join_next().await {
        ended?;
    }
    ensure!(written > 0, "nothing was written");
    #[allow(clippy::cast_precision_loss)] // seconds' worth of writes
    let written = written as f64;
    let each: Vec<f64> = used_after
        .iter()
        .zip(&used_before)
        .map(|(after, before)| (*after - *before).as_secs_f64() * 1e6 / written)
        .collect();
    let of = |at: usize| each.get(at).copied().unwrap_or(0.0);
    Ok(Measured { writes: written / took.as_secs_f64(), leader: of(0), followed: of(1), other: of(2), agent: of(3) })
}
