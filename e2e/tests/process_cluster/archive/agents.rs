//! Agents that die, that are two, and whose bucket is away for a while.

use anyhow::ensure;
use leasehold_e2e::{
    archive::{Archive, Place, watched},
    cluster::Signal,
};

use super::{Writer, agent_of, cluster_id, with_tenants};

const FAST: [&str; 2] = ["--changes-every", "1s"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_is_killed_again_and_again_leaves_no_gap() {
    let files = tempfile::tempdir().unwrap();
    let archive = Archive::at(&files.path().join("archive")).unwrap();
    let setting = with_tenants(files.path()).await;
    let cluster = &setting.cluster;
    let agent = agent_of(cluster, &archive, 0, &FAST).await;
    let writer = Writer::start(cluster);
    for _ in 0..5 {
        writer.progresses(cluster, 30).await;
        agent.kill();
    }
    agent.has(cluster, writer.last()).await.unwrap();
    let last = writer.stop().await.keys().next_back().copied().unwrap();
    agent.has(cluster, last).await.unwrap();
    // A graceful end takes what is left along.
    agent.end(Signal::TERM).unwrap();
    assert!(archive.end(&cluster_id(cluster).await).unwrap() >= last);
    archive.run("verify", &["--all"]).unwrap();
    let found = archive.run("cat", &["--at", "latest", "--collection", "tenants"]).unwrap();
    let there = cluster.http().get_json(cluster.store(0), "/tenants?consistency=strong").await.unwrap();
    assert_eq!(found.lines().count(), there.as_array().unwrap().len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_follows_a_pod_that_does_not_lead_whichever_it_asks_first() {
    let files = tempfile::tempdir().unwrap();
    let setting = with_tenants(files.path()).await;
    let cluster = &setting.cluster;
    let leader = cluster.wait_for_leader().await.unwrap();
    let mut pods: Vec<u16> = (0..cluster.wanted()).collect();
    let mut log = String::new();
    for turn in 0..pods.len() {
        pods.rotate_left(1);
        let archive = Archive::at(&files.path().join(format!("archive-{turn}"))).unwrap();
        let place = Place { pods: Some(pods.clone()), ..Place::default() };
        // A spool of its own: one that leads on would be asked about first.
        let number = u16::try_from(turn).unwrap();
        let agent = archive.agent_at(cluster, number, &place, &FAST).unwrap();
        agent.has(cluster, 1).await.unwrap();
        cluster
            .until("a pod is followed that does not lead", || async {
                let watched = watched(cluster).await?;
                ensure!(watched.len() == 1 && !watched.contains(&leader), "{watched:?} are watched, {leader} leads");
                Ok(())
            })
            .await
            .unwrap();
        log += &agent.log();
        agent.end(Signal::TERM).unwrap();
        archive.run("verify", &["--all"]).unwrap();
    }
    assert_eq!(log.matches("which does not lead").count(), 1, "the leader was asked first once, and left: {log}");
    let one = Archive::at(&files.path().join("archive-alone")).unwrap();
    let place = Place { pods: Some(vec![leader]), ..Place::default() };
    one.agent_at(cluster, 0, &place, &FAST).unwrap().has(cluster, 1).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_agents_of_one_archive_do_no_harm() {
    let files = tempfile::tempdir().unwrap();
    let archive = Archive::at(&files.path().join("archive")).unwrap();
    let setting = with_tenants(files.path()).await;
    let cluster = &setting.cluster;
    let one = agent_of(cluster, &archive, 0, &FAST).await;
    let other = archive.agent(cluster, 1, &["--changes-every", "2s"]).unwrap();
    let writer = Writer::start(cluster);
    writer.progresses(cluster, 100).await;
    one.has(cluster, writer.last()).await.unwrap();
    other.has(cluster, writer.last()).await.unwrap();
    one.kill();
    writer.progresses(cluster, 50).await;
    let last = writer.stop().await.keys().next_back().copied().unwrap();
    one.has(cluster, last).await.unwrap();
    other.has(cluster, last).await.unwrap();
    for agent in [&one, &other] {
        for reason in ["foreign-history", "ahead", "format"] {
            let refused = agent.metric(&format!("leasehold_backup_refused{{reason=\"{reason}\"}}")).await.unwrap();
            assert!(refused == 0.0, "it refuses: {reason}");
        }
    }
    archive.run("verify", &["--all"]).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bucket_that_is_away_for_a_while_is_given_what_it_missed() {
    let files = tempfile::tempdir().unwrap();
    let archive = Archive::at(&files.path().join("archive")).unwrap();
    let setting = with_tenants(files.path()).await;
    let cluster = &setting.cluster;
    let agent = agent_of(cluster, &archive, 0, &FAST).await;
    let before = archive.end(&cluster_id(cluster).await).unwrap();
    // Tests run as root, whom permissions do not stop: a file in the folder's place does.
    let away = files.path().join("away");
    std::fs::rename(archive.folder(), &away).unwrap();
    std::fs::write(archive.folder(), "in the way").unwrap();
    let writer = Writer::start(cluster);
    writer.progresses(cluster, 100).await;
    cluster
        .until("the agent says that it fails", || async {
            let failures = agent.metric("leasehold_backup_failures_total{at=\"bucket\"}").await?;
            ensure!(failures > 0.0, "no failures");
            Ok(())
        })
        .await
        .unwrap();
    let last = writer.stop().await.keys().next_back().copied().unwrap();
    std::fs::remove_file(archive.folder()).unwrap();
    std::fs::rename(&away, archive.folder()).unwrap();
    assert_eq!(archive.end(&cluster_id(cluster).await).unwrap(), before);
    agent.has(cluster, last).await.unwrap();
    let gaps = agent.metric("leasehold_backup_gaps_total").await.unwrap();
    assert!(gaps == 0.0, "{gaps} gaps");
    archive.run("verify", &["--all"]).unwrap();
}
