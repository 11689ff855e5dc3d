//! Backups by copying volumes: what docs/kubernetes.md calls safe, and what it warns of.
//!
//! A copy of a frozen process' folder is what a VolumeSnapshot is: the volume at one moment, while the store runs.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, ensure};
use http::Method;
use leasehold_e2e::cluster::{Cluster, Config, Part};
use rustix::process::Signal;
use serde_json::{Value, json};

use super::{Setting, all_ready, cluster_of, lease_is_true};

/// As `cp -a` does it.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to.parent().unwrap()).unwrap();
    let done = Command::new("cp").arg("-a").args([from, to]).status().unwrap();
    assert!(done.success());
}

fn volume_in(folder: &Path, i: u16) -> PathBuf {
    folder.join(format!("database-cluster-{i}/data"))
}

/// `store recover --force-new-cluster`; what it prints.
fn recover(store: &Path, data: &Path, name: &str) -> String {
    let mut command = Command::new(store);
    let done = command.args(["recover", "--force-new-cluster", "--name", name, "--data"]).arg(data).output().unwrap();
    let said = String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{said}");
    said
}

/// The release that finds these volumes: a Lease API that never heard of them.
async fn another_release(folder: &Path) -> Cluster {
    Cluster::start(Config { folder: Some(folder.to_owned()), ..Config::for_tests(3).unwrap() }).unwrap()
}

/// All pods have the same persons; these.
async fn persons_everywhere(cluster: &Cluster) -> Vec<Value> {
    cluster
        .until("all pods are voters and have the same persons", || async move {
            let (leader, _) = cluster.leader().await.context("nobody leads")?;
            let status = cluster.http().get_json(cluster.store(leader), "/api/status").await?;
            ensure!(status["voters"].as_array().is_some_and(|voters| voters.len() == 3), "{}", status["voters"]);
            let persons = cluster.persons(0).await?;
            for i in 1..3 {
                ensure!(cluster.persons(i).await? == persons, "pod {i} has others");
            }
            Ok(persons)
        })
        .await
        .unwrap()
}

fn holds_all(have: &[Value], wanted: &[Value]) {
    for person in wanted {
        assert!(have.contains(person), "{person} is not among {} persons", have.len());
    }
}

/// Three pods with some data, and its content before the copies were requested.
async fn with_data() -> (Setting, Vec<Value>) {
    let setting = cluster_of(3).await;
    setting.under_load(async |cluster, load| load.progresses(cluster, 200).await.unwrap()).await;
    let persons = setting.cluster.persons(0).await.unwrap();
    assert!(persons.len() > 4);
    (setting, persons)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_of_one_volume_begins_a_new_cluster_by_recover() {
    let (setting, mut had) = with_data().await;
    let restored = tempfile::tempdir().unwrap();
    let volume = volume_in(restored.path(), 0);
    let cluster = &setting.cluster;
    let leader = cluster.wait_for_leader().await.unwrap();
    let follower = (leader + 1) % 3;
    // While clients write (and change or delete only what is their own): what the follower shows before the moment is in
    // the copy of it.
    let load = setting.load().await;
    let last = json!({"id": "e956b5d0-fa0c-40e8-9da9-333c214dcaf7", "firstName": "The last", "lastName": "before"});
    let (http, deadline) = (cluster.http(), Duration::from_secs(10));
    let made = http.send(Method::POST, cluster.store(leader), "/persons", Some(&last), deadline).await.unwrap();
    assert_eq!(made.status, 201, "{}", made.text());
    let path = format!("/persons/{}?after={}", last["id"].as_str().unwrap(), made.sequence().unwrap());
    let seen = http.send(Method::GET, cluster.store(follower), &path, None, deadline).await.unwrap();
    assert_eq!(seen.status, 200, "{}", seen.text());
    had.push(last);
    assert!(cluster.signal(follower, Part::Store, Signal::STOP));
    copy(&cluster.volume(follower), &volume);
    assert!(cluster.signal(follower, Part::Store, Signal::CONT));
    load.progresses(cluster, 20).await.unwrap();
    load.stop().await.unwrap();
    let store = cluster.program(Part::Store).to_owned();
    drop(setting);

    // Under the name that another release would give it.
    let said = recover(&store, &volume, "database-cluster-0");
    assert!(said.contains("cluster"), "{said}");
    let cluster = another_release(restored.path()).await;
    let persons = persons_everywhere(&cluster).await;
    holds_all(&persons, &had);
    all_ready(&cluster).await;
    lease_is_true(&cluster).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_volume_of_three_is_no_majority_and_begins_nothing_without_recover() {
    let (setting, _) = with_data().await;
    let restored = tempfile::tempdir().unwrap();
    let cluster = &setting.cluster;
    cluster.kill_and_hold(1, Part::Store).unwrap();
    copy(&cluster.volume(1), &volume_in(restored.path(), 0));
    drop(setting);

    let cluster = another_release(restored.path()).await;
    cluster
        .until("the pod says what it waits for", || async {
            let status = cluster.http().get(cluster.store(0), "/api/status").await?.text();
            ensure!(status.contains("no majority of the voters"), "{status}");
            Ok(())
        })
        .await
        .unwrap();
    assert_eq!(cluster.leader().await, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn copies_of_all_volumes_at_rest_go_on_where_they_ended() {
    let (setting, persons) = with_data().await;
    let restored = tempfile::tempdir().unwrap();
    let cluster = &setting.cluster;
    for i in 0..3 {
        cluster.kill_and_hold(i, Part::Store).unwrap();
    }
    for i in 0..3 {
        copy(&cluster.volume(i), &volume_in(restored.path(), i));
    }
    drop(setting);

    let cluster = another_release(restored.path()).await;
    assert_eq!(persons_everywhere(&cluster).await, persons);
    all_ready(&cluster).await;
    lease_is_true(&cluster).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_volume_of_a_release_of_another_name_is_taken_over() {
    let (setting, persons) = with_data().await;
    let restored = tempfile::tempdir().unwrap();
    let volume = volume_in(restored.path(), 0);
    let cluster = &setting.cluster;
    cluster.kill_and_hold(1, Part::Store).unwrap();
    copy(&cluster.volume(1), &volume);
    let store = cluster.program(Part::Store).to_owned();
    drop(setting);

    // Its only voter has the name of a pod that does not exist here.
    recover(&store, &volume, "records-cluster-0");
    let cluster = another_release(restored.path()).await;
    assert_eq!(persons_everywhere(&cluster).await, persons);
    lease_is_true(&cluster).await;
}
