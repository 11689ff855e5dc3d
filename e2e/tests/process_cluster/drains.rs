//! Pods that leave as planned: no client of a Service sees a failed request. And what breaks meanwhile.

use anyhow::{Context, ensure};
use leasehold_e2e::{
    cluster::{Cluster, Config, Part},
    service::{Clients, Report},
};
use std::time::Instant;

use super::{Setting, all_ready, cluster_of, cluster_with, lease_is_true};

const CLIENTS: u16 = 6;

async fn forwarding_cluster() -> Setting {
    let mut config = Config::for_tests(3).unwrap();
    // Nothing fails here, so nothing may look like a failure: a busy machine may stand still for seconds.
    config.lease_duration = "15s".into();
    let patient = ["--follower-writes", "forward", "--lost-time", "10s", "--write-timeout", "20s"];
    config.store_args = patient.map(str::to_owned).to_vec();
    config.sidecar_args = ["--lost-time", "10s"].map(str::to_owned).to_vec();
    cluster_with(config).await
}

/// Clients write through every pod while this happens. No request may fail.
async fn without_a_failed_request(setting: &Setting, name: &str, what: impl AsyncFnOnce(&Cluster)) -> Report {
    let cluster = &setting.cluster;
    let load = Clients::start(cluster, &setting.history, CLIENTS);
    load.progress(cluster, 100).await.unwrap();
    let begin = Instant::now();
    what(cluster).await;
    load.progress(cluster, 100).await.unwrap();
    let pause = load.longest_pause(begin);
    let report = load.stop().await.unwrap();
    eprintln!(
        "{name}: longest pause {pause:?}, slowest request {:?}, {} acknowledged, {} reconnected politely",
        report.slowest, report.acknowledged, report.reconnected
    );
    assert_eq!(report.failures, Vec::<String>::new());
    setting.converges().await;
    report
}

async fn is_replaced(cluster: &Cluster, pod: u16, before: Option<u32>) {
    cluster
        .until("the pod is there again", || async move {
            ensure!(cluster.pid(pod, Part::Store).is_some_and(|pid| Some(pid) != before), "not yet");
            Ok(())
        })
        .await
        .unwrap();
    all_ready(cluster).await;
}

fn term(cluster: &Cluster) -> i64 {
    cluster.lease().unwrap()["spec"]["leaseTransitions"].as_i64().unwrap()
}

async fn switch(cluster: &Cluster, to: u16) {
    cluster.ask_switchover(to).unwrap();
    cluster
        .until("the switchover is done", || async move {
            let (leader, _) = cluster.leader().await.context("nobody leads")?;
            ensure!(leader == to, "pod {leader} leads");
            let lease = cluster.lease().context("no Lease")?;
            ensure!(lease["metadata"]["annotations"]["leasehold.dev/preferred-holder"].is_null(), "still asked for");
            Ok(())
        })
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_is_deleted_gracefully_and_no_request_fails() {
    let setting = forwarding_cluster().await;
    for leads in [true, false, true] {
        let leader = setting.cluster.wait_for_leader().await.unwrap();
        let pod = if leads { leader } else { (leader + 1) % 3 };
        let name = if leads { "the leader's pod deleted" } else { "a follower's pod deleted" };
        let before = term(&setting.cluster);
        let report = without_a_failed_request(&setting, name, async |cluster| {
            let pid = cluster.pid(pod, Part::Store);
            cluster.delete_pod(pod).unwrap();
            is_replaced(cluster, pod, pid).await;
        })
        .await;
        assert_eq!(term(&setting.cluster) - before, i64::from(leads), "leaderships that it cost");
        assert!(report.reconnected > 0, "its clients were not asked to come back by another way");
    }
    lease_is_true(&setting.cluster).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_switchover_fails_no_request() {
    let setting = forwarding_cluster().await;
    for _ in 0..3 {
        let leader = setting.cluster.wait_for_leader().await.unwrap();
        let to = (leader + 1) % 3;
        without_a_failed_request(&setting, "switchover", async |cluster| switch(cluster, to).await).await;
        all_ready(&setting.cluster).await;
    }
    lease_is_true(&setting.cluster).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_update_moves_the_leadership_twice_at_most_and_fails_no_request() {
    let setting = forwarding_cluster().await;
    for first in [2, 0, 1] {
        if setting.cluster.wait_for_leader().await.unwrap() != first {
            switch(&setting.cluster, first).await;
            all_ready(&setting.cluster).await;
        }
        let before = term(&setting.cluster);
        let name = format!("rolling update, pod {first} leads at first");
        without_a_failed_request(&setting, &name, async |cluster| {
            cluster.update(&format!("after-{first}")).await.unwrap();
        })
        .await;
        let moves = term(&setting.cluster) - before;
        eprintln!("{name}: {moves} moves");
        assert!(moves <= 2, "{moves} moves of the leadership");
        all_ready(&setting.cluster).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scaling_three_to_one_under_load_fails_no_request() {
    let setting = forwarding_cluster().await;
    switch_if_needed(&setting.cluster, 2).await;
    without_a_failed_request(&setting, "scaled from three to one, the leader's pod goes", async |cluster| {
        cluster.scale(1).unwrap();
        cluster
            .until("one pod is left", || async move {
                ensure!(cluster.pods() == [0], "{:?}", cluster.pods());
                Ok(())
            })
            .await
            .unwrap();
    })
    .await;
    without_a_failed_request(&setting, "scaled from one to three", async |cluster| {
        cluster.scale(3).unwrap();
        all_ready(cluster).await;
    })
    .await;
}

async fn switch_if_needed(cluster: &Cluster, to: u16) {
    if cluster.wait_for_leader().await.unwrap() != to {
        switch(cluster, to).await;
        all_ready(cluster).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_breaks_during_a_drain_loses_nothing_and_a_leader_is_there_again() {
    let setting = cluster_of(3).await;
    for broken in ["the sidecar of the pod that drains", "the successor's store", "the successor's sidecar", "the API"]
    {
        eprintln!("broken: {broken}");
        setting
            .under_load(async |cluster, load| {
                let leader = cluster.wait_for_leader().await.unwrap();
                let successor = (0..3).find(|pod| *pod != leader).unwrap();
                let pid = cluster.pid(leader, Part::Store);
                match broken {
                    "the API" => cluster.api().down().unwrap(),
                    "the successor's sidecar" => assert!(cluster.kill(successor, Part::Sidecar)),
                    "the sidecar of the pod that drains" => assert!(cluster.kill(leader, Part::Sidecar)),
                    _ => {}
                }
                cluster.delete_pod(leader).unwrap();
                if broken == "the successor's store" {
                    assert!(cluster.kill(successor, Part::Store));
                }
                // An outage of the API holds no write up.
                load.progresses(cluster, 20).await.unwrap();
                if broken == "the API" {
                    cluster.api().up().unwrap();
                }
                is_replaced(cluster, leader, pid).await;
                load.progresses(cluster, 20).await.unwrap();
            })
            .await;
        all_ready(&setting.cluster).await;
    }
    lease_is_true(&setting.cluster).await;
}
